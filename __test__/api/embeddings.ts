// Vectors for the suites: the same in every run, and what a model says of them.
import { expect } from '@jest/globals';
import type {
  DistanceFunction,
  NoriKVClient,
  VectorIndexType,
  VectorSearchResult,
} from '@norikv/client';
import { turn } from './turn';

export const indexTypes: readonly VectorIndexType[] = ['brute_force', 'hnsw'];

/** The same numbers from -1 to 1 in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

/** Vectors of numbers from -1 to 1. */
export function vectors(count: number, dimensions: number, seed: number): Float32Array[] {
  const next = random(seed);
  return Array.from({ length: count }, () => Float32Array.from({ length: dimensions }, next));
}

/** The model's distance, in double precision. */
export function distanceOf(distance: DistanceFunction, a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) =>
    x.reduce((sum, number, at) => sum + number * (y[at] ?? NaN), 0);
  switch (distance) {
    case 'euclidean':
      return Math.sqrt(a.reduce((sum, number, at) => sum + (number - (b[at] ?? NaN)) ** 2, 0));
    case 'cosine':
      return 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
    case 'inner_product':
      return -dot(a, b);
  }
}

export const ids = ({ matches }: VectorSearchResult): string[] => matches.map(({ id }) => id);

/** Ids that sort as their numbers do. */
export const idAt = (at: number): string => `id:${String(at).padStart(4, '0')}`;

let indexes = 0;

/** A new index, with these vectors by the ids of their places. */
export async function indexOf(
  client: NoriKVClient,
  all: readonly (Float32Array | readonly number[])[],
  dimensions: number,
  distance: DistanceFunction = 'euclidean',
  indexType: VectorIndexType = 'brute_force',
): Promise<string> {
  indexes += 1;
  const name = `index ${indexes}`;
  expect(await client.vectorCreateIndex(name, dimensions, distance, indexType)).toBe(true);
  for (let from = 0; from < all.length; from += 100) {
    const items = all
      .slice(from, from + 100)
      .map((vector, at) => ({ id: idAt(from + at), vector }));
    await client.vectorInsertMany(name, items);
  }
  return name;
}

/** Waits until all vectors of an index are in its graph. */
export async function untilIndexed(client: NoriKVClient, name: string): Promise<void> {
  for (;;) {
    const infos = await client.vectorIndexes();
    const info = infos.find(({ namespace }) => namespace === name);
    if (info === undefined) throw new Error(`there is no index ${name}`);
    if (info.indexed === info.vectors) return;
    await turn();
  }
}
