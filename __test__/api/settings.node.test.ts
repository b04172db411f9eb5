// Only on Node.
import { describe, expect, test } from '@jest/globals';
import { InvalidArgumentError, NoriKVClient } from '@norikv/client';
import { startServer } from '@norikv/client/server';
import { failure } from './errors';

describe('the limit of values', () => {
  test('is a setting of an embedded store, and of a server', async () => {
    const small = await NoriKVClient.open({ address: 'memory:', maxValueBytes: 10 });
    await small.put('key', 'x'.repeat(10));
    await failure(InvalidArgumentError, () => small.put('key', 'x'.repeat(11)));
    expect((await small.status()).limits.maxValueBytes).toBe(10);
    await small.close();

    const server = await startServer({
      store: 'memory:',
      listen: '127.0.0.1:0',
      maxValueBytes: 3 * 1024 * 1024,
    });
    const client = await NoriKVClient.open(server.address);
    const value = new Uint8Array(3 * 1024 * 1024).fill(7);
    await client.put('key', value);
    expect((await client.get('key')).value).toHaveLength(value.length);
    expect(await client.scan().toArray()).toHaveLength(1);
    await failure(InvalidArgumentError, () => client.put('key', new Uint8Array(value.length + 1)));
    await client.close();
    await server.stop();
  });
});

describe('bad settings of a client', () => {
  test.each([
    '',
    'memory',
    'memory:x',
    'Memory:',
    'file:',
    'file://host/x',
    'file:a\0b',
    'host',
    'host:',
    ':7447',
    'host:0',
    'host:65536',
    'host:-1',
    'ho st:80',
    'user@host:80',
    'host:80/path',
    'ftp://host:1',
    'etcd://',
  ])('the address %j', async (address) => {
    await failure(InvalidArgumentError, () => new NoriKVClient(address));
    await failure(InvalidArgumentError, () => NoriKVClient.open({ address }));
    if (/^[a-z]*:\d|^host|^ho st|^user|^$/.test(address)) {
      await failure(InvalidArgumentError, () => new NoriKVClient({ nodes: [address] }));
    }
  });

  const nodes = ['127.0.0.1:7447'];
  test.each([
    [null],
    [undefined],
    [5],
    [[]],
    [['127.0.0.1:7447']],
    [() => 'memory:'],
    [{}],
    [{ nodes: [] }],
    [{ nodes: [''] }],
    [{ nodes: [5] }],
    [{ nodes: 'host:1' }],
    [{ nodes, address: 'memory:' }],
    [{ address: 5 }],
    [{ nodes, unknown: 1 }],
    [{ nodes, Timeout: 1 }],
    [{ nodes, retry: { attempts: 3 } }],
    [{ nodes, retry: 3 }],
    [{ nodes, timeout: 0 }],
    [{ nodes, timeout: -1 }],
    [{ nodes, timeout: NaN }],
    [{ nodes, timeout: Infinity }],
    [{ nodes, timeout: '5' }],
    [{ nodes, timeout: 5n }],
    [{ nodes, timeout: () => 5 }],
    [{ nodes, timeout: Symbol('5') }],
    [{ nodes, totalShards: 0 }],
    [{ nodes, totalShards: 1.5 }],
    [{ nodes, maxConnectionsPerNode: 0 }],
    [{ nodes, maxConnectionsPerNode: 257 }],
    [{ nodes, watchCluster: 'yes' }],
    [{ nodes, token: 5 }],
    [{ nodes, retry: { maxAttempts: 0 } }],
    [{ nodes, retry: { maxAttempts: 1.5 } }],
    [{ nodes, retry: { initialDelay: -1 } }],
    [{ nodes, retry: { maxDelay: NaN } }],
    [{ nodes, retry: { backoffMultiplier: 0.5 } }],
    [{ nodes, retry: { jitter: 1 } }],
    [{ nodes, retry: 5 }],
    [{ nodes, retry: [] }],
    [{ nodes, retry: new Date() }],
    [{ nodes, retry: { retry: { maxAttempts: 3 } } }],
    [{ nodes, 'retry.maxAttempts': 7 }],
    [{ nodes, toString: 'x' }],
    [{ nodes: new Array(2) }],
    // eslint-disable-next-line no-sparse-arrays
    [{ nodes: [nodes[0], , nodes[0]] }],
    [{ address: 'memory:', durability: 'never' }],
    [{ address: 'memory:', durability: 'memory' }],
    [{ address: 'memory:', maxValueBytes: 0 }],
    [{ address: 'memory:', maxValueBytes: 1.5 }],
    [{ address: 'memory:', historyMs: -1 }],
    [{ address: 'memory:', historyRevisions: 0 }],
    [{ address: 'memory:', idempotencyWindowMs: 0 }],
  ])('%p', async (config) => {
    await failure(InvalidArgumentError, () => new NoriKVClient(config as never));
  });
});

describe('bad settings of a server', () => {
  const store = 'memory:';
  const listen = '127.0.0.1:0';
  test.each([
    [null],
    [undefined],
    ['memory:'],
    [{}],
    [{ store: '' }],
    [{ store: 5 }],
    [{ store, listen: 5 }],
    [{ store, listen: '' }],
    [{ store, listen: '127.0.0.1' }],
    [{ store, listen: '127.0.0.1:70000' }],
    [{ store, listen, unknown: 1 }],
    [{ store, listen, durability: 'never' }],
    [{ store, listen, maxValueBytes: NaN }],
    [{ store, listen, maxValueBytes: 0 }],
    [{ store, listen, maxValueBytes: -1 }],
    [{ store, listen, maxValueBytes: 1.5 }],
    [{ store, listen, maxValueBytes: '1' }],
    [{ store, listen, corsOrigins: 'https://app.example.com' }],
    [{ store, listen, corsOrigins: ['app.example.com'] }],
    [{ store, listen, corsOrigins: [5] }],
  ])('%p', async (options) => {
    await failure(InvalidArgumentError, async () => {
      const server = await startServer(options as never);
      await server.stop();
    });
  });
});
