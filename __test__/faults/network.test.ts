// What networks do to a client and its server, through a proxy between them.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { startServer } from '@norikv/client/server';
import type { Server } from '@norikv/client/server';
import { Proxy } from './proxy';

let server: Server;
let proxy: Proxy;
/** Through the proxy. */
let client: NoriKVClient;
/** Around it. */
let direct: NoriKVClient;

beforeEach(async () => {
  server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
  proxy = await Proxy.start(server.address);
  // Without the cluster's view, which would tell it the way around the proxy.
  client = await NoriKVClient.open({ nodes: [proxy.address], watchCluster: false });
  direct = await NoriKVClient.open(server.address);
  await client.put('there', '1');
});
afterEach(async () => {
  await client.close();
  await direct.close();
  await proxy.stop();
  await server.stop();
});

/** Waits until the server has done a write whose reply is kept. */
async function untilWritten(key: string, value: string): Promise<void> {
  while ((await direct.getOrNull(key))?.text() !== value) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('a reply that is lost with its connection', () => {
  test('a plain put fails with an outcome that is unknown, and is not made again', async () => {
    proxy.holdReplies();
    const writing = client.put('plain', '1').catch((error: unknown) => error);
    await untilWritten('plain', '1');
    proxy.cut();
    expect(await writing).toMatchObject({
      code: 'UNAVAILABLE',
      outcome: 'unknown',
      retryable: true,
    });
    expect((await client.get('plain')).generation).toBe(1);
  });

  test.each([
    ['delete', () => client.delete('there')],
    ['deleteRange', () => client.deleteRange({ prefix: 'there' })],
  ])('a plain %s fails with an outcome that is unknown', async (_, call) => {
    proxy.holdReplies();
    const deleting = call().catch((error: unknown) => error);
    while ((await direct.count({})) > 0) await new Promise((resolve) => setImmediate(resolve));
    proxy.cut();
    expect(await deleting).toMatchObject({ code: 'UNAVAILABLE', outcome: 'unknown' });
  });

  test('a put with an idempotencyKey is made again, and happens once', async () => {
    proxy.holdReplies();
    const writing = client.put('once', '1', { idempotencyKey: 'once' });
    await untilWritten('once', '1');
    const done = await direct.get('once');
    proxy.cut();
    expect((await writing).equals(done.version)).toBe(true);
    expect((await direct.get('once')).generation).toBe(1);
    expect(client.getStats().requests.retried).toBeGreaterThanOrEqual(1);
  });

  test('a delete with an idempotencyKey answers as the first', async () => {
    proxy.holdReplies();
    const deleting = client.delete('there', { idempotencyKey: 'deleted' });
    while ((await direct.getOrNull('there')) !== null) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    proxy.cut();
    expect(await deleting).toBe(true);
  });

  test('a read is made again', async () => {
    proxy.holdReplies();
    const reading = [client.get('there'), client.get('there', { timeoutMs: 3000 })];
    await new Promise((resolve) => setTimeout(resolve, 50));
    proxy.cut();
    for (const entry of await Promise.all(reading)) expect(entry.text()).toBe('1');
  });

  test('a conditional put is never answered as won or lost where that is not certain', async () => {
    const { version } = await direct.get('there');
    proxy.holdReplies();
    const writing = client
      .put('there', '2', { ifMatchVersion: version })
      .catch((error: unknown) => error);
    await untilWritten('there', '2');
    proxy.cut();
    expect(await writing).toMatchObject({ code: 'UNAVAILABLE', outcome: 'unknown' });
    expect((await direct.get('there')).generation).toBe(2);
  });

  test('an update never counts twice', async () => {
    await direct.put('counter', '0');
    for (let round = 0; round < 10; round++) {
      const before = Number((await direct.get('counter')).text());
      await client.get('there');
      let asked = 0;
      const updating = client
        .update('counter', async (entry) => {
          // The read has been answered; the reply to the write will not be.
          if (asked++ === 0) proxy.holdReplies();
          return await Promise.resolve(String(Number(entry?.text()) + 1));
        })
        .then(
          () => 'done',
          (error: unknown) => error,
        );
      await untilWritten('counter', `${before + 1}`);
      proxy.cut();
      const outcome = await updating;
      if (outcome !== 'done') expect(outcome).toMatchObject({ outcome: 'unknown' });
      expect((await direct.get('counter')).text()).toBe(`${before + 1}`);
    }
  });
});

describe('a reply that does not come', () => {
  test('a write fails at its limit with an outcome that is unknown', async () => {
    proxy.holdReplies();
    const began = performance.now();
    const error = await client.put('late', '1', { timeoutMs: 200 }).catch((why: unknown) => why);
    const took = performance.now() - began;
    expect(error).toMatchObject({ code: 'DEADLINE_EXCEEDED', timeoutMs: 200, outcome: 'unknown' });
    expect(took).toBeLessThan(200 + 500);
    proxy.releaseReplies();
    expect((await client.get('late')).text()).toBe('1');
  });

  test('a read fails at its limit, and nothing is unknown about it', async () => {
    proxy.holdReplies();
    const error = await client.get('there', { timeoutMs: 200 }).catch((why: unknown) => why);
    expect(error).toMatchObject({ code: 'DEADLINE_EXCEEDED', timeoutMs: 200 });
    expect(error).not.toHaveProperty('outcome');
  });

  test('a late reply of an earlier call is not taken for that of a later one', async () => {
    await direct.put('other', 'other');
    proxy.holdReplies();
    await expect(client.get('there', { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
    const later = client.get('other', { timeoutMs: 5000 });
    proxy.releaseReplies();
    expect((await later).text()).toBe('other');
  });

  test('cancelling does not wait for it', async () => {
    proxy.holdReplies();
    const controller = new AbortController();
    const writing = client
      .put('cancelled', '1', { signal: controller.signal })
      .catch((why: unknown) => why);
    await untilWritten('cancelled', '1');
    controller.abort();
    expect(await writing).toMatchObject({ code: 'CANCELLED', outcome: 'unknown' });
  });

  test('closing does not wait for it', async () => {
    proxy.freeze();
    const writing = client.put('closed', '1').catch((why: unknown) => why);
    await new Promise((resolve) => setImmediate(resolve));
    const began = performance.now();
    await client.close();
    expect(performance.now() - began).toBeLessThan(1000);
    expect(await writing).toMatchObject({ code: 'CLOSED' });
  });
});

describe('connections', () => {
  test('that are cut again and again under load lose no acknowledged write', async () => {
    const acknowledged = new Map<string, string>();
    let writing = true;
    const writers = Array.from({ length: 16 }, async (_, writer) => {
      for (let at = 0; writing; at++) {
        const key = `writer:${writer}`;
        const value = `${at}`;
        const idempotencyKey = `${key}:${at}`;
        const options = at % 2 === 0 ? { idempotencyKey } : {};
        await client.put(key, value, options).then(
          () => acknowledged.set(key, value),
          (error: unknown) => {
            expect(error).toMatchObject({ retryable: true });
          },
        );
      }
    });
    for (let round = 0; round < 20; round++) {
      await client.get('there', { timeoutMs: 5000 });
      await new Promise((resolve) => setTimeout(resolve, 10));
      proxy.cut();
    }
    writing = false;
    await Promise.all(writers);
    for (const [key, value] of acknowledged) {
      const found = Number((await direct.get(key)).text());
      // What was written after the last answer may be there; nothing older.
      expect(found).toBeGreaterThanOrEqual(Number(value));
    }
    expect(acknowledged.size).toBe(16);
  });

  test('that are refused fail plain writes with nothing unknown about them, and come back', async () => {
    await proxy.stop();
    await expect(client.get('there', { timeoutMs: 300 })).rejects.toMatchObject({
      retryable: true,
    });
    const error = await client.put('refused', '1', { timeoutMs: 300 }).catch((why: unknown) => why);
    expect(error).toMatchObject({ retryable: true });
    expect(error).not.toHaveProperty('outcome', 'unknown');
    expect(await direct.getOrNull('refused')).toBeNull();
    await proxy.accept();
    for (let tries = 1; ; tries++) {
      const entry = await client.get('there', { timeoutMs: 1000 }).catch((why: unknown) => why);
      if (!(entry instanceof Error)) break;
      if (tries === 10) throw entry;
    }
    await client.put('refused', '2');
  });

  test('to a peer that vanished cost each call no more than its limit', async () => {
    proxy.freeze();
    for (let round = 0; round < 3; round++) {
      const began = performance.now();
      const calls = [
        client.get('there', { timeoutMs: 150 }),
        client.put('vanished', '1', { timeoutMs: 150 }),
        client.scan({ timeoutMs: 150 }).toArray(),
      ];
      const outcomes = await Promise.allSettled<unknown>(calls);
      expect(performance.now() - began).toBeLessThan(750);
      for (const outcome of outcomes) expect(outcome.status).toBe('rejected');
    }
  });
});
