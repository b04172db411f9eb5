import type { Key, Value } from '../index.js';
import { InvalidArgumentError } from './errors.js';
import { refusing } from './stack.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** The longest key, in bytes. */
const MAX_KEY_BYTES = 1024;

export function stringToBytes(text: string): Uint8Array {
  return encoder.encode(text);
}

export function bytesToString(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

export function keyToBytes(key: Key): Uint8Array {
  return refusing(keyToBytes, () => {
    const bytes = toBytes(key, 'a key');
    if (bytes.length < 1 || bytes.length > MAX_KEY_BYTES) {
      throw new InvalidArgumentError(
        `a key has 1 to ${MAX_KEY_BYTES} bytes; this one has ${bytes.length}`,
      );
    }
    return bytes;
  });
}

export function valueToBytes(value: Value): Uint8Array {
  return refusing(valueToBytes, () => toBytes(value, 'a value'));
}

/**
 * The bytes of what a caller gave, which plain JavaScript may have made anything.
 *
 * @param what - How an error names it.
 */
export function toBytes(data: string | Uint8Array, what: string): Uint8Array {
  const given: unknown = data;
  if (typeof given === 'string') return encoder.encode(given);
  if (given instanceof Uint8Array) return given;
  throw new InvalidArgumentError(`${what} is a string or a Uint8Array; got ${describe(given)}`);
}

/** The key as the entry keeps it: bytes are copied, since the caller may change its own. */
export function ownKey(key: string | Uint8Array): string | Uint8Array {
  return typeof key === 'string' ? key : new Uint8Array(toBytes(key, 'a key'));
}

/** The keys as their entries keep them. */
export function ownKeys(keys: readonly (string | Uint8Array)[]): (string | Uint8Array)[] {
  const given: unknown = keys;
  if (!Array.isArray(given)) {
    throw new InvalidArgumentError(`getMany takes an array of keys; got ${describe(given)}`);
  }
  // Not `map`, which leaves the holes of an array out.
  return Array.from(keys, ownKey);
}

/** What a value of the wrong type is, for an error's message. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case 'number':
    case 'bigint':
    case 'boolean':
      return `the ${typeof value} ${String(value)}`;
    case 'string':
      return `the string ${JSON.stringify(value.slice(0, 64))}`;
    case 'function':
    case 'symbol':
      return `a ${typeof value}`;
    default:
      return value === null || value === undefined
        ? String(value)
        : Object.prototype.toString.call(value);
  }
}
