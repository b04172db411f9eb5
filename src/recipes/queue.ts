import {
  CompactedError,
  LeaseLostError,
  LeaseNotFoundError,
  NoriKVError,
  Version,
  compare,
  op,
} from '@norikv/client';
import type { Entry, Lease, NoriKVClient, TxnOp } from '@norikv/client';
import { Deadline } from './deadline.js';
import { RELEASE_TIMEOUT_MS } from './leaseholder.js';
import type { Leaseholder } from './leaseholder.js';
import { repeat } from './repeat.js';
import { pause } from './timers.js';

/** How long a request whose reply nobody waits for may still arrive, in milliseconds. */
const LATE_MS = 10_000;

/** How long to wait before what may be left behind is looked for again, at first and at most, in milliseconds. */
const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 5_000;

/** A queue: the keys under a prefix, in the order in which they were created. */
export interface Queue {
  /** The beginning of all of its keys. */
  readonly prefix: string;
  /** The rest of our key: nobody else's. */
  readonly own: string;
  /** What our key says. */
  readonly value: string;
  /** Whether somebody ahead of us, whose key has this rest, is in our way. Default: everybody is. */
  readonly blockedBy?: (rest: string) => boolean;
}

/**
 * A place in a queue, or in several: taken in one transaction and held with a lease. It is ours to go on once nobody is ahead;
 * its version, that of its creation, is the fencing token, which grows from each holder to the next.
 *
 * This is the way of etcd's `concurrency` package, where everybody waits for the one ahead only, so that one that leaves wakes
 * one and not all.
 */
export class Place {
  readonly #client: NoriKVClient;
  readonly #holder: Leaseholder;
  readonly #queues: readonly Queue[];
  /** Who was ahead when the place was taken, for each queue. */
  #ahead: (string | undefined)[];
  /** The version at which they were. */
  #seen: Version;
  readonly lease: Lease;
  /** The version in which it was taken. */
  readonly token: Version;

  private constructor(
    [client, holder, queues]: readonly [NoriKVClient, Leaseholder, readonly Queue[]],
    lease: Lease,
    taken: { token: Version; ahead: (string | undefined)[]; seen: Version },
  ) {
    this.#client = client;
    this.#holder = holder;
    this.#queues = queues;
    this.lease = lease;
    this.token = taken.token;
    this.#ahead = taken.ahead;
    this.#seen = taken.seen;
  }

  /**
   * Takes a place at the end of each queue.
   *
   * @param make - The queues, for the lease that the place will have.
   * @throws What the client throws; `ResourceExhaustedError` where a thousand wait already.
   */
  static async take(
    client: NoriKVClient,
    holder: Leaseholder,
    make: (lease: Lease) => readonly Queue[],
    deadline: Deadline,
  ): Promise<Place> {
    for (;;) {
      const lease = await holder.use(deadline);
      try {
        const queues = make(lease);
        const taken = await join(client, queues, lease, deadline, () => {
          holder.retire(lease);
        });
        return new Place([client, holder, queues], lease, taken);
      } catch (error) {
        const isLost = error instanceof LeaseNotFoundError || error instanceof LeaseLostError;
        // Where it is not known whether a place was taken, it goes with its lease, or is looked for if others have that.
        if (isLost || isUnknown(error)) holder.retire(lease);
        await holder.release(lease);
        if (isUnknown(error)) void clear(client, make(lease).map(keyIn), lease, LATE_MS);
        // Revoked by somebody, which we had not heard yet: nothing of it is left, and another is as good.
        if (!isLost) throw error;
        await deadline.backOff(error);
      }
    }
  }

  /** The keys of the place. */
  get keys(): readonly string[] {
    return this.#queues.map(keyIn);
  }

  /** Whether nobody was ahead when it was last looked at. */
  get isFirst(): boolean {
    return this.#ahead.every((key) => key === undefined);
  }

  /**
   * Waits until nobody is ahead. Whoever is ahead now stays so or leaves, and who comes later is behind.
   *
   * @throws `DeadlineExceededError`, `CancelledError`, `LeaseLostError`.
   */
  async turn(deadline: Deadline): Promise<void> {
    const look = this.#client
      .txn()
      .then(...this.#queues.map(({ prefix }) => op.scan({ prefix, keysOnly: true })));
    const someone = (): string | undefined => this.#ahead.find((key) => key !== undefined);
    for (let ahead = someone(); ahead !== undefined; ahead = someone()) {
      await this.#gone(ahead, deadline);
      // All queues at once: what is seen of one must not be older than the version that the next wait begins at.
      const { results, version } = await look.commit(deadline.call);
      this.#seen = version;
      this.#ahead = this.#queues.map((queue, at) => {
        const entries = results[at] ?? [];
        const key = keyIn(queue);
        const own = entries.find((entry) => entry.keyText() === key);
        if (own?.createVersion.equals(this.token) !== true) throw this.#deleted(key);
        return aheadIn(queue, entries, this.token);
      });
    }
  }

  /**
   * Gives the place up: now, or, where the store cannot be reached, when its lease has run out. It has a time of its own, and
   * never takes what is another's.
   */
  async leave(): Promise<void> {
    const deadline = new Deadline('leaving the queue', { timeoutMs: RELEASE_TIMEOUT_MS });
    try {
      if (!this.lease.signal.aborted) await this.#remove(this.keys, deadline);
      await this.#holder.release(this.lease);
    } catch {
      // What cannot be deleted goes with the lease, which nobody renews any more, unless others use it.
      this.#holder.retire(this.lease);
      await this.#holder.release(this.lease);
      void clear(this.#client, this.keys, this.lease, 0);
    }
  }

  async #remove(keys: readonly string[], deadline: Deadline): Promise<void> {
    for (;;) {
      try {
        const removal = this.#client
          .txn()
          .if(...keys.map((key) => compare(key).createVersion.equals(this.token)))
          .then(...keys.map((key) => op.delete(key)));
        const { succeeded } = await removal.commit(deadline.call);
        // Some were gone already, which must not keep the others.
        if (!succeeded && keys.length > 1) {
          await Promise.all(keys.map((key) => this.#remove([key], deadline)));
        }
        return;
      } catch (error) {
        if (!(error instanceof NoriKVError && error.retryable)) throw error;
        await deadline.backOff(error);
      }
    }
  }

  /** Waits until a key is gone that was there. */
  async #gone(key: string, deadline: Deadline): Promise<void> {
    const fromVersion = new Version(this.#seen.term, this.#seen.index + 1n);
    const watch = this.#client.watch({ key }, { fromVersion, puts: false });
    try {
      await deadline.within(watch[Symbol.asyncIterator]().next(), this.lease.signal);
    } catch (error) {
      // So much has happened since that the history is gone: looking again tells as much.
      if (!(error instanceof CompactedError)) throw error;
    } finally {
      await watch.close();
    }
  }

  #deleted(key: string): LeaseLostError {
    return new LeaseLostError(`somebody deleted "${key}", which held our place in the queue`, {
      lease: this.lease.id,
    });
  }
}

/**
 * Deletes what may have been left behind on a lease that lives on with others, once the store can be reached.
 *
 * @param lateMs - How long it is looked for again if it is not there: what got lost may yet arrive.
 */
async function clear(
  client: NoriKVClient,
  keys: readonly string[],
  lease: Lease,
  lateMs: number,
): Promise<void> {
  const began = performance.now();
  for (let pauseMs = FIRST_PAUSE_MS; !lease.signal.aborted; pauseMs *= 2) {
    try {
      const removal = client.txn().then(...keys.map((key) => op.delete(key)));
      const { succeeded, results } = await removal.commit({ timeoutMs: RELEASE_TIMEOUT_MS });
      if ((succeeded && results.includes(true)) || performance.now() - began > lateMs) return;
    } catch (error) {
      if (!(error instanceof NoriKVError) || error.code === 'CLOSED') return;
    }
    await pause(Math.min(pauseMs, LAST_PAUSE_MS), lease.signal, 'idle');
  }
}

function keyIn({ prefix, own }: Queue): string {
  return prefix + own;
}

/** The key of the last who is in our way. */
function aheadIn(
  { prefix, blockedBy = () => true }: Queue,
  entries: readonly Entry[],
  token: Version,
): string | undefined {
  let last: Entry | undefined;
  for (const entry of entries) {
    if (entry.createVersion.compare(token) >= 0) continue;
    if (!blockedBy(entry.keyText().slice(prefix.length))) continue;
    if (last === undefined || entry.createVersion.compare(last.createVersion) > 0) last = entry;
  }
  return last?.keyText();
}

/** Takes the places, or finds them taken by an attempt whose reply was lost. */
async function join(
  client: NoriKVClient,
  queues: readonly Queue[],
  lease: Lease,
  deadline: Deadline,
  doubted: () => void,
): Promise<{ token: Version; ahead: (string | undefined)[]; seen: Version }> {
  const [first] = queues;
  if (first === undefined) throw new TypeError('a place is in one queue at least');
  const scans: readonly TxnOp<'scan', false>[] = queues.map(({ prefix }) =>
    op.scan({ prefix, keysOnly: true }),
  );
  const puts: readonly TxnOp<'put', false>[] = queues.map((queue) =>
    op.put(keyIn(queue), queue.value, { lease }),
  );
  const txn = client
    .txn()
    .if(compare(keyIn(first)).exists.equals(false))
    .then(...puts, ...scans)
    .else(...scans);
  return await repeat(async () => {
    const { succeeded, version, results } = await txn
      .commit(deadline.call)
      .catch((error: unknown) => {
        // What got lost may yet arrive, after this place was left: its lease must not outlive the place.
        if (isUnknown(error)) doubted();
        throw error;
      });
    const lists = results.slice(succeeded ? queues.length : 0) as readonly (readonly Entry[])[];
    const own = lists[0]?.find((entry) => entry.keyText() === keyIn(first));
    // Between the two looks of one transaction nobody can have taken it away.
    if (own === undefined) throw new TypeError(`"${keyIn(first)}" is not where it was put`);
    const token = own.createVersion;
    const ahead = queues.map((queue, at) => aheadIn(queue, lists[at] ?? [], token));
    return { token, ahead, seen: version };
  }, deadline);
}

function isUnknown(error: unknown): boolean {
  return error instanceof NoriKVError && error.outcome === 'unknown';
}
