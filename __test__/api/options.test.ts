// Names of options that a call does not know, and how much may be under way.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { InvalidArgumentError, LeaseNotFoundError } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

describe.each(kinds)('options of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
    await client.put('t', '1');
  });
  afterAll(() => store.close());

  const wrong = (name: string, value: unknown = true) => ({ [name]: value }) as object;

  test('a name that a call does not know is refused, and nothing changes', async () => {
    const { version } = await client.get('t');
    const calls: [string, () => unknown][] = [
      ['consistancy', () => client.get('t', wrong('consistancy', 'linearizable'))],
      ['timeout', () => client.getOrNull('t', wrong('timeout', 5))],
      ['timeout', () => client.getMany(['t'], wrong('timeout', 5))],
      ['ifNotExist', () => client.put('t', '2', wrong('ifNotExist'))],
      ['ttl', () => client.put('a', 'b', wrong('ttl', 5))],
      ['ttl', () => client.put('a', 'b', { ttl: undefined } as object)],
      ['ifMatch', () => client.delete('t', wrong('ifMatch', version))],
      [
        'ifMatchVersion',
        () => client.deleteRange({ prefix: '' }, wrong('ifMatchVersion', version)),
      ],
      ['limit', () => client.count({}, wrong('limit', 1))],
      ['reversed', () => client.scan(wrong('reversed')).toArray()],
      ['retries', () => client.update('t', () => '2', wrong('retries', 1))],
      ['timeout', () => client.status(wrong('timeout', 5))],
      ['timeout', () => client.connect(wrong('timeout', 5))],
    ];
    for (const [name, call] of calls) {
      const { message } = await failure(InvalidArgumentError, call);
      expect(message).toContain(`"${name}"`);
      expect(message).toContain('timeoutMs');
    }
    for (const options of [[], new Map(), new AbortController().signal]) {
      await failure(InvalidArgumentError, () => client.put('t', '2', options as object));
    }
    expect((await client.get('t')).version.equals(version)).toBe(true);
    expect(await client.count({})).toBe(1);
  });

  test('a lease that is undefined is none', async () => {
    await client.put('t', '3', { lease: undefined });
    await failure(LeaseNotFoundError, () => client.put('t', '4', { lease: 1n }));
    expect((await client.get('t')).text()).toBe('3');
  });
});
