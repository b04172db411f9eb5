// Watches: every change of a key or a range, in order and each once, from now on or from an old version.
import assert from 'node:assert/strict';
import type { NoriKVClient, Watch, WatchEvent } from '@norikv/client';
import { openClient } from '../lib/store.js';

await using client = await openClient();
const store = client.namespace('examples/watch/');
// It tells nothing but that nothing is missing, every 10 s: begun first, and read last.
await using quiet = store.watch({ key: 'nothing' }, { progress: true });
await quiet.ready;

await oneKey(store);
await aPrefix(store);
await aRange(store);
await fromAVersion(store);
await previousValues(store);
await deletesOnly(store);
await progress(quiet);
await store.deleteRange({ prefix: '' });

/** Reads a watch until it has told so many changes, which ends it. */
async function changes(watch: Watch, count: number): Promise<WatchEvent[]> {
  const seen: WatchEvent[] = [];
  for await (const { events } of watch) {
    seen.push(...events);
    if (seen.length >= count) break;
  }
  assert.equal(seen.length, count);
  return seen;
}

function told({ type, entry, reason }: WatchEvent): string {
  return `${type} ${entry.keyText()}${type === 'put' ? `=${entry.text()}` : ` (${reason})`}`;
}

async function oneKey(store: NoriKVClient): Promise<void> {
  const watch = store.watch({ key: 'config/color' });
  await watch.ready;
  await store.put('config/color', 'blue');
  await store.put('config/colors', 'not this one');
  await store.delete('config/color');
  const seen = (await changes(watch, 2)).map(told);
  console.log('one key:', seen.join(', '));
  assert.deepEqual(seen, ['put config/color=blue', 'delete config/color (write)']);
}

async function aPrefix(store: NoriKVClient): Promise<void> {
  const watch = store.watch({ prefix: 'config/' });
  await watch.ready;
  await store.put('config/size', '7');
  await store.put('other', 'not this one');
  await store.put('config/shape', 'round', { ttlMs: 50 });
  // That it expired is a change as well.
  const seen = (await changes(watch, 3)).map(told);
  console.log('a prefix:', seen.join(', '));
  assert.equal(seen[2], 'delete config/shape (expired)');
}

async function aRange(store: NoriKVClient): Promise<void> {
  const watch = store.watch({ start: 'day/02', end: 'day/04' });
  await watch.ready;
  for (const day of ['01', '02', '03', '04']) await store.put(`day/${day}`, 'sunny');
  const seen = (await changes(watch, 2)).map(told);
  console.log('a range:', seen.join(', '));
  assert.deepEqual(seen, ['put day/02=sunny', 'put day/03=sunny']);
}

/** What is there is read at one version, and what came after it is replayed: nothing is missed between the two. */
async function fromAVersion(store: NoriKVClient): Promise<void> {
  const first = await store.put('history', 'a');
  await store.put('history', 'b');
  await store.put('history', 'c');
  const watch = store.watch({ key: 'history' }, { fromVersion: first });
  const seen = (await changes(watch, 3)).map((event) => event.entry.text());
  console.log('from version', `${first.toString()} on:`, seen.join(', '));
  assert.deepEqual(seen, ['a', 'b', 'c']);
}

async function previousValues(store: NoriKVClient): Promise<void> {
  const watch = store.watch({ key: 'light' }, { prevEntry: true });
  await watch.ready;
  await store.put('light', 'red');
  await store.put('light', 'green');
  for (const { prevEntry, entry } of await changes(watch, 2)) {
    console.log('changed from', prevEntry?.text() ?? 'nothing', 'to', entry.text());
  }
}

async function deletesOnly(store: NoriKVClient): Promise<void> {
  const watch = store.watch({ prefix: 'jobs/' }, { puts: false });
  await watch.ready;
  await store.put('jobs/1', 'waiting');
  await store.delete('jobs/1');
  const seen = (await changes(watch, 1)).map(told);
  console.log('deletes only:', seen.join(', '));
}

async function progress(watch: Watch): Promise<void> {
  for await (const { version, events } of watch) {
    console.log('progress:', events.length, 'changes, and none is missing up to', String(version));
    assert.equal(events.length, 0);
    break;
  }
}
