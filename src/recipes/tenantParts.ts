import { InvalidArgumentError, keyToBytes } from '@norikv/client';
import type {
  Key,
  KeyRange,
  Lease,
  LeasePutOptions,
  PutOptions,
  PutResult,
  Value,
  Version,
  Watch,
  WatchBatch,
} from '@norikv/client';
import type { Deadline } from './deadline.js';
import { isRecord } from './json.js';
import { describe } from './keys.js';
import type { View } from './view.js';

/** The range of a namespace, in the whole store. @throws `InvalidArgumentError` for one without a bound. */
export function fullRange(prefix: string, range: KeyRange): KeyRange {
  const given: unknown = range;
  if (!isRecord(given)) {
    throw new InvalidArgumentError(`a range is an object; got ${describe(given)}`);
  }
  for (const name of Object.keys(given)) {
    if (name === 'prefix' || name === 'start' || name === 'end') continue;
    throw new InvalidArgumentError(
      `a range has no ${describe(name)}; it has prefix, start and end`,
    );
  }
  const { prefix: begin, start, end } = range;
  if (begin !== undefined) {
    if (start !== undefined || end !== undefined) {
      throw new InvalidArgumentError('a range has a prefix, or a start and an end');
    }
    return { prefix: joined(prefix, begin) };
  }
  if (start === undefined && end === undefined) {
    throw new InvalidArgumentError('say which keys to delete; { prefix: "" } says every key');
  }
  // The character after the separator comes after all keys that begin with the prefix.
  const after = `${prefix.slice(0, -1)}0`;
  return {
    start: start === undefined ? prefix : joined(prefix, start),
    end: end === undefined ? after : joined(prefix, end),
  };
}

function joined(prefix: string, key: Key): Key {
  if (key === '') return prefix;
  if (typeof key === 'string') return `${prefix}${key}`;
  const [first, second] = [keyToBytes(prefix), key.length === 0 ? key : keyToBytes(key)];
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

/** A watch that ends with an error as soon as `admit` throws one. */
export function tenantWatch(watch: Watch, admit: () => unknown): Watch {
  return {
    ready: watch.ready,
    close: () => watch.close(),
    [Symbol.asyncDispose]: () => watch.close(),
    [Symbol.asyncIterator]() {
      const batches = watch[Symbol.asyncIterator]();
      const admitted = {
        async next(): Promise<IteratorResult<WatchBatch, undefined>> {
          const batch = await batches.next();
          try {
            admit();
          } catch (error) {
            await watch.close();
            throw error;
          }
          return batch;
        },
        async return(): Promise<IteratorResult<WatchBatch, undefined>> {
          await watch.close();
          return { done: true, value: undefined };
        },
        [Symbol.asyncIterator]: () => admitted,
      };
      return admitted;
    },
  };
}

/** How a tenant puts. */
type Put = (key: Key, value: Value, options: PutOptions) => Promise<Version | PutResult>;

/** A lease whose puts are those of the tenant. */
export function tenantLease(lease: Lease, put: Put): Lease {
  function putWith(
    key: Key,
    value: Value,
    options: LeasePutOptions & { readonly prevEntry: true },
  ): Promise<PutResult>;
  function putWith(
    key: Key,
    value: Value,
    options?: LeasePutOptions & { readonly prevEntry?: false },
  ): Promise<Version>;
  function putWith(key: Key, value: Value, options?: LeasePutOptions): Promise<Version | PutResult>;
  function putWith(
    key: Key,
    value: Value,
    options?: LeasePutOptions,
  ): Promise<Version | PutResult> {
    return put(key, value, { ...options, lease });
  }
  return {
    id: lease.id,
    ttlMs: lease.ttlMs,
    lost: lease.lost,
    get signal() {
      return lease.signal;
    },
    put: putWith,
    timeToLive: (options) => lease.timeToLive(options),
    revoke: (options) => lease.revoke(options),
    [Symbol.asyncDispose]: () => lease[Symbol.asyncDispose](),
  };
}

/** Waits until a view has heard of a key. */
export async function told(view: View, key: string, deadline: Deadline): Promise<void> {
  let stop = (): void => undefined;
  const heard = new Promise<void>((resolve) => {
    stop = view.listen((changes) => {
      if (changes.some((change) => change.key === key)) resolve();
    });
  });
  try {
    if (!view.entries.has(key)) await deadline.within(heard);
  } finally {
    stop();
  }
}
