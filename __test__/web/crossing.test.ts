// What a page writes is what Node reads, and the other way: the bytes of `vectors.json`, through one server.
import { expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import vectors from '../vectors.json';
import { later, open, site, memoryServer } from './world';

const { entries } = vectors;
const written = entries.map(({ key, value }) => [key, value]);

test('keys that are no text, empty values and versions are the same bytes in a page and in Node', async () => {
  const home = await site();
  const server = await memoryServer(home);
  const client = await NoriKVClient.open({ nodes: [server.address] });
  later(() => client.close());
  const page = await open(home);

  const versions = await page.evaluate(
    async ({ node, pairs }) => {
      const bytes = (hex: string): Uint8Array =>
        Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
      kept.client = await norikv.NoriKVClient.open({ nodes: [node] });
      const told: string[] = [];
      for (const [key, value] of pairs) {
        told.push((await kept.client.put(bytes(key!), bytes(value!))).toString());
      }
      return told;
    },
    { node: server.address, pairs: written },
  );
  const read = await client.scan({ prefix: '' }).toArray();
  const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex');
  expect(read.map(({ key, value }) => [hex(key), hex(value)])).toEqual(written);
  expect(read.map(({ version }) => version.toString())).toEqual(versions);

  await client.deleteRange({ prefix: '' });
  const large = new Uint8Array(1024 * 1024).map((_, at) => at * 31 + (at >> 8));
  await client.put('large', large);
  for (const [key, value] of written) {
    await client.put(Buffer.from(key!, 'hex'), Buffer.from(value!, 'hex'));
  }
  const seen = await page.evaluate(async () => {
    const hexOf = (data: Uint8Array): string =>
      Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join('');
    const { value } = await kept.client.get('large');
    await kept.client.delete('large');
    const found = await kept.client.scan({ prefix: '' }).toArray();
    await kept.client.close();
    return {
      large: String(norikv.xxhash64(value)),
      pairs: found.map((entry) => [hexOf(entry.key), hexOf(entry.value)]),
    };
  });
  expect(seen.pairs).toEqual(written);
  expect(seen.large).toBe(vectors.large.at(-1)!.xxhash64);
});
