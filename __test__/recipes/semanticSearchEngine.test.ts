// The model of these tests is a hashed bag of words: see examples/lib/words.ts.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CancelledError,
  CorruptionError,
  InvalidArgumentError,
  VectorIndexExistsError,
} from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { SemanticSearchEngine } from '@norikv/client/recipes';
import type { EmbeddingModel } from '@norikv/client/recipes';
import { words } from '../../examples/lib/words';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';

describe.each([memory, servedFile].filter((kind) => kind.vectors))('on $name', (kind) => {
  let world: TestStore;
  let client: NoriKVClient;
  beforeEach(async () => {
    world = await kind.open();
    ({ client } = world);
  });
  afterEach(() => world.close());

  const ids = (results: readonly { readonly id: string }[]): string[] =>
    results.map(({ id }) => id);
  const left = (): Promise<number> => client.count({ prefix: 'search/documents/todo/' });

  test('documents are found by their words, with what they say', async () => {
    const engine = new SemanticSearchEngine(client, words);
    await engine.initialize();
    await engine.initialize();
    await engine.indexDocument('ml', 'Machine learning', 'is a subset of artificial intelligence');
    await engine.indexDocument('dl', 'Deep learning', 'uses neural networks');
    await engine.indexDocument('a/b:c', 'Tea', 'grows on hills');
    const results = await engine.search('neural networks learning', 5);
    expect(results).toHaveLength(3);
    expect(results[0]).toMatchObject({
      id: 'dl',
      title: 'Deep learning',
      content: 'uses neural networks',
    });
    expect(results[0]?.score).toBeGreaterThan(results[1]?.score ?? 1);
    await engine.indexDocument('dl', 'Deep sea', 'has fish');
    expect((await engine.search('fish', 1))[0]).toMatchObject({ id: 'dl', title: 'Deep sea' });
    expect(await engine.deleteDocument('dl')).toBe(true);
    expect(await engine.deleteDocument('dl')).toBe(false);
    expect(ids(await engine.search('fish', 5)).sort()).toEqual(['a/b:c', 'ml']);
    expect(await left()).toBe(0);
    expect((await client.vectorIndexes())[0]?.vectors).toBe(2);
  });

  test('a search reads all documents in one call (the naive one reads them one by one)', async () => {
    const gate = gated(client);
    const engine = new SemanticSearchEngine(gate.client, words);
    await engine.initialize();
    await engine.indexDocument('d', 'first', 'one');
    const before = gate.total();
    await engine.indexDocument('e', 'second', 'one');
    expect(gate.total() - before).toBe(3);
    expect(await engine.search('one', 10)).toHaveLength(2);
    expect(gate.total() - before).toBe(5);
    await engine.deleteDocument('e');
    expect(gate.total() - before).toBe(8);
  });

  test('k results when k exist, though nearer vectors have lost their documents (the naive one answers fewer)', async () => {
    const engine = new SemanticSearchEngine(client, words);
    for (let at = 0; at < 6; at++) await engine.indexDocument(`tea${at}`, 'green tea', `cup ${at}`);
    await engine.indexDocument('coffee', 'green coffee', 'mug');
    // As while they are being deleted.
    for (let at = 0; at < 6; at++) await client.delete(`search/documents/doc/tea${at}`);
    expect(ids(await engine.search('green tea cup', 1))).toEqual(['coffee']);
  });

  test('two writes of one document at once leave the document and the vector of one of them', async () => {
    const gate = gated(client);
    const mine = new SemanticSearchEngine(gate.client, words);
    const theirs = new SemanticSearchEngine(client, words);
    await mine.initialize();
    // Mine is written, its vector is not: theirs comes in between, and is done before mine goes on.
    gate.beforeNext('vectorInsert', () => theirs.indexDocument('d', 'theirs', 'apples'));
    await mine.indexDocument('d', 'mine', 'pears');
    const [result] = await theirs.search('theirs apples', 1);
    expect(result).toMatchObject({ id: 'd', title: 'theirs' });
    expect(result?.score).toBeCloseTo(1, 5);
    gate.beforeNext('vectorInsert', () => theirs.deleteDocument('d'));
    await mine.indexDocument('d', 'mine', 'pears');
    expect(await theirs.search('pears', 1)).toEqual([]);
    expect((await client.vectorIndexes())[0]?.vectors).toBe(0);
    gate.beforeNext('vectorDelete', () => theirs.indexDocument('d', 'new', 'plums'));
    await mine.indexDocument('d', 'mine', 'pears');
    await mine.deleteDocument('d');
    expect((await theirs.search('new plums', 1))[0]?.score).toBeCloseTo(1, 5);
    expect(await left()).toBe(0);
  });

  test('what stopped between its steps is done by whoever comes next', async () => {
    const gate = gated(client);
    const stopped = new SemanticSearchEngine(gate.client, words);
    await stopped.initialize();
    const stop = (): Promise<unknown> => Promise.reject(new Error('stopped'));
    gate.beforeNext('vectorInsert', stop);
    await expect(stopped.indexDocument('d', 'half', 'done')).rejects.toThrow('stopped');
    expect(await left()).toBe(1);
    const next = new SemanticSearchEngine(client, words);
    expect(ids(await next.search('half', 1))).toEqual(['d']);
    expect(await left()).toBe(0);
    gate.beforeNext('vectorDelete', stop);
    await expect(stopped.deleteDocument('d')).rejects.toThrow('stopped');
    expect(await next.search('half', 1)).toEqual([]);
    await next.indexDocument('d', 'whole', 'again');
    expect(ids(await next.search('whole', 1))).toEqual(['d']);
    expect(await left()).toBe(0);
    expect((await client.vectorIndexes())[0]?.vectors).toBe(1);
  });

  test('what no index takes is refused before anything is written', async () => {
    const answers: unknown[] = [
      undefined,
      'text',
      [],
      [1],
      Array(128).fill(0),
      Array(128).fill(1e-60),
      [...(Array(127).fill(1) as number[]), Number.NaN],
      [...(Array(127).fill(1) as number[]), Infinity],
      [...(Array(127).fill(1) as number[]), '1'],
      Array(129).fill(1),
    ];
    await new SemanticSearchEngine(client, words).initialize();
    for (const answer of answers) {
      const model = { dimensions: 128, embed: () => Promise.resolve(answer as number[]) };
      const engine = new SemanticSearchEngine(client, model);
      const indexing = engine.indexDocument('d', 'title', 'content');
      await expect(indexing).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(engine.search('title', 1)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    const failing = { dimensions: 128, embed: () => Promise.reject(new Error('no model')) };
    const engine = new SemanticSearchEngine(client, failing);
    await expect(engine.indexDocument('d', 'title', 'content')).rejects.toThrow('no model');
    expect(await client.count({ prefix: 'search/' })).toBe(0);
  });

  test('bad input is refused, and nothing is written', async () => {
    const embed = (text: string): Promise<Float32Array> => words.embed(text);
    const models: unknown[] = [
      undefined,
      5,
      {},
      { dimensions: 0, embed },
      { dimensions: 1.5, embed },
      { dimensions: 5_000, embed },
      { dimensions: 5, embed: 'text' },
    ];
    for (const model of models) {
      expect(() => new SemanticSearchEngine(client, model as EmbeddingModel)).toThrow(
        InvalidArgumentError,
      );
    }
    expect(() => new SemanticSearchEngine(client, words, { namespace: '' })).toThrow(
      InvalidArgumentError,
    );
    const engine = new SemanticSearchEngine(client, words);
    for (const id of ['', undefined, 5, '\ud800', 'x'.repeat(257)] as string[]) {
      const indexing = engine.indexDocument(id, 'title', 'content');
      await expect(indexing).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(engine.deleteDocument(id)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    for (const text of [undefined, 5, null] as unknown as string[]) {
      await expect(engine.indexDocument('d', text, '')).rejects.toThrow(InvalidArgumentError);
      await expect(engine.search(text, 1)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    for (const topK of [0, -1, 1.5, Number.NaN, 1_001]) {
      await expect(engine.search('title', topK)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    expect(await client.count({ prefix: '' })).toBe(0);
    for (const id of ['a/b', 'a:b', 'a%2Fb', 'constructor', '__proto__']) {
      await engine.indexDocument(id, id, 'text');
    }
    expect(ids(await engine.search('text', 10)).sort()).toEqual(
      ['a/b', 'a:b', 'a%2Fb', 'constructor', '__proto__'].sort(),
    );
  });

  test('an index of another model is not used, and what is no document is said', async () => {
    await client.vectorCreateIndex('documents', 3, 'cosine', 'hnsw');
    const engine = new SemanticSearchEngine(client, words);
    await expect(engine.initialize()).rejects.toBeInstanceOf(VectorIndexExistsError);
    await expect(engine.search('text', 1)).rejects.toBeInstanceOf(VectorIndexExistsError);
    const other = new SemanticSearchEngine(client, words, { namespace: 'other' });
    await other.indexDocument('d', 'title', 'content');
    await client.put('search/other/doc/d', '{}');
    await expect(other.search('title', 1)).rejects.toBeInstanceOf(CorruptionError);
    await client.put('search/other/todo/d', '{}');
    const again = new SemanticSearchEngine(client, words, { namespace: 'other' });
    await expect(again.initialize()).rejects.toThrow('search/other/todo/d');
  });

  test('a vector that no index takes is refused before anything is written (it would keep every later object from beginning)', async () => {
    const huge = {
      dimensions: 128,
      embed: () => Promise.resolve(new Array<number>(128).fill(1e30)),
    };
    const engine = new SemanticSearchEngine(client, huge);
    await expect(engine.indexDocument('d', 'title', 'content')).rejects.toBeInstanceOf(
      InvalidArgumentError,
    );
    expect(await client.count({ prefix: 'search/' })).toBe(0);
    const next = new SemanticSearchEngine(client, words);
    await next.indexDocument('d', 'title', 'content');
    expect(await next.search('title', 1)).toHaveLength(1);
  });

  test('a model that answers, or throws, at once is as good as one that promises', async () => {
    const loose = (embed: () => unknown): EmbeddingModel =>
      ({ dimensions: 128, embed }) as unknown as EmbeddingModel;
    const quick = loose(() => new Array<number>(128).fill(1));
    await new SemanticSearchEngine(client, quick).indexDocument('d', 'title', 'content');
    const failing = loose(() => {
      throw new Error('no model');
    });
    await expect(new SemanticSearchEngine(client, failing).search('q', 1)).rejects.toThrow(
      'no model',
    );
  });

  test('a model that takes too long is not waited for', async () => {
    const model = { dimensions: 128, embed: () => new Promise<number[]>(() => undefined) };
    const engine = new SemanticSearchEngine(client, model);
    const controller = new AbortController();
    const searching = engine.search('text', 1, { signal: controller.signal });
    controller.abort();
    await expect(searching).rejects.toBeInstanceOf(CancelledError);
    await expect(engine.search('text', 1, { timeoutMs: 20 })).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
  });
});
