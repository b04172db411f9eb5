import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { NoriKVClient } from '@norikv/client';
import { InvalidArgumentError, KeyNotFoundError, bytesToString } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

describe.each(kinds)('namespace of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  test('keys go in and come out without the prefix', async () => {
    const part = client.namespace('in:');
    const version = await part.put('a', '1');
    const entry = await part.get('a');
    expect(entry.keyText()).toBe('a');
    expect(entry.version.equals(version)).toBe(true);
    expect((await client.get('in:a')).text()).toBe('1');
    expect((await part.getMany(['a', 'b'])).map((found) => found?.keyText())).toEqual([
      'a',
      undefined,
    ]);
    expect((await part.scan().toArray()).map((found) => found.keyText())).toEqual(['a']);
    const { prevEntry } = await part.put('a', '2', { prevEntry: true });
    expect(prevEntry?.keyText()).toBe('a');
    expect(await part.delete('a')).toBe(true);
    expect(await client.getOrNull('in:a')).toBeNull();
  });

  test('errors have the key without the prefix', async () => {
    const part = client.namespace('errors:');
    const error = await failure(KeyNotFoundError, () => part.get('missing'));
    expect(bytesToString(error.key)).toBe('missing');
    await part.put('there', '1');
    const exists = await part
      .put('there', '2', { ifNotExists: true })
      .catch((reason: unknown) => reason);
    expect(bytesToString((exists as { key: Uint8Array }).key)).toBe('there');
  });

  test('one sees nothing of another, also not at its edges', async () => {
    const part = client.namespace('edge/');
    await Promise.all(
      ['edge', 'edge.', 'edge0', 'edge/a', 'edge/b'].map((key) => client.put(key, key)),
    );
    const keys = async (options = {}) =>
      (await part.scan(options).toArray()).map((entry) => entry.keyText());
    expect(await keys()).toEqual(['a', 'b']);
    expect(await keys({ reverse: true })).toEqual(['b', 'a']);
    expect(await keys({ start: 'b' })).toEqual(['b']);
    expect(await keys({ end: 'b' })).toEqual(['a']);
    expect(await keys({ prefix: 'a' })).toEqual(['a']);
    expect(await part.count({})).toBe(2);
    expect(await part.deleteRange({ prefix: '' })).toBe(2);
    expect(await client.count({ prefix: 'edge' })).toBe(3);
  });

  test('namespaces nest', async () => {
    const inner = client.namespace('outer/').namespace(new TextEncoder().encode('inner/'));
    await inner.put('a', '1');
    expect((await client.get('outer/inner/a')).text()).toBe('1');
    await inner.update('a', (entry) => `${entry?.text() ?? ''}!`);
    expect((await client.namespace('outer/').get('inner/a')).text()).toBe('1!');
  });

  test('scans go on behind the first page', async () => {
    const part = client.namespace('pages/');
    const keys = Array.from({ length: 2100 }, (_, at) => String(at).padStart(4, '0'));
    await Promise.all(keys.map((key) => part.put(key, 'x')));
    const scanned = await part.scan({ keysOnly: true }).toArray();
    expect(scanned.map((entry) => entry.keyText())).toEqual(keys);
    const backwards = await part.scan({ keysOnly: true, reverse: true }).toArray();
    expect(backwards.map((entry) => entry.keyText())).toEqual([...keys].reverse());
  });

  test('a prefix of the largest byte', async () => {
    const part = client.namespace(new Uint8Array([255]));
    await part.put(new Uint8Array([255]), 'x');
    await part.put('a', 'x');
    expect(await part.count({})).toBe(2);
    expect(await part.deleteRange({ start: 'b' })).toBe(1);
    expect(await part.deleteRange({ prefix: '' })).toBe(1);
  });

  test('prefix and key have 1,024 bytes together', async () => {
    const part = client.namespace('p'.repeat(900));
    const room = 1024 - 900 - kind.prefixBytes;
    await part.put('k'.repeat(room), '1');
    expect((await part.get('k'.repeat(room))).text()).toBe('1');
    await failure(InvalidArgumentError, () => part.put('k'.repeat(room + 1), '1'));
    await failure(InvalidArgumentError, () => part.get('k'.repeat(room + 1)));
    await failure(InvalidArgumentError, () => part.get(''));
  });

  test('the prefix must not be empty, too long or of another type', async () => {
    for (const prefix of ['', 'x'.repeat(1024), new Uint8Array(), null, undefined, 5, {}]) {
      await failure(InvalidArgumentError, () => client.namespace(prefix as never));
    }
  });

  test('closing it closes nothing', async () => {
    const part = client.namespace('closing/');
    await part.close();
    await part.put('a', '1');
    expect(client.isConnected()).toBe(true);
    expect(part.isConnected()).toBe(true);
  });

  test('a caller may reuse the bytes of the prefix', async () => {
    const prefix = new TextEncoder().encode('reused/');
    const part = client.namespace(prefix);
    prefix.fill(0);
    await part.put('a', '1');
    expect((await client.get('reused/a')).text()).toBe('1');
  });
});
