// Bytes, versions and places that must be the same whatever the build: `vectors.json` says them once, and this suite
// holds Node and the browser to it.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  InvalidArgumentError,
  Version,
  VersionMismatchError,
  compare,
  getShardForKey,
  jumpConsistentHash,
  xxhash64,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import vectors from '../vectors.json';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function hex(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The large value of a length: byte `i` is `i * 31 + (i >> 8)`, modulo 256. */
function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => at * 31 + (at >> 8));
}

test.each(vectors.placement)(
  'the key $key has its hash and its place',
  ({ key, xxhash64: hash, of1024, of256 }) => {
    expect(String(xxhash64(bytes(key)))).toBe(hash);
    expect(jumpConsistentHash(BigInt(hash), 1024)).toBe(of1024);
    if (of256 !== null) expect(getShardForKey(bytes(key), 256)).toBe(of256);
  },
);

test.each(vectors.versions)('the version %s has two numbers without loss', (text) => {
  const [term = '', index = ''] = text.split('.');
  const version = Version.parse(text);
  expect([version.term, version.index]).toEqual([BigInt(term), BigInt(index)]);
  expect(version.toString()).toBe(text);
});

describe.each(kinds)('vectors in $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  test('keys that are no text, and empty values, come back byte for byte and in the order of bytes', async () => {
    await client.deleteRange({ prefix: '' });
    const { entries } = vectors;
    await using watch = client.watch({ prefix: '' });
    await watch.ready;
    for (const { key, value } of entries.toReversed()) await client.put(bytes(key), bytes(value));
    const written = entries.map(({ key, value }) => [key, value]);
    const pairs = (found: Iterable<{ key: Uint8Array; value: Uint8Array } | null>): string[][] =>
      Array.from(found, (entry) => (entry === null ? [] : [hex(entry.key), hex(entry.value)]));

    expect(pairs(await client.scan({ prefix: '' }).toArray())).toEqual(written);
    expect(pairs(await client.getMany(entries.map(({ key }) => bytes(key))))).toEqual(written);
    for (const { key, value } of entries) {
      const entry = await client.get(bytes(key));
      expect([hex(entry.key), hex(entry.value)]).toEqual([key, value]);
    }
    const seen: string[][] = [];
    for await (const { events } of watch) {
      seen.push(...pairs(events.map(({ entry }) => entry)));
      if (seen.length === entries.length) break;
    }
    expect(seen).toEqual(written.toReversed());
  });

  test.each(vectors.large)('a value of $length bytes', async ({ length, xxhash64: hash }) => {
    const value = pattern(length);
    expect(String(xxhash64(value))).toBe(hash);
    await client.put('large', value);
    const { value: found } = await client.get('large');
    expect(found).toHaveLength(length);
    expect(String(xxhash64(found))).toBe(hash);
  });

  test.each(vectors.versions)(
    'the version %s crosses to the store and back without loss',
    async (text) => {
      const version = Version.parse(text);
      await client.put('versioned', '1');
      const { expected, actual } = await failure(VersionMismatchError, () =>
        client.put('versioned', '2', { ifMatchVersion: version }),
      );
      expect(expected.toString()).toBe(text);
      expect(actual?.equals((await client.get('versioned')).version)).toBe(true);
      const equals = await client.txn().if(compare('versioned').version.equals(version)).commit();
      expect(equals.succeeded).toBe(false);
    },
  );

  test('a version of a time to come cannot be read at, whatever its size', async () => {
    const { term } = (await client.status()).version;
    for (const index of [2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n]) {
      await failure(InvalidArgumentError, () =>
        client.scan({ version: new Version(term, index) }).toArray(),
      );
    }
  });
});
