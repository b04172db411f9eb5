import type { ClientStats, ClusterView, Status } from '../index.js';
import type { ReplyReader } from './reply.js';

/** What a store says of itself. `crates/bridge/src/reply.rs` writes it, and the two below. */
export function readStatus(from: ReplyReader): Status {
  return {
    store: from.text(),
    features: from.list(() => from.text()),
    limits: {
      maxKeyBytes: from.safe(),
      maxValueBytes: from.safe(),
      maxBatchOps: from.safe(),
      maxPageEntries: from.safe(),
    },
    version: from.version(),
    sizes: { diskBytes: from.safe(), compactVersion: from.version() },
    durability: from.text() as Status['durability'],
    vectors:
      from.u8() === 1 ? { indexes: from.safe(), vectors: from.safe(), indexed: from.safe() } : null,
    software: from.text(),
  };
}

export function readClusterView(from: ReplyReader): ClusterView {
  return {
    epoch: from.u64(),
    nodes: from.list(() => ({ id: from.text(), addr: from.text(), role: from.text() })),
    shards: from.list(() => ({
      id: from.u32(),
      replicas: from.list(() => ({ nodeId: from.text(), leader: from.u8() === 1 })),
    })),
  };
}

export function readStats(from: ReplyReader): ClientStats {
  return {
    router: { totalNodes: from.safe() },
    pool: { activeConnections: from.safe() },
    topology: { epoch: from.u64(), cachedLeaders: from.safe() },
    requests: {
      total: from.safe(),
      failed: from.safe(),
      retried: from.safe(),
      inFlight: from.safe(),
      latencyMs: { p50: from.f64(), p95: from.f64(), p99: from.f64() },
    },
  };
}

/** The counts of a client that was closed. */
export const NO_STATS: ClientStats = {
  router: { totalNodes: 0 },
  pool: { activeConnections: 0 },
  topology: { epoch: 0n, cachedLeaders: 0 },
  requests: {
    total: 0,
    failed: 0,
    retried: 0,
    inFlight: 0,
    latencyMs: { p50: 0, p95: 0, p99: 0 },
  },
};
