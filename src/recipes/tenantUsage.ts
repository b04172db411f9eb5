import { compare, keyToBytes, op } from '@norikv/client';
import type { Compare, Entry, NoriKVClient, TxnOp } from '@norikv/client';
import type { Deadline } from './deadline.js';
import { corrupt, fromJson, isRecord } from './json.js';
import { MEGABYTE, TenantLimitError, dataPrefix, usageKey } from './tenant.js';
import type { TenantMetadata, TenantUsage } from './tenant.js';

/** What a tenant has, as it is counted. */
export interface Counted extends TenantUsage {
  /** Whether keys that were counted may go by themselves. */
  readonly expiring: boolean;
}

/** What a write changes. */
export interface Change {
  /** How many bytes key and value have now; `null` if the key is not there. */
  readonly before: number | null;
  /** How many bytes key and value will have; `null` if the key goes. */
  readonly after: number | null;
  /** Whether it will go by itself. */
  readonly expiring: boolean;
}

/** What a tenant has, and how a transaction makes sure that it still is so. */
export interface Usage {
  readonly counted: Counted;
  readonly unchanged: Compare;
  /** Whether it is what the store says, not what was written down. */
  readonly exact: boolean;
  /** The lengths of the values of what was counted, by {@link nameOf} of the keys that were asked for; if it was counted now. */
  readonly lengths?: ReadonlyMap<string, number>;
}

/** The same text for the same bytes, and no others. */
export function nameOf(key: Uint8Array): string {
  return key.join();
}

/**
 * Written down where it is not known what a tenant has. Nothing would not do: that nothing is there does not tell whether it was
 * so all along.
 */
export const UNKNOWN = 'null';

/** What is written down. `null` if nothing is, or {@link UNKNOWN}: it is to be counted. */
export function usageOf(entry: Entry | null): Counted | null {
  if (entry === null) return null;
  const found = fromJson(entry);
  if (found === null) return null;
  if (!isRecord(found)) throw corrupt(entry, 'it is not what a tenant has');
  const { keys, bytes, expiring } = found;
  if (!isCount(keys) || !isCount(bytes) || typeof expiring !== 'boolean') {
    throw corrupt(entry, 'it is not what a tenant has');
  }
  return { keys, bytes, expiring };
}

/** What a tenant has, as of the entry that is written down. */
export async function readUsage(
  client: NoriKVClient,
  tenantId: string,
  entry: Entry | null,
  deadline: Deadline,
  keys: readonly Uint8Array[],
): Promise<Usage> {
  const counted = usageOf(entry);
  if (counted !== null) return { counted, unchanged: same(tenantId, entry), exact: false };
  return await countUsage(client, tenantId, entry, deadline, keys);
}

/**
 * Counts what is there. Every write that changes the count changes what is written down, so that it still holds for a
 * transaction which finds that unchanged. Keys may have expired meanwhile: that makes the count too high, and never too low.
 *
 * @param wanted - The keys that are going to be written: what is there of them is what was counted, and not what was read before,
 *   some of which may have expired by then.
 */
export async function countUsage(
  client: NoriKVClient,
  tenantId: string,
  entry: Entry | null,
  deadline: Deadline,
  wanted: readonly Uint8Array[] = [],
): Promise<Usage> {
  const prefix = dataPrefix(tenantId);
  const without = keyToBytes(prefix).length;
  let [keys, bytes, expiring] = [0, 0, false];
  const names = new Set(wanted.map(nameOf));
  const lengths = new Map<string, number>();
  for await (const found of client.scan({ prefix, ...deadline.call })) {
    keys += 1;
    bytes += found.key.length - without + found.value.length;
    expiring ||= found.expiresAt !== null || found.lease !== null;
    const name = names.size > 0 ? nameOf(found.key) : '';
    if (names.has(name)) lengths.set(name, found.value.length);
  }
  const counted = { keys, bytes, expiring };
  return { counted, unchanged: same(tenantId, entry), exact: true, lengths };
}

/** What a tenant has after the changes; `'count'` if it might fit after counting. @throws {@link TenantLimitError}. */
export function afterwards(
  { id, limits }: TenantMetadata,
  { counted, exact }: Usage,
  changes: readonly Change[],
): Counted | 'count' {
  let { keys, bytes, expiring } = counted;
  for (const change of changes) {
    if (change.before !== null) {
      keys -= 1;
      bytes -= change.before;
    }
    if (change.after !== null) {
      keys += 1;
      bytes += change.after;
    }
    expiring ||= change.expiring;
  }
  // What makes it less is allowed also where a smaller plan has made it too much.
  const overKeys = keys > limits.maxKeys && keys > counted.keys;
  const overBytes = bytes > limits.maxStorageMB * MEGABYTE && bytes > counted.bytes;
  if (!overKeys && !overBytes) {
    return { keys: Math.max(0, keys), bytes: Math.max(0, bytes), expiring };
  }
  if (!exact && counted.expiring) return 'count';
  if (overKeys) throw new TenantLimitError(id, 'maxKeys', limits.maxKeys, counted.keys);
  throw new TenantLimitError(id, 'maxStorageMB', limits.maxStorageMB * MEGABYTE, counted.bytes);
}

/** Writes down what a tenant has, if that is something else than was. */
export function writeUsage(tenantId: string, before: Usage, after: Counted): TxnOp[] {
  const { counted, exact } = before;
  const same =
    counted.keys === after.keys &&
    counted.bytes === after.bytes &&
    counted.expiring === after.expiring;
  return same && !exact ? [] : [op.put(usageKey(tenantId), JSON.stringify(after))];
}

/** That what is written down is still what was read. */
function same(tenantId: string, entry: Entry | null): Compare {
  const key = compare(usageKey(tenantId));
  return entry === null ? key.exists.equals(false) : key.version.equals(entry.version);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
