import { describe } from './bytes.js';
import { InvalidArgumentError } from './errors.js';

/**
 * Checks that an argument is an object with names that a call knows. A name that was mistyped would otherwise be
 * ignored: a condition not checked, a bound not kept. A name counts whatever its value is.
 *
 * @param what - How an error names the argument, with an example.
 * @throws InvalidArgumentError if it is anything else, or has another name of its own.
 */
export function checkNames(given: unknown, known: ReadonlySet<string>, what: string): void {
  // An array, bytes, a `String` or a `Map` would pass for an object that says nothing.
  if (Object.prototype.toString.call(given) !== '[object Object]') {
    throw new InvalidArgumentError(`${what}; got ${describe(given)}`);
  }
  for (const name in given as object) {
    if (!known.has(name) && Object.hasOwn(given as object, name)) {
      throw new InvalidArgumentError(
        `${what}; ${JSON.stringify(name)} is no name that this call knows: it knows ${[...known].join(', ')}`,
      );
    }
  }
}

const names = (...lists: readonly (readonly string[])[]): ReadonlySet<string> =>
  new Set(lists.flat());

/** Options of every call, of reads, and of each call that has more. */
const ofCalls = ['signal', 'timeoutMs'];
const ofReads = ['consistency', ...ofCalls];
const ofDeletes = ['ifMatchVersion', 'idempotencyKey'];
const ofLeasePuts = ['ifNotExists', 'prevEntry', ...ofDeletes];
const ofPuts = ['ttlMs', 'lease', ...ofLeasePuts];
const ofScans = ['prefix', 'start', 'end', 'limit', 'reverse', 'keysOnly', 'version'];
export const CALL_OPTIONS = names(ofCalls);
export const GET_OPTIONS = names(ofReads);
export const COUNT_OPTIONS = names(['version'], ofReads);
export const DELETE_OPTIONS = names(ofDeletes, ofCalls);
export const PUT_OPTIONS = names(ofPuts, ofCalls);
export const UPDATE_OPTIONS = names(['maxAttempts', 'ttlMs', 'lease'], ofCalls);
export const SCAN_OPTIONS = names(ofScans, ofReads);
export const LEASE_OPTIONS = names(['ttlMs'], ofCalls);
export const LEASE_PUT_OPTIONS = names(ofLeasePuts, ofCalls);
export const TIME_TO_LIVE_OPTIONS = names(['keys'], ofCalls);
export const WATCH_OPTIONS = names(
  ['fromVersion', 'prevEntry', 'progress', 'puts', 'deletes'],
  ofCalls,
);
export const VECTOR_CREATE_OPTIONS = names(['quantization', 'idempotencyKey'], ofCalls);
export const VECTOR_WRITE_OPTIONS = names(['idempotencyKey'], ofCalls);
export const VECTOR_SEARCH_OPTIONS = names(
  ['includeVectors', 'maxDistance', 'efSearch', 'idPrefix'],
  ofReads,
);
/** Those of the ops of a transaction: what belongs to a call belongs to its commit. */
export const OP_PUT_OPTIONS = names(ofPuts);
export const OP_DELETE_OPTIONS = names(ofDeletes);
export const OP_SCAN_OPTIONS = names(ofScans);

/** @throws InvalidArgumentError unless they are left out, or an object with names that the call knows. */
export function checkOptions(options: object | undefined, known: ReadonlySet<string>): void {
  if (options !== undefined) {
    checkNames(options, known, 'options are an object, like { timeoutMs: 1000 }');
  }
}
