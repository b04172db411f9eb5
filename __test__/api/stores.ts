// The stores that the suites of this folder run against. They get their clients here and nowhere else, so that the
// same suites run in a browser once this file is another. What only Node has is in `*.node.test.ts`.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NoriKVClient } from '@norikv/client';
import type { CommonConfig } from '@norikv/client';
import { startServer } from '@norikv/client/server';

/** A store of its own, empty, and gone with `close`. */
export interface TestStore {
  /** A client of it. */
  readonly client: NoriKVClient;
  /** The client of the whole store, where `client` is that of a part of it. */
  readonly whole?: NoriKVClient;
  /** Another client of the same data: over a connection of its own where there are connections. */
  another(): Promise<NoriKVClient>;
  /** A client of the same data, after the first was closed. */
  again(): Promise<NoriKVClient>;
  /** Closes its clients, and removes what is left. */
  close(): Promise<void>;
}

/** A kind of store. */
export interface Kind {
  readonly name: string;
  /** Where its data is. */
  readonly holds: 'memory' | 'file';
  /** Whether calls go over a network. */
  readonly remote: boolean;
  /** Whether the client sees a part of its store only. */
  readonly part: boolean;
  /** Whether a call takes long: for the `fsync` of each write, or for the `fetch` of each call in a browser. */
  readonly slow: boolean;
  open(settings?: CommonConfig): Promise<TestStore>;
}

/** What is opened for a test, closed in the opposite order. */
class World {
  readonly #closing: (() => Promise<unknown>)[] = [];

  later(close: () => Promise<unknown>): void {
    this.#closing.push(close);
  }

  async client(config: ConstructorParameters<typeof NoriKVClient>[0]): Promise<NoriKVClient> {
    const client = await NoriKVClient.open(config);
    this.later(() => client.close());
    return client;
  }

  async directory(): Promise<string> {
    const directory = await mkdtemp(join(tmpdir(), 'norikv-test-'));
    this.later(() => rm(directory, { recursive: true, force: true }));
    return directory;
  }

  async close(): Promise<void> {
    for (let close = this.#closing.pop(); close !== undefined; close = this.#closing.pop()) {
      await close();
    }
  }
}

async function openEmbedded(holds: Kind['holds'], settings: CommonConfig): Promise<TestStore> {
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

async function openRemote(holds: Kind['holds'], settings: CommonConfig): Promise<TestStore> {
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

export const memory: Kind = {
  name: 'memory:',
  holds: 'memory',
  remote: false,
  part: false,
  slow: false,
  open: (settings = {}) => openEmbedded('memory', settings),
};

export const file: Kind = {
  name: 'file:',
  holds: 'file',
  remote: false,
  part: false,
  slow: true,
  open: (settings = {}) => openEmbedded('file', settings),
};

export const served: Kind = {
  name: 'a server of memory:',
  holds: 'memory',
  remote: true,
  part: false,
  slow: false,
  open: (settings = {}) => openRemote('memory', settings),
};

export const servedFile: Kind = {
  name: 'a server of file:',
  holds: 'file',
  remote: true,
  part: false,
  slow: true,
  open: (settings = {}) => openRemote('file', settings),
};

export const namespace: Kind = {
  name: 'a namespace',
  holds: 'memory',
  remote: false,
  part: true,
  slow: false,
  open: (settings = {}) => openPart(settings),
};

/** Every kind of store. */
export const kinds: readonly Kind[] = [memory, file, served, servedFile, namespace];

/** The frame before all others that is neither the client's nor its caller's: there is none. */
export const strangeFrame = /(?!)/;
