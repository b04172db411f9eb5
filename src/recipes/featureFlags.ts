import { CorruptionError, InvalidArgumentError, xxhash64 } from '@norikv/client';
import type { CallOptions, Version } from '@norikv/client';
import { storeOf } from './configManager.js';
import type { ConfigManager } from './configManager.js';
import { checkPath } from './configStore.js';
import { isRecord } from './json.js';
import { checkName, describe, keyOf } from './keys.js';
import { checkFields, checkOptions } from './options.js';

/** Whom a flag is on for. */
export interface Rollout {
  /** For how many of 100 users: a number from 0 to 100. Who is among them stays among more. */
  readonly percentage: number;
  /** For these in any case. */
  readonly users?: readonly string[] | undefined;
  /** For these in no case. */
  readonly except?: readonly string[] | undefined;
}

/** What a flag is: on or off for all, or on for some. */
export type Flag = boolean | Rollout;

/** Options of {@link FeatureFlags.isEnabled}. */
export interface IsEnabledOptions extends CallOptions {
  /** Whom it is asked for: 1 to 256 bytes. Needed for flags that are on for some. */
  readonly user?: string | undefined;
  /** What a flag that is not there is. Without it, that is a `KeyNotFoundError`. */
  readonly default?: boolean | undefined;
}

const FIELDS = ['percentage', 'users', 'except'] as const;

/**
 * Flags that switch features on and off, for all or for some users, in every process at once.
 *
 * A flag is the setting `features/<name>` of a configuration: `true`, `false`, or `{ percentage, users, except }`. Whether a
 * user is among the percentage says the xxHash64 of the flag's name and the user: always the same, and for each flag another.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { ConfigManager, FeatureFlags } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using config = new ConfigManager(client, 'app');
 * const flags = new FeatureFlags(config);
 *
 * await flags.enable('new-ui');
 * console.log(await flags.isEnabled('new-ui')); // true
 * await flags.setRollout('new-ui', { percentage: 10, users: ['ada'] });
 * console.log(await flags.isEnabled('new-ui', { user: 'ada' })); // true
 * console.log(await flags.isEnabled('dark-mode', { default: false })); // false
 * ```
 */
export class FeatureFlags {
  readonly #config: ConfigManager;

  /** @param config - Stays the caller's to close. @throws `InvalidArgumentError`. */
  constructor(config: ConfigManager) {
    storeOf(config);
    this.#config = config;
  }

  /** Switches a flag on for all. @throws As `ConfigManager.set`. */
  async enable(name: string, options?: CallOptions): Promise<Version> {
    return await this.#config.set(settingOf(name), true, options);
  }

  /** Switches a flag off for all. @throws As `ConfigManager.set`. */
  async disable(name: string, options?: CallOptions): Promise<Version> {
    return await this.#config.set(settingOf(name), false, options);
  }

  /** Switches a flag on for some. @throws As `ConfigManager.set`. */
  async setRollout(name: string, rollout: Rollout, options?: CallOptions): Promise<Version> {
    const setting = settingOf(name);
    return await this.#config.set(setting, { ...checkRollout(rollout) }, options);
  }

  /**
   * Whether a flag is on, without a round trip as a read of a setting is.
   *
   * @throws `KeyNotFoundError` if there is no such flag and no default; `InvalidArgumentError` if it is on for some and no user
   *   was given; `CorruptionError` if it is no flag. No error makes a flag off.
   */
  async isEnabled(name: string, options: IsEnabledOptions = {}): Promise<boolean> {
    const setting = settingOf(name);
    checkOptions(options, 'user', 'default');
    const { user, ...get } = options;
    if (user !== undefined) checkName(user, 'a user');
    if (get.default !== undefined && typeof get.default !== 'boolean') {
      const message = `the default of a flag is true or false; got ${describe(get.default)}`;
      throw new InvalidArgumentError(message);
    }
    const flag = asFlag(setting, await this.#config.get(setting, get));
    if (typeof flag === 'boolean') return flag;
    if (user === undefined) {
      const message = `the flag "${name}" is on for some users: say whom it is asked for, as { user }`;
      throw new InvalidArgumentError(message);
    }
    const { percentage, users = [], except = [] } = flag;
    if (except.includes(user)) return false;
    return users.includes(user) || placeOf(name, user) < percentage;
  }

  /** All flags by their names, in the order of the names. @throws As {@link FeatureFlags.isEnabled}. */
  async getAllFlags(options?: CallOptions): Promise<ReadonlyMap<string, Flag>> {
    const settings = await this.#config.getAll('features', options);
    return new Map(
      [...settings].map(([key, value]) => [key.slice('features/'.length), asFlag(key, value)]),
    );
  }
}

function settingOf(name: string): string {
  return `features/${checkPath(name, 'the name of a flag')}`;
}

/** Where a user stands among the users of a flag: from 0 up to and without 100, evenly. */
function placeOf(name: string, user: string): number {
  // The 53 bits that a number can say exactly.
  return (Number(xxhash64(keyOf(name, user)) >> 11n) / 2 ** 53) * 100;
}

function checkRollout(given: unknown): Rollout {
  if (!isRecord(given)) {
    throw new InvalidArgumentError(
      `a rollout is an object, like { percentage: 10 }; got ${describe(given)}`,
    );
  }
  checkFields(given, 'the fields of a rollout', FIELDS);
  const { percentage } = given;
  if (typeof percentage !== 'number' || !(percentage >= 0 && percentage <= 100)) {
    throw new InvalidArgumentError(
      `the percentage of a rollout is a number from 0 to 100; got ${describe(percentage)}`,
    );
  }
  const users = checkUsers(given.users, 'users');
  const except = checkUsers(given.except, 'except');
  const both = users?.find((user) => except?.includes(user));
  if (both !== undefined) {
    const message = `${describe(both)} is among users and except: a flag is either on or off for a user`;
    throw new InvalidArgumentError(message);
  }
  return {
    percentage,
    ...(users === undefined ? {} : { users }),
    ...(except === undefined ? {} : { except }),
  };
}

function checkUsers(given: unknown, what: string): readonly string[] | undefined {
  if (given === undefined) return undefined;
  if (!Array.isArray(given)) {
    throw new InvalidArgumentError(
      `${what} of a rollout is an array of users; got ${describe(given)}`,
    );
  }
  return Array.from(given, (user: unknown) => checkName(user, 'a user'));
}

/** The flag that a setting is. @throws `CorruptionError`. */
function asFlag(key: string, value: unknown): Flag {
  if (typeof value === 'boolean') return value;
  try {
    return checkRollout(value);
  } catch (cause) {
    const message = `the setting "${key}" is no flag, but ${describe(value)}; enable, disable or delete it`;
    throw new CorruptionError(message, { cause });
  }
}
