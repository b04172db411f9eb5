import { InvalidArgumentError } from '@norikv/client';
import { MAX_TIMER_MS } from './deadline.js';
import { describe } from './keys.js';
import { unref } from './timers.js';

/** Asks a service, now and then, whether it is well. */
export interface HealthCheck {
  /**
   * Whether it is well. What throws or rejects is not, and neither is what takes longer than `timeoutMs`, when the signal fires.
   * Checks do not overlap: the next begins `intervalMs` after this one has ended.
   */
  check(signal: AbortSignal): boolean | Promise<boolean>;
  /** How long to wait before each check, in milliseconds. */
  readonly intervalMs: number;
  /** How long a check may take, in milliseconds. Default: as `intervalMs`. */
  readonly timeoutMs?: number | undefined;
}

const FIELDS: readonly string[] = ['check', 'intervalMs', 'timeoutMs'];

/** @throws `InvalidArgumentError` if it is no check. */
export function checkHealthCheck(given: unknown): asserts given is HealthCheck {
  if (typeof given !== 'object' || given === null) {
    throw new InvalidArgumentError(
      `a health check is an object, like { check, intervalMs, timeoutMs }; got ${describe(given)}`,
    );
  }
  const unknown = Object.keys(given).find((field) => !FIELDS.includes(field));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`a health check has no field ${describe(unknown)}`);
  }
  const check: unknown = Reflect.get(given, 'check');
  const intervalMs: unknown = Reflect.get(given, 'intervalMs');
  const timeoutMs: unknown = Reflect.get(given, 'timeoutMs') ?? intervalMs;
  if (typeof check !== 'function') {
    throw new InvalidArgumentError(`the check of a service is a function; got ${describe(check)}`);
  }
  for (const [what, ms] of [
    ['intervalMs', intervalMs],
    ['timeoutMs', timeoutMs],
  ] as const) {
    if (typeof ms === 'number' && ms > 0 && ms <= MAX_TIMER_MS) continue;
    const message = `the ${what} of a health check is a number above 0, at most ${MAX_TIMER_MS}; got ${describe(ms)}`;
    throw new InvalidArgumentError(message);
  }
}

/** The checks of one service, until they are stopped. None of their timers keeps a process alive. */
export class HealthChecks {
  readonly #of: HealthCheck;
  readonly #found: (healthy: boolean) => void;
  readonly #failed: (error: unknown) => void;
  readonly #aborts = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param found - Hears the outcome of each check.
   * @param failed - Hears what a check threw.
   */
  constructor(
    of: HealthCheck,
    found: (healthy: boolean) => void,
    failed: (error: unknown) => void,
  ) {
    this.#of = of;
    this.#found = found;
    this.#failed = failed;
    this.#next();
  }

  /** Ends them; one that is under way is told by its signal. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#aborts.abort();
  }

  #next(): void {
    if (this.#aborts.signal.aborted) return;
    this.#timer = setTimeout(() => void this.#run(), this.#of.intervalMs);
    unref(this.#timer);
  }

  async #run(): Promise<void> {
    const { timeoutMs = this.#of.intervalMs } = this.#of;
    const aborts = new AbortController();
    const stop = (): void => {
      aborts.abort(this.#aborts.signal.reason);
    };
    this.#aborts.signal.addEventListener('abort', stop, { once: true });
    const late = setTimeout(() => {
      aborts.abort(new Error(`the check took longer than ${timeoutMs} ms`));
      this.#found(false);
    }, timeoutMs);
    unref(late);
    let healthy = false;
    try {
      const answer: unknown = await this.#of.check(aborts.signal);
      healthy = answer === true;
    } catch (error) {
      if (!aborts.signal.aborted) this.#failed(error);
    }
    clearTimeout(late);
    this.#aborts.signal.removeEventListener('abort', stop);
    // What came too late was counted when its time was up.
    if (!aborts.signal.aborted) this.#found(healthy);
    this.#next();
  }
}
