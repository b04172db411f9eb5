// Only on Node: clients of stores in the process, which no browser has.
import { expect, test } from '@jest/globals';
import { NoriKVClient, createClient } from '@norikv/client';

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

test('a namespace is connected when its client is, and closed when it is', async () => {
  const client = new NoriKVClient('memory:');
  const part = client.namespace('p/');
  expect(part.isConnected()).toBe(false);
  await part.put('a', '1');
  expect([client.isConnected(), part.isConnected()]).toEqual([true, true]);
  await client.close();
  expect([client.isConnected(), part.isConnected()]).toEqual([false, false]);
});
