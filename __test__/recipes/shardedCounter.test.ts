import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  CorruptionError,
  InvalidArgumentError,
  RetryExhaustedError,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { DistributedCounter, ShardedCounter } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import {
  badCounts,
  badNames,
  badOptions,
  expectRefused,
  invoke,
  keysOf,
  strangeNames,
} from './bad';
import { gated } from './gate';

describe.each([memory, servedFile])('a ShardedCounter on $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeEach(async () => {
    store = await kind.open();
    client = store.client;
  });
  afterEach(() => store.close());

  test('sums what was counted, and reads 0 before', async () => {
    const views = new ShardedCounter(client, 'a');
    expect(await views.get()).toBe(0);
    await views.increment();
    await views.incrementBy(50);
    await views.incrementBy(-9n);
    expect(await views.get()).toBe(42);
    expect(await views.getBigInt()).toBe(42n);
  });

  test('two first increments of one shard at once are both counted (the naive one puts without a guard)', async () => {
    const gate = gated(client);
    const slow = new ShardedCounter(gate.client, 'a', 1);
    const fast = new ShardedCounter(await store.another(), 'a', 1);
    gate.beforeNext('put', () => fast.incrementBy(7));
    await slow.increment();
    expect(await slow.get()).toBe(8);
    expect(await keysOf(client)).toEqual(['sharded-counter/a/0']);
  });

  test('shards of a larger numShards before are still counted (the naive one forgets them)', async () => {
    const before = new ShardedCounter(client, 'a', 1_000);
    for (let round = 0; round < 40; round++) await before.increment();
    expect((await keysOf(client)).length).toBeGreaterThan(5);
    const after = new ShardedCounter(client, 'a', 2);
    await after.increment();
    expect(await after.get()).toBe(41);
  });

  test('get is one moment: a change moved between shards while they are read is not seen twice', async () => {
    const gate = gated(client);
    await client.put('sharded-counter/a/0', '5');
    await client.put('sharded-counter/a/9', '0');
    // The naive one reads each shard by itself: this hook would come between two of its reads.
    const move = async (): Promise<void> => {
      await client.put('sharded-counter/a/0', '0');
      await client.put('sharded-counter/a/9', '5');
    };
    gate.beforeNext('get', move);
    gate.beforeNext('getOrNull', move);
    expect(await new ShardedCounter(gate.client, 'a').get()).toBe(5);
    expect(gate.total()).toBe(1);
    expect(gate.count('scan')).toBe(1);
  });

  test('names do not collide: not with other counters, and not with names that look like shards', async () => {
    const sharded = new ShardedCounter(client, 'a', 1);
    const distributed = new DistributedCounter(client, 'a');
    const inner = new ShardedCounter(client, 'a/0', 1);
    const longer = new ShardedCounter(client, 'ab', 1);
    await sharded.incrementBy(1);
    await distributed.incrementBy(10);
    await inner.incrementBy(100);
    await longer.incrementBy(1000);
    expect(await sharded.get()).toBe(1);
    expect(await distributed.get()).toBe(10);
    expect(await inner.get()).toBe(100);
    expect(await longer.get()).toBe(1000);
    for (const name of strangeNames) await new ShardedCounter(client, name, 1).increment();
    for (const name of strangeNames) {
      expect(await new ShardedCounter(client, name).get()).toBe(1);
    }
  });

  test('increments of one object go together: 1000 at once are one write on one shard', async () => {
    const gate = gated(client);
    const views = new ShardedCounter(gate.client, 'a', 20);
    await Promise.all(Array.from({ length: 1000 }, () => views.increment()));
    expect(gate.count('put')).toBe(1);
    expect(await views.get()).toBe(1000);
  });

  test('costs 2 round trips on a shard that is new to the object, then 1', async () => {
    const gate = gated(client);
    const views = new ShardedCounter(gate.client, 'a', 1);
    await views.increment();
    expect(gate.total()).toBe(2);
    await views.increment();
    expect(gate.total()).toBe(3);
  });

  test('16 objects on 4 clients that count at once lose nothing', async () => {
    const clients = [client, await store.another(), await store.another(), await store.another()];
    const rounds = kind.slow ? 10 : 25;
    await Promise.all(
      Array.from({ length: 16 }, async (_, at) => {
        const views = new ShardedCounter(clients[at % 4]!, 'a', 3);
        for (let round = 0; round < rounds; round++) {
          await Promise.all([views.increment(), views.incrementBy(2)]);
        }
      }),
    );
    expect(await new ShardedCounter(client, 'a', 1).get()).toBe(16 * rounds * 3);
  });

  test('contention that does not end is a RetryExhaustedError, and nothing of it is counted', async () => {
    const gate = gated(client);
    const views = new ShardedCounter(gate.client, 'a', 1);
    const other = new ShardedCounter(client, 'a', 1);
    let others = 0;
    const disturb = async (): Promise<void> => {
      gate.beforeNext('put', disturb);
      await other.increment();
      others += 1;
    };
    gate.beforeNext('put', disturb);
    await expect(views.increment({ timeoutMs: kind.slow ? 1_500 : 500 })).rejects.toThrow(
      RetryExhaustedError,
    );
    expect(others).toBeGreaterThan(1);
    expect(await other.get()).toBe(others);
  });

  test('after a conflict it tries another shard', async () => {
    const gate = gated(client);
    const views = new ShardedCounter(gate.client, 'a', 1_024);
    const meet = async (): Promise<void> => {
      // Whichever shard is written: it is there already.
      const keys = Array.from({ length: 1_024 }, (_, at) => `sharded-counter/a/${at}`);
      await Promise.all(keys.map((key) => client.put(key, '1')));
    };
    gate.beforeNext('put', meet);
    await views.increment();
    expect(await views.get()).toBe(1_025);
  });

  test('counts beyond 2^53 are exact, and get refuses to round', async () => {
    const views = new ShardedCounter(client, 'a', 2);
    await views.incrementBy(2n ** 70n);
    await views.increment();
    await expect(views.get()).rejects.toThrow(InvalidArgumentError);
    expect(await views.getBigInt()).toBe(2n ** 70n + 1n);
  });

  test('what is no count, or the key of no shard, is named and left as it is', async () => {
    const views = new ShardedCounter(client, 'a', 1);
    await client.put('sharded-counter/a/0', 'NaN');
    await expect(views.increment()).rejects.toThrow(CorruptionError);
    await expect(views.get()).rejects.toThrow('"sharded-counter/a/0"');
    expect((await client.get('sharded-counter/a/0')).text()).toBe('NaN');
    await client.put('sharded-counter/a/0', '1');
    await client.put('sharded-counter/a/x', '1');
    await expect(views.get()).rejects.toThrow('"sharded-counter/a/x"');
  });

  test('bad input is refused, and nothing is written', async () => {
    for (const name of badNames) {
      await expectRefused(() => Reflect.construct(ShardedCounter, [client, name]));
    }
    for (const shards of [...badCounts, 1_025]) {
      await expectRefused(() => Reflect.construct(ShardedCounter, [client, 'a', shards]));
    }
    const views = new ShardedCounter(client, 'a');
    for (const delta of [1.5, NaN, Infinity, 2 ** 53, '1', null, undefined, {}, 2n ** 129n]) {
      await expectRefused(() => invoke(views, 'incrementBy', delta));
    }
    for (const options of badOptions) {
      await expectRefused(() => invoke(views, 'increment', options));
      await expectRefused(() => invoke(views, 'get', options));
    }
    const signal = AbortSignal.abort();
    await expect(views.increment({ signal })).rejects.toThrow(CancelledError);
    await expect(views.get({ signal })).rejects.toThrow(CancelledError);
    expect(await keysOf(client)).toEqual([]);
  });
});
