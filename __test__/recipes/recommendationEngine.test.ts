// The model of these tests is a hashed bag of words: see examples/lib/words.ts.
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { CorruptionError, InvalidArgumentError, NotFoundError } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { RecommendationEngine } from '@norikv/client/recipes';
import { words } from '../../examples/lib/words';
import { memory, servedFile } from '../api/stores';
import type { TestStore } from '../api/stores';
import { gated } from './gate';

describe.each([memory, servedFile].filter((kind) => kind.vectors))('on $name', (kind) => {
  let world: TestStore;
  let client: NoriKVClient;
  let engine: RecommendationEngine;
  beforeEach(async () => {
    world = await kind.open();
    ({ client } = world);
    engine = new RecommendationEngine(client, words);
    await engine.initialize();
    await engine.indexProduct('run', 'Running shoes', 'light', 'Footwear');
    await engine.indexProduct('trail', 'Trail shoes', 'durable', 'Footwear');
    await engine.indexProduct('pot', 'Tea pot', 'of clay', 'Kitchen');
  });
  afterEach(() => world.close());

  const ids = (found: readonly { readonly productId: string }[]): string[] =>
    found.map(({ productId }) => productId);
  const likes = async (user: string): Promise<{ count: number; seen: string[] }> =>
    (await client.get(`recommend/products/user/${user}`)).json();

  test('names and categories are filled in (the naive ones are empty), and what was seen can be left out', async () => {
    expect(await engine.getRecommendations('ada', 3)).toEqual([]);
    await engine.recordInteraction('ada', 'run');
    const all = await engine.getRecommendations('ada', 3);
    expect(ids(all)).toEqual(['run', 'trail', 'pot']);
    expect(all[0]).toMatchObject({ name: 'Running shoes', category: 'Footwear' });
    expect(all[0]?.score).toBeCloseTo(1, 5);
    const unseen = await engine.getRecommendations('ada', 1, { excludeSeen: true });
    expect(ids(unseen)).toEqual(['trail']);
    expect(ids(await engine.getSimilarProducts('trail', 1))).toEqual(['run']);
    expect(ids(await engine.getSimilarProducts('trail', 5))).toEqual(['run', 'pot']);
  });

  test('two interactions at once are both counted (the naive average loses one), also first ones', async () => {
    const gate = gated(client);
    const mine = new RecommendationEngine(gate.client, words);
    gate.beforeNext('put', () => engine.recordInteraction('ada', 'pot'));
    await mine.recordInteraction('ada', 'run');
    expect(await likes('ada')).toMatchObject({ count: 2, seen: ['pot', 'run'] });
    gate.beforeNext('put', () => engine.recordInteraction('ada', 'trail'));
    await mine.recordInteraction('ada', 'pot');
    expect(await likes('ada')).toMatchObject({ count: 4, seen: ['run', 'trail', 'pot'] });
    await Promise.all(Array.from({ length: 20 }, () => engine.recordInteraction('bob', 'run')));
    expect(await likes('bob')).toMatchObject({ count: 20, seen: ['run'] });
  });

  test('a product that there is not is said to be none (the naive one does nothing), also one that was deleted', async () => {
    await expect(engine.recordInteraction('ada', 'none')).rejects.toBeInstanceOf(NotFoundError);
    await expect(engine.getSimilarProducts('none', 1)).rejects.toBeInstanceOf(NotFoundError);
    expect(await engine.deleteProduct('run')).toBe(true);
    expect(await engine.deleteProduct('run')).toBe(false);
    await expect(engine.recordInteraction('ada', 'run')).rejects.toBeInstanceOf(NotFoundError);
    expect(await client.count({ prefix: 'recommend/products/user/' })).toBe(0);
  });

  test('a product whose vector is not there yet gets it when it is wanted', async () => {
    const gate = gated(client);
    const stopped = new RecommendationEngine(gate.client, words);
    await stopped.initialize();
    gate.beforeNext('vectorInsert', () => Promise.reject(new Error('stopped')));
    await expect(stopped.indexProduct('cup', 'Tea cup', 'of clay', 'Kitchen')).rejects.toThrow();
    await engine.recordInteraction('ada', 'cup');
    expect(ids(await engine.getRecommendations('ada', 2))).toEqual(['cup', 'pot']);
    expect(await client.count({ prefix: 'recommend/products/todo/' })).toBe(0);
  });

  test('each call takes three round trips at most', async () => {
    const gate = gated(client);
    const mine = new RecommendationEngine(gate.client, words);
    await mine.initialize();
    let before = gate.total();
    const took = (): number => {
      const now = gate.total();
      const calls = now - before;
      before = now;
      return calls;
    };
    await mine.indexProduct('cup', 'Tea cup', 'of clay', 'Kitchen');
    expect(took()).toBe(3);
    // Two of them are made at once.
    await mine.recordInteraction('ada', 'cup');
    expect(took()).toBe(4);
    await mine.getRecommendations('ada', 3);
    expect(took()).toBe(3);
    await mine.getSimilarProducts('cup', 3);
    expect(took()).toBe(4);
  });

  test('users and products with separators in their ids are their own', async () => {
    for (const id of ['a/b', 'a:b', 'a%2Fb', 'constructor', '__proto__']) {
      await engine.indexProduct(id, id, 'thing', 'Things');
      await engine.recordInteraction(id, id);
      expect(await likes(id.replaceAll('%', '%25').replaceAll('/', '%2F'))).toMatchObject({
        count: 1,
        seen: [id],
      });
    }
  });

  test('bad input is refused, and nothing is written', async () => {
    const before = await client.count({ prefix: 'recommend/' });
    for (const id of ['', undefined, 5, '\ud800', 'x'.repeat(257)] as string[]) {
      for (const call of [
        engine.indexProduct(id, 'n', 'd', 'c'),
        engine.recordInteraction(id, 'run'),
        engine.recordInteraction('ada', id),
        engine.getRecommendations(id, 1),
        engine.getSimilarProducts(id, 1),
        engine.deleteProduct(id),
      ]) {
        await expect(call).rejects.toBeInstanceOf(InvalidArgumentError);
      }
    }
    for (const topK of [0, -1, 1.5, Number.NaN, 1_001]) {
      await expect(engine.getRecommendations('ada', topK)).rejects.toThrow(InvalidArgumentError);
      await expect(engine.getSimilarProducts('run', topK)).rejects.toThrow(InvalidArgumentError);
    }
    expect(await client.count({ prefix: 'recommend/' })).toBe(before);
    await client.put('recommend/products/user/ada', '{"sum":[1],"count":1,"seen":[]}');
    await expect(engine.getRecommendations('ada', 1)).rejects.toBeInstanceOf(CorruptionError);
    await expect(engine.recordInteraction('ada', 'run')).rejects.toBeInstanceOf(CorruptionError);
  });
});
