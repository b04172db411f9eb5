import type { Entry, Key, NoriKVClient, UpdateOptions, Value, Version } from '../index.js';
import {
  AlreadyExistsError,
  CancelledError,
  InvalidArgumentError,
  RetryExhaustedError,
  VersionMismatchError,
} from './errors.js';
import { cutStack } from './failure.js';
import { checkTimeout } from './frame.js';

/** The longest first delay after a conflict, and the longest of all, in milliseconds. */
const INITIAL_DELAY_MS = 1;
const MAX_DELAY_MS = 100;
/** How long an update may take unless it says otherwise, as any call. */
const DEFAULT_TIMEOUT_MS = 5000;

/**
 * The compare-and-set loop: reads, asks `fn`, writes if nobody wrote in between, and on a conflict backs off with
 * full jitter and begins again.
 */
export async function update(
  client: Pick<NoriKVClient, 'getOrNull' | 'put'>,
  key: Key,
  fn: (current: Entry | null) => Value | undefined | Promise<Value | undefined>,
  options: UpdateOptions,
): Promise<Version | null> {
  const { signal, maxAttempts = Infinity, ttlMs } = options;
  if (maxAttempts !== Infinity && (!Number.isSafeInteger(maxAttempts) || maxAttempts < 1)) {
    throw new InvalidArgumentError(
      `maxAttempts is a whole number from 1; got ${String(maxAttempts)}`,
    );
  }
  const timeoutMs = checkTimeout(options.timeoutMs) || DEFAULT_TIMEOUT_MS;
  const deadline = performance.now() + timeoutMs;
  for (let attempt = 1; ; attempt++) {
    const left = (): number => Math.max(1, deadline - performance.now());
    const current = await client.getOrNull(key, { signal, timeoutMs: left() });
    const value = await fn(current);
    if (value === undefined) return null;
    try {
      const precondition =
        current === null ? { ifNotExists: true } : { ifMatchVersion: current.version };
      return await client.put(key, value, { ...precondition, ttlMs, signal, timeoutMs: left() });
    } catch (error) {
      if (!(error instanceof VersionMismatchError || error instanceof AlreadyExistsError)) {
        throw error;
      }
      const delay = Math.random() * Math.min(MAX_DELAY_MS, INITIAL_DELAY_MS * 2 ** (attempt - 1));
      if (attempt >= maxAttempts || performance.now() + delay >= deadline) {
        const why = attempt >= maxAttempts ? `its ${attempt} attempts` : `its ${timeoutMs} ms`;
        const exhausted = new RetryExhaustedError(
          `the update met another write in each of ${why}; allow more, or spread the writes over more keys`,
          { attempts: attempt, cause: error },
        );
        cutStack(exhausted, update);
        throw exhausted;
      }
      await backOff(delay, signal);
    }
  }
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
