import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ConsistencyLevel, KeyNotFoundError, bytesToString } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

describe.each(kinds)('get from $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  test('a missing key is a KeyNotFoundError that has the key', async () => {
    const error = await failure(KeyNotFoundError, () => client.get('missing'));
    expect(error.code).toBe('KEY_NOT_FOUND');
    expect(bytesToString(error.key)).toBe('missing');
  });

  test('getOrNull answers null for a missing key', async () => {
    expect(await client.getOrNull('missing')).toBeNull();
  });

  test('an entry says everything about its key', async () => {
    const created = await client.put('entry', '1');
    const changed = await client.put('entry', '{"two":2}');
    const entry = await client.get('entry');
    expect(entry.keyText()).toBe('entry');
    expect(entry.key).toEqual(new TextEncoder().encode('entry'));
    expect(entry.text()).toBe('{"two":2}');
    expect(entry.json<{ two: number }>().two).toBe(2);
    expect(entry.version.equals(changed)).toBe(true);
    expect(entry.createVersion.equals(created)).toBe(true);
    expect(entry.generation).toBe(2);
    expect(entry.lease).toBeNull();
    expect(entry.expiresAt).toBeNull();
  });

  test('an empty value is a value, not a missing key', async () => {
    await client.put('empty', '');
    const entry = await client.get('empty');
    expect(entry.value).toEqual(new Uint8Array());
    expect(await client.getOrNull('empty')).not.toBeNull();
  });

  test('keys and values are bytes, and strings are their UTF-8', async () => {
    const key = new Uint8Array([0, 255, 1, 128, 10]);
    const value = Uint8Array.from({ length: 256 }, (_, at) => at);
    await client.put(key, value);
    const entry = await client.get(key);
    expect(entry.key).toEqual(key);
    expect(entry.value).toEqual(value);

    await client.put('ключ 🔑', 'значение 🎁');
    expect((await client.get(new TextEncoder().encode('ключ 🔑'))).text()).toBe('значение 🎁');
    expect((await client.get('ключ 🔑')).keyText()).toBe('ключ 🔑');
  });

  test('values of every size from the page up to the limit come back whole', async () => {
    for (const length of [1, 100, 65_000, 65_535, 65_536, 65_537, 200_000, 1024 * 1024]) {
      const value = Uint8Array.from({ length }, (_, at) => (at * 31 + length) & 255);
      await client.put('sized', value);
      const { value: read } = await client.get('sized');
      expect(read).toHaveLength(length);
      expect(read.every((byte, at) => byte === value[at])).toBe(true);
    }
  });

  test('a value is a copy of its own, which neither changes later nor changes the store', async () => {
    const given = new Uint8Array([1, 2, 3]);
    const key = new Uint8Array([9, 9]);
    const writing = client.put(key, given);
    given.fill(7);
    key.fill(7);
    await writing;
    const reading = client.get(new Uint8Array([9, 9]));
    const first = await reading;
    expect(first.value).toEqual(new Uint8Array([1, 2, 3]));
    first.value.fill(0);
    expect(first.value.buffer.byteLength).toBe(3);
    await Promise.all(Array.from({ length: 50 }, (_, at) => client.put('other', `${at}`)));
    await client.getOrNull('other');
    expect(first.value).toEqual(new Uint8Array(3));
    expect((await client.get(new Uint8Array([9, 9]))).value).toEqual(new Uint8Array([1, 2, 3]));
  });

  test('a caller may reuse its key while the read is under way', async () => {
    await client.put('reused', 'here');
    const key = new TextEncoder().encode('reused');
    // A limit of its own sends even a read from memory the long way.
    const reading = client.get(key, { timeoutMs: 5000 });
    key.fill(0);
    const entry = await reading;
    expect(entry.text()).toBe('here');
    expect(entry.keyText()).toBe('reused');
  });

  test.each(Object.values(ConsistencyLevel))(
    'a read with consistency %s sees a write that was acknowledged before',
    async (consistency) => {
      for (let at = 0; at < 20; at++) {
        await client.put('consistent', `${at}`);
        expect((await client.get('consistent', { consistency })).text()).toBe(`${at}`);
      }
    },
  );

  test('10,000 reads at once are each answered with their own entry', async () => {
    const keys = Array.from({ length: 100 }, (_, at) => `many:${at}`);
    await Promise.all(keys.map((key) => client.put(key, `value of ${key}`)));
    const read = await Promise.all(
      Array.from({ length: 10_000 }, (_, at) => client.get(keys[at % 100]!)),
    );
    read.forEach((entry, at) => {
      if (entry.text() !== `value of ${keys[at % 100]!}`) throw new Error(`wrong entry at ${at}`);
    });
  });
});
