import {
  AlreadyExistsError,
  InvalidArgumentError,
  LeaseLostError,
  NoriKVError,
  NotFoundError,
  UnavailableError,
  Version,
  op,
  xxhash64,
} from '@norikv/client';
import type { CallOptions, Entry, TxnOp } from '@norikv/client';
import { storeOf } from './configManager.js';
import type { ConfigManager } from './configManager.js';
import type { ConfigStore } from './configStore.js';
import { CONFLICT, Deadline } from './deadline.js';
import { DistributedLock } from './distributedLock.js';
import { writeGuarded } from './guarded.js';
import { corrupt, fromJson, isRecord } from './json.js';
import { checkName, describe, keyOf, partsOf, prefixOf, randomId } from './keys.js';
import { RELEASE_TIMEOUT_MS } from './leaseholder.js';
import { checkOptions } from './options.js';
import { repeat } from './repeat.js';

/** How much one transaction of a copy has at most: fewer ops and bytes than a store takes. */
const MAX_OPS = 100;
const MAX_BYTES = 2 * 1024 * 1024;

/** A state of a configuration that is kept. */
export interface Snapshot {
  readonly id: string;
  /** The version of the store that it shows. */
  readonly version: Version;
  /** How many settings it has. */
  readonly keys: number;
  /** When it was made, by the clock of who made it, in milliseconds since the Unix epoch. */
  readonly createdAt: number;
}

/** What is done while nobody else copies. */
interface Work {
  readonly lock: DistributedLock;
  readonly deadline: Deadline;
}

/**
 * States of a configuration to go back to.
 *
 * A snapshot is what the configuration was at one version of the store. It is a copy: the keys
 * `config-snapshot/<prefix>/of/<id>/<key>`, complete once `config-snapshot/<prefix>/made/<id>` is there. A restore writes a
 * copy of it beside what is in force, which nobody looks at, and then puts it in force with one write. Whoever sets a value
 * meanwhile does so before that write, and it is gone with all that was in force; or after it, and it stays.
 *
 * Snapshots and restores of one configuration come one after the other, by a lock.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { ConfigManager, SnapshotManager } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using config = new ConfigManager(client, 'app');
 * const snapshots = new SnapshotManager(config);
 *
 * await config.set('api/timeout', 30);
 * await snapshots.createSnapshot('before');
 * await config.set('api/timeout', 1);
 * await config.set('api/retries', 99);
 * await snapshots.restoreSnapshot('before');
 * console.log([...(await config.getAll())].join()); // api/timeout,30
 * ```
 */
export class SnapshotManager {
  readonly #store: ConfigStore;

  /** @param config - Stays the caller's to close. @throws `InvalidArgumentError`. */
  constructor(config: ConfigManager) {
    this.#store = storeOf(config);
  }

  /**
   * Keeps what the configuration is now.
   *
   * @param id - 1 to 256 bytes, or a whole number, which stands for its digits.
   * @throws `AlreadyExistsError` if there is a snapshot with that id; `LeaseLostError` if the process stood still meanwhile;
   *   `InvalidArgumentError`; what the client throws. What was copied by then is removed, by the next with the same id if not
   *   at once.
   */
  async createSnapshot(id: string | number, options?: CallOptions): Promise<Snapshot> {
    const name = checkId(id);
    const { client } = this.#store;
    const madeKey = this.#madeKey(name);
    return await this.#alone(`the snapshot "${name}"`, options, async (work) => {
      const made = await client.getOrNull(madeKey, work.deadline.call);
      if (made !== null) throw exists(name, made);
      // What an attempt that died has left.
      await this.#do(work, [op.deleteRange({ prefix: this.#prefixOf(name) })]);
      // One version, and which generation was in force then.
      const reading = await client.txn().then(op.get(this.#store.atKey)).commit(work.deadline.call);
      const { version } = reading;
      const from = this.#store.prefixOf(this.#store.generationOf(reading.results[0] ?? null));
      const entries = await client.scan({ prefix: from, version, ...work.deadline.call }).toArray();
      const to = this.#prefixOf(name);
      return await this.#orRemove(work, to, async () => {
        await this.#copy(work, entries, from, to);
        const about = { version, keys: entries.length, createdAt: Date.now() };
        const value = JSON.stringify({ ...about, by: randomId() });
        const written = await writeGuarded(
          client,
          { key: madeKey, current: null, value },
          work.deadline,
          { compares: [work.lock.guard()] },
        );
        if (written === CONFLICT) throw lost(work);
        return { id: name, ...about };
      });
    });
  }

  /**
   * Makes the configuration what it was: all of it at once, however many settings there are. Settings that came later are gone.
   * The reads of the same `ConfigManager` see it from then on, and others as soon as their watch tells.
   *
   * @throws `NotFoundError` if there is no such snapshot; `LeaseLostError` if the process stood still meanwhile, when nothing
   *   was restored; `InvalidArgumentError`; what the client throws.
   */
  async restoreSnapshot(id: string | number, options?: CallOptions): Promise<Snapshot> {
    const name = checkId(id);
    const { client, atKey, allPrefix } = this.#store;
    return await this.#alone(`restoring the snapshot "${name}"`, options, async (work) => {
      const [made = null, at = null] = await client.getMany(
        [this.#madeKey(name), atKey],
        work.deadline.call,
      );
      if (made === null) throw new NotFoundError(`there is no snapshot "${name}"`);
      const snapshot = decode(name, made);
      const old = this.#store.prefixOf(this.#store.generationOf(at));
      // What is there beside it, attempts that died have left. The byte after "/" is "0".
      await this.#do(work, [
        op.deleteRange({ start: allPrefix, end: old }),
        op.deleteRange({ start: `${old.slice(0, -1)}0`, end: `${allPrefix.slice(0, -1)}0` }),
      ]);
      const from = this.#prefixOf(name);
      const entries = await client.scan({ prefix: from, ...work.deadline.call }).toArray();
      if (entries.length !== snapshot.keys) {
        throw corrupt(made, `it says ${snapshot.keys} settings, and there are ${entries.length}`);
      }
      const generation = randomId();
      const to = this.#store.prefixOf(generation);
      return await this.#orRemove(work, to, async () => {
        await this.#copy(work, entries, from, to);
        const written = await writeGuarded(
          client,
          { key: atKey, current: at, value: JSON.stringify({ generation, snapshot: name }) },
          work.deadline,
          { compares: [work.lock.guard()], ops: [op.deleteRange({ prefix: old })] },
        );
        if (written === CONFLICT) throw lost(work);
        this.#store.wrote(written);
        return snapshot;
      });
    });
  }

  /** The snapshots there are, in the order of their ids: one scan. @throws `CorruptionError`; what the client throws. */
  async list(options: CallOptions = {}): Promise<readonly Snapshot[]> {
    checkOptions(options);
    const { client, prefix } = this.#store;
    const made = prefixOf('config-snapshot', prefix, 'made');
    const { call } = new Deadline('listing snapshots', options);
    const entries = await client.scan({ prefix: made, ...call }).toArray();
    return entries.map((entry) => decode(idOf(entry), entry));
  }

  /** Deletes a snapshot: `true` if it was there. @throws `InvalidArgumentError`; what the client throws. */
  async delete(id: string | number, options?: CallOptions): Promise<boolean> {
    const name = checkId(id);
    return await this.#alone(`deleting the snapshot "${name}"`, options, async (work) => {
      const made = this.#madeKey(name);
      const there = (await this.#store.client.getOrNull(made, work.deadline.call)) !== null;
      await this.#do(work, [op.delete(made), op.deleteRange({ prefix: this.#prefixOf(name) })]);
      return there;
    });
  }

  /** Does `work` while nobody else copies anything of this configuration. */
  async #alone<T>(
    what: string,
    options: CallOptions | undefined,
    work: (work: Work) => Promise<T>,
  ): Promise<T> {
    checkOptions(options);
    const deadline = new Deadline(what, options);
    const { client, prefix } = this.#store;
    await using lock = new DistributedLock(client, { key: lockName(prefix) });
    return await lock.withLock(() => work({ lock, deadline }), {
      signal: deadline.signal,
      timeoutMs: deadline.leftMs,
    });
  }

  /** Copies entries to another prefix. To repeat a part of it changes nothing, so a lost reply is asked for again. */
  async #copy(work: Work, entries: readonly Entry[], from: string, to: string): Promise<void> {
    let ops: TxnOp[] = [];
    let bytes = 0;
    for (const entry of entries) {
      if (ops.length === MAX_OPS || (ops.length > 0 && bytes + entry.value.length > MAX_BYTES)) {
        await this.#do(work, ops);
        ops = [];
        bytes = 0;
      }
      ops.push(op.put(`${to}${entry.keyText().slice(from.length)}`, entry.value));
      bytes += entry.value.length;
    }
    if (ops.length > 0) await this.#do(work, ops);
  }

  /** Does what may be done twice, while the lock is held. */
  async #do(work: Work, ops: readonly TxnOp[]): Promise<void> {
    const { lock, deadline } = work;
    const txn = this.#store.client
      .txn()
      .if(lock.guard())
      .then(...ops);
    const { succeeded } = await repeat(() => txn.commit(deadline.call), deadline);
    if (!succeeded) throw lost(work);
  }

  /** Does `copying`; if that fails, removes what it has copied, in a time of its own. */
  async #orRemove<T>({ lock }: Work, prefix: string, copying: () => Promise<T>): Promise<T> {
    try {
      return await copying();
    } catch (error) {
      // A write whose outcome is not known may have made the copy the one that counts.
      if (!(error instanceof NoriKVError && error.outcome === 'unknown') && lock.isHeld()) {
        const deadline = new Deadline('removing a copy', { timeoutMs: RELEASE_TIMEOUT_MS });
        // What cannot be removed now, the next attempt removes.
        await this.#do({ lock, deadline }, [op.deleteRange({ prefix })]).catch(() => undefined);
      }
      throw error;
    }
  }

  #madeKey(id: string): string {
    return keyOf('config-snapshot', this.#store.prefix, 'made', id);
  }

  #prefixOf(id: string): string {
    return prefixOf('config-snapshot', this.#store.prefix, 'of', id);
  }
}

/** Two prefixes with one hash wait for each other, and no more than that; a name may be too long for the name of a lock. */
function lockName(prefix: string): string {
  return `config-snapshot ${xxhash64(prefix).toString(16)}`;
}

function checkId(given: unknown): string {
  const whole = typeof given === 'number' && Number.isSafeInteger(given) && given >= 0;
  if (typeof given === 'number' && !whole) {
    throw new InvalidArgumentError(
      `the id of a snapshot is text or a whole number from 0; got ${describe(given)}`,
    );
  }
  return checkName(whole ? String(given) : given, 'the id of a snapshot');
}

function idOf(made: Entry): string {
  return partsOf(made.keyText())[3] ?? '';
}

/** What an entry says of a snapshot. @throws `CorruptionError`. */
function decode(id: string, made: Entry): Snapshot {
  const found = fromJson(made);
  if (isRecord(found)) {
    const { version, keys, createdAt } = found;
    const isVersion = typeof version === 'string' && /^\d+\.\d+$/.test(version);
    if (isVersion && typeof keys === 'number' && typeof createdAt === 'number') {
      return { id, version: Version.parse(version), keys, createdAt };
    }
  }
  throw corrupt(made, `it is ${describe(found)}`);
}

function exists(id: string, made: Entry): AlreadyExistsError {
  const message = `there is a snapshot "${id}" already: delete it first, or take another id`;
  return new AlreadyExistsError(message, { key: made.key, actual: made.version });
}

/** Why a write under the lock was refused. */
function lost({ lock }: Work): NoriKVError {
  if (lock.isHeld()) {
    return new UnavailableError(
      'the configuration was changed meanwhile by something that does not take its lock; try again',
    );
  }
  return new LeaseLostError('the lock of the snapshots was lost meanwhile; try again', {
    lease: 0n,
  });
}
