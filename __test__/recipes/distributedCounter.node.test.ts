// Node only: a proxy of sockets takes replies away.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { DistributedCounter, ShardedCounter } from '@norikv/client/recipes';
import { lossy } from './lost';
import type { Lossy } from './lost';

describe('a counter whose replies get lost', () => {
  let store: Lossy;

  beforeEach(async () => {
    store = await lossy();
  });
  afterEach(() => store.close());

  test('an increment is counted once though its reply is lost (asking again after a lost reply counts it twice)', async () => {
    const counter = new DistributedCounter(store.far, 'a');
    for (let at = 1; at < 5; at++) {
      expect(await store.lose('put', () => counter.increment())).toBe(at);
      expect(await new DistributedCounter(store.near, 'a').get()).toBe(at);
    }
  });

  test('it is counted once also when others count after it (reading back the last value would not find it)', async () => {
    const counter = new DistributedCounter(store.far, 'a');
    const other = new DistributedCounter(store.near, 'a');
    await counter.increment();
    const told = await store.lose(
      'put',
      () => Promise.all([counter.increment(), counter.increment()]),
      () => other.incrementBy(10),
    );
    expect(told).toEqual([2, 3]);
    expect(await other.get()).toBe(13);
  });

  test('the first increment of all is counted once, too', async () => {
    const counter = new DistributedCounter(store.far, 'a');
    const other = new DistributedCounter(store.near, 'a');
    const told = await store.lose(
      'put',
      () => counter.increment(),
      () => other.increment(),
    );
    expect(told).toBe(1);
    expect(await other.get()).toBe(2);
  });

  test('initialize whose reply is lost resets nothing', async () => {
    const counter = new DistributedCounter(store.far, 'a');
    const other = new DistributedCounter(store.near, 'a');
    await store.lose(
      'put',
      () => counter.initialize(),
      () => other.incrementBy(5),
    );
    expect(await counter.get()).toBe(5);
  });

  test('so is a change of a ShardedCounter', async () => {
    const counter = new ShardedCounter(store.far, 'a', 1);
    const other = new ShardedCounter(store.near, 'a', 1);
    await counter.increment();
    await store.lose(
      'put',
      () => counter.increment(),
      () => other.incrementBy(10),
    );
    await counter.increment();
    await store.lose('put', () => counter.increment());
    expect(await other.get()).toBe(14);
  });
});
