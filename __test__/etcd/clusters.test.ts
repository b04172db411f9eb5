// Several clusters under one address: keys are in one of them each, by their hashes or tags.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { InvalidArgumentError, NoriKVClient, UnsupportedError, op } from '@norikv/client';
import { DistributedCounter, DistributedLock } from '@norikv/client/recipes';
import { failure } from '../api/errors';
import { World } from '../api/world';
import { Cluster } from './cluster';

const world = new World();
let clusters: Cluster[];
let client: NoriKVClient;
let each: NoriKVClient[];
beforeAll(async () => {
  clusters = await Promise.all([Cluster.start(), Cluster.start()]);
  for (const cluster of clusters) world.later(() => cluster.stop());
  const address = clusters.map((cluster) => cluster.address('app/')).join(';');
  client = await world.client(address);
  // What is in each as etcd has it, behind no prefix.
  each = await Promise.all(clusters.map((cluster) => world.client(cluster.address())));
});
afterAll(() => world.close());

const keys = Array.from({ length: 100 }, (_, at) => `key:${String(at).padStart(3, '0')}`);

test('keys are spread, read again, and scanned in their order', async () => {
  await Promise.all(keys.map((key) => client.put(key, `value of ${key}`)));
  const counts = await Promise.all(each.map((one) => one.count({ prefix: 'app/key:' })));
  expect(counts.every((count) => count > 20)).toBe(true);
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(keys.length);
  expect(await client.count({ prefix: 'key:' })).toBe(keys.length);
  for (const key of keys) expect((await client.get(key)).text()).toBe(`value of ${key}`);
  const scanned = await client.scan({ prefix: 'key:' }).toArray();
  expect(scanned.map((entry) => entry.keyText())).toEqual(keys);
});

test('one of them alone is not taken for the store', async () => {
  for (const cluster of clusters) {
    await failure(InvalidArgumentError, () => NoriKVClient.open(cluster.address('app/')));
  }
});

test('a transaction over both is refused with the names of its keys, and nothing is written', async () => {
  const commit = () =>
    client
      .txn()
      .then(...keys.map((key) => op.put(key, 'changed')))
      .commit();
  const error = await failure(UnsupportedError, commit);
  expect(keys.some((key) => error.message.includes(key))).toBe(true);
  expect((await client.get(keys[0]!)).text()).toBe(`value of ${keys[0]!}`);
});

test('a watch tells the changes of both, each once', async () => {
  await using watch = client.watch({ prefix: 'watched:' });
  await watch.ready;
  await Promise.all(keys.map((key) => client.put(`watched:${key}`, 'x')));
  const seen: string[] = [];
  for await (const { events } of watch) {
    seen.push(...events.map(({ entry }) => entry.keyText()));
    if (seen.length >= keys.length) break;
  }
  expect(seen.toSorted()).toEqual(keys.map((key) => `watched:${key}`));
});

test('what has a tag is together: transactions, and recipes in a namespace', async () => {
  const part = client.namespace('{orders}/');
  const { succeeded } = await part
    .txn()
    .then(...keys.map((key) => op.put(key, 'x')))
    .commit();
  expect(succeeded).toBe(true);
  expect(await part.count({ prefix: 'key:' })).toBe(keys.length);
  await using lock = new DistributedLock(part, { key: 'a' });
  await lock.withLock(async () => {
    expect(await new DistributedCounter(part, 'c').increment()).toBe(1);
  });
});
