import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { InvalidArgumentError, Version } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

describe.each(kinds)('count of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
    await Promise.all(
      Array.from({ length: 2500 }, (_, at) => client.put(`n:${String(at).padStart(4, '0')}`, 'x')),
    );
  });
  afterAll(() => store.close());

  test('of everything, a prefix, a start and an end', async () => {
    expect(await client.count({})).toBe(2500);
    expect(await client.count({ prefix: 'n:' })).toBe(2500);
    expect(await client.count({ prefix: 'n:00' })).toBe(100);
    expect(await client.count({ prefix: 'm' })).toBe(0);
    expect(await client.count({ start: 'n:0100', end: 'n:0200' })).toBe(100);
    expect(await client.count({ start: 'n:2400' })).toBe(100);
    expect(await client.count({ end: 'n:0010' })).toBe(10);
  });

  test('as it was at a version', async () => {
    const version = await client.put('v:1', 'x');
    await client.put('v:2', 'x');
    await client.delete('v:1');
    await client.put('v:3', 'x');
    expect(await client.count({ prefix: 'v:' })).toBe(2);
    expect(await client.count({ prefix: 'v:' }, { version })).toBe(1);
  });

  test('the future is refused', async () => {
    const { version } = await client.status();
    const future = new Version(version.term, version.index + 1_000_000n);
    await failure(InvalidArgumentError, () => client.count({}, { version: future }));
  });
});
