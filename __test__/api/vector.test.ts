// Vectors and their indexes: created, written, read and dropped. What searches find is in `vectorSearch.test.ts`.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  DeadlineExceededError,
  InvalidArgumentError,
  VectorDimensionMismatchError,
  VectorIndexExistsError,
  VectorIndexNotFoundError,
} from '@norikv/client';
import type { DistanceFunction, NoriKVClient, VectorIndexType, VectorItem } from '@norikv/client';
import { idAt, ids, indexOf, indexTypes, vectors } from './embeddings';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';
import { turn } from './turn';

describe.each(kinds.filter((kind) => kind.vectors))('vectors of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
  });
  afterAll(() => store.close());

  test('an index is created once; the same again is false, another one an error', async () => {
    const create = (
      dimensions: number,
      distance: DistanceFunction,
      indexType: VectorIndexType,
      quantization?: 'none' | 'f16' | 'int8',
    ) => client.vectorCreateIndex('created', dimensions, distance, indexType, { quantization });
    expect(await create(3, 'cosine', 'hnsw', 'f16')).toBe(true);
    expect(await create(3, 'cosine', 'hnsw', 'f16')).toBe(false);
    for (const other of [
      () => create(4, 'cosine', 'hnsw', 'f16'),
      () => create(3, 'euclidean', 'hnsw', 'f16'),
      () => create(3, 'cosine', 'brute_force', 'f16'),
      () => create(3, 'cosine', 'hnsw', 'int8'),
      () => create(3, 'cosine', 'hnsw'),
    ]) {
      const error = await failure(VectorIndexExistsError, other);
      expect(error.code).toBe('VECTOR_INDEX_EXISTS');
    }
    const infos = await client.vectorIndexes();
    expect(infos.find(({ namespace }) => namespace === 'created')).toMatchObject({
      dimensions: 3,
      distance: 'cosine',
      indexType: 'hnsw',
      quantization: 'f16',
      vectors: 0,
      indexed: 0,
    });
    expect(await client.vectorDropIndex('created')).toBe(true);
    expect(await client.vectorDropIndex('created')).toBe(false);
  });

  test('a vector is inserted, read, replaced and deleted', async () => {
    const name = await indexOf(client, [], 3);
    expect(await client.vectorGet(name, 'a')).toBeNull();
    expect(await client.vectorDelete(name, 'a')).toBe(false);
    const first = await client.vectorInsert(name, 'a', [0.1, -2, 3e-40]);
    const read = await client.vectorGet(name, 'a');
    expect(read).toBeInstanceOf(Float32Array);
    expect(read).toEqual(new Float32Array([0.1, -2, 3e-40]));
    const second = await client.vectorInsert(name, 'a', [4, 5, 6]);
    expect(second.compare(first)).toBe(1);
    expect(await client.vectorGet(name, 'a', { consistency: 'linearizable' })).toEqual(
      new Float32Array([4, 5, 6]),
    );
    expect(await client.vectorDelete(name, 'a')).toBe(true);
    expect(await client.vectorDelete(name, 'a')).toBe(false);
    expect(await client.vectorGet(name, 'a')).toBeNull();
  });

  test('calls on one vector take effect as they were made, also unawaited', async () => {
    const name = await indexOf(client, [], 1);
    for (let round = 0; round < 20; round++) {
      const [first, second, read, deleted, gone] = await Promise.all([
        client.vectorInsert(name, 'a', [1]),
        client.vectorInsert(name, 'a', [round]),
        client.vectorGet(name, 'a'),
        client.vectorDelete(name, 'a'),
        client.vectorGet(name, 'a'),
      ]);
      expect(second.compare(first)).toBe(1);
      expect(read).toEqual(new Float32Array([round]));
      expect(deleted).toBe(true);
      expect(gone).toBeNull();
    }
  });

  test('insertMany is one write: one version, and all of it or nothing', async () => {
    const name = await indexOf(client, [], 2);
    const before = (await client.status()).version;
    const version = await client.vectorInsertMany(
      name,
      Array.from({ length: 100 }, (_, at) => ({ id: idAt(at), vector: [at, 0] })),
    );
    expect(version.index).toBe(before.index + 1n);
    expect((await client.status()).version.equals(version)).toBe(true);
    await failure(VectorDimensionMismatchError, () =>
      client.vectorInsertMany(name, [
        { id: 'right', vector: [1, 2] },
        { id: 'wrong', vector: [1, 2, 3] },
      ]),
    );
    expect(await client.vectorGet(name, 'right')).toBeNull();
    expect((await client.status()).version.equals(version)).toBe(true);
  });

  test('vectors may come from any iterable, which may make calls and use one array for all', async () => {
    const name = await indexOf(client, [], 2);
    const written: Promise<unknown>[] = [];
    function* items(): Generator<VectorItem> {
      const vector = new Float32Array(2);
      for (let at = 0; at < 10; at++) {
        vector.fill(at);
        written.push(client.put(`meta:${at}`, 'x'));
        yield { id: idAt(at), vector };
      }
    }
    await client.vectorInsertMany(name, items());
    expect(await Promise.all(written)).toHaveLength(10);
    for (const at of [0, 4, 9]) {
      expect(await client.vectorGet(name, idAt(at))).toEqual(new Float32Array([at, at]));
    }
    const map = new Map([['x', { id: 'of a map', vector: [7, 7] }]]);
    await client.vectorInsertMany(name, map.values());
    expect(await client.vectorGet(name, 'of a map')).toEqual(new Float32Array([7, 7]));
  });

  test('numbers and Float32Arrays, views and shared ones, are the same vector', async () => {
    const name = await indexOf(client, [], 3);
    const numbers = [0.1, 1 / 3, -1e-40];
    const floats = new Float32Array(numbers);
    const view = new Float32Array([9, ...numbers, 9]).subarray(1, 4);
    const given: (Float32Array | readonly number[])[] = [numbers, floats, view];
    // A page has no memory that is shared, unless it is isolated.
    if (typeof SharedArrayBuffer === 'function') {
      const shared = new Float32Array(new SharedArrayBuffer(12));
      shared.set(floats);
      given.push(shared);
    }
    for (const vector of given) {
      await client.vectorInsert(name, 'a', vector);
      expect(await client.vectorGet(name, 'a')).toEqual(floats);
      const { matches } = await client.vectorSearch(name, vector, 1);
      expect(matches).toEqual([{ id: 'a', distance: 0 }]);
    }
  });

  test('what the caller does to its arrays after a call changes nothing', async () => {
    const name = await indexOf(
      client,
      [
        [1, 0],
        [0, 1],
      ],
      2,
    );
    const vector = new Float32Array([5, 5]);
    const list = [7, 7];
    const items = [{ id: 'item', vector: new Float32Array([6, 6]) }];
    const query = new Float32Array([1, 0]);
    const calls = [
      client.vectorInsert(name, 'floats', vector),
      client.vectorInsert(name, 'list', list),
      client.vectorInsertMany(name, items),
    ];
    const searching = client.vectorSearch(name, query, 1);
    vector.fill(0);
    list.fill(0);
    items[0]?.vector.fill(0);
    items.length = 0;
    query.set([0, 1]);
    await Promise.all(calls);
    expect(ids(await searching)).toEqual([idAt(0)]);
    expect(await client.vectorGet(name, 'floats')).toEqual(new Float32Array([5, 5]));
    expect(await client.vectorGet(name, 'list')).toEqual(new Float32Array([7, 7]));
    expect(await client.vectorGet(name, 'item')).toEqual(new Float32Array([6, 6]));
  });

  test('100 vectors of 4,096 numbers go in one call, and so do 100 such queries', async () => {
    // Or fewer numbers, where the store takes less at a time.
    const dimensions = Math.min(4096, Math.floor((kind.maxTxnBytes * 0.9) / 100 / 4));
    const all = vectors(100, dimensions, 5);
    const name = await indexOf(client, all, dimensions);
    const results = await client.vectorSearchMany(name, all, 1, { includeVectors: true });
    expect(results.map((result) => ids(result)[0])).toEqual(all.map((_, at) => idAt(at)));
    expect(results.map(({ matches }) => matches[0]?.vector)).toEqual(all);
    expect(await client.vectorDropIndex(name)).toBe(true);
  });

  test('parts of a store have indexes of their own', async () => {
    const one = client.namespace('one/');
    const two = client.namespace('two/');
    expect(await one.vectorCreateIndex('docs', 2, 'cosine', 'hnsw')).toBe(true);
    expect(await two.vectorCreateIndex('docs', 1, 'euclidean', 'brute_force')).toBe(true);
    await one.vectorInsert('docs', 'a', [1, 2]);
    await two.vectorInsert('docs', 'b', [1]);
    expect(ids(await one.vectorSearch('docs', [1, 2], 10))).toEqual(['a']);
    expect(ids(await two.vectorSearch('docs', [1], 10))).toEqual(['b']);
    expect(ids(await client.vectorSearch('one/docs', [1, 2], 10))).toEqual(['a']);
    expect((await one.vectorIndexes()).map(({ namespace }) => namespace)).toEqual(['docs']);
    const names = (await client.vectorIndexes()).map(({ namespace }) => namespace);
    expect(names).toEqual(expect.arrayContaining(['one/docs', 'two/docs']));
    expect(names).toEqual(names.toSorted());
    const error = await failure(VectorIndexNotFoundError, () => one.vectorGet('other', 'a'));
    expect(error.message).toContain('other');
    expect(await one.vectorDropIndex('docs')).toBe(true);
    expect(await two.vectorGet('docs', 'b')).toEqual(new Float32Array([1]));
    await two.vectorDropIndex('docs');
  });

  test('indexes say how large they are, and so does status()', async () => {
    const before = (await client.status()).vectors;
    const name = await indexOf(client, vectors(150, 8, 6), 8, 'cosine', 'hnsw');
    await client.vectorDelete(name, idAt(0));
    await client.vectorInsert(name, idAt(1), vectors(1, 8, 9)[0]!);
    const info = (await client.vectorIndexes()).find(({ namespace }) => namespace === name);
    expect(info).toMatchObject({
      dimensions: 8,
      distance: 'cosine',
      indexType: 'hnsw',
      quantization: 'none',
      vectors: 149,
    });
    expect(info?.indexed).toBeLessThanOrEqual(149);
    expect(info?.memoryBytes).toBeGreaterThan(149 * 8 * 4);
    const { features, version, vectors: after } = await client.status();
    expect(features).toContain('vectors');
    expect(info?.created.compare(version)).toBeLessThan(0);
    expect(after?.indexes).toBe((before?.indexes ?? NaN) + 1);
    expect(after?.vectors).toBe((before?.vectors ?? NaN) + 149);
    expect(after?.indexed).toBeLessThanOrEqual(after?.vectors ?? NaN);
  });

  test('a write with an idempotencyKey happens once', async () => {
    const name = await indexOf(client, [], 1);
    const options = { idempotencyKey: `insert into ${name}` };
    const version = await client.vectorInsert(name, 'a', [1], options);
    await client.vectorInsert(name, 'a', [2]);
    expect((await client.vectorInsert(name, 'a', [1], options)).equals(version)).toBe(true);
    expect(await client.vectorGet(name, 'a')).toEqual(new Float32Array([2]));
    await failure(InvalidArgumentError, () => client.vectorInsert(name, 'a', [3], options));
    await failure(InvalidArgumentError, () => client.vectorInsert(name, 'b', [1], options));
    await failure(InvalidArgumentError, () => client.vectorDelete(name, 'a', options));
    expect(await client.vectorGet(name, 'a')).toEqual(new Float32Array([2]));

    const many = { idempotencyKey: `insert many into ${name}` };
    const items = [
      { id: 'm', vector: [1] },
      { id: 'n', vector: [2] },
    ];
    const first = await client.vectorInsertMany(name, items, many);
    await client.vectorDelete(name, 'm');
    expect((await client.vectorInsertMany(name, items, many)).equals(first)).toBe(true);
    expect(await client.vectorGet(name, 'm')).toBeNull();

    const once = { idempotencyKey: `delete from ${name}` };
    expect(await client.vectorDelete(name, 'a', once)).toBe(true);
    await client.vectorInsert(name, 'a', [4]);
    expect(await client.vectorDelete(name, 'a', once)).toBe(true);
    expect(await client.vectorGet(name, 'a')).toEqual(new Float32Array([4]));

    const create = { idempotencyKey: `create beside ${name}` };
    const beside = `${name} beside`;
    const creating = () => client.vectorCreateIndex(beside, 1, 'cosine', 'hnsw', create);
    expect(await creating()).toBe(true);
    expect(await client.vectorDropIndex(beside)).toBe(true);
    expect(await creating()).toBe(true);
    await failure(VectorIndexNotFoundError, () => client.vectorGet(beside, 'a'));
  });

  test('an index that was dropped and created again is empty', async () => {
    for (const type of indexTypes) {
      const name = await indexOf(client, vectors(120, 2, 2), 2, 'euclidean', type);
      expect(await client.vectorDropIndex(name)).toBe(true);
      await failure(VectorIndexNotFoundError, () => client.vectorSearch(name, [0, 0], 1));
      expect(await client.vectorCreateIndex(name, 3, 'cosine', type)).toBe(true);
      expect((await client.vectorSearch(name, [1, 1, 1], 10)).matches).toEqual([]);
      expect(await client.vectorGet(name, idAt(0))).toBeNull();
      const infos = await client.vectorIndexes();
      expect(infos.find(({ namespace }) => namespace === name)?.vectors).toBe(0);
    }
  });

  test('another client of the same store finds what this one inserted', async () => {
    const name = await indexOf(client, [[1], [2]], 1, 'euclidean', 'hnsw');
    const other = await store.another();
    expect(ids(await other.vectorSearch(name, [2], 1))).toEqual([idAt(1)]);
    await other.vectorDelete(name, idAt(1));
    expect(ids(await client.vectorSearch(name, [2], 1))).toEqual([idAt(0)]);
  });

  test('no index: each call says so', async () => {
    for (const call of [
      () => client.vectorInsert('nowhere', 'a', [1]),
      () => client.vectorInsertMany('nowhere', [{ id: 'a', vector: [1] }]),
      () => client.vectorDelete('nowhere', 'a'),
      () => client.vectorGet('nowhere', 'a'),
      () => client.vectorSearch('nowhere', [1], 1),
      () => client.vectorSearchMany('nowhere', [[1]], 1),
    ]) {
      const error = await failure(VectorIndexNotFoundError, call);
      expect(error.code).toBe('VECTOR_INDEX_NOT_FOUND');
      expect(error.message).toContain('nowhere');
    }
  });

  test('a vector of another length says both', async () => {
    const name = await indexOf(client, [], 3);
    for (const [length, call] of [
      [2, () => client.vectorInsert(name, 'a', [1, 2])],
      [4, () => client.vectorInsertMany(name, [{ id: 'a', vector: [1, 2, 3, 4] }])],
      [1, () => client.vectorSearch(name, [1], 1)],
      [4096, () => client.vectorSearchMany(name, [new Float32Array(4096)], 1)],
    ] as const) {
      const error = await failure(VectorDimensionMismatchError, call);
      expect(error).toMatchObject({ expected: 3, actual: length, retryable: false });
    }
  });

  test('a signal that has fired: nothing is done', async () => {
    const name = await indexOf(client, [], 1);
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    for (const call of [
      () => client.vectorCreateIndex(`${name} never`, 1, 'cosine', 'hnsw', { signal }),
      () => client.vectorDropIndex(name, { signal }),
      () => client.vectorInsert(name, 'a', [1], { signal }),
      () => client.vectorInsertMany(name, [{ id: 'a', vector: [1] }], { signal }),
      () => client.vectorDelete(name, 'a', { signal }),
      () => client.vectorGet(name, 'a', { signal }),
      () => client.vectorSearch(name, [1], 1, { signal }),
      () => client.vectorSearchMany(name, [[1]], 1, { signal }),
      () => client.vectorIndexes({ signal }),
    ]) {
      const error = await failure(CancelledError, call);
      expect(error.cause).toBe(reason);
      expect(error.outcome).toBeUndefined();
    }
    expect(await client.vectorGet(name, 'a')).toBeNull();
  });

  test('a write that is ended under way is done or not, and says that this is unknown', async () => {
    const name = await indexOf(client, [], 1);
    for (let round = 0; round < 10; round++) {
      const controller = new AbortController();
      const id = idAt(round);
      const inserting = client.vectorInsert(name, id, [1], { signal: controller.signal });
      await turn();
      controller.abort();
      const outcome = await inserting.then(
        () => 'done',
        (error: unknown) => error,
      );
      if (outcome === 'done') expect(await client.vectorGet(name, id)).not.toBeNull();
      else expect((outcome as CancelledError).outcome).toBe('unknown');
    }
  });

  test('a time that is too short is a DeadlineExceededError, or the answer', async () => {
    const all = vectors(100, 4096, 5).map((vector, at) => ({ id: idAt(at), vector }));
    const name = await indexOf(client, [], 4096);
    const inserting = await client.vectorInsertMany(name, all, { timeoutMs: 1 }).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (inserting !== undefined) {
      expect(inserting).toBeInstanceOf(DeadlineExceededError);
      expect(inserting).toMatchObject({ timeoutMs: 1, outcome: 'unknown' });
    }
    const searching = await client.vectorSearch(name, all[0]!.vector, 1, { timeoutMs: 1 }).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (searching !== undefined) {
      expect(searching).toBeInstanceOf(DeadlineExceededError);
      expect((searching as DeadlineExceededError).outcome).toBeUndefined();
    }
    expect(
      (await client.vectorSearch(name, all[0]!.vector, 1, { timeoutMs: 9000 })).matches,
    ).toBeDefined();
  });
});

describe.each(kinds.filter((kind) => kind.vectors && (kind.holds === 'file' || kind.remote)))(
  'vectors of $name, opened again',
  (kind) => {
    test('are there, replaced ones as they were last, deleted ones not', async () => {
      const store = await kind.open();
      const { client } = store;
      await client.vectorCreateIndex('kept', 2, 'euclidean', 'hnsw', { quantization: 'int8' });
      const items = Array.from({ length: 100 }, (_, at) => ({ id: idAt(at), vector: [at, 0.1] }));
      await client.vectorInsertMany('kept', items);
      await client.vectorInsert('kept', idAt(1), [500, 0]);
      await client.vectorDelete('kept', idAt(2));
      if (kind.part) await store.whole?.close();
      else await client.close();
      const again = await store.again();
      expect(await again.vectorGet('kept', idAt(3))).toEqual(new Float32Array([3, 0.1]));
      expect(ids(await again.vectorSearch('kept', [499, 0], 1))).toEqual([idAt(1)]);
      expect(ids(await again.vectorSearch('kept', [2, 0], 2)).toSorted()).toEqual(
        [idAt(3), idAt(0)].toSorted(),
      );
      expect((await again.vectorIndexes())[0]).toMatchObject({
        namespace: 'kept',
        quantization: 'int8',
        vectors: 99,
      });
      await store.close();
    });
  },
);
