import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  ClosedError,
  CorruptionError,
  DeadlineExceededError,
  InvalidArgumentError,
  KeyNotFoundError,
  NoriKVError,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { ConfigManager, ConfigTypeError, SnapshotManager } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';
import type { Gated } from './gate';

/** A change, as text. */
type Told = string;

describe.each([memory, servedFile])('ConfigManager on $name', (kind) => {
  let store: TestStore;
  let gate: Gated;
  let other: NoriKVClient;
  let config: ConfigManager;
  let theirs: ConfigManager;

  beforeEach(async () => {
    store = await kind.open();
    gate = gated(store.client);
    other = await store.another();
    config = new ConfigManager(gate.client, 'app');
    theirs = new ConfigManager(other, 'app');
  });
  afterEach(async () => {
    await config.close();
    await theirs.close();
    await store.close();
  });

  /** What `config` is told under a range, as text. */
  async function following(range: Parameters<ConfigManager['watch']>[0]): Promise<Told[]> {
    const told: Told[] = [];
    await config.watch(range, (key, before, after) => {
      told.push(`${key}: ${asText(before)} → ${asText(after)}`);
    });
    return told;
  }

  async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await holds())) await pause();
  }

  test('what is set is read with its type, and without a round trip; a set is one', async () => {
    await config.set('database/port', 5432);
    const before = gate.total();
    await config.set('database/host', 'localhost');
    await config.set('database/tls', false);
    await config.set('limits', { rows: [1, null, 'x'] });
    expect(gate.total()).toBe(before + 3);
    expect(await config.getInt('database/port')).toBe(5432);
    expect(await config.getString('database/host')).toBe('localhost');
    expect(await config.getBool('database/tls')).toBe(false);
    expect(await config.get('limits')).toEqual({ rows: [1, null, 'x'] });
    expect(await config.getInt('missing', { default: 7 })).toBe(7);
    await expect(config.get('missing')).rejects.toThrow(KeyNotFoundError);
    expect(gate.total()).toBe(before + 3);
    // It is plain JSON, for all to read.
    expect((await other.get('config/app/in/0/database/port')).text()).toBe('5432');
  });

  test('a wrong type is an error that names the key (the naive getters take "5432abc" for 5432 and "false" for true)', async () => {
    const wrong: [unknown, 'getInt' | 'getBool' | 'getString', string][] = [
      ['5432abc', 'getInt', '"5432abc"'],
      ['5432', 'getInt', '"5432"'],
      [1.5, 'getInt', '1.5'],
      [2 ** 53, 'getInt', '9007199254740992'],
      [null, 'getInt', 'null'],
      ['false', 'getBool', '"false"'],
      [0, 'getBool', '0'],
      [7, 'getString', '7'],
      [[], 'getString', 'an array'],
    ];
    for (const [value, getter, found] of wrong) {
      await config.set('a/b', value);
      const error: unknown = await config[getter]('a/b').catch((cause: unknown) => cause);
      expect(error).toBeInstanceOf(ConfigTypeError);
      expect(error).toBeInstanceOf(NoriKVError);
      expect(error).toMatchObject({ key: 'a/b', found, code: 'INVALID_ARGUMENT' });
      expect(String(error)).toContain('"a/b"');
    }
    // A default is for what is not there, not for what is wrong.
    await expect(config.getInt('a/b', { default: 1 })).rejects.toThrow(ConfigTypeError);
  });

  test('what another tool wrote and is not JSON is an error that names the key', async () => {
    await other.put('config/app/in/0/plain', 'localhost');
    await expect(config.getString('plain')).rejects.toThrow(CorruptionError);
    await expect(config.getAll()).rejects.toThrow('config/app/in/0/plain');
    await config.set('plain', 'localhost');
    expect(await config.getString('plain')).toBe('localhost');
  });

  test('an own set is seen by the next read, and that of another as soon as the watch tells', async () => {
    await config.set('a', 0);
    for (let at = 1; at <= 50; at++) {
      await config.set('a', at);
      expect(await config.getInt('a')).toBe(at);
    }
    expect(await config.delete('a')).toBe(true);
    await expect(config.get('a')).rejects.toThrow(KeyNotFoundError);
    expect(await config.delete('a')).toBe(false);
    await theirs.set('a', 'theirs');
    await until(async () => (await config.get('a', { default: 0 })) === 'theirs');
  });

  test('a read waits until the watch has told what the same object wrote (the naive cache answers what it has)', async () => {
    // What the watch tells comes late.
    const late = new Proxy(gate.client, {
      get(of, name): unknown {
        if (name !== 'watch') return Reflect.get(of, name, of) as unknown;
        return (...args: Parameters<NoriKVClient['watch']>) => {
          const watch = of.watch(...args);
          const batches = async function* (): AsyncGenerator {
            for await (const batch of watch) {
              await pause(20);
              yield batch;
            }
          };
          return {
            ready: watch.ready,
            close: () => watch.close(),
            [Symbol.asyncIterator]: batches,
          };
        };
      },
    });
    await using slow = new ConfigManager(late, 'app');
    await slow.set('a', 1);
    expect(await slow.get('a')).toBe(1);
    await slow.set('a', 2);
    await slow.set('b', 2);
    expect(await slow.get('a')).toBe(2);
    expect([...(await slow.getAll()).keys()]).toEqual(['a', 'b']);
    await slow.delete('a');
    await expect(slow.get('a')).rejects.toThrow(KeyNotFoundError);
    await slow.set('a', 3);
    await expect(slow.get('a', { timeoutMs: 1 })).rejects.toThrow(DeadlineExceededError);
  });

  test('a prefix is made of whole parts: database is not database-2 (the naive prefix finds both)', async () => {
    for (const key of ['database', 'database/host', 'database/a/b', 'database-2/host']) {
      await config.set(key, key);
    }
    expect([...(await config.getAll('database')).keys()]).toEqual([
      'database/a/b',
      'database/host',
    ]);
    expect((await config.getAll()).size).toBe(4);
    await using nested = new ConfigManager(other, 'app/in');
    expect((await nested.getAll()).size).toBe(0);
  });

  test('each change is told once, with the values before and after it; what is set to what it is does not change', async () => {
    await config.set('a/one', 1);
    const one = await following('a/one');
    const all = await following({ prefix: 'a' });
    await theirs.set('a/one', 1);
    await theirs.set('a/one', 2);
    await other.put('config/app/in/0/a/one', ' 2 ');
    await theirs.set('a/two', { x: 1 });
    await theirs.set('ab', 'not under a');
    await theirs.set('a/one', 3);
    await theirs.delete('a/one');
    await until(() => one.length === 3);
    expect(one).toEqual(['a/one: 1 → 2', 'a/one: 2 → 3', 'a/one: 3 → -']);
    expect(all).toEqual(['a/one: 1 → 2', 'a/two: - → {"x":1}', 'a/one: 2 → 3', 'a/one: 3 → -']);
  });

  test('what changes while a watch begins is told or there from the beginning (the naive one reads, then watches)', async () => {
    // Between what is read and what is followed, and while it is read, somebody sets.
    const between = new Proxy(gate.client, {
      get(of, name): unknown {
        if (name !== 'scan') return Reflect.get(of, name, of) as unknown;
        return (...args: Parameters<NoriKVClient['scan']>) => ({
          toArray: async () => {
            await theirs.set('a', 1);
            const found = await of.scan(...args).toArray();
            await theirs.set('a', 2);
            return found;
          },
        });
      },
    });
    await using late = new ConfigManager(between, 'app');
    const told: unknown[] = [];
    await late.watch('a', (_key, before, after) => told.push([before, after]));
    const first = await late.get('a', { default: 'nothing' });
    await until(async () => (await late.get('a', { default: 0 })) === 2);
    // Whatever was there at the beginning, the changes lead from it to the end.
    const steps = [first, ...told.map((step) => (step as unknown[])[1])];
    const from = told.map((step) => (step as unknown[])[0]);
    expect(steps.at(-1)).toBe(2);
    expect(from).toEqual(
      steps.slice(0, -1).map((value) => (value === 'nothing' ? undefined : value)),
    );
  });

  test('a listener that throws and a value that is not JSON keep nobody else from hearing', async () => {
    const errors: unknown[] = [];
    const told: unknown[] = [];
    await config.watch('a', (_key, _before, after) => told.push(after), {
      onError: (error) => errors.push(error),
    });
    await other.put('config/app/in/0/a', 'not json');
    await theirs.set('a', 1);
    await until(() => told.length === 1);
    expect(told).toEqual([1]);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toBeInstanceOf(CorruptionError);
  });

  test('who stops listening hears no more', async () => {
    const told: unknown[] = [];
    const stop = await config.watch('a', (_key, _before, after) => told.push(after));
    await config.set('a', 1);
    await until(() => told.length === 1);
    stop();
    await config.set('a', 2);
    expect(await config.get('a')).toBe(2);
    expect(told).toEqual([1]);
  });

  test('a set that meets a restore takes effect after it (the naive put writes where nobody looks any more)', async () => {
    const snapshots = new SnapshotManager(theirs);
    await theirs.set('a', 'old');
    await snapshots.createSnapshot('s');
    expect(await config.get('a')).toBe('old');
    gate.beforeNext('commit', () => snapshots.restoreSnapshot('s'));
    await config.set('a', 'new');
    expect(await config.get('a')).toBe('new');
    expect((await other.scan({ prefix: 'config/app/in/' }).toArray()).length).toBe(1);
    gate.beforeNext('commit', () => snapshots.restoreSnapshot('s'));
    expect(await config.delete('a')).toBe(true);
    await expect(config.get('a')).rejects.toThrow(KeyNotFoundError);
  });

  test('a broken pointer is told, and not guessed', async () => {
    await config.set('a', 1);
    await other.put('config/app/at', '{}');
    await until(() =>
      config.get('a').then(
        () => false,
        (error: unknown) => error instanceof CorruptionError,
      ),
    );
    await expect(config.set('a', 2)).rejects.toThrow('config/app/at');
    await other.delete('config/app/at');
    await until(async () => (await config.get('a').catch(() => 0)) === 1);
  });

  test('strange keys are keys like others, and bad ones are refused with nothing written', async () => {
    const strange = ['constructor', '__proto__/a', 'a%2Fb', 'a:b', 'ключ/ 🗝', '0', '%'];
    for (const key of strange) await config.set(key, key);
    expect([...(await config.getAll()).entries()].every(([key, value]) => key === value)).toBe(
      true,
    );
    expect((await config.getAll()).size).toBe(strange.length);
    const before = await other.count({ prefix: '' });
    for (const key of ['', '/', 'a/', '/a', 'a//b', '\ud800', 7, null, undefined, {}]) {
      const bad = key as string;
      await expect(config.set(bad, 1)).rejects.toThrow(InvalidArgumentError);
      await expect(config.get(bad)).rejects.toThrow(InvalidArgumentError);
      await expect(config.delete(bad)).rejects.toThrow(InvalidArgumentError);
      await expect(config.watch(bad, () => undefined)).rejects.toThrow(InvalidArgumentError);
      const range = { prefix: bad };
      await expect(config.watch(range, () => undefined)).rejects.toThrow(InvalidArgumentError);
    }
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    // Of a class without a name, and one that JSON would say something else of.
    const odd: unknown = Object.create(Object.create(Object.create(null) as object) as object);
    const disguised: unknown = Object.defineProperty({ a: 1 }, 'toJSON', { value: () => 'else' });
    for (const value of [
      undefined,
      NaN,
      Infinity,
      1n,
      () => 1,
      new Map(),
      cyclic,
      odd,
      disguised,
    ]) {
      await expect(config.set('a', value)).rejects.toThrow(InvalidArgumentError);
    }
    await expect(config.set('x'.repeat(2_000), 1)).rejects.toThrow(InvalidArgumentError);
    const both = { prefix: 'a', key: 'b' } as object as { prefix: string };
    await expect(config.watch(both, () => undefined)).rejects.toThrow(InvalidArgumentError);
    const listener = 7 as unknown as () => void;
    await expect(config.watch('a', listener)).rejects.toThrow(InvalidArgumentError);
    for (const prefix of ['', 7, null, '\ud800']) {
      expect(() => new ConfigManager(other, prefix as string)).toThrow(InvalidArgumentError);
    }
    expect(await other.count({ prefix: '' })).toBe(before);
  });

  test('a signal ends a call, and a closed one says that it is closed', async () => {
    const signal = AbortSignal.abort();
    await expect(config.set('a', 1, { signal })).rejects.toThrow(CancelledError);
    await expect(config.get('a', { signal })).rejects.toThrow(CancelledError);
    await config.set('a', 1);
    await config.close();
    await config.close();
    await expect(config.get('a')).rejects.toThrow(ClosedError);
    await expect(config.set('a', 2)).rejects.toThrow(ClosedError);
    await expect(config.watch('a', () => undefined)).rejects.toThrow(ClosedError);
    expect(await theirs.get('a')).toBe(1);
  });
});

function asText(value: unknown): string {
  return value === undefined ? '-' : JSON.stringify(value);
}

async function pause(ms = 2): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
