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
