import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { InvalidArgumentError, Version } from '@norikv/client';
import type { Entry, NoriKVClient, ScanOptions } from '@norikv/client';
import { failure } from './errors';
import { untilGone } from './expiry';
import { kinds } from './stores';
import type { TestStore } from './stores';

const number = (at: number) => String(at).padStart(5, '0');

describe.each(kinds)('scan of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  const keys = async (options?: ScanOptions) =>
    (await client.scan(options).toArray()).map((entry) => entry.keyText());

  describe('a small range', () => {
    const small = ['s', 's:a', 's:aa', 's:b', 's:c', 's;'];
    beforeAll(async () => {
      await Promise.all(small.map((key) => client.put(key, `value of ${key}`)));
    });

    test('everything, in key order', async () => {
      expect(await keys()).toEqual(small);
    });

    test('a prefix', async () => {
      expect(await keys({ prefix: 's:' })).toEqual(['s:a', 's:aa', 's:b', 's:c']);
      expect(await keys({ prefix: 's:a' })).toEqual(['s:a', 's:aa']);
      expect(await keys({ prefix: 'nothing' })).toEqual([]);
    });

    test('a start, which is in it, and an end, which is not', async () => {
      expect(await keys({ start: 's:a', end: 's:b' })).toEqual(['s:a', 's:aa']);
      expect(await keys({ start: 's:b' })).toEqual(['s:b', 's:c', 's;']);
      expect(await keys({ end: 's:aa' })).toEqual(['s', 's:a']);
      expect(await keys({ start: 's:b', end: 's:b' })).toEqual([]);
    });

    test('limit, of which 0 is none', async () => {
      expect(await keys({ prefix: 's:', limit: 2 })).toEqual(['s:a', 's:aa']);
      expect(await keys({ prefix: 's:', limit: 100 })).toHaveLength(4);
      expect(await keys({ prefix: 's:', limit: 0 })).toHaveLength(4);
    });

    test('reverse', async () => {
      expect(await keys({ reverse: true })).toEqual([...small].reverse());
      expect(await keys({ prefix: 's:', reverse: true, limit: 2 })).toEqual(['s:c', 's:b']);
      expect(await keys({ start: 's:a', end: 's:b', reverse: true })).toEqual(['s:aa', 's:a']);
    });

    test('entries are what get answers', async () => {
      const [entry] = await client.scan({ prefix: 's:b' }).toArray();
      const got = await client.get('s:b');
      expect(entry?.text()).toBe('value of s:b');
      expect(entry?.version.equals(got.version)).toBe(true);
      expect(entry?.createVersion.equals(got.createVersion)).toBe(true);
      expect(entry?.generation).toBe(got.generation);
    });

    test('keysOnly leaves the values out and nothing else', async () => {
      const entries = await client.scan({ prefix: 's:', keysOnly: true }).toArray();
      expect(entries.map((entry) => entry.keyText())).toEqual(['s:a', 's:aa', 's:b', 's:c']);
      expect(entries.every((entry) => entry.value.length === 0)).toBe(true);
      expect(entries.every((entry) => entry.generation === 1)).toBe(true);
    });

    test('iterating twice reads twice', async () => {
      const scan = client.scan({ prefix: 'twice' });
      expect(await scan.toArray()).toHaveLength(0);
      await client.put('twice', '1');
      expect(await scan.toArray()).toHaveLength(1);
      await client.delete('twice');
    });

    test('a loop may break, and the client goes on', async () => {
      const seen: string[] = [];
      for await (const entry of client.scan({ prefix: 's:' })) {
        seen.push(entry.keyText());
        if (seen.length === 2) break;
      }
      expect(seen).toEqual(['s:a', 's:aa']);
      expect((await client.get('s')).text()).toBe('value of s');
    });

    test('what expired is left out', async () => {
      await client.put('s:expires', 'x', { ttlMs: 1 });
      await untilGone(client, 's:expires');
      expect(await keys({ prefix: 's:' })).toEqual(['s:a', 's:aa', 's:b', 's:c']);
    });
  });

  test('keys sort as unsigned bytes', async () => {
    const raw = [[0], [0, 0], [0, 1], [1], [127], [128], [128, 0], [255], [255, 255]];
    await Promise.all(raw.map((bytes) => client.put(new Uint8Array([...bytes]), 'x')));
    const scanned = (await client.scan({ end: 's' }).toArray()).map((entry) => [...entry.key]);
    expect(scanned).toEqual(raw.filter(([first]) => first! < 's'.charCodeAt(0)));
    const upper = (await client.scan({ start: new Uint8Array([127]) }).toArray()).map((entry) => [
      ...entry.key,
    ]);
    expect(upper).toEqual(raw.filter(([first]) => first! >= 127));
    await client.deleteRange({ end: 's' });
    await client.deleteRange({ start: new Uint8Array([127]) });
  });

  describe('more than a page', () => {
    const total = 3000;
    const all = Array.from({ length: total }, (_, at) => `p:${number(at)}`);
    beforeAll(async () => {
      await Promise.all(all.map((key) => client.put(key, 'old')));
    });

    test('every entry once, forwards and backwards', async () => {
      expect(await keys({ prefix: 'p:' })).toEqual(all);
      expect(await keys({ prefix: 'p:', reverse: true })).toEqual([...all].reverse());
    });

    test('limits on, before and after the edge of a page', async () => {
      for (const limit of [1023, 1024, 1025, 2048, 2049, 2999, 3000, 3001]) {
        const expected = all.slice(0, limit);
        expect(await keys({ prefix: 'p:', limit })).toEqual(expected);
        const backwards = await keys({ prefix: 'p:', limit, reverse: true });
        expect(backwards).toEqual([...all].reverse().slice(0, limit));
      }
    });

    test('large values come in pages that fit a message', async () => {
      const value = 'x'.repeat(500_000);
      const large = Array.from({ length: 20 }, (_, at) => `large:${number(at)}`);
      await Promise.all(large.map((key) => client.put(key, value)));
      const entries = await client.scan({ prefix: 'large:' }).toArray();
      expect(entries.map((entry) => entry.keyText())).toEqual(large);
      expect(entries.every((entry) => entry.value.length === value.length)).toBe(true);
      await client.deleteRange({ prefix: 'large:' });
    });

    test.each([false, true])(
      'all pages are of one snapshot while others write (reverse: %s)',
      async (reverse) => {
        await Promise.all(all.map((key) => client.put(key, 'old')));
        const seen: Entry[] = [];
        const other = await store.another();
        for await (const entry of client.scan({ prefix: 'p:', reverse })) {
          seen.push(entry);
          if (seen.length === 1) {
            await Promise.all([
              ...all.slice(0, 500).map((key) => other.put(key, 'new')),
              ...all.slice(-500).map((key) => other.put(key, 'new')),
              ...all.slice(1400, 1600).map((key) => other.delete(key)),
              ...all.map((key) => other.put(`${key}+`, 'new')),
            ]);
          }
        }
        expect(seen.map((entry) => entry.keyText())).toEqual(reverse ? [...all].reverse() : all);
        expect(new Set(seen.map((entry) => entry.text()))).toEqual(new Set(['old']));
        await client.deleteRange({ prefix: 'p:' });
        await Promise.all(all.map((key) => client.put(key, 'old')));
      },
    );
  });

  describe('version', () => {
    test('reads as it was then', async () => {
      await client.put('v:a', '1');
      const then = await client.put('v:b', '1');
      await client.put('v:a', '2');
      await client.delete('v:b');
      await client.put('v:c', '2');
      const before = await client.scan({ prefix: 'v:', version: then }).toArray();
      expect(before.map((entry) => [entry.keyText(), entry.text()])).toEqual([
        ['v:a', '1'],
        ['v:b', '1'],
      ]);
      const now = await client.scan({ prefix: 'v:' }).toArray();
      expect(now.map((entry) => [entry.keyText(), entry.text()])).toEqual([
        ['v:a', '2'],
        ['v:c', '2'],
      ]);
    });

    test('the future is refused', async () => {
      const { version } = await client.status();
      const future = new Version(version.term, version.index + 1_000_000n);
      await failure(InvalidArgumentError, () => client.scan({ version: future }).toArray());
    });
  });
});
