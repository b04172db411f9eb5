import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EphemeralNoriKV as PublicEphemeral, EphemeralOptions } from '../index.js';
import type { Server } from '../server.js';
import { NoriKVClient } from './client.js';
import { EphemeralServerError } from './errors.js';
import { launch } from './serve.js';
import { cutStack } from './stack.js';
import type { Caller } from './stack.js';

/** What a running ephemeral server has. */
interface Running {
  readonly server: Server;
  readonly directory: string;
  readonly client: NoriKVClient;
}

/** A server inside this process, for tests: on a free loopback port, with a directory that `stop()` removes. */
export class EphemeralNoriKV implements PublicEphemeral {
  readonly #port: number;
  #starting: Promise<Running> | undefined;
  #running: Running | undefined;
  #stopping: Promise<void> = Promise.resolve();

  constructor(options: EphemeralOptions = {}) {
    this.#port = options.port ?? 0;
  }

  get address(): string {
    return this.#now(Object.getOwnPropertyDescriptor(EphemeralNoriKV.prototype, 'address')?.get)
      .server.address;
  }

  async start(): Promise<void> {
    if (this.#starting !== undefined) {
      const error = new EphemeralServerError('the ephemeral server was started already');
      cutStack(error, EphemeralNoriKV.prototype.start);
      throw error;
    }
    this.#starting = run(this.#port);
    try {
      this.#running = await this.#starting;
    } catch (error) {
      this.#starting = undefined;
      if (error instanceof Error) cutStack(error, EphemeralNoriKV.prototype.start);
      throw error;
    }
  }

  stop(): Promise<void> {
    const starting = this.#starting;
    this.#starting = undefined;
    this.#running = undefined;
    // Without a start since the last stop, this is the same stop.
    if (starting !== undefined) this.#stopping = end(starting);
    return this.#stopping;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  getClient(): NoriKVClient {
    return this.#now(EphemeralNoriKV.prototype.getClient).client;
  }

  #now(caller: Caller | undefined): Running {
    if (this.#running === undefined) {
      const error = new EphemeralServerError(
        'the ephemeral server is not running; await start() first',
      );
      if (caller !== undefined) cutStack(error, caller);
      throw error;
    }
    return this.#running;
  }
}

async function run(port: number): Promise<Running> {
  const directory = await mkdtemp(join(tmpdir(), 'norikv-'));
  try {
    const server = await launch(
      {
        store: `file:${directory}`,
        listen: `127.0.0.1:${port}`,
        durability: 'relaxed',
      },
      run,
    );
    return { server, directory, client: new NoriKVClient({ nodes: [server.address] }) };
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw new EphemeralServerError('the ephemeral server did not start', { cause: error });
  }
}

/** Ends all of it: what fails does not keep what comes after it from ending. */
async function end(starting: Promise<Running>): Promise<void> {
  const { server, directory, client } = await starting;
  try {
    await client.close();
  } finally {
    try {
      await server.stop();
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
}

/** Starts an ephemeral server. */
export async function createEphemeral(options?: EphemeralOptions): Promise<EphemeralNoriKV> {
  const server = new EphemeralNoriKV(options);
  try {
    await server.start();
  } catch (error) {
    if (error instanceof Error) cutStack(error, createEphemeral);
    throw error;
  }
  return server;
}
