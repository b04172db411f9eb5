// A server behind a proxy that takes a reply away, for Node: what a client wrote took place, and it does not know.
import { NoriKVClient } from '@norikv/client';
import { startServer } from '@norikv/client/server';
import { Proxy } from '../faults/proxy';
import { gated } from './gate';

/** A server, and two ways to it. */
export interface Lossy {
  /** A client whose replies can be lost. */
  readonly far: NoriKVClient;
  /** A client that always reaches the server. */
  readonly near: NoriKVClient;
  /**
   * Runs `change`, and loses the reply to its next `call` after that took place; `meanwhile` happens before the connection
   * breaks and the change can be settled.
   */
  lose<T>(
    call: 'put' | 'commit' | 'delete' | 'deleteRange',
    change: () => Promise<T>,
    meanwhile?: () => Promise<unknown>,
  ): Promise<T>;
  close(): Promise<void>;
}

export async function lossy(): Promise<Lossy> {
  const server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
  const proxy = await Proxy.start(server.address);
  const client = await NoriKVClient.open({ nodes: [proxy.address], watchCluster: false });
  const near = await NoriKVClient.open(server.address);
  const gate = gated(client);

  return {
    far: gate.client,
    near,
    async lose(call, change, meanwhile = () => Promise.resolve()) {
      const watch = near.watch({ prefix: '' });
      await watch.ready;
      gate.beforeNext(call, () => {
        proxy.holdReplies();
        return Promise.resolve();
      });
      const changed = change();
      // Whatever comes of it is looked at below.
      changed.catch(() => undefined);
      await watch[Symbol.asyncIterator]().next();
      await watch.close();
      await meanwhile();
      proxy.cut();
      return await changed;
    },
    async close() {
      await client.close();
      await near.close();
      await proxy.stop();
      await server.stop();
    },
  };
}
