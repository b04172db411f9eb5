import { describe } from './bytes.js';
import { InvalidArgumentError } from './errors.js';

const MAX_U64 = 0xffff_ffff_ffff_ffffn;

/** What a lease is made known with: its id, and a check that it is not lost. */
interface Holder {
  readonly id: bigint;
  readonly check: () => void;
}

const holders = new WeakMap<object, Holder>();

/** Makes a lease known, so that it can be given where its id can. */
export function registerLease(lease: object, holder: Holder): void {
  holders.set(lease, holder);
}

/**
 * The id of the lease that a write names.
 *
 * @throws InvalidArgumentError unless it is a lease or the id of one, LeaseLostError if the lease is lost.
 */
export function leaseIdOf(lease: unknown): bigint {
  const holder = typeof lease === 'object' && lease !== null ? holders.get(lease) : undefined;
  if (holder !== undefined) {
    holder.check();
    return holder.id;
  }
  if (isU64(lease) && lease > 0n) return lease;
  throw new InvalidArgumentError(
    `lease is a Lease, or its id, a bigint from 1 to 2^64 - 1; got ${describe(lease)}`,
  );
}

/** The id that a lease is compared with: 0 is none. A lease that is lost still has one. */
export function comparedLease(lease: unknown): bigint {
  const holder = typeof lease === 'object' && lease !== null ? holders.get(lease) : undefined;
  if (holder !== undefined) return holder.id;
  if (isU64(lease)) return lease;
  throw new InvalidArgumentError(
    `a lease is compared with a Lease, or an id, a bigint from 0 (none) to 2^64 - 1; got ${describe(lease)}`,
  );
}

function isU64(value: unknown): value is bigint {
  return typeof value === 'bigint' && value >= 0n && value <= MAX_U64;
}
