import { AlreadyExistsError, Version, VersionMismatchError, compare, op } from '@norikv/client';
import type {
  Compare,
  Entry,
  Key,
  Lease,
  NoriKVClient,
  TxnOp,
  Value,
  NoriKVError,
} from '@norikv/client';
import { valueToBytes } from '@norikv/client';
import { CONFLICT } from './deadline.js';
import type { Deadline } from './deadline.js';
import { again } from './repeat.js';

/** What a write is guarded by, and what it leaves there. */
export interface Guarded {
  readonly key: Key;
  /** The entry that was read there; `null` for none. */
  readonly current: Pick<Entry, 'version'> | null;
  /** What is written. Nobody else may ever write the same bytes to this key: put a `randomId()` into them. */
  readonly value: Value;
  /** As of a put. */
  readonly ttlMs?: number | undefined;
  /** As of a put; not together with `ttlMs`. */
  readonly lease?: Lease | undefined;
}

/** What else is done in the transaction of a guarded write. */
export interface Along {
  /** Further conditions. */
  readonly compares?: readonly Compare[];
  /** Further writes, none of them to the guarded key. */
  readonly ops?: readonly TxnOp[];
}

/**
 * Writes a key if it is still as it was read, and more in the same transaction; answers the version, or {@link CONFLICT} if it
 * is not. A write whose reply was lost is repeated, which changes nothing if the first took place, until the store tells which
 * it was: the change that came after what was read is ours or somebody else's.
 *
 * @throws What the client throws; with `outcome: 'unknown'` only if the time ran out, or the history of the key is gone.
 */
export async function writeGuarded(
  client: NoriKVClient,
  write: Guarded,
  deadline: Deadline,
  along: Along = {},
): Promise<Version | typeof CONFLICT> {
  let doubt: NoriKVError | undefined;
  for (;;) {
    try {
      const version = await attempt(client, write, deadline, along);
      if (version !== CONFLICT) return version;
      if (doubt === undefined) return CONFLICT;
      return (await isOurs(client, write, deadline, doubt)) ?? CONFLICT;
    } catch (error) {
      // A condition of what goes along was looked at, which it is not once the write took place.
      if (error instanceof AlreadyExistsError || error instanceof VersionMismatchError) {
        if (error.outcome === undefined) throw error;
      }
      doubt = await again(error, doubt, deadline);
    }
  }
}

async function attempt(
  client: NoriKVClient,
  { key, current, value, ttlMs, lease }: Guarded,
  deadline: Deadline,
  { compares = [], ops = [] }: Along,
): Promise<Version | typeof CONFLICT> {
  if (compares.length === 0 && ops.length === 0) {
    // Field by field: spreading them would take longer than all the rest of a call.
    const { signal, timeoutMs } = deadline.call;
    const ifNotExists = current === null;
    const ifMatchVersion = current?.version;
    const options = { ifNotExists, ifMatchVersion, ttlMs, lease, signal, timeoutMs };
    try {
      return await client.put(key, value, options);
    } catch (error) {
      // A conflict that the first of the client's own repeats may have made says so, and is settled by the caller.
      const conflict = error instanceof VersionMismatchError || error instanceof AlreadyExistsError;
      if (conflict && error.outcome === undefined) return CONFLICT;
      throw error;
    }
  }
  const unchanged =
    current === null
      ? compare(key).exists.equals(false)
      : compare(key).version.equals(current.version);
  const { succeeded, version } = await client
    .txn()
    .if(unchanged, ...compares)
    .then(op.put(key, value, { ttlMs, lease }), ...ops)
    .commit(deadline.call);
  return succeeded ? version : CONFLICT;
}

/** The version of our write, if the first change after what was read is ours; `undefined` if it is another's. */
async function isOurs(
  client: NoriKVClient,
  { key, current, value }: Guarded,
  deadline: Deadline,
  doubt: NoriKVError,
): Promise<Version | undefined> {
  const read = client.getOrNull(key, { consistency: 'linearizable', ...deadline.call });
  const now = await read.catch(() => {
    // That it could not be read says nothing of what was written.
    throw doubt;
  });
  let from: Version;
  if (current !== null) {
    // Something else was in the way, and what was repeated cannot take place any more.
    if (now?.version.equals(current.version) === true) return undefined;
    from = new Version(current.version.term, current.version.index + 1n);
  } else {
    // Created and gone again: by whom cannot be told.
    if (now === null) throw doubt;
    from = now.createVersion;
  }
  const watch = client.watch(
    { key },
    { fromVersion: from, signal: deadline.signal, timeoutMs: deadline.leftMs },
  );
  try {
    const batches = watch[Symbol.asyncIterator]();
    const batch = await deadline.within(batches.next());
    const [event] = batch.done === true ? [] : batch.value.events;
    if (event === undefined) throw doubt;
    const [written, wanted] = [event.entry.value, valueToBytes(value)];
    const same =
      written.length === wanted.length && written.every((byte, at) => byte === wanted[at]);
    return event.type === 'put' && same ? event.entry.version : undefined;
  } catch {
    // The history is gone, or the store is: what the caller has to know is that the outcome is not known.
    throw doubt;
  } finally {
    await watch.close();
  }
}
