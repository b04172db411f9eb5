import { describe } from './bytes.js';
import { InvalidArgumentError } from './errors.js';

export const ConsistencyLevel = {
  LEASE: 'lease',
  LINEARIZABLE: 'linearizable',
  STALE_OK: 'stale_ok',
} as const;

export type ConsistencyLevel = (typeof ConsistencyLevel)[keyof typeof ConsistencyLevel];

/** The number of a consistency in a frame. */
const NUMBER: ReadonlyMap<unknown, number> = new Map([
  [undefined, 0],
  [ConsistencyLevel.LEASE, 0],
  [ConsistencyLevel.LINEARIZABLE, 1],
  [ConsistencyLevel.STALE_OK, 2],
]);

/** @throws InvalidArgumentError for an unknown word. */
export function consistencyNumber(level: ConsistencyLevel | undefined): number {
  const number = NUMBER.get(level);
  if (number === undefined) {
    throw new InvalidArgumentError(
      `consistency is 'lease', 'linearizable' or 'stale_ok'; got ${describe(level)}`,
    );
  }
  return number;
}
