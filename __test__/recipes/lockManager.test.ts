import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  InternalError,
  InvalidArgumentError,
  LeaseLostError,
  PermissionDeniedError,
  UnavailableError,
  op,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { DistributedLock, LockManager } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';
import { fired, keysBecome, settled } from './settle';

describe.each([memory, servedFile])('LockManager on $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  let managers: LockManager[];
  const managerOf = (of: NoriKVClient = client): LockManager => {
    const manager = new LockManager(of, { ttlMs: 10_000 });
    managers.push(manager);
    return manager;
  };

  beforeEach(async () => {
    store = await kind.open();
    client = store.client;
    managers = [];
  });
  afterEach(async () => {
    for (const manager of managers) await manager.close();
    expect(await client.count({ prefix: '' })).toBe(0);
    await store.close();
  });

  test('many locks have one lease', async () => {
    const manager = managerOf();
    await manager.acquire('a');
    await manager.acquire(['c', 'b']);
    const leases = await client.scan({ prefix: 'lock/' }).toArray();
    expect(new Set(leases.map(({ lease }) => lease)).size).toBe(1);
    expect(manager.held).toEqual(['a', 'b', 'c']);
  });

  test('a name that the manager holds is waited for by its own users too (one lease is not one holder)', async () => {
    const manager = managerOf();
    const first = await manager.acquire('a');
    const second = manager.acquire('a');
    await keysBecome(client, 'lock/a/', 2);
    expect(await settled(second)).toBe(false);
    await first.release();
    const locks = await second;
    expect(first.isHeld()).toBe(false);
    expect(locks.isHeld()).toBe(true);
    expect(locks.token.compare(first.token)).toBeGreaterThan(0);
    expect(manager.held).toEqual(['a']);
  });

  test('it excludes a DistributedLock of the same name', async () => {
    await using lock = new DistributedLock(client, { key: 'a' });
    await lock.lock();
    const acquiring = managerOf().acquire('a');
    await keysBecome(client, 'lock/a/', 2);
    expect(await settled(acquiring)).toBe(false);
    await lock.unlock();
    await acquiring;
    expect(await lock.tryLock()).toBe(false);
  });

  test('two that want the same names in opposite orders both get them (locking one by one, they wait forever)', async () => {
    const [one, two] = [managerOf(), managerOf(await store.another())];
    const order: string[] = [];
    const work = async (manager: LockManager, names: string[], who: string): Promise<void> => {
      for (let round = 0; round < 10; round++) {
        const locks = await manager.acquire(names);
        order.push(who);
        await locks.release();
      }
    };
    await Promise.all([work(one, ['a', 'b', 'c'], '1'), work(two, ['c', 'b', 'a'], '2')]);
    expect(order).toHaveLength(20);
  });

  test('several names are all or none: giving up while one is waited for leaves none', async () => {
    const [one, two] = [managerOf(), managerOf()];
    await one.acquire('b');
    const abort = new AbortController();
    const acquiring = two.acquire(['a', 'b'], { signal: abort.signal });
    await keysBecome(client, 'lock/', 3);
    abort.abort();
    await expect(acquiring).rejects.toBeInstanceOf(CancelledError);
    expect(two.held).toEqual([]);
    expect(await client.count({ prefix: 'lock/a/' })).toBe(0);
    expect(await client.count({ prefix: 'lock/b/' })).toBe(1);
  });

  test('a place that an attempt took whose reply was lost is not left behind when the next attempt fails for good', async () => {
    const gate = gated(client);
    const manager = managerOf(gate.client);
    const other = await manager.acquire('a');
    gate.afterNext('commit', () =>
      Promise.reject(new UnavailableError('lost', { outcome: 'unknown' })),
    );
    gate.beforeNext('commit', () => Promise.resolve());
    gate.beforeNext('commit', () => Promise.reject(new PermissionDeniedError('no more')));
    await expect(manager.acquire('b')).rejects.toMatchObject({ outcome: 'unknown' });
    // The lease lives on with the other lock, and must not keep what was left on it.
    await keysBecome(client, 'lock/b/', 0);
    expect(other.isHeld()).toBe(true);
  });

  test('what was acquired together is given back together, in one round trip each way', async () => {
    const gate = gated(client);
    // What is held for longer is watched, and on a slow machine it is held for longer.
    const trips = (): number => gate.total() - gate.count('watch');
    const manager = managerOf(gate.client);
    await manager.acquire('z');
    const before = trips();
    await manager.acquire(['a', 'b', 'c']);
    expect(trips()).toBe(before + 1);
    await manager.release('b');
    expect(trips()).toBe(before + 2);
    expect(manager.held).toEqual(['z']);
    await manager.release(['z']);
    expect(await client.count({ prefix: 'lock/' })).toBe(0);
  });

  test('guards() keep out the writes of one whose locks were lost, of any of them', async () => {
    const manager = managerOf();
    const locks = await manager.acquire(['a', 'b']);
    const write = (): Promise<{ readonly succeeded: boolean }> =>
      client
        .txn()
        .if(...locks.guards())
        .then(op.put('x', '1'))
        .commit();
    expect((await write()).succeeded).toBe(true);
    await client.delete('x');
    await client.deleteRange({ prefix: 'lock/b/' });
    expect((await write()).succeeded).toBe(false);
    expect(await fired(locks.signal)).toBeInstanceOf(LeaseLostError);
    expect(manager.held).toEqual([]);
    await expect(locks.release()).rejects.toBeInstanceOf(LeaseLostError);
    // The other key is not left behind.
    expect(await client.count({ prefix: 'lock/' })).toBe(0);
  });

  test('who gives up while the reply is under way leaves no place, though the lease lives on (revoking it would end the other locks)', async () => {
    const gate = gated(client);
    const manager = managerOf(gate.client);
    const first = await manager.acquire('a');
    const lost = new CancelledError('cancelled', { outcome: 'unknown' });
    gate.afterNext('commit', () => Promise.reject(lost));
    await expect(manager.acquire(['b', 'c'])).rejects.toBe(lost);
    await keysBecome(client, 'lock/', 1);
    await using other = new DistributedLock(client, { key: 'b' });
    expect(await other.tryLock()).toBe(true);
    expect(first.isHeld()).toBe(true);
  });

  test('a lock that could not be given back is free once the store answers, though the lease lives on with others', async () => {
    const gate = gated(client);
    const manager = managerOf(gate.client);
    const first = await manager.acquire('a');
    const second = await manager.acquire('b');
    gate.beforeNext('commit', () => Promise.reject(new InternalError('not now')));
    await second.release();
    await keysBecome(client, 'lock/b/', 0);
    expect(first.isHeld()).toBe(true);
  });

  test('close() tells who works with its locks to stop', async () => {
    const manager = managerOf();
    const { signal } = await manager.acquire('a');
    await manager.close();
    expect(signal.reason).toBeInstanceOf(LeaseLostError);
  });

  test('what cannot be is refused, and nothing is written', async () => {
    const manager = managerOf();
    const many = Array.from({ length: 43 }, (_, at) => String(at));
    for (const names of ['', [], ['a', 'a'], ['a', ''], many, 7, null, undefined, ['\ud800']]) {
      await expect(manager.acquire(names as string)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    await expect(manager.release('a')).rejects.toBeInstanceOf(InvalidArgumentError);
    for (const options of [{ ttlMs: 0 }, { ttl: 7 }, null, 7]) {
      expect(() => new LockManager(client, options as object)).toThrow(InvalidArgumentError);
    }
    expect(await client.count({ prefix: '' })).toBe(0);
    await manager.acquire(many.slice(1));
    expect(manager.held).toHaveLength(42);
  });
});
