// A file of bytes as text that stands in a JavaScript string, for `src/inlined.ts` to read back. Base64 puts the same
// bytes at three places of its groups of four, so that nothing finds them again; here every byte begins with a
// character, the frequent ones are that one alone, and brotli makes of it what it makes of the bytes, and 3% more.

/** Printable, without what would end a string, a template or a script. */
const CHARACTERS = Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at)).filter(
  (character) => !'"\'`\\$<'.includes(character),
);
/** The last characters begin a pair. */
const PAIRS = 2;

/** Answers the characters in use, how many of them stand alone, the bytes by frequency, and the text. */
export function asText(bytes) {
  const count = new Array(256).fill(0);
  for (const byte of bytes) count[byte] += 1;
  const order = [...count.keys()].sort((a, b) => count[b] - count[a]);
  const size = CHARACTERS.length;
  const alone = size - PAIRS;
  const words = [];
  for (const [rank, byte] of order.entries()) {
    const rest = rank - alone;
    words[byte] =
      rest < 0
        ? CHARACTERS[rank]
        : CHARACTERS[alone + Math.floor(rest / size)] + CHARACTERS[rest % size];
  }
  const text = Array.from(bytes, (byte) => words[byte]).join('');
  return { characters: CHARACTERS.join(''), alone, order, length: bytes.length, text };
}
