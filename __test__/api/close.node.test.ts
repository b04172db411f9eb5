// Only on Node.
import { expect, test } from '@jest/globals';
import { NoriKVClient, createClient } from '@norikv/client';
import { file, memory, served } from './stores';

test('a call before connect connects', async () => {
  const client = new NoriKVClient('memory:');
  expect(client.isConnected()).toBe(false);
  expect(await client.getOrNull('a')).toBeNull();
  expect(client.isConnected()).toBe(true);
  await client.connect();
  await client.close();
});

test('createClient and open make connected clients', async () => {
  for (const open of [createClient, (config: string) => NoriKVClient.open(config)]) {
    const client = await open('memory:');
    expect(client).toBeInstanceOf(NoriKVClient);
    expect(client.isConnected()).toBe(true);
    await client.close();
  }
});

test('await using closes at the end of the block', async () => {
  let outer: NoriKVClient;
  {
    await using client = await NoriKVClient.open('memory:');
    outer = client;
    await client.put('a', '1');
  }
  expect(outer.isConnected()).toBe(false);
});

test('two memory: clients are two stores', async () => {
  const one = await memory.open();
  const two = await memory.open();
  await one.client.put('a', '1');
  expect(await two.client.getOrNull('a')).toBeNull();
  await Promise.all([one.close(), two.close()]);
});

test('closing one client of a server leaves the other', async () => {
  const store = await served.open();
  const other = await store.another();
  await store.client.put('a', '1');
  await store.client.close();
  expect((await other.get('a')).text()).toBe('1');
  await store.close();
});

test('a write that close() let through is there when the directory is opened again', async () => {
  const store = await file.open();
  const writes = Array.from({ length: 200 }, (_, at) => store.client.put(`key:${at}`, `${at}`));
  const closing = store.client.close();
  const outcomes = await Promise.allSettled(writes);
  await closing;
  const again = await store.again();
  for (const [at, outcome] of outcomes.entries()) {
    if (outcome.status !== 'fulfilled') continue;
    const entry = await again.get(`key:${at}`);
    expect(entry.version.equals(outcome.value)).toBe(true);
  }
  await store.close();
});

test('a namespace is connected when its client is, and closed when it is', async () => {
  const client = new NoriKVClient('memory:');
  const part = client.namespace('p/');
  expect(part.isConnected()).toBe(false);
  await part.put('a', '1');
  expect([client.isConnected(), part.isConnected()]).toEqual([true, true]);
  await client.close();
  expect([client.isConnected(), part.isConnected()]).toEqual([false, false]);
});
