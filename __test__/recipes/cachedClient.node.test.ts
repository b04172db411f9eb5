// Only Node has the proxy that loses replies, and processes whose end can be waited for.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { NoriKVClient, NoriKVError, bytesToString } from '@norikv/client';
import { CachedClient } from '@norikv/client/recipes';
import type { Proxy } from '../faults/proxy';
import { remote } from './remote';
import type { Remote } from './remote';

let store: Remote;
let proxy: Proxy;
let client: NoriKVClient;
let other: NoriKVClient;

beforeEach(async () => {
  store = await remote();
  ({ proxy } = store);
  client = await NoriKVClient.open(store.through);
  other = await NoriKVClient.open(store.address);
});
afterEach(async () => {
  await Promise.all([client.close(), other.close()]);
  await store.stop();
});

const text = (value: string): string => value;

test('a put whose reply was lost leaves no old value behind (the naive cache goes on with what it had)', async () => {
  await using cache = new CachedClient<string>(client);
  await cache.put('a', 'old', text);
  store.holdReplies();
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
