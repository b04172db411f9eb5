import { expect, test } from '@jest/globals';
import { NoriKVClient, NoriKVError } from '@norikv/client';
import type { Version } from '@norikv/client';
import { serve, temporary } from './children';

test.each(['SIGTERM', 'SIGINT'] as const)(
  '%s under load: the server answers what it has taken on, exits with 0, and every answer was true',
  async (signal) => {
    const directory = temporary();
    const server = await serve(`file:${directory}`);
    const client = new NoriKVClient({ nodes: [server.address], retry: { maxAttempts: 1 } });
    const acknowledged = new Map<string, Version>();
    const failures: unknown[] = [];
    await Promise.all(
      Array.from({ length: 32 }, async (_, writer) => {
        for (let at = 0; ; at++) {
          const key = `key:${writer}:${at}`;
          try {
            acknowledged.set(key, await client.put(key, `value of ${key}`));
          } catch (error) {
            failures.push(error);
            return;
          }
          if (acknowledged.size === 300) server.kill(signal);
        }
      }),
    );
    expect(await server.ended).toEqual({ code: 0, signal: null });
    for (const error of failures) expect(error).toBeInstanceOf(NoriKVError);
    await client.close();

    await using store = await NoriKVClient.open(`file:${directory}`);
    const keys = [...acknowledged.keys()];
    const entries = await store.getMany(keys);
    entries.forEach((entry, at) => {
      const key = keys[at]!;
      expect(entry?.text()).toBe(`value of ${key}`);
      expect(entry?.version.equals(acknowledged.get(key)!)).toBe(true);
    });
    // What failed may be there or not, but at most one write of each writer.
    const extra = (await store.count({})) - acknowledged.size;
    expect(extra).toBeGreaterThanOrEqual(0);
    expect(extra).toBeLessThanOrEqual(32);
  },
);

test('a server without calls stops at once', async () => {
  const server = await serve('memory:');
  await using client = await NoriKVClient.open({ nodes: [server.address] });
  await client.put('a', '1');
  const began = performance.now();
  server.kill('SIGTERM');
  expect(await server.ended).toEqual({ code: 0, signal: null });
  expect(performance.now() - began).toBeLessThan(3000);
});
