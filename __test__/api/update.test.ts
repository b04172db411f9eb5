import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  AlreadyExistsError,
  CancelledError,
  DeadlineExceededError,
  InvalidArgumentError,
  RetryExhaustedError,
  VersionMismatchError,
} from '@norikv/client';
import type { Entry, NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { Kind, TestStore } from './stores';

async function withStore(kind: Kind, use: (store: TestStore) => Promise<void>): Promise<void> {
  const store = await kind.open({ timeout: 60_000 });
  try {
    await use(store);
  } finally {
    await store.close();
  }
}

const increment = (entry: Entry | null) => String(Number(entry?.text() ?? 0) + 1);

describe.each(kinds)('update of $name', (kind) => {
  test('creates, changes, and leaves alone', async () => {
    await withStore(kind, async ({ client }) => {
      const created = await client.update('counter', increment);
      expect((await client.get('counter')).version.equals(created!)).toBe(true);
      await client.update('counter', (entry) => Promise.resolve(increment(entry)));
      expect((await client.get('counter')).text()).toBe('2');
      expect(await client.update('counter', () => undefined)).toBeNull();
      expect((await client.get('counter')).generation).toBe(2);
    });
  });

  test('what the function throws ends it, and nothing is written', async () => {
    await withStore(kind, async ({ client }) => {
      const thrown = new Error('mine');
      const failing = client.update('counter', () => {
        throw thrown;
      });
      await expect(failing).rejects.toBe(thrown);
      expect(await client.getOrNull('counter')).toBeNull();
    });
  });

  test('a write in between makes it read and decide again', async () => {
    await withStore(kind, async ({ client }) => {
      await client.put('counter', '10');
      const seen: (string | undefined)[] = [];
      await client.update('counter', async (entry) => {
        seen.push(entry?.text());
        if (seen.length === 1) await client.put('counter', '20');
        return increment(entry);
      });
      expect(seen).toEqual(['10', '20']);
      expect((await client.get('counter')).text()).toBe('21');
    });
  });

  test('ttlMs is that of the new value', async () => {
    await withStore(kind, async ({ client }) => {
      await client.update('counter', increment, { ttlMs: 60_000 });
      expect((await client.get('counter')).expiresAt).toBeGreaterThan(Date.now());
      await client.update('counter', increment);
      expect((await client.get('counter')).expiresAt).toBeNull();
    });
  });

  test('maxAttempts spent on conflicts is a RetryExhaustedError with the last conflict as its cause', async () => {
    await withStore(kind, async ({ client }) => {
      await client.put('counter', '0');
      const inTheWay = async (entry: Entry | null) => {
        await client.put('counter', 'another');
        return increment(entry);
      };
      const error = await failure(RetryExhaustedError, () =>
        client.update('counter', inTheWay, { maxAttempts: 3 }),
      );
      expect(error.attempts).toBe(3);
      expect(error.cause).toBeInstanceOf(VersionMismatchError);
      expect((await client.get('counter')).text()).toBe('another');
    });
  });

  test('the time spent on conflicts is a RetryExhaustedError or, in the middle of a call, a DeadlineExceededError', async () => {
    await withStore(kind, async ({ client }) => {
      await client.put('counter', '0');
      const inTheWay = async (entry: Entry | null) => {
        await client.put('counter', 'another');
        return increment(entry);
      };
      const began = performance.now();
      const failing = client.update('counter', inTheWay, { timeoutMs: 100 });
      const error = await failing.catch((reason: unknown) => reason);
      expect(performance.now() - began).toBeLessThan(600);
      if (error instanceof DeadlineExceededError) expect(error.timeoutMs).toBe(100);
      else expect(error).toBeInstanceOf(RetryExhaustedError);
    });
  });

  test('a signal ends it', async () => {
    await withStore(kind, async ({ client }) => {
      await client.put('counter', '0');
      const controller = new AbortController();
      const reason = new Error('enough');
      const error = await failure(CancelledError, () =>
        client.update(
          'counter',
          async (entry) => {
            await client.put('counter', 'another');
            if (Number(entry?.generation) > 3) controller.abort(reason);
            return increment(entry);
          },
          { signal: controller.signal },
        ),
      );
      expect(error.cause).toBe(reason);
      expect((await client.get('counter')).text()).toBe('another');
    });
  });

  test('bad input is refused before the function is called', async () => {
    await withStore(kind, async ({ client }) => {
      let calls = 0;
      const fn = () => {
        calls++;
        return 'x';
      };
      const update = (...args: unknown[]) =>
        (client.update as (...given: unknown[]) => Promise<unknown>).apply(client, args);
      for (const args of [
        ['', fn],
        [null, fn],
        ['counter'],
        ['counter', 'x'],
        ['counter', fn, null],
        ['counter', fn, 5],
        ['counter', fn, { maxAttempts: 0 }],
        ['counter', fn, { maxAttempts: 1.5 }],
        ['counter', fn, { maxAttempts: '3' }],
        ['counter', fn, { timeoutMs: -1 }],
        ['counter', fn, { ttlMs: '1' }],
        ['counter', fn, { signal: {} }],
      ]) {
        await failure(InvalidArgumentError, () => update(...args));
      }
      expect(calls).toBe(0);
      await failure(InvalidArgumentError, () => client.update('counter', () => 5 as never));
      await failure(InvalidArgumentError, () => client.update('counter', fn, { ttlMs: -1 }));
      expect(await client.getOrNull('counter')).toBeNull();
    });
  });
});

describe('64 callers at once', () => {
  const callers = 64;

  // Jest makes a stack costly, and here are hundreds of thousands of errors whose stacks nobody reads.
  const { stackTraceLimit } = Error;
  beforeAll(() => {
    Error.stackTraceLimit = 0;
  });
  afterAll(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });

  /** Each caller increments so many times, over the clients in turn. */
  async function count(clients: readonly NoriKVClient[], each: number): Promise<void> {
    const client = (at: number) => clients[at % clients.length]!;
    await Promise.all(
      Array.from({ length: callers }, async (_, at) => {
        for (let left = each; left > 0; left--) await client(at).update('counter', increment);
      }),
    );
    const entry = await client(0).get('counter');
    expect(entry.text()).toBe(`${callers * each}`);
    expect(entry.generation).toBe(callers * each);
  }

  /** So many where calls are quick, so many where each takes an fsync, and so many where all members of a cluster agree. */
  function roundsOf(kind: Kind, quick: number, slow: number, agreed: number): number {
    if (kind.holds === 'etcd') return agreed;
    return kind.slow ? slow : quick;
  }

  // Every increment builds on the one before and waits for it: fewer of them where that takes long.
  const counted = kinds.map((kind) => ({ kind, each: roundsOf(kind, 200, 10, 2) }));

  test.each(counted)(
    '$each increments each add up on $kind.name',
    async ({ kind, each }) => {
      await withStore(kind, ({ client }) => count([client], each));
    },
    60_000,
  );

  test.each(counted.filter(({ kind }) => kind.remote))(
    '$each increments each add up on $kind.name over two connections',
    async ({ kind, each }) => {
      await withStore(kind, async (store) => count([store.client, await store.another()], each));
    },
    60_000,
  );

  /** All callers race to create a key, again and again. */
  async function race(clients: readonly NoriKVClient[], rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      const key = `race:${round}`;
      const outcomes = await Promise.allSettled(
        Array.from({ length: callers }, (_, at) =>
          clients[at % clients.length]!.put(key, `${at}`, { ifNotExists: true }),
        ),
      );
      const winners = outcomes.flatMap(({ status }, at) => (status === 'fulfilled' ? [at] : []));
      const [winner] = winners;
      if (winners.length !== 1) throw new Error(`round ${round} has ${winners.length} winners`);
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected' && !(outcome.reason instanceof AlreadyExistsError)) {
          throw outcome.reason;
        }
      }
      const entry = await clients[0]!.get(key);
      if (entry.text() !== `${winner!}`) throw new Error(`round ${round} has another's value`);
    }
  }

  const raced = kinds.map((kind) => ({ kind, rounds: roundsOf(kind, 1000, 250, 40) }));

  test.each(raced)(
    'one of them creates a key on $kind.name, $rounds times in a row',
    async ({ kind, rounds }) => {
      await withStore(kind, ({ client }) => race([client], rounds));
    },
    60_000,
  );

  test.each(raced.filter(({ kind }) => kind.remote))(
    'one of them creates a key on $kind.name over two connections, $rounds times in a row',
    async ({ kind, rounds }) => {
      await withStore(kind, async (store) => race([store.client, await store.another()], rounds));
    },
    60_000,
  );
});
