import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  AlreadyExistsError,
  InvalidArgumentError,
  KeyNotFoundError,
  PermissionDeniedError,
  UnsupportedError,
  VersionMismatchError,
  op,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { TenantLimitError, TenantManager } from '@norikv/client/recipes';
import type { TenantClient } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';

const plans = {
  three: { maxKeys: 3, maxStorageMB: Infinity },
  small: { maxKeys: Infinity, maxStorageMB: 100 / 1_048_576 },
  none: { maxKeys: Infinity, maxStorageMB: Infinity },
};

describe.each([memory, servedFile])('on $name', (kind) => {
  let world: TestStore;
  let client: NoriKVClient;
  let tenants: TenantManager;
  beforeEach(async () => {
    world = await kind.open();
    ({ client } = world);
    tenants = new TenantManager(client, { plans });
  });
  afterEach(async () => {
    await tenants.close();
    await world.close();
  });

  const made = async (id: string, plan: string): Promise<TenantClient> => {
    await tenants.create(id, id, plan);
    return await tenants.getClient(id);
  };
  const used = async (id: string): Promise<unknown> => {
    const { keys, bytes } = (await client.get(`tenant-usage/${id}`)).json<{
      keys: number;
      bytes: number;
    }>();
    return { keys, bytes };
  };

  test('tenant a with key b:c is not tenant a:b with key c (to the naive one they are one key)', async () => {
    const ids = ['a', 'a:b', 'a/b', 'a%2Fb', 'a/', 'constructor', '__proto__', 'ä'];
    const clients = await Promise.all(ids.map((id) => made(id, 'three')));
    for (const tenant of clients) {
      for (const key of ['b:c', 'c', 'b/c']) await tenant.put(key, tenant.getTenantId());
    }
    for (const tenant of clients) {
      const entries = await tenant.scan().toArray();
      expect(entries.map((entry) => entry.keyText())).toEqual(['b/c', 'b:c', 'c']);
      expect(entries.every((entry) => entry.text() === tenant.getTenantId())).toBe(true);
    }
  });

  test.each(['none', 'three'])('the client API, with plan %s', async (plan) => {
    const a = await made('a', plan);
    const first = await a.put('key', 'one', { ifNotExists: true });
    await expect(a.put('key', 'two', { ifNotExists: true })).rejects.toBeInstanceOf(
      AlreadyExistsError,
    );
    const second = await a.put('key', 'two', { ifMatchVersion: first });
    const late: unknown = await a
      .put('key', 'three', { ifMatchVersion: first })
      .catch((error: unknown) => error);
    expect(late).toBeInstanceOf(VersionMismatchError);
    expect(late).toMatchObject({ key: new TextEncoder().encode('key'), actual: second });
    expect(String(late)).not.toContain('tenant/');
    const entry = await a.get('key');
    expect([entry.keyText(), entry.text(), entry.version]).toEqual(['key', 'two', second]);
    const { prevEntry } = await a.put(new TextEncoder().encode('key'), 'three', {
      prevEntry: true,
    });
    expect([prevEntry?.keyText(), prevEntry?.text()]).toEqual(['key', 'two']);
    expect(await a.getOrNull('none')).toBeNull();
    await expect(a.get('none')).rejects.toBeInstanceOf(KeyNotFoundError);
    await Promise.all(
      [1, 2, 3].map(() => a.update('n', (now) => String(Number(now?.text()) || 1))),
    );
    await Promise.all(
      [1, 2, 3].map(() => a.update('n', (now) => String(Number(now?.text() ?? 0) + 1))),
    );
    const many = await a.getMany(['n', 'key', 'none']);
    expect(many.map((found) => found?.text())).toEqual(['4', 'three', undefined]);
    expect(await a.count({ prefix: '' })).toBe(2);
    expect(await a.delete('key')).toBe(true);
    expect(await a.delete('key')).toBe(false);
    await a.write([{ put: 'x', value: '1' }, { put: 'y', value: '2' }, { delete: 'n' }]);
    expect(await a.deleteRange({ start: 'y' })).toBe(1);
    expect((await a.scan().toArray()).map((found) => found.keyText())).toEqual(['x']);
    await expect(a.deleteRange({})).rejects.toBeInstanceOf(InvalidArgumentError);
    await using lease = await a.lease({ ttlMs: 60_000 });
    await lease.put('leased', 'x');
    expect((await a.get('leased')).lease).toBe(lease.id);
    await lease.revoke();
    expect(await a.getOrNull('leased')).toBeNull();
    expect(
      (await client.scan().toArray()).every((found) => found.keyText().startsWith('tenant')),
    ).toBe(true);
  });

  test('never more keys than the plan allows, by many writers at once (the naive one does not look)', async () => {
    const a = await made('a', 'three');
    const others = await Promise.all(
      Array.from({ length: 4 }, () => new TenantManager(client, { plans })).map(
        async (manager) => ({
          manager,
          tenant: await manager.getClient('a'),
        }),
      ),
    );
    const writers = [a, ...others.map(({ tenant }) => tenant)];
    const outcomes = await Promise.allSettled(
      writers.flatMap((tenant, at) => [tenant.put(`k${at}`, 'x'), tenant.put(`l${at}`, 'x')]),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(TenantLimitError);
    }
    expect(await a.count({ prefix: '' })).toBe(3);
    expect(await used('a')).toEqual({ keys: 3, bytes: 9 });
    await Promise.all(others.map(({ manager }) => manager.close()));
  });

  test('what another writes between the count and the write is counted', async () => {
    await tenants.create('a', 'A', 'three');
    const gate = gated(client);
    const mine = new TenantManager(gate.client, { plans });
    const a = await mine.getClient('a');
    const theirs = await tenants.getClient('a');
    await a.put('k1', 'x');
    await a.put('k2', 'x');
    gate.beforeNext('commit', () => theirs.put('k3', 'x'));
    const late: unknown = await a.put('k4', 'x').catch((error: unknown) => error);
    expect(late).toBeInstanceOf(TenantLimitError);
    expect(late).toMatchObject({
      code: 'RESOURCE_EXHAUSTED',
      tenantId: 'a',
      limit: 'maxKeys',
      allowed: 3,
      used: 3,
    });
    expect(await a.getOrNull('k4')).toBeNull();
    await a.put('k3', 'other');
    await a.delete('k3');
    await a.put('k4', 'x');
    expect(await used('a')).toEqual({ keys: 3, bytes: 9 });
    await mine.close();
  });

  test('bytes of keys and values are counted, also of what is overwritten and deleted', async () => {
    const a = await made('a', 'small');
    await a.put('ä', 'x'.repeat(50));
    expect(await used('a')).toEqual({ keys: 1, bytes: 52 });
    await a.put('b', 'x'.repeat(47));
    await expect(a.put('c', '')).rejects.toMatchObject({ limit: 'maxStorageMB', used: 100 });
    await expect(a.put('b', 'x'.repeat(48))).rejects.toBeInstanceOf(TenantLimitError);
    await a.put('b', 'x');
    await a.put('c', 'x'.repeat(45));
    expect(await used('a')).toEqual({ keys: 3, bytes: 100 });
    await a.write([{ delete: 'c' }, { put: 'd', value: 'x'.repeat(45) }]);
    await expect(
      a.write([
        { put: 'e', value: '1' },
        { put: 'd', value: 'x'.repeat(46) },
      ]),
    ).rejects.toBeInstanceOf(TenantLimitError);
    expect(await a.getOrNull('e')).toBeNull();
    expect(await a.deleteRange({ prefix: 'd' })).toBe(1);
    await a.put('d', 'x'.repeat(45));
    expect(await used('a')).toEqual({ keys: 3, bytes: 100 });
  });

  test('what went by itself makes room as soon as it is needed', async () => {
    const a = await made('a', 'three');
    const lease = await a.lease({ ttlMs: 60_000 });
    await a.put('k1', 'x');
    await a.put('k2', 'x', { lease });
    await lease.put('k3', 'x');
    await expect(a.put('k4', 'x')).rejects.toBeInstanceOf(TenantLimitError);
    await lease.revoke();
    await a.put('k4', 'x');
    await a.put('k5', 'x');
    await expect(a.put('k6', 'x')).rejects.toBeInstanceOf(TenantLimitError);
    expect(await used('a')).toEqual({ keys: 3, bytes: 9 });
  });

  test('a write costs two round trips, without limits one; a read one', async () => {
    for (const [plan, trips] of [
      ['three', 2],
      ['none', 1],
    ] as const) {
      await tenants.create(plan, plan, plan);
      const gate = gated(client);
      const mine = new TenantManager(gate.client, { plans });
      const tenant = await mine.getClient(plan);
      await tenant.put('key', 'x');
      const before = gate.total();
      await tenant.put('key', 'y');
      await tenant.delete('key');
      expect(gate.total() - before).toBe(2 * trips);
      await mine.close();
    }
  });

  test('another plan reaches clients that there are: what was not counted before is counted', async () => {
    const a = await made('a', 'none');
    for (let at = 0; at < 5; at++) await a.put(`k${at}`, 'x');
    await expect(client.get('tenant-usage/a')).rejects.toBeInstanceOf(KeyNotFoundError);
    await tenants.setPlan('a', 'three');
    await expect(a.put('k5', 'x')).rejects.toMatchObject({ limit: 'maxKeys', used: 5 });
    // What is there may stay, and be made less.
    await a.put('k0', 'y');
    for (let at = 0; at < 3; at++) await a.delete(`k${at}`);
    await a.put('k5', 'x');
    await tenants.setPlan('a', 'none');
    for (let at = 0; at < 5; at++) await a.put(`k${at}`, 'x');
    expect(await tenants.getUsage('a')).toEqual({ keys: 6, bytes: 18 });
  });

  test('a larger plan that was given just before is not overlooked (naively, the smaller one refuses what it allows)', async () => {
    await tenants.create('a', 'a', 'three');
    const gate = gated(client);
    await using mine = new TenantManager(gate.client, { plans });
    const a = await mine.getClient('a');
    for (let at = 0; at < 3; at++) await a.put(`k${at}`, 'x');
    gate.beforeNext('getMany', () => tenants.setPlan('a', 'none'));
    await a.put('k3', 'x');
    expect(await tenants.getUsage('a')).toEqual({ keys: 4, bytes: 12 });
  });

  test('what cannot be counted is refused for a tenant with limits, and there without', async () => {
    const a = await made('a', 'three');
    expect(() => a.txn()).toThrow(UnsupportedError);
    await expect(a.vectorCreateIndex('v', 2, 'cosine', 'hnsw')).rejects.toThrow(UnsupportedError);
    await expect(a.vectorInsert('v', 'x', [1, 0])).rejects.toThrow(UnsupportedError);
    await expect(a.vectorInsertMany('v', [])).rejects.toThrow(UnsupportedError);
    await expect(a.put('k', 'x', { idempotencyKey: 'once' })).rejects.toThrow(UnsupportedError);
    expect(await client.count({ prefix: 'tenant/' })).toBe(0);
    const b = await made('b', 'none');
    await b.put('k', 'x', { idempotencyKey: 'once' });
    expect((await b.txn().commit()).succeeded).toBe(true);
    expect((await b.status()).features).toContain('txn');
    if (!kind.vectors) {
      const create = b.vectorCreateIndex('v', 2, 'cosine', 'hnsw');
      await expect(create).rejects.toThrow(UnsupportedError);
      return;
    }
    await b.vectorCreateIndex('v', 2, 'cosine', 'hnsw');
    await b.vectorInsert('v', 'x', [1, 0]);
    await b.vectorInsertMany('v', [{ id: 'y', vector: [0, 1] }]);
    expect((await b.vectorSearch('v', [1, 0], 1)).matches[0]?.id).toBe('x');
    expect((await b.vectorSearchMany('v', [[1, 0]], 1))[0]?.matches[0]?.id).toBe('x');
    expect(await b.vectorGet('v', 'x')).toEqual(new Float32Array([1, 0]));
    expect((await b.vectorIndexes())[0]?.namespace).toBe('v');
    expect(await b.vectorDelete('v', 'x')).toBe(true);
    expect(await b.vectorDropIndex('v')).toBe(true);
  });

  test('a watch tells of the tenant only, and nothing more once it is suspended', async () => {
    const a = await made('a', 'three');
    const b = await made('b', 'three');
    await using watch = a.watch({ prefix: '' });
    await watch.ready;
    await b.put('key', 'of b');
    await a.put('key', 'of a');
    const batches = watch[Symbol.asyncIterator]();
    const batch = await batches.next();
    expect(batch.value?.events.map(({ entry }) => [entry.keyText(), entry.text()])).toEqual([
      ['key', 'of a'],
    ]);
    await a.put('key', 'again');
    await tenants.suspend('a');
    await expect(a.put('key', 'late')).rejects.toBeInstanceOf(PermissionDeniedError);
    await expect(batches.next()).rejects.toBeInstanceOf(PermissionDeniedError);
  });

  test('bad input is refused, and nothing is written', async () => {
    const a = await made('a', 'three');
    const loose = a as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
    const wrong: [string, ...unknown[]][] = [
      ['put', '', 'x'],
      ['put', undefined, 'x'],
      ['put', 'k', 5],
      ['put', 'k', 'x', { ttl: 5 }],
      ['put', 'k', 'x', { ttlMs: -1 }],
      ['put', 'k'.repeat(1_025), 'x'],
      ['delete', ''],
      ['delete', 'k', { force: true }],
      ['write', []],
      ['write', 5],
      ['write', [{ put: 'k' }]],
      ['write', [{ put: 'k', value: 'x', delete: 'k' }]],
      ['write', [{ put: 'k', value: 'x', prevEntry: true }]],
      ['write', [{ put: 'k', value: 'x' }, { delete: 'k' }]],
      ['put', 'k', 'x', { lease: {} }],
      ['put', 'k', 'x', { lease: null }],
      ['get', 'k', null],
      ['update', 'k', 'x'],
      ['update', 'k', () => 'x', { maxAttempts: 0 }],
      ['update', 'k', () => 'x', { maxAttempts: Number.NaN }],
      ['deleteRange', { prefix: null }],
      ['deleteRange', undefined],
      ['deleteRange', { prefix: 'a', start: 'b' }],
      ['deleteRange', { from: 'a' }],
    ];
    for (const [name, ...args] of wrong) {
      const call = async (): Promise<unknown> => await loose[name]?.(...args);
      await expect(call()).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    expect(await client.count({ prefix: 'tenant/' })).toBe(0);
  });

  test('contention without an end is told as such', async () => {
    await tenants.create('a', 'A', 'three');
    const gate = gated(client);
    const mine = new TenantManager(gate.client, { plans });
    const a = await mine.getClient('a');
    const theirs = await tenants.getClient('a');
    let length = 0;
    const busy = (): Promise<unknown> => {
      gate.beforeNext('commit', busy);
      return theirs.put('busy', 'x'.repeat(++length % 50));
    };
    gate.beforeNext('commit', busy);
    const late: unknown = await a
      .put('key', 'x', { timeoutMs: 200 })
      .catch((error: unknown) => error);
    expect(['RETRY_EXHAUSTED', 'DEADLINE_EXCEEDED']).toContain((late as { code: string }).code);
    expect(await theirs.getOrNull('key')).toBeNull();
    await mine.close();
  });

  test('what expires between the read and the count is not taken off a count that never had it', async () => {
    await tenants.create('a', 'A', 'three');
    const gate = gated(client);
    const mine = new TenantManager(gate.client, { plans });
    const a = await mine.getClient('a');
    await a.put('short', 'x', { ttlMs: 400 });
    await a.put('long', 'x');
    await a.deleteRange({ start: 'y', end: 'z' });
    // Counted with the next write, which has read both by then.
    gate.afterNext('getMany', async () => {
      while ((await client.getOrNull('tenant/a/short')) !== null);
    });
    await a.put('short', 'y');
    await a.put('third', 'x');
    await expect(a.put('fourth', 'x')).rejects.toBeInstanceOf(TenantLimitError);
    expect(await used('a')).toEqual(await tenants.getUsage('a'));
    await mine.close();
  });

  test('a range that goes between a count and its write does not stay counted', async () => {
    await tenants.create('a', 'A', 'three');
    const gate = gated(client);
    const mine = new TenantManager(gate.client, { plans });
    const a = await mine.getClient('a');
    const theirs = await tenants.getClient('a');
    for (const key of ['a', 'b', 'c']) await a.put(key, 'x');
    await a.deleteRange({ start: 'y', end: 'z' });
    // All three are counted, and nothing is written down, before and after.
    gate.beforeNext('commit', () => theirs.deleteRange({ prefix: '' }));
    await a.put('a', 'y');
    expect(await used('a')).toEqual({ keys: 1, bytes: 2 });
    for (const key of ['b', 'c']) await a.put(key, 'x');
    await mine.close();
  });

  test('the entry before a put is the one that it replaced, not one that was read before', async () => {
    await tenants.create('a', 'A', 'none');
    const gate = gated(client);
    const mine = new TenantManager(gate.client, { plans });
    const a = await mine.getClient('a');
    const theirs = await tenants.getClient('a');
    await a.put('k', 'first');
    gate.beforeNext('commit', () => theirs.put('k', 'second'));
    const { prevEntry } = await a.put('k', 'third', { prevEntry: true });
    expect([prevEntry?.keyText(), prevEntry?.text()]).toEqual(['k', 'second']);
    await mine.close();
  });

  test('a transaction is refused once its tenant is suspended, has limits or is gone, however old it is', async () => {
    const a = await made('a', 'none');
    const old = a.txn().then(op.put('key', 'x'));
    const code = (): Promise<unknown> =>
      old.commit().then(
        () => 'done',
        (error: unknown) => (error as { code: string }).code,
      );
    expect(await code()).toBe('done');
    await a.delete('key');
    const turns = new Map<string, () => Promise<unknown>>([
      ['PERMISSION_DENIED', () => tenants.suspend('a')],
      ['UNSUPPORTED', () => tenants.resume('a').then(() => tenants.setPlan('a', 'three'))],
      ['NOT_FOUND', () => tenants.delete('a')],
    ]);
    for (const [wanted, turn] of turns) {
      await turn();
      // Reads hear of it by the same watch.
      const until = async (): Promise<unknown> => {
        try {
          if (wanted === 'UNSUPPORTED') await a.vectorInsert('n', 'i', [1]);
          else await a.count({ prefix: '' });
          return 'done';
        } catch (error) {
          return (error as { code: string }).code;
        }
      };
      while ((await until()) !== wanted);
      expect(await code()).toBe(wanted);
    }
    expect(await client.count({ prefix: 'tenant/' })).toBe(0);
  });

  test('an update that has spent its attempts says so, as that of the client', async () => {
    const a = await made('a', 'none');
    const busy = async (): Promise<string> => {
      await a.put('k', 'theirs');
      return 'ours';
    };
    const spent: unknown = await a
      .update('k', busy, { maxAttempts: 2 })
      .catch((error: unknown) => error);
    expect(spent).toMatchObject({ code: 'RETRY_EXHAUSTED', attempts: 2 });
  });
});
