import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { InvalidArgumentError, VersionMismatchError, bytesToString } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

describe.each(kinds)('delete from $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  test('answers whether the key was there', async () => {
    await client.put('there', '');
    expect(await client.delete('there')).toBe(true);
    expect(await client.getOrNull('there')).toBeNull();
    expect(await client.delete('there')).toBe(false);
  });

  test('a delete takes a revision, a delete of nothing takes none', async () => {
    const version = await client.put('revision', '1');
    await client.delete('never there');
    await client.delete('revision');
    const next = await client.put('revision', '2');
    expect(next.index).toBe(version.index + 2n);
  });

  test('ifMatchVersion deletes only that version', async () => {
    const first = await client.put('match', '1');
    const second = await client.put('match', '2');
    const error = await failure(VersionMismatchError, () =>
      client.delete('match', { ifMatchVersion: first }),
    );
    expect(bytesToString(error.key)).toBe('match');
    expect(error.expected.equals(first)).toBe(true);
    expect(error.actual?.equals(second)).toBe(true);
    expect((await client.get('match')).text()).toBe('2');
    expect(await client.delete('match', { ifMatchVersion: second })).toBe(true);
  });

  test('a missing key matches no version', async () => {
    const version = await client.put('match:gone', '1');
    await client.delete('match:gone');
    const error = await failure(VersionMismatchError, () =>
      client.delete('match:gone', { ifMatchVersion: version }),
    );
    expect(error.actual).toBeNull();
  });

  test('one of many deletes of the same version wins', async () => {
    const version = await client.put('race', '1');
    const outcomes = await Promise.allSettled(
      Array.from({ length: 32 }, () => client.delete('race', { ifMatchVersion: version })),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  test('a repeat with the same idempotencyKey answers as the first and deletes nothing more', async () => {
    const options = { idempotencyKey: 'delete:1' };
    await client.put('once', '1');
    expect(await client.delete('once', options)).toBe(true);
    await client.put('once', '2');
    expect(await client.delete('once', options)).toBe(true);
    expect((await client.get('once')).text()).toBe('2');
  });

  test('the same idempotencyKey for another key or operation is refused', async () => {
    const options = { idempotencyKey: 'delete:2' };
    await client.put('one', '1');
    await client.put('two', '2');
    await client.delete('one', options);
    await failure(InvalidArgumentError, () => client.delete('two', options));
    await failure(InvalidArgumentError, () => client.put('one', '1', options));
    expect((await client.get('two')).text()).toBe('2');
    expect(await client.getOrNull('one')).toBeNull();
  });
});
