import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  CorruptionError,
  DeadlineExceededError,
  InvalidArgumentError,
  LeaseNotFoundError,
  ResourceExhaustedError,
  RetryExhaustedError,
  UnavailableError,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { DistributedCounter } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { turn } from '../api/turn';
import { badNames, badOptions, expectRefused, invoke, keysOf, strangeNames } from './bad';
import { gated } from './gate';

describe.each([memory, servedFile])('a DistributedCounter on $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeEach(async () => {
    store = await kind.open();
    client = store.client;
  });
  afterEach(() => store.close());

  test('counts, says each result, and reads 0 before it was initialized (the naive one throws)', async () => {
    const counter = new DistributedCounter(client, 'a');
    expect(await counter.get()).toBe(0);
    expect(await counter.increment()).toBe(1);
    expect(await counter.incrementBy(41)).toBe(42);
    expect(await counter.incrementBy(-50)).toBe(-8);
    expect(await counter.incrementBy(0)).toBe(-8);
    expect(await counter.get()).toBe(-8);
    expect(await counter.getBigInt()).toBe(-8n);
  });

  test('two first increments at once are both counted (the naive read-then-put loses one)', async () => {
    const gate = gated(client);
    const slow = new DistributedCounter(gate.client, 'a');
    const fast = new DistributedCounter(await store.another(), 'a');
    gate.beforeNext('put', () => fast.increment());
    expect(await slow.increment()).toBe(2);
    expect(await fast.get()).toBe(2);
  });

  test('an increment between the read and the write of another is kept, and each is told its own result', async () => {
    const gate = gated(client);
    const slow = new DistributedCounter(gate.client, 'a');
    const fast = new DistributedCounter(await store.another(), 'a');
    await slow.incrementBy(10);
    const told: number[] = [];
    for (let round = 0; round < 3; round++) {
      gate.beforeNext('put', async () => told.push(await fast.increment()));
      told.push(await slow.increment());
    }
    expect(told).toEqual([11, 12, 13, 14, 15, 16]);
    expect(await slow.get()).toBe(16);
  });

  test('initialize leaves a live counter alone, also one made between its read and its write', async () => {
    const gate = gated(client);
    const late = new DistributedCounter(gate.client, 'a');
    const early = new DistributedCounter(client, 'a');
    gate.beforeNext('put', () => early.incrementBy(5));
    await late.initialize();
    expect(await late.get()).toBe(5);
    await late.initialize();
    expect(await early.get()).toBe(5);
  });

  test('initialize makes the key, and increments after it go on from there', async () => {
    const counter = new DistributedCounter(client, 'a');
    await counter.initialize();
    expect(await keysOf(client)).toEqual(['counter/a']);
    expect(await counter.increment()).toBe(1);
  });

  test('initialize says what is wrong (the naive one hides the error of its put)', async () => {
    await client.put('counter/a', 'five');
    const counter = new DistributedCounter(client, 'a');
    await expect(counter.initialize()).rejects.toThrow(CorruptionError);
    const gate = gated(client);
    gate.beforeNext('put', () => Promise.reject(new Error('the disk is full')));
    await expect(new DistributedCounter(gate.client, 'b').initialize()).rejects.toThrow(
      'the disk is full',
    );
  });

  test('what is no count is said to be none and left as it is (the naive one writes NaN back)', async () => {
    const counter = new DistributedCounter(client, 'a');
    for (const garbage of ['', 'NaN', '12abc', '1.5', '1e3', ' 7', '7 ', '0x10', '{"count":1}']) {
      await client.put('counter/a', garbage);
      await expect(counter.increment()).rejects.toThrow(CorruptionError);
      await expect(counter.get()).rejects.toThrow('"counter/a"');
      await expect(counter.getBigInt()).rejects.toThrow(CorruptionError);
      expect((await client.get('counter/a')).text()).toBe(garbage);
    }
  });

  test('a decimal number written by hand is counted on', async () => {
    await client.put('counter/a', '41');
    const counter = new DistributedCounter(client, 'a');
    expect(await counter.get()).toBe(41);
    expect(await counter.increment()).toBe(42);
  });

  test('beyond 2^53 it is exact, and numbers that are not are refused before anything is written', async () => {
    const counter = new DistributedCounter(client, 'a');
    const other = new DistributedCounter(client, 'a');
    expect(await counter.incrementBy(BigInt(Number.MAX_SAFE_INTEGER))).toBe(9007199254740991n);
    const before = (await client.get('counter/a')).version;
    await expect(counter.increment()).rejects.toThrow(InvalidArgumentError);
    await expect(counter.incrementBy(7)).rejects.toThrow('add a bigint');
    expect((await client.get('counter/a')).version.equals(before)).toBe(true);
    expect(await counter.get()).toBe(Number.MAX_SAFE_INTEGER);

    // One of many that go together is refused by itself.
    const together = await Promise.allSettled([
      counter.incrementBy(2n),
      counter.increment(),
      counter.incrementBy(2n ** 100n),
    ]);
    expect(together.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await counter.getBigInt()).toBe(9007199254740993n + 2n ** 100n);
    await expect(counter.get()).rejects.toThrow('getBigInt');

    // What is refused is refused for what is there now.
    await other.incrementBy(-(2n ** 100n) - 9007199254740993n);
    expect(await counter.increment()).toBe(1);
  });

  test('increments of one object go together: 1000 at once are at most 3 writes, each told its own result', async () => {
    const gate = gated(client);
    const counter = new DistributedCounter(gate.client, 'a');
    const results = await Promise.all(Array.from({ length: 1000 }, () => counter.increment()));
    expect(results).toEqual(Array.from({ length: 1000 }, (_, at) => at + 1));
    expect(gate.count('put')).toBeLessThanOrEqual(3);
  });

  test('costs 2 round trips at first, then 1, and 3 after somebody else', async () => {
    const gate = gated(client);
    const counter = new DistributedCounter(gate.client, 'a');
    const cost = async (): Promise<number> => {
      const before = gate.total();
      await counter.increment();
      return gate.total() - before;
    };
    expect(await cost()).toBe(2);
    expect(await cost()).toBe(1);
    expect(await cost()).toBe(1);
    await new DistributedCounter(client, 'a').increment();
    expect(await cost()).toBe(3);
    // It reads first once, since somebody else may be at work; then it trusts what it remembers again.
    expect(await cost()).toBe(2);
    expect(await cost()).toBe(1);
    const before = gate.total();
    await counter.get();
    expect(gate.total() - before).toBe(1);
  });

  test('16 objects on 4 clients that count at once lose nothing, and no result is told twice', async () => {
    const clients = [client, await store.another(), await store.another(), await store.another()];
    const rounds = kind.slow ? 10 : 25;
    const told = await Promise.all(
      Array.from({ length: 16 }, async (_, at) => {
        const counter = new DistributedCounter(clients[at % 4]!, 'a');
        const results: number[] = [];
        for (let round = 0; round < rounds; round++) {
          results.push(...(await Promise.all([counter.increment(), counter.increment()])));
        }
        return results;
      }),
    );
    const total = 16 * rounds * 2;
    expect(told.flat().sort((a, b) => a - b)).toEqual(
      Array.from({ length: total }, (_, at) => at + 1),
    );
    expect(await new DistributedCounter(client, 'a').get()).toBe(total);
  });

  test('contention that does not end is a RetryExhaustedError, and nothing of it is counted', async () => {
    const gate = gated(client);
    const counter = new DistributedCounter(gate.client, 'a');
    const other = new DistributedCounter(client, 'a');
    const disturb = async (): Promise<void> => {
      gate.beforeNext('put', disturb);
      await other.increment();
    };
    gate.beforeNext('put', disturb);
    const error: unknown = await counter
      .increment({ timeoutMs: kind.slow ? 1_500 : 500 })
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(RetryExhaustedError);
    const writes = await other.increment();
    expect(await other.get()).toBe(writes);
    expect((error as RetryExhaustedError).attempts).toBe(writes - 1);
  });

  test('who gives up before the write takes only his own part back', async () => {
    const gate = gated(client);
    const counter = new DistributedCounter(gate.client, 'a');
    let release = (): void => undefined;
    gate.beforeNext('getOrNull', () => new Promise<void>((resolve) => (release = resolve)));
    const first = counter.increment();
    await Promise.resolve();
    await Promise.resolve();
    const stop = new AbortController();
    const second = counter.incrementBy(10, { signal: stop.signal });
    const third = counter.incrementBy(100, { timeoutMs: 20 });
    const fourth = counter.incrementBy(1000);
    stop.abort(new Error('not needed'));
    const cancelled: unknown = await second.catch((reason: unknown) => reason);
    expect(cancelled).toBeInstanceOf(CancelledError);
    expect((cancelled as CancelledError).outcome).toBeUndefined();
    const late: unknown = await third.catch((reason: unknown) => reason);
    expect(late).toBeInstanceOf(DeadlineExceededError);
    expect((late as DeadlineExceededError).outcome).toBeUndefined();
    release();
    expect(await first).toBe(1);
    expect(await fourth).toBe(1001);
    expect(await counter.get()).toBe(1001);
  });

  test('who gives up during the write is told that the outcome is not known, and the others are served', async () => {
    const gate = gated(client);
    const counter = new DistributedCounter(gate.client, 'a');
    await counter.initialize();
    let release = (): void => undefined;
    gate.beforeNext('put', () => new Promise<void>((resolve) => (release = resolve)));
    const stop = new AbortController();
    const first = counter.increment({ signal: stop.signal });
    const second = counter.incrementBy(10);
    while (gate.count('put') < 2) await turn();
    stop.abort();
    const error: unknown = await first.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(CancelledError);
    expect((error as CancelledError).outcome).toBe('unknown');
    release();
    expect(await second).toBe(11);
    expect(await counter.get()).toBe(11);
  });

  if (!kind.slow) {
    test('more than 100,000 increments do not wait in one object, and those that do are counted', async () => {
      const gate = gated(client);
      const counter = new DistributedCounter(gate.client, 'a');
      await counter.initialize();
      const waiting: Promise<unknown>[] = [];
      gate.beforeNext('put', async () => {
        for (let at = 0; at < 100_000; at++) waiting.push(counter.increment());
        await expect(counter.increment()).rejects.toThrow(ResourceExhaustedError);
      });
      await counter.increment();
      await Promise.all(waiting);
      expect(await counter.get()).toBe(100_001);
    }, 60_000);
  }

  test('an error of the store fails those who waited for that write, and the next one goes on', async () => {
    const gate = gated(client);
    const counter = new DistributedCounter(gate.client, 'a');
    gate.beforeNext('put', () => Promise.reject(new Error('gone')));
    const [first, second] = await Promise.allSettled([counter.increment(), counter.increment()]);
    expect([first.status, second.status]).toEqual(['rejected', 'rejected']);
    expect(await counter.increment()).toBe(1);
  });

  test('a signal that has fired, and time that is up, leave nothing behind', async () => {
    const counter = new DistributedCounter(client, 'a');
    const signal = AbortSignal.abort();
    await expect(counter.increment({ signal })).rejects.toThrow(CancelledError);
    await expect(counter.initialize({ signal })).rejects.toThrow(CancelledError);
    await expect(counter.get({ signal })).rejects.toThrow(CancelledError);
    expect(await keysOf(client)).toEqual([]);
  });

  test('strange names are names of their own (a separator in one makes no other of it)', async () => {
    for (const [at, name] of strangeNames.entries()) {
      await new DistributedCounter(client, name).incrementBy(at);
    }
    for (const [at, name] of strangeNames.entries()) {
      expect(await new DistributedCounter(client, name).get()).toBe(at);
    }
    expect(await keysOf(client)).toHaveLength(strangeNames.length);
  });

  test('an increment whose reply was lost is settled though the store is away then (or its error says that nothing was counted)', async () => {
    const gate = gated(client);
    const counter = new DistributedCounter(gate.client, 'a');
    await counter.increment();
    const lost = new UnavailableError('the reply was lost', { outcome: 'unknown' });
    const away = (): Promise<never> => Promise.reject(new UnavailableError('not sent'));
    const lose = (then: () => void): void => {
      gate.afterNext('put', () => {
        then();
        return Promise.reject(lost);
      });
    };
    lose(() => {
      gate.beforeNext('put', away);
      gate.beforeNext('getOrNull', away);
    });
    expect(await counter.increment()).toBe(2);
    lose(() => {
      gate.beforeNext('put', () => Promise.reject(new LeaseNotFoundError('no', { lease: 1n })));
    });
    await expect(counter.increment()).rejects.toMatchObject({ outcome: 'unknown' });
    expect(await counter.get()).toBe(3);
  });

  test('bad input is refused, and nothing is written', async () => {
    for (const name of badNames) {
      await expectRefused(() => Reflect.construct(DistributedCounter, [client, name]));
    }
    const counter = new DistributedCounter(client, 'a');
    const bad = [1.5, NaN, Infinity, 2 ** 53, '1', null, undefined, {}, 2n ** 129n, -(2n ** 129n)];
    for (const delta of bad) {
      await expectRefused(() => invoke(counter, 'incrementBy', delta));
    }
    for (const options of badOptions) {
      await expectRefused(() => invoke(counter, 'increment', options));
      await expectRefused(() => invoke(counter, 'initialize', options));
      await expectRefused(() => invoke(counter, 'get', options));
    }
    expect(await keysOf(client)).toEqual([]);
  });
});
