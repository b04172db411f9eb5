import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  ClosedError,
  DeadlineExceededError,
  InvalidArgumentError,
  KeyNotFoundError,
  bytesToString,
} from '@norikv/client';
import type { NoriKVClient, Version } from '@norikv/client';
import { CachedClient } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';
import type { Gated } from './gate';

const text = (value: string): string => value;

describe.each([memory, servedFile])('CachedClient on $name', (kind) => {
  let store: TestStore;
  let gate: Gated;
  /** Another process, as far as the cache can tell. */
  let other: NoriKVClient;
  let caches: CachedClient<string>[];

  beforeEach(async () => {
    store = await kind.open();
    gate = gated(store.client);
    other = await store.another();
    caches = [];
  });
  afterEach(async () => {
    for (const cache of caches) await cache.close();
    await store.close();
  });

  function cacheOf(...args: [ttlMs?: number, maxSize?: number]): CachedClient<string> {
    const cache = new CachedClient<string>(gate.client, ...args);
    caches.push(cache);
    return cache;
  }

  /** Writes as another process, and waits until the cache was told. */
  async function told(
    cache: CachedClient<string>,
    change: () => Promise<unknown>,
  ): Promise<unknown> {
    await cache.put('sentinel', 'here', text);
    const answer = await change();
    await other.put('sentinel', 'gone');
    while ((await cache.get('sentinel', bytesToString)) === 'here') await pause();
    return answer;
  }

  test('a hit is no round trip, and a put is a hit for the next get', async () => {
    const cache = cacheOf();
    await cache.put('a', '1', text);
    await other.put('b', '2');
    expect(await cache.get('b', bytesToString)).toBe('2');
    const before = gate.total();
    expect(await cache.get('a', bytesToString)).toBe('1');
    expect(await cache.get('b', bytesToString)).toBe('2');
    expect(await cache.get('b', bytesToString, { timeoutMs: 100 })).toBe('2');
    expect(gate.total()).toBe(before);
    expect(cache.getStats()).toEqual({
      size: 2,
      maxSize: 1_000,
      ttlMs: 60_000,
      hits: 3,
      misses: 1,
      evictions: 0,
    });
  });

  test('a write of another process is seen within one delivery of the watch (the naive cache answers the old value for its whole TTL)', async () => {
    const cache = cacheOf(Infinity);
    await cache.put('a', 'old', text);
    await told(cache, () => other.put('a', 'new'));
    expect(await cache.get('a', bytesToString)).toBe('new');
    await told(cache, () => other.delete('a'));
    await expect(cache.get('a', bytesToString)).rejects.toThrow(KeyNotFoundError);
  });

  test('nothing is read before the watch began (a change between a read and the watch would never be told)', async () => {
    let begin = (): void => undefined;
    const may = new Promise<undefined>((resolve) => {
      begin = () => {
        resolve(undefined);
      };
    });
    const late = new Proxy(gate.client, {
      get(of, name): unknown {
        if (name !== 'watch') return Reflect.get(of, name, of) as unknown;
        return (...args: Parameters<NoriKVClient['watch']>) => {
          // It really begins only when it may.
          const begun = may.then(() => of.watch(...args));
          const iterate = async function* (): AsyncGenerator {
            yield* await begun;
          };
          return {
            ready: begun.then((watch) => watch.ready),
            close: () => begun.then((watch) => watch.close()),
            [Symbol.asyncIterator]: iterate,
          };
        };
      },
    });
    const cache = new CachedClient<string>(late);
    caches.push(cache);
    await other.put('a', 'old');
    const reading = cache.get('a', bytesToString);
    await pause();
    expect(gate.count('get')).toBe(0);
    await other.put('a', 'new');
    begin();
    expect(await reading).toBe('new');
    expect(await cache.get('a', bytesToString)).toBe('new');
    expect(cache.getStats().hits).toBe(1);
  });

  test('an old read is not kept over what the watch told meanwhile (the naive cache keeps the reply that came last)', async () => {
    const cache = cacheOf();
    await other.put('a', 'old');
    await cache.put('sentinel', 'here', text);
    let inTime: string | undefined;
    gate.afterNext('get', async () => {
      // The reply of the read lies here; the change and its event come first.
      await told(cache, () => other.put('a', 'new'));
      // Whoever asks after the event is not answered by the old read that is still under way.
      inTime = await cache.get('a', bytesToString);
    });
    expect(await cache.get('a', bytesToString)).toBe('old');
    expect(inTime).toBe('new');
    expect(await cache.get('a', bytesToString)).toBe('new');
  });

  test('the reply of an own put that comes after a newer write is not kept (the naive cache writes its own value over it)', async () => {
    const cache = cacheOf();
    gate.afterNext('put', async () => {
      await told(cache, () => other.put('a', 'theirs'));
    });
    await cache.put('a', 'ours', text);
    expect(await cache.get('a', bytesToString)).toBe('theirs');
  });

  test('a read that was under way brings no deleted value back (the naive delete drops the entry before the read puts it there)', async () => {
    const cache = cacheOf();
    await other.put('a', 'deleted');
    gate.afterNext('get', () => cache.delete('a'));
    expect(await cache.get('a', bytesToString)).toBe('deleted');
    await expect(cache.get('a', bytesToString)).rejects.toThrow(KeyNotFoundError);
    expect(cache.getStats().size).toBe(0);
    expect(await cache.delete('a')).toBe(false);
  });

  test('calls that are not awaited take effect in the order in which they were made', async () => {
    const cache = cacheOf();
    await cache.put('a', '1', text);
    const [, read, , gone] = await Promise.allSettled([
      cache.put('a', '2', text),
      cache.get('a', bytesToString),
      cache.delete('a'),
      cache.get('a', bytesToString),
    ]);
    expect(read).toEqual({ status: 'fulfilled', value: '2' });
    expect(gone.status).toBe('rejected');
  });

  test('concurrent misses of a key are one read (the naive cache sends one for each)', async () => {
    const cache = cacheOf();
    await other.put('a', '1');
    const parsed: Uint8Array[] = [];
    const parse = (bytes: Uint8Array): string => {
      parsed.push(bytes);
      return bytesToString(bytes);
    };
    const all = await Promise.all(Array.from({ length: 50 }, () => cache.get('a', parse)));
    expect(new Set(all)).toEqual(new Set(['1']));
    expect([gate.count('get'), parsed.length]).toEqual([1, 1]);
    expect(cache.getStats()).toMatchObject({ hits: 0, misses: 50 });
  });

  test('what is used least recently goes (the naive cache drops what came first)', async () => {
    const cache = cacheOf(60_000, 3);
    for (const key of ['a', 'b', 'c']) await cache.put(key, key, text);
    await cache.get('a', bytesToString);
    await cache.put('d', 'd', text);
    // To write what is there makes no room, and drops nothing.
    await cache.put('d', 'e', text);
    const before = gate.count('get');
    for (const key of ['a', 'c', 'd']) await cache.get(key, bytesToString);
    expect(gate.count('get')).toBe(before);
    await cache.get('b', bytesToString);
    expect(gate.count('get')).toBe(before + 1);
    expect(cache.getStats()).toMatchObject({ size: 3, evictions: 2 });
  });

  test('the TTL of the cache ends with a read, and does not touch the stored key', async () => {
    const cache = cacheOf(20);
    await cache.put('a', '1', text);
    expect((await other.get('a')).expiresAt).toBeNull();
    await pause(40);
    expect(await cache.get('a', bytesToString)).toBe('1');
    expect(gate.count('get')).toBe(1);
  });

  test('a key that expires in the store goes from the cache', async () => {
    const cache = cacheOf();
    await cache.put('a', '1', text, { ttlMs: 50 });
    while (cache.getStats().size > 0) await pause();
    await expect(cache.get('a', bytesToString)).rejects.toThrow(KeyNotFoundError);
  });

  test('a repeated write that took place before is not kept over what came since', async () => {
    const cache = cacheOf();
    const once = { idempotencyKey: 'once' };
    await cache.put('a', 'first', text, once);
    await told(cache, () => other.put('a', 'second'));
    await cache.put('a', 'first', text, once);
    expect(await cache.get('a', bytesToString)).toBe('second');
  });

  test('what a parser throws is handed on, and not cached', async () => {
    const cache = cacheOf();
    await other.put('a', 'x');
    const refuse = (): never => {
      throw new TypeError('not that');
    };
    await expect(cache.get('a', refuse)).rejects.toThrow(new TypeError('not that'));
    await expect(cache.get('a', () => Promise.reject(new TypeError('nor that')))).rejects.toThrow(
      TypeError,
    );
    expect(cache.getStats().size).toBe(0);
    expect(await cache.get('a', bytesToString)).toBe('x');
  });

  test('a missing key is not cached', async () => {
    const cache = cacheOf();
    await expect(cache.get('a', bytesToString)).rejects.toThrow(KeyNotFoundError);
    await other.put('a', '1');
    expect(await cache.get('a', bytesToString)).toBe('1');
  });

  test('invalidate and invalidateAll drop what is there and what is on its way, and nothing in the store', async () => {
    const cache = cacheOf();
    await cache.put('a', '1', text);
    cache.invalidate('a');
    gate.afterNext('get', () => {
      cache.invalidateAll();
      return Promise.resolve();
    });
    expect(await cache.get('a', bytesToString)).toBe('1');
    expect(cache.getStats().size).toBe(0);
    expect(await cache.get('a', bytesToString)).toBe('1');
    cache.invalidateAll();
    expect(cache.getStats().size).toBe(0);
    expect((await other.get('a')).text()).toBe('1');
  });

  test('a wait is ended by its signal and its time, and does not end that of others', async () => {
    const cache = cacheOf();
    await other.put('a', '1');
    await cache.get('b', bytesToString).catch(() => undefined);
    let release = (): void => undefined;
    gate.beforeNext('get', () => new Promise<void>((resolve) => (release = resolve)));
    const aborts = new AbortController();
    const first = cache.get('a', bytesToString, { signal: aborts.signal });
    const second = cache.get('a', bytesToString, { timeoutMs: 20 });
    const third = cache.get('a', bytesToString);
    await Promise.resolve();
    aborts.abort(new Error('enough'));
    await expect(first).rejects.toThrow(CancelledError);
    await expect(second).rejects.toThrow(DeadlineExceededError);
    release();
    expect(await third).toBe('1');
    // Also of what is there.
    const aborted = cache.get('a', bytesToString, { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toThrow(CancelledError);
  });

  test('a prefix narrows what the cache is told and what it takes', async () => {
    await using cache = new CachedClient<string>(gate.client, 60_000, 10, { prefix: 'user:' });
    await cache.put('user:1', 'Ada', text);
    await expect(cache.put('order:1', 'x', text)).rejects.toThrow(InvalidArgumentError);
    await expect(cache.get('order:1', bytesToString)).rejects.toThrow(InvalidArgumentError);
    expect(await other.count({ prefix: '' })).toBe(1);
  });

  test('when the watch ends with an error everything is dropped, and the next use begins a new one (what it missed would stay)', async () => {
    let fail: ((error: Error) => void) | undefined;
    const failing = new Proxy(gate.client, {
      get(of, name): unknown {
        if (name !== 'watch') return Reflect.get(of, name, of) as unknown;
        return (...args: Parameters<NoriKVClient['watch']>) => {
          const watch = of.watch(...args);
          const failed = new Promise<never>((_, reject) => (fail = reject));
          failed.catch(() => undefined);
          return {
            ready: watch.ready,
            close: () => watch.close(),
            [Symbol.asyncIterator]: () => ({ next: () => failed }),
          };
        };
      },
    });
    await using cache = new CachedClient<string>(failing);
    await cache.put('a', 'old', text);
    await other.put('a', 'new');
    gate.afterNext('get', async () => {
      fail?.(new Error('the history is gone'));
      await pause();
      expect(cache.getStats().size).toBe(0);
    });
    // Read under the watch that is gone: what it missed is not known.
    await cache.get('b', bytesToString).catch(() => undefined);
    expect(await cache.get('a', bytesToString)).toBe('new');
    expect(gate.count('watch')).toBe(2);
  });

  test('names like constructor and __proto__, separators and Unicode are keys like others', async () => {
    const cache = cacheOf();
    const keys = ['constructor', '__proto__', 'a/b', 'a:b', 'a%2Fb', 'ключ', '🗝'];
    for (const key of keys) await cache.put(key, key, text);
    for (const key of keys) expect(await cache.get(key, bytesToString)).toBe(key);
    expect(gate.count('get')).toBe(0);
    expect(await other.count({ prefix: '' })).toBe(keys.length);
  });

  test('bad input is refused, and nothing is written', async () => {
    const make = (...args: unknown[]): unknown =>
      Reflect.construct(CachedClient, [gate.client, ...args]);
    for (const ttlMs of [0, -1, NaN, '60', null]) {
      expect(() => make(ttlMs)).toThrow(InvalidArgumentError);
    }
    for (const maxSize of [0, -1, 1.5, NaN, Infinity, 1e9, '5']) {
      expect(() => make(1_000, maxSize)).toThrow(InvalidArgumentError);
    }
    for (const prefix of [7, '\ud800']) {
      expect(() => make(1_000, 10, { prefix })).toThrow(InvalidArgumentError);
    }
    expect(() => make(1_000, 10, { prefixes: 'a' })).toThrow(InvalidArgumentError);
    expect(() => make(1_000, 10, null)).toThrow(InvalidArgumentError);
    const cache = cacheOf();
    const timeout = { timeout: 5 } as object;
    await expect(cache.get('a', bytesToString, timeout)).rejects.toThrow(InvalidArgumentError);
    await expect(cache.put('a', 'x', text, timeout)).rejects.toThrow(InvalidArgumentError);
    await expect(cache.delete('a', timeout)).rejects.toThrow(InvalidArgumentError);
    for (const key of ['', '\ud800', 'a\udc00', 7, undefined, null, {}, 'x'.repeat(2_000)]) {
      const bad = key as string;
      await expect(cache.put(bad, 'x', text)).rejects.toThrow(InvalidArgumentError);
      await expect(cache.get(bad, bytesToString)).rejects.toThrow(InvalidArgumentError);
      await expect(cache.delete(bad)).rejects.toThrow(InvalidArgumentError);
    }
    const no = 'no function' as unknown;
    await expect(cache.get('a', no as typeof bytesToString)).rejects.toThrow(InvalidArgumentError);
    await expect(cache.put('a', 'x', no as typeof text)).rejects.toThrow(InvalidArgumentError);
    const number = 7 as unknown;
    const wrong = cache.put('a', 'x', () => number as string);
    await expect(wrong).rejects.toThrow(InvalidArgumentError);
    expect(await other.count({ prefix: '' })).toBe(0);
  });

  test('once closed it holds nothing, and says that it is closed; closing twice is closing once', async () => {
    const cache = cacheOf();
    await cache.put('a', '1', text);
    await cache.close();
    await cache.close();
    expect(cache.getStats().size).toBe(0);
    await expect(cache.get('a', bytesToString)).rejects.toThrow(ClosedError);
    await expect(cache.put('a', '2', text)).rejects.toThrow(ClosedError);
    await expect(cache.delete('a')).rejects.toThrow(ClosedError);
    expect((await other.get('a')).text()).toBe('1');
  });

  test('what is on its way when it is closed is answered, and not kept', async () => {
    const cache = cacheOf();
    await other.put('a', '1');
    gate.afterNext('get', () => cache.close());
    expect(await cache.get('a', bytesToString)).toBe('1');
    expect(cache.getStats().size).toBe(0);
    const never = cacheOf();
    const opening = never.get('a', bytesToString);
    await never.close();
    await expect(opening).rejects.toThrow(ClosedError);
  });

  test('versions of a put and of a read agree', async () => {
    const cache = cacheOf();
    const version: Version = await cache.put('a', '1', text);
    expect((await other.get('a')).version.equals(version)).toBe(true);
  });
});

async function pause(ms = 2): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
