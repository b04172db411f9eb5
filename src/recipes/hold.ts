import {
  CompactedError,
  InvalidArgumentError,
  LeaseLostError,
  NoriKVError,
  Version,
  compare,
} from '@norikv/client';
import type { Compare, Lease, NoriKVClient, Watch } from '@norikv/client';
import type { Deadline } from './deadline.js';
import type { Place } from './queue.js';

/** How long a key is held before a watch is worth its while, in milliseconds: most holders are done by then. */
const WATCH_AFTER_MS = 50;

/** How long after it could not begin a watch is begun again, in milliseconds. */
const WATCH_AGAIN_MS = 250;

/**
 * What somebody holds who is first in a queue, for as long as it is theirs: the lease is alive by our own clock, counted from
 * when its last keep-alive was sent, and nobody has deleted the keys.
 */
export class Hold {
  readonly #place: Place;
  readonly #aborts = new AbortController();
  readonly #watches = new Set<Watch>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  readonly #leaseEnds: AbortSignal;
  readonly #onLeaseEnd = (): void => {
    this.#lose(asLoss(this.#leaseEnds.reason));
  };
  #lost: LeaseLostError | undefined;
  #over = false;

  private constructor(client: NoriKVClient, place: Place) {
    this.#place = place;
    this.#after(WATCH_AFTER_MS, () => {
      for (const key of place.keys) void this.#follow(client, key);
    });
    this.#leaseEnds = place.lease.signal;
    this.#leaseEnds.addEventListener('abort', this.#onLeaseEnd, { once: true });
    if (this.#leaseEnds.aborted) this.#onLeaseEnd();
  }

  /**
   * Waits until a place is the first, and holds what it stands for; gives the place up if that cannot be.
   *
   * @throws As {@link Place.turn}.
   */
  static async begin(client: NoriKVClient, place: Place, deadline: Deadline): Promise<Hold> {
    try {
      await place.turn(deadline);
      const hold = new Hold(client, place);
      // Never announce what is gone already.
      if (hold.#lost !== undefined) throw hold.#lost;
      return hold;
    } catch (error) {
      await place.leave();
      throw error;
    }
  }

  /** The lease that it is held with. */
  get lease(): Lease {
    return this.#place.lease;
  }

  /** The keys that it holds. */
  get keys(): readonly string[] {
    return this.#place.keys;
  }

  /** The fencing token: it grows from each holder to the next. */
  get token(): Version {
    return this.#place.token;
  }

  /** Whether it is held now. Asks the clock, so that a process that stood still does not believe in what is gone. */
  get isHeld(): boolean {
    return !this.#over && this.lost === undefined;
  }

  /** Why it was lost, if it was. */
  get lost(): LeaseLostError | undefined {
    // Looking at a lease's signal asks the clock, and fires it if the time is up: we hear of it in this very call.
    if (this.#place.lease.signal.aborted) this.#onLeaseEnd();
    return this.#lost;
  }

  /** Fires when it is lost, with the reason. It does not fire when it is given back. */
  get signal(): AbortSignal {
    return this.#aborts.signal;
  }

  /** A condition for each of its keys: that they are still those of this very holding. */
  guards(): Compare[] {
    return this.keys.map((key) => compare(key).createVersion.equals(this.token));
  }

  /**
   * Gives it back. What is another's by now is left alone.
   *
   * @throws {@link LeaseLostError} if it was lost before.
   */
  async release(what: string): Promise<void> {
    const lost = this.lost;
    this.end();
    await this.#place.leave();
    if (lost === undefined) return;
    const message = `${what} was lost before it was given back: ${lost.message}`;
    throw new LeaseLostError(message, { lease: lost.lease, cause: lost });
  }

  /** Does `fn`, then gives it back by `release`, whose error counts only if `fn` had none. */
  async during<T>(
    fn: (signal: AbortSignal) => T | Promise<T>,
    release: () => Promise<void>,
  ): Promise<T> {
    let result: T;
    try {
      result = await fn(this.signal);
    } catch (error) {
      await release().catch(() => undefined);
      throw error;
    }
    await release();
    return result;
  }

  /** Ends it with its object: it goes with its lease, and who still works with it is told to stop. */
  close(what: string): void {
    const message = `${what} was closed while it was held`;
    this.#lose(new LeaseLostError(message, { lease: this.lease.id }));
    this.end();
  }

  /** Ends what looks after it. */
  end(): void {
    this.#over = true;
    this.#stop();
  }

  #stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#leaseEnds.removeEventListener('abort', this.#onLeaseEnd);
    for (const watch of this.#watches) void watch.close();
    this.#watches.clear();
  }

  /** Does something later, unless it is over by then. */
  #after(ms: number, fn: () => void): void {
    // Not unref'd: what is held keeps the process alive, as the watch that follows does.
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      fn();
    }, ms);
    this.#timers.add(timer);
  }

  /** @param look - Whether the history since it was taken is gone: it is looked whether the key is there, and followed from now on. */
  async #follow(client: NoriKVClient, key: string, look = false): Promise<void> {
    const { term, index } = this.token;
    const lease = this.#place.lease.id;
    const fromVersion = look ? undefined : new Version(term, index + 1n);
    const watch = client.watch({ key }, { fromVersion, puts: false });
    this.#watches.add(watch);
    try {
      if (!look || (await this.#isThere(client, key, watch))) {
        const { done } = await watch[Symbol.asyncIterator]().next();
        if (done === true) return;
      }
      if (this.#over) return;
      const message = `somebody deleted "${key}", by which it was held`;
      this.#lose(new LeaseLostError(message, { lease }));
    } catch (cause) {
      if (this.#over || this.#lost !== undefined) return;
      this.#watches.delete(watch);
      void watch.close();
      if (cause instanceof CompactedError) {
        this.#after(0, () => void this.#follow(client, key, true));
        return;
      }
      if (cause instanceof NoriKVError && cause.retryable) {
        // The store is away, which a watch that has begun rides out: how long that may take, the lease says.
        this.#after(WATCH_AGAIN_MS, () => void this.#follow(client, key, look));
        return;
      }
      // Who cannot see whether the key is there must not say that it is.
      const message = `whether "${key}" is still held cannot be followed any more`;
      this.#lose(new LeaseLostError(message, { lease, cause }));
    }
  }

  /** Whether the key is that of this holding, at the beginning of a watch or later. */
  async #isThere(client: NoriKVClient, key: string, watch: Watch): Promise<boolean> {
    await watch.ready;
    const found = await client.getOrNull(key, { consistency: 'linearizable' });
    return found?.createVersion.equals(this.token) === true;
  }

  #lose(reason: LeaseLostError): void {
    if (this.#over || this.#lost !== undefined) return;
    this.#lost = reason;
    this.#stop();
    this.#aborts.abort(reason);
  }
}

/**
 * The condition that something of one key is still held.
 *
 * @throws {@link InvalidArgumentError} if nothing is; {@link LeaseLostError} if it was lost.
 */
export function guardOf(hold: Hold | undefined, what: string): Compare {
  const [guard] = hold?.guards() ?? [];
  if (hold === undefined || guard === undefined) {
    throw new InvalidArgumentError(`${what} is not held, so there is nothing to guard by`);
  }
  if (hold.lost !== undefined) throw hold.lost;
  return guard;
}

/** That a function unlocked, or somebody did, what is unlocked when it is done. */
export function unlockedMeanwhile(name: string): InvalidArgumentError {
  const message = `the lock "${name}" was unlocked before the function that had it was done; leave that to its end`;
  return new InvalidArgumentError(message);
}

function asLoss(reason: unknown): LeaseLostError {
  if (reason instanceof LeaseLostError) return reason;
  return new LeaseLostError('its lease ended', { lease: 0n, cause: reason });
}
