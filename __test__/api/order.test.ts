import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { KeyNotFoundError } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { kinds } from './stores';
import type { TestStore } from './stores';
import { turn } from './turn';

describe.each(kinds)('calls that are not awaited on $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  test('put, put, get, delete, get take effect as they were made', async () => {
    for (let round = 0; round < 100; round++) {
      const key = `key:${round % 7}`;
      const [first, second, read, deleted, gone] = await Promise.all([
        client.put(key, 'first'),
        client.put(key, `second ${round}`),
        client.get(key),
        client.delete(key),
        client.getOrNull(key),
      ]);
      expect(second.compare(first)).toBe(1);
      expect(read.text()).toBe(`second ${round}`);
      expect(read.version.equals(second)).toBe(true);
      expect(deleted).toBe(true);
      expect(gone).toBeNull();
    }
  });

  test('a read after a write sees it, also when the write has been sent long before', async () => {
    for (let round = 0; round < 50; round++) {
      const writing = client.put('later', `${round}`);
      await Promise.resolve();
      await turn();
      const read = await client.get('later', round % 2 === 0 ? {} : { timeoutMs: 5000 });
      expect(read.text()).toBe(`${round}`);
      await writing;
    }
  });

  test('1,000 puts of one key leave the last one', async () => {
    const versions = await Promise.all(
      Array.from({ length: 1000 }, (_, at) => client.put('last', `${at}`)),
    );
    versions.reduce((before, version) => {
      if (version.compare(before) !== 1) throw new Error('versions are out of order');
      return version;
    });
    const entry = await client.get('last');
    expect(entry.text()).toBe('999');
    expect(entry.generation).toBe(1000);
  });

  test('reads between writes of one key see the write before them', async () => {
    await client.put('between', 'start');
    const reads: Promise<string>[] = [];
    const writes: Promise<unknown>[] = [];
    for (let at = 0; at < 300; at++) {
      writes.push(client.put('between', `${at}`));
      reads.push(client.get('between').then((entry) => entry.text()));
    }
    expect(await Promise.all(reads)).toEqual(Array.from({ length: 300 }, (_, at) => `${at}`));
    await Promise.all(writes);
  });

  test('a write that is refused holds up nothing behind it', async () => {
    const outcomes = await Promise.allSettled([
      client.put('refused', '1'),
      client.put('refused', '2', { ifNotExists: true }),
      client.put('refused', '3'),
      client.get('refused'),
      client.get('refused:missing'),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
      'rejected',
    ]);
    const missing = outcomes[4] as PromiseRejectedResult;
    expect(missing.reason).toBeInstanceOf(KeyNotFoundError);
    expect((await client.get('refused')).text()).toBe('3');
  });
});
