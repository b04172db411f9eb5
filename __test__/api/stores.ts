// The stores that the suites of this folder run against. They get their clients here and nowhere else, so that the
// same suites run in a browser, where this file is another, and on etcd, with NORIKV_STORES=etcd. What only Node has is in
// `*.node.test.ts`.
import type { CommonConfig } from '@norikv/client';
import { startServer } from '@norikv/client/server';
import { etcd, servedEtcd } from '../etcd/stores';
import { ours } from './kind';
import type { Kind, TestStore } from './kind';
import { World } from './world';

export type { Kind, TestStore } from './kind';

async function openEmbedded(holds: 'memory' | 'file', settings: CommonConfig): Promise<TestStore> {
  const world = new World();
  const address = holds === 'memory' ? 'memory:' : `file:${await world.directory()}`;
  const client = await world.client({ ...settings, address });
  return {
    client,
    another: () => Promise.resolve(client),
    again: () => world.client({ ...settings, address }),
    close: () => world.close(),
  };
}

async function openRemote(holds: 'memory' | 'file', settings: CommonConfig): Promise<TestStore> {
  const world = new World();
  const store = holds === 'memory' ? 'memory:' : `file:${await world.directory()}`;
  const server = await startServer({ store, listen: '127.0.0.1:0' });
  world.later(() => server.stop());
  const config = { ...settings, nodes: [server.address] };
  return {
    client: await world.client(config),
    another: () => world.client(config),
    again: () => world.client(config),
    close: () => world.close(),
  };
}

/** A namespace of a store that holds other keys, before and after it and with its prefix in them. */
async function openPart(settings: CommonConfig): Promise<TestStore> {
  const whole = await openEmbedded('memory', settings);
  const names = ['a', 'part', 'part.', 'part0'];
  await Promise.all(names.map((name) => whole.client.put(name, 'not yours')));
  const client = whole.client.namespace('part/');
  return {
    client,
    whole: whole.client,
    another: () => Promise.resolve(client),
    again: async () => (await whole.again()).namespace('part/'),
    close: () => whole.close(),
  };
}

const kind = (
  name: string,
  holds: 'memory' | 'file',
  served: boolean,
  open: (settings: CommonConfig) => Promise<TestStore>,
): Kind => ({
  ...ours,
  name,
  holds,
  remote: served,
  served,
  part: false,
  prefixBytes: 0,
  slow: holds === 'file',
  open: (settings = {}) => open(settings),
});

const inMemory = kind('memory:', 'memory', false, (settings) => openEmbedded('memory', settings));
const onDisk = kind('file:', 'file', false, (settings) => openEmbedded('file', settings));
const servedInMemory = kind('a server of memory:', 'memory', true, (settings) =>
  openRemote('memory', settings),
);
const servedOnDisk = kind('a server of file:', 'file', true, (settings) =>
  openRemote('file', settings),
);
const inNamespace: Kind = {
  ...kind('a namespace', 'memory', false, openPart),
  part: true,
  prefixBytes: 'part/'.length,
};

/** Whether the suites run on etcd. */
export const onEtcd = process.env.NORIKV_STORES === 'etcd';

/** Every kind of store. */
export const kinds: readonly Kind[] = onEtcd
  ? [etcd, servedEtcd]
  : [inMemory, onDisk, servedInMemory, servedOnDisk, inNamespace];

// On etcd, the suites that take one of these by name get what is most like it.
export const memory: Kind = onEtcd ? etcd : inMemory;
export const file: Kind = onEtcd ? etcd : onDisk;
export const served: Kind = onEtcd ? servedEtcd : servedInMemory;
export const servedFile: Kind = onEtcd ? servedEtcd : servedOnDisk;

/** The frame before all others that is neither the client's nor its caller's: there is none. */
export const strangeFrame = /(?!)/;
