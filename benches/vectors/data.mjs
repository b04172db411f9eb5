// The vectors that are measured with, the same in every process: gaussian clouds around gaussian centres, from a seed.
import { readFileSync } from 'node:fs';

const CENTRES = 1000;
const SPREAD = 0.5;
const SEEDS = { centres: 1, vectors: 2, queries: 3 };

/** Numbers from 0 to 1 (mulberry32). */
function uniform(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Numbers of the normal distribution (Box–Muller). */
function normal(random) {
  let spare;
  return () => {
    if (spare !== undefined) {
      const number = spare;
      spare = undefined;
      return number;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    const angle = 2 * Math.PI * random();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
}

/** Answers a function that makes the next `count` vectors of a kind (`'vectors'` or `'queries'`), one after the other. */
export function clustered(kind, dimensions) {
  const next = normal(uniform(SEEDS.centres));
  const centres = Float32Array.from({ length: CENTRES * dimensions }, next);
  const random = uniform(SEEDS[kind]);
  const gauss = normal(random);
  return (count) => {
    const all = new Float32Array(count * dimensions);
    for (let from = 0; from < all.length; from += dimensions) {
      const centre = Math.floor(random() * CENTRES) * dimensions;
      for (let at = 0; at < dimensions; at++) {
        all[from + at] = centres[centre + at] + SPREAD * gauss();
      }
    }
    return all;
  };
}

/** The vectors of an array of numbers, without a copy. */
export function split(numbers, dimensions) {
  const count = numbers.length / dimensions;
  return Array.from({ length: count }, (_, at) =>
    numbers.subarray(at * dimensions, (at + 1) * dimensions),
  );
}

export const makeVectors = (count, dimensions) =>
  split(clustered('vectors', dimensions)(count), dimensions);
export const makeQueries = (count, dimensions) =>
  split(clustered('queries', dimensions)(count), dimensions);

/** What an exact search found for each query, from the file that it was written to. */
export const readTruth = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** The nearest by the formula in plain JavaScript, in double precision. */
export function nearestByFormula(vectors, query, k) {
  const dot = (a, b) => a.reduce((sum, number, at) => sum + number * b[at], 0);
  const length = Math.sqrt(dot(query, query));
  const distances = vectors.map((vector, id) => {
    let [product, squares] = [0, 0];
    for (let at = 0; at < vector.length; at++) {
      product += vector[at] * query[at];
      squares += vector[at] * vector[at];
    }
    return { id, distance: 1 - product / (Math.sqrt(squares) * length) };
  });
  return distances
    .sort((a, b) => a.distance - b.distance)
    .slice(0, k)
    .map(({ id }) => id);
}

/** Which part of what is nearest was found, over all queries. */
export function recallOf(found, truth) {
  let [hits, all] = [0, 0];
  for (const [at, nearest] of truth.entries()) {
    const ids = new Set(found[at]);
    hits += nearest.filter((id) => ids.has(id)).length;
    all += nearest.length;
  }
  return hits / all;
}
