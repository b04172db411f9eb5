import type { ClientStats, ClusterView, Status } from '../index.js';
import { Version } from './version.js';

/** The core's JSON with its 64-bit numbers as text, since JSON's are not exact. */
type Raw<T> = {
  readonly [K in keyof T]: T[K] extends bigint | Version
    ? string
    : T[K] extends readonly unknown[] | string | number
      ? T[K]
      : Raw<T[K]>;
};

export function statusOf(json: string): Status {
  const raw = JSON.parse(json) as Raw<Status>;
  return {
    ...raw,
    version: Version.parse(raw.version),
    sizes: { ...raw.sizes, compactVersion: Version.parse(raw.sizes.compactVersion) },
  };
}

export function clusterViewOf(json: string): ClusterView {
  const raw = JSON.parse(json) as Raw<ClusterView>;
  return { ...raw, epoch: BigInt(raw.epoch) };
}

const NONE = {
  router: { totalNodes: 0 },
  pool: { activeConnections: 0 },
  topology: { epoch: '0', cachedLeaders: 0 },
  requests: {
    total: 0,
    failed: 0,
    retried: 0,
    inFlight: 0,
    latencyMs: { p50: 0, p95: 0, p99: 0 },
  },
} as const;

/** The counts of a client; `null` after it was closed. */
export function statsOf(json: string | null): ClientStats {
  const raw = json === null ? NONE : (JSON.parse(json) as Raw<ClientStats>);
  return { ...raw, topology: { ...raw.topology, epoch: BigInt(raw.topology.epoch) } };
}
