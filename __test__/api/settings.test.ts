import { describe, expect, test } from '@jest/globals';
import { InvalidArgumentError, NoriKVClient } from '@norikv/client';
import { failure } from './errors';

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

describe('what is wrong is quoted', () => {
  test.each([
    ['ftp://x:1', { address: 'ftp://x:1' }],
    ['relaxd', { nodes: ['a:1'], durability: 'relaxd' }],
    ['timeOut', { nodes: ['a:1'], timeOut: 5 }],
    ['five', { nodes: ['a:1'], timeout: 'five' }],
    ['0.5', { nodes: ['a:1'], retry: { backoffMultiplier: 0.5 } }],
  ])('%s', async (wrong, config) => {
    const error = await failure(InvalidArgumentError, () => new NoriKVClient(config as never));
    expect(error.message).toContain(wrong);
  });
});
