import type { Server, ServerOptions } from '../server.js';
import { nodeBinding } from './binding.js';
import { describe } from './bytes.js';
import { settingsJson } from './config.js';
import { InvalidArgumentError } from './errors.js';
import type { NoriKVError } from './errors.js';
import { ReplyReader } from './reply.js';
import { cutStack } from './stack.js';

/** Starts a server in this process. The core judges the options. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const given: unknown = options;
  if (typeof given !== 'object' || given === null) {
    const error = new InvalidArgumentError(
      `a server takes { store, listen }; got ${describe(given)}`,
    );
    cutStack(error, startServer);
    throw error;
  }
  const started = await nodeBinding().startServer(settingsJson(options));
  if (started instanceof Uint8Array) throw errorOf(started);
  const { id, address } = started;
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= stopServer(id));
  return { address, stop, [Symbol.asyncDispose]: stop };
}

async function stopServer(id: number): Promise<void> {
  const failed = await nodeBinding().stopServer(id);
  if (failed !== null) throw errorOf(failed);
}

function errorOf(frame: Uint8Array): NoriKVError {
  const error = new ReplyReader(frame).failure().toError(startServer);
  cutStack(error, startServer);
  return error;
}
