// Clients and servers that speak TLS, and what is said when they do not come together.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  ConnectionError,
  InvalidArgumentError,
  NoNodesAvailableError,
  NoriKVClient,
} from '@norikv/client';
import type { ClientConfig, TlsConfig } from '@norikv/client';
import { startServer } from '@norikv/client/server';
import type { Server, ServerTls } from '@norikv/client/server';
import { authority, selfSigned } from './certificates';
import type { Authority } from './certificates';

const HOST = ['127.0.0.1', 'localhost'];
const servers: Server[] = [];
let trusted: Authority;
let other: Authority;

beforeAll(() => {
  trusted = authority();
  other = authority();
});

afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()));
});

async function serve(tls?: ServerTls): Promise<string> {
  const listen = '127.0.0.1:0';
  const server = await startServer({ store: 'memory:', listen, ...(tls && { tls }) });
  servers.push(server);
  return server.address;
}

async function failed(config: ClientConfig): Promise<unknown> {
  // Retries would take far longer than the test.
  const retry = { maxAttempts: 100, initialDelay: 5000, maxDelay: 5000, jitter: false };
  const client = new NoriKVClient({ ...config, retry, timeout: 20_000 });
  const begun = Date.now();
  const error: unknown = await client.get('a').catch((reason: unknown) => reason);
  expect(Date.now() - begun).toBeLessThan(4000);
  await client.close();
  return error;
}

async function fails(address: string, tls: TlsConfig | undefined, what: string): Promise<void> {
  const error = await failed({ nodes: [address], ...(tls && { tls }) });
  expect(error).toBeInstanceOf(ConnectionError);
  expect(error).toMatchObject({ address, message: expect.stringContaining(what) });
}

test('a client speaks TLS with a server whose authority it trusts', async () => {
  const address = await serve(trusted.issue(HOST));
  const tls = { ca: Buffer.from(trusted.ca) };
  for (const config of [
    { nodes: [address], tls },
    { nodes: [`https://${address}`], tls },
    { address: `https://${address}`, tls },
  ]) {
    const client = await NoriKVClient.open(config);
    const watch = client.watch({ prefix: 'a' });
    await watch.ready;
    await client.put('a', 'x'.repeat(100_000));
    for await (const batch of watch) {
      expect(batch.events).toHaveLength(1);
      break;
    }
    expect((await client.get('a')).value).toHaveLength(100_000);
    await client.close();
  }
});

describe('what is wrong with a certificate is said', () => {
  test.each([
    ['expired', () => trusted.issue(HOST, { expired: true }), 'has expired'],
    ['of an unknown authority', () => other.issue(HOST), 'unknown authority'],
    ['self-signed', () => selfSigned(HOST), 'self-signed'],
    ['for another host', () => trusted.issue(['db.example.com']), 'for another host'],
  ])('%s', async (_, pair, what) => {
    await fails(await serve(pair()), { ca: trusted.ca }, what);
  });

  test('where all servers fail so, each is named', async () => {
    const nodes = [await serve(other.issue(HOST)), await serve(selfSigned(HOST))];
    const error = await failed({ nodes, tls: { ca: trusted.ca } });
    expect(error).toBeInstanceOf(NoNodesAvailableError);
    for (const what of [...nodes, 'unknown authority', 'self-signed']) {
      expect(error).toMatchObject({ message: expect.stringContaining(what) });
    }
  });

  test('a name may stand for the address', async () => {
    const address = await serve(trusted.issue(['db.example.com']));
    const tls = { ca: trusted.ca, serverName: 'db.example.com' };
    const client = await NoriKVClient.open({ nodes: [address], tls });
    await client.close();
  });
});

test('a client certificate is asked for and judged', async () => {
  const address = await serve({ ...trusted.issue(HOST), clientCa: trusted.ca });
  const client = await NoriKVClient.open({
    nodes: [address],
    tls: { ca: trusted.ca, ...trusted.issue(['me']) },
  });
  await client.put('a', '1');
  await client.close();
  await fails(address, { ca: trusted.ca }, 'asks for a client certificate');
  const stranger = { ca: trusted.ca, ...other.issue(['me']) };
  await fails(address, stranger, 'refused the client certificate');
  const late = { ca: trusted.ca, ...trusted.issue(['me'], { expired: true }) };
  await fails(address, late, 'refused the client certificate');
});

test('plain text and TLS never share a port', async () => {
  await fails(await serve(trusted.issue(HOST)), undefined, 'this port speaks TLS');
  await fails(await serve(), { ca: trusted.ca }, 'speaks plain text');
});

describe('settings that cannot be', () => {
  test.each([
    ['tls of a store in this process', { address: 'memory:', tls: {} }],
    ['tls at an address of plain text', { address: 'http://127.0.0.1:1', tls: {} }],
    ['a certificate without a key', { nodes: ['a:1'], tls: { cert: 'x' } }],
    ['users of etcd elsewhere', { address: 'a:1', etcd: { user: 'a', password: 'b' } }],
  ])('%s: refused at once', (_, config) => {
    expect(() => new NoriKVClient(config)).toThrow(InvalidArgumentError);
  });

  test('what is no certificate: refused by name', async () => {
    const error = await failed({ nodes: ['127.0.0.1:1'], tls: { ca: 'nothing' } });
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error).toMatchObject({ message: expect.stringContaining('the ca of tls') });
    const user = { user: 'a', password: '-secret-' };
    const twice = await failed({ address: 'etcd://a:b@127.0.0.1:1', etcd: user });
    expect(twice).toBeInstanceOf(InvalidArgumentError);
    expect(twice).toMatchObject({ message: expect.not.stringContaining('-secret-') });
  });

  test('a server does not start with them', async () => {
    const [one, two] = [trusted.issue(HOST), trusted.issue(HOST)];
    for (const [tls, what] of [
      [{ cert: one.cert, key: two.key }, 'tls.key is not the key of the certificate in tls.cert'],
      [{ cert: 'x', key: one.key }, 'tls.cert'],
      [{ ...one, clientCa: 'x' }, 'tls.clientCa'],
    ] as const) {
      const error: unknown = await startServer({
        store: 'memory:',
        listen: '127.0.0.1:0',
        tls,
      }).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error).toMatchObject({ message: expect.stringContaining(what) });
    }
  });
});
