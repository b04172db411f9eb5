import {
  AlreadyExistsError,
  InvalidArgumentError,
  UnsupportedError,
  VersionMismatchError,
  bytesToString,
  compare,
  keyToBytes,
  op,
  valueToBytes,
} from '@norikv/client';
import type {
  CallOptions,
  Entry,
  Key,
  NoriKVClient,
  OpDeleteOptions,
  OpPutOptions,
  TxnOp,
  Value,
  Version,
} from '@norikv/client';
import { CONFLICT, Deadline } from './deadline.js';
import { isRecord } from './json.js';
import { describe } from './keys.js';
import { dataPrefix, isUnlimited, tenantKey, usageKey } from './tenant.js';
import type { TenantMetadata } from './tenant.js';
import { afterwards, countUsage, nameOf, readUsage, writeUsage } from './tenantUsage.js';
import { Turns } from './turns.js';

/** A tenant, and the entry that says so. */
export interface Known {
  readonly entry: Entry;
  readonly tenant: TenantMetadata;
}

/** The most changes of one `TenantClient.write`. */
const MAX_CHANGES = 100;

/** A part of a `TenantClient.write`. */
export type TenantChange =
  | ({ readonly put: Key; readonly value: Value } & Omit<
      OpPutOptions,
      'prevEntry' | 'idempotencyKey'
    >)
  | ({ readonly delete: Key } & Omit<OpDeleteOptions, 'idempotencyKey'>);

/** A change of one key, as it is carried out. */
export interface Step {
  readonly key: Uint8Array;
  /** `null` for a delete. */
  readonly value: Uint8Array | null;
  readonly options: OpPutOptions;
}

/** What carrying out has come to. */
export interface Written {
  readonly version: Version;
  /** What each step answered; a put with `read` the entry that was there before, too. */
  readonly results: readonly unknown[];
}

/** Writes for a tenant, and counts what it has in the same transaction. */
export class TenantWriter {
  readonly #client: NoriKVClient;
  readonly #id: string;
  readonly #key: string;
  readonly #prefix: Uint8Array;
  readonly #current: (deadline: Deadline) => Promise<Known>;
  readonly #turns = new Turns();

  /** @param current - The tenant as it is known, if it may do something. */
  constructor(
    client: NoriKVClient,
    tenantId: string,
    current: (deadline: Deadline) => Promise<Known>,
  ) {
    this.#client = client;
    this.#id = tenantId;
    this.#key = tenantKey(tenantId);
    this.#prefix = keyToBytes(dataPrefix(tenantId));
    this.#current = current;
  }

  /** Carries steps out, all of them or none, in a transaction with what they change of what the tenant has. */
  async write(steps: readonly Step[], options: CallOptions, read = false): Promise<Written> {
    const deadline = new Deadline(`the write of tenant ${describe(this.#id)}`, options);
    if (isUnlimited((await this.#current(deadline)).tenant.limits)) {
      return await deadline.retry(() => this.#attempt(steps, deadline, read, false));
    }
    // One after the other: at once, they would only meet each other.
    await this.#turns.take(deadline);
    try {
      return await deadline.retry(() => this.#attempt(steps, deadline, read, false));
    } finally {
      this.#turns.give();
    }
  }

  async #attempt(
    steps: readonly Step[],
    deadline: Deadline,
    read: boolean,
    exact: boolean,
  ): Promise<Written | typeof CONFLICT> {
    const { entry, tenant } = await this.#current(deadline);
    const limited = !isUnlimited(tenant.limits);
    if (limited && steps.some(({ options }) => options.idempotencyKey !== undefined)) {
      throw uncounted(
        this.#id,
        'an idempotencyKey',
        'a repeat that changes nothing looks like a write',
      );
    }
    const keys = steps.map(({ key }) => this.#full(key));
    const [usageEntry = null, stored = null, ...before] = limited
      ? await this.#client.getMany([usageKey(this.#id), this.#key, ...keys], deadline.call)
      : [];
    // Another plan than the one that is there may refuse what this one allows: the watch has not told of it yet.
    if (limited && stored?.version.equals(entry.version) !== true) return CONFLICT;
    const compares = [compare(this.#key).version.equals(entry.version)];
    const ops: TxnOp[] = steps.map(({ value, options }, at) => {
      const full = keys[at] ?? '';
      if (value === null) return op.delete(full, options);
      return op.put(full, value, { ...withLease(options), prevEntry: read });
    });
    if (limited) {
      const count = exact ? countUsage : readUsage;
      const usage = await count(this.#client, this.#id, usageEntry, deadline, keys);
      const changes = steps.map(({ key, value, options }, at) => {
        const { lengths } = usage;
        const length = lengths ? lengths.get(nameOf(keys[at] ?? key)) : before[at]?.value.length;
        return {
          before: length === undefined ? null : key.length + length,
          after: value === null ? null : key.length + value.length,
          expiring: options.ttlMs !== undefined || options.lease !== undefined,
        };
      });
      const after = afterwards(tenant, usage, changes);
      // Something may have expired that is still counted.
      if (after === 'count') return await this.#attempt(steps, deadline, read, true);
      compares.push(usage.unchanged);
      ops.push(...writeUsage(this.#id, usage, after));
    }
    try {
      const { succeeded, version, results } = await this.#client
        .txn()
        .if(...compares)
        .then(...ops)
        .commit(deadline.call);
      if (!succeeded) return CONFLICT;
      return { version, results };
    } catch (error) {
      throw this.#ownKeys(error);
    }
  }

  /** The key in the whole store. */
  #full(key: Uint8Array): Uint8Array {
    const full = new Uint8Array(this.#prefix.length + key.length);
    full.set(this.#prefix);
    full.set(key, this.#prefix.length);
    return full;
  }

  /** An entry with the tenant's own key. */
  without(entry: Entry): Entry {
    const key = entry.key.slice(this.#prefix.length);
    return {
      ...entry,
      key,
      keyText: () => bytesToString(key),
      text: () => entry.text(),
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- as an entry has it
      json: <T>() => entry.json<T>(),
    };
  }

  /** What a transaction says of keys, said of the tenant's own. */
  #ownKeys(error: unknown): unknown {
    const of = (key: Uint8Array): Uint8Array => key.slice(this.#prefix.length);
    if (error instanceof VersionMismatchError) {
      const { expected, actual } = error;
      const key = of(error.key);
      const found = actual === null ? 'is missing' : `is at version ${String(actual)}`;
      const message = `${describe(bytesToString(key))} ${found}, not at ${String(expected)}; read it again and decide again`;
      return new VersionMismatchError(message, { key, expected, actual, cause: error });
    }
    if (error instanceof AlreadyExistsError) {
      const key = of(error.key);
      const message = `${describe(bytesToString(key))} is there, and the write asked for it not to be`;
      return new AlreadyExistsError(message, { key, actual: error.actual, cause: error });
    }
    return error;
  }
}

/** That a tenant with limits cannot have something. */
export function uncounted(tenantId: string, what: string, why?: string): UnsupportedError {
  const more = why === undefined ? '' : `: ${why}`;
  return new UnsupportedError(
    `tenant ${describe(tenantId)} has limits, and ${what} cannot be counted${more}`,
  );
}

/** The steps of changes. @throws `InvalidArgumentError` for what are none. */
export function stepsOf(changes: readonly TenantChange[]): Step[] {
  const given: unknown = changes;
  if (!Array.isArray(given) || given.length < 1 || given.length > MAX_CHANGES) {
    const found = Array.isArray(given) ? `${given.length} of them` : describe(given);
    throw new InvalidArgumentError(`changes are an array of 1 to ${MAX_CHANGES}; got ${found}`);
  }
  return given.map(stepOf);
}

function stepOf(change: unknown): Step {
  if (isRecord(change)) {
    const { put, value, delete: deleted, ...options } = change;
    if ('put' in change && 'value' in change && !('delete' in change)) {
      checkNames(options, ['ttlMs', 'ifNotExists', 'ifMatchVersion', 'lease']);
      return { key: keyToBytes(put as Key), value: valueToBytes(value as Value), options };
    }
    if ('delete' in change && !('put' in change) && !('value' in change)) {
      checkNames(options, ['ifMatchVersion']);
      return { key: keyToBytes(deleted as Key), value: null, options };
    }
  }
  throw new InvalidArgumentError('a change is { put: key, value, … } or { delete: key, … }');
}

function checkNames(given: object, names: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (names.includes(name)) continue;
    throw new InvalidArgumentError(`a change has no ${describe(name)}; it has ${names.join(', ')}`);
  }
}

/** That of a tenant is not the store's own, and stands for it. */
function withLease(options: OpPutOptions): OpPutOptions {
  const lease: unknown = options.lease;
  const id: unknown = isRecord(lease) ? Reflect.get(lease, 'id') : undefined;
  return typeof id === 'bigint' ? { ...options, lease: id } : options;
}
