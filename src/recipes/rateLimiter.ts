import { InvalidArgumentError, NoriKVError } from '@norikv/client';
import type { CallOptions, NoriKVClient } from '@norikv/client';
import { Cell } from './cell.js';
import { Combiner } from './combiner.js';
import { CONFLICT, Deadline } from './deadline.js';
import { checkName, describe, keyOf, prefixOf, randomId } from './keys.js';
import { checkFields, checkWhole } from './options.js';
import { RateWindow, formatCounted, parseCounted } from './rateWindow.js';
import type { Counted } from './rateWindow.js';
import { repeat } from './repeat.js';

/** How many ids one object remembers at least: the ones that were used last. It remembers twice as many at most. */
const REMEMBERED = 10_000;
/** How long a check may take by default, in milliseconds. */
const DEFAULT_TIMEOUT_MS = 5_000;
/** How much longer than it matters a count is stored, in milliseconds. */
const MARGIN_MS = 1_000;
/** When to ask again if the store does not answer, in milliseconds. */
const STORE_RETRY_MS = 1_000;
/** The longest window: a year of 366 days, in milliseconds. */
const MAX_WINDOW_MS = 366 * 86_400_000;

/** What says that the store does not answer, rather than that the call is wrong or that others were faster. */
const DOWN: ReadonlySet<string> = new Set([
  'UNAVAILABLE',
  'CONNECTION',
  'NO_NODES_AVAILABLE',
  'NOT_LEADER',
  'DEADLINE_EXCEEDED',
]);

/** How much is allowed. */
export interface RateLimitConfig {
  /** The most requests in any window: a whole number from 1. */
  readonly maxRequests: number;
  /** The length of the window, in milliseconds: a whole number from 1 to a year. */
  readonly windowMs: number;
}

/** Settings of a {@link RateLimiter}. */
export interface RateLimiterOptions {
  /** What keeps its limits apart from those of others: 1 to 256 bytes of UTF-8. Default `'default'`. */
  readonly name?: string | undefined;
  /**
   * What a check answers if the store does not: `'open'` lets the request through, `'closed'` does not, and either says why in
   * `storeError`. Default: the check fails with the store's error.
   */
  readonly onStoreError?: 'open' | 'closed' | undefined;
}

/** What a check answers. */
export interface RateLimitResult {
  /** Whether the request may go on. If so, it has been counted. */
  readonly allowed: boolean;
  /** How many more would be allowed now. */
  readonly remaining: number;
  /** When the oldest request that counts is forgotten, in milliseconds since the Unix epoch. */
  readonly resetAt: number;
  /** How long to wait before asking again, in milliseconds; 0 if it was allowed. */
  readonly retryAfterMs: number;
  /** Why the store could not be asked, where `onStoreError` decided. */
  readonly storeError?: NoriKVError;
}

/** One id under one limit. */
interface Limit {
  readonly what: string;
  readonly checks: Combiner<undefined, RateLimitResult>;
}

/**
 * Limits how often something happens, over all processes: never more than `maxRequests` in any window of `windowMs`
 * milliseconds, wherever it begins.
 *
 * Requests are counted in 32 slots per window (one per millisecond for windows below 32 ms); a request is allowed if all slots
 * that the last `windowMs` milliseconds touch have fewer than `maxRequests`. So it is exact on the safe side, a request is
 * forgotten at most `windowMs / 32` late, and an id takes one small key whatever its limit. The clock is that of the processes;
 * for one id it never goes back, and where the clocks of two processes differ, a window may be shorter by the difference.
 *
 * A check is one round trip if no other process has checked that id since, and a refusal writes nothing. Checks of one id that
 * one object makes at a time go together. The key is `rate-limit/<name>/<id>/<maxRequests>/<windowMs>`; it expires about a
 * second after it stopped to matter.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { RateLimiter } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const limiter = new RateLimiter(client, { name: 'api' });
 * const limit = { maxRequests: 2, windowMs: 60_000 };
 * for (let request = 0; request < 3; request++) {
 *   const { allowed, remaining } = await limiter.checkLimit('10.0.0.7', limit);
 *   console.log(allowed, remaining);
 * }
 * await limiter.reset('10.0.0.7');
 * console.log((await limiter.checkLimit('10.0.0.7', limit)).allowed); // true
 * ```
 */
export class RateLimiter {
  readonly #client: NoriKVClient;
  readonly #name: string;
  readonly #onStoreError: 'open' | 'closed' | undefined;
  /** What was used lately, and what was used before that. */
  #limits = new Map<string, Limit>();
  #older = new Map<string, Limit>();
  readonly #id = randomId();
  #writes = 0;

  /** @throws `InvalidArgumentError` */
  constructor(client: NoriKVClient, options?: RateLimiterOptions) {
    const { name = 'default', onStoreError } = checkFields(options, 'settings of a rate limiter', [
      'name',
      'onStoreError',
    ]);
    if (![undefined, 'open', 'closed'].includes(onStoreError)) {
      throw new InvalidArgumentError(
        `onStoreError is 'open' or 'closed', or left out; got ${describe(onStoreError)}`,
      );
    }
    this.#client = client;
    this.#name = checkName(name, 'the name of a rate limiter');
    this.#onStoreError = onStoreError;
  }

  /**
   * Asks whether a request of this id may go on, and counts it if so.
   *
   * @param id - Whose requests are counted, such as a user or an address: 1 to 256 bytes of UTF-8.
   * @param options - `timeoutMs` is 5,000 by default.
   * @throws `InvalidArgumentError`; `RetryExhaustedError` if others check the same id all the time, which says nothing about the
   *   limit; `CorruptionError` if the key holds something else; without `onStoreError`, what the store throws. After an error
   *   with `outcome: 'unknown'` the request may have been counted.
   */
  async checkLimit(
    id: string,
    config: RateLimitConfig,
    options?: CallOptions,
  ): Promise<RateLimitResult> {
    const limit = this.#limitOf(id, config);
    const deadline = new Deadline(limit.what, options, DEFAULT_TIMEOUT_MS);
    if (this.#onStoreError === undefined) return await limit.checks.add(undefined, deadline);
    try {
      return await limit.checks.add(undefined, deadline);
    } catch (error) {
      if (!(error instanceof NoriKVError && DOWN.has(error.code))) throw error;
      const allowed = this.#onStoreError === 'open';
      return {
        allowed,
        remaining: 0,
        resetAt: Date.now() + STORE_RETRY_MS,
        retryAfterMs: allowed ? 0 : STORE_RETRY_MS,
        storeError: error,
      };
    }
  }

  /**
   * Forgets the requests of an id, under all limits that it was checked against with this limiter's name.
   *
   * @throws What the store throws. It may be called again whatever came of it.
   */
  async reset(id: string, options?: CallOptions): Promise<void> {
    const prefix = prefixOf('rate-limit', this.#name, checkName(id, 'the id of a limit'));
    const deadline = new Deadline(
      `the reset of the limit of ${describe(id)}`,
      options,
      DEFAULT_TIMEOUT_MS,
    );
    await repeat(() => this.#client.deleteRange({ prefix }, deadline.call), deadline);
  }

  /** What is remembered of an id under a limit. */
  #limitOf(id: string, config: RateLimitConfig): Limit {
    const { maxRequests, windowMs } = checkFields(config, 'limits', ['maxRequests', 'windowMs']);
    // No two limits make the same text: numbers have no space in them.
    const name = typeof id === 'string' ? `${maxRequests} ${windowMs} ${id}` : '';
    const numbers = typeof maxRequests === 'number' && typeof windowMs === 'number';
    let limit = numbers ? this.#limits.get(name) : undefined;
    if (limit !== undefined) return limit;
    limit = numbers ? this.#older.get(name) : undefined;
    if (limit === undefined) {
      checkName(id, 'the id of a limit');
      const most = checkWhole(maxRequests, 'maxRequests', 1, Number.MAX_SAFE_INTEGER);
      limit = this.#newLimit(id, most, checkWhole(windowMs, 'windowMs', 1, MAX_WINDOW_MS));
    }
    if (this.#limits.size >= REMEMBERED) {
      // What is forgotten is only what was remembered of the store: who still waits there is served.
      this.#older = this.#limits;
      this.#limits = new Map();
    }
    this.#limits.set(name, limit);
    return limit;
  }

  #newLimit(id: string, maxRequests: number, windowMs: number): Limit {
    const key = keyOf('rate-limit', this.#name, id, String(maxRequests), String(windowMs));
    const window = new RateWindow(windowMs, maxRequests);
    const cell = new Cell(this.#client, key, parseCounted, null);
    const what = `a check of the limit of ${describe(id)}`;
    const checks = new Combiner<undefined, RateLimitResult>(what, (asks, deadline) =>
      this.#check(cell, window, asks.length, deadline),
    );
    return { what, checks };
  }

  async #check(
    cell: Cell<Counted>,
    window: RateWindow,
    asked: number,
    deadline: Deadline,
  ): Promise<readonly RateLimitResult[] | typeof CONFLICT> {
    let room = window.at(Date.now(), await cell.load(deadline));
    // Somebody may have reset it since.
    if (room.free === 0 && !cell.isFresh) {
      room = window.at(Date.now(), await cell.reload(deadline));
    }
    const admitted = Math.min(asked, room.free);
    let { counted } = room;
    if (admitted > 0) {
      counted = window.add(room, admitted);
      this.#writes += 1;
      const value = formatCounted(counted, `${this.#id}.${this.#writes}`);
      if (!(await cell.save(counted, value, deadline, window.keepMs + MARGIN_MS))) return CONFLICT;
    }
    const resetAt = window.freesAt(counted);
    const retryAfterMs = Math.max(1, resetAt - Date.now());
    const results: RateLimitResult[] = [];
    for (let at = 0; at < asked; at++) {
      results.push(
        at < admitted
          ? { allowed: true, remaining: room.free - at - 1, resetAt, retryAfterMs: 0 }
          : { allowed: false, remaining: 0, resetAt, retryAfterMs },
      );
    }
    return results;
  }
}
