// A stand-in for a model of a language, for examples and tests: a hashed bag of words. Each word of a text adds to a few numbers
// that its hash says, so texts that share words have vectors of like direction, the same in every run. It knows no meaning.
import { xxhash64 } from '@norikv/client';

const dimensions = 128;

/** How many numbers a word adds to: of several, not all are another word's too. */
const spread = 4;

export const words = {
  dimensions,
  embed(text: string): Promise<Float32Array> {
    const vector = new Float32Array(dimensions);
    for (const word of text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ['']) {
      for (let part = 0; part < spread; part += 1) {
        const hash = xxhash64(`${part}/${word}`);
        const at = Number(hash % BigInt(dimensions));
        vector[at] = (vector[at] ?? 0) + (hash & 0x8000n ? 1 : -1);
      }
    }
    // Words may cancel each other out.
    if (vector.every((value) => value === 0)) vector[0] = 1;
    return Promise.resolve(vector);
  },
};
