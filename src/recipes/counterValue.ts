import { CorruptionError, InvalidArgumentError } from '@norikv/client';
import { describe } from './keys.js';

/** The most that a counter is changed by at a time: 128 bits and a sign. */
const MAX_DELTA = 2n ** 128n;

/** A count as it is stored: a decimal number and, but for one written by hand, the name of the write. */
const STORED = /^(-?\d{1,1000})(?: [\w-]{1,64}\.\d{1,16})?$/;

/** The count that a value says. @throws `CorruptionError` if it says none. */
export function parseCount(text: string, key: string): bigint {
  const [, digits] = STORED.exec(text) ?? [];
  if (digits !== undefined) return BigInt(digits);
  throw new CorruptionError(
    `the key ${describe(key)} holds ${describe(text)}, which is no count; it was not written by a counter, and is left as it is`,
  );
}

/** How much a counter is changed by. */
export function checkDelta(delta: unknown): bigint {
  if (typeof delta === 'bigint' && delta <= MAX_DELTA && delta >= -MAX_DELTA) return delta;
  if (typeof delta === 'number' && Number.isSafeInteger(delta)) return BigInt(delta);
  throw new InvalidArgumentError(
    `delta is a whole number of at most 2^53 - 1, or a bigint of at most 2^128, either side of zero; got ${describe(delta)}`,
  );
}

/** Whether a number says a count exactly. */
export function fitsNumber(count: bigint): boolean {
  return count <= Number.MAX_SAFE_INTEGER && count >= Number.MIN_SAFE_INTEGER;
}
