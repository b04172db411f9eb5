import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { DeadlineExceededError, InvalidArgumentError, LeaseLostError, op } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { ReadWriteLock } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';
import { fired, keysBecome, settled } from './settle';

describe.each([memory, servedFile])('ReadWriteLock on $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  let locks: ReadWriteLock[];
  const lockOf = (of: NoriKVClient = client, key = 'a'): ReadWriteLock => {
    const lock = new ReadWriteLock(of, key, 10_000);
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

  test('readers read together, and a writer waits for all of them', async () => {
    const [one, two, writer] = [lockOf(), lockOf(await store.another()), lockOf()];
    await one.rLock();
    await two.rLock();
    const writing = writer.lock();
    await keysBecome(client, 'rwlock/a/', 3);
    await one.rUnlock();
    await client.count({ prefix: '' });
    expect(await settled(writing)).toBe(false);
    await two.rUnlock();
    await writing;
    expect([one.isHeld(), two.isHeld(), writer.isHeld()]).toEqual([false, false, 'write']);
  });

  test('a reader that begins between the look and the write of a writer is waited for (a check before the write misses it)', async () => {
    const gate = gated(client);
    const [reader, writer] = [lockOf(), lockOf(gate.client)];
    gate.beforeNext('commit', () => reader.rLock());
    const writing = writer.lock();
    await keysBecome(client, 'rwlock/a/', 2);
    expect([reader.isHeld(), writer.isHeld()]).toEqual(['read', false]);
    await reader.rUnlock();
    await writing;
  });

  test('a writer is not starved: readers that come after it wait for it (a count of readers lets them pass)', async () => {
    const [early, writer, late] = [lockOf(), lockOf(), lockOf()];
    await early.rLock();
    const writing = writer.lock();
    await keysBecome(client, 'rwlock/a/', 2);
    const reading = late.rLock();
    await keysBecome(client, 'rwlock/a/', 3);
    expect(await settled(reading)).toBe(false);
    await early.rUnlock();
    await writing;
    expect(await settled(reading)).toBe(false);
    await writer.unlock();
    await reading;
    expect(late.isHeld()).toBe('read');
  });

  test('a writer that gives up lets the readers behind it read', async () => {
    const [early, writer, late] = [lockOf(), lockOf(), lockOf()];
    await early.rLock();
    const writing = writer.lock({ timeoutMs: 300 });
    await keysBecome(client, 'rwlock/a/', 2);
    const reading = late.rLock();
    await expect(writing).rejects.toBeInstanceOf(DeadlineExceededError);
    await reading;
    expect(late.isHeld()).toBe('read');
  });

  test('an upgrade is refused and does not wait for itself; so is reading while writing', async () => {
    const lock = lockOf();
    await lock.rLock();
    await expect(lock.lock()).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(lock.isHeld()).toBe('read');
    await lock.rUnlock();
    await lock.lock();
    await expect(lock.rLock()).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(lock.lock()).rejects.toBeInstanceOf(InvalidArgumentError);
    await lock.unlock();
    expect(lock.isHeld()).toBe(false);
  });

  test('one object reads several times, and reads until the last is over', async () => {
    const [lock, writer] = [lockOf(), lockOf()];
    await lock.rLock();
    await lock.rLock();
    const writing = writer.lock();
    await keysBecome(client, 'rwlock/a/', 3);
    await lock.rUnlock();
    expect(lock.isHeld()).toBe('read');
    expect(await settled(writing)).toBe(false);
    await lock.rUnlock();
    await writing;
  });

  test('a writer has a greater token than all before, and guards its writes by it', async () => {
    const [one, two] = [lockOf(), lockOf()];
    const first = await one.lock();
    const guard = one.guard();
    await one.unlock();
    const second = await two.lock();
    expect(second.compare(first)).toBeGreaterThan(0);
    const late = await client.txn().if(guard).then(op.put('x', '1')).commit();
    expect(late.succeeded).toBe(false);
  });

  test('withRead() and withWrite() hand on what comes, unlock, and tell of a loss', async () => {
    const lock = lockOf();
    expect(await lock.withRead(() => lock.isHeld())).toBe('read');
    expect(await lock.withWrite(() => lock.isHeld())).toBe('write');
    const failure = new Error('mine');
    await expect(lock.withWrite(() => Promise.reject(failure))).rejects.toBe(failure);
    const losing = lock.withRead(async (signal) => {
      await client.deleteRange({ prefix: 'rwlock/' });
      await fired(signal);
    });
    await expect(losing).rejects.toBeInstanceOf(LeaseLostError);
    expect(lock.isHeld()).toBe(false);
    await lock.lock();
  });

  test('a lock is one round trip, and so is giving it back', async () => {
    const gate = gated(client);
    // What is held for longer is watched, and on a slow machine it is held for longer.
    const trips = (): number => gate.total() - gate.count('watch');
    const lock = lockOf(gate.client);
    await lock.withRead(() => undefined);
    const before = trips();
    await lock.rLock();
    expect(trips()).toBe(before + 1);
    await lock.rUnlock();
    expect(trips()).toBe(before + 2);
  });

  test('two withRead() that begin in one moment end one read each (each takes the latest one for its own)', async () => {
    const gate = gated(client);
    const lock = lockOf(gate.client);
    await lock.withRead(() => undefined);
    let arrived = 0;
    let open: () => void = () => undefined;
    const both = new Promise<void>((resolve) => (open = resolve));
    const together = (): Promise<void> => {
      arrived += 1;
      if (arrived === 2) open();
      return both;
    };
    gate.afterNext('commit', together);
    gate.afterNext('commit', together);
    await Promise.all([lock.withRead(() => undefined), lock.withRead(() => undefined)]);
    expect(lock.isHeld()).toBe(false);
    expect(await client.count({ prefix: 'rwlock/' })).toBe(0);
  });

  test('a read that its function ended is not ended twice (an upgrade would be let in, and wait for itself)', async () => {
    const lock = lockOf();
    await lock.rLock();
    const done = lock.withRead(() => lock.rUnlock());
    await expect(done).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(lock.lock()).rejects.toBeInstanceOf(InvalidArgumentError);
    await lock.rUnlock();
    await lock.lock();
  });

  test('what cannot be is refused', async () => {
    for (const key of ['', '\udfff', 7, null, 'x'.repeat(300)]) {
      expect(() => new ReadWriteLock(client, key as string)).toThrow(InvalidArgumentError);
    }
    for (const ttlMs of [0, 1.5, NaN, '1']) {
      expect(() => new ReadWriteLock(client, 'a', ttlMs as number)).toThrow(InvalidArgumentError);
    }
    const lock = lockOf();
    await expect(lock.unlock()).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(lock.rUnlock()).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(lock.withRead(1 as never)).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(() => lock.guard()).toThrow(InvalidArgumentError);
  });
});
