import {
  AlreadyExistsError,
  InvalidArgumentError,
  VersionMismatchError,
  keyToBytes,
} from '@norikv/client';
import type {
  CallOptions,
  Entry,
  Key,
  KeyRange,
  Lease,
  LeasePutOptions,
  PutOptions,
  PutResult,
  Txn,
  TxnOp,
  UpdateOptions,
  Value,
  Version,
  Watch,
  WatchBatch,
} from '@norikv/client';
import { Deadline } from './deadline.js';
import { isRecord } from './json.js';
import { describe } from './keys.js';
import { checkFunction, checkOptions, checkWhole } from './options.js';
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
  const [first, second] = [keyToBytes(prefix), isNothing(key) ? key : keyToBytes(key)];
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

function isNothing(key: Uint8Array): boolean {
  return (key as unknown) instanceof Uint8Array && key.length === 0;
}

/** A transaction that is sent only if `admit` throws nothing then, however long before it was put together. */
export function tenantTxn<Then extends readonly TxnOp[], Else extends readonly TxnOp[]>(
  txn: Txn<Then, Else>,
  admit: (options?: CallOptions) => Promise<unknown>,
): Txn<Then, Else> {
  return {
    if: (...compares) => tenantTxn(txn.if(...compares), admit),
    then: (...ops) => tenantTxn(txn.then(...ops), admit),
    else: (...ops) => tenantTxn(txn.else(...ops), admit),
    async commit(options) {
      await admit(options);
      return await txn.commit(options);
    },
  };
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

/** What is read and written of a tenant. */
interface Keys {
  getOrNull(key: Key, options: CallOptions): Promise<Entry | null>;
  put(
    key: Key,
    value: Value,
    options: PutOptions & { readonly prevEntry?: false },
  ): Promise<Version>;
}

/** Changes one key by compare-and-set, as the client does. */
export async function tenantUpdate(
  tenant: Keys,
  key: Key,
  fn: (current: Entry | null) => Value | undefined | Promise<Value | undefined>,
  options: UpdateOptions,
): Promise<Version | null> {
  checkOptions(options, 'maxAttempts', 'ttlMs', 'lease');
  checkFunction(fn, 'what an update calls');
  const { signal, timeoutMs, maxAttempts = Infinity, ...rest } = options;
  if (maxAttempts !== Infinity) checkWhole(maxAttempts, 'maxAttempts', 1, Number.MAX_SAFE_INTEGER);
  const deadline = new Deadline(`the update of ${describe(String(key))}`, { signal, timeoutMs });
  for (let attempt = 1; ; attempt++) {
    const current = await tenant.getOrNull(key, deadline.call);
    const value = await fn(current);
    if (value === undefined) return null;
    const condition =
      current === null ? { ifNotExists: true } : { ifMatchVersion: current.version };
    try {
      return await tenant.put(key, value, { ...rest, ...condition, ...deadline.call });
    } catch (error) {
      const met = error instanceof VersionMismatchError || error instanceof AlreadyExistsError;
      if (!met) throw error;
      if (attempt >= maxAttempts) throw deadline.exhausted(attempt, error);
      await deadline.backOff(error);
    }
  }
}
