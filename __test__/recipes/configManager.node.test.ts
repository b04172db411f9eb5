// Only Node has the proxy that loses replies and keeps a server away.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { KeyNotFoundError, NoriKVClient, UnavailableError } from '@norikv/client';
import { ConfigManager, FeatureFlags, SnapshotManager } from '@norikv/client/recipes';
import type { Proxy } from '../faults/proxy';
import { gated } from './gate';
import type { Gated } from './gate';
import { remote } from './remote';
import type { Remote } from './remote';

let store: Remote;
let proxy: Proxy;
let client: NoriKVClient;
let other: NoriKVClient;
let gate: Gated;
let config: ConfigManager;
let theirs: ConfigManager;

beforeEach(async () => {
  store = await remote();
  ({ proxy } = store);
  client = await NoriKVClient.open(store.through);
  other = await NoriKVClient.open(store.address);
  gate = gated(client);
  config = new ConfigManager(gate.client, 'app');
  theirs = new ConfigManager(other, 'app');
});
afterEach(async () => {
  await config.close();
  await theirs.close();
  await Promise.all([client.close(), other.close()]);
  await store.stop();
});

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5));
}

const theirA = (): Promise<unknown> =>
  theirs.get('a', { default: undefined }).catch(() => undefined);

test('a set whose reply was lost takes effect once (the naive repeat writes over what came since)', async () => {
  await config.set('a', 'before');
  store.holdReplies();
  const setting = config.set('a', 'ours');
  await until(async () => (await theirA()) === 'ours');
  await theirs.set('a', 'later');
  proxy.cut();
  await setting;
  expect(await theirA()).toBe('later');
  expect(await config.get('a')).toBe('later');
});

test('a delete whose reply was lost says that it deleted, and is seen by the next read', async () => {
  await config.set('a', 1);
  store.holdReplies();
  const deleting = config.delete('a');
  await until(async () => (await theirA()) === undefined);
  proxy.cut();
  expect(await deleting).toBe(true);
  await expect(config.get('a')).rejects.toThrow(KeyNotFoundError);
});

/** The client gives the next transaction up after it took place. */
const giveUp = (meanwhile: () => Promise<unknown> = () => Promise.resolve()): void => {
  gate.afterNext('commit', async () => {
    await meanwhile();
    throw new UnavailableError('the reply was lost', { outcome: 'unknown' });
  });
};

test('listeners hear what comes after a delete whose reply was lost, though nobody reads', async () => {
  const heard: unknown[] = [];
  await config.watch('a', (_key, _old, value) => heard.push(value));
  await config.set('a', 1);
  giveUp();
  expect(await config.delete('a')).toBe(true);
  await theirs.set('a', 2);
  await until(() => heard.length === 3);
  expect(heard).toEqual([1, undefined, 2]);
});

test('a set whose reply was lost does not write over what came after a restore', async () => {
  const snapshots = new SnapshotManager(theirs);
  await config.set('a', 'old');
  await snapshots.createSnapshot('s');
  giveUp(async () => {
    await until(async () => (await theirA()) === 'ours');
    await snapshots.restoreSnapshot('s');
    await theirs.set('a', 'later');
  });
  const set = config.set('a', 'ours');
  await expect(set).rejects.toMatchObject({ outcome: 'unknown' });
  expect(await theirA()).toBe('later');
  expect(await config.get('a')).toBe('later');
});

test('a set that the connection lost does not write over what came after a restore', async () => {
  const snapshots = new SnapshotManager(theirs);
  await config.set('a', 'old');
  await snapshots.createSnapshot('s');
  store.holdReplies();
  const setting = config.set('a', 'ours').catch((error: unknown) => error);
  await until(async () => (await theirA()) === 'ours');
  await snapshots.restoreSnapshot('s');
  await theirs.set('a', 'later');
  proxy.cut();
  await setting;
  expect(await theirA()).toBe('later');
});

test('a restore whose last reply was lost is done once', async () => {
  const snapshots = new SnapshotManager(config);
  await config.set('a', 'old');
  await snapshots.createSnapshot('s');
  await config.set('a', 'new');
  // The lock, the clearing away, the copy; the fourth puts it in force.
  for (let step = 0; step < 3; step++) gate.beforeNext('commit', () => Promise.resolve());
  gate.beforeNext('commit', () => {
    store.holdReplies();
    void until(async () => (await theirA()) === 'old').then(async () => {
      await theirs.set('a', 'after the restore');
      proxy.cut();
    });
    return Promise.resolve();
  });
  await snapshots.restoreSnapshot('s');
  expect(await config.get('a')).toBe('after the restore');
});

test('while the store is away settings and flags are what they were, and no flag is off', async () => {
  const flags = new FeatureFlags(config);
  await flags.enable('new-ui');
  await config.set('a', 1);
  expect(await config.get('a')).toBe(1);
  await proxy.stop();
  await theirs.set('a', 2);
  expect(await flags.isEnabled('new-ui')).toBe(true);
  expect(await config.get('a')).toBe(1);
  await expect(config.set('a', 3, { timeoutMs: 200 })).rejects.toThrow();
  await proxy.accept();
  await until(async () => (await config.get('a')) === 2);
});
