import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  ClosedError,
  CompactedError,
  InvalidArgumentError,
  op,
} from '@norikv/client';
import type { NoriKVClient, Watch, WatchBatch } from '@norikv/client';
import { failure } from './errors';
import { kinds, memory } from './stores';
import type { TestStore } from './stores';

/** The next batches of a watch, which goes on. */
class Reader {
  readonly #iterator: AsyncIterator<WatchBatch, undefined>;
  constructor(watch: Watch) {
    this.#iterator = watch[Symbol.asyncIterator]();
  }

  async next(): Promise<WatchBatch> {
    const { value } = await this.#iterator.next();
    if (value === undefined) throw new Error('the watch is over');
    return value;
  }

  /** Events as text, until there are that many. */
  async events(count: number): Promise<string[]> {
    const seen: string[] = [];
    while (seen.length < count) {
      for (const { type, entry, reason, prevEntry } of (await this.next()).events) {
        const why = reason === 'write' ? '' : ` ${reason}`;
        const before = prevEntry === undefined ? '' : ` <${prevEntry.text()}`;
        seen.push(`${type} ${entry.keyText()} ${entry.text()}${before}${why}`);
      }
    }
    return seen;
  }
}

describe.each(kinds)('watches of $name', (kind) => {
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

  test('a watch sees what happens after the version that ready answers, and nothing before', async () => {
    await client.put('a', 'before');
    await using watch = client.watch({ prefix: 'a' });
    const start = await watch.ready;
    expect((await client.status()).version.equals(start)).toBe(true);
    const version = await client.put('a', 'after');
    await client.put('b', 'not watched');
    await client.delete('a');
    const reader = new Reader(watch);
    const first = await reader.next();
    expect(first.version.equals(version)).toBe(true);
    expect(first.events[0]?.entry.version.equals(version)).toBe(true);
    expect(first.events[0]?.entry.text()).toBe('after');
    expect(first.events[0]).not.toHaveProperty('prevEntry');
    expect(await reader.events(1)).toEqual(['delete a ']);
  });

  test('all events of a transaction are in one batch, with the entries before', async () => {
    await client.put('a', '1');
    await using watch = client.watch({ prefix: '' }, { prevEntry: true });
    await watch.ready;
    const { version } = await client
      .txn()
      .then(op.put('a', '2'), op.put('b', '1'), op.delete('a2'))
      .commit();
    const batch = await new Reader(watch).next();
    expect(batch.version.equals(version)).toBe(true);
    expect(
      batch.events.map(({ entry, prevEntry }) => [entry.keyText(), prevEntry?.text()]),
    ).toEqual([
      ['a', '1'],
      ['b', undefined],
    ]);
  });

  test('fromVersion is inclusive and replays history', async () => {
    const version = await client.put('a', '1');
    await client.put('a', '2');
    await client.delete('a');
    await using watch = client.watch({ key: 'a' }, { fromVersion: version });
    await client.put('a', '3');
    expect(await new Reader(watch).events(4)).toEqual([
      'put a 1',
      'put a 2',
      'delete a ',
      'put a 3',
    ]);
  });

  test('a key, a range, puts only, deletes only: each sees its own', async () => {
    const watches = [
      client.watch({ key: 'b' }),
      client.watch({ start: 'b', end: 'c' }),
      client.watch({ prefix: '' }, { puts: false }),
      client.watch({ start: 'c' }, { deletes: false }),
    ];
    await Promise.all(watches.map(({ ready }) => ready));
    for (const key of ['a', 'b', 'b1', 'c']) await client.put(key, '1');
    for (const key of ['c', 'b1', 'b']) await client.delete(key);
    await client.put('c', '2');
    const seen = await Promise.all(
      watches.map((watch, at) => new Reader(watch).events([2, 4, 3, 2][at] ?? 0)),
    );
    expect(seen).toEqual([
      ['put b 1', 'delete b '],
      ['put b 1', 'put b1 1', 'delete b1 ', 'delete b '],
      ['delete c ', 'delete b1 ', 'delete b '],
      ['put c 1', 'put c 2'],
    ]);
    await Promise.all(watches.map((watch) => watch.close()));
  });

  test('an event says why, where the store knows it: its time to live, or its lease', async () => {
    await using watch = client.watch({ prefix: '' }, { prevEntry: true });
    await watch.ready;
    const reader = new Reader(watch);
    await client.put('a', '1', { ttlMs: 20 });
    expect(await reader.events(2)).toEqual([
      'put a 1',
      `delete a  <1${kind.reasons ? ' expired' : ''}`,
    ]);
    const lease = await client.lease({ ttlMs: 60_000 });
    await Promise.all([lease.put('b', '1'), lease.put('c', '1')]);
    await reader.events(2);
    await lease.revoke();
    const { events } = await reader.next();
    expect(events.map(({ entry, reason }) => [entry.keyText(), reason])).toEqual([
      ['b', kind.reasons ? 'lease' : 'write'],
      ['c', kind.reasons ? 'lease' : 'write'],
    ]);
  });

  test('a version that was compacted: ready and the iterator fail, and say what can be read', async () => {
    const first = await client.put('a', '1');
    const second = await client.put('a', '2');
    await client.compact(second);
    const watch = client.watch({ key: 'a' }, { fromVersion: first });
    const reader = new Reader(watch);
    const error = await failure(CompactedError, () => reader.next());
    expect(error.compactVersion?.equals(second)).toBe(true);
    await expect(reader.next()).rejects.toThrow('over');
  });

  test('leaving the loop ends the watch; close() ends a loop that waits', async () => {
    const watch = client.watch({ prefix: '' });
    await watch.ready;
    await client.put('a', '1');
    for await (const { events } of watch) {
      expect(events.length).toBe(1);
      break;
    }
    await failure(InvalidArgumentError, () => watch[Symbol.asyncIterator]());
    const other = client.watch({ prefix: '' });
    const waiting = other[Symbol.asyncIterator]().next();
    await other.close();
    expect((await waiting).done).toBe(true);
    await other.close();
  });

  test('the signal ends it: what is unread is dropped, and the reason is the cause', async () => {
    const controller = new AbortController();
    const watch = client.watch({ prefix: '' }, { signal: controller.signal });
    await watch.ready;
    const reader = new Reader(watch);
    const waiting = reader.next();
    const reason = new Error('enough');
    controller.abort(reason);
    const error = await failure(CancelledError, () => waiting);
    expect([error.name, error.cause]).toEqual(['AbortError', reason]);
    const never = client.watch({ prefix: '' }, { signal: controller.signal });
    await failure(CancelledError, () => never.ready);
  });

  test('what is unread when the signal fires is dropped at once', async () => {
    const controller = new AbortController();
    const watch = client.watch({ prefix: '' }, { signal: controller.signal });
    await watch.ready;
    await using other = client.watch({ prefix: '' });
    await other.ready;
    for (let round = 0; round < 4; round++) await client.put('a', String(round));
    // What the other has seen lies unread in the first.
    expect(await new Reader(other).events(4)).toHaveLength(4);
    const reader = new Reader(watch);
    await reader.next();
    controller.abort();
    await failure(CancelledError, () => reader.next());
  });

  test('a watch that is closed before it began says that it was', async () => {
    const watch = client.watch({ prefix: '' });
    const { ready } = watch;
    await watch.close();
    const error = await failure(CancelledError, () => ready);
    expect(error.message).toContain('close()');
  });

  test('many watches of one prefix each see everything from their own beginning, in order', async () => {
    const readers: Reader[] = [];
    const watches: Watch[] = [];
    for (let round = 0; round < 5; round++) {
      const more = Array.from({ length: 20 }, () => client.watch({ prefix: 'n' }));
      await Promise.all(more.map(({ ready }) => ready));
      watches.push(...more);
      readers.push(...more.map((watch) => new Reader(watch)));
      await client.put(`n${round}`, '1');
    }
    const seen = await Promise.all(
      readers.map((reader, at) => reader.events(5 - Math.floor(at / 20))),
    );
    for (const [at, events] of seen.entries()) {
      const first = Math.floor(at / 20);
      expect(events).toEqual([0, 1, 2, 3, 4].slice(first).map((round) => `put n${round} 1`));
    }
    await Promise.all(watches.map((watch) => watch.close()));
  });

  test('one who does not read holds up nobody, and misses nothing', async () => {
    const slow = client.watch({ prefix: 'k' });
    const quick = client.watch({ prefix: 'k' });
    await Promise.all([slow.ready, quick.ready]);
    // More than lies unread for one anywhere.
    const count = kind.holds === 'etcd' ? 1_500 : 3_000;
    const reading = new Reader(quick).events(count);
    const writes: Promise<unknown>[] = [];
    for (let at = 0; at < count; at++)
      writes.push(client.put('k', String(at), { timeoutMs: 20_000 }));
    await Promise.all(writes);
    const expected = Array.from({ length: count }, (_, at) => `put k ${at}`);
    expect(await reading).toEqual(expected);
    expect(await new Reader(slow).events(count)).toEqual(expected);
    await Promise.all([slow.close(), quick.close()]);
  });

  test('a watch from now on does not fail for the history that a slow one of the same range has lost', async () => {
    await using slow = client.watch({ prefix: 'k' });
    await slow.ready;
    // More batches than lie unread for a watch, and more bytes (a browser takes 50 MB that nobody reads), and than the store
    // keeps for one beside its history.
    await Promise.all(Array.from({ length: 1_100 }, (_, at) => client.put('k', String(at))));
    const value = 'x'.repeat(400_000);
    for (let round = 0; round < 24; round++) {
      await Promise.all(Array.from({ length: 10 }, () => client.put('k', value)));
    }
    await client.compact((await client.status()).version);
    await using fresh = client.watch({ prefix: 'k' });
    await fresh.ready;
    await client.put('k', 'new');
    expect(await new Reader(fresh).events(1)).toEqual(['put k new']);
    const reader = new Reader(slow);
    await failure(CompactedError, async () => {
      for (;;) await reader.next();
    });
  });

  test('a batch larger than what may lie unread is delivered all the same', async () => {
    await using watch = client.watch({ prefix: 'big' });
    await watch.ready;
    const bytes = Math.min(900_000, Math.floor(kind.maxTxnBytes * 0.45));
    const value = new Uint8Array(bytes).fill(7);
    for (let round = 0; round < 4; round++) {
      await client.txn().then(op.put('big1', value), op.put('big2', value)).commit();
    }
    const reader = new Reader(watch);
    for (let round = 0; round < 4; round++) {
      const { events } = await reader.next();
      expect(events.map(({ entry }) => entry.value.length)).toEqual([bytes, bytes]);
    }
  });

  test('values are the own ones of each watch', async () => {
    const watches = [client.watch({ key: 'a' }), client.watch({ key: 'a' })];
    await Promise.all(watches.map(({ ready }) => ready));
    await client.put('a', 'x');
    const [one, two] = await Promise.all(watches.map((watch) => new Reader(watch).next()));
    one?.events[0]?.entry.value.fill(0);
    expect(two?.events[0]?.entry.text()).toBe('x');
    await Promise.all(watches.map((watch) => watch.close()));
  });

  test('what plain JavaScript gets wrong is refused in the call', async () => {
    const plain = client as unknown as Record<'watch', (...args: unknown[]) => Watch>;
    for (const range of [undefined, null, 5, 'a', [], { prefx: 'a' }, { key: '' }, { key: 5 }]) {
      await failure(InvalidArgumentError, () => plain.watch(range).ready);
    }
    for (const range of [
      { key: 'a', prefix: 'a' },
      { prefix: 'a', end: 'b' },
      { start: 'b', end: 'a' },
    ]) {
      await failure(InvalidArgumentError, () => plain.watch(range).ready);
    }
    for (const options of [
      null,
      { fromVersion: '1.2' },
      { prevEntry: 1 },
      { progress: 'yes' },
      { puts: null },
      { deletes: 0 },
      { signal: {} },
      { timeoutMs: 0 },
      { prefix: 'a' },
    ]) {
      await failure(InvalidArgumentError, () => plain.watch({ prefix: '' }, options).ready);
    }
    const from = () => plain.watch({ prefix: '' }, { fromVersion: '1.2' });
    expect((await failure(InvalidArgumentError, from)).message).toContain('fromVersion');
  });
});

test('closing the client ends its watches with ClosedError', async () => {
  const store = await memory.open();
  const { client } = store;
  const watch = client.watch({ prefix: '' });
  await watch.ready;
  await client.put('a', '1');
  const reader = new Reader(watch);
  expect((await reader.next()).events.length).toBe(1);
  const early = client.watch({ prefix: 'x' });
  const closing = client.close();
  await failure(ClosedError, () => reader.next());
  await failure(ClosedError, () => new Reader(early).next());
  await failure(ClosedError, () => client.watch({ prefix: '' }));
  await closing;
  await store.close();
});
