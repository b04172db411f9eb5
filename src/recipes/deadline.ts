import {
  CancelledError,
  DeadlineExceededError,
  InvalidArgumentError,
  RetryExhaustedError,
} from '@norikv/client';
import type { CallOptions } from '@norikv/client';
import { describe } from './keys.js';
import { checkSignal } from './options.js';

/** How long a recipe goes on by default when others write what it writes, in milliseconds. */
export const DEFAULT_TIMEOUT_MS = 30_000;

/** The longest first delay after a conflict, and the longest of all, in milliseconds. */
const INITIAL_DELAY_MS = 1;
const MAX_DELAY_MS = 100;

/** The longest that one call may take of it: what got lost is asked for again. */
const CALL_TIMEOUT_MS = 5_000;

/**
 * How much longer than it has an attempt may take that is not the first, in milliseconds: cut off, it would leave it unknown
 * whether it wrote, where it is about to say that others were faster once more.
 */
export const GRACE_MS = 250;

/** What Node's timers can do at most; longer ones are not set. */
export const MAX_TIMER_MS = 2_147_483_647;

/** That others were faster: read again, and decide again. */
export const CONFLICT = Symbol('conflict');

/** How long to wait after that many conflicts, in milliseconds: drawn at random (full jitter). */
export function delayAfter(conflicts: number): number {
  return Math.random() * Math.min(MAX_DELAY_MS, INITIAL_DELAY_MS * 2 ** (conflicts - 1));
}

/** How long the next attempt is taken to need, in milliseconds, if the last one took so long. */
export function timeFor(tookMs: number): number {
  return 2 * tookMs + 5;
}

/** The time that an operation of a recipe has, all of its calls, waits and attempts together. */
export class Deadline {
  readonly #what: string;
  readonly #timeoutMs: number;
  readonly #end: number;
  #attempts = 0;
  /** Ends the operation. */
  readonly signal: AbortSignal | undefined;

  /**
   * @param what - The operation, as its errors name it: `the increment of "a"`.
   * @param timeoutMs - How long it has if the options do not say; `Infinity` for as long as it takes.
   */
  constructor(what: string, options: CallOptions = {}, timeoutMs = DEFAULT_TIMEOUT_MS) {
    if (typeof options !== 'object' || (options as unknown) === null) {
      throw new InvalidArgumentError(`options are an object; got ${describe(options)}`);
    }
    checkSignal(options.signal);
    const given = options.timeoutMs ?? timeoutMs;
    if (typeof given !== 'number' || !(given > 0)) {
      throw new InvalidArgumentError(`timeoutMs is a number above 0; got ${describe(given)}`);
    }
    this.#what = what;
    this.#timeoutMs = given;
    this.#end = performance.now() + given;
    this.signal = options.signal;
    if (this.signal?.aborted === true) throw this.cancelled();
  }

  /** How many milliseconds are left, 1 at least. */
  get leftMs(): number {
    return Math.max(1, this.#end - performance.now());
  }

  /** Options for a call of the client that is a part of the operation. */
  get call(): CallOptions {
    const leftMs = this.leftMs + (this.#attempts > 0 ? GRACE_MS : 0);
    return { signal: this.signal, timeoutMs: Math.min(leftMs, CALL_TIMEOUT_MS) };
  }

  /**
   * Makes attempts until one answers something else than {@link CONFLICT}, with a pause after each that grows and is drawn at
   * random (full jitter), so that those who met do not meet again.
   *
   * @throws `RetryExhaustedError` when the time is up, `CancelledError`, and what an attempt throws.
   */
  async retry<T>(attempt: () => Promise<T | typeof CONFLICT>): Promise<T> {
    for (;;) {
      const began = performance.now();
      const result = await attempt();
      if (result !== CONFLICT) return result;
      await this.backOff(undefined, timeFor(performance.now() - began));
    }
  }

  /**
   * Waits before the next attempt.
   *
   * @param needMs - How long the next attempt takes: what cannot end in time is not begun.
   * @throws As {@link retry}.
   */
  async backOff(cause?: unknown, needMs = 0): Promise<void> {
    this.#attempts += 1;
    const delay = delayAfter(this.#attempts);
    if (performance.now() + delay + needMs >= this.#end)
      throw this.exhausted(this.#attempts, cause);
    await this.#sleep(delay);
  }

  /**
   * What `promise` answers, if it does so in time, and before `lost` fires. What it stands for goes on all the same.
   *
   * @throws `DeadlineExceededError`, `CancelledError`, the reason of `lost`, and what `promise` rejects with.
   */
  async within<T>(promise: Promise<T>, lost?: AbortSignal): Promise<T> {
    return await new Promise<T>((resolve, reject) => {
      const abort = (): void => {
        done();
        reject(this.cancelled());
      };
      const lose = (): void => {
        done();
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason of a lease is an error
        reject(lost?.reason);
      };
      const left = this.leftMs;
      // A wait without an end has no timer; whom it keeps waiting may end it by its signal.
      const timer =
        left > MAX_TIMER_MS
          ? undefined
          : setTimeout(() => {
              done();
              reject(this.exceeded());
            }, left);
      const done = (): void => {
        clearTimeout(timer);
        this.signal?.removeEventListener('abort', abort);
        lost?.removeEventListener('abort', lose);
      };
      this.signal?.addEventListener('abort', abort, { once: true });
      lost?.addEventListener('abort', lose, { once: true });
      if (this.signal?.aborted === true) abort();
      else if (lost?.aborted === true) lose();
      promise.then(
        (value) => {
          done();
          resolve(value);
        },
        (error: unknown) => {
          done();
          // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- handed on as it came
          reject(error);
        },
      );
    });
  }

  /** That the time is up. */
  exceeded(outcome?: 'unknown'): DeadlineExceededError {
    const message = `${this.#what} was not done within its ${this.#timeoutMs} ms`;
    return new DeadlineExceededError(message, { timeoutMs: this.#timeoutMs, outcome });
  }

  /** That the time is up, and others were faster all along. */
  exhausted(attempts: number, cause?: unknown): RetryExhaustedError {
    const message = `${this.#what} met other writes in each of its ${attempts} attempts for ${this.#timeoutMs} ms; allow more time, or spread the writes over more keys`;
    return new RetryExhaustedError(message, { attempts, cause });
  }

  /** That its signal fired. */
  cancelled(outcome?: 'unknown'): CancelledError {
    const cause: unknown = this.signal?.reason;
    return new CancelledError(`${this.#what} was cancelled by its signal`, { cause, outcome });
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        clearTimeout(timer);
        reject(this.cancelled());
      };
      const timer = setTimeout(() => {
        this.signal?.removeEventListener('abort', abort);
        resolve();
      }, ms);
      this.signal?.addEventListener('abort', abort, { once: true });
      if (this.signal?.aborted === true) abort();
    });
  }
}
