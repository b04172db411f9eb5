// A store over a network, for Node: directly, and through a proxy that loses replies and keeps it away.
import type { AddressConfig, ClusterConfig } from '@norikv/client';
import { startServer } from '@norikv/client/server';
import type { Server } from '@norikv/client/server';
import { onEtcd } from '../api/stores';
import { addressOf } from '../etcd/cluster';
import { freshPrefix, sharedEtcd } from '../etcd/stores';
import { Proxy } from '../faults/proxy';

/** A store, and two ways to it. */
export interface Remote {
  readonly proxy: Proxy;
  /** What a client is opened with that goes through the proxy. */
  readonly through: AddressConfig | ClusterConfig;
  /** The address of the store itself. */
  readonly address: string;
  /** Keeps the replies to the next request that is about a key, and all after it. */
  holdReplies(): void;
  stop(): Promise<void>;
}

async function server(store: string): Promise<Remote> {
  const started: Server = await startServer({ store, listen: '127.0.0.1:0' });
  const proxy = await Proxy.start(started.address);
  return {
    proxy,
    through: { nodes: [proxy.address], watchCluster: false },
    address: started.address,
    holdReplies: () => {
      proxy.holdReplies();
    },
    async stop() {
      await proxy.stop();
      await started.stop();
    },
  };
}

/** Whether there is a key in it that begins so, and is not one that the store keeps for itself. */
function namesKey(request: Buffer, prefix: string): boolean {
  for (let at = request.indexOf(prefix); at >= 0; at = request.indexOf(prefix, at + 1)) {
    const first = request[at + prefix.length];
    if (first !== undefined && first > 0) return true;
  }
  return false;
}

/** One of its own: with vectors it is a server in any case, since etcd has none. */
export async function remote({ vectors = false } = {}): Promise<Remote> {
  if (!onEtcd) return await server('memory:');
  const [cluster, prefix] = [await sharedEtcd(), freshPrefix()];
  const address = cluster.address(prefix);
  if (vectors) return await server(address);
  const [endpoint = ''] = cluster.endpoints;
  const proxy = await Proxy.start(endpoint);
  const through = { address: addressOf([proxy.address], prefix) };
  return {
    proxy,
    through,
    address,
    // A write may begin with the grant of a lease, or with a look at what is remembered of its idempotency key: without the
    // replies to these there would be no write.
    holdReplies: () => {
      proxy.holdRepliesTo((request) => namesKey(request, prefix));
    },
    stop: () => proxy.stop(),
  };
}
