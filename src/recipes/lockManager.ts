import { InvalidArgumentError } from '@norikv/client';
import type { CallOptions, Compare, NoriKVClient, Version } from '@norikv/client';
import { Deadline } from './deadline.js';
import { lockQueue } from './distributedLock.js';
import { Hold } from './hold.js';
import { checkName, describe } from './keys.js';
import { DEFAULT_TTL_MS, Leaseholder } from './leaseholder.js';
import { checkFields } from './options.js';
import { Place } from './queue.js';

/** The most names that are acquired together: a transaction has 128 compares and steps, and each name takes three. */
const MAX_NAMES = 42;

/** Options of a {@link LockManager}. */
export interface LockManagerOptions {
  /** How long its locks outlive a holder that died or was cut off, in milliseconds. Default 10,000. */
  readonly ttlMs?: number | undefined;
}

/** Locks that were acquired together, and are given back together. */
export interface HeldLocks extends AsyncDisposable {
  /** Their names. */
  readonly names: readonly string[];
  /** Their fencing token: greater than that of every holder before of each of them. */
  readonly token: Version;
  /** Fires when they are lost, with a `LeaseLostError`, also because the manager was closed; not when they are given back. */
  readonly signal: AbortSignal;
  /** Whether they are held now. */
  isHeld(): boolean;
  /** Conditions for a transaction of the same client: that they are still held by this very holding. */
  guards(): Compare[];
  /** Gives them back. @throws `LeaseLostError` if they were lost meanwhile. */
  release(): Promise<void>;
}

/**
 * Many locks over one lease, so that a process with a thousand locks sends one keep-alive. Its locks are those of
 * `DistributedLock`: both exclude each other.
 *
 * Several names are acquired all or none. Their places in all queues are taken in one transaction, so everybody who acquires
 * several is in the same order in each of them, and no two wait for each other.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { LockManager } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using locks = new LockManager(client, { ttlMs: 10_000 });
 * const accounts = await locks.acquire(['account/7', 'account/3']);
 * console.log(locks.held.join(' ')); // account/3 account/7
 * await accounts.release();
 * console.log(locks.held.length); // 0
 * ```
 */
export class LockManager implements AsyncDisposable {
  readonly #client: NoriKVClient;
  readonly #holder: Leaseholder;
  /** Who holds each name. */
  readonly #held = new Map<string, Locks>();
  #taken = 0;

  /** @throws {@link InvalidArgumentError} for a time that cannot be. */
  constructor(client: NoriKVClient, options?: LockManagerOptions) {
    const { ttlMs } = checkFields(options, 'the settings of a lock manager', ['ttlMs']);
    this.#client = client;
    this.#holder = new Leaseholder(client, ttlMs ?? DEFAULT_TTL_MS);
  }

  /**
   * Waits for a lock, or for several at once, and takes them. Acquiring a name again waits as anybody else does.
   *
   * @param names - One name, or up to 42 different ones; each of 1 to 256 bytes.
   * @param options - Without `timeoutMs` it waits for as long as it takes.
   * @throws `DeadlineExceededError` and `CancelledError`, after which no place in a queue is left; `LeaseLostError`;
   *   {@link InvalidArgumentError}; `ResourceExhaustedError` where a thousand wait already.
   */
  async acquire(names: string | readonly string[], options?: CallOptions): Promise<HeldLocks> {
    const wanted = checkNames(names);
    const deadline = new Deadline(`locking ${wanted.map(describe).join(', ')}`, options, Infinity);
    this.#taken += 1;
    const number = this.#taken;
    const place = await Place.take(
      this.#client,
      this.#holder,
      (lease) =>
        wanted.map((name) => {
          const queue = lockQueue(name, lease);
          return { ...queue, own: `${queue.own}-${number}` };
        }),
      deadline,
    );
    const hold = await Hold.begin(this.#client, place, deadline);
    const locks = new Locks(wanted, hold, () => {
      for (const name of wanted) if (this.#held.get(name) === locks) this.#held.delete(name);
    });
    for (const name of wanted) this.#held.set(name, locks);
    return locks;
  }

  /**
   * Gives back what was acquired with these names: what was acquired together is given back together.
   *
   * @throws {@link InvalidArgumentError} if one of them is not held; `LeaseLostError` if one was lost meanwhile.
   */
  async release(names: string | readonly string[]): Promise<void> {
    const wanted = checkNames(names);
    const found = new Set<Locks>();
    for (const name of wanted) {
      const locks = this.#held.get(name);
      if (locks === undefined) {
        throw new InvalidArgumentError(`the lock ${describe(name)} is not held`);
      }
      found.add(locks);
    }
    const ends = await Promise.allSettled([...found].map((locks) => locks.release()));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  /** The names that are held now, in their order. */
  get held(): readonly string[] {
    const held = [...this.#held].filter(([, locks]) => locks.isHeld());
    return held.map(([name]) => name).sort();
  }

  /** Gives everything back. Closing twice is closing once. */
  async close(): Promise<void> {
    for (const locks of new Set(this.#held.values())) locks.end();
    this.#held.clear();
    await this.#holder.close();
  }

  /** The same as {@link close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

class Locks implements HeldLocks {
  readonly names: readonly string[];
  readonly #hold: Hold;
  readonly #forget: () => void;
  #released = false;

  constructor(names: readonly string[], hold: Hold, forget: () => void) {
    this.names = names;
    this.#hold = hold;
    this.#forget = forget;
  }

  get token(): Version {
    return this.#hold.token;
  }

  get signal(): AbortSignal {
    return this.#hold.signal;
  }

  isHeld(): boolean {
    return this.#hold.isHeld;
  }

  guards(): Compare[] {
    return this.#hold.guards();
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    this.#forget();
    await this.#hold.release(`the lock of ${this.names.map(describe).join(', ')}`);
  }

  /** Ends it without the store, where its lease ends. */
  end(): void {
    this.#released = true;
    this.#forget();
    this.#hold.close(`the lock of ${this.names.map(describe).join(', ')}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}

function checkNames(names: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(names) ? names : [names];
  const wanted = list.map((name) => checkName(name, 'the name of a lock'));
  if (wanted.length === 0 || wanted.length > MAX_NAMES) {
    throw new InvalidArgumentError(
      `1 to ${MAX_NAMES} locks are acquired together; got ${wanted.length}`,
    );
  }
  if (new Set(wanted).size < wanted.length) {
    throw new InvalidArgumentError(`a lock is named twice: ${wanted.map(describe).join(', ')}`);
  }
  return wanted;
}
