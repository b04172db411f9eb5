// Only Node has the proxy that loses replies, and processes whose end can be waited for.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { NoriKVClient, NoriKVError, bytesToString } from '@norikv/client';
import { CachedClient } from '@norikv/client/recipes';
import { startServer } from '@norikv/client/server';
import type { Server } from '@norikv/client/server';
import { Proxy } from '../faults/proxy';

let server: Server;
let proxy: Proxy;
let client: NoriKVClient;
let other: NoriKVClient;

beforeEach(async () => {
  server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
  proxy = await Proxy.start(server.address);
  client = await NoriKVClient.open({ nodes: [proxy.address], watchCluster: false });
  other = await NoriKVClient.open({ nodes: [server.address] });
});
afterEach(async () => {
  await Promise.all([client.close(), other.close()]);
  await proxy.stop();
  await server.stop();
});

const text = (value: string): string => value;

test('a put whose reply was lost leaves no old value behind (the naive cache goes on with what it had)', async () => {
  await using cache = new CachedClient<string>(client);
  await cache.put('a', 'old', text);
  proxy.holdReplies();
  const outcome: unknown = await cache
    .put('a', 'new', text, { timeoutMs: 100 })
    .catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(NoriKVError);
  expect((outcome as NoriKVError).outcome).toBe('unknown');
  proxy.releaseReplies();
  expect(await cache.get('a', bytesToString)).toBe('new');
});

test('what changed while the connection was cut is told once it is back', async () => {
  await using cache = new CachedClient<string>(client);
  await cache.put('a', 'old', text);
  await proxy.stop();
  await other.put('a', 'new');
  // Cut off, it answers what it has, until its time is up.
  expect(await cache.get('a', bytesToString)).toBe('old');
  await proxy.accept();
  while (cache.getStats().size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(await cache.get('a', bytesToString)).toBe('new');
});
