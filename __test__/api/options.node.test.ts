// Only on Node: the memory of the process, and a server in it that stops.
import { expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { startServer } from '@norikv/client/server';

test('hundreds of large puts in one turn of the event loop cross in parts', async () => {
  const client = await NoriKVClient.open('memory:');
  const value = new Uint8Array(1024 * 1024);
  const before = process.memoryUsage().arrayBuffers;
  const puts = Array.from({ length: 300 }, () => client.put('large', value, { timeoutMs: 20_000 }));
  // One frame of them all would be 512 MiB.
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(400 * value.length);
  const versions = await Promise.all(puts);
  expect((await client.get('large')).version.equals(versions.at(-1)!)).toBe(true);
  await client.close();
});

test('a client of a server that stopped is not connected', async () => {
  const server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
  const client = await NoriKVClient.open(server.address);
  expect(client.isConnected()).toBe(true);
  await server.stop();
  await client.get('a', { timeoutMs: 300 }).catch(() => undefined);
  expect(client.isConnected()).toBe(false);
  await client.close();
  expect(client.isConnected()).toBe(false);
});
