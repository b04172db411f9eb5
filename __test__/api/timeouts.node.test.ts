// Only on Node: a socket that never answers.
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DeadlineExceededError, NoriKVClient, NoriKVError } from '@norikv/client';
import { failure } from './errors';
import { turn } from './turn';

describe('a server that never answers', () => {
  let silent: Server;
  let address: string;
  const sockets = new Set<Socket>();

  beforeAll(async () => {
    silent = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => {
      silent.listen(0, '127.0.0.1', () => {
        resolve();
      });
    });
    address = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
  });

  /** How long a call took to fail, and with what. */
  async function timed(call: () => Promise<unknown>): Promise<[number, NoriKVError]> {
    const began = performance.now();
    const error = await failure(NoriKVError, call);
    return [performance.now() - began, error];
  }

  test('every call fails within its own limit', async () => {
    const client = new NoriKVClient({ nodes: [address] });
    const timeoutMs = 200;
    const calls = [
      () => client.connect({ timeoutMs }),
      () => client.get('a', { timeoutMs }),
      () => client.getMany(['a'], { timeoutMs }),
      () => client.put('a', '1', { timeoutMs }),
      () => client.delete('a', { timeoutMs }),
      () => client.scan({ timeoutMs }).toArray(),
      () => client.count({}, { timeoutMs }),
      () => client.deleteRange({ prefix: '' }, { timeoutMs }),
      () => client.update('a', () => '1', { timeoutMs }),
      () => client.status({ timeoutMs }),
    ];
    for (const [took, error] of await Promise.all(calls.map(timed))) {
      expect(took).toBeLessThan(timeoutMs + 100);
      expect(error.retryable).toBe(true);
      if (error instanceof DeadlineExceededError) expect(error.timeoutMs).toBe(timeoutMs);
    }
    await client.close();
  });

  test('the client’s own limit counts where a call has none', async () => {
    const client = new NoriKVClient({ nodes: [address], timeout: 150 });
    const calls = [() => client.get('a'), () => client.update('a', () => '1')];
    for (const [took] of await Promise.all(calls.map(timed))) {
      expect(took).toBeGreaterThan(140);
      expect(took).toBeLessThan(250);
    }
    await client.close();
  });

  test('closing does not wait for it', async () => {
    const client = new NoriKVClient({ nodes: [address] });
    const writing = failure(NoriKVError, () => client.put('a', '1'));
    const reading = failure(NoriKVError, () => client.get('a'));
    await turn();
    const began = performance.now();
    await client.close();
    expect(performance.now() - began).toBeLessThan(500);
    expect((await writing).code).toBe('CLOSED');
    expect((await reading).code).toBe('CLOSED');
  });
});
