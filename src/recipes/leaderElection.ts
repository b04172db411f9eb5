import { ClosedError, InvalidArgumentError, LeaseLostError, op } from '@norikv/client';
import type { CallOptions, Compare, NoriKVClient, Version } from '@norikv/client';
import { callEach, checkCallback, register } from './callbacks.js';
import type { Unsubscribe } from './callbacks.js';
import { Deadline } from './deadline.js';
import { Hold, guardOf } from './hold.js';
import { checkName, describe, prefixOf } from './keys.js';
import { leaderOf, observeLeaders } from './leaders.js';
import { DEFAULT_TTL_MS, Leaseholder } from './leaseholder.js';
import { Place } from './queue.js';
import { repeat } from './repeat.js';
import { pause } from './timers.js';

/** How long a candidate waits before it tries again after a failure, or a term that was shorter, at most, in milliseconds. */
const RETRY_MS = 1_000;

/**
 * One leader at a time among any number of processes. Candidates queue, and the first leads for as long as its lease is alive.
 *
 * Nobody else leads while {@link isLeader} says true; as with a `DistributedLock`, {@link guard} and {@link token} fence what
 * the leader writes. A node id is a name for people: used twice, it is two candidates.
 *
 * Either {@link start} and {@link stop}, which keep the node a candidate; or {@link campaign} and {@link resign}, once.
 *
 * The leader is the first of the keys `election/<name>/<lease>-<number>`, whose value is the node id, or what it proclaimed.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { LeaderElection } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const election = new LeaderElection(client, 'billing', 'node-1', 10_000);
 * await election.start(
 *   () => console.log('leading'), // leading
 *   () => console.log('not leading any more'), // not leading any more
 * );
 * console.log(election.isLeader(), await election.getLeader()); // true node-1
 * await election.stop();
 * ```
 */
export class LeaderElection implements AsyncDisposable {
  readonly #client: NoriKVClient;
  readonly #name: string;
  readonly #nodeId: string;
  readonly #ttlMs: number;
  readonly #elected = new Set<() => unknown>();
  readonly #defeated = new Set<() => unknown>();
  readonly #failed = new Set<(error: unknown) => unknown>();
  #holder: Leaseholder;
  #taken = 0;
  /** Whether it stands or leads. */
  #candidate = false;
  #term: Term | undefined;
  #campaigning: Promise<unknown> | undefined;
  #stopping: Promise<void> | undefined;
  /** What `start` began: how to end it, and when it is over. */
  #standing: { readonly stop: AbortController; over: Promise<unknown> } | undefined;

  /**
   * @param name - The name of the election: 1 to 256 bytes.
   * @param nodeId - The name of this candidate: 1 to 256 bytes.
   * @param ttlMs - How long leadership outlives a leader that died or was cut off, in milliseconds.
   * @throws {@link InvalidArgumentError} for what cannot be.
   */
  constructor(client: NoriKVClient, name: string, nodeId: string, ttlMs: number = DEFAULT_TTL_MS) {
    this.#client = client;
    this.#name = checkName(name, 'the name of an election');
    this.#nodeId = checkName(nodeId, 'the id of a node');
    this.#ttlMs = ttlMs;
    this.#holder = new Leaseholder(client, ttlMs);
  }

  /**
   * Becomes a candidate and stays one until {@link stop}: it leads when its turn comes, and stands again after a loss. Resolves
   * once it stands in the queue; if it is the first, it leads already.
   *
   * @param onBecameLeader - Called when it leads. What it throws is thrown as an uncaught error, as of all callbacks here.
   * @param onLostLeadership - Called when it does not lead any more: `isLeader()` is false already.
   * @throws What the client throws if the queue cannot be reached now; later failures are retried, and told to {@link onError}.
   *   {@link InvalidArgumentError} if it is a candidate already.
   */
  async start(
    onBecameLeader?: () => unknown,
    onLostLeadership?: () => unknown,
    options?: CallOptions,
  ): Promise<void> {
    checkCallback(onBecameLeader, 'onBecameLeader');
    checkCallback(onLostLeadership, 'onLostLeadership');
    const what = `joining the election "${this.#name}"`;
    const { leftMs } = new Deadline(what, options);
    const stop = new AbortController();
    const abort = (): void => {
      stop.abort(options?.signal?.reason);
    };
    const timeoutMs = options?.timeoutMs ?? leftMs;
    const deadline = new Deadline(what, { signal: stop.signal, timeoutMs });
    this.#stand();
    options?.signal?.addEventListener('abort', abort, { once: true });
    const entering = this.#enter(deadline);
    const over: Promise<unknown> = entering.catch(() => undefined);
    const standing = { stop, over };
    this.#standing = standing;
    try {
      const place = await entering;
      await new Promise<void>((begun) => {
        const callbacks = { became: onBecameLeader, lost: onLostLeadership, begun };
        standing.over = this.#keepStanding(place, stop.signal, callbacks);
        if (!place.isFirst) begun();
      });
    } catch (error) {
      this.#candidate = false;
      if (this.#standing === standing) this.#standing = undefined;
      throw error;
    } finally {
      options?.signal?.removeEventListener('abort', abort);
    }
  }

  /**
   * Ends what {@link start} began, or a {@link campaign}: resigns if it leads, leaves the queue if it waits. It always resolves,
   * and may be followed by another start.
   */
  async stop(): Promise<void> {
    this.#stopping ??= this.#stop().finally(() => (this.#stopping = undefined));
    await this.#stopping;
  }

  /**
   * Stands for election once, and waits until it leads; answers the fencing token.
   *
   * @param options - Without `timeoutMs` it waits for as long as it takes.
   * @throws `DeadlineExceededError` and `CancelledError`, after which the place in the queue is given up; `LeaseLostError`;
   *   {@link InvalidArgumentError} if it is a candidate already.
   */
  async campaign(options?: CallOptions): Promise<Version> {
    const deadline = new Deadline(`the campaign in "${this.#name}"`, options, Infinity);
    this.#stand();
    const campaign = this.#campaign(deadline);
    this.#campaigning = campaign.catch(() => undefined);
    return await campaign;
  }

  /** Gives leadership up, if this node leads. What another leads by now is left alone. */
  async resign(): Promise<void> {
    await this.#end(this.#term);
  }

  /** Whether this node leads now. Asks the clock: a process that stood still finds out before it acts. */
  isLeader(): boolean {
    return this.#term?.hold.isHeld === true;
  }

  /** The same as {@link isLeader}. */
  getIsLeader(): boolean {
    return this.isLeader();
  }

  /** The fencing token while it leads: greater than that of every leader before. `null` if it does not. */
  get token(): Version | null {
    return this.#term?.hold.isHeld === true ? this.#term.hold.token : null;
  }

  /** Fires when leadership is lost, with a `LeaseLostError`, or given up. `null` if this node does not lead. */
  get signal(): AbortSignal | null {
    return this.#term?.aborts.signal ?? null;
  }

  /**
   * A condition for a transaction of the same client: that this node still leads, in this very term.
   *
   * @throws {@link InvalidArgumentError} if it does not lead; `LeaseLostError` if it lost it.
   */
  guard(): Compare {
    return guardOf(this.#term?.hold, `leadership of "${this.#name}"`);
  }

  /** What the leader proclaimed, or its node id; `null` if nobody leads. */
  async getLeader(options?: CallOptions): Promise<string | null> {
    const deadline = new Deadline(`asking who leads "${this.#name}"`, options);
    const { results } = await this.#client
      .txn()
      .then(op.scan({ prefix: prefixOf('election', this.#name) }))
      .commit(deadline.call);
    return leaderOf(results[0] ?? [])?.text() ?? null;
  }

  /**
   * Who leads, now and from now on: what {@link getLeader} answers, each time that it changes. `null` is nobody. An observer
   * that is slow misses the oldest of more than a thousand changes.
   *
   * @throws What the client throws; `CancelledError` when the signal fires.
   */
  observe(options: CallOptions = {}): AsyncGenerator<string | null, void, undefined> {
    return observeLeaders(this.#client, this.#name, options);
  }

  /**
   * Changes what {@link getLeader} answers.
   *
   * @throws {@link InvalidArgumentError} if this node does not lead; `LeaseLostError` if it lost it.
   */
  async proclaim(value: string, options?: CallOptions): Promise<void> {
    if (typeof value !== 'string' || /\p{Surrogate}/u.test(value)) {
      const message = `a leader proclaims text, without half of a surrogate pair; got ${describe(value)}`;
      throw new InvalidArgumentError(message);
    }
    const guard = this.guard();
    const hold = this.#term?.hold;
    const [key] = hold?.keys ?? [];
    if (hold === undefined || key === undefined) throw new InvalidArgumentError('it does not lead');
    const deadline = new Deadline(`proclaiming in "${this.#name}"`, options);
    const put = op.put(key, value, { lease: hold.lease });
    const txn = this.#client.txn().if(guard).then(put);
    const { succeeded } = await repeat(() => txn.commit(deadline.call), deadline);
    if (!succeeded) {
      // Somebody deleted the key; the watch is about to say so.
      throw (
        hold.lost ?? new InvalidArgumentError(`this node does not lead "${this.#name}" any more`)
      );
    }
  }

  /** Calls back each time that this node is elected; answers how to end that. */
  onElected(callback: () => unknown): Unsubscribe {
    return register(this.#elected, callback, 'onElected');
  }

  /** Calls back each time that this node stops leading: it lost the lead, or gave it up. Answers how to end that. */
  onDefeat(callback: () => unknown): Unsubscribe {
    return register(this.#defeated, callback, 'onDefeat');
  }

  /** Calls back with each error after which {@link start} tries again; answers how to end that. */
  onError(callback: (error: unknown) => unknown): Unsubscribe {
    return register(this.#failed, callback, 'onError');
  }

  /** The same as {@link stop}. */
  async close(): Promise<void> {
    await this.stop();
  }

  /** The same as {@link stop}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #stop(): Promise<void> {
    const standing = this.#standing;
    this.#standing = undefined;
    // What is under way has the one before, which is closed in the end.
    const holder = this.#holder;
    this.#holder = new Leaseholder(this.#client, this.#ttlMs);
    standing?.stop.abort();
    await this.#end(this.#term);
    // What it waits for is replaced once, when the place is taken.
    await standing?.over;
    await standing?.over;
    await holder.close();
    await this.#campaigning;
  }

  async #campaign(deadline: Deadline): Promise<Version> {
    const holder = this.#holder;
    try {
      const hold = await Hold.begin(this.#client, await this.#enter(deadline), deadline);
      if (holder !== this.#holder) {
        await hold.release(this.#what).catch(() => undefined);
        const message = `the campaign in "${this.#name}" was stopped`;
        throw new LeaseLostError(message, { lease: hold.lease.id });
      }
      void this.#lead(hold).then(() => (this.#candidate = false));
      return hold.token;
    } catch (error) {
      this.#candidate = false;
      throw error;
    }
  }

  #stand(): void {
    if (this.#candidate) {
      const message = `this object is a candidate in "${this.#name}" already; make another for a second candidate`;
      throw new InvalidArgumentError(message);
    }
    this.#candidate = true;
  }

  #enter(deadline: Deadline): Promise<Place> {
    this.#taken += 1;
    const number = this.#taken;
    return Place.take(
      this.#client,
      this.#holder,
      (lease) => [
        {
          prefix: prefixOf('election', this.#name),
          own: `${lease.id.toString(16)}-${number}`,
          value: this.#nodeId,
        },
      ],
      deadline,
    );
  }

  /** Stands, leads, and stands again, until it is stopped. */
  async #keepStanding(first: Place, stop: AbortSignal, callbacks: Callbacks): Promise<void> {
    let taken: Place | undefined = first;
    const stopped = (): boolean => stop.aborted;
    while (!stopped()) {
      const began = performance.now();
      try {
        const place = taken ?? (await this.#enter(new Deadline(this.#what, { signal: stop })));
        taken = undefined;
        const waiting = new Deadline(this.#what, { signal: stop }, Infinity);
        const hold = await Hold.begin(this.#client, place, waiting);
        // It was stopped in the very moment in which its turn came: who stops it has looked for a term already.
        if (stopped()) await hold.release(this.#what);
        else await this.#lead(hold, callbacks);
      } catch (error) {
        if (!stopped()) callEach(this.#failed, error);
        // It did not lead at once, and stands again.
        callbacks.begun();
      }
      // Neither a store that is away nor a leader that fails at once is asked without a pause.
      if (!stopped() && performance.now() - began < RETRY_MS)
        await pause(Math.random() * RETRY_MS, stop);
    }
    await taken?.leave();
    callbacks.begun();
    this.#candidate = false;
  }

  get #what(): string {
    return `standing in the election "${this.#name}"`;
  }

  /** Leads until the term ends. */
  async #lead(hold: Hold, callbacks: Partial<Callbacks> = {}): Promise<void> {
    const aborts = new AbortController();
    await new Promise<void>((over) => {
      const term: Term = { hold, aborts, over, lost: callbacks.lost };
      this.#term = term;
      hold.signal.addEventListener('abort', () => void this.#end(term), { once: true });
      const became = callbacks.became === undefined ? [] : [callbacks.became];
      for (const callback of [...became, ...this.#elected]) {
        // What was called before may have given it up, or taken longer than the lease lives.
        if (hold.isHeld && this.#term === term) callEach([callback]);
      }
      if (!hold.isHeld) void this.#end(term);
      callbacks.begun?.();
    });
  }

  /** Ends a term, which was lost or is given up: first nobody says that it goes on, then it is told, then it is another's. */
  async #end(term: Term | undefined): Promise<void> {
    if (term === undefined || this.#term !== term) return;
    this.#term = undefined;
    const { hold, aborts, over, lost } = term;
    aborts.abort(hold.lost ?? new ClosedError(`this node resigned from "${this.#name}"`));
    callEach([...(lost === undefined ? [] : [lost]), ...this.#defeated]);
    // That it was lost was told; nothing is left to give back then.
    await hold.release(`leadership of "${this.#name}"`).catch(() => undefined);
    over();
  }
}

/** A time of leading. */
interface Term {
  readonly hold: Hold;
  readonly aborts: AbortController;
  /** Who started it is told of its end first. */
  readonly lost: (() => unknown) | undefined;
  /** Tells that it is over. */
  over(): void;
}

interface Callbacks {
  readonly became: (() => unknown) | undefined;
  readonly lost: (() => unknown) | undefined;
  /** Called once it is known whether the first turn came. */
  begun(): void;
}
