import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CompactedError, InvalidArgumentError, Version } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

describe.each(kinds)('compaction of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  test('what is older than the version cannot be read any more, and the error says what can', async () => {
    const first = await client.put('a', '1');
    const second = await client.put('a', '2');
    await client.put('a', '3');
    await client.compact(second);
    const error = await failure(CompactedError, () =>
      client.scan({ prefix: 'a', version: first }).toArray(),
    );
    expect(error.compactVersion?.equals(second)).toBe(true);
    const [entry] = await client.scan({ prefix: 'a', version: second }).toArray();
    expect(entry?.text()).toBe('2');
    expect((await client.status()).sizes.compactVersion.equals(second)).toBe(true);
    await failure(CompactedError, () => client.compact(first));
  });

  test('a version in the future, and what is none, are refused', async () => {
    const { version } = await client.status();
    const plain = client as unknown as Record<'compact', (version: unknown) => Promise<void>>;
    await failure(InvalidArgumentError, () =>
      client.compact(new Version(version.term, version.index + 1n)),
    );
    for (const wrong of [undefined, null, 5, '1.2', {}]) {
      await failure(InvalidArgumentError, () => plain.compact(wrong));
    }
  });
});
