// Counts that several processes may change at once: one that says its value with each change, and one for many writers.
import assert from 'node:assert/strict';
import { DistributedCounter, ShardedCounter } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

const OWN = ['counter/example:requests', 'sharded-counter/example:views/'];

await using client = await openClient();

// Two objects stand for two processes: each has its own memory of the counter.
const [here, there] = [
  new DistributedCounter(client, 'example:requests'),
  new DistributedCounter(client, 'example:requests'),
] as const;
await here.initialize();
console.log('a counter that was just made is at', await here.get());

const told = await Promise.all(
  Array.from({ length: 100 }, (_, at) => (at % 2 === 0 ? here : there).increment()),
);
assert.equal(new Set(told).size, 100, 'no two increments are told the same count');
assert.equal(await there.get(), 100);
console.log('after 100 increments from two sides it is at', await there.get());

await there.initialize();
assert.equal(await here.get(), 100);
console.log('making it once more left it at', await here.get());

// Numbers end at 2^53 - 1; counts do not.
const large = await here.incrementBy(2n ** 64n);
assert.equal(large, 2n ** 64n + 100n);
await assert.rejects(here.get(), { code: 'INVALID_ARGUMENT' });
console.log('with a bigint it is at', await here.getBigInt());

const views = new ShardedCounter(client, 'example:views', 20);
await Promise.all(Array.from({ length: 1000 }, () => views.increment()));
assert.equal(await views.get(), 1000);
console.log('a sharded counter is at', await views.get());

// The number of shards may change at any time.
const fewer = new ShardedCounter(client, 'example:views', 2);
await fewer.incrementBy(-1);
assert.equal(await fewer.get(), 999);
console.log('with fewer shards, and one less, at', await fewer.get());

for (const prefix of OWN) await client.deleteRange({ prefix });
