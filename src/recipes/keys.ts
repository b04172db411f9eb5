import { InvalidArgumentError } from '@norikv/client';

/** The longest name that a recipe takes, in bytes of UTF-8: escaped, two of them still fit into a key. */
const MAX_NAME_BYTES = 256;

const encoder = new TextEncoder();

/** What a person is told of a value that is not what was asked for. */
export function describe(value: unknown): string {
  if (typeof value === 'string')
    return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? 'an array' : 'an object';
  return typeof value === 'function' ? 'a function' : String(value);
}

/**
 * A name, an id or another part of a key, as it was given: text of 1 to 256 bytes of UTF-8. Half of a surrogate pair is
 * refused, since UTF-8 makes one character of all of them, and so one key of two names.
 */
export function checkName(name: unknown, what: string): string {
  if (typeof name !== 'string' || name === '') {
    throw new InvalidArgumentError(
      `${what} is text of 1 to ${MAX_NAME_BYTES} bytes; got ${describe(name)}`,
    );
  }
  if (/\p{Surrogate}/u.test(name)) {
    throw new InvalidArgumentError(
      `${what} has half of a surrogate pair, which UTF-8 does not have: ${describe(name)}`,
    );
  }
  // No character has fewer bytes than it has UTF-16 units, so this bounds what is encoded.
  const bytes = name.length > MAX_NAME_BYTES ? name.length : encoder.encode(name).length;
  if (bytes > MAX_NAME_BYTES) {
    throw new InvalidArgumentError(
      `${what} is text of 1 to ${MAX_NAME_BYTES} bytes; got ${bytes} or more`,
    );
  }
  return name;
}

/**
 * The key of a list of parts, none of them empty: different lists make different keys, and the key of a list's beginning and
 * a `/` begins the keys of all lists that begin so.
 */
export function keyOf(...parts: readonly string[]): string {
  return parts.map((part) => part.replace(/[%/]/g, encodeURIComponent)).join('/');
}

/** What the keys of all longer lists begin with that begin with these parts. */
export function prefixOf(...parts: readonly string[]): string {
  return `${keyOf(...parts)}/`;
}

/** The parts of a key that `keyOf` made. */
export function partsOf(key: string): string[] {
  return key.split('/').map((part) => part.replace(/%(25|2F)/g, decodeURIComponent));
}

/** A text that nobody else makes: 128 random bits, as 22 characters of `A-Z a-z 0-9 - _`. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
