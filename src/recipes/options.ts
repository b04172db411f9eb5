import { InvalidArgumentError } from '@norikv/client';
import { describe } from './keys.js';

/** The names of a call's own options. */
const CALL = ['signal', 'timeoutMs'];

/**
 * Refuses options that are none: a name that nobody knows is more often a slip than meant for nothing.
 *
 * @param names - The names that there are beside those of every call.
 */
export function checkOptions(options: object | undefined, ...names: readonly string[]): void {
  if (options === undefined) return;
  const given: unknown = options;
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new InvalidArgumentError(`options are an object; got ${describe(given)}`);
  }
  for (const name of Object.keys(given)) {
    if (CALL.includes(name) || names.includes(name)) continue;
    const known = [...names, ...CALL].join(', ');
    throw new InvalidArgumentError(`there is no option ${describe(name)}; there are ${known}`);
  }
  checkSignal(Reflect.get(given, 'signal'));
}

/** What the client takes as a signal. */
export function checkSignal(signal: unknown): void {
  if (signal === undefined || signal instanceof AbortSignal) return;
  throw new InvalidArgumentError(`signal is an AbortSignal; got ${describe(signal)}`);
}

/** An object that has no other fields than these, as it was given; if it was not, an empty one. */
export function checkFields<T extends object>(
  given: T | undefined,
  what: string,
  known: readonly (keyof T & string)[],
): T | Partial<T> {
  if (given === undefined) return {};
  if (typeof given !== 'object' || (given as unknown) === null || Array.isArray(given)) {
    throw new InvalidArgumentError(`${what} are an object; got ${describe(given)}`);
  }
  const names: readonly string[] = known;
  const strange = Object.keys(given).find((name) => !names.includes(name));
  if (strange !== undefined) {
    throw new InvalidArgumentError(
      `${what} have no field ${describe(strange)}; known are ${names.join(', ')}`,
    );
  }
  return given;
}

/** A whole number in a range. */
export function checkWhole(value: unknown, what: string, least: number, most: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) {
    return value;
  }
  throw new InvalidArgumentError(
    `${what} is a whole number from ${least} to ${most}; got ${describe(value)}`,
  );
}

/** A function. */
export function checkFunction(value: unknown, what: string): void {
  if (typeof value !== 'function') {
    throw new InvalidArgumentError(`${what} is a function; got ${describe(value)}`);
  }
}
