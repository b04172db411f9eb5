// Locks: one holder at a time, in the order in which they came, with a token that tells late writes from new ones.
import assert from 'node:assert/strict';
import { op } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { DistributedLock, LockManager, ReadWriteLock } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

await using client = await openClient();
const store = client.namespace('examples/lock/');
await oneAtATime(store);
await withoutWaiting(store);
await fenced(store);
await readersAndWriters(store);
await severalAtOnce(store);
assert.equal(await store.count({ prefix: '' }), 0);

/** Three workers change one text, each reading what the one before wrote. */
async function oneAtATime(store: NoriKVClient): Promise<void> {
  const work = async (worker: string): Promise<void> => {
    await using lock = new DistributedLock(store, { key: 'journal', ttlMs: 10_000 });
    await lock.withLock(async (signal) => {
      const before = (await store.getOrNull('journal', { signal }))?.text() ?? '';
      await store.put('journal', `${before}${worker} `, { signal });
    });
  };
  await Promise.all(['ada', 'grace', 'edsger'].map(work));
  const journal = (await store.get('journal')).text();
  console.log('everybody wrote once:', journal.split(' ').filter(Boolean).length === 3);
  assert.deepEqual(journal.trim().split(' ').sort(), ['ada', 'edsger', 'grace']);
  await store.delete('journal');
}

async function withoutWaiting(store: NoriKVClient): Promise<void> {
  await using mine = new DistributedLock(store, { key: 'report' });
  await using yours = new DistributedLock(store, { key: 'report' });
  assert.equal(await mine.tryLock(), true);
  console.log('you get it while I have it:', await yours.tryLock());
  await mine.unlock();
  console.log('and once I gave it back:', await yours.tryLock());
}

/** What a holder that was paused writes too late is kept out by its token. */
async function fenced(store: NoriKVClient): Promise<void> {
  await using old = new DistributedLock(store, { key: 'resource' });
  await using next = new DistributedLock(store, { key: 'resource' });
  await old.lock();
  const late = old.guard();
  await old.unlock();
  await next.lock();
  const write = store.txn().then(op.put('resource', 'mine'));
  console.log('a late write is made:', (await write.if(late).commit()).succeeded);
  console.log("the holder's is made:", (await write.if(next.guard()).commit()).succeeded);
  await store.delete('resource');
}

async function readersAndWriters(store: NoriKVClient): Promise<void> {
  await using one = new ReadWriteLock(store, 'catalog', 10_000);
  await using two = new ReadWriteLock(store, 'catalog', 10_000);
  await using writer = new ReadWriteLock(store, 'catalog', 10_000);
  await Promise.all([one.rLock(), two.rLock()]);
  console.log('they read together:', one.isHeld(), two.isHeld());
  const writing = writer.withWrite(() => {
    console.log('the writer is alone:', !one.isHeld() && !two.isHeld());
  });
  await Promise.all([one.rUnlock(), two.rUnlock()]);
  await writing;
}

async function severalAtOnce(store: NoriKVClient): Promise<void> {
  await using locks = new LockManager(store, { ttlMs: 10_000 });
  const accounts = await locks.acquire(['account/2', 'account/1']);
  console.log('held together:', locks.held.join(' and '));
  await accounts.release();
  assert.deepEqual(locks.held, []);
}
