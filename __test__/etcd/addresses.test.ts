// What an address of etcd may say, and what comes of one where nobody answers.
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  DeadlineExceededError,
  InvalidArgumentError,
  NoNodesAvailableError,
  NoriKVClient,
  UnavailableError,
} from '@norikv/client';
import { startServer } from '@norikv/client/server';
import { failure } from '../api/errors';
import { World } from '../api/world';
import { Cluster, addressOf } from './cluster';

let cluster: Cluster;
let world: World;
beforeAll(async () => {
  cluster = await Cluster.start();
  world = new World();
});
afterAll(async () => {
  await world.close();
  await cluster.stop();
});

/** An address where nobody listens. */
async function nobody(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${port}`;
}

test('the prefix of an address is before every key, and the others of the cluster are not seen', async () => {
  const part = await world.client(cluster.address('app/'));
  const whole = await world.client(cluster.address());
  await whole.put('other', '1');
  await part.put('key', 'value');
  expect((await whole.get('app/key')).text()).toBe('value');
  expect(await part.count({ prefix: '' })).toBe(1);
  expect(await part.getOrNull('other')).toBeNull();
  expect(await part.deleteRange({ prefix: '' })).toBe(1);
  expect(await whole.count({ prefix: '' })).toBe(1);
});

test('settings are those of the client: how large a value may be, how long a call and a repeat', async () => {
  const address = cluster.address('settings/');
  const client = await world.client({
    address,
    maxValueBytes: 10,
    idempotencyWindowMs: 1_000,
    timeout: 2_000,
    retry: { maxAttempts: 5, initialDelay: 1, maxDelay: 10 },
  });
  await client.put('key', 'x'.repeat(10));
  await failure(InvalidArgumentError, () => client.put('key', 'x'.repeat(11)));
  expect((await client.status()).limits.maxValueBytes).toBe(10);
  const once = { idempotencyKey: 'once' };
  const first = await client.put('once', '1', once);
  expect((await client.put('once', '1', once)).equals(first)).toBe(true);
  // What is remembered goes as other entries do, by etcd's own clock.
  while ((await client.put('once', '1', once)).equals(first)) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect((await client.get('once')).generation).toBe(2);
});

describe('where no endpoint can be reached', () => {
  test('one error names each, and why', async () => {
    const dead = [await nobody(), await nobody(), await nobody()];
    const client = new NoriKVClient(addressOf(dead));
    world.later(() => client.close());
    const calls = [
      () => client.connect(),
      () => client.get('a'),
      () => client.put('a', '1'),
      () => client.status(),
      () => client.watch({ prefix: '' }).ready,
    ];
    for (const call of calls) {
      const error = await failure(NoNodesAvailableError, call);
      expect([error.code, error.retryable]).toEqual(['NO_NODES_AVAILABLE', true]);
      // Nothing was sent, so nothing is in doubt.
      expect(error.outcome).toBeUndefined();
      for (const endpoint of dead) expect(error.message).toContain(endpoint);
      expect(error.message.match(/refused/gi)).toHaveLength(dead.length);
    }
  });

  test('open() says so, and leaves nothing open', async () => {
    const dead = await nobody();
    const error = await failure(NoNodesAvailableError, () => NoriKVClient.open(addressOf([dead])));
    expect(error.message).toContain(dead);
  });

  test('a server of it does not start', async () => {
    const dead = await nobody();
    const error = await failure(NoNodesAvailableError, () =>
      startServer({ store: addressOf([dead]), listen: '127.0.0.1:0' }),
    );
    expect(error.message).toContain(dead);
  });

  test('the time of a call is kept', async () => {
    const client = new NoriKVClient(addressOf([await nobody()]));
    world.later(() => client.close());
    const began = performance.now();
    await expect(client.get('a', { timeoutMs: 50 })).rejects.toThrow();
    expect(performance.now() - began).toBeLessThan(50 + 100);
  });
});

test('one endpoint of three that answers is enough', async () => {
  const endpoints = [await nobody(), ...cluster.endpoints, await nobody()];
  // Clients begin at any of them.
  for (let at = 0; at < 6; at++) {
    const client = await NoriKVClient.open(addressOf(endpoints, 'some/'));
    await client.put('key', String(at));
    expect((await client.get('key')).text()).toBe(String(at));
    await client.close();
  }
});

test('a member that stands still costs a call its time, and a write its outcome', async () => {
  const slow = await Cluster.start();
  world.later(() => slow.stop());
  const client = await world.client(slow.address());
  await client.put('key', '1');
  const [member] = slow.members;
  member?.pause();
  const began = performance.now();
  const read = await client.get('key', { timeoutMs: 300 }).catch((error: unknown) => error);
  expect(performance.now() - began).toBeLessThan(300 + 100);
  expect([DeadlineExceededError, UnavailableError]).toContain((read as Error).constructor);
  const write = await client.put('key', '2', { timeoutMs: 300 }).catch((error: unknown) => error);
  expect(write).toMatchObject({ outcome: 'unknown' });
  expect([DeadlineExceededError, UnavailableError]).toContain((write as Error).constructor);
  member?.resume();
  expect((await client.get('key')).version.term).toBe(1n);
});

describe('what is refused', () => {
  test.each([
    'etcd://',
    'etcd://host',
    'etcd://host:0',
    'etcd://a:1,',
    'etcd://a:1,a:1',
    'etcd://a:1,b:1,c',
    'etcd://user@a:1',
    'etcd://a:1/%zz',
    'etcd://http://a:1',
    `etcd://a:1/${'p'.repeat(1024)}`,
  ])('the address %j', async (address) => {
    await failure(InvalidArgumentError, () => NoriKVClient.open(address));
    await failure(InvalidArgumentError, () =>
      startServer({ store: address, listen: '127.0.0.1:0' }),
    );
  });

  test('a password is in no error', async () => {
    const error = await failure(InvalidArgumentError, () =>
      NoriKVClient.open('etcd://root:secret@host'),
    );
    expect(error.message).not.toContain('secret');
  });

  test.each([
    { timeout: 0 },
    { timeout: '5' },
    { retry: { maxAttempts: 0 } },
    { retry: { attempts: 3 } },
    { retry: 3 },
    { maxValueBytes: 0 },
    { idempotencyWindowMs: 0 },
    { unknown: 1 },
    { nodes: ['127.0.0.1:7447'] },
  ])('the settings %p', async (settings) => {
    const config = { address: cluster.address(), ...settings };
    await failure(InvalidArgumentError, () => NoriKVClient.open(config as never));
  });

  test('a value over etcd’s own limit, where ours is larger: it says how large a request may be', async () => {
    const client = await world.client({ address: cluster.address(), maxValueBytes: 8_000_000 });
    const error = await failure(InvalidArgumentError, () =>
      client.put('large', new Uint8Array(2_000_000)),
    );
    expect(error.message).toContain('2000005 bytes, more than the etcd cluster takes');
    expect(await client.getOrNull('large')).toBeNull();
  });
});
