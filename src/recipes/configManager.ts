import { InvalidArgumentError, KeyNotFoundError, NoriKVError, stringToBytes } from '@norikv/client';
import type { CallOptions, Entry, NoriKVClient, Version } from '@norikv/client';
import { callEach, throwUncaught } from './callbacks.js';
import type { Unsubscribe } from './callbacks.js';
import { ConfigStore, checkPath } from './configStore.js';
import type { Change } from './configStore.js';
import { Deadline } from './deadline.js';
import { fromJson, toJson } from './json.js';
import { describe } from './keys.js';
import { checkFunction, checkOptions } from './options.js';

/** Options of a read of one setting. */
export interface ConfigGetOptions<T> extends CallOptions {
  /** What a setting that is not there is. Without it, that is a `KeyNotFoundError`. */
  readonly default?: T | undefined;
}

/** What is followed: one setting, or all whose keys begin with these parts. */
export type ConfigRange = string | { readonly prefix: string };

/** Hears a change: the values before and after it, `undefined` for none. */
export type ConfigListener = (key: string, oldValue: unknown, newValue: unknown) => void;

/** Options of {@link ConfigManager.watch}. */
export interface ConfigWatchOptions extends CallOptions {
  /**
   * Hears what went wrong: a value that is not JSON (its change is not told), or a watch that ended and is begun again after a
   * pause of up to 5 seconds. Default: thrown where uncaught errors go.
   */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/** A setting is not of the type that was asked for. Its `code` is `INVALID_ARGUMENT`. */
export class ConfigTypeError extends NoriKVError {
  /** The key of the setting. */
  readonly key: string;
  /** What was asked for. */
  readonly wanted: string;
  /** What it is. */
  readonly found: string;

  constructor(message: string, details: { key: string; wanted: string; found: string }) {
    super('INVALID_ARGUMENT', message);
    this.name = 'ConfigTypeError';
    this.key = details.key;
    this.wanted = details.wanted;
    this.found = details.found;
  }
}

/** The store of each manager, for recipes that are built on one. */
const stores = new WeakMap<ConfigManager, ConfigStore>();

/** The store of a manager. @throws `InvalidArgumentError` if it is none. */
export function storeOf(config: ConfigManager): ConfigStore {
  const store = stores.get(config);
  if (store !== undefined) return store;
  throw new InvalidArgumentError(`a ConfigManager is needed; got ${describe(config)}`);
}

/**
 * Settings that many processes share: each reads them from its own memory, which a watch keeps fresh, and hears of changes.
 *
 * Settings are JSON values, by keys of parts with `/` between them. A read is answered without a round trip once the first has
 * read all; it is as fresh as the watch, and never older than what the same object has written. The last write wins.
 *
 * A value is the key `config/<prefix>/in/<generation>/<key>`, each part escaped; the generation is `0`, unless the key
 * `config/<prefix>/at` says another, as it does once a snapshot was restored.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { ConfigManager } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using config = new ConfigManager(client, 'app');
 * await config.set('database/port', 5432);
 * console.log(await config.getInt('database/port')); // 5432
 * console.log(await config.getString('database/host', { default: 'localhost' })); // localhost
 *
 * await config.watch({ prefix: 'database' }, (key, oldValue, newValue) => {
 *   console.log(`${key}: ${String(oldValue)} is now ${String(newValue)}`);
 * });
 * await config.set('database/port', 5433);
 * console.log([...(await config.getAll('database'))].join()); // database/port,5433
 * ```
 */
export class ConfigManager implements AsyncDisposable {
  readonly #store: ConfigStore;

  /**
   * @param prefix - Sets this configuration apart from others: 1 to 256 bytes. It is one part of the keys, whatever is in it.
   * @throws `InvalidArgumentError`.
   */
  constructor(client: NoriKVClient, prefix: string) {
    this.#store = new ConfigStore(client, prefix);
    stores.set(this, this.#store);
  }

  /**
   * Sets a value, whatever was there; answers the version of the write. One round trip.
   *
   * @param value - What JSON can say: `null`, booleans, finite numbers, text, arrays and plain objects of these.
   * @throws `InvalidArgumentError`; `ClosedError`; `RetryExhaustedError` if snapshots were restored all the time; what the
   *   client throws.
   */
  async set(key: string, value: unknown, options?: CallOptions): Promise<Version> {
    checkPath(key, 'the key of a setting');
    checkOptions(options);
    const text = toJson(value, `the value of ${describe(key)}`);
    return await this.#store.write(key, text, new Deadline(`setting "${key}"`, options));
  }

  /**
   * The value of a setting.
   *
   * @throws `KeyNotFoundError` if it is not there and there is no default; `CorruptionError` if it is not JSON; `ClosedError`;
   *   what the client throws where it has to be asked.
   */
  async get(key: string, options?: ConfigGetOptions<unknown>): Promise<unknown> {
    checkPath(key, 'the key of a setting');
    checkOptions(options, 'default');
    const current = await this.#store.read(new Deadline(`reading "${key}"`, options));
    const entry = current.get(key);
    if (entry !== undefined) return fromJson(entry);
    if (options?.default !== undefined) return options.default;
    const message = `there is no setting "${key}"; set it, or give a default`;
    throw new KeyNotFoundError(message, { key: stringToBytes(key) });
  }

  /** The text of a setting. @throws As {@link ConfigManager.get}; {@link ConfigTypeError} if it is not text. */
  async getString(key: string, options?: ConfigGetOptions<string>): Promise<string> {
    const value = await this.get(key, options);
    if (typeof value === 'string') return value;
    throw wrongType(key, 'text', value);
  }

  /**
   * The whole number of a setting. Text is none, whatever is in it.
   *
   * @throws As {@link ConfigManager.get}; {@link ConfigTypeError} if it is not a whole number from -(2^53 - 1) to 2^53 - 1.
   */
  async getInt(key: string, options?: ConfigGetOptions<number>): Promise<number> {
    const value = await this.get(key, options);
    if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
    throw wrongType(key, 'a whole number', value);
  }

  /** Whether a setting is true. @throws As {@link ConfigManager.get}; {@link ConfigTypeError} if it is not `true` or `false`. */
  async getBool(key: string, options?: ConfigGetOptions<boolean>): Promise<boolean> {
    const value = await this.get(key, options);
    if (typeof value === 'boolean') return value;
    throw wrongType(key, 'true or false', value);
  }

  /**
   * All settings by their keys, in the order of the keys; with a prefix, those whose keys begin with its parts, which
   * `database-2/host` does not with `database`.
   *
   * @throws `CorruptionError` if one is not JSON; otherwise as {@link ConfigManager.get}.
   */
  async getAll(prefix?: string, options?: CallOptions): Promise<ReadonlyMap<string, unknown>> {
    if (prefix !== undefined) checkPath(prefix, 'a prefix of settings');
    checkOptions(options);
    const current = await this.#store.read(new Deadline('reading all settings', options));
    const found = [...current].filter(([key]) => prefix === undefined || isUnder(key, prefix));
    found.sort(([one], [other]) => (one < other ? -1 : 1));
    return new Map(found.map(([key, entry]) => [key, fromJson(entry)]));
  }

  /** Deletes a setting: `true` if it was there. One round trip. @throws As {@link ConfigManager.set}. */
  async delete(key: string, options?: CallOptions): Promise<boolean> {
    checkPath(key, 'the key of a setting');
    checkOptions(options);
    return await this.#store.write(key, null, new Deadline(`deleting "${key}"`, options));
  }

  /**
   * Tells each change of a setting, or of all under a prefix, that comes after this was answered; answers how to stop. A value
   * that is set to what it is does not change. What the listener throws is thrown where uncaught errors go.
   *
   * @throws `InvalidArgumentError`; `ClosedError`; what the client throws.
   */
  async watch(
    range: ConfigRange,
    listener: ConfigListener,
    options: ConfigWatchOptions = {},
  ): Promise<Unsubscribe> {
    const matches = matcher(range);
    checkFunction(listener, 'a listener');
    checkOptions(options, 'onError');
    const { onError = throwUncaught } = options;
    checkFunction(onError, 'onError');
    const failed = (error: unknown): void => {
      callEach([onError], error);
    };
    const changed = ({ path, before, after }: Change): void => {
      if (!matches(path)) return;
      try {
        const [oldValue, newValue] = [valueOf(before, true), valueOf(after, false)];
        if (JSON.stringify(oldValue) === JSON.stringify(newValue)) return;
        callEach([listener], path, oldValue, newValue);
      } catch (error) {
        failed(error);
      }
    };
    return await this.#store.follow({ changed, failed }, new Deadline('watching', options));
  }

  /** Ends its watch, and forgets everything; the settings stay in the store. Closing twice is closing once. */
  async close(): Promise<void> {
    await this.#store.close();
  }

  /** The same as {@link ConfigManager.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** @param lenient - Whether what is not JSON is as good as nothing: it was told when it came. */
function valueOf(entry: Entry | null, lenient: boolean): unknown {
  if (entry === null) return undefined;
  try {
    return fromJson(entry);
  } catch (error) {
    if (lenient) return undefined;
    throw error;
  }
}

function matcher(range: ConfigRange): (key: string) => boolean {
  const given: unknown = range;
  if (typeof given === 'object' && given !== null) {
    const strange = Object.keys(given).find((name) => name !== 'prefix');
    if (strange !== undefined) {
      throw new InvalidArgumentError(
        `what is watched is a key, or { prefix }; it has no ${describe(strange)}`,
      );
    }
    const prefix = checkPath(Reflect.get(given, 'prefix'), 'a prefix of settings');
    return (key) => isUnder(key, prefix);
  }
  const path = checkPath(range, 'the key of a setting');
  return (key) => key === path;
}

function isUnder(key: string, prefix: string): boolean {
  return key.startsWith(`${prefix}/`);
}

function wrongType(key: string, wanted: string, value: unknown): ConfigTypeError {
  const found = describe(value);
  const message = `the setting "${key}" is ${found}, and ${wanted} was asked for; set it to that, or read it as what it is`;
  return new ConfigTypeError(message, { key, wanted, found });
}
