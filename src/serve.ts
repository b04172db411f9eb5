import type { Server, ServerOptions } from '../server.js';
import { nodeBinding } from './binding.js';
import { bytesToString, describe } from './bytes.js';
import { InvalidArgumentError } from './errors.js';
import type { NoriKVError } from './errors.js';
import { ReplyReader } from './reply.js';
import { cutStack } from './stack.js';
import type { Caller } from './stack.js';

/** The longest interval of a timer. What it does is keep the process alive. */
const LONGEST_MS = 0x7fff_ffff;

/** Starts a server in this process, which it keeps alive until the server is stopped. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { address, stop } = await launch(options, startServer);
  const alive = setInterval(() => undefined, LONGEST_MS);
  const end = async (): Promise<void> => {
    await stop().finally(() => {
      clearInterval(alive);
    });
  };
  return { address, stop: end, [Symbol.asyncDispose]: end };
}

/** Starts a server in this process. The core judges the options. */
export async function launch(options: ServerOptions, caller: Caller): Promise<Server> {
  const given: unknown = options;
  if (typeof given !== 'object' || given === null) {
    const error = new InvalidArgumentError(
      `a server takes { store, listen }; got ${describe(given)}`,
    );
    cutStack(error, caller);
    throw error;
  }
  const started = await nodeBinding().startServer(settingsJson(options));
  if (started instanceof Uint8Array) throw errorOf(started, caller);
  const { id, address } = started;
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= stopServer(id));
  return { address, stop, [Symbol.asyncDispose]: stop };
}

async function stopServer(id: number): Promise<void> {
  const failed = await nodeBinding().stopServer(id);
  if (failed !== null) throw errorOf(failed, stopServer);
}

function errorOf(frame: Uint8Array, caller: Caller): NoriKVError {
  return new ReplyReader(frame).failure().toError(caller);
}

/** Settings as JSON. What JSON has no word for stands there as text, which the core refuses with its name. */
function settingsJson(settings: object): string {
  return JSON.stringify(settings, function (this: Record<string, unknown>, name, value: unknown) {
    // What may be a key is not shown.
    if (name === 'tls' && typeof value !== 'object') return [describe(value)];
    // A Buffer says of itself something else in JSON before it is asked about here.
    const given = this[name];
    if (given instanceof Uint8Array) return bytesToString(given);
    switch (typeof value) {
      case 'number':
        return Number.isFinite(value) ? value : String(value);
      case 'bigint':
      case 'function':
      case 'symbol':
        return describe(value);
      default:
        return value;
    }
  });
}
