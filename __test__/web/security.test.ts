// What a page may and may not: policies, origins, tokens, and what it is told where something is wrong.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { startServer } from '@norikv/client/server';
import type { Server } from '@norikv/client/server';
import type { Site } from './world';
import { failureOfGet, later, open, proxy, site } from './world';

async function serverFor({ origin }: Site): Promise<Server> {
  const server = await startServer({
    store: 'memory:',
    listen: '127.0.0.1:0',
    corsOrigins: [origin],
  });
  later(() => server.stop());
  return server;
}

test('a strict policy suffices: scripts of the page itself, wasm, and a connection to the server', async () => {
  // The policy names the server, and the server the origin of the page.
  const headers: Record<string, string> = {};
  const home = await site(headers);
  const { address } = await serverFor(home);
  headers['content-security-policy'] =
    `default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' http://${address}`;
  const page = await open(home);
  const complaints: string[] = [];
  page.on('console', (message) => complaints.push(message.text()));

  const told = await page.evaluate(async (node) => {
    const client = await norikv.NoriKVClient.open({ nodes: [node] });
    const watch = client.watch({ prefix: '' });
    await watch.ready;
    await client.put('a', 'written under the policy');
    const first = await watch[Symbol.asyncIterator]().next();
    const event = first.value!.events[0];
    await client.close();
    return { forbidden: kept.forbidden, event: event?.entry.text() };
  }, address);
  expect(told).toEqual({ forbidden: 'EvalError', event: 'written under the policy' });
  expect(complaints).toEqual([]);
});

test('a page of an origin that is not on the list gets nothing, and is told what to look for', async () => {
  const [friend, stranger] = [await site(), await site()];
  const { address } = await serverFor(friend);
  const client = await NoriKVClient.open({ nodes: [address] });
  later(() => client.close());
  await client.put('a', 'secret');

  const page = await open(stranger);
  const failed = await failureOfGet(page, { nodes: [address] });
  expect(failed.name).toBe('ConnectionError');
  expect(failed.message).toMatch(/cors/i);
  expect(failed.message).not.toContain('secret');
  const written = await page.evaluate(async (node) => {
    const strange = new norikv.NoriKVClient({ nodes: [node], retry: { maxAttempts: 1 } });
    const outcome = await strange.put('a', 'overwritten').then(
      () => 'written',
      (error: unknown) => (error as Error).name,
    );
    await strange.close();
    return outcome;
  }, address);
  // No page can tell a write that never left from one whose answer it was not given.
  expect(['ConnectionError', 'UnavailableError']).toContain(written);
  expect((await client.get('a')).text()).toBe('secret');

  const welcome = await open(friend);
  const read = await welcome.evaluate(async (node) => {
    const allowed = await norikv.NoriKVClient.open({ nodes: [node] });
    const entry = await allowed.get('a');
    await allowed.close();
    return entry.text();
  }, address);
  expect(read).toBe('secret');
});

/** An address that nobody listens at. Somebody did: the browser takes the port for one as any other. */
async function deserted(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${port}`;
}

test.each([
  ['that nobody listens at', deserted],
  ['whose name is nobody’s', () => Promise.resolve('nobody.invalid:7447')],
])('an address %s is a ConnectionError that names CORS and mixed content', async (_, find) => {
  const address = await find();
  const page = await open(await site());
  const failed = await failureOfGet(page, { nodes: [address] });
  expect(failed.name).toBe('ConnectionError');
  expect(failed.message).toContain(address);
  expect(failed.message).toMatch(/cors/i);
  expect(failed.message).toMatch(/mixed content|https/);
});

/** Lets requests with the right token pass, and refuses others in one of two ways. */
function guard({ origin }: Site, refuse: (response: ServerResponse) => void) {
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    // A preflight asks without a token.
    if (request.method === 'OPTIONS' || request.headers.authorization === 'Bearer right')
      return false;
    request.resume();
    response.setHeader('access-control-allow-origin', origin);
    response.setHeader('access-control-expose-headers', 'grpc-status, grpc-message');
    refuse(response);
    return true;
  };
}

test.each([
  ['HTTP 401', (response: ServerResponse) => response.writeHead(401).end('who are you?')],
  [
    'grpc-status 16',
    (response: ServerResponse) =>
      response
        .writeHead(200, {
          'content-type': 'application/grpc-web+proto',
          'grpc-status': '16',
          'grpc-message': 'the token is not valid',
        })
        .end(),
  ],
])('a token that a proxy refuses with %s is an UnauthenticatedError', async (_, refuse) => {
  const home = await site();
  const { address } = await serverFor(home);
  const guarded = await proxy(address, guard(home, refuse));
  const page = await open(home);
  for (const config of [{ nodes: [guarded], token: 'wrong' }, { nodes: [guarded] }]) {
    const failed = await failureOfGet(page, config);
    expect(failed).toMatchObject({
      name: 'UnauthenticatedError',
      code: 'UNAUTHENTICATED',
      retryable: false,
    });
  }
  const read = await page.evaluate(async (node) => {
    const known = await norikv.NoriKVClient.open({ nodes: [node], token: 'right' });
    await known.put('a', 'read with a token');
    const entry = await known.get('a');
    await known.close();
    return entry.text();
  }, guarded);
  expect(read).toBe('read with a token');
});

test('a call that is cancelled ends its fetch, and a watch that is closed ends its stream', async () => {
  const home = await site();
  const { address } = await serverFor(home);
  let ended: (path: string) => void = () => undefined;
  const slow = await proxy(address, (request, response) => {
    const path = request.url ?? '';
    const holds = request.method === 'POST' && path.endsWith('/Txn');
    response.once('close', () => {
      // Closed before it was answered to the end: the page let go of it.
      if (!response.writableFinished) ended(path);
    });
    if (holds) request.resume();
    return holds;
  });
  const page = await open(home);
  await page.evaluate(async (node) => {
    kept.client = await norikv.NoriKVClient.open({ nodes: [node] });
  }, slow);

  let over = new Promise<string>((resolve) => (ended = resolve));
  const [reached] = await Promise.all([
    page.waitForRequest((request) => request.url().endsWith('/Txn')),
    page.evaluate(() => {
      const controller = new AbortController();
      const { signal } = controller;
      kept.controller = controller;
      kept.call = kept.client
        .txn()
        .then(norikv.op.put('a', '1'))
        .commit({ signal, timeoutMs: 60_000 })
        .catch((error: unknown) => (error as Error).name);
    }),
  ]);
  const outcome = await page.evaluate(() => {
    (kept.controller as AbortController).abort();
    return kept.call as Promise<string>;
  });
  expect(outcome).toBe('AbortError');
  expect(await over).toMatch(/\/Txn$/);
  expect(reached.failure()?.errorText ?? 'net::ERR_ABORTED').toBe('net::ERR_ABORTED');

  over = new Promise<string>((resolve) => (ended = resolve));
  await page.evaluate(async () => {
    const watch = kept.client.watch({ prefix: '' });
    await watch.ready;
    await watch.close();
  });
  expect(await over).toMatch(/\.Streams\/Open$/);
  await page.evaluate(() => kept.client.close());
});
