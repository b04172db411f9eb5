import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  AlreadyExistsError,
  CorruptionError,
  InvalidArgumentError,
  NotFoundError,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { ConfigManager, SnapshotManager } from '@norikv/client/recipes';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';
import type { Gated } from './gate';

/** More settings than one transaction takes. */
const MANY = 250;

describe.each([memory, servedFile])('SnapshotManager on $name', (kind) => {
  let store: TestStore;
  let gate: Gated;
  let other: NoriKVClient;
  let config: ConfigManager;
  let snapshots: SnapshotManager;
  let theirs: ConfigManager;

  beforeEach(async () => {
    store = await kind.open();
    gate = gated(store.client);
    other = await store.another();
    config = new ConfigManager(gate.client, 'app');
    snapshots = new SnapshotManager(config);
    theirs = new ConfigManager(other, 'app');
  });
  afterEach(async () => {
    await config.close();
    await theirs.close();
    await store.close();
  });

  async function setMany(value: string): Promise<void> {
    await theirs.getAll();
    await Promise.all(Array.from({ length: MANY }, (_, at) => theirs.set(`many/${at}`, value)));
  }

  async function all(of = config): Promise<Record<string, unknown>> {
    return Object.fromEntries(await of.getAll());
  }

  /** The different values there are. */
  async function values(of: ConfigManager): Promise<unknown[]> {
    return [...new Set((await of.getAll()).values())];
  }

  test('a restore brings back what was there, and removes what came later (the naive one leaves it)', async () => {
    await config.set('a', 1);
    await config.set('b/c', { x: [1] });
    const made = await snapshots.createSnapshot(1);
    expect(made).toMatchObject({ id: '1', keys: 2 });
    await config.set('a', 2);
    await config.delete('b/c');
    await config.set('later', true);
    expect(await snapshots.restoreSnapshot('1')).toEqual(made);
    expect(await all()).toEqual({ a: 1, 'b/c': { x: [1] } });
    await config.set('a', 3);
    expect(await all()).toEqual({ a: 3, 'b/c': { x: [1] } });
    await snapshots.restoreSnapshot(1);
    expect(await all()).toEqual({ a: 1, 'b/c': { x: [1] } });
  });

  test('many settings are restored at once: nobody sees some old and some new (the naive one writes them one by one)', async () => {
    await setMany('old');
    await snapshots.createSnapshot('s');
    await setMany('new');
    const seen: unknown[][] = [];
    await theirs.watch({ prefix: 'many' }, () => void values(theirs).then((now) => seen.push(now)));
    const during: unknown[][] = [];
    // After each step: also after each part of the copy.
    for (let step = 0; step < 6; step++) {
      gate.afterNext('commit', async () => {
        during.push(await values(theirs));
      });
    }
    await snapshots.restoreSnapshot('s');
    expect(during.length).toBe(6);
    expect(await values(config)).toEqual(['old']);
    while ((await values(theirs))[0] !== 'old') await pause();
    while (seen.length < MANY) await pause();
    for (const now of [...seen, ...during]) expect(now).toHaveLength(1);
  });

  test('a restore is told to watchers as the changes that it makes, each once', async () => {
    await config.set('same', 1);
    await config.set('other', 1);
    await snapshots.createSnapshot('s');
    await config.set('other', 2);
    await config.set('later', 3);
    const told: unknown[] = [];
    await config.watch('same', () => told.push('same'));
    for (const key of ['other', 'later']) {
      await config.watch(key, (...change) => told.push(change));
    }
    await snapshots.restoreSnapshot('s');
    await config.getAll();
    expect(told).toHaveLength(2);
    expect(told).toEqual(
      expect.arrayContaining([
        ['other', 2, 1],
        ['later', 3, undefined],
      ]),
    );
  });

  test('who sets while it is restored does so before it or after it, and never into the middle', async () => {
    await setMany('old');
    await snapshots.createSnapshot('s');
    // Of the steps the lock is the first: each is followed by a set.
    let at = 0;
    const setters = 6;
    for (let step = 0; step < setters; step++) {
      gate.afterNext('commit', () => theirs.set(`during/${at++}`, 'set'));
    }
    await snapshots.restoreSnapshot('s');
    await theirs.set('after', 'set');
    const found = Object.keys(await all(theirs)).filter((key) => !key.startsWith('many/'));
    // What came before the last step, which is the switch, is gone with all that was; what came after it is there.
    expect(found.sort()).toEqual(['after', `during/${setters - 1}`]);
    expect(await all()).toEqual(await all(theirs));
    const generations = await other.scan({ prefix: 'config/app/in/' }).toArray();
    expect(new Set(generations.map((entry) => entry.keyText().split('/')[3])).size).toBe(1);
  });

  test('a snapshot is one version: what is set while it is read is not in it (the naive one reads setting by setting)', async () => {
    await setMany('old');
    const late = new Proxy(gate.client, {
      get(of, name): unknown {
        if (name !== 'scan') return Reflect.get(of, name, of) as unknown;
        return (...args: Parameters<NoriKVClient['scan']>) => ({
          toArray: async () => {
            await theirs.set('many/7', 'new');
            await theirs.delete('many/8');
            await theirs.set('more', 'new');
            return await of.scan(...args).toArray();
          },
        });
      },
    });
    await using reader = new ConfigManager(late, 'app');
    const made = await new SnapshotManager(reader).createSnapshot('s');
    expect(made.keys).toBe(MANY);
    await snapshots.restoreSnapshot('s');
    expect(await values(config)).toEqual(['old']);
    expect((await config.getAll()).size).toBe(MANY);
  });

  test('a snapshot takes 9 calls, a restore 8, and each one more for each 100 settings', async () => {
    await setMany('old');
    await config.getAll();
    const calls = async (work: () => Promise<unknown>): Promise<number> => {
      const before = store.client.getStats().requests.total;
      await work();
      return store.client.getStats().requests.total - before;
    };
    // A lock that is held for more than 50 ms is watched, which is one more.
    expect([9 + 3, 9 + 4]).toContain(await calls(() => snapshots.createSnapshot('s')));
    expect([8 + 3, 8 + 4]).toContain(await calls(() => snapshots.restoreSnapshot('s')));
    expect([6, 7]).toContain(await calls(() => snapshots.delete('s')));
  });

  test('an attempt that died is no snapshot and no restore, and the next one clears it away', async () => {
    await setMany('old');
    await snapshots.createSnapshot('good');
    const keys = await other.count({ prefix: '' });
    // The process dies after the first part of the copy: neither this nor anything after it comes.
    const dying = async (call: (manager: SnapshotManager) => Promise<unknown>): Promise<void> => {
      const dead = gated(store.client);
      const die = (): Promise<never> => Promise.reject(new Error('dead'));
      // The lock, the clearing away, and what is read or copied first.
      for (let step = 0; step < 3; step++) dead.afterNext('commit', () => Promise.resolve());
      dead.afterNext('commit', die);
      for (let step = 0; step < 4; step++) dead.beforeNext('commit', () => Promise.resolve());
      for (let step = 0; step < 20; step++) dead.beforeNext('commit', die);
      await using manager = new ConfigManager(dead.client, 'app');
      await expect(call(new SnapshotManager(manager))).rejects.toThrow('dead');
    };
    await dying((manager) => manager.createSnapshot('bad'));
    expect((await snapshots.list()).map(({ id }) => id)).toEqual(['good']);
    await expect(snapshots.restoreSnapshot('bad')).rejects.toThrow(NotFoundError);
    await dying((manager) => manager.restoreSnapshot('good'));
    expect(await values(config)).toEqual(['old']);
    expect(await other.count({ prefix: '' })).toBeGreaterThan(keys);
    await snapshots.createSnapshot('bad');
    expect(await snapshots.delete('bad')).toBe(true);
    await snapshots.restoreSnapshot('good');
    // The pointer is there by now.
    expect(await other.count({ prefix: '' })).toBe(keys + 1);
  });

  test('two at once come one after the other', async () => {
    await config.set('a', 1);
    await snapshots.createSnapshot('one');
    await config.set('a', 2);
    const second = new SnapshotManager(theirs);
    const made = await Promise.allSettled([
      snapshots.createSnapshot('two'),
      second.createSnapshot('two'),
    ]);
    expect(made.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    await Promise.all([snapshots.restoreSnapshot('one'), second.restoreSnapshot('two')]);
    expect([1, 2]).toContain(await config.get('a'));
    expect((await other.scan({ prefix: 'config/app/in/' }).toArray()).length).toBe(1);
  });

  test('an id is used once, snapshots are listed, and deleted with all they hold', async () => {
    const empty = await other.count({ prefix: '' });
    await config.set('a', 1);
    const strange = ['constructor', 'a/b', '__proto__', 'ключ', '%'];
    for (const id of strange) await snapshots.createSnapshot(id);
    await expect(snapshots.createSnapshot('a/b')).rejects.toThrow(AlreadyExistsError);
    expect((await snapshots.list()).map(({ id }) => id).sort()).toEqual([...strange].sort());
    for (const id of strange) expect(await snapshots.delete(id)).toBe(true);
    expect(await snapshots.delete('a/b')).toBe(false);
    expect(await snapshots.list()).toEqual([]);
    await config.delete('a');
    expect(await other.count({ prefix: '' })).toBe(empty);
  });

  test('what is not there or not whole is an error, and changes nothing', async () => {
    await config.set('a', 1);
    await expect(snapshots.restoreSnapshot('nothing')).rejects.toThrow(NotFoundError);
    await snapshots.createSnapshot('s');
    await other.delete('config-snapshot/app/of/s/a');
    await expect(snapshots.restoreSnapshot('s')).rejects.toThrow(CorruptionError);
    await other.put('config-snapshot/app/made/s', '[]');
    await expect(snapshots.list()).rejects.toThrow(CorruptionError);
    expect(await all()).toEqual({ a: 1 });
  });

  test('bad input is refused, and nothing is written', async () => {
    for (const id of ['', '\ud800', 'x'.repeat(257), -1, 1.5, NaN, null, undefined, {}]) {
      const bad = id as string;
      await expect(snapshots.createSnapshot(bad)).rejects.toThrow(InvalidArgumentError);
      await expect(snapshots.restoreSnapshot(bad)).rejects.toThrow(InvalidArgumentError);
      await expect(snapshots.delete(bad)).rejects.toThrow(InvalidArgumentError);
    }
    for (const not of [null, {}, other]) {
      const bad = not as ConfigManager;
      expect(() => new SnapshotManager(bad)).toThrow(InvalidArgumentError);
    }
    expect(await other.count({ prefix: '' })).toBe(0);
  });
});

async function pause(ms = 2): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
