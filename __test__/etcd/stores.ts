// The stores on etcd: directly, and through a server of ours. Each file of tests has one etcd, and each store a prefix in it.
import { afterAll } from '@jest/globals';
import type { CommonConfig } from '@norikv/client';
import { startServer } from '@norikv/client/server';
import type { Kind, Rules, TestStore } from '../api/kind';
import { World } from '../api/world';
import { Cluster } from './cluster';

/** The prefix of the store of that number: all are as long. */
const prefixOf = (number: number): string => `t${String(number).padStart(4, '0')}/`;

let started: Promise<Cluster> | undefined;
let opened = 0;

/** The etcd of this file of tests, which ends with it. */
export function sharedEtcd(): Promise<Cluster> {
  started ??= Cluster.start();
  return started;
}

afterAll(async () => {
  await (await started)?.stop();
});

/** A prefix of this etcd that nobody else has. */
export function freshPrefix(): string {
  return prefixOf(++opened);
}

async function openDirect(settings: CommonConfig): Promise<TestStore> {
  const world = new World();
  const address = (await sharedEtcd()).address(freshPrefix());
  const open = (): Promise<TestStore['client']> => world.client({ ...settings, address });
  return { client: await open(), another: open, again: open, close: () => world.close() };
}

async function openServed(settings: CommonConfig): Promise<TestStore> {
  const world = new World();
  const store = (await sharedEtcd()).address(freshPrefix());
  const server = await startServer({ store, listen: '127.0.0.1:0' });
  world.later(() => server.stop());
  const open = (): Promise<TestStore['client']> =>
    world.client({ ...settings, nodes: [server.address] });
  return { client: await open(), another: open, again: open, close: () => world.close() };
}

/** What holds of etcd: times in whole seconds, no reasons, and no more bytes in a call than it takes by default. */
const rules: Rules = {
  timeUnitMs: 1000,
  lateMs: 2500,
  reasons: false,
  vectors: false,
  maxTxnBytes: 1.5 * 1024 * 1024,
};

export const etcd: Kind = {
  ...rules,
  name: 'etcd://',
  holds: 'etcd',
  remote: true,
  served: false,
  part: false,
  prefixBytes: prefixOf(0).length,
  slow: true,
  open: (settings = {}) => openDirect(settings),
};

export const servedEtcd: Kind = {
  ...etcd,
  name: 'a server of etcd://',
  served: true,
  vectors: true,
  open: (settings = {}) => openServed(settings),
};
