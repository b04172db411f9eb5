import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  ClosedError,
  DeadlineExceededError,
  InvalidArgumentError,
  LeaseLostError,
  op,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { DistributedLock } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';
import { fired, keysBecome, settled } from './settle';

describe.each([memory, servedFile])('DistributedLock on $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  let locks: DistributedLock[];
  const lockOf = (of: NoriKVClient = client, key = 'a', ttlMs = 10_000): DistributedLock => {
    const lock = new DistributedLock(of, { key, ttlMs });
    locks.push(lock);
    return lock;
  };

  beforeEach(async () => {
    store = await kind.open();
    client = store.client;
    locks = [];
  });
  afterEach(async () => {
    for (const lock of locks) await lock.close();
    expect(await client.count({ prefix: '' })).toBe(0);
    await store.close();
  });

  test('one that locks between the look and the write of another goes first (check-then-put gives both the lock)', async () => {
    const gate = gated(await store.another());
    const slow = lockOf(gate.client);
    const fast = lockOf();
    gate.beforeNext('commit', () => fast.lock());
    const locking = slow.lock();
    await keysBecome(client, 'lock/a/', 2);
    expect(fast.isHeld()).toBe(true);
    expect(slow.isHeld()).toBe(false);
    await fast.unlock();
    await locking;
    expect(slow.isHeld()).toBe(true);
  });

  test('those who wait have the lock in the order in which they came', async () => {
    const first = lockOf();
    await first.lock();
    const order: number[] = [];
    const waiting: Promise<unknown>[] = [];
    for (let at = 0; at < 5; at++) {
      const lock = lockOf(at % 2 === 0 ? client : await store.another());
      waiting.push(
        lock.withLock(() => {
          order.push(at);
        }),
      );
      await keysBecome(client, 'lock/a/', at + 2);
    }
    await first.unlock();
    await Promise.all(waiting);
    expect(order).toEqual([0, 1, 2, 3, 4]);
  });

  test('each holder has a greater token than the one before', async () => {
    const [first, second] = [lockOf(), lockOf()];
    const tokens = [];
    for (const lock of [first, second, first]) {
      await lock.lock();
      tokens.push(lock.token!);
      await lock.unlock();
      expect(lock.token).toBeNull();
    }
    expect(tokens[1]!.compare(tokens[0]!)).toBeGreaterThan(0);
    expect(tokens[2]!.compare(tokens[1]!)).toBeGreaterThan(0);
  });

  test('a holder whose key was deleted is told, and does not hold when it is told (a heartbeat that only puts never learns)', async () => {
    const lock = lockOf();
    await lock.lock();
    const states: boolean[] = [];
    lock.signal!.addEventListener('abort', () => states.push(lock.isHeld()));
    await (await store.another()).deleteRange({ prefix: 'lock/' });
    expect(await fired(lock.signal!)).toBeInstanceOf(LeaseLostError);
    expect(states).toEqual([false]);
    expect(() => lock.guard()).toThrow(LeaseLostError);
    await expect(lock.unlock()).rejects.toThrow(/was lost before it was given back/);
  });

  test('an object locks again after it lost the lock', async () => {
    const lock = lockOf();
    await lock.lock();
    const signal = lock.signal!;
    await client.deleteRange({ prefix: 'lock/' });
    await fired(signal);
    await expect(lock.unlock()).rejects.toBeInstanceOf(LeaseLostError);
    await lock.lock();
    expect(lock.isHeld()).toBe(true);
  });

  test('unlocking what was lost leaves the lock of the next holder alone (a plain delete takes it away)', async () => {
    const [old, next] = [lockOf(), lockOf()];
    await old.lock();
    const signal = old.signal!;
    await client.deleteRange({ prefix: 'lock/' });
    await next.lock();
    await fired(signal);
    await expect(old.unlock()).rejects.toBeInstanceOf(LeaseLostError);
    await client.count({ prefix: '' });
    expect(next.isHeld()).toBe(true);
    expect(await client.count({ prefix: 'lock/a/' })).toBe(1);
  });

  test('guard() keeps out the write of a holder that is one no more (a check of isHeld before the write does not)', async () => {
    const [old, next] = [lockOf(), lockOf()];
    await old.lock();
    const guard = old.guard();
    await client.deleteRange({ prefix: 'lock/' });
    await next.lock();
    const write = (condition: typeof guard): Promise<{ readonly succeeded: boolean }> =>
      client.txn().if(condition).then(op.put('resource', 'x')).commit();
    expect((await write(guard)).succeeded).toBe(false);
    expect((await write(next.guard())).succeeded).toBe(true);
    await client.delete('resource');
  });

  test('a cancelled wait leaves no place in the queue', async () => {
    const [holder, waiting, behind] = [lockOf(), lockOf(), lockOf()];
    await holder.lock();
    const abort = new AbortController();
    const cancelled = waiting.lock({ signal: abort.signal });
    await keysBecome(client, 'lock/a/', 2);
    const last = behind.lock();
    await keysBecome(client, 'lock/a/', 3);
    abort.abort(new Error('no more'));
    await expect(cancelled).rejects.toBeInstanceOf(CancelledError);
    expect(await client.count({ prefix: 'lock/a/' })).toBe(2);
    await holder.unlock();
    await last;
    expect(behind.isHeld()).toBe(true);
    expect(waiting.isHeld()).toBe(false);
  });

  test('a wait ends with its time, and leaves no place in the queue', async () => {
    const [holder, waiting] = [lockOf(), lockOf()];
    await holder.lock();
    const late = waiting.lock({ timeoutMs: 50 });
    await expect(late).rejects.toBeInstanceOf(DeadlineExceededError);
    expect(await client.count({ prefix: 'lock/a/' })).toBe(1);
  });

  test('a signal that fired already locks nothing', async () => {
    const locking = lockOf().lock({ signal: AbortSignal.abort() });
    await expect(locking).rejects.toBeInstanceOf(CancelledError);
    expect(await client.count({ prefix: '' })).toBe(0);
  });

  test('a second lock() of one object waits (naively, both callers hold it)', async () => {
    const lock = lockOf();
    await lock.lock();
    const second = lock.lock();
    await client.count({ prefix: '' });
    expect(await settled(second)).toBe(false);
    await expect(lock.lock({ timeoutMs: 30 })).rejects.toBeInstanceOf(DeadlineExceededError);
    await lock.unlock();
    await second;
    expect(lock.isHeld()).toBe(true);
  });

  test('tryLock() takes a free lock, and leaves no place in the queue of one that is held', async () => {
    const [first, second] = [lockOf(), lockOf()];
    expect(await first.tryLock()).toBe(true);
    expect(await second.tryLock()).toBe(false);
    expect(await first.tryLock()).toBe(false);
    expect(await client.count({ prefix: 'lock/a/' })).toBe(1);
    await first.unlock();
    expect(await second.tryLock()).toBe(true);
  });

  test('withLock() hands on what its function answers or throws, and unlocks', async () => {
    const lock = lockOf();
    expect(await lock.withLock((signal) => [signal.aborted, lock.isHeld()])).toEqual([false, true]);
    expect(lock.isHeld()).toBe(false);
    const failure = new Error('mine');
    await expect(lock.withLock(() => Promise.reject(failure))).rejects.toBe(failure);
    expect(await client.count({ prefix: 'lock/a/' })).toBe(0);
  });

  test('withLock() says so if the lock was lost meanwhile, and the error of its function otherwise', async () => {
    const lock = lockOf();
    const lose = async (signal: AbortSignal): Promise<void> => {
      await client.deleteRange({ prefix: 'lock/' });
      await fired(signal);
    };
    await expect(lock.withLock(lose)).rejects.toBeInstanceOf(LeaseLostError);
    const failure = new Error('mine');
    const failing = lock.withLock(async (signal) => {
      await lose(signal);
      throw failure;
    });
    await expect(failing).rejects.toBe(failure);
  });

  test('a lock is one round trip, and so is giving it back; waiting asks nobody', async () => {
    const gate = gated(client);
    // What is held for longer is watched, and on a slow machine it is held for longer.
    const trips = (): number => gate.total() - gate.count('watch');
    const lock = lockOf(gate.client);
    await lock.lock();
    expect(trips()).toBe(2); // the lease, once, and the lock
    await lock.unlock();
    expect(trips()).toBe(3);
    await lock.lock();
    await lock.unlock();
    expect(trips()).toBe(5);
    const other = lockOf();
    await other.lock();
    const waiting = lock.lock();
    await keysBecome(client, 'lock/a/', 2);
    const before = gate.total();
    await client.put('b', '1');
    await client.delete('b');
    expect(gate.total() - before).toBeLessThanOrEqual(1); // the watch
    await other.unlock();
    await waiting;
    expect(gate.total() - before).toBeLessThanOrEqual(2);
  });

  test('different names do not exclude each other, whatever they hold', async () => {
    const names = ['a/b', 'a', 'a%2Fb', 'ä', 'constructor', '__proto__', ' '];
    const held = names.map((name) => lockOf(client, name));
    for (const lock of held) expect(await lock.tryLock()).toBe(true);
  });

  test('what cannot be a lock is refused, and nothing is written', async () => {
    const refused = [
      { key: '' },
      { key: 'x'.repeat(257) },
      { key: '\ud800' },
      { key: 7 },
      { key: undefined },
      {},
      { key: 'a', ttlMs: 0 },
      { key: 'a', ttlMs: -1 },
      { key: 'a', ttlMs: 1.5 },
      { key: 'a', ttlMs: NaN },
      { key: 'a', ttl: 10_000 },
      null,
    ];
    for (const options of refused) {
      expect(() => new DistributedLock(client, options as { key: string })).toThrow(
        InvalidArgumentError,
      );
    }
    const lock = lockOf();
    await expect(lock.unlock()).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(() => lock.guard()).toThrow(InvalidArgumentError);
    await expect(lock.lock({ timeoutMs: 0 })).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(lock.withLock('work' as never)).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(await client.count({ prefix: '' })).toBe(0);
  });

  test('one that waited for longer than the history is kept holds, and hears of its loss (a watch from then on cannot begin)', async () => {
    const [first, second] = [lockOf(), lockOf(await store.another())];
    await first.lock();
    const locking = second.lock();
    await keysBecome(client, 'lock/a/', 2);
    for (const round of ['1', '2', '3']) await client.put('x', round);
    await client.delete('x');
    await client.compact(await client.put('x', '4'));
    await client.delete('x');
    const gate = gated(client);
    const third = lockOf(gate.client);
    await first.unlock();
    await locking;
    const signal = second.signal!;
    // Its place is taken after the watch of the other can have begun.
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect([second.isHeld(), signal.aborted, await third.tryLock()]).toEqual([true, false, false]);
    await client.deleteRange({ prefix: 'lock/' });
    expect(await fired(signal)).toBeInstanceOf(LeaseLostError);
    await expect(second.unlock()).rejects.toBeInstanceOf(LeaseLostError);
  });

  test('close() tells the function of withLock to stop, and that it was done without the lock', async () => {
    const lock = lockOf();
    const done = lock.withLock(async (signal) => {
      await Promise.all([fired(signal), lock.close()]);
    });
    await expect(done).rejects.toBeInstanceOf(LeaseLostError);
  });

  test('withLock gives back its own holding, and not the one that came after it', async () => {
    const lock = lockOf();
    const done = lock.withLock(async () => {
      await lock.unlock();
      await lock.lock();
    });
    await expect(done).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(lock.isHeld()).toBe(true);
  });

  test('closing gives the lock back, twice is once, and a closed one locks no more', async () => {
    const [lock, next] = [lockOf(), lockOf()];
    await lock.lock();
    const waiting = next.lock();
    await keysBecome(client, 'lock/a/', 2);
    await lock.close();
    await lock.close();
    await waiting;
    expect(lock.isHeld()).toBe(false);
    await expect(lock.lock()).rejects.toBeInstanceOf(ClosedError);
  });
});
