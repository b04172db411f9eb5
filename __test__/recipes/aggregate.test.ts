import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { CancelledError, InvalidArgumentError } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { Aggregate, EventStore } from '@norikv/client/recipes';
import type { AggregateOptions, Event, NewEvent } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';

/** Adds up what it is told, and counts how often it is told something. */
class Sum extends Aggregate<{ readonly sum: number }> {
  applied = 0;

  add(amount: number, most = Infinity): Promise<readonly Event[]> {
    return this.execute(({ sum }) => {
      if (sum + amount > most) throw new RangeError(`${sum} + ${amount} > ${most}`);
      return added(amount);
    });
  }

  protected initial(): { readonly sum: number } {
    return { sum: 0 };
  }

  protected apply({ sum }: { readonly sum: number }, event: Event): { readonly sum: number } {
    this.applied += 1;
    return { sum: sum + Number(event.data) };
  }
}

const added = (data: number): NewEvent => ({ type: 'Added', data });

const snapshots = (every: number): AggregateOptions<{ readonly sum: number }> => ({
  snapshots: {
    name: 'sum',
    every,
    restore: (kept) =>
      typeof kept === 'object' && kept !== null && 'sum' in kept && typeof kept.sum === 'number'
        ? { sum: kept.sum }
        : null,
  },
});

describe.each([memory, servedFile])('on $name', (kind) => {
  let world: TestStore;
  let client: NoriKVClient;
  let store: EventStore;
  beforeEach(async () => {
    world = await kind.open();
    ({ client } = world);
    store = new EventStore(client);
  });
  afterEach(() => world.close());

  test('loading twice does not apply twice (the naive one applies the whole history again), also at once', async () => {
    await store.appendAll('a', [1, 2, 3].map(added));
    const sum = new Sum(store, 'a');
    expect(sum.state).toEqual({ sum: 0 });
    await Promise.all([sum.load(), sum.load()]);
    await sum.load();
    expect(sum.state).toEqual({ sum: 6 });
    expect([sum.version, sum.applied]).toEqual([3, 3]);
    await store.append('a', 'Added', 4);
    await sum.load();
    expect(sum.state).toEqual({ sum: 10 });
    expect(sum.applied).toBe(4);
  });

  test('a command that meets another reads what is new and decides again (the naive one decides on what was)', async () => {
    const gate = gated(client);
    const sum = new Sum(new EventStore(gate.client), 'a');
    await sum.add(5, 10);
    gate.beforeNext('commit', () => new Sum(store, 'a').add(4, 10));
    await expect(sum.add(5, 10)).rejects.toBeInstanceOf(RangeError);
    expect(sum.state).toEqual({ sum: 9 });
    gate.beforeNext('commit', () => store.append('a', 'Added', -8));
    await sum.add(1, 10);
    expect(sum.state).toEqual({ sum: 2 });
    expect((await store.getEvents('a')).map(({ data }) => data)).toEqual([5, 4, -8, 1]);
  });

  test('commands of one object at once are decided one after the other', async () => {
    const sum = new Sum(store, 'a');
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => sum.add(2, 10)));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(5);
    expect(sum.state).toEqual({ sum: 10 });
    expect(await store.getEvents('a')).toHaveLength(5);
  });

  test('what is refused on an old state is decided again on the newest', async () => {
    const sum = new Sum(store, 'a');
    await sum.add(10, 10);
    await store.append('a', 'Added', -10);
    await sum.add(3, 10);
    expect(sum.state).toEqual({ sum: 3 });
    let calls = 0;
    await store.append('a', 'Added', 1);
    const nothing = await sum.execute(() => {
      calls += 1;
      return [];
    });
    expect([nothing.length, calls, sum.state.sum]).toEqual([0, 2, 4]);
  });

  test('a command costs one round trip, and with a snapshot two', async () => {
    const gate = gated(client);
    const sum = new Sum(new EventStore(gate.client), 'a', snapshots(3));
    await sum.load();
    const before = gate.total();
    await sum.add(1);
    await sum.add(1);
    expect(gate.total() - before).toBe(4);
    await sum.add(1);
    expect(gate.total() - before).toBe(6);
    expect(gate.count('put')).toBe(1);
  });

  test('a snapshot is loaded instead of what is before it', async () => {
    const first = new Sum(store, 'a', snapshots(5));
    for (let at = 0; at < 12; at++) await first.add(1);
    expect(first.snapshotFailure).toBeUndefined();
    const gate = gated(client);
    const again = new Sum(new EventStore(gate.client), 'a', snapshots(5));
    await again.load();
    expect([again.state.sum, again.version, again.applied]).toEqual([12, 12, 2]);
    expect(gate.total()).toBe(3);
  });

  test('a snapshot that is none, or of another history, is passed over', async () => {
    await store.appendAll('a', [1, 2, 3].map(added));
    const events = await store.getEvents('a');
    const wrong = [
      '',
      '{',
      'null',
      '[]',
      '{"version":2}',
      JSON.stringify({ version: 0, event: events[0]?.id, state: { sum: 100 } }),
      JSON.stringify({ version: 2, event: events[1]?.id, state: { sum: 'many' } }),
      JSON.stringify({ version: 2, event: events[0]?.id, state: { sum: 100 } }),
      JSON.stringify({ version: 7, event: events[2]?.id, state: { sum: 100 } }),
    ];
    for (const text of wrong) {
      await client.put('snapshots/sum/a', text);
      const sum = new Sum(store, 'a', snapshots(5));
      await sum.load();
      expect([sum.state.sum, sum.version]).toEqual([6, 3]);
    }
  });

  test('an aggregate that was made anew is not mixed with what was loaded of the old one', async () => {
    const sum = new Sum(store, 'a', snapshots(2));
    for (let at = 0; at < 3; at++) await sum.add(100);
    await client.deleteRange({ prefix: 'events/a/' });
    await new EventStore(client).appendAll('a', [1, 2, 3, 4].map(added));
    await sum.load();
    expect([sum.state.sum, sum.version]).toEqual([10, 4]);
    const fresh = new Sum(store, 'a', snapshots(2));
    await fresh.load();
    expect([fresh.state.sum, fresh.version]).toEqual([10, 4]);
  });

  test('a snapshot that cannot be kept fails no command, is not hidden, and is tried again', async () => {
    const gate = gated(client);
    const sum = new Sum(new EventStore(gate.client), 'a', snapshots(2));
    await sum.add(1);
    gate.beforeNext('put', () => Promise.reject(new Error('no room')));
    await sum.add(1);
    expect(sum.snapshotFailure).toEqual(new Error('no room'));
    expect(await store.getEvents('a')).toHaveLength(2);
    await sum.add(1);
    expect(sum.snapshotFailure).toBeUndefined();
    expect(await client.count({ prefix: 'snapshots/' })).toBe(1);
  });

  test('bad input is refused, and nothing is written', async () => {
    const wrong = ['', undefined, 5, null, '\udc00', 'x'.repeat(257)] as string[];
    for (const id of wrong) expect(() => new Sum(store, id)).toThrow(InvalidArgumentError);
    for (const every of [0, -1, 1.5, Number.NaN]) {
      expect(() => new Sum(store, 'a', snapshots(every))).toThrow(InvalidArgumentError);
    }
    const sum = new Sum(store, 'a');
    const execute = (decided: unknown): Promise<unknown> => sum.execute(() => decided as NewEvent);
    for (const decided of [undefined, null, 5, {}, { type: 't' }, [5], { type: '', data: 1 }]) {
      await expect(execute(decided)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    expect(await client.count({ prefix: '' })).toBe(0);
  });

  test('a command that waits for its turn can be cancelled, and keeps up nobody', async () => {
    const sum = new Sum(store, 'a');
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const first = sum.execute(async () => {
      await held;
      return added(1);
    });
    const controller = new AbortController();
    const second = sum.execute(() => added(10), { signal: controller.signal });
    const third = sum.add(100);
    controller.abort();
    await expect(second).rejects.toBeInstanceOf(CancelledError);
    release();
    await Promise.all([first, third]);
    expect((await store.getEvents('a')).map(({ data }) => data)).toEqual([1, 100]);
  });
});
