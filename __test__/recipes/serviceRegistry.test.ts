import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  AlreadyExistsError,
  CancelledError,
  ClosedError,
  CorruptionError,
  InvalidArgumentError,
} from '@norikv/client';
import type { Lease, NoriKVClient } from '@norikv/client';
import { ServiceRegistry } from '@norikv/client/recipes';
import type { Service, ServiceEvent, ServiceRegistryOptions } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';
import type { Gated } from './gate';

const api = (id: string, more: Partial<Service> = {}): Service => ({
  name: 'api',
  id,
  address: '10.0.0.7',
  port: 8080,
  ...more,
});

describe.each([memory, servedFile])('ServiceRegistry on $name', (kind) => {
  let store: TestStore;
  let gate: Gated;
  let other: NoriKVClient;
  /** The leases that were granted to the client. */
  let leases: Lease[];
  let closing: ServiceRegistry[];

  beforeEach(async () => {
    store = await kind.open();
    gate = gated(store.client);
    other = await store.another();
    leases = [];
    closing = [];
  });
  afterEach(async () => {
    for (const registry of closing) await registry.close();
    expect(await other.count({ prefix: '' })).toBe(0);
    await store.close();
  });

  function registryOf(
    client = capturing(gate.client),
    options: ServiceRegistryOptions = {},
  ): ServiceRegistry {
    const registry = new ServiceRegistry(client, 'shop', 60_000, options);
    closing.push(registry);
    return registry;
  }

  /** The client, whose leases a test can end. */
  function capturing(client: NoriKVClient): NoriKVClient {
    return new Proxy(client, {
      get(of, name): unknown {
        if (name !== 'lease') return Reflect.get(of, name, of) as unknown;
        return async (...args: Parameters<NoriKVClient['lease']>) => {
          const lease = await of.lease(...args);
          leases.push(lease);
          return lease;
        };
      },
    });
  }

  async function ids(registry: ServiceRegistry, name = 'api'): Promise<string> {
    return (await registry.discover(name)).map(({ id }) => id).join(' ');
  }

  /** Waits until `holds`. */
  async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await holds())) await pause();
  }

  test('registering is one write after the lease, and discovering one scan', async () => {
    const registry = registryOf();
    const service = api('api-1', { metadata: { region: 'eu', ['__proto__']: 'x' } });
    await registry.register(service);
    const before = gate.total();
    await registry.register(api('api-2'));
    expect(gate.total()).toBe(before + 1);
    expect(await registry.discover('api')).toEqual([service, api('api-2', { metadata: {} })]);
    expect(gate.total()).toBe(before + 2);
    expect(await registry.deregister('api', 'api-1')).toBe(true);
    expect(gate.total()).toBe(before + 3);
    expect(await registry.deregister('api', 'api-1')).toBe(false);
    expect(await registry.discover('nothing')).toEqual([]);
  });

  test('api is not api-v2, and parts with separators do not mix (the naive prefix finds both)', async () => {
    const registry = registryOf();
    await registry.register(api('1'));
    await registry.register(api('2', { name: 'api-v2' }));
    await registry.register(api('c', { name: 'a/b' }));
    await registry.register(api('b/c', { name: 'a' }));
    for (const id of ['constructor', '%2F', 'ключ']) await registry.register(api(id));
    expect(await ids(registry)).toBe('%2F 1 constructor ключ');
    expect(await ids(registry, 'api-v2')).toBe('2');
    expect(await ids(registry, 'a/b')).toBe('c');
    expect(await ids(registry, 'a')).toBe('b/c');
    // A prefix is one part, too.
    await using nested = new ServiceRegistry(store.client, 'shop/api');
    expect(await nested.discover('1')).toEqual([]);
  });

  test('an instance that is registered elsewhere is refused, with where it is', async () => {
    const first = registryOf();
    const second = registryOf(other);
    await first.register(api('api-1'));
    const again = second.register(api('api-1', { port: 9090 }));
    await expect(again).rejects.toThrow(AlreadyExistsError);
    await expect(again).rejects.toThrow('10.0.0.7:8080');
    expect((await first.discover('api'))[0]?.port).toBe(8080);
  });

  test('who was replaced deletes nothing: not by deregister, not by close (the naive close deletes the key)', async () => {
    const first = registryOf();
    const second = registryOf(other);
    const registration = await first.register(api('api-1'));
    await second.register(api('api-1', { port: 9090 }), { replace: true });
    expect(await registration.deregister()).toBe(false);
    await first.close();
    expect((await second.discover('api'))[0]?.port).toBe(9090);
  });

  test('after its lease was lost everything is registered again, with a new one (the naive heartbeat goes on into nothing)', async () => {
    const registry = registryOf();
    await registry.register(api('api-1'));
    await registry.register(api('api-2'));
    const seen: string[] = [];
    await registryOf(other).watch('api', ({ type, service }) => seen.push(`${type} ${service.id}`));
    await leases[0]?.revoke();
    await until(() => seen.length === 6);
    expect(seen.slice(0, 4)).toEqual([
      'added api-1',
      'added api-2',
      'removed api-1',
      'removed api-2',
    ]);
    expect(await ids(registry)).toBe('api-1 api-2');
    expect(leases).toHaveLength(2);
    expect(await registry.deregister('api', 'api-1')).toBe(true);
  });

  test('who finds another in its place after a lost lease gives way, and says so (the naive one writes over it)', async () => {
    const errors: unknown[] = [];
    const first = registryOf(undefined, { onError: (error) => errors.push(error) });
    const second = registryOf(other);
    const registration = await first.register(api('api-1'));
    // The lease is being granted again when the other comes.
    gate.beforeNext('lease', () => second.register(api('api-1', { port: 9090 })));
    await leases[0]?.revoke();
    await until(() => registration.signal.aborted);
    expect(registration.signal.reason).toBeInstanceOf(AlreadyExistsError);
    expect(errors).toEqual([registration.signal.reason]);
    expect(await registration.deregister()).toBe(false);
    await first.close();
    expect((await second.discover('api'))[0]?.port).toBe(9090);
  });

  test('what is in the way of registering again is tried again after a pause', async () => {
    const errors: unknown[] = [];
    const registry = registryOf(undefined, { onError: (error) => errors.push(error) });
    await registry.register(api('api-1'));
    gate.beforeNext('lease', () => Promise.reject(new Error('the store is away')));
    gate.beforeNext('lease', () => Promise.reject(new Error('it still is')));
    await leases[0]?.revoke();
    await until(async () => (await ids(registry)) === 'api-1');
    expect(errors.map(String)).toEqual(['Error: the store is away', 'Error: it still is']);
  });

  test('registering again what this object registered updates it', async () => {
    const registry = registryOf();
    const seen: ServiceEvent[] = [];
    await registry.watch('api', (event) => seen.push(event));
    await registry.register(api('api-1'));
    await registry.register(api('api-1', { port: 9090 }));
    await registry.register(api('api-1', { port: 9090, metadata: {} }));
    await registry.deregister('api', 'api-1');
    await until(() => seen.length === 3);
    expect(seen.map(({ type, service }) => `${type} ${service.port}`)).toEqual([
      'added 8080',
      'updated 9090',
      'removed 9090',
    ]);
  });

  test('a watch begins with what is there and misses nothing after it (the naive one watches after it has read)', async () => {
    const registry = registryOf(other);
    await registry.register(api('there'));
    // Whatever is read and followed: between the two, and while it is read, others come and go.
    const between = new Proxy(gate.client, {
      get(of, name): unknown {
        if (name !== 'scan') return Reflect.get(of, name, of) as unknown;
        return (...args: Parameters<NoriKVClient['scan']>) => ({
          toArray: async () => {
            await registry.register(api('before-the-scan'));
            const found = await of.scan(...args).toArray();
            await registry.register(api('after-the-scan'));
            await registry.deregister('api', 'there');
            return found;
          },
        });
      },
    });
    const seen: string[] = [];
    await registryOf(between).watch('api', ({ type, service }) => {
      seen.push(`${type} ${service.id}`);
    });
    await until(() => seen.length === 4);
    expect(seen).toEqual([
      'added there',
      'added before-the-scan',
      'added after-the-scan',
      'removed there',
    ]);
  });

  test('events can be iterated, and leaving the loop or closing the registry ends them', async () => {
    const registry = registryOf();
    await registry.register(api('api-1'));
    const seen: string[] = [];
    for await (const { type, service } of registry.watch('api')) {
      seen.push(`${type} ${service.id}`);
      if (seen.length === 1) await registry.register(api('api-2'));
      if (seen.length === 2) await registry.deregister('api', 'api-1');
      if (seen.length === 3) break;
    }
    expect(seen).toEqual(['added api-1', 'added api-2', 'removed api-1']);
    const waiting = registry.watch('nothing').next();
    await pause();
    await registry.close();
    expect(await waiting).toEqual({ done: true, value: undefined });
  });

  test('what stops listening hears no more', async () => {
    const registry = registryOf();
    const seen: string[] = [];
    const stop = await registry.watch('api', ({ service }) => seen.push(service.id));
    await registry.register(api('api-1'));
    await until(() => seen.length === 1);
    stop();
    stop();
    await registry.register(api('api-2'));
    await pause(20);
    expect(seen).toEqual(['api-1']);
  });

  test('an entry that is no service is told of and left out, and is an error of discover', async () => {
    const errors: unknown[] = [];
    const registry = registryOf(undefined, { onError: (error) => errors.push(error) });
    await registry.register(api('good'));
    const bad = ['not json', '[]', '{"address":"a","port":0,"by":"x"}', '{"address":"a","port":1}'];
    const keys = bad.map((_, at) => `service/shop/api/bad-${at}`);
    for (const [at, value] of bad.entries()) await other.put(`service/shop/api/bad-${at}`, value);
    const seen: string[] = [];
    await registry.watch('api', ({ service }) => seen.push(service.id));
    expect(seen).toEqual(['good']);
    expect(errors).toHaveLength(bad.length);
    expect(errors.every((error) => error instanceof CorruptionError)).toBe(true);
    expect(String(errors[0])).toContain('service/shop/api/bad-0');
    await expect(registry.discover('api')).rejects.toThrow(CorruptionError);
    for (const key of keys) await other.delete(key);
  });

  test('what is not well is taken out until it is well again, and checks do not overlap', async () => {
    const errors: unknown[] = [];
    const registry = registryOf(undefined, { onError: (error) => errors.push(error) });
    let health: () => boolean | Promise<boolean> = () => true;
    let under = 0;
    let most = 0;
    const check = async (): Promise<boolean> => {
      most = Math.max(most, ++under);
      try {
        return await health();
      } finally {
        under -= 1;
      }
    };
    await registry.register(api('api-1'), {
      healthCheck: { check, intervalMs: 1, timeoutMs: 50 },
    });
    expect(await ids(registry)).toBe('api-1');
    health = () => false;
    await until(async () => (await ids(registry)) === '');
    health = () => true;
    await until(async () => (await ids(registry)) === 'api-1');
    health = () => Promise.reject(new Error('cannot say'));
    await until(async () => (await ids(registry)) === '');
    expect(String(errors[0])).toBe('Error: cannot say');
    health = () => true;
    await until(async () => (await ids(registry)) === 'api-1');
    // One that takes too long counts as not well when its time is up, and the next waits for its end.
    let end = (): void => undefined;
    health = () =>
      new Promise<boolean>((resolve) => {
        end = () => {
          resolve(true);
        };
      });
    await until(async () => (await ids(registry)) === '');
    health = () => true;
    end();
    await until(async () => (await ids(registry)) === 'api-1');
    expect(most).toBe(1);
  });

  test('bad input is refused, and nothing is written', async () => {
    const registry = registryOf();
    const bad: unknown[] = [
      undefined,
      null,
      'api',
      {},
      api(''),
      api('x'.repeat(257)),
      api('\ud800'),
      { ...api('1'), name: 7 },
      { ...api('1'), address: '' },
      ...[0, -1, 1.5, NaN, 65_536, '80'].map((port) => ({ ...api('1'), port })),
      ...[null, [], 'x', { a: 1 }, { weight: 'heavy' }, { weight: '-1' }, { weight: '' }].map(
        (metadata) => ({ ...api('1'), metadata }),
      ),
      { ...api('1'), extra: true },
    ];
    for (const service of bad) {
      await expect(registry.register(service as Service)).rejects.toThrow(InvalidArgumentError);
    }
    const check = (): boolean => true;
    const checks: unknown[] = [
      7,
      null,
      {},
      { check: 1, intervalMs: 5 },
      { check },
      { check, intervalMs: 0 },
      { check, intervalMs: 5, timeoutMs: -1 },
      { check, intervalMs: 5, often: true },
    ];
    for (const healthCheck of checks) {
      const options = { healthCheck } as object;
      await expect(registry.register(api('1'), options)).rejects.toThrow(InvalidArgumentError);
    }
    const force = { force: true } as object;
    await expect(registry.register(api('1'), force)).rejects.toThrow(InvalidArgumentError);
    expect(() => registryOf(undefined, force)).toThrow(InvalidArgumentError);
    const yes = { replace: 'yes' as unknown as boolean };
    await expect(registry.register(api('1'), yes)).rejects.toThrow(InvalidArgumentError);
    await expect(registry.discover('')).rejects.toThrow(InvalidArgumentError);
    await expect(registry.deregister('api', '')).rejects.toThrow(InvalidArgumentError);
    const no = 7 as unknown;
    await expect(registry.watch('api', no as () => void)).rejects.toThrow(InvalidArgumentError);
    expect(() => registry.watch('')).not.toThrow();
    await expect(registry.watch('').next()).rejects.toThrow(InvalidArgumentError);
    for (const prefix of ['', 7, undefined]) {
      expect(() => new ServiceRegistry(store.client, prefix as string)).toThrow(
        InvalidArgumentError,
      );
    }
    for (const ttlMs of [0, -1, 1.5, NaN, '5']) {
      expect(() => new ServiceRegistry(store.client, 'a', ttlMs as number)).toThrow(
        InvalidArgumentError,
      );
    }
    expect(await other.count({ prefix: '' })).toBe(0);
  });

  test('a signal ends a call', async () => {
    const registry = registryOf();
    const signal = AbortSignal.abort();
    await expect(registry.register(api('1'), { signal })).rejects.toThrow(CancelledError);
    await expect(registry.discover('api', { signal })).rejects.toThrow(CancelledError);
    const aborts = new AbortController();
    gate.beforeNext('lease', () => {
      aborts.abort();
      return pause(5);
    });
    const ended = registry.register(api('2'), { signal: aborts.signal });
    await expect(ended).rejects.toThrow(CancelledError);
    expect(await ids(registry)).toBe('');
  });

  test('closing takes everything out, also what is being registered, and closing twice is closing once', async () => {
    const registry = registryOf();
    await registry.register(api('api-1'), {
      healthCheck: { check: () => true, intervalMs: 1 },
    });
    gate.afterNext('put', () => {
      void registry.close();
      return pause(5);
    });
    await registry.register(api('api-2')).catch(() => undefined);
    await registry.close();
    expect(await other.count({ prefix: '' })).toBe(0);
    expect(leases.every(({ signal }) => signal.aborted)).toBe(true);
    await expect(registry.register(api('api-3'))).rejects.toThrow(ClosedError);
    await expect(registry.discover('api')).rejects.toThrow(ClosedError);
    await expect(registry.deregister('api', 'api-1')).rejects.toThrow(ClosedError);
    await expect(registry.watch('api', () => undefined)).rejects.toThrow(ClosedError);
  });
});

async function pause(ms = 2): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
