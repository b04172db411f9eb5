import { expect, test } from '@jest/globals';
import { NoriKVClient, NoriKVError } from '@norikv/client';
import { serve, temporary } from './children';

/** Failing later than this after a call's limit is failing too late. */
const graceMs = 200;

/** Makes a call that may fail, and says how long it took. */
async function timed(call: Promise<unknown>): Promise<{ took: number; error: unknown }> {
  const began = performance.now();
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { took: performance.now() - began, error };
}

test('when its server dies, every call fails within its limit, and goes through once it is back', async () => {
  const store = `file:${temporary()}`;
  let server = await serve(store);
  const { address } = server;
  const client = await NoriKVClient.open({ nodes: [address] });
  const version = await client.put('a', '1');

  const timeoutMs = 400;
  for (let round = 0; round < 3; round++) {
    const calls = Array.from({ length: 200 }, (_, at) =>
      timed(
        at % 2 === 0
          ? client.put(`key:${at}`, 'x', { timeoutMs })
          : client.get('a', { timeoutMs, consistency: 'linearizable' }),
      ),
    );
    server.kill('SIGKILL');
    for (const { took, error } of await Promise.all(calls)) {
      expect(took).toBeLessThan(timeoutMs + graceMs);
      if (error !== undefined) expect(error).toBeInstanceOf(NoriKVError);
    }
    await server.ended;

    const dead = [
      client.get('a', { timeoutMs }),
      client.put('b', 'x', { timeoutMs }),
      client.put('b', 'x', { timeoutMs, idempotencyKey: 'b' }),
      client.delete('b', { timeoutMs }),
      client.scan({ timeoutMs }).toArray(),
      client.update('b', () => 'x', { timeoutMs }),
      client.status({ timeoutMs }),
    ];
    for (const { took, error } of await Promise.all(dead.map(timed))) {
      expect(took).toBeLessThan(timeoutMs + graceMs);
      expect(error).toBeInstanceOf(NoriKVError);
      expect((error as NoriKVError).retryable).toBe(true);
    }

    server = await serve(store, { listen: address });
    const { entry, tries } = await firstAnswer(client);
    expect(entry.version.equals(version)).toBe(true);
    expect(tries).toBeLessThan(20);
    await client.put('b', `${round}`);
  }
  await client.close();
  server.kill('SIGTERM');
  expect((await server.ended).code).toBe(0);
});

/** Reads until it works, as a user's own loop would: each try has its time. */
async function firstAnswer(client: NoriKVClient) {
  for (let tries = 1; ; tries++) {
    try {
      return { entry: await client.get('a', { timeoutMs: 1000 }), tries };
    } catch (error) {
      if (tries === 20) throw error;
    }
  }
}

test('a client that is there before its server connects once it is', async () => {
  const first = await serve('memory:');
  const { address } = first;
  first.kill('SIGKILL');
  await first.ended;
  const client = new NoriKVClient({ nodes: [address], timeout: 500 });
  const { took, error } = await timed(client.connect());
  expect(took).toBeLessThan(500 + graceMs);
  expect(error).toBeInstanceOf(NoriKVError);
  expect(client.isConnected()).toBe(false);
  const server = await serve('memory:', { listen: address });
  for (;;) {
    const attempt = await timed(client.put('a', '1', { timeoutMs: 1000 }));
    if (attempt.error === undefined) break;
  }
  expect(client.isConnected()).toBe(true);
  await client.close();
  server.kill('SIGTERM');
  await server.ended;
});

test('calls to a server that is stopped in its tracks fail within their limit, and work when it goes on', async () => {
  const server = await serve('memory:');
  const client = await NoriKVClient.open({ nodes: [server.address] });
  await client.put('a', '1');
  server.kill('SIGSTOP');
  // The signal takes a moment to reach every thread: it has when nothing is answered any more.
  while ((await timed(client.get('a', { timeoutMs: 50 }))).error === undefined);
  const timeoutMs = 300;
  const calls = [client.get('a', { timeoutMs }), client.put('a', '2', { timeoutMs })];
  for (const { took, error } of await Promise.all(calls.map(timed))) {
    expect(took).toBeGreaterThanOrEqual(timeoutMs - 10);
    expect(took).toBeLessThan(timeoutMs + graceMs);
    expect(error).toMatchObject({ code: 'DEADLINE_EXCEEDED', timeoutMs });
  }
  server.kill('SIGCONT');
  expect((await client.get('a', { timeoutMs: 5000 })).keyText()).toBe('a');
  await client.close();
  server.kill('SIGTERM');
  await server.ended;
});

test('a client of several servers goes on with the one that is left', async () => {
  const [gone, left] = await Promise.all([serve('memory:'), serve('memory:')]);
  gone.kill('SIGKILL');
  await gone.ended;
  const client = new NoriKVClient({ nodes: [gone.address, left.address], watchCluster: false });
  await Promise.all(Array.from({ length: 50 }, (_, at) => client.put(`key:${at}`, 'x')));
  expect(await client.getOrNull('key:0')).not.toBeNull();
  await client.close();
  left.kill('SIGTERM');
  await left.ended;
});
