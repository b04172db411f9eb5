// What Node has for stores of tests: directories, servers, and an end to all of them.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NoriKVClient } from '@norikv/client';

/** What is opened for a test, closed in the opposite order. */
export class World {
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
