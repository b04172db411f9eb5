import { InvalidArgumentError } from '@norikv/client';
import type { CallOptions, Compare, NoriKVClient, Version } from '@norikv/client';
import { Deadline } from './deadline.js';
import { Hold, guardOf, unlockedMeanwhile } from './hold.js';
import { checkName, describe, prefixOf } from './keys.js';
import { DEFAULT_TTL_MS, Leaseholder } from './leaseholder.js';
import { Place } from './queue.js';

/** What a key in the queue is there for, as it begins. */
const READ = 'read-';
const WRITE = 'write-';

/**
 * Many readers or one writer, between processes. Everybody stands in one queue, so that neither starves: a reader waits for the
 * writers that came before it, a writer for all who did.
 *
 * One object is one party: it may read several times at once, but while it reads it cannot write, nor read while it writes.
 * Such an upgrade is refused, since two that waited for each other would wait forever.
 *
 * The keys are `rwlock/<key>/read-…` and `rwlock/<key>/write-…`.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { ReadWriteLock } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using lock = new ReadWriteLock(client, 'catalog', 10_000);
 * await lock.withWrite(() => client.put('catalog', 'v2'));
 * const text = await lock.withRead(async () => (await client.get('catalog')).text());
 * console.log(text); // v2
 * ```
 */
export class ReadWriteLock implements AsyncDisposable {
  readonly #client: NoriKVClient;
  readonly #name: string;
  readonly #holder: Leaseholder;
  readonly #reads: Hold[] = [];
  /** Reads that are held or waited for, and whether a write is. */
  #reading = 0;
  #writing = false;
  #write: Hold | undefined;
  #taken = 0;

  /**
   * @param key - The name of what is locked: 1 to 256 bytes.
   * @param ttlMs - How long the lock outlives a holder that died or was cut off, in milliseconds.
   * @throws {@link InvalidArgumentError} for a key or a time that cannot be.
   */
  constructor(client: NoriKVClient, key: string, ttlMs: number = DEFAULT_TTL_MS) {
    this.#client = client;
    this.#name = checkName(key, 'the key of a lock');
    this.#holder = new Leaseholder(client, ttlMs);
  }

  /**
   * Waits until no writer is before us, and reads from then on; answers the fencing token.
   *
   * @throws `DeadlineExceededError` and `CancelledError`, after which the place in the queue is given up; `LeaseLostError`;
   *   {@link InvalidArgumentError} if this object writes or waits for it.
   */
  async rLock(options?: CallOptions): Promise<Version> {
    return (await this.#beginRead(options)).token;
  }

  async #beginRead(options: CallOptions | undefined): Promise<Hold> {
    if (this.#writing) {
      throw new InvalidArgumentError(
        `"${this.#name}" is locked for writing, or waited for, by the same object, which would wait for itself`,
      );
    }
    this.#reading += 1;
    try {
      const hold = await this.#enter(READ, options);
      this.#reads.push(hold);
      return hold;
    } catch (error) {
      this.#reading -= 1;
      throw error;
    }
  }

  /**
   * Ends a read: the latest one, if there are several.
   *
   * @throws {@link InvalidArgumentError} if nothing is read; {@link LeaseLostError} if the lock was lost meanwhile.
   */
  async rUnlock(): Promise<void> {
    const hold = this.#reads.at(-1);
    if (hold === undefined) {
      throw new InvalidArgumentError(`the lock "${this.#name}" is not held for reading`);
    }
    await this.#endRead(hold);
  }

  /**
   * Waits until nobody is before us, and writes from then on; answers the fencing token.
   *
   * @throws As {@link rLock}; {@link InvalidArgumentError} if this object reads or writes, or waits for either.
   */
  async lock(options?: CallOptions): Promise<Version> {
    return (await this.#beginWrite(options)).token;
  }

  async #beginWrite(options: CallOptions | undefined): Promise<Hold> {
    if (this.#writing || this.#reading > 0) {
      const how = this.#writing ? 'writing' : 'reading';
      throw new InvalidArgumentError(
        `"${this.#name}" is locked for ${how}, or waited for, by the same object, which would wait for itself; unlock it first`,
      );
    }
    this.#writing = true;
    try {
      const hold = await this.#enter(WRITE, options);
      this.#write = hold;
      return hold;
    } catch (error) {
      this.#writing = false;
      throw error;
    }
  }

  /**
   * Ends the write.
   *
   * @throws {@link InvalidArgumentError} if nothing is written; {@link LeaseLostError} if the lock was lost meanwhile.
   */
  async unlock(): Promise<void> {
    const hold = this.#write;
    if (hold === undefined) {
      throw new InvalidArgumentError(`the lock "${this.#name}" is not held for writing`);
    }
    await this.#endWrite(hold);
  }

  /**
   * Does `fn` while reading; its signal fires if the lock is lost.
   *
   * @throws What {@link rLock} throws; what `fn` throws; {@link LeaseLostError} if `fn` was done, and the lock lost meanwhile.
   */
  async withRead<T>(
    fn: (signal: AbortSignal) => T | Promise<T>,
    options?: CallOptions,
  ): Promise<T> {
    checkFunction(fn, 'withRead');
    const hold = await this.#beginRead(options);
    return await hold.during(fn, () => this.#endRead(hold));
  }

  /**
   * Does `fn` while writing; its signal fires if the lock is lost.
   *
   * @throws As {@link withRead}.
   */
  async withWrite<T>(
    fn: (signal: AbortSignal) => T | Promise<T>,
    options?: CallOptions,
  ): Promise<T> {
    checkFunction(fn, 'withWrite');
    const hold = await this.#beginWrite(options);
    return await hold.during(fn, () => this.#endWrite(hold));
  }

  /** Whether this object holds the lock now, and for what. */
  isHeld(): 'read' | 'write' | false {
    if (this.#write?.isHeld === true) return 'write';
    return this.#reads.some((hold) => hold.isHeld) ? 'read' : false;
  }

  /** The fencing token of the write, or of the latest read; `null` if nothing is held. */
  get token(): Version | null {
    const hold = this.#write ?? this.#reads.at(-1);
    return hold?.isHeld === true ? hold.token : null;
  }

  /**
   * A condition for a transaction of the same client: that the write, or the latest read, is still held.
   *
   * @throws {@link InvalidArgumentError} if nothing is held; {@link LeaseLostError} if it was lost.
   */
  guard(): Compare {
    return guardOf(this.#write ?? this.#reads.at(-1), `the lock "${this.#name}"`);
  }

  /** Gives everything back. Closing twice is closing once. */
  async close(): Promise<void> {
    const what = `the lock "${this.#name}"`;
    for (const hold of this.#reads.splice(0)) hold.close(what);
    this.#write?.close(what);
    this.#write = undefined;
    await this.#holder.close();
  }

  /** The same as {@link close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #enter(kind: string, options: CallOptions | undefined): Promise<Hold> {
    const deadline = new Deadline(`locking "${this.#name}"`, options, Infinity);
    this.#taken += 1;
    const number = this.#taken;
    const place = await Place.take(
      this.#client,
      this.#holder,
      (lease) => [
        {
          prefix: prefixOf('rwlock', this.#name),
          own: `${kind}${lease.id.toString(16)}-${number}`,
          value: '',
          blockedBy: (rest) => kind === WRITE || rest.startsWith(WRITE),
        },
      ],
      deadline,
    );
    return await Hold.begin(this.#client, place, deadline);
  }

  /** Gives this very holding back, and no other. */
  async #endRead(hold: Hold): Promise<void> {
    const at = this.#reads.indexOf(hold);
    if (at < 0) throw hold.lost ?? unlockedMeanwhile(this.#name);
    this.#reads.splice(at, 1);
    try {
      await hold.release(`the lock "${this.#name}"`);
    } finally {
      this.#reading -= 1;
    }
  }

  async #endWrite(hold: Hold): Promise<void> {
    if (this.#write !== hold) throw hold.lost ?? unlockedMeanwhile(this.#name);
    this.#write = undefined;
    try {
      await hold.release(`the lock "${this.#name}"`);
    } finally {
      this.#writing = false;
    }
  }
}

function checkFunction(fn: unknown, what: string): void {
  if (typeof fn !== 'function') {
    throw new InvalidArgumentError(`${what} takes a function; got ${describe(fn)}`);
  }
}
