import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CancelledError, InvalidArgumentError, NoriKVError } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';
import { turn } from './turn';

/** A signal that counts those who listen to it. */
function counted(signal: AbortSignal): { readonly listeners: Set<unknown> } {
  const listeners = new Set<unknown>();
  const add = signal.addEventListener.bind(signal) as (...args: unknown[]) => void;
  const remove = signal.removeEventListener.bind(signal) as (...args: unknown[]) => void;
  Object.assign(signal, {
    addEventListener: (type: string, listener: unknown, options: unknown) => {
      listeners.add(listener);
      add(type, listener, options);
    },
    removeEventListener: (type: string, listener: unknown) => {
      listeners.delete(listener);
      remove(type, listener);
    },
  });
  return { listeners };
}

describe.each(kinds)('signals of calls to $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
    await client.put('key', 'value');
  });
  afterAll(() => store.close());

  test('a signal that has fired: the call is not made, and the reason is the cause', async () => {
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    const calls = [
      () => client.get('key', { signal }),
      () => client.getOrNull('key', { signal }),
      () => client.getMany(['key'], { signal }),
      () => client.put('never', 'x', { signal }),
      () => client.delete('key', { signal }),
      () => client.deleteRange({ prefix: '' }, { signal }),
      () => client.scan({ signal }).toArray(),
      () => client.count({}, { signal }),
      () => client.update('key', () => 'x', { signal }),
      () => client.status({ signal }),
      () => client.connect({ signal }),
    ];
    for (const call of calls) {
      const error = await failure(CancelledError, call);
      expect(error).toBeInstanceOf(NoriKVError);
      expect(error.name).toBe('AbortError');
      expect(error.code).toBe('CANCELLED');
      expect(error.cause).toBe(reason);
      expect(error.retryable).toBe(false);
      expect(error.outcome).toBeUndefined();
    }
    expect((await client.get('key')).text()).toBe('value');
    expect(await client.getOrNull('never')).toBeNull();
  });

  test('a signal without a reason has the platform’s own', async () => {
    const error = await failure(CancelledError, () =>
      client.put('never', 'x', { signal: AbortSignal.abort() }),
    );
    expect((error.cause as Error).name).toBe('AbortError');
  });

  test('a signal that fires in the same turn ends the call', async () => {
    const controller = new AbortController();
    const reason = new Error('changed my mind');
    const reading = client.get('key', { signal: controller.signal });
    controller.abort(reason);
    const error = await failure(CancelledError, () => reading);
    expect(error.cause).toBe(reason);
  });

  test('a write that is ended under way is done or not, and says that this is unknown', async () => {
    for (let round = 0; round < 30; round++) {
      const controller = new AbortController();
      const key = `under way:${round}`;
      const writing = client.put(key, 'x', { signal: controller.signal });
      await turn();
      controller.abort();
      const outcome = await writing.then(
        () => 'done',
        (error: unknown) => error,
      );
      if (outcome === 'done') {
        expect((await client.get(key)).text()).toBe('x');
      } else {
        expect(outcome).toBeInstanceOf(CancelledError);
        expect((outcome as CancelledError).outcome).toBe('unknown');
      }
    }
  });

  test('one signal ends all the calls it was given to, and no other', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const ended = Array.from({ length: 500 }, (_, at) =>
      client.put(`ended:${at}`, 'x', { signal }),
    );
    const others = Array.from({ length: 500 }, (_, at) => client.put(`other:${at}`, 'x'));
    controller.abort();
    const outcomes = await Promise.allSettled(ended);
    expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['rejected']));
    expect(await Promise.all(others)).toHaveLength(500);
    expect(await client.count({ prefix: 'other:' })).toBe(500);
  });

  test('a signal shared by many calls has one listener, and none when they are done', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const { listeners } = counted(signal);
    const calls = Array.from({ length: 200 }, (_, at) => client.put(`many:${at}`, 'x', { signal }));
    expect(listeners.size).toBe(1);
    await Promise.all(calls);
    for (let at = 0; at < 50; at++) {
      await client.get('key', { signal });
      await client.put('key', 'value', { signal, timeoutMs: 5000 });
      await client.put('key', 'x', { signal, ifNotExists: true }).catch(() => undefined);
      await client.update('key', () => 'value', { signal });
    }
    expect(listeners.size).toBe(0);
    controller.abort();
    expect((await client.get('key')).text()).toBe('value');
  });

  test('a signal that fires between two pages ends the scan', async () => {
    await Promise.all(Array.from({ length: 1500 }, (_, at) => client.put(`page:${at}`, 'x')));
    const controller = new AbortController();
    const reason = new Error('read enough');
    let seen = 0;
    const error = await failure(CancelledError, async () => {
      for await (const entry of client.scan({ prefix: 'page:', signal: controller.signal })) {
        if (entry.value.length > 0) seen++;
        controller.abort(reason);
      }
    });
    expect(error.cause).toBe(reason);
    expect(seen).toBe(1024);
  });

  test('what is no signal is refused', async () => {
    for (const signal of [null, {}, 'abort', 5, new AbortController()]) {
      await failure(InvalidArgumentError, () => client.get('key', { signal: signal as never }));
      await failure(InvalidArgumentError, () => client.put('x', 'x', { signal: signal as never }));
    }
    expect(await client.getOrNull('x')).toBeNull();
  });
});
