import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  CorruptionError,
  RetryExhaustedError,
  UnavailableError,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { RateLimiter } from '@norikv/client/recipes';
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

const limit = { maxRequests: 3, windowMs: 60_000 };

describe.each([memory, servedFile])('a RateLimiter on $name', (kind) => {
  const clock = Date.now;
  let now: number;
  let store: TestStore;
  let client: NoriKVClient;

  beforeEach(async () => {
    store = await kind.open();
    client = store.client;
    now = clock();
    Date.now = () => now;
  });
  afterEach(async () => {
    Date.now = clock;
    await store.close();
  });

  test('allows as many as there are, and says what is left and when to come back', async () => {
    const limiter = new RateLimiter(client);
    for (const remaining of [2, 1, 0]) {
      const result = await limiter.checkLimit('a', limit);
      expect(result).toMatchObject({ allowed: true, remaining, retryAfterMs: 0 });
    }
    const { allowed, remaining, resetAt, retryAfterMs } = await limiter.checkLimit('a', limit);
    expect({ allowed, remaining }).toEqual({ allowed: false, remaining: 0 });
    expect(retryAfterMs).toBe(resetAt - now);
    expect(retryAfterMs).toBeGreaterThanOrEqual(60_000);
    expect(retryAfterMs).toBeLessThanOrEqual(60_000 + 60_000 / 32);

    now = resetAt - 1;
    expect((await limiter.checkLimit('a', limit)).allowed).toBe(false);
    now = resetAt;
    expect((await limiter.checkLimit('a', limit)).allowed).toBe(true);
  });

  test('two first hits at once are both counted (the naive one puts the second over the first)', async () => {
    const gate = gated(client);
    const slow = new RateLimiter(gate.client);
    const fast = new RateLimiter(await store.another());
    gate.beforeNext('put', async () => {
      for (let hit = 0; hit < 3; hit++) await fast.checkLimit('a', limit);
    });
    expect((await slow.checkLimit('a', limit)).allowed).toBe(false);
  });

  test('N first hits in 16 objects on 4 clients at once: exactly maxRequests are allowed', async () => {
    const clients = [client, await store.another(), await store.another(), await store.another()];
    const checks = Array.from({ length: 16 }, async (_, at) => {
      const limiter = new RateLimiter(clients[at % 4]!);
      const own = Array.from({ length: 10 }, () =>
        limiter.checkLimit('a', { maxRequests: 37, windowMs: 60_000 }),
      );
      return await Promise.all(own);
    });
    const results = (await Promise.all(checks)).flat();
    expect(results.filter(({ allowed }) => allowed)).toHaveLength(37);
    expect(new Set(results.map(({ remaining }) => remaining)).size).toBe(37);
  });

  test('no window of any beginning has more (a fixed window lets twice as many through at its end)', async () => {
    const limiter = new RateLimiter(client);
    const config = { maxRequests: 5, windowMs: 1_000 };
    const allowed: number[] = [];
    const refused: number[] = [];
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed % below;
    };
    for (let step = 0; step < (kind.slow ? 150 : 1_500); step++) {
      // Bursts, and pauses now and then.
      now += random(10) === 0 ? random(1_500) : random(90);
      const result = await limiter.checkLimit('a', config);
      (result.allowed ? allowed : refused).push(now);
    }
    const within = (from: number, to: number): number =>
      allowed.filter((at) => at > from && at <= to).length;
    for (const at of allowed) expect(within(at - 1_000, at)).toBeLessThanOrEqual(5);
    // And nobody is refused for what is longer ago than a window and a slot.
    const slot = Math.ceil(1_000 / 32);
    for (const at of refused) {
      expect(within(at - 1_000 - slot, at)).toBeGreaterThanOrEqual(5);
    }
    expect(refused.length).toBeGreaterThan(0);
  });

  test('an id takes one small key, however many requests (the naive one stores each)', async () => {
    const limiter = new RateLimiter(client);
    const config = { maxRequests: 1_000_000, windowMs: 60_000 };
    for (let round = 0; round < 60; round++) {
      now += 1_500;
      await Promise.all(Array.from({ length: 100 }, () => limiter.checkLimit('a', config)));
    }
    const entries = await client.scan().toArray();
    expect(entries.map((entry) => entry.keyText())).toEqual(['rate-limit/default/a/1000000/60000']);
    expect(entries[0]!.value.length).toBeLessThan(250);
  });

  test('its key expires once it does not matter any more, and not before', async () => {
    const limiter = new RateLimiter(client);
    const before = clock();
    await limiter.checkLimit('a', limit);
    const after = clock();
    const [entry] = await client.scan().toArray();
    const least = before + 60_000 + 60_000 / 32;
    expect(entry!.expiresAt).toBeGreaterThanOrEqual(least);
    expect(entry!.expiresAt).toBeLessThanOrEqual(
      after + 60_000 + 60_000 / 32 + 1_000 + kind.timeUnitMs,
    );
  });

  test('limits of other names, numbers and windows do not share a key (the naive ones overwrite each other)', async () => {
    const one = { maxRequests: 1, windowMs: 60_000 };
    const limiters = [
      new RateLimiter(client),
      new RateLimiter(client, { name: 'a' }),
      new RateLimiter(client, { name: 'a/default' }),
    ];
    const configs = [one, { ...one, windowMs: 60_001 }, { ...one, maxRequests: 2 }];
    for (const limiter of limiters) {
      for (const id of ['a', 'b', 'a/1', 'a/1/60000']) {
        for (const config of configs) {
          expect((await limiter.checkLimit(id, config)).allowed).toBe(true);
        }
        expect((await limiter.checkLimit(id, one)).allowed).toBe(false);
      }
    }
  });

  test('reset forgets an id under all of its limits, and no other id', async () => {
    const limiter = new RateLimiter(client);
    const one = { maxRequests: 1, windowMs: 60_000 };
    const hour = { maxRequests: 1, windowMs: 3_600_000 };
    for (const id of ['a', 'a/1', 'b']) {
      await limiter.checkLimit(id, one);
      await limiter.checkLimit(id, hour);
    }
    await limiter.reset('a');
    expect((await limiter.checkLimit('a', one)).allowed).toBe(true);
    expect((await limiter.checkLimit('a', hour)).allowed).toBe(true);
    expect((await limiter.checkLimit('a/1', one)).allowed).toBe(false);
    expect((await limiter.checkLimit('b', hour)).allowed).toBe(false);
    await limiter.reset('nobody');
  });

  test('a reset by another process is seen at once (what is remembered of a refusal is not believed)', async () => {
    const limiter = new RateLimiter(client);
    const one = { maxRequests: 1, windowMs: 60_000 };
    await limiter.checkLimit('a', one);
    expect((await limiter.checkLimit('a', one)).allowed).toBe(false);
    await new RateLimiter(await store.another()).reset('a');
    expect((await limiter.checkLimit('a', one)).allowed).toBe(true);
  });

  test('costs 1 round trip after it was idle, too (what is remembered has expired in the store, and is met as a conflict)', async () => {
    const gate = gated(client);
    const limiter = new RateLimiter(gate.client);
    const config = { maxRequests: 2, windowMs: 50 };
    await limiter.checkLimit('a', config);
    while ((await keysOf(client)).length > 0) await new Promise((done) => setTimeout(done, 100));
    await new Promise((done) => setTimeout(done, 100));
    const before = gate.total();
    expect((await limiter.checkLimit('a', config)).allowed).toBe(true);
    expect(gate.total() - before).toBe(1);
  });

  test('costs 1 round trip, for a new id too; a refusal 1, and it writes nothing; after somebody else 3', async () => {
    const gate = gated(client);
    const limiter = new RateLimiter(gate.client);
    const cost = async (id: string): Promise<number> => {
      const before = gate.total();
      await limiter.checkLimit(id, limit);
      return gate.total() - before;
    };
    expect(await cost('a')).toBe(1);
    expect(await cost('a')).toBe(1);
    expect(await cost('a')).toBe(1);
    const { version } = await client.get('rate-limit/default/a/3/60000');
    expect(await cost('a')).toBe(1);
    const { version: after } = await client.get('rate-limit/default/a/3/60000');
    expect(after.equals(version)).toBe(true);

    expect(await cost('b')).toBe(1);
    await new RateLimiter(client).checkLimit('b', limit);
    expect(await cost('b')).toBe(3);
  });

  test('checks of one id that one object makes at a time go together', async () => {
    const gate = gated(client);
    const limiter = new RateLimiter(gate.client);
    const results = await Promise.all(
      Array.from({ length: 100 }, () => limiter.checkLimit('a', limit)),
    );
    expect(results.map(({ allowed }) => allowed).indexOf(false)).toBe(3);
    expect(results.filter(({ allowed }) => allowed)).toHaveLength(3);
    expect(gate.total()).toBe(1);
  });

  test('time does not go back: a clock that does frees nothing', async () => {
    const ahead = new RateLimiter(client);
    const behind = new RateLimiter(client);
    await ahead.checkLimit('a', limit);
    now -= 3_600_000;
    expect(await behind.checkLimit('a', limit)).toMatchObject({ allowed: true, remaining: 1 });
    expect(await ahead.checkLimit('a', limit)).toMatchObject({ allowed: true, remaining: 0 });
    expect((await behind.checkLimit('a', limit)).allowed).toBe(false);
    now += 3_600_000 + 30_000;
    expect((await behind.checkLimit('a', limit)).allowed).toBe(false);
  });

  test('a store that is down is an error, or what onStoreError says, with the reason', async () => {
    const down = new UnavailableError('nobody there');
    const failing = (onStoreError?: 'open' | 'closed'): RateLimiter => {
      const gate = gated(client);
      gate.beforeNext('put', () => Promise.reject(down));
      return new RateLimiter(gate.client, { onStoreError });
    };
    await expect(failing().checkLimit('a', limit)).rejects.toBe(down);
    const open = await failing('open').checkLimit('a', limit);
    expect(open).toMatchObject({ allowed: true, remaining: 0, retryAfterMs: 0, storeError: down });
    const closed = await failing('closed').checkLimit('a', limit);
    expect(closed).toMatchObject({ allowed: false, remaining: 0, storeError: down });
    expect(closed.retryAfterMs).toBeGreaterThan(0);
    expect(closed.resetAt).toBe(now + closed.retryAfterMs);
  });

  test('contention is neither a refusal nor a store that is down: it is a RetryExhaustedError', async () => {
    const gate = gated(client);
    const limiter = new RateLimiter(gate.client, { onStoreError: 'open' });
    const many = { maxRequests: 1_000_000, windowMs: 60_000 };
    const other = new RateLimiter(client);
    const disturb = async (): Promise<void> => {
      gate.beforeNext('put', disturb);
      await other.checkLimit('a', many);
    };
    gate.beforeNext('put', disturb);
    const timeoutMs = kind.slow ? 1_500 : 500;
    await expect(limiter.checkLimit('a', many, { timeoutMs })).rejects.toThrow(RetryExhaustedError);
  });

  test('what onStoreError is not asked about: a signal, and a key that holds something else', async () => {
    const limiter = new RateLimiter(client, { onStoreError: 'open' });
    const signal = AbortSignal.abort();
    await expect(limiter.checkLimit('a', limit, { signal })).rejects.toThrow(CancelledError);
    await expect(limiter.reset('a', { signal })).rejects.toThrow(CancelledError);
    expect(await keysOf(client)).toEqual([]);
    const garbage = [
      '',
      '[]',
      '[1,2]',
      '{"slot":1}',
      '["x",-1,[1]]',
      '["x",1,[]]',
      '["x",1,[1.5]]',
    ];
    for (const text of [...garbage, '["x",1,["1"]]', `["x",1,[${'1,'.repeat(33)}1]]`]) {
      await client.put('rate-limit/default/a/3/60000', text);
      await expect(limiter.checkLimit('a', limit)).rejects.toThrow(CorruptionError);
      await expect(limiter.checkLimit('a', limit)).rejects.toThrow('rate-limit/default/a/3/60000');
    }
    await limiter.reset('a');
    expect((await limiter.checkLimit('a', limit)).allowed).toBe(true);
  });

  test('windows shorter than their slots, and very long ones', async () => {
    const limiter = new RateLimiter(client);
    const short = { maxRequests: 1, windowMs: 1 };
    expect((await limiter.checkLimit('a', short)).allowed).toBe(true);
    expect(await limiter.checkLimit('a', short)).toMatchObject({ allowed: false, retryAfterMs: 2 });
    now += 2;
    expect((await limiter.checkLimit('a', short)).allowed).toBe(true);
    const year = { maxRequests: 1, windowMs: 365 * 86_400_000 };
    expect((await limiter.checkLimit('a', year)).allowed).toBe(true);
    now += 365 * 86_400_000 - 1;
    expect((await limiter.checkLimit('a', year)).allowed).toBe(false);
  });

  if (!kind.slow) {
    test('more ids than one object remembers are still limited', async () => {
      const limiter = new RateLimiter(client);
      const one = { maxRequests: 1, windowMs: 60_000 };
      const all = Array.from({ length: 20_100 }, (_, at) => limiter.checkLimit(`id ${at}`, one));
      expect((await Promise.all(all)).every(({ allowed }) => allowed)).toBe(true);
      expect((await limiter.checkLimit('id 0', one)).allowed).toBe(false);
      expect((await limiter.checkLimit('id 20099', one)).allowed).toBe(false);
    });
  }

  test('strange ids are ids of their own', async () => {
    const limiter = new RateLimiter(client);
    const one = { maxRequests: 1, windowMs: 60_000 };
    for (const id of strangeNames) {
      expect((await limiter.checkLimit(id, one)).allowed).toBe(true);
      expect((await new RateLimiter(client).checkLimit(id, one)).allowed).toBe(false);
    }
  });

  test('bad input is refused, and nothing is written', async () => {
    for (const name of badNames.filter((given) => given !== undefined)) {
      await expectRefused(() => Reflect.construct(RateLimiter, [client, { name }]));
    }
    const settings = [
      null,
      5,
      'x',
      [],
      { onStoreError: 'maybe' },
      { onStoreError: null },
      { nam: 'a' },
    ];
    for (const given of settings) {
      await expectRefused(() => Reflect.construct(RateLimiter, [client, given]));
    }
    const limiter = new RateLimiter(client, { onStoreError: 'open' });
    for (const id of badNames) {
      await expectRefused(() => invoke(limiter, 'checkLimit', id, limit));
      await expectRefused(() => invoke(limiter, 'reset', id));
    }
    for (const bad of [...badCounts, undefined]) {
      await expectRefused(() => invoke(limiter, 'checkLimit', 'a', { ...limit, maxRequests: bad }));
      await expectRefused(() => invoke(limiter, 'checkLimit', 'a', { ...limit, windowMs: bad }));
    }
    for (const config of [undefined, null, 5, [], { ...limit, cost: 2 }]) {
      await expectRefused(() => invoke(limiter, 'checkLimit', 'a', config));
    }
    for (const options of badOptions) {
      await expectRefused(() => invoke(limiter, 'checkLimit', 'a', limit, options));
      await expectRefused(() => invoke(limiter, 'reset', 'a', options));
    }
    expect(await keysOf(client)).toEqual([]);
    // What was right once does not make a text right that reads the same.
    await limiter.checkLimit('5', limit);
    await expectRefused(() => invoke(limiter, 'checkLimit', 5, limit));
    await expectRefused(() => invoke(limiter, 'checkLimit', '5', { ...limit, windowMs: '60000' }));
  });
});
