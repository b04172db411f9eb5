import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  CompactedError,
  CorruptionError,
  InvalidArgumentError,
  NoriKVError,
} from '@norikv/client';
import type { NoriKVClient, Watch, WatchRange } from '@norikv/client';
import { EventConflictError, EventStore, MAX_EVENTS } from '@norikv/client/recipes';
import type { Event } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';

const types = (events: readonly Event[]): string[] => events.map(({ type }) => type);

/** A watch whose history is gone by the time that it is read. */
function compacted(watch: Watch): Pick<Watch, 'ready' | 'close' | typeof Symbol.asyncIterator> {
  const error = new CompactedError('gone', { compactVersion: null });
  const next = (): Promise<never> => Promise.reject(error);
  const iterator = { next, [Symbol.asyncIterator]: () => iterator };
  return {
    ready: watch.ready,
    close: () => watch.close(),
    [Symbol.asyncIterator]: () => iterator,
  };
}

/** As JavaScript without types would call it. */
const loose = (store: EventStore): { append(...args: unknown[]): Promise<Event> } => store;

describe.each([memory, servedFile])('on $name', (kind) => {
  let world: TestStore;
  let client: NoriKVClient;
  beforeEach(async () => {
    world = await kind.open();
    ({ client } = world);
  });
  afterEach(() => world.close());

  test('events come back in their order, as they were appended', async () => {
    const store = new EventStore(client);
    const data = { text: 'ä\ud800"', list: [1, null, { deep: [true] }], ['__proto__x']: -1.5 };
    const before = Date.now();
    const first = await store.append('order', 'Placed', data);
    const second = await store.append('order', 'Paid', null);
    expect(first).toMatchObject({ aggregateId: 'order', type: 'Placed', data, version: 1 });
    expect(first.timestamp).toBeGreaterThanOrEqual(before);
    expect(second.version).toBe(2);
    expect(second.id).not.toBe(first.id);
    expect(await store.getEvents('order')).toEqual([first, second]);
    expect(await store.getEventsAfter('order', 1)).toEqual([second]);
    expect(await store.getEventsAfter('order', 2)).toEqual([]);
    expect(await store.getEventsAfter('order', 9)).toEqual([]);
    expect(await store.getEvents('none')).toEqual([]);
    expect(await store.getEventsAfter('none', 3)).toEqual([]);
  });

  test('two first events at once are both kept (the naive put of the metadata without a condition overwrites one)', async () => {
    const gate = gated(client);
    const store = new EventStore(gate.client);
    gate.beforeNext('commit', () => new EventStore(client).append('a', 'theirs', {}));
    const mine = await store.append('a', 'mine', {});
    expect(mine.version).toBe(2);
    expect(types(await store.getEvents('a'))).toEqual(['theirs', 'mine']);
  });

  test('an append that met another leaves no event behind of its first attempt (the naive one wrote it before the metadata)', async () => {
    const gate = gated(client);
    const store = new EventStore(gate.client);
    await store.append('a', 'first', {});
    gate.beforeNext('commit', () => new EventStore(client).append('a', 'theirs', {}));
    gate.beforeNext('commit', () => new EventStore(client).append('a', 'theirs too', {}));
    await store.append('a', 'mine', {});
    const events = await store.getEvents('a');
    expect(types(events)).toEqual(['first', 'theirs', 'theirs too', 'mine']);
    expect(new Set(events.map(({ id }) => id)).size).toBe(4);
  });

  test('an append costs one round trip, and one more read after somebody else (the naive one takes three)', async () => {
    const gate = gated(client);
    const store = new EventStore(gate.client);
    await store.append('a', 'new', {}, { expectedVersion: 0 });
    expect(gate.total()).toBe(1);
    await store.append('a', 'again', {});
    expect(gate.total()).toBe(2);
    await new EventStore(client).append('a', 'theirs', {});
    await store.append('a', 'after theirs', {});
    expect(gate.total()).toBe(5);
    await new EventStore(gate.client).append('a', 'another object', {});
    expect(gate.total()).toBe(7);
  });

  test('appends that meet in one object share transactions, and keep their order', async () => {
    const gate = gated(client);
    const store = new EventStore(gate.client);
    await store.append('a', 'first', {});
    const appends = Array.from({ length: 300 }, (_, at) => store.append('a', `t${at}`, { at }));
    const events = await Promise.all(appends);
    expect(events.map(({ version }) => version)).toEqual(events.map((_, at) => at + 2));
    expect(gate.total()).toBeLessThanOrEqual(6);
    const read = await store.getEvents('a');
    expect(read.slice(1)).toEqual(events);
  });

  test('one append that cannot be written does not fail those that it shares a transaction with', async () => {
    const store = new EventStore(client);
    const outcomes = await Promise.allSettled([
      store.append('a', 'one', {}),
      store.append('a', 'large', 'x'.repeat(900 * 1024).concat('x'.repeat(200 * 1024))),
      store.append('a', 'two', {}),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(outcomes[1]).toMatchObject({ reason: { code: 'INVALID_ARGUMENT' } });
    expect(types(await store.getEvents('a'))).toEqual(['one', 'two']);
  });

  test('expectedVersion is held against what is there, not against what is remembered', async () => {
    const store = new EventStore(client);
    const other = new EventStore(client);
    await store.append('a', 'one', {}, { expectedVersion: 0 });
    await other.append('a', 'two', {}, { expectedVersion: 1 });
    const late = store.append('a', 'late', {}, { expectedVersion: 1 });
    await expect(late).rejects.toBeInstanceOf(EventConflictError);
    await expect(late).rejects.toMatchObject({
      code: 'VERSION_MISMATCH',
      aggregateId: 'a',
      expected: 1,
      actual: 2,
    });
    const again = other.append('a', 'new', {}, { expectedVersion: 0 });
    await expect(again).rejects.toMatchObject({ expected: 0, actual: 2 });
    await store.append('a', 'three', {}, { expectedVersion: 2 });
    expect(types(await store.getEvents('a'))).toEqual(['one', 'two', 'three']);
    const never = store.append('b', 'x', {}, { expectedVersion: 5 });
    await expect(never).rejects.toMatchObject({ expected: 5, actual: 0 });
  });

  test('of two appends for one version at once, one is told', async () => {
    const gate = gated(client);
    const store = new EventStore(gate.client);
    await store.append('a', 'one', {});
    gate.beforeNext('commit', () => new EventStore(client).append('a', 'theirs', {}));
    const mine = store.append('a', 'mine', {}, { expectedVersion: 1 });
    await expect(mine).rejects.toMatchObject({ expected: 1, actual: 2 });
    expect(types(await store.getEvents('a'))).toEqual(['one', 'theirs']);
  });

  test('appendAll is all or nothing, and refuses more than a transaction takes', async () => {
    const store = new EventStore(client);
    const many = Array.from({ length: MAX_EVENTS }, (_, at) => ({ type: `t${at}`, data: at }));
    const events = await store.appendAll('a', many);
    expect(events).toHaveLength(MAX_EVENTS);
    expect(await store.getEvents('a')).toEqual(events);
    for (const wrong of [[], [...many, { type: 'one more', data: 0 }]]) {
      await expect(store.appendAll('a', wrong)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    const half = [
      { type: 'good', data: 1 },
      { type: 'bad', data: Number.NaN },
    ];
    await expect(store.appendAll('a', half)).rejects.toThrow('JSON cannot say');
    expect(await store.getEvents('a')).toHaveLength(MAX_EVENTS);
  });

  test('a history is one scan, and what comes after a version reads nothing before it (the naive one reads all, one by one)', async () => {
    const gate = gated(client);
    const store = new EventStore(client);
    for (let at = 0; at < 20; at++) {
      await store.appendAll(
        'a',
        Array.from({ length: 126 }, () => ({ type: 't', data: at })),
      );
    }
    const reader = new EventStore(gate.client);
    expect(await reader.getEvents('a')).toHaveLength(2_520);
    expect(gate.total()).toBe(1);
    expect(await reader.getEventsAfter('a', 2_519)).toHaveLength(1);
    expect(gate.count('scan')).toBe(2);
    expect(gate.total()).toBe(3);
  });

  test('what is appended between the two reads of getEventsAfter is no hole', async () => {
    const gate = gated(client);
    const store = new EventStore(client);
    await store.appendAll(
      'a',
      [1, 2, 3].map((data) => ({ type: 't', data })),
    );
    const reader = new EventStore(gate.client);
    gate.beforeNext('getOrNull', () => store.append('a', 't', 4));
    const data = (await reader.getEventsAfter('a', 2)).map((event) => event.data);
    expect(data).toEqual([3, 4]);
  });

  test('a hole, a missing end and a wrong number are said, naming the key (the naive history is empty)', async () => {
    const store = new EventStore(client);
    const key = (version: number): string => `events/a/${String(version).padStart(16, '0')}`;
    const fill = async (): Promise<void> => {
      await client.deleteRange({ prefix: 'events/a/' });
      await new EventStore(client).appendAll(
        'a',
        [1, 2, 3].map((data) => ({ type: 't', data })),
      );
    };
    const told = async (named: string): Promise<void> => {
      const reading = store.getEvents('a');
      await expect(reading).rejects.toBeInstanceOf(CorruptionError);
      await expect(reading).rejects.toThrow(named);
    };
    await fill();
    await client.delete(key(2));
    await told(key(2));
    await expect(store.getEventsAfter('a', 1)).rejects.toThrow(key(2));
    await fill();
    await client.delete(key(3));
    await told(key(3));
    await expect(store.getEventsAfter('a', 1)).rejects.toThrow(key(3));
    await fill();
    await client.delete('events/a/!');
    await told('events/a/!');
    await expect(new EventStore(client).append('a', 't', 4)).rejects.toBeInstanceOf(
      CorruptionError,
    );
    await fill();
    await client.put(key(2), (await client.get(key(3))).value);
    await told(key(2));
    await fill();
    await client.put(key(4), (await client.get(key(3))).value);
    await told(key(4).slice(0, 8));
    await expect(new EventStore(client).append('a', 't', 4)).rejects.toThrow(key(4));
    for (const garbage of ['', '{', '[]', '{"version":2}', 'null', '{"version":-1}']) {
      await fill();
      await client.put(key(2), garbage);
      await told(key(2));
      await fill();
      await client.put('events/a/!', garbage);
      await told('events/a/!');
    }
  });

  test('ids with separators are ids of their own, and have no others in them', async () => {
    const store = new EventStore(client);
    const ids = [
      'a',
      'a/',
      'a/!',
      'a/b',
      'a%2Fb',
      'a:b',
      'ä',
      'constructor',
      '__proto__',
      '!',
      '0',
    ];
    for (const id of ids) await store.append(id, 'made', id);
    for (const id of ids) {
      expect((await store.getEvents(id)).map(({ data }) => data)).toEqual([id]);
    }
  });

  test('bad input is refused, and nothing is written', async () => {
    const store = loose(new EventStore(client));
    const cyclic: Record<string, unknown> = {};
    cyclic.self = { cyclic };
    const wrong = [
      ['', 't', {}],
      [undefined, 't', {}],
      [1, 't', {}],
      ['\ud800', 't', {}],
      ['x'.repeat(257), 't', {}],
      ['a', '', {}],
      ['a', null, {}],
      ['a', 't', undefined],
      ['a', 't', () => 1],
      ['a', 't', 1n],
      ['a', 't', Number.NaN],
      ['a', 't', cyclic],
      ['a', 't', { at: new Date() }],
      ['a', 't', { map: new Map() }],
      ['a', 't', { gone: undefined }],
      ['a', 't', [Infinity]],
      ['a', 't', {}, { expectedVersion: -1 }],
      ['a', 't', {}, { expectedVersion: 1.5 }],
      ['a', 't', {}, { expectedVersion: '1' }],
      ['a', 't', {}, { expected: 1 }],
      ['a', 't', {}, { signal: 5 }],
      ['a', 't', {}, { timeoutMs: 0 }],
      ['a', 't', {}, null],
    ];
    for (const args of wrong) {
      await expect(store.append(...args)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    const reader = new EventStore(client);
    await expect(reader.getEventsAfter('a', -1)).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(() => reader.subscribe('')).toThrow(InvalidArgumentError);
    expect(() => reader.subscribe('a', { afterVersion: 0.5 })).toThrow(InvalidArgumentError);
    expect(await client.count({ prefix: '' })).toBe(0);
  });

  test('contention without an end is told as such, and cancelling ends it', async () => {
    const gate = gated(client);
    const other = new EventStore(client);
    const busy = (): Promise<unknown> => {
      gate.beforeNext('commit', busy);
      return other.append('a', 'theirs', {});
    };
    gate.beforeNext('commit', busy);
    const store = new EventStore(gate.client);
    const late = store.append('a', 'mine', {}, { timeoutMs: 150 });
    const error: unknown = await late.catch((reason: unknown) => reason);
    const codes = ['RETRY_EXHAUSTED', 'DEADLINE_EXCEEDED'];
    expect(codes).toContain(error instanceof NoriKVError && error.code);
    const controller = new AbortController();
    const cancelled = store.append('a', 'mine', {}, { signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(cancelled).rejects.toBeInstanceOf(CancelledError);
    expect(types(await other.getEvents('a'))).not.toContain('mine');
  });

  test('an append that waits for another can be cancelled, and is not made then', async () => {
    const gate = gated(client);
    const store = new EventStore(gate.client);
    await store.append('a', 'one', {});
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const reached = new Promise<void>((resolve) => {
      gate.beforeNext('commit', () => {
        resolve();
        return held;
      });
    });
    const first = store.append('a', 'two', {});
    await reached;
    const controller = new AbortController();
    const second = store.append('a', 'never', {}, { signal: controller.signal });
    controller.abort();
    await expect(second).rejects.toBeInstanceOf(CancelledError);
    await expect(second).rejects.not.toHaveProperty('outcome');
    release();
    await first;
    await store.append('a', 'three', {});
    expect(types(await store.getEvents('a'))).toEqual(['one', 'two', 'three']);
  });
});

describe.each([memory, servedFile])('subscribe on $name', (kind) => {
  let world: TestStore;
  let client: NoriKVClient;
  beforeEach(async () => {
    world = await kind.open();
    ({ client } = world);
  });
  afterEach(() => world.close());

  test('history and then what is appended, none missed and none twice, though appended while it begins', async () => {
    const store = new EventStore(client);
    await store.append('a', 't', 1);
    await store.append('a', 't', 2);
    const seen: unknown[] = [];
    for await (const event of new EventStore(client).subscribe('a')) {
      seen.push(event.data);
      // The watch has begun, and its version is that of the history: this is appended in between.
      if (event.data === 1) await store.append('a', 't', 3);
      if (event.data === 2) await store.append('b', 't', 'another');
      if (event.data === 3)
        await store.appendAll(
          'a',
          [4, 5].map((data) => ({ type: 't', data })),
        );
      if (event.data === 5) break;
    }
    expect(seen).toEqual([1, 2, 3, 4, 5]);
  });

  test('it goes on after a version, also one that is not there yet', async () => {
    const store = new EventStore(client);
    await store.appendAll(
      'a',
      [1, 2, 3].map((data) => ({ type: 't', data })),
    );
    for await (const { data } of store.subscribe('a', { afterVersion: 2 })) {
      expect(data).toBe(3);
      break;
    }
    const later = store.subscribe('a', { afterVersion: 4 });
    const next = later.next();
    await store.append('a', 't', 4);
    await store.append('a', 't', 5);
    expect((await next).value).toMatchObject({ data: 5, version: 5 });
    await later.return();
  });

  test('a reader too slow for the history that is kept misses nothing (a watch alone ends with CompactedError)', async () => {
    const store = new EventStore(client);
    await store.append('a', 't', 1);
    let watches = 0;
    const forgetful = new Proxy(client, {
      get(of, name): unknown {
        const value: unknown = Reflect.get(of, name, of);
        if (typeof value !== 'function') return value;
        if (name !== 'watch' || watches++ > 0) return value.bind(of) as unknown;
        return (range: WatchRange) => compacted(of.watch(range));
      },
    });
    const seen: unknown[] = [];
    for await (const { data } of new EventStore(forgetful).subscribe('a')) {
      seen.push(data);
      if (data === 1)
        await store.appendAll(
          'a',
          [2, 3].map((at) => ({ type: 't', data: at })),
        );
      if (data === 3) await store.append('a', 't', 4);
      if (data === 4) break;
    }
    expect(seen).toEqual([1, 2, 3, 4]);
    expect(watches).toBe(2);
  });

  test('all aggregates: what is there by aggregate, then each as it comes', async () => {
    const store = new EventStore(client);
    await store.append('b', 't', 'b1');
    await store.append('a', 't', 'a1');
    await store.append('b', 't', 'b2');
    const seen: unknown[] = [];
    for await (const { aggregateId, version, data } of store.subscribeAll()) {
      seen.push(data);
      expect(`${aggregateId}${version}`).toBe(data);
      if (data === 'b2') {
        await store.append('c/!', 't', 'c/!1');
        await store.append('a', 't', 'a2');
      }
      if (data === 'a2') break;
    }
    expect(seen).toEqual(['a1', 'b1', 'b2', 'c/!1', 'a2']);
  });

  test('a signal ends it, and leaves no watch behind', async () => {
    const store = new EventStore(client);
    const controller = new AbortController();
    const events = store.subscribe('a', { signal: controller.signal });
    const next = events.next();
    controller.abort();
    await expect(next).rejects.toBeInstanceOf(CancelledError);
    await client.put('other', 'x');
    expect(client.getStats().requests.inFlight).toBe(0);
  });

  test('an event that is deleted is not passed over in silence', async () => {
    const store = new EventStore(client);
    await store.append('a', 't', 1);
    const events = store.subscribe('a');
    await events.next();
    const told = expect(events.next()).rejects.toBeInstanceOf(CorruptionError);
    await client.delete('events/a/0000000000000001');
    await told;
  });
});
