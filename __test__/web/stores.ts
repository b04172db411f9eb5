// What `__test__/api/stores.ts` is in a page: the same kinds of stores, behind servers that the program which drives the
// page starts for it (`server.cjs`). What a browser cannot have is in the table all the same, with why it is missing:
// the runner skips what is told of it, by name.
import { NoriKVClient } from '@norikv/client';
import type { CommonConfig } from '@norikv/client';
import { ours } from '../api/kind.js';
import type * as api from '../api/kind.js';

export type TestStore = api.TestStore;
/** A kind of store, or why it cannot be had. */
export interface Kind extends api.Kind {
  readonly missing?: string;
}

declare global {
  /** Set where there is no page. */
  var NORIKV_CONTROL: string | undefined;
}

/** Where the program that drives this page listens to it: its own origin, where there is one. */
function control(name: string): URL {
  return new URL(`/control/${name}`, globalThis.NORIKV_CONTROL ?? location.origin);
}

async function ask<T>(name: string, question: object): Promise<T> {
  const response = await fetch(control(name), { method: 'POST', body: JSON.stringify(question) });
  if (!response.ok) throw new Error(`${name}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

async function openRemote(holds: Kind['holds'], settings: CommonConfig): Promise<TestStore> {
  const { id, address } = await ask<{ id: number; address: string }>('open', { holds });
  const clients: NoriKVClient[] = [];
  const open = async (): Promise<NoriKVClient> => {
    const client = await NoriKVClient.open({ ...settings, nodes: [address] });
    clients.push(client);
    return client;
  };
  return {
    client: await open(),
    another: open,
    again: open,
    close: async () => {
      for (const client of clients.reverse()) await client.close();
      await ask('close', { id });
    },
  };
}

/** A namespace of a store that holds other keys, before and after it and with its prefix in them. */
async function openPart(settings: CommonConfig): Promise<TestStore> {
  const whole = await openRemote('memory', settings);
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

function inProcess(name: string, holds: Kind['holds']): Kind {
  const missing = `a browser has no ${name} store in the process`;
  return {
    ...ours,
    name,
    holds,
    remote: false,
    served: false,
    part: false,
    prefixBytes: 0,
    slow: true,
    missing,
    open: () => Promise.reject(new Error(missing)),
  };
}

export const served: Kind = {
  ...ours,
  name: 'a server of memory:',
  holds: 'memory',
  remote: true,
  served: true,
  part: false,
  prefixBytes: 0,
  slow: true,
  open: (settings = {}) => openRemote('memory', settings),
};

export const servedFile: Kind = {
  ...ours,
  name: 'a server of file:',
  holds: 'file',
  remote: true,
  served: true,
  part: false,
  prefixBytes: 0,
  slow: true,
  open: (settings = {}) => openRemote('file', settings),
};

export const namespace: Kind = {
  ...ours,
  name: 'a namespace',
  holds: 'memory',
  remote: true,
  served: true,
  part: true,
  prefixBytes: 'part/'.length,
  slow: true,
  open: (settings = {}) => openPart(settings),
};

/** The suites that take one of these by name want any store, and not one in the process. */
export const memory: Kind = served;
export const file: Kind = servedFile;

/** Every kind of store. */
export const kinds: readonly Kind[] = [
  inProcess('memory:', 'memory'),
  inProcess('file:', 'file'),
  served,
  servedFile,
  namespace,
];

/** Where an answer came by `fetch`, Node puts the frame of its queue before all others. */
export const strangeFrame = /\n\s+at process\.processTicksAndRejections .*/;
