import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  AlreadyExistsError,
  ClosedError,
  CorruptionError,
  InvalidArgumentError,
  NotFoundError,
  PermissionDeniedError,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { TenantManager } from '@norikv/client/recipes';
import type { TenantManagerOptions } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';

describe.each([memory, servedFile])('on $name', (kind) => {
  let world: TestStore;
  let client: NoriKVClient;
  let tenants: TenantManager;
  beforeEach(async () => {
    world = await kind.open();
    ({ client } = world);
    tenants = new TenantManager(client);
  });
  afterEach(async () => {
    await tenants.close();
    await world.close();
  });

  test('create answers the tenant, and get and list read it', async () => {
    const acme = await tenants.create('acme', 'Acme Corp', 'pro');
    expect(acme).toMatchObject({
      id: 'acme',
      name: 'Acme Corp',
      plan: 'pro',
      suspended: false,
      limits: { maxKeys: 100_000, maxStorageMB: 1_000 },
    });
    const big = await tenants.create('big', 'Big', 'enterprise');
    expect(big.limits).toEqual({ maxKeys: Infinity, maxStorageMB: Infinity });
    expect(await tenants.get('acme')).toEqual(acme);
    expect(await tenants.get('none')).toBeNull();
    expect(await tenants.list()).toEqual([acme, big]);
  });

  test('creating twice does not overwrite (the naive one puts), also at once', async () => {
    const gate = gated(client);
    const mine = new TenantManager(gate.client);
    gate.beforeNext('put', () => tenants.create('a', 'theirs', 'free'));
    await expect(mine.create('a', 'mine', 'pro')).rejects.toBeInstanceOf(AlreadyExistsError);
    expect(await tenants.get('a')).toMatchObject({ name: 'theirs', plan: 'free' });
    expect(gate.total()).toBe(1);
  });

  test('a plan that there is not is refused, also one that every object has (the naive table gives it the free one)', async () => {
    for (const plan of ['constructor', '__proto__', 'toString', 'gold', '', undefined, 5]) {
      const creating = tenants.create('a', 'A', plan as string);
      await expect(creating).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    const made = new TenantManager(client, {
      plans: { constructor: { maxKeys: 1, maxStorageMB: 1 } },
    });
    expect(await made.create('a', 'A', 'constructor')).toMatchObject({ limits: { maxKeys: 1 } });
    // Plans that were given in the place of settings would be no plans.
    const settings = { free: { maxKeys: 1, maxStorageMB: 1 } };
    expect(() => new TenantManager(client, settings as object)).toThrow(InvalidArgumentError);
    await expect(made.create('b', 'B', 'free')).rejects.toBeInstanceOf(InvalidArgumentError);
  });

  test('bad input is refused, and nothing is written', async () => {
    for (const id of ['', undefined, null, 5, '\ud800', 'x'.repeat(257), {}] as string[]) {
      await expect(tenants.create(id, 'A', 'free')).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(tenants.create('a', id, 'free')).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(tenants.get(id)).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(tenants.getClient(id)).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(tenants.delete(id)).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(tenants.setPlan(id, 'pro')).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    const wrong: unknown[] = [
      null,
      5,
      [],
      { free: null },
      { free: { maxKeys: -1, maxStorageMB: 1 } },
      { free: { maxKeys: Number.NaN, maxStorageMB: 1 } },
      { free: { maxKeys: 1 } },
      { free: { maxKeys: 1, maxStorageMB: 1, maxWhat: 1 } },
    ];
    for (const plans of wrong) {
      expect(
        () => new TenantManager(client, { plans: plans as TenantManagerOptions['plans'] }),
      ).toThrow(InvalidArgumentError);
    }
    expect(await client.count({ prefix: '' })).toBe(0);
  });

  test('clients are of tenants that there are, also one that was created just now elsewhere', async () => {
    await expect(tenants.getClient('a')).rejects.toBeInstanceOf(NotFoundError);
    const other = new TenantManager(await world.another());
    await other.create('a', 'A', 'free');
    const a = await tenants.getClient('a');
    expect(a.getTenantId()).toBe('a');
    await a.put('key', 'value');
    await other.close();
  });

  test('a suspended tenant is refused everything, also by clients that there were before', async () => {
    await tenants.create('a', 'A', 'free');
    await tenants.create('big', 'Big', 'enterprise');
    for (const id of ['a', 'big']) {
      const tenant = await tenants.getClient(id);
      await tenant.put('key', 'value');
      const elsewhere = new TenantManager(client);
      await elsewhere.suspend(id);
      await elsewhere.suspend(id);
      expect(await tenants.get(id)).toMatchObject({ suspended: true });
      // Not even before the watch has told: the write itself sees that the tenant has changed.
      await expect(tenant.put('key', 'new')).rejects.toBeInstanceOf(PermissionDeniedError);
      await expect(tenant.get('key')).rejects.toBeInstanceOf(PermissionDeniedError);
      await expect(tenant.scan().toArray()).rejects.toBeInstanceOf(PermissionDeniedError);
      await expect(tenant.lease({ ttlMs: 1_000 })).rejects.toBeInstanceOf(PermissionDeniedError);
      expect(() => tenant.watch({ prefix: '' })).toThrow(PermissionDeniedError);
      await elsewhere.resume(id);
      // What is refused without asking the store leaves the watch no turn to tell.
      const answer = () => tenant.getOrNull('key').catch(() => undefined);
      while ((await answer()) === undefined) await new Promise((told) => setTimeout(told, 10));
      expect((await tenant.get('key')).text()).toBe('value');
    }
    await expect(tenants.suspend('none')).rejects.toBeInstanceOf(NotFoundError);
  });

  test('two changes of a tenant at once are both made', async () => {
    await tenants.create('a', 'A', 'free');
    const gate = gated(client);
    gate.beforeNext('put', () => tenants.setPlan('a', 'pro'));
    await new TenantManager(gate.client).suspend('a');
    expect(await tenants.get('a')).toMatchObject({ plan: 'pro', suspended: true });
  });

  test('a tenant goes with everything it has, and what its clients write later is refused', async () => {
    await tenants.create('a', 'A', 'enterprise');
    await tenants.create('a/b', 'B', 'free');
    const a = await tenants.getClient('a');
    await a.put('key', 'value');
    if (kind.vectors) {
      await a.vectorCreateIndex('colors', 2, 'cosine', 'hnsw');
      await a.vectorInsert('colors', 'red', [1, 0]);
    }
    const b = await tenants.getClient('a/b');
    await b.put('key', 'of b');
    const elsewhere = new TenantManager(client);
    expect(await elsewhere.delete('a')).toBe(true);
    await expect(a.put('key', 'late')).rejects.toBeInstanceOf(NotFoundError);
    expect(await elsewhere.delete('a')).toBe(false);
    expect((await b.get('key')).text()).toBe('of b');
    if (kind.vectors) expect(await client.vectorIndexes()).toEqual([]);
    expect(await elsewhere.delete('a/b')).toBe(true);
    expect(await client.count({ prefix: 'tenant' })).toBe(0);
  });

  test('what is no tenant is said to be none, with its key', async () => {
    for (const garbage of ['', '{', '[]', '{"id":"a"}', 'null']) {
      await client.put('tenant-meta/a', garbage);
      await expect(tenants.get('a')).rejects.toBeInstanceOf(CorruptionError);
      await expect(tenants.get('a')).rejects.toThrow('tenant-meta/a');
      await expect(tenants.list()).rejects.toBeInstanceOf(CorruptionError);
    }
  });

  test('a closed manager leaves no watch, and its clients say so', async () => {
    await tenants.create('a', 'A', 'free');
    const a = await tenants.getClient('a');
    await tenants.close();
    await tenants.close();
    await expect(a.get('key')).rejects.toBeInstanceOf(ClosedError);
    expect(() => a.watch({ key: 'key' })).toThrow(ClosedError);
    expect(client.getStats().requests.inFlight).toBe(0);
  });
});
