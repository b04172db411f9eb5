// Vectors are data in the cluster, and indexes in each server in front of it: a client of etcd itself has none.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { NoriKVClient } from '@norikv/client';
import { UnsupportedError } from '@norikv/client';
import {
  DocumentDeduplicator,
  RecommendationEngine,
  SemanticSearchEngine,
} from '@norikv/client/recipes';
import { startServer } from '@norikv/client/server';
import { words } from '../../examples/lib/words';
import { failure } from '../api/errors';
import { World } from '../api/world';
import { Cluster } from './cluster';

let cluster: Cluster;
let world: World;
beforeAll(async () => {
  cluster = await Cluster.start();
  world = new World();
});
afterAll(async () => {
  await world.close();
  await cluster.stop();
});

describe('a client of etcd itself', () => {
  let client: NoriKVClient;
  beforeAll(async () => {
    client = await world.client(cluster.address('direct/'));
  });

  const calls: [string, (of: NoriKVClient) => Promise<unknown>][] = [
    ['vectorCreateIndex', (of) => of.vectorCreateIndex('v', 2, 'cosine', 'hnsw')],
    ['vectorDropIndex', (of) => of.vectorDropIndex('v')],
    ['vectorInsert', (of) => of.vectorInsert('v', 'a', [1, 0])],
    ['vectorInsertMany', (of) => of.vectorInsertMany('v', [{ id: 'a', vector: [1, 0] }])],
    ['vectorDelete', (of) => of.vectorDelete('v', 'a')],
    ['vectorGet', (of) => of.vectorGet('v', 'a')],
    ['vectorSearch', (of) => of.vectorSearch('v', [1, 0], 1)],
    ['vectorSearchMany', (of) => of.vectorSearchMany('v', [[1, 0]], 1)],
    ['vectorIndexes', (of) => of.vectorIndexes()],
  ];
  test.each(calls)('has no %s, and says what has', async (_, call) => {
    for (const of of [client, client.namespace('part/')]) {
      const error = await failure(UnsupportedError, () => call(of));
      expect(error.message).toContain('norikv serve --store etcd://');
      expect(error.outcome).toBeUndefined();
    }
    expect(await client.count({ prefix: '' })).toBe(0);
  });

  test('does not count them among what it has', async () => {
    const { features } = await client.status();
    expect(features).toContain('watch');
    expect(features).not.toContain('vectors');
  });

  test('has none of the recipes that need them, and they say so', async () => {
    const uses = [
      () => new SemanticSearchEngine(client, words).initialize(),
      () => new RecommendationEngine(client, words).initialize(),
      () => new DocumentDeduplicator(client, words, 0.9).initialize(),
    ];
    for (const use of uses) {
      await expect(use()).rejects.toThrow(UnsupportedError);
      await expect(use()).rejects.toThrow('norikv serve');
    }
    expect(await client.count({ prefix: '' })).toBe(0);
  });
});

describe('servers in front of one cluster', () => {
  const serve = async (): Promise<NoriKVClient> => {
    const server = await startServer({ store: cluster.address('app/'), listen: '127.0.0.1:0' });
    world.later(() => server.stop());
    return await world.client(server.address);
  };

  test('find what was inserted through another, before they began and after', async () => {
    const one = await serve();
    await one.vectorCreateIndex('colors', 2, 'euclidean', 'hnsw');
    await one.vectorInsert('colors', 'red', [1, 0]);
    const two = await serve();
    const found = async (query: number[]): Promise<string | undefined> =>
      (await two.vectorSearch('colors', query, 1)).matches[0]?.id;
    expect(await found([1, 0])).toBe('red');
    await one.vectorInsert('colors', 'blue', [0, 1]);
    // What one server acknowledged, another learns of by its watch.
    while ((await found([0, 1])) !== 'blue') await new Promise((resolve) => setTimeout(resolve, 1));
    expect(await two.vectorDelete('colors', 'blue')).toBe(true);
    expect(await found([0, 1])).toBe('red');
    // As entries they are seen by nobody who does not ask for what begins with a zero byte.
    const direct = await world.client(cluster.address('app/'));
    expect(await direct.count({ start: '\x01' })).toBe(0);
  });
});
