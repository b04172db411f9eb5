// Keys, values and the order in which they are asked for: the same for everyone who is measured.

export const VALUE_BYTES = 100;

export const keyOf = (n) => `key-${String(n).padStart(7, '0')}`;

/** All keys, made beforehand: making one costs as much as some stores take to find it. */
export function makeKeys(count) {
  return Array.from({ length: count }, (_, n) => keyOf(n));
}

/** Numbers from 0 to 2^32 - 1 without a pattern (xorshift), the same in every run. */
export function randomNumbers(seed) {
  let state = Math.imul(seed + 1, 0x9e3779b9) >>> 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Values that do not compress; as the bytes of Node where there are such. */
export function makeValues(count = 64) {
  const next = randomNumbers(0);
  const bytes = globalThis.Buffer ?? Uint8Array;
  return Array.from({ length: count }, () =>
    bytes.from(Uint8Array.from({ length: VALUE_BYTES }, () => next() & 0xff)),
  );
}
