// Bad input: each with its error, and without an effect.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { InvalidArgumentError } from '@norikv/client';
import type { NoriKVClient, Version } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

/** Values that are neither text nor bytes. */
const noData = [null, undefined, 5, NaN, 1n, true, {}, [], [1], new Date(0), new ArrayBuffer(1)];
const noText = [null, 5, 1n, true, {}, ['x'], new Uint8Array([1])];
const noFlag = [null, 0, 1, 'true', {}];
const noVersion = [null, 5, 1n, '1.2', {}, { term: 1n, index: 1n }];
const noTime = [null, '1000', 1n, {}, true];

/** A client as plain JavaScript sees it: everything may be given anything. */
type Untyped = Readonly<
  Record<'get' | 'getOrNull' | 'getMany' | 'put' | 'delete' | 'deleteRange' | 'count', Untypable>
> & { readonly scan: (...args: unknown[]) => { toArray(): Promise<unknown> } };
type Untypable = (...args: unknown[]) => Promise<unknown>;

describe.each(kinds)('bad input to $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  let plain: Untyped;
  let before: Version;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
    plain = client as unknown as Untyped;
    await client.put('key', 'value');
  });
  beforeEach(async () => {
    before = (await client.status()).version;
  });
  afterEach(async () => {
    expect((await client.status()).version.equals(before)).toBe(true);
    expect((await client.scan().toArray()).map((entry) => entry.text())).toEqual(['value']);
  });
  afterAll(() => store.close());

  const refused = async (...calls: (() => Promise<unknown>)[]) => {
    for (const call of calls) {
      const error = await failure(InvalidArgumentError, call);
      expect(error.code).toBe('INVALID_ARGUMENT');
      expect(error.retryable).toBe(false);
      expect(error.outcome).toBeUndefined();
      expect(error.message).not.toBe('');
    }
  };

  const withKey = (key: unknown) => [
    () => plain.get(key),
    () => plain.get(key, { timeoutMs: 5000 }),
    () => plain.getOrNull(key),
    () => plain.getMany([key]),
    () => plain.put(key, 'x'),
    () => plain.put(key, 'x', { prevEntry: true }),
    () => plain.delete(key),
  ];

  test('an empty key', async () => {
    await refused(...withKey(''), ...withKey(new Uint8Array()));
  });

  test('a key of 1,025 bytes', async () => {
    await refused(
      ...withKey('x'.repeat(1025)),
      ...withKey('é'.repeat(513)),
      ...withKey(new Uint8Array(1025)),
      ...withKey('x'.repeat(100_000)),
    );
  });

  test('a value over the limit, naming both sizes', async () => {
    for (const value of ['x'.repeat(1024 * 1024 + 1), new Uint8Array(1024 * 1024 + 1)]) {
      const error = await failure(InvalidArgumentError, () => client.put('key', value));
      expect(error.message).toContain('1048577');
      expect(error.message).toContain('1048576');
    }
    await refused(() => client.put('key', new Uint8Array(20 * 1024 * 1024)));
  });

  test('a ttlMs that is negative, fractional, not a number, infinite or more than 10 years', async () => {
    const tenYears = 10 * 365 * 24 * 60 * 60 * 1000;
    const wrong = [0, -1, -0, 0.5, 1.5, NaN, Infinity, -Infinity, tenYears + 1, 2 ** 53, 1e300];
    await refused(...wrong.map((ttlMs) => () => client.put('key', 'x', { ttlMs })));
  });

  test('both conditions at once', async () => {
    const { version } = await client.get('key');
    await refused(
      () => client.put('key', 'x', { ifNotExists: true, ifMatchVersion: version }),
      () => client.put('other', 'x', { ifNotExists: true, ifMatchVersion: version }),
    );
  });

  test('an idempotencyKey that is empty or has more than 1,024 bytes', async () => {
    for (const idempotencyKey of ['', 'x'.repeat(1025), 'é'.repeat(513)]) {
      await refused(
        () => client.put('key', 'x', { idempotencyKey }),
        () => client.delete('key', { idempotencyKey }),
      );
    }
  });

  test('unknown consistency words', async () => {
    for (const consistency of ['', 'strong', 'eventual', 'LEASE', 'Lease', 0, null, {}, 1n]) {
      await refused(
        () => plain.get('key', { consistency }),
        () => plain.get('key', { consistency, timeoutMs: 5000 }),
        () => plain.getOrNull('key', { consistency }),
        () => plain.getMany(['key'], { consistency }),
        () => plain.count({}, { consistency }),
        () => plain.scan({ consistency }).toArray(),
      );
    }
  });

  test('keys, values and prefixes of wrong types', async () => {
    for (const wrong of noData) await refused(...withKey(wrong), () => plain.put('key', wrong));
    for (const wrong of noData.filter((data) => data !== undefined)) {
      await refused(
        () => plain.count({ prefix: wrong }),
        () => plain.count({ start: wrong }),
        () => plain.count({ end: wrong }),
        () => plain.deleteRange({ prefix: wrong }),
        () => plain.deleteRange({ start: wrong }),
        () => plain.deleteRange({ end: wrong }),
        () => plain.scan({ prefix: wrong }).toArray(),
        () => plain.scan({ start: wrong }).toArray(),
      );
    }
  });

  test('keys of wrong types while a write is under way', async () => {
    // A read then takes another way than one from memory.
    for (const wrong of [...noData, -1, 1e10]) {
      const writing = client.put('key', 'value', { ifNotExists: true }).catch(() => undefined);
      const reading = failure(InvalidArgumentError, () => plain.get(wrong));
      await Promise.all([writing, reading]);
    }
  });

  test('options of wrong types', async () => {
    for (const options of [null, 5, 'x', true, () => undefined]) {
      await refused(
        () => plain.get('key', options),
        () => plain.getOrNull('key', options),
        () => plain.getMany(['key'], options),
        () => plain.put('key', 'x', options),
        () => plain.delete('key', options),
        () => plain.deleteRange({ prefix: '' }, options),
        () => plain.count({}, options),
        () => plain.scan(options).toArray(),
      );
    }
    for (const wrong of noTime) await refused(() => plain.put('key', 'x', { ttlMs: wrong }));
    for (const wrong of noFlag) {
      await refused(
        () => plain.put('key', 'x', { ifNotExists: wrong }),
        () => plain.put('key', 'x', { prevEntry: wrong }),
        () => plain.scan({ reverse: wrong }).toArray(),
        () => plain.scan({ keysOnly: wrong }).toArray(),
      );
    }
    for (const wrong of noVersion) {
      await refused(
        () => plain.put('key', 'x', { ifMatchVersion: wrong }),
        () => plain.delete('key', { ifMatchVersion: wrong }),
        () => plain.scan({ version: wrong }).toArray(),
        () => plain.count({}, { version: wrong }),
      );
    }
    for (const wrong of noText) {
      await refused(
        () => plain.put('key', 'x', { idempotencyKey: wrong }),
        () => plain.delete('key', { idempotencyKey: wrong }),
      );
    }
    for (const wrong of [...noTime, 0, -1, NaN, Infinity, 2 ** 32]) {
      await refused(
        () => plain.get('key', { timeoutMs: wrong }),
        () => plain.put('key', 'x', { timeoutMs: wrong }),
        () => plain.delete('key', { timeoutMs: wrong }),
        () => plain.scan({ timeoutMs: wrong }).toArray(),
      );
    }
    for (const wrong of [null, '1', 1n, -1, 0.5, NaN, Infinity, 2 ** 53]) {
      await refused(() => plain.scan({ limit: wrong }).toArray());
    }
  });

  test('what is no range, or two', async () => {
    for (const range of [null, undefined, 5, 'prefix']) {
      await refused(
        () => plain.count(range),
        () => plain.deleteRange(range),
      );
    }
    for (const range of [
      { prefix: 'k', start: 'k' },
      { prefix: 'k', end: 'l' },
    ]) {
      await refused(
        () => client.count(range),
        () => client.deleteRange(range),
        () => client.scan(range).toArray(),
      );
    }
  });

  test('what is no list of keys', async () => {
    const holes: unknown[] = ['key'];
    holes.length = 2;
    for (const keys of [null, undefined, 'key', 5, {}, new Set(['key']), holes, ['key', null]]) {
      await refused(() => plain.getMany(keys));
    }
  });

  test('a refused call does not spoil the calls of the same turn', async () => {
    const outcomes = await Promise.allSettled([
      client.get('key', { timeoutMs: 5000 }),
      client.put('key', 5 as never),
      client.put('', 'x'),
      client.put('key', 'x', { ttlMs: -1 }),
      client.get('key', { timeoutMs: 5000 }),
    ]);
    expect(outcomes.map(({ status }) => status[0]).join('')).toBe('frrrf');
  });
});
