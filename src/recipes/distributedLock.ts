import { InvalidArgumentError } from '@norikv/client';
import type { CallOptions, Compare, Lease, NoriKVClient, Version } from '@norikv/client';
import { Deadline } from './deadline.js';
import { Hold, guardOf, unlockedMeanwhile } from './hold.js';
import { checkName, describe, prefixOf } from './keys.js';
import { DEFAULT_TTL_MS, Leaseholder } from './leaseholder.js';
import { checkFields } from './options.js';
import { Place } from './queue.js';
import type { Queue } from './queue.js';
import { Turns } from './turns.js';

/** What a {@link DistributedLock} is of. */
export interface DistributedLockOptions {
  /** The name of what is locked: 1 to 256 bytes. Locks of one name, wherever they are, exclude each other. */
  readonly key: string;
  /** How long the lock outlives a holder that died or was cut off, in milliseconds. Default 10,000. */
  readonly ttlMs?: number | undefined;
}

/** The queue of a lock. Whoever locks the same name stands in the same one. */
export function lockQueue(name: string, lease: Lease): Queue {
  return { prefix: prefixOf('lock', name), own: lease.id.toString(16), value: '' };
}

/**
 * Mutual exclusion between processes, in the order in which they came.
 *
 * Nobody else has the lock while {@link isHeld} says true: it counts the time by the holder's own clock, from when the last
 * keep-alive was sent, and a process that stood still finds out before it does anything else. What is done *in the store* with
 * the lock can go one step further: {@link guard} is a condition for the same transaction, and what is done *elsewhere* can
 * refuse a {@link token} that is older than one it has seen.
 *
 * The lock is the first of the keys `lock/<name>/<lease>`; the lease is kept, so that locking again takes one round trip, until
 * {@link close}.
 *
 * ```ts
 * import { NoriKVClient, op } from '@norikv/client';
 * import { DistributedLock } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using lock = new DistributedLock(client, { key: 'reports', ttlMs: 10_000 });
 * const written = await lock.withLock(async (signal) => {
 *   signal.throwIfAborted();
 *   const { succeeded } = await client.txn().if(lock.guard()).then(op.put('report', 'done')).commit();
 *   return succeeded;
 * });
 * console.log(written, lock.isHeld()); // true false
 * ```
 */
export class DistributedLock implements AsyncDisposable {
  readonly #client: NoriKVClient;
  readonly #name: string;
  readonly #holder: Leaseholder;
  readonly #turns = new Turns();
  #hold: Hold | undefined;

  /** @throws {@link InvalidArgumentError} for a key or a time that cannot be. */
  constructor(client: NoriKVClient, options: DistributedLockOptions) {
    const { key, ttlMs } = checkFields(options, 'the settings of a lock', ['key', 'ttlMs']);
    this.#client = client;
    this.#name = checkName(key, 'the key of a lock');
    this.#holder = new Leaseholder(client, ttlMs ?? DEFAULT_TTL_MS);
  }

  /**
   * Waits for the lock, and takes it; answers its fencing token. A second call on the same object waits as anybody else does,
   * until the first is unlocked, also if it was lost.
   * One round trip if nobody has it and the object has locked before.
   *
   * @param options - Without `timeoutMs` it waits for as long as it takes.
   * @throws `DeadlineExceededError` and `CancelledError`, after which the place in the queue is given up; `LeaseLostError`
   *   if the place was lost while it waited; `ResourceExhaustedError` where a thousand wait already.
   */
  async lock(options?: CallOptions): Promise<Version> {
    return (await this.#lock(options)).token;
  }

  async #lock(options: CallOptions | undefined): Promise<Hold> {
    const deadline = new Deadline(`locking "${this.#name}"`, options, Infinity);
    await this.#turns.take(deadline);
    try {
      const hold = await Hold.begin(this.#client, await this.#enter(deadline), deadline);
      this.#hold = hold;
      return hold;
    } catch (error) {
      this.#turns.give();
      throw error;
    }
  }

  /**
   * Takes the lock if nobody has it or waits for it; answers whether it did.
   *
   * @throws What the client throws.
   */
  async tryLock(options?: CallOptions): Promise<boolean> {
    const deadline = new Deadline(`locking "${this.#name}"`, options);
    if (!this.#turns.tryTake()) return false;
    try {
      const place = await this.#enter(deadline);
      if (place.isFirst) {
        this.#hold = await Hold.begin(this.#client, place, deadline);
        return true;
      }
      await place.leave();
    } catch (error) {
      this.#turns.give();
      throw error;
    }
    this.#turns.give();
    return false;
  }

  /**
   * Gives the lock back. It has 5 seconds for that, whatever went on before; where the store cannot be reached for so long, the
   * lock is free once its lease has run out. What is another's by now is left alone.
   *
   * @throws {@link InvalidArgumentError} if it was not locked; {@link LeaseLostError} if it was lost meanwhile.
   */
  async unlock(): Promise<void> {
    const hold = this.#hold;
    if (hold === undefined) {
      throw new InvalidArgumentError(
        `the lock "${this.#name}" is not held: lock it before unlocking`,
      );
    }
    await this.#giveBack(hold);
  }

  /**
   * Does `fn` with the lock held, and gives the lock back whatever comes of it.
   *
   * @param fn - Gets a signal that fires if the lock is lost; it has to stop then, since others go on.
   * @throws What {@link lock} throws; what `fn` throws; {@link LeaseLostError} if `fn` was done, and the lock lost meanwhile.
   */
  async withLock<T>(
    fn: (signal: AbortSignal) => T | Promise<T>,
    options?: CallOptions,
  ): Promise<T> {
    if (typeof fn !== 'function') {
      throw new InvalidArgumentError(`withLock takes a function; got ${describe(fn)}`);
    }
    const hold = await this.#lock(options);
    return await hold.during(fn, () => this.#giveBack(hold));
  }

  /** Whether this object holds the lock now. */
  isHeld(): boolean {
    return this.#hold?.isHeld === true;
  }

  /** The fencing token of the lock while it is held: greater than that of every holder before. `null` if it is not. */
  get token(): Version | null {
    return this.#hold?.isHeld === true ? this.#hold.token : null;
  }

  /**
   * Fires when the lock is lost, with a {@link LeaseLostError}, also because this object was closed; not when it is unlocked.
   * `null` if it is not held.
   */
  get signal(): AbortSignal | null {
    return this.#hold?.signal ?? null;
  }

  /**
   * A condition for a transaction of the same client: that the lock is still held by this very holding of it.
   *
   * @throws {@link InvalidArgumentError} if it is not held; {@link LeaseLostError} if it was lost.
   */
  guard(): Compare {
    return guardOf(this.#hold, `the lock "${this.#name}"`);
  }

  /** Gives everything back: the lock, and its lease. Closing twice is closing once. */
  async close(): Promise<void> {
    const hold = this.#hold;
    this.#hold = undefined;
    hold?.close(`the lock "${this.#name}"`);
    await this.#holder.close();
    if (hold !== undefined) this.#turns.give();
  }

  /** The same as {@link close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Gives this very holding back, and no other. */
  async #giveBack(hold: Hold): Promise<void> {
    if (this.#hold !== hold) throw hold.lost ?? unlockedMeanwhile(this.#name);
    this.#hold = undefined;
    try {
      await hold.release(`the lock "${this.#name}"`);
    } finally {
      this.#turns.give();
    }
  }

  #enter(deadline: Deadline): Promise<Place> {
    return Place.take(
      this.#client,
      this.#holder,
      (lease) => [lockQueue(this.#name, lease)],
      deadline,
    );
  }
}
