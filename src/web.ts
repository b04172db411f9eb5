import type { EphemeralNoriKV as PublicEphemeral } from '../index.js';
import type { Binding } from './binding.js';
import { useBinding } from './binding.js';
import * as errors from './errors.js';
import { cutStack } from './stack.js';
import * as core from './web/norikv.js';

export { bytesToString, keyToBytes, stringToBytes, valueToBytes } from './bytes.js';
export { NoriKVClient, createClient } from './client.js';
export { compare } from './compare.js';
export { ConsistencyLevel } from './consistency.js';
export * from './errors.js';
export { op } from './op.js';
export { getShardForKey, initializeHasher, jumpConsistentHash, xxhash64 } from './placement.js';
export { retryPolicy } from './retry.js';
export { Version } from './version.js';

/** What a read at once answers in a browser: its stores are all elsewhere. */
const NOT_NOW = -1;

const binding: Binding = {
  version: () => core.version(),
  createClient: (config, _page, deliver) =>
    core.createClient(config, (replies: Uint8Array) => {
      try {
        deliver(replies);
      } catch (error) {
        // The core has no use for it; the page is to see it.
        queueMicrotask(() => {
          throw error;
        });
      }
    }) as number | Uint8Array,
  destroyClient: (client) => {
    core.destroyClient(client);
  },
  submit: (client, calls) => {
    if (calls.length > 0) core.submit(client, calls);
  },
  // Nothing keeps a page alive, and nothing has to let it go.
  release: () => undefined,
  getNow: () => NOT_NOW,
  leaseLeft: (client, lease) => core.leaseLeft(client, lease),
  stats: (client) => core.stats(client) ?? null,
  clusterView: (client) => core.clusterView(client) ?? null,
  xxhash64: (key) => core.xxhash64(key),
  jumpConsistentHash: (hash, buckets) => core.jumpConsistentHash(hash, buckets),
};

useBinding(binding);

// Minifiers shorten the names of classes, here and in whatever this is bundled into; an error's name is what it prints.
for (const [name, error] of Object.entries(errors)) {
  Object.defineProperty(error, 'name', { value: name, configurable: true });
}

function noServers(caller: (...args: never[]) => unknown): errors.UnsupportedError {
  const error = new errors.UnsupportedError(
    'a browser cannot start a server; start one with norikv serve, and give its address',
  );
  cutStack(error, caller);
  return error;
}

/** What a browser does not have: a server inside the process. */
export class EphemeralNoriKV implements PublicEphemeral {
  get address(): string {
    throw noServers(createEphemeral);
  }

  start(): Promise<void> {
    return Promise.reject(noServers(EphemeralNoriKV.prototype.start));
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  getClient(): never {
    throw noServers(EphemeralNoriKV.prototype.getClient);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** What a browser does not have. */
export function createEphemeral(): Promise<EphemeralNoriKV> {
  return Promise.reject(noServers(createEphemeral));
}
