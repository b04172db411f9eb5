// What searches of vectors find is what a model finds.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ResourceExhaustedError } from '@norikv/client';
import type { DistanceFunction, NoriKVClient, VectorSearchOptions } from '@norikv/client';
import { distanceOf, idAt, ids, indexOf, indexTypes, untilIndexed, vectors } from './embeddings';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

const distances: readonly DistanceFunction[] = ['euclidean', 'cosine', 'inner_product'];
const indexKinds = distances.flatMap((distance) =>
  indexTypes.map((indexType) => ({ distance, indexType })),
);

describe.each(kinds.filter((kind) => kind.vectors))('vector searches of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  test.each(indexTypes)(
    'the next search finds what was inserted, and nothing replaced or deleted: %s',
    async (indexType) => {
      const name = await indexOf(client, [], 2, 'euclidean', indexType);
      const at = async (x: number) => ids(await client.vectorSearch(name, [x, 0], 1));
      for (let round = 0; round < (kind.slow ? 5 : 50); round++) {
        const x = round * 10;
        await client.vectorInsert(name, 'moving', [x, 0]);
        await client.vectorInsert(name, `stays:${round}`, [x + 1, 0]);
        expect(await at(x)).toEqual(['moving']);
        await client.vectorInsert(name, 'moving', [-1000, 0]);
        expect(await at(x)).toEqual([`stays:${round}`]);
        expect(await at(-1000)).toEqual(['moving']);
        expect(await client.vectorDelete(name, 'moving')).toBe(true);
        expect(await at(-1000)).not.toContain('moving');
      }
    },
  );

  test.each(indexKinds)(
    'searches answer what the model does: $distance, $indexType',
    async ({ distance, indexType }) => {
      const all = vectors(300, 16, 7);
      const name = await indexOf(client, all, 16, distance, indexType);
      // As many candidates as there are vectors leave nothing to luck. So few have no graph: that has its own test.
      const options = indexType === 'hnsw' ? { efSearch: 1000 } : {};
      const queries = vectors(10, 16, 8);
      const results = await client.vectorSearchMany(name, queries, 10, options);
      expect(results).toHaveLength(10);
      for (const [query, { matches, searchTimeUs }] of results.entries()) {
        const distancesTo = all.map((vector) => distanceOf(distance, queries[query]!, vector));
        const model = distancesTo.toSorted((a, b) => a - b).slice(0, 10);
        expect(matches).toHaveLength(10);
        for (const [rank, { id, distance: found }] of matches.entries()) {
          expect(found).toBeCloseTo(model[rank]!, 4);
          expect(found).toBeCloseTo(distancesTo[Number(id.slice(3))]!, 4);
        }
        expect(new Set(matches.map(({ id }) => id)).size).toBe(10);
        expect(Number.isSafeInteger(searchTimeUs) && searchTimeUs >= 0).toBe(true);
      }
    },
  );

  // An index has a graph from 1,000 vectors on, and searches it once it is linked.
  test.each(distances)(
    'a graph finds 95 of 100 at its defaults, fewer of few candidates, and what has changed: %s',
    async (distance) => {
      const all = vectors(2500, 32, 17);
      const name = await indexOf(client, all, 32, distance, 'hnsw');
      await untilIndexed(client, name);
      const queries = vectors(50, 32, 18);
      const models = queries.map((query) =>
        all.map((vector) => distanceOf(distance, query, vector)),
      );
      /** How many of the ten nearest to each query are found. */
      const hits = async (options: VectorSearchOptions) => {
        const results = await client.vectorSearchMany(name, queries, 10, options);
        let right = 0;
        for (const [query, { matches }] of results.entries()) {
          const model = models[query]!;
          const tenth = model.toSorted((a, b) => a - b)[9]!;
          expect(new Set(matches.map(({ id }) => id)).size).toBe(10);
          for (const { id, distance: found } of matches) {
            expect(found).toBeCloseTo(model[Number(id.slice(3))]!, 4);
            if (found <= tenth + 1e-5) right += 1;
          }
        }
        return right;
      };
      const usual = await hits({});
      expect(usual).toBeGreaterThanOrEqual(475);
      expect(await hits({ efSearch: 500 })).toBeGreaterThanOrEqual(475);
      expect(await hits({ efSearch: 10 })).toBeLessThan(usual - 25);

      const query = queries[0]!;
      const [first, second] = ids(await client.vectorSearch(name, query, 2));
      await client.vectorDelete(name, first!);
      // The nearest there can be; of inner products, nearer than the nearest there is.
      const times = (factor: number) => query.map((number) => number * factor);
      await client.vectorInsert(name, 'new', times(distance === 'inner_product' ? 4 : 1));
      await client.vectorInsert(name, second!, times(-1));
      const found = ids(await client.vectorSearch(name, query, 10));
      expect(found).not.toContain(first);
      expect(found).not.toContain(second);
      expect(found[0]).toBe('new');
      await client.vectorDropIndex(name);
    },
  );

  test.each(indexKinds)(
    'vectors that are equally far come in the order of their ids: $distance, $indexType',
    async ({ distance, indexType }) => {
      const name = await indexOf(client, [], 2, distance, indexType);
      const equal = ['b', 'é', 'a', 'aa', 'B', '🔑', 'z'];
      const items = equal.map((id) => ({ id, vector: [1, 1] }));
      await client.vectorInsertMany(name, [...items, { id: '0 far', vector: [-1, -2] }]);
      const inOrder = ['B', 'a', 'aa', 'b', 'z', 'é', '🔑', '0 far'];
      expect(ids(await client.vectorSearch(name, [1, 1], 8))).toEqual(inOrder);
      if (indexType === 'brute_force') {
        expect(ids(await client.vectorSearch(name, [1, 1], 3))).toEqual(inOrder.slice(0, 3));
      }
    },
  );

  test('distances are those of the formulas', async () => {
    const of = async (distance: DistanceFunction) => {
      const name = await indexOf(client, [[3, 4]], 2, distance);
      const { matches } = await client.vectorSearch(name, [3, 0], 1);
      return matches[0]?.distance;
    };
    expect(await of('euclidean')).toBe(4);
    expect(await of('cosine')).toBeCloseTo(0.4, 6);
    expect(await of('inner_product')).toBe(-9);
  });

  test('k is the most that is answered; an empty index answers nothing', async () => {
    const name = await indexOf(client, [], 2, 'euclidean', 'hnsw');
    expect((await client.vectorSearch(name, [0, 0], 10)).matches).toEqual([]);
    await client.vectorInsertMany(name, [
      { id: 'a', vector: [1, 0] },
      { id: 'b', vector: [2, 0] },
    ]);
    expect(ids(await client.vectorSearch(name, [0, 0], 1))).toEqual(['a']);
    expect(ids(await client.vectorSearch(name, [0, 0], 10_000))).toEqual(['a', 'b']);
  });

  test('includeVectors answers arrays of their own', async () => {
    const all = vectors(5, 3, 1);
    const name = await indexOf(client, all, 3);
    const without = await client.vectorSearch(name, [0, 0, 0], 5);
    expect(without.matches.map((match) => 'vector' in match)).toEqual(Array(5).fill(false));
    const find = () => client.vectorSearch(name, [0, 0, 0], 5, { includeVectors: true });
    const { matches } = await find();
    expect(ids({ matches, searchTimeUs: 0 })).toEqual(ids(without));
    for (const { id, vector } of matches) {
      expect(vector).toBeInstanceOf(Float32Array);
      expect(vector).toEqual(all[Number(id.slice(3))]);
      expect(vector?.buffer.byteLength).toBe(12);
      vector?.fill(0);
    }
    const again = await find();
    expect(again.matches[0]?.vector).toEqual(all[Number(again.matches[0]?.id.slice(3))]);
    const read = await client.vectorGet(name, idAt(0));
    read?.fill(0);
    expect(read?.buffer.byteLength).toBe(12);
    expect(await client.vectorGet(name, idAt(0))).toEqual(all[0]);
  });

  test('vectors of more than 64 MiB in one answer are refused', async () => {
    const name = await indexOf(client, vectors(50, 4096, 5), 4096);
    const queries = vectors(100, 4096, 6);
    const find = (k: number) =>
      client.vectorSearchMany(name, queries, k, { includeVectors: true, timeoutMs: 20_000 });
    await failure(ResourceExhaustedError, () => find(50));
    expect(await find(2)).toHaveLength(100);
    await client.vectorDropIndex(name);
  });

  test('maxDistance leaves out what is farther, and not what is as far', async () => {
    const name = await indexOf(client, [[1], [2.1], [3]], 1);
    const within = async (maxDistance: number) =>
      ids(await client.vectorSearch(name, [0], 10, { maxDistance }));
    expect(await within(Infinity)).toEqual([idAt(0), idAt(1), idAt(2)]);
    expect(await within(1e300)).toHaveLength(3);
    expect(await within(2.1)).toEqual([idAt(0), idAt(1)]);
    expect(await within(2)).toEqual([idAt(0)]);
    expect(await within(0)).toEqual([]);
    expect(await within(-1)).toEqual([]);
    const { matches } = await client.vectorSearch(name, [0], 2);
    expect(await within(matches[1]!.distance)).toHaveLength(2);
    const inner = await indexOf(client, [[1], [2], [3]], 1, 'inner_product');
    const { matches: near } = await client.vectorSearch(inner, [1], 10, { maxDistance: -2 });
    expect(near.map(({ distance }) => distance)).toEqual([-3, -2]);
  });

  test.each(indexTypes)(
    'idPrefix answers the nearest of the ids that begin so: %s',
    async (type) => {
      const name = await indexOf(client, [], 1, 'euclidean', type);
      const items = Array.from({ length: 100 }, (_, at) => ({
        id: `${at % 10 === 0 ? 'ten' : 'not'}:${String(at).padStart(2, '0')}`,
        vector: [at],
      }));
      await client.vectorInsertMany(name, items);
      const find = async (options: VectorSearchOptions) =>
        ids(await client.vectorSearch(name, [44], 3, options));
      expect(await find({ idPrefix: 'ten:' })).toEqual(['ten:40', 'ten:50', 'ten:30']);
      expect(await find({ idPrefix: 'ten:9' })).toEqual(['ten:90']);
      expect(await find({ idPrefix: 'te' })).toHaveLength(3);
      expect(await find({ idPrefix: 'none' })).toEqual([]);
      expect(await find({ idPrefix: '' })).toEqual(['not:44', 'not:43', 'not:45']);
      expect(await find({ idPrefix: 'ten:', maxDistance: 5 })).toEqual(['ten:40']);
    },
  );

  test('efSearch and consistency may be given, whatever the index', async () => {
    for (const type of indexTypes) {
      const name = await indexOf(client, [[1], [2], [3]], 1, 'euclidean', type);
      for (const efSearch of [1, 2, 10_000]) {
        const found = await client.vectorSearch(name, [0], 2, { efSearch });
        expect(ids(found)).toEqual([idAt(0), idAt(1)]);
      }
      for (const consistency of ['lease', 'linearizable', 'stale_ok'] as const) {
        expect((await client.vectorSearch(name, [0], 1, { consistency })).matches).toHaveLength(1);
      }
    }
  });

  test('several queries are answered in their order, each as by itself', async () => {
    const all = vectors(50, 4, 3);
    const name = await indexOf(client, all, 4);
    const queries = vectors(100, 4, 4);
    const many = await client.vectorSearchMany(name, new Set(queries), 3, { includeVectors: true });
    const alone = await Promise.all(
      queries.map((query) => client.vectorSearch(name, query, 3, { includeVectors: true })),
    );
    expect(many.map(({ matches }) => matches)).toEqual(alone.map(({ matches }) => matches));
  });
});
