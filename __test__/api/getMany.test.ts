import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { NoriKVClient } from '@norikv/client';
import { kinds } from './stores';
import type { TestStore } from './stores';

describe.each(kinds)('getMany from $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  test('the answer has the order of the keys, null for what is missing, and repeats what is asked twice', async () => {
    await client.put('a', '1');
    await client.put('b', '2');
    const bytes = new TextEncoder().encode('a');
    const entries = await client.getMany(['b', 'missing', bytes, 'a', 'b']);
    expect(entries.map((entry) => entry?.text() ?? null)).toEqual(['2', null, '1', '1', '2']);
    expect(entries.map((entry) => entry?.keyText() ?? null)).toEqual(['b', null, 'a', 'a', 'b']);
  });

  test('no keys, no entries', async () => {
    expect(await client.getMany([])).toEqual([]);
  });

  test('more keys than one message takes', async () => {
    const keys = Array.from({ length: 3000 }, (_, at) => `many:${String(at).padStart(5, '0')}`);
    await Promise.all(keys.map((key) => client.put(key, key)));
    const entries = await client.getMany([...keys, 'missing']);
    expect(entries.map((entry) => entry?.text() ?? null)).toEqual([...keys, null]);
  });

  test('all entries come from one snapshot, while others write', async () => {
    // A writer keeps `left` ahead of `right` or equal to it, never behind.
    await client.put('left', '0');
    await client.put('right', '0');
    const done = new AbortController();
    const writer = (async () => {
      for (let at = 1; !done.signal.aborted; at++) {
        await client.put('left', `${at}`);
        await client.put('right', `${at}`);
      }
    })();
    for (let at = 0; at < 200; at++) {
      const [right, left] = await client.getMany(['right', 'left']);
      const ahead = Number(left?.text()) - Number(right?.text());
      expect([0, 1]).toContain(ahead);
    }
    done.abort();
    await writer;
  });
});
