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
    [{ store, listen, etcdApi: 'yes' }],
  ])('%p', async (options) => {
    await failure(InvalidArgumentError, async () => {
      const server = await startServer(options as never);
      await server.stop();
    });
  });
});
