// A server behind a proxy that takes a reply away, for Node: what a client wrote took place, and it does not know.
import { NoriKVClient } from '@norikv/client';
import { gated } from './gate';
import { remote } from './remote';

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
  const store = await remote();
  const { proxy } = store;
  const client = await NoriKVClient.open(store.through);
  const near = await NoriKVClient.open(store.address);
  const gate = gated(client);

  return {
    far: gate.client,
    near,
    async lose(call, change, meanwhile = () => Promise.resolve()) {
      const watch = near.watch({ prefix: '' });
      await watch.ready;
      gate.beforeNext(call, () => {
        store.holdReplies();
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
      await store.stop();
    },
  };
}
