import { describe, expect, test } from '@jest/globals';
import { ClosedError, NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { file, kinds, memory, served } from './stores';
import { turn } from './turn';

const closable = kinds.filter(({ part }) => !part);

describe.each(closable)('close of a client of $name', (kind) => {
  test('closing twice is closing once', async () => {
    const store = await kind.open();
    const { client } = store;
    expect(client.isConnected()).toBe(true);
    await Promise.all([client.close(), client.close()]);
    await client.close();
    await client[Symbol.asyncDispose]();
    expect(client.isConnected()).toBe(false);
    await store.close();
  });

  test('every call after it is a ClosedError', async () => {
    const store = await kind.open();
    const { client } = store;
    const part = client.namespace('part/');
    await client.close();
    const calls = [
      () => client.get('a'),
      () => client.getOrNull('a'),
      () => client.getMany(['a']),
      () => client.put('a', '1'),
      () => client.delete('a'),
      () => client.deleteRange({ prefix: '' }),
      () => client.scan().toArray(),
      () => client.scan()[Symbol.asyncIterator]().next(),
      () => client.count({}),
      () => client.update('a', () => '1'),
      () => client.status(),
      () => client.connect(),
      () => client.onTopologyChange(() => undefined),
      () => part.get('a'),
      () => part.put('a', '1'),
    ];
    for (const call of calls) {
      const error = await failure(ClosedError, call);
      expect(error.code).toBe('CLOSED');
      expect(error.retryable).toBe(false);
    }
    expect(client.getStats().requests.inFlight).toBe(0);
    expect(client.getClusterView()).toBeNull();
    await store.close();
  });

  test('calls under way settle: they are answered, or fail with ClosedError', async () => {
    for (let round = 0; round < 5; round++) {
      const store = await kind.open();
      const { client } = store;
      const calls = [
        ...Array.from({ length: 300 }, (_, at) => client.put(`key:${at}`, 'x')),
        ...Array.from({ length: 100 }, () => client.getOrNull('key:0')),
        client.scan().toArray(),
        client.count({}),
      ];
      if (round % 2 === 1) await turn();
      const closing = client.close();
      const outcomes = await Promise.allSettled<unknown>(calls);
      await closing;
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(ClosedError);
      }
      await store.close();
    }
  });

  test('a client that never made a call closes', async () => {
    const client = new NoriKVClient(kind.remote ? { nodes: ['127.0.0.1:1'] } : 'memory:');
    expect(client.isConnected()).toBe(false);
    await client.close();
    await failure(ClosedError, () => client.get('a'));
  });
});

test('clients of two stores in memory see nothing of each other', async () => {
  const one = await memory.open();
  const two = await memory.open();
  await one.client.put('a', '1');
  expect(await two.client.getOrNull('a')).toBeNull();
  await Promise.all([one.close(), two.close()]);
});

test('closing one client of a server leaves the other', async () => {
  const store = await served.open();
  const other = await store.another();
  await store.client.put('a', '1');
  await store.client.close();
  expect((await other.get('a')).text()).toBe('1');
  await store.close();
});

test('a write that close() let through is there when the directory is opened again', async () => {
  const store = await file.open();
  const writes = Array.from({ length: 200 }, (_, at) => store.client.put(`key:${at}`, `${at}`));
  const closing = store.client.close();
  const outcomes = await Promise.allSettled(writes);
  await closing;
  const again = await store.again();
  for (const [at, outcome] of outcomes.entries()) {
    if (outcome.status !== 'fulfilled') continue;
    const entry = await again.get(`key:${at}`);
    expect(entry.version.equals(outcome.value)).toBe(true);
  }
  await store.close();
});
