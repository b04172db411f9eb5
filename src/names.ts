import { describe } from './bytes.js';
import { InvalidArgumentError } from './errors.js';

/** An option that is known only to be refused by its own error. */
const LEASE = 'lease';

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
        `${what}; ${JSON.stringify(name)} is no name that this call knows: it knows ${[...known].filter((name) => name !== LEASE).join(', ')}`,
      );
    }
  }
}

/** Options of every call, of reads, and of each call that has more. */
const ofCalls = ['signal', 'timeoutMs'];
const ofReads = ['consistency', ...ofCalls];
const ofWrites = ['ifMatchVersion', 'idempotencyKey', ...ofCalls];
export const CALL_OPTIONS: ReadonlySet<string> = new Set(ofCalls);
export const GET_OPTIONS: ReadonlySet<string> = new Set(ofReads);
export const COUNT_OPTIONS: ReadonlySet<string> = new Set(['version', ...ofReads]);
export const DELETE_OPTIONS: ReadonlySet<string> = new Set(ofWrites);
export const PUT_OPTIONS: ReadonlySet<string> = new Set([
  ...['ttlMs', 'ifNotExists', 'prevEntry', LEASE],
  ...ofWrites,
]);
export const UPDATE_OPTIONS: ReadonlySet<string> = new Set(['maxAttempts', 'ttlMs', ...ofCalls]);
export const SCAN_OPTIONS: ReadonlySet<string> = new Set([
  ...['prefix', 'start', 'end', 'limit', 'reverse', 'keysOnly', 'version'],
  ...ofReads,
]);

/** @throws InvalidArgumentError unless they are left out, or an object with names that the call knows. */
export function checkOptions(options: object | undefined, known: ReadonlySet<string>): void {
  if (options !== undefined) {
    checkNames(options, known, 'options are an object, like { timeoutMs: 1000 }');
  }
}
