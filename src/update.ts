import type { Entry, Key, NoriKVClient, UpdateOptions, Value, Version } from '../index.js';
import { describe } from './bytes.js';
import {
  AlreadyExistsError,
  CancelledError,
  DeadlineExceededError,
  InvalidArgumentError,
  RetryExhaustedError,
  VersionMismatchError,
} from './errors.js';
import { checkTimeout } from './frame.js';
import { leaseIdOf } from './leaseId.js';
import { UPDATE_OPTIONS, checkOptions } from './names.js';
import { cutStack, refusing } from './stack.js';
import type { Caller } from './stack.js';
import { checkType } from './write.js';

/** The longest first delay after a conflict, and the longest of all, in milliseconds. */
const INITIAL_DELAY_MS = 1;
const MAX_DELAY_MS = 100;

/** Whose update it is. */
interface UpdateCall {
  readonly client: Pick<NoriKVClient, 'getOrNull' | 'put'>;
  /** How long the client's calls may take unless they say otherwise. */
  readonly timeoutMs: number;
  readonly caller: Caller;
}

/**
 * The compare-and-set loop: reads, asks `fn`, writes if nobody wrote in between, and on a conflict backs off with
 * full jitter and begins again.
 */
export async function update(
  call: UpdateCall,
  key: Key,
  fn: (current: Entry | null) => Value | undefined | Promise<Value | undefined>,
  options: UpdateOptions,
): Promise<Version | null> {
  const { client, caller } = call;
  refusing(caller, () => {
    check(fn, options);
  });
  const { signal, maxAttempts = Infinity, ttlMs, lease, timeoutMs = call.timeoutMs } = options;
  const deadline = performance.now() + timeoutMs;
  for (let attempt = 1; ; attempt++) {
    const left = (): number => Math.max(1, deadline - performance.now());
    let current: Entry | null;
    try {
      current = await client.getOrNull(key, { signal, timeoutMs: left() });
    } catch (error) {
      throw ours(error, timeoutMs, caller);
    }
    const value = await fn(current);
    if (value === undefined) return null;
    try {
      const precondition =
        current === null ? { ifNotExists: true } : { ifMatchVersion: current.version };
      return await client.put(key, value, {
        ...precondition,
        ttlMs,
        lease,
        signal,
        timeoutMs: left(),
      });
    } catch (error) {
      if (!(error instanceof VersionMismatchError || error instanceof AlreadyExistsError)) {
        throw ours(error, timeoutMs, caller);
      }
      const delay = Math.random() * Math.min(MAX_DELAY_MS, INITIAL_DELAY_MS * 2 ** (attempt - 1));
      if (attempt >= maxAttempts || performance.now() + delay >= deadline) {
        const why = attempt >= maxAttempts ? `its ${attempt} attempts` : `its ${timeoutMs} ms`;
        const exhausted = new RetryExhaustedError(
          `the update met another write in each of ${why}; allow more, or spread the writes over more keys`,
          { attempts: attempt, cause: error },
        );
        cutStack(exhausted, caller);
        throw exhausted;
      }
      try {
        await backOff(delay, signal);
      } catch (aborted) {
        throw ours(aborted, timeoutMs, caller);
      }
    }
  }
}

function check(fn: unknown, options: UpdateOptions): void {
  if (typeof fn !== 'function') {
    throw new InvalidArgumentError(
      `update takes a function from the entry, or null, to the new value; got ${describe(fn)}`,
    );
  }
  checkOptions(options, UPDATE_OPTIONS);
  const { maxAttempts = Infinity } = options;
  if (maxAttempts !== Infinity && (!Number.isSafeInteger(maxAttempts) || maxAttempts < 1)) {
    throw new InvalidArgumentError(
      `maxAttempts is a whole number from 1; got ${String(maxAttempts)}`,
    );
  }
  checkTimeout(options.timeoutMs);
  checkType(options.ttlMs, 'number', 'ttlMs');
  if (options.lease !== undefined) leaseIdOf(options.lease);
}

/** The error of one of the update's calls, as the update's own: its time, and its caller's stack. */
function ours(error: unknown, timeoutMs: number, caller: Caller): unknown {
  const own =
    error instanceof DeadlineExceededError
      ? new DeadlineExceededError(`the update was not done within its ${timeoutMs} ms`, {
          timeoutMs,
          outcome: error.outcome,
          cause: error,
        })
      : error;
  if (own instanceof Error) cutStack(own, caller);
  return own;
}

function backOff(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(
        new CancelledError('the update was cancelled by its signal', { cause: signal?.reason }),
      );
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', abort, { once: true });
  });
}
