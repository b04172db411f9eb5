import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import {
  AlreadyExistsError,
  ClosedError,
  InvalidArgumentError,
  LeaseLostError,
  LeaseNotFoundError,
  op,
} from '@norikv/client';
import type { Lease, NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { kinds, memory } from './stores';
import type { TestStore } from './stores';

const text = (key: Uint8Array): string => new TextDecoder().decode(key);

describe.each(kinds)('leases of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  beforeEach(async () => {
    await client.deleteRange({ prefix: '' });
  });
  afterAll(() => store.close());

  /** Resolves after that time, by the store's clock. */
  async function passed(ms: number): Promise<void> {
    const watch = client.watch({ key: 'clock' }, { puts: false });
    await watch.ready;
    await client.put('clock', '', { ttlMs: ms });
    for await (const { events } of watch) if (events.length > 0) break;
  }

  test('keys put with a lease go together, in one revision, when it is revoked', async () => {
    const lease = await client.lease({ ttlMs: 60_000 });
    expect(lease.id > 0n).toBe(true);
    expect(lease.ttlMs).toBeGreaterThanOrEqual(60_000);
    await lease.put('a', '1');
    await client.put('b', '2', { lease });
    await client.put('c', '3', { lease: lease.id });
    expect((await client.get('b')).lease).toBe(lease.id);
    const before = (await client.status()).version;
    await lease.revoke();
    expect((await client.status()).version.index).toBe(before.index + 1n);
    expect(await client.count({ prefix: '' })).toBe(0);
  });

  test('it keeps itself alive for longer than its time to live', async () => {
    const lease = await client.lease({ ttlMs: 1_000 });
    await lease.put('a', '1');
    await passed(2_500);
    expect(lease.signal.aborted).toBe(false);
    expect((await client.get('a')).text()).toBe('1');
    await lease.revoke();
  });

  test('put takes the options of a put and answers what it does', async () => {
    const lease = await client.lease({ ttlMs: 60_000 });
    const version = await lease.put('a', '1', { ifNotExists: true });
    await failure(AlreadyExistsError, () => lease.put('a', '2', { ifNotExists: true }));
    const { prevEntry } = await lease.put('a', '2', { ifMatchVersion: version, prevEntry: true });
    expect(prevEntry?.text()).toBe('1');
    await lease.revoke();
  });

  test('a put without the lease takes the key off it', async () => {
    const lease = await client.lease({ ttlMs: 60_000 });
    await lease.put('a', '1');
    await client.put('a', '2');
    expect((await client.get('a')).lease).toBeNull();
    await lease.revoke();
    expect((await client.get('a')).text()).toBe('2');
  });

  test('timeToLive answers what was granted, what is left, and the keys if they are asked for', async () => {
    const lease = await client.lease({ ttlMs: 60_000 });
    await lease.put('b', '1');
    await lease.put('a', '1');
    const { grantedMs, remainingMs, keys } = await lease.timeToLive({ keys: true });
    expect([grantedMs, keys.map(text)]).toEqual([lease.ttlMs, ['a', 'b']]);
    expect(remainingMs).toBeGreaterThan(0);
    expect(remainingMs).toBeLessThanOrEqual(grantedMs);
    expect((await lease.timeToLive()).keys).toEqual([]);
    await lease.revoke();
  });

  test('a lease that was revoked is lost: it says so, and refuses every use', async () => {
    const lease = await client.lease({ ttlMs: 60_000 });
    const { signal, lost } = lease;
    const fired = new Promise((resolve) => {
      signal.addEventListener('abort', resolve);
    });
    await lease.revoke();
    await fired;
    const reason = await lost;
    expect(reason).toBeInstanceOf(LeaseLostError);
    expect([reason.code, reason.lease, signal.aborted]).toEqual(['LEASE_LOST', lease.id, true]);
    expect(signal.reason).toBe(reason);
    const uses = [
      () => lease.put('a', '1'),
      () => client.put('a', '1', { lease }),
      () => client.put('a', '1', { lease: lease.id }),
      () => op.put('a', '1', { lease }),
      () =>
        client
          .txn()
          .then(op.put('a', '1', { lease: lease.id }))
          .commit(),
      () => client.update('a', () => '1', { lease }),
      () => lease.timeToLive(),
      () => lease.revoke(),
    ];
    for (const use of uses) {
      expect((await failure(LeaseLostError, use)).lease).toBe(lease.id);
    }
    expect(await client.getOrNull('a')).toBeNull();
  });

  test('await using revokes at the end of the block, and a second time is none', async () => {
    {
      await using lease = await client.lease({ ttlMs: 60_000 });
      await lease.put('a', '1');
    }
    expect(await client.getOrNull('a')).toBeNull();
    await using lease = await client.lease({ ttlMs: 60_000 });
    await lease.revoke();
  });

  test('a transaction and an update write with a lease', async () => {
    const lease = await client.lease({ ttlMs: 60_000 });
    await client
      .txn()
      .then(op.put('a', '1', { lease }))
      .commit();
    await client.update('b', () => '1', { lease });
    expect((await lease.timeToLive({ keys: true })).keys.map(text)).toEqual(['a', 'b']);
    await lease.revoke();
  });

  test('in a namespace, a lease writes and lists under its prefix', async () => {
    const part = client.namespace('ns/');
    const lease = await part.lease({ ttlMs: 60_000 });
    await lease.put('a', '1');
    await client.put('b', '1', { lease });
    expect((await client.get('ns/a')).lease).toBe(lease.id);
    expect((await lease.timeToLive({ keys: true })).keys.map(text)).toEqual(['a']);
    await lease.revoke();
    expect(await client.count({ prefix: '' })).toBe(0);
  });

  test('what nobody granted is no lease, and bad input is refused before anything is written', async () => {
    await failure(LeaseNotFoundError, () => client.put('a', '1', { lease: 7n }));
    const plain = client as unknown as Record<'lease', (options?: unknown) => Promise<Lease>>;
    const bad = [
      undefined,
      null,
      5,
      {},
      { ttlMs: '1' },
      { ttlMs: 0 },
      { ttlMs: 1.5 },
      { ttlMs: 1e18 },
    ];
    for (const options of [...bad, { ttlMs: NaN }, { ttlMs: 1, keys: true }]) {
      await failure(InvalidArgumentError, () => plain.lease(options));
    }
    const lease = await client.lease({ ttlMs: 60_000 });
    const untyped = lease as unknown as Record<
      'put' | 'timeToLive',
      (...args: unknown[]) => Promise<unknown>
    >;
    for (const wrong of [0n, -1n, 2n ** 64n, 5, '7', null, {}]) {
      await failure(InvalidArgumentError, () =>
        client.put('a', '1', { lease: wrong as unknown as bigint }),
      );
    }
    await failure(InvalidArgumentError, () => client.put('a', '1', { lease, ttlMs: 5 }));
    await failure(InvalidArgumentError, () => untyped.put('a', '1', { ttlMs: 5 }));
    await failure(InvalidArgumentError, () => untyped.put('a', '1', { lease: 7n }));
    await failure(InvalidArgumentError, () => untyped.put('', '1'));
    await failure(InvalidArgumentError, () => untyped.timeToLive({ keys: 1 }));
    expect(await client.count({ prefix: '' })).toBe(0);
    await lease.revoke();
  });
});

test('closing the client revokes its leases, and tells them so', async () => {
  const store = await memory.open();
  const lease = await store.client.lease({ ttlMs: 60_000 });
  const { lost, signal } = lease;
  await store.client.close();
  expect((await lost).message).toContain('closed');
  expect(signal.aborted).toBe(true);
  await failure(ClosedError, () => lease.put('a', '1'));
  await failure(ClosedError, () => store.client.lease({ ttlMs: 1_000 }));
  await store.close();
});
