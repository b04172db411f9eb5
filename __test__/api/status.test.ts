import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { KeyNotFoundError, VERSION } from '@norikv/client';
import type { ClusterView, NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

describe.each(kinds)('status of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  test('what it is, what it has, its limits', async () => {
    const status = await client.status();
    expect(status.store).toBe(kind.holds);
    expect(status.durability).toBe(kind.holds === 'memory' ? 'memory' : 'fsync');
    expect(status.features).toEqual(
      expect.arrayContaining(['range', 'deleteRange', 'ifNotExists', 'history']),
    );
    expect(status.limits.maxKeyBytes).toBe(1024 - kind.prefixBytes);
    expect(status.limits.maxValueBytes).toBe(1024 * 1024);
    expect(status.limits.maxBatchOps).toBeGreaterThanOrEqual(1);
    expect(status.limits.maxPageEntries).toBeGreaterThanOrEqual(1);
    expect(status.features.includes('vectors')).toBe(kind.vectors);
    // What answers is etcd itself, where nothing of ours is in between.
    expect(status.software).toContain(kind.holds === 'etcd' && !kind.served ? 'etcd 3.' : VERSION);
  });

  test('its version is that of the newest write', async () => {
    const version = await client.put('a', '1');
    const status = await client.status();
    expect(status.version.equals(version)).toBe(true);
    expect(status.sizes.compactVersion.compare(version)).toBeLessThanOrEqual(0);
    if (kind.holds === 'memory') expect(status.sizes.diskBytes).toBe(0);
    else expect(status.sizes.diskBytes).toBeGreaterThan(0);
  });

  test('a client counts its calls, and those that failed', async () => {
    const before = client.getStats().requests;
    await client.put('counted', '1');
    await client.put('counted', '2', { timeoutMs: 5000 });
    await failure(KeyNotFoundError, () => client.get('missing'));
    await client.put('counted', '3', { ifNotExists: true }).catch(() => undefined);
    const { requests, topology, pool, router } = client.getStats();
    expect(requests.total - before.total).toBeGreaterThanOrEqual(4);
    expect(requests.failed - before.failed).toBeGreaterThanOrEqual(1);
    expect(requests.inFlight).toBe(0);
    expect(requests.latencyMs.p50).toBeLessThanOrEqual(requests.latencyMs.p95);
    expect(requests.latencyMs.p95).toBeLessThanOrEqual(requests.latencyMs.p99);
    expect(typeof topology.epoch).toBe('bigint');
    expect(router.totalNodes).toBe(kind.remote ? 1 : 0);
    if (kind.remote) expect(pool.activeConnections).toBeGreaterThanOrEqual(1);
    else expect(pool.activeConnections).toBe(0);
  });

  test('the view of the cluster is that of the server, and there is none without one', async () => {
    if (!kind.served) {
      expect(client.getClusterView()).toBeNull();
      return;
    }
    const view = await new Promise<ClusterView>((resolve) => {
      const stop = client.onTopologyChange((seen) => {
        resolve(seen);
        queueMicrotask(() => {
          stop();
        });
      });
    });
    expect(view.nodes).toHaveLength(1);
    expect(view.nodes[0]?.role).toBe('leader');
    expect(typeof view.epoch).toBe('bigint');
    expect(client.getClusterView()).toEqual(view);
  });
});
