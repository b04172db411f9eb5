import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  CorruptionError,
  InvalidArgumentError,
  RetryExhaustedError,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { SessionManager } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { badCounts, badNames, badOptions, expectRefused, invoke, keysOf } from './bad';
import { gated } from './gate';

const minute = 60_000;

describe.each([memory, servedFile])('a SessionManager on $name', (kind) => {
  const clock = Date.now;
  let now: number;
  let store: TestStore;
  let client: NoriKVClient;
  let sessions: SessionManager;

  beforeEach(async () => {
    store = await kind.open();
    client = store.client;
    sessions = new SessionManager(client, 10 * minute);
    now = clock();
    Date.now = () => now;
  });
  afterEach(async () => {
    Date.now = clock;
    await store.close();
  });

  const create = (): Promise<string> => sessions.create('ada', 'ada@example.com', ['user']);

  test('creates, reads, changes and ends a session', async () => {
    const data = { cart: [{ sku: 'a', n: 2 }], theme: null };
    const id = await sessions.create('ada', 'ada@example.com', ['user'], { data });
    expect(id).toMatch(/^[\w-]{22}$/);
    expect(await keysOf(client)).toEqual([`session/${id}`]);
    const fresh = { userId: 'ada', email: 'ada@example.com', roles: ['user'], data };
    expect(await sessions.get(id)).toEqual({ ...fresh, createdAt: now, lastAccessedAt: now });
    expect(await sessions.validate(id)).toBe(true);
    expect(await sessions.update(id, (old) => ({ ...old, roles: [...old.roles, 'admin'] }))).toBe(
      true,
    );
    expect((await sessions.get(id))?.roles).toEqual(['user', 'admin']);
    expect(await sessions.destroy(id)).toBe(true);
    expect(await sessions.destroy(id)).toBe(false);
    expect(await sessions.get(id)).toBeNull();
    expect(await sessions.validate(id)).toBe(false);
    expect(await sessions.update(id, (old) => old)).toBe(false);
    expect(await keysOf(client)).toEqual([]);
  });

  test('get does not bring back a session that is destroyed between its read and its touch (the naive one does)', async () => {
    const gate = gated(client);
    const slow = new SessionManager(gate.client, 10 * minute);
    const id = await create();
    now += 2 * minute;
    gate.beforeNext('put', () => sessions.destroy(id));
    expect(await slow.get(id)).toMatchObject({ userId: 'ada' });
    expect(gate.count('put')).toBe(1);
    expect(await sessions.get(id)).toBeNull();
    expect(await keysOf(client)).toEqual([]);
  });

  test('get does not undo an update between its read and its touch (the naive one writes the old roles back)', async () => {
    const gate = gated(client);
    const slow = new SessionManager(gate.client, 10 * minute);
    const id = await create();
    now += 2 * minute;
    gate.beforeNext('put', () => sessions.update(id, (old) => ({ ...old, roles: [] })));
    await slow.get(id);
    expect(gate.count('put')).toBe(1);
    expect((await sessions.get(id))?.roles).toEqual([]);
  });

  test('a session is touched once in a tenth of its time, and not by validate (the naive one writes with every read)', async () => {
    const gate = gated(client);
    const counted = new SessionManager(gate.client, 10 * minute);
    const id = await create();
    const key = `session/${id}`;
    for (let read = 0; read < 20; read++) {
      now += 2_000;
      await counted.get(id);
    }
    expect(gate.count('put')).toBe(0);
    now += 20_000;
    const before = await client.get(key);
    expect((await counted.get(id))?.lastAccessedAt).toBe(now);
    await counted.get(id);
    expect(gate.count('put')).toBe(1);
    const after = await client.get(key);
    expect(after.version.compare(before.version)).toBe(1);
    expect(after.expiresAt).toBeGreaterThanOrEqual(before.expiresAt!);
    now += 5 * minute;
    expect(await counted.validate(id)).toBe(true);
    expect(gate.count('put')).toBe(1);
    // A clock that is ahead does not keep the others from touching.
    now -= 60 * minute;
    await counted.get(id);
    expect(gate.count('put')).toBe(2);
  });

  test('costs: 1 round trip each, update 2, and get 2 when it touches', async () => {
    const gate = gated(client);
    const counted = new SessionManager(gate.client, 10 * minute);
    const cost = async (call: () => Promise<unknown>): Promise<number> => {
      const before = gate.total();
      await call();
      return gate.total() - before;
    };
    const id = await create();
    expect(await cost(() => counted.create('b', 'b@example.com', []))).toBe(1);
    expect(await cost(() => counted.get(id))).toBe(1);
    expect(await cost(() => counted.validate(id))).toBe(1);
    expect(await cost(() => counted.update(id, (old) => old))).toBe(2);
    now += 2 * minute;
    expect(await cost(() => counted.get(id))).toBe(2);
    expect(await cost(() => counted.destroy(id))).toBe(1);
    expect(await cost(() => counted.get('no id'))).toBe(0);
  });

  test('a session that was not used for its time is gone, and an update does not bring it back', async () => {
    const short = new SessionManager(client, 60);
    const watch = client.watch({ prefix: 'session/' }, { puts: false });
    await watch.ready;
    const id = await short.create('ada', 'ada@example.com', []);
    await watch[Symbol.asyncIterator]().next();
    await watch.close();
    expect(await short.get(id)).toBeNull();
    expect(await short.update(id, (old) => old)).toBe(false);
    expect(await short.destroy(id)).toBe(false);
    expect(await keysOf(client)).toEqual([]);
  });

  test('absoluteTtlMs ends it for good, however often it is used', async () => {
    const limited = new SessionManager(client, 10 * minute, { absoluteTtlMs: 25 * minute });
    const began = now;
    const id = await limited.create('ada', 'ada@example.com', []);
    for (let used = 0; used < 2; used++) {
      now += 9 * minute;
      expect(await limited.get(id)).not.toBeNull();
    }
    // It is touched, and yet the store ends it 7 minutes from now.
    const { expiresAt } = await client.get(`session/${id}`);
    expect(expiresAt! - clock()).toBeLessThanOrEqual(7 * minute + kind.timeUnitMs);
    // Nor does an update that says otherwise keep it.
    now += minute;
    await limited.update(id, (old) => ({ ...old, createdAt: now }));
    expect((await limited.get(id))?.createdAt).toBe(began);
    now = began + 25 * minute;
    expect(await limited.get(id)).toBeNull();
    expect(await limited.validate(id)).toBe(false);
    expect(await limited.update(id, (old) => old)).toBe(false);
  });

  test('updates of 16 callers on 4 clients at once are all kept', async () => {
    const clients = [client, await store.another(), await store.another(), await store.another()];
    const id = await sessions.create('ada', 'ada@example.com', []);
    const updates = Array.from({ length: 16 }, (_, at) =>
      new SessionManager(clients[at % 4]!, 10 * minute).update(id, (old) => ({
        ...old,
        roles: [...old.roles, `role ${at}`],
      })),
    );
    expect(await Promise.all(updates)).toEqual(Array.from({ length: 16 }, () => true));
    expect(new Set((await sessions.get(id))?.roles).size).toBe(16);
  });

  test('contention is a RetryExhaustedError and not a session that is missing (the naive one answers false)', async () => {
    const gate = gated(client);
    const slow = new SessionManager(gate.client, 10 * minute);
    const id = await create();
    const disturb = async (): Promise<void> => {
      gate.beforeNext('put', disturb);
      await sessions.update(id, (old) => old);
    };
    gate.beforeNext('put', disturb);
    const timeoutMs = kind.slow ? 1_500 : 500;
    await expect(slow.update(id, (old) => old, { timeoutMs })).rejects.toThrow(RetryExhaustedError);
    expect(await sessions.validate(id)).toBe(true);
  });

  test('what the function of an update throws or answers wrongly leaves the session as it was', async () => {
    const id = await create();
    const before = await client.get(`session/${id}`);
    const fail = (): never => {
      throw new Error('not today');
    };
    await expect(sessions.update(id, fail)).rejects.toThrow('not today');
    const session = await sessions.get(id);
    const wrong = [
      undefined,
      null,
      5,
      [],
      { ...session, userId: '' },
      { ...session, email: 5 },
      { ...session, roles: 'user' },
      { ...session, roles: [5] },
      { ...session, isAdmin: true },
      { ...session, data: new Date() },
    ];
    for (const answer of wrong) {
      await expectRefused(() => invoke(sessions, 'update', id, () => answer));
    }
    await expectRefused(() => invoke(sessions, 'update', id, 'fn'));
    expect((await client.get(`session/${id}`)).version.equals(before.version)).toBe(true);
  });

  test('what is no session is named and left as it is', async () => {
    const id = await create();
    for (const text of ['', '5', 'null', '[]', '{}', '{"userId":"a","email":"b","roles":[1]}']) {
      await client.put(`session/${id}`, text);
      await expect(sessions.get(id)).rejects.toThrow(CorruptionError);
      await expect(sessions.validate(id)).rejects.toThrow(`session/${id}`);
      await expect(sessions.update(id, (old) => old)).rejects.toThrow(CorruptionError);
      expect((await client.get(`session/${id}`)).text()).toBe(text);
    }
  });

  test('texts that cannot be ids are those of no session, and reach no other key', async () => {
    await client.put('session/x', 'secret');
    for (const id of [
      '',
      'x',
      '../x',
      'a/b',
      '__proto__',
      'constructor',
      'y'.repeat(23),
      '\ud800',
    ]) {
      expect(await sessions.get(id)).toBeNull();
      expect(await sessions.validate(id)).toBe(false);
      expect(await sessions.destroy(id)).toBe(false);
      expect(await sessions.update(id, (old) => old)).toBe(false);
    }
    expect(await keysOf(client)).toEqual(['session/x']);
    for (const id of [undefined, null, 5, {}, ['x']]) {
      for (const method of ['get', 'validate', 'destroy']) {
        await expectRefused(() => invoke(sessions, method, id));
      }
      await expectRefused(() => invoke(sessions, 'update', id, () => undefined));
    }
  });

  test('names and data that look like something else come back as they were', async () => {
    const data: unknown = JSON.parse(
      '{"__proto__":{"admin":true},"constructor":1,"a/b":["\\u0000"]}',
    );
    const roles = ['__proto__', 'constructor', 'a/b', '日本語'];
    const id = await sessions.create('toString', '__proto__', roles, { data });
    const found = await sessions.get(id);
    expect(found?.roles).toEqual(roles);
    expect(JSON.stringify(found?.data)).toBe(JSON.stringify(data));
    expect(Reflect.get({}, 'admin')).toBeUndefined();
  });

  test('bad input is refused, and nothing is written', async () => {
    for (const ttlMs of badCounts) {
      await expectRefused(() => Reflect.construct(SessionManager, [client, ttlMs]));
      await expectRefused(() =>
        Reflect.construct(SessionManager, [client, minute, { absoluteTtlMs: ttlMs }]),
      );
    }
    for (const settings of [null, 5, [], { maxAge: 5 }]) {
      await expectRefused(() => Reflect.construct(SessionManager, [client, minute, settings]));
    }
    for (const name of badNames) {
      await expectRefused(() => invoke(sessions, 'create', name, 'a@example.com', []));
      await expectRefused(() => invoke(sessions, 'create', 'a', name, []));
      await expectRefused(() => invoke(sessions, 'create', 'a', 'a@example.com', [name]));
    }
    for (const roles of [undefined, null, 'user', {}, Array<string>(1_001).fill('a')]) {
      await expectRefused(() => invoke(sessions, 'create', 'a', 'a@example.com', roles));
    }
    const circle: unknown[] = [];
    circle.push(circle);
    const noData = [
      NaN,
      Infinity,
      1n,
      Symbol('x'),
      () => 1,
      new Date(),
      new Map(),
      circle,
      [undefined],
    ];
    for (const data of [...noData, { a: [{ b: NaN }] }, Array<number>(2)]) {
      await expectRefused(() => invoke(sessions, 'create', 'a', 'a@example.com', [], { data }));
    }
    for (const options of [...badOptions, { expires: 5 }]) {
      await expectRefused(() => invoke(sessions, 'create', 'a', 'a@example.com', [], options));
    }
    const id = 'x'.repeat(22);
    for (const options of badOptions) {
      for (const method of ['get', 'validate', 'destroy']) {
        await expectRefused(() => invoke(sessions, method, id, options));
      }
      await expectRefused(() => invoke(sessions, 'update', id, () => undefined, options));
    }
    const signal = AbortSignal.abort();
    await expect(sessions.create('a', 'b', [], { signal })).rejects.toThrow(CancelledError);
    await expect(sessions.get(id, { signal })).rejects.toThrow(CancelledError);
    await expect(sessions.destroy(id, { signal })).rejects.toThrow(CancelledError);
    expect(await keysOf(client)).toEqual([]);
    await expect(sessions.create('a', 'b', [], { data: 'x'.repeat(2 ** 20) })).rejects.toThrow(
      InvalidArgumentError,
    );
  });
});
