import { describe, expect, test } from '@jest/globals';
import {
  ConsistencyLevel,
  InvalidArgumentError,
  VERSION,
  bytesToString,
  getShardForKey,
  initializeHasher,
  jumpConsistentHash,
  keyToBytes,
  retryPolicy,
  stringToBytes,
  valueToBytes,
  xxhash64,
} from '@norikv/client';
import { failure } from './errors';

describe('bytes and text', () => {
  test.each(['', 'a', 'hello world', 'é', '日本語', '🔑', '\ufeffmark', 'a\0b', 'x'.repeat(5000)])(
    '%j is its UTF-8 bytes and back',
    (text) => {
      expect(stringToBytes(text)).toEqual(new TextEncoder().encode(text));
      expect(bytesToString(stringToBytes(text))).toBe(text);
    },
  );

  test('what is no UTF-8 becomes U+FFFD, and half a surrogate pair too', () => {
    expect(bytesToString(new Uint8Array([0x61, 0xff, 0x62]))).toBe('a\ufffdb');
    expect(bytesToString(stringToBytes('\ud83d'))).toBe('\ufffd');
  });

  test('keys have 1 to 1,024 bytes, values any number', async () => {
    expect(keyToBytes('é')).toEqual(new Uint8Array([0xc3, 0xa9]));
    expect(keyToBytes(new Uint8Array([1]))).toEqual(new Uint8Array([1]));
    expect(keyToBytes('x'.repeat(1024))).toHaveLength(1024);
    expect(valueToBytes('')).toHaveLength(0);
    for (const key of ['', 'x'.repeat(1025), 'é'.repeat(513), null, undefined, 5, [1]]) {
      await failure(InvalidArgumentError, () => keyToBytes(key as never));
    }
    for (const value of [null, undefined, 5, [1], {}]) {
      await failure(InvalidArgumentError, () => valueToBytes(value as never));
    }
  });
});

describe('placement', () => {
  test.each([
    ['hello', 2794345569481354659n, 309, 118],
    ['world', 16679358290033791471n, 752, 4],
    ['user:123', 12838382303697200627n, 928, 59],
    ['session:abc', 6709427766188742023n, 48, 48],
    ['config:feature-flag', 11761742651260739985n, 987, 116],
    ['metrics:cpu', 11466248021713662033n, 336, 82],
    ['', 17241709254077376921n, 332, undefined],
    ['a', 15154266338359012955n, 894, undefined],
    ['hello world', 5020219685658847592n, 897, undefined],
  ] as const)('%j is where every client and server places it', (key, hash, of1024, of256) => {
    expect(xxhash64(key)).toBe(hash);
    expect(xxhash64(stringToBytes(key))).toBe(hash);
    expect(jumpConsistentHash(hash, 1024)).toBe(of1024);
    expect(getShardForKey(key)).toBe(of1024);
    if (of256 !== undefined) expect(getShardForKey(key, 256)).toBe(of256);
  });

  test('the jump hash moves few keys when a bucket is added, and those to the new one', () => {
    const hashes = Array.from({ length: 2000 }, (_, at) => xxhash64(`key:${at}`));
    const moved = hashes.filter((hash) => {
      const [before, after] = [jumpConsistentHash(hash, 10), jumpConsistentHash(hash, 11)];
      if (before !== after) expect(after).toBe(10);
      return before !== after;
    });
    expect(moved.length).toBeGreaterThan(100);
    expect(moved.length).toBeLessThan(280);
  });

  test('takes hashes and buckets at the ends of their ranges, and no others', async () => {
    expect(jumpConsistentHash(0n, 1)).toBe(0);
    expect(jumpConsistentHash(2n ** 64n - 1n, 1)).toBe(0);
    expect(jumpConsistentHash(2n ** 64n - 1n, 2 ** 31 - 1)).toBeLessThan(2 ** 31);
    for (const hash of [-1n, 2n ** 64n, 5, '5', null, undefined]) {
      await failure(InvalidArgumentError, () => jumpConsistentHash(hash as never, 10));
    }
    for (const buckets of [0, -1, 1.5, NaN, Infinity, 2 ** 31, '5', 5n, null, undefined]) {
      await failure(InvalidArgumentError, () => jumpConsistentHash(1n, buckets as never));
    }
    await failure(InvalidArgumentError, () => getShardForKey('a', 0));
    await failure(InvalidArgumentError, () => getShardForKey(5 as never));
    await failure(InvalidArgumentError, () => xxhash64(null as never));
  });

  test('initializeHasher resolves', async () => {
    await expect(initializeHasher()).resolves.toBeUndefined();
  });
});

test('a retry policy is what its steps say, and no step changes an earlier one', () => {
  const begun = retryPolicy().maxAttempts(5);
  const whole = begun.initialDelay(20).maxDelay(2000).backoffMultiplier(1.5).jitter(false).build();
  expect(whole).toEqual({
    maxAttempts: 5,
    initialDelay: 20,
    maxDelay: 2000,
    backoffMultiplier: 1.5,
    jitter: false,
  });
  expect(begun.build()).toEqual({ maxAttempts: 5 });
});

test('names that code in use relies on', () => {
  expect(VERSION).toMatch(/^\d+\.\d+\.\d+/);
  expect(ConsistencyLevel).toEqual({
    LEASE: 'lease',
    LINEARIZABLE: 'linearizable',
    STALE_OK: 'stale_ok',
  });
});
