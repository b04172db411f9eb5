import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { InvalidArgumentError } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

describe.each(kinds)('deleteRange of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  const fill = (...keys: string[]) => Promise.all(keys.map((key) => client.put(key, key)));
  const left = async () => (await client.scan().toArray()).map((entry) => entry.keyText());

  test('a prefix, and nothing beside it', async () => {
    await fill('a', 'a:1', 'a:2', 'a;', 'b');
    expect(await client.deleteRange({ prefix: 'a:' })).toBe(2);
    expect(await left()).toEqual(['a', 'a;', 'b']);
  });

  test('from a start up to and without an end', async () => {
    await client.deleteRange({ prefix: '' });
    await fill('a', 'b', 'c', 'd');
    expect(await client.deleteRange({ start: 'b', end: 'd' })).toBe(2);
    expect(await left()).toEqual(['a', 'd']);
    expect(await client.deleteRange({ start: 'b' })).toBe(1);
    expect(await client.deleteRange({ end: 'b' })).toBe(1);
    expect(await left()).toEqual([]);
  });

  test('a prefix of the largest byte has no end', async () => {
    const bytes = (...numbers: number[]) => new Uint8Array(numbers);
    await client.put(bytes(254, 255), '1');
    await client.put(bytes(255), '2');
    await client.put(bytes(255, 255, 255), '3');
    expect(await client.deleteRange({ prefix: bytes(255) })).toBe(2);
    expect(await client.deleteRange({ prefix: bytes(254) })).toBe(1);
  });

  test('all in one revision, and none for nothing', async () => {
    await Promise.all(Array.from({ length: 2500 }, (_, at) => client.put(`many:${at}`, 'x')));
    const before = await client.put('marker', '1');
    expect(await client.deleteRange({ prefix: 'many:' })).toBe(2500);
    expect(await client.deleteRange({ prefix: 'many:' })).toBe(0);
    const after = await client.put('marker', '2');
    expect(after.index).toBe(before.index + 2n);
  });

  // Each of these is an object, and says nothing of a range.
  const nothing: [string, unknown][] = [
    ['no bounds', {}],
    ['a prefix that is undefined', { prefix: undefined }],
    ['bounds that are undefined', { start: undefined, end: undefined }],
    ['a mistyped name', { prefx: 'user:' }],
    ['a mistyped name beside a right one', { start: 'a', ends: 'b' }],
    ['a Buffer', Buffer.from('user:')],
    ['a Uint8Array', new TextEncoder().encode('user:')],
    ['an array', ['user:']],
    ['an empty array', []],
    ['a String object', new String('user:')],
    ['a Map', new Map([['prefix', 'user:']])],
    ['an empty Map', new Map()],
    ['a promise', Promise.resolve({ prefix: 'user:' })],
  ];
  test.each(nothing)('%s is refused, and deletes nothing', async (_, range) => {
    await fill('user:1', 'x');
    const before = await left();
    await failure(InvalidArgumentError, () => client.deleteRange(range as never));
    expect(await left()).toEqual(before);
  });

  test.each(nothing.slice(3))('%s is no range to count or to scan', async (_, range) => {
    await failure(InvalidArgumentError, () => client.count(range as never));
    await failure(InvalidArgumentError, () => client.scan(range as never).toArray());
  });

  test('what is refused is named, and so is what to say instead', async () => {
    const mistyped = { prefx: 'user:' } as object;
    const { message } = await failure(InvalidArgumentError, () => client.deleteRange(mistyped));
    expect(message).toMatch(/"prefx".*prefix, start, end/);
    const unbounded = await failure(InvalidArgumentError, () => client.deleteRange({}));
    expect(unbounded.message).toContain("{ prefix: '' }");
  });

  test('with an empty prefix everything that the client can see', async () => {
    await fill('x', 'y');
    const seen = await client.count({});
    expect(await client.deleteRange({ prefix: '' })).toBe(seen);
    expect(await left()).toEqual([]);
  });
});

for (const kind of kinds.filter(({ part }) => part)) {
  test(`deleteRange of ${kind.name} leaves the rest of the store alone`, async () => {
    const store = await kind.open();
    await store.client.put('mine', '1');
    expect(await store.client.deleteRange({ prefix: '' })).toBe(1);
    expect(await store.whole?.count({})).toBe(4);
    await store.close();
  });
}
