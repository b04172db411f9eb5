// The store that an example runs on, as its flags say:
//   --nodes host:port,…   servers
//   --store <address>     memory:, file:<directory>, host:port or etcd://host:port,…; without any flag memory:
import { parseArgs } from 'node:util';
import { NoriKVClient } from '@norikv/client';
import type { ClientConfig } from '@norikv/client';

/** What the flags ask for. */
export function storeConfig(): string | ClientConfig {
  const { nodes, store } = parseArgs({
    options: { nodes: { type: 'string' }, store: { type: 'string' } },
  }).values;
  if (nodes !== undefined && store !== undefined) {
    throw new Error('an example has one store: give it --nodes or --store');
  }
  return nodes === undefined ? (store ?? 'memory:') : { nodes: nodes.split(',') };
}

/** A client of that store, for `await using`. With `memory:` each has a store of its own. */
export async function openClient(): Promise<NoriKVClient> {
  return await NoriKVClient.open(storeConfig());
}
