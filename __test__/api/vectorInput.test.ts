// Bad input to the vector calls: each with its error that says what was found and where, and without an effect.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import {
  InvalidArgumentError,
  VectorDimensionMismatchError,
  VectorIndexNotFoundError,
} from '@norikv/client';
import type { NoriKVClient, Version } from '@norikv/client';
import { failure } from './errors';
import { kinds } from './stores';
import type { TestStore } from './stores';

/** A client as plain JavaScript sees it: everything may be given anything. */
type Untyped = Readonly<
  Record<
    | 'vectorCreateIndex'
    | 'vectorDropIndex'
    | 'vectorInsert'
    | 'vectorInsertMany'
    | 'vectorDelete'
    | 'vectorGet'
    | 'vectorSearch'
    | 'vectorSearchMany'
    | 'vectorIndexes',
    (...args: unknown[]) => Promise<unknown>
  >
>;
type Call = () => Promise<unknown>;

const noText = [null, undefined, 5, 1n, true, {}, ['x'], new Uint8Array([1])];
const noNumber = [null, undefined, '3', 3n, true, {}, [3]];

describe.each(kinds.filter((kind) => kind.vectors))('bad input to the vectors of $name', (kind) => {
  let store: TestStore;
  let client: NoriKVClient;
  let plain: Untyped;
  let before: Version;

  beforeAll(async () => {
    store = await kind.open();
    ({ client } = store);
    plain = client as unknown as Untyped;
    await client.vectorCreateIndex('index', 3, 'euclidean', 'hnsw');
    await client.vectorCreateIndex('angles', 3, 'cosine', 'brute_force');
    await client.vectorInsert('index', 'there', [1, 2, 3]);
  });
  beforeEach(async () => {
    before = (await client.status()).version;
  });
  afterEach(async () => {
    const infos = await client.vectorIndexes();
    expect(infos.map(({ namespace, vectors }) => [namespace, vectors])).toEqual([
      ['angles', 0],
      ['index', 1],
    ]);
    expect((await client.status()).version.equals(before)).toBe(true);
  });
  afterAll(() => store.close());

  /** Each is refused, with an error that says all of this. */
  const refused = async (says: readonly string[], ...calls: Call[]) => {
    for (const call of calls) {
      const error = await failure(InvalidArgumentError, call);
      expect(error.code).toBe('INVALID_ARGUMENT');
      expect(error.outcome).toBeUndefined();
      for (const said of says) expect(error.message).toContain(said);
    }
  };

  const withNamespace = (namespace: unknown): Call[] => [
    () => plain.vectorCreateIndex(namespace, 3, 'euclidean', 'hnsw'),
    () => plain.vectorDropIndex(namespace),
    () => plain.vectorInsert(namespace, 'id', [1, 2, 3]),
    () => plain.vectorInsertMany(namespace, [{ id: 'id', vector: [1, 2, 3] }]),
    () => plain.vectorDelete(namespace, 'id'),
    () => plain.vectorGet(namespace, 'id'),
    () => plain.vectorSearch(namespace, [1, 2, 3], 1),
    () => plain.vectorSearchMany(namespace, [[1, 2, 3]], 1),
  ];
  const withId = (id: unknown): Call[] => [
    () => plain.vectorInsert('index', id, [1, 2, 3]),
    () => plain.vectorInsertMany('index', [{ id, vector: [1, 2, 3] }]),
    () => plain.vectorDelete('index', id),
    () => plain.vectorGet('index', id),
  ];
  const withVector = (vector: unknown): Call[] => [
    () => plain.vectorInsert('index', 'id', vector),
    () => plain.vectorInsertMany('index', [{ id: 'id', vector }]),
    () =>
      plain.vectorInsertMany('index', [
        { id: 'right', vector: [1, 2, 3] },
        { id: 'id', vector },
      ]),
    () => plain.vectorSearch('index', vector, 1),
    () => plain.vectorSearchMany('index', [[1, 2, 3], vector], 1),
  ];

  test('a namespace that is no text, empty, or has more than 256 bytes', async () => {
    for (const namespace of noText) await refused(['namespace'], ...withNamespace(namespace));
    for (const namespace of ['', 'n'.repeat(257), 'é'.repeat(129)]) {
      await refused(['namespace', '256'], ...withNamespace(namespace));
    }
  });

  test('an id that is no text, empty, or has more than 512 bytes', async () => {
    for (const id of noText) await refused(['id'], ...withId(id));
    await refused(['513', '512'], ...withId('i'.repeat(513)));
    await refused(['514', '512'], ...withId('é'.repeat(257)));
    await refused(['id', '512'], ...withId(''));
  });

  test('a name, an id or a prefix with half of a surrogate pair, which would be that of another', async () => {
    for (const half of ['\ud83d', '\udd11', 'a\ud83d', '\udd11\ud83d', '🔑\udd11', '\ud83d🔑']) {
      await refused(['namespace', 'surrogate'], ...withNamespace(half));
      await refused(['id', 'surrogate'], ...withId(half));
      await refused(['idPrefix', 'surrogate'], () =>
        plain.vectorSearch('index', [1, 2, 3], 1, { idPrefix: half }),
      );
    }
    // Whole pairs, and the character that halves would have become, are text.
    for (const whole of ['🔑', '\ud83d\udd11', '\ufffd']) {
      expect(await client.vectorGet('index', whole)).toBeNull();
      await failure(VectorIndexNotFoundError, () => client.vectorGet(whole, 'id'));
    }
  });

  test('dimensions that are no number from 1 to 4,096', async () => {
    const create = (dimensions: unknown) => () =>
      plain.vectorCreateIndex('new', dimensions, 'cosine', 'hnsw');
    for (const wrong of [0, -1, 4097, 5000, 2 ** 31, 2 ** 32 + 3, NaN, Infinity, -Infinity]) {
      await refused(['dimensions', '4096', `got ${wrong}`], create(wrong));
    }
    await refused(['dimensions', 'got 0.5'], create(0.5));
    for (const wrong of noNumber) await refused(['dimensions is a number'], create(wrong));
  });

  test('words that are unknown', async () => {
    for (const wrong of ['manhattan', '', 'COSINE', 'inner-product']) {
      await refused(['distance', 'inner_product', JSON.stringify(wrong)], () =>
        plain.vectorCreateIndex('new', 3, wrong, 'hnsw'),
      );
    }
    for (const wrong of ['ivf', '', 'HNSW']) {
      await refused(['indexType', 'brute_force', JSON.stringify(wrong)], () =>
        plain.vectorCreateIndex('new', 3, 'cosine', wrong),
      );
    }
    for (const quantization of ['int4', '', 'F16']) {
      await refused(['quantization', 'int8', JSON.stringify(quantization)], () =>
        plain.vectorCreateIndex('new', 3, 'cosine', 'hnsw', { quantization }),
      );
    }
    for (const wrong of noText) {
      await refused(
        ['is a string'],
        () => plain.vectorCreateIndex('new', 3, wrong, 'hnsw'),
        () => plain.vectorCreateIndex('new', 3, 'cosine', wrong),
      );
    }
    for (const quantization of noText.filter((word) => word !== undefined)) {
      await refused(['quantization is a string'], () =>
        plain.vectorCreateIndex('new', 3, 'cosine', 'hnsw', { quantization }),
      );
    }
  });

  test('a k that is no whole number from 1 to 10,000', async () => {
    const calls = (k: unknown): Call[] => [
      () => plain.vectorSearch('index', [1, 2, 3], k),
      () => plain.vectorSearchMany('index', [[1, 2, 3]], k),
    ];
    for (const k of [0, -1, 10_001, 2 ** 31, 2 ** 32 + 1, 2 ** 53, NaN, Infinity, -Infinity]) {
      const shown = Number.isSafeInteger(k) ? String(k) : '';
      await refused(['k is a whole number from 1 to 10000', `got ${shown}`], ...calls(k));
    }
    await refused(['k is', 'got NaN'], ...calls(NaN));
    await refused(['k is', 'got 0.5'], ...calls(0.5));
    for (const k of noNumber) await refused(['k is a number'], ...calls(k));
  });

  test('options of a search that are out of range or of wrong types', async () => {
    const search = (options: unknown): Call[] => [
      () => plain.vectorSearch('index', [1, 2, 3], 1, options),
      () => plain.vectorSearchMany('index', [[1, 2, 3]], 1, options),
    ];
    for (const efSearch of [0, -1, 0.5, 10_001, 2 ** 31, NaN, Infinity]) {
      await refused(['efSearch', '10000'], ...search({ efSearch }));
    }
    await refused(['maxDistance', 'NaN'], ...search({ maxDistance: NaN }));
    for (const wrong of noNumber.filter((number) => number !== undefined)) {
      await refused(['efSearch is a number'], ...search({ efSearch: wrong }));
      await refused(['maxDistance is a number'], ...search({ maxDistance: wrong }));
    }
    for (const includeVectors of [null, 0, 1, 'true', {}]) {
      await refused(['includeVectors is a boolean'], ...search({ includeVectors }));
    }
    for (const idPrefix of noText.filter((text) => text !== undefined)) {
      await refused(['idPrefix is a string'], ...search({ idPrefix }));
    }
    await refused(['idPrefix', '513'], ...search({ idPrefix: 'i'.repeat(513) }));
    for (const consistency of ['strong', null, 0]) {
      await refused(['consistency'], ...search({ consistency }));
      await refused(['consistency'], () => plain.vectorGet('index', 'there', { consistency }));
    }
    await refused(['"ef"'], ...search({ ef: 100 }));
  });

  test('options that are none, have unknown names, or a wrong idempotencyKey', async () => {
    const writes = (options: unknown): Call[] => [
      () => plain.vectorCreateIndex('new', 3, 'cosine', 'hnsw', options),
      () => plain.vectorDropIndex('index', options),
      () => plain.vectorInsert('index', 'id', [1, 2, 3], options),
      () => plain.vectorInsertMany('index', [{ id: 'id', vector: [1, 2, 3] }], options),
      () => plain.vectorDelete('index', 'there', options),
    ];
    const all = (options: unknown): Call[] => [
      ...writes(options),
      () => plain.vectorGet('index', 'there', options),
      () => plain.vectorSearch('index', [1, 2, 3], 1, options),
      () => plain.vectorSearchMany('index', [[1, 2, 3]], 1, options),
      () => plain.vectorIndexes(options),
    ];
    for (const options of [null, 5, 'x', true]) await refused(['options'], ...all(options));
    await refused(['"unknown"'], ...all({ unknown: 1 }));
    for (const timeoutMs of [0, -1, NaN, '1']) await refused(['timeoutMs'], ...all({ timeoutMs }));
    for (const idempotencyKey of ['', 'x'.repeat(1025), 5, null]) {
      await refused(['dempotency'], ...writes({ idempotencyKey }));
    }
  });

  test('what is no vector', async () => {
    const others = [
      new Float64Array(3),
      new Int8Array(3),
      new Uint8Array(12),
      new DataView(new ArrayBuffer(12)),
      new ArrayBuffer(12),
      new Set([1, 2, 3]),
      { length: 3, 0: 1, 1: 2, 2: 3 },
      null,
      undefined,
      '1,2,3',
      5,
      1n,
    ];
    for (const vector of others) {
      await refused(['is a Float32Array or an array of numbers'], ...withVector(vector));
    }
    await refused(['[object Float64Array]'], ...withVector(new Float64Array(3)));
  });

  test('an array that has something else than numbers, or nothing, at a place', async () => {
    const hole = [1, 2, 3];
    // eslint-disable-next-line @typescript-eslint/no-array-delete -- a hole is what is refused
    delete hole[1];
    await refused(['at 1', 'a hole'], ...withVector(hole));
    await refused(['at 0', 'a hole'], ...withVector(Array(4096)));
    for (const [wrong, shown] of [
      ['0.3', 'the string "0.3"'],
      [null, 'null'],
      [undefined, 'undefined'],
      [3n, 'the bigint 3'],
      [true, 'the boolean true'],
      [[3], '[object Array]'],
    ] as const) {
      await refused(['at 2', shown], ...withVector([1, 2, wrong]));
    }
    // Of several, the one that is wrong is named.
    await refused(['vectors[1].vector', 'at 2'], () =>
      plain.vectorInsertMany('index', [
        { id: 'a', vector: [1, 2, 3] },
        { id: 'b', vector: [1, 2, 'x'] },
      ]),
    );
    await refused(['queries[1]', 'at 0'], () =>
      plain.vectorSearchMany('index', [[1, 2, 3], [null]], 1),
    );
  });

  test('numbers that are NaN, infinite, or so large that distances would be', async () => {
    for (const wrong of [NaN, Infinity, -Infinity, 1e39, -1e300]) {
      await refused(
        ['number 1', Number.isNaN(wrong) ? 'NaN' : 'infinite'],
        ...withVector([1, wrong, 3]),
        ...withVector(new Float32Array([1, wrong, 3])),
      );
    }
    await refused(['squares'], ...withVector([1e19, 0, 0]));
  });

  test('vectors that are empty, too long, or have lost their memory', async () => {
    await refused(['4096', 'has 0'], ...withVector([]), ...withVector(new Float32Array()));
    await refused(['4096', '5000'], ...withVector(new Float32Array(5000)));
    await refused(['4096', '5000'], ...withVector(Array(5000).fill(1)));
    const taken = new Float32Array(3);
    structuredClone(taken, { transfer: [taken.buffer] });
    await refused(['has 0'], ...withVector(taken));
    // A buffer that shrinks takes the numbers away from the arrays that look at it.
    const Resizable = ArrayBuffer as unknown as new (
      length: number,
      options: object,
    ) => ArrayBuffer & { resize(length: number): void };
    const buffer = new Resizable(12, { maxByteLength: 24 });
    const shrunk = new Float32Array(buffer, 4, 2);
    buffer.resize(4);
    await refused(['has 0'], ...withVector(shrunk));
  });

  test('a vector that is too long is refused before any of it is looked at', async () => {
    const huge = new Float32Array(10_000_000);
    // Whoever copies its numbers asks for their memory first.
    Object.defineProperty(huge, 'buffer', {
      get: () => {
        throw new Error('its memory was looked at');
      },
    });
    const sparse: number[] = [];
    sparse.length = 2 ** 32 - 1;
    // In the words of the core, which refuses those that are too short.
    const says = 'a vector has 1 to 4096 numbers; this one has';
    await refused([`${says} 0`], ...withVector([]));
    await refused([`${says} 10000000`], ...withVector(huge));
    await refused([`${says} 4294967295`], ...withVector(sparse));
    await refused(
      [`${says} 10000000`],
      () => plain.vectorInsertMany('index', Array(100).fill({ id: 'id', vector: huge })),
      () => plain.vectorSearchMany('index', Array(100).fill(huge), 1),
    );
    const longest = new Float32Array(4096).fill(1);
    for (const call of withVector(longest)) await failure(VectorDimensionMismatchError, call);
  });

  test('a vector of zeros, where the distance is the angle', async () => {
    for (const zeros of [[0, 0, 0], [0, -0, 1e-50], new Float32Array(3)]) {
      await refused(
        ['zeros'],
        () => plain.vectorInsert('angles', 'id', zeros),
        () => plain.vectorInsertMany('angles', [{ id: 'id', vector: zeros }]),
        () => plain.vectorSearch('angles', zeros, 1),
      );
    }
  });

  test('no vectors, more than 100, two with one id, or what is none', async () => {
    const items = Array.from({ length: 101 }, (_, at) => ({ id: `${at}`, vector: [1, 2, 3] }));
    function* endless() {
      for (let at = 0; ; at++) yield { id: `${at}`, vector: [1, 2, 3] };
    }
    for (const list of [items, endless()]) {
      await refused(['100', 'more'], () => plain.vectorInsertMany('index', list));
    }
    await refused(['100', 'got 0'], () => plain.vectorInsertMany('index', []));
    await refused(['"a"', 'twice'], () =>
      plain.vectorInsertMany('index', [
        { id: 'a', vector: [1, 2, 3] },
        { id: 'b', vector: [1, 2, 3] },
        { id: 'a', vector: [1, 2, 3] },
      ]),
    );
    async function* later() {
      yield await Promise.resolve(items[0]);
    }
    for (const list of [null, undefined, 5, 'text', {}, items[0], later()]) {
      await refused(['vectors is an iterable'], () => plain.vectorInsertMany('index', list));
    }
    for (const item of [null, undefined, 5, 'id']) {
      await refused(['vectors[1]'], () => plain.vectorInsertMany('index', [items[0], item]));
    }
    await refused(['vectors[0].id'], () =>
      plain.vectorInsertMany('index', [{ vector: [1, 2, 3] }]),
    );
    await refused(['vectors[0].vector'], () => plain.vectorInsertMany('index', [{ id: 'a' }]));
  });

  test('no queries, more than 100, or what is none', async () => {
    const queries = Array.from({ length: 101 }, () => [1, 2, 3]);
    await refused(['100', 'more'], () => plain.vectorSearchMany('index', queries, 1));
    await refused(['100', 'has 0'], () => plain.vectorSearchMany('index', [], 1));
    for (const list of [null, undefined, 5, 'text', {}]) {
      await refused(['queries is an iterable'], () => plain.vectorSearchMany('index', list, 1));
    }
    // One query, where several are asked for.
    await refused(['queries[0]'], () => plain.vectorSearchMany('index', [1, 2, 3], 1));
  });

  test('what an iterable throws is the caller’s own error', async () => {
    const mine = new TypeError('mine');
    function* broken() {
      yield { id: 'a', vector: [1, 2, 3] };
      throw mine;
    }
    await expect(client.vectorInsertMany('index', broken())).rejects.toBe(mine);
  });

  test('a refused call does not spoil the calls of the same turn', async () => {
    const outcomes = await Promise.allSettled([
      client.vectorGet('index', 'there'),
      client.vectorInsert('index', 'a', ['x'] as never),
      client.vectorInsert('index', 'a', [1, 2]),
      client.vectorSearch('index', [1, 2, 3], 0),
      client.vectorSearch('index', [1, 2, 3], 1),
    ]);
    expect(outcomes.map(({ status }) => status[0]).join('')).toBe('frrrf');
    const wrong = outcomes[2] as PromiseRejectedResult;
    expect(wrong.reason).toBeInstanceOf(VectorDimensionMismatchError);
  });
});
