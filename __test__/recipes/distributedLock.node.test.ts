// Only Node has a proxy that loses replies, and processes that can be looked at from outside.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { DistributedLock } from '@norikv/client/recipes';
import { script } from '../faults/children';
import type { Proxy } from '../faults/proxy';
import { gated } from './gate';
import { remote } from './remote';
import type { Remote } from './remote';
import { fired, keysBecome } from './settle';

let store: Remote;
let proxy: Proxy;
let direct: NoriKVClient;
let through: NoriKVClient;

beforeEach(async () => {
  store = await remote();
  ({ proxy } = store);
  direct = await NoriKVClient.open(store.address);
  through = await NoriKVClient.open(store.through);
});
afterEach(async () => {
  await through.close();
  await direct.close();
  await store.stop();
});

/** Keeps the replies until something is in the store, then breaks the connection off. */
async function loseReply(arrived: Promise<unknown>): Promise<void> {
  store.holdReplies();
  await arrived;
  proxy.cut();
}

test('a lock whose reply was lost is held once, and free once it is unlocked (naively, its holder never learns of it)', async () => {
  const gate = gated(through);
  await using lock = new DistributedLock(gate.client, { key: 'a' });
  await lock.lock();
  await lock.unlock();
  const arrived = keysBecome(direct, 'lock/a/', 1);
  gate.beforeNext('commit', () => {
    void loseReply(arrived);
    return Promise.resolve();
  });
  await lock.lock();
  expect(lock.isHeld()).toBe(true);
  expect(await direct.count({ prefix: 'lock/a/' })).toBe(1);
  await using other = new DistributedLock(direct, { key: 'a' });
  expect(await other.tryLock()).toBe(false);
  await lock.unlock();
  expect(await other.tryLock()).toBe(true);
});

test('a lock that is given back while its reply is lost is free, and gone only once', async () => {
  const gate = gated(through);
  await using lock = new DistributedLock(gate.client, { key: 'a' });
  await lock.lock();
  await using next = new DistributedLock(direct, { key: 'a' });
  const arrived = keysBecome(direct, 'lock/a/', 0);
  gate.beforeNext('commit', () => {
    void loseReply(arrived);
    return Promise.resolve();
  });
  await lock.unlock();
  expect(lock.isHeld()).toBe(false);
  expect(await next.tryLock()).toBe(true);
});

test('a holder that is cut off stops holding before another holds (by the clock of the store, it would be too late)', async () => {
  await using lock = new DistributedLock(through, { key: 'a', ttlMs: 1_000 });
  await using next = new DistributedLock(direct, { key: 'a' });
  await lock.lock();
  const signal = lock.signal!;
  await proxy.stop();
  await next.lock();
  // Asked in the very moment in which the other has it; the signal fires by then, or is about to.
  expect(lock.isHeld()).toBe(false);
  await fired(signal);
});

test('a lock whose holder ends without a word is free once its lease has run out, and keeps no process alive', async () => {
  const { code, took } = await script(
    `const { DistributedLock } = require('@norikv/client/recipes');
     const client = await NoriKVClient.open(args.address);
     const lock = new DistributedLock(client, { key: 'a', ttlMs: 1_000 });
     await lock.lock();
     process.exit(0);`,
    { address: store.address },
  );
  expect([code, took < 15_000]).toEqual([0, true]);
  expect(await direct.count({ prefix: 'lock/a/' })).toBe(1);
  await using lock = new DistributedLock(direct, { key: 'a' });
  await lock.lock({ timeoutMs: 10_000 });
});

test('a lock whose watch cannot begin, since its store is away, is held for as long as its lease lives, and followed again', async () => {
  const gate = gated(through);
  await using lock = new DistributedLock(gate.client, { key: 'a', ttlMs: 30_000 });
  await lock.lock();
  const signal = lock.signal!;
  await proxy.stop();
  while (gate.count('watch') < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  expect([lock.isHeld(), signal.aborted]).toEqual([true, false]);
  await proxy.accept();
  await direct.deleteRange({ prefix: 'lock/a/' });
  expect(String(await fired(signal))).toMatch(/somebody deleted/);
});
