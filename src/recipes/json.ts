import { CorruptionError, InvalidArgumentError } from '@norikv/client';
import type { Entry } from '@norikv/client';
import { describe } from './keys.js';

/** How deep values may be nested: deeper ones end in a stack that overflows, here or with whoever reads them. */
const MAX_DEPTH = 200;

/** Whether it is an object that is no array. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The JSON of a value that JSON can say: `null`, booleans, finite numbers, text, arrays, and plain objects of these. What
 * `JSON.stringify` leaves out or makes something else of is refused, since it would not come back as it went.
 *
 * @param what - The value, as the error names it.
 */
export function toJson(value: unknown, what: string): string {
  checkJson(value, what);
  return JSON.stringify(value);
}

/** Refuses what {@link toJson} does. */
export function checkJson(value: unknown, path: string, above: readonly object[] = []): void {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (typeof value !== 'object') throw cannot(path, describe(value));
  if (above.includes(value)) throw cannot(path, 'an object that holds itself');
  if (above.length === MAX_DEPTH) throw cannot(path, `more than ${MAX_DEPTH} levels`);
  const within = [...above, value];
  if (Array.isArray(value)) {
    // Not forEach, which passes over holes.
    for (let at = 0; at < value.length; at++) checkJson(value[at], `${path}[${at}]`, within);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // That of another realm's objects is not ours, but has none above it either.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    const maker: unknown = Reflect.get(value, 'constructor');
    const name = typeof maker === 'function' ? describe(maker.name) : 'that nobody knows';
    throw cannot(path, `an object of the class ${name}`);
  }
  if (Object.getOwnPropertySymbols(value).length > 0) throw cannot(path, 'a symbol as a name');
  // JSON would say what that makes of it.
  if (typeof Reflect.get(value, 'toJSON') === 'function') throw cannot(path, 'what has a toJSON()');
  for (const [name, inner] of Object.entries(value)) checkJson(inner, `${path}.${name}`, within);
}

function cannot(path: string, found: string): InvalidArgumentError {
  const shown = path.length > 80 ? `${path.slice(0, 80)}…` : path;
  return new InvalidArgumentError(
    `${shown} is ${found}, which JSON cannot say; give null, booleans, finite numbers, text, arrays and plain objects of these`,
  );
}

/** What an entry's JSON says. @throws `CorruptionError` naming the key. */
export function fromJson(entry: Entry): unknown {
  try {
    return entry.json();
  } catch (cause) {
    throw corrupt(entry, 'it is not JSON', cause);
  }
}

/** That an entry is not what the recipe wrote. */
export function corrupt(entry: Entry, why: string, cause?: unknown): CorruptionError {
  const message = `${describe(entry.keyText())} does not hold what was written there: ${why}; something else wrote to it`;
  return new CorruptionError(message, { cause });
}
