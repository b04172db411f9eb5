// How many calls of the client each operation of a recipe makes, as JSON on one line. The store is in memory: what is
// counted is the same on every store.
import { NoriKVClient } from '../../dist/index.mjs';
import * as recipes from '../../dist/recipes/index.js';

/** What goes to the store: each is a round trip. A long scan has more. */
const SENT = new Set(
  'get getOrNull getMany put delete deleteRange scan count update lease watch commit'.split(' '),
);
const client = await NoriKVClient.open('memory:');
let calls = [];

function counted(target) {
  return new Proxy(target, {
    get(of, name) {
      const value = Reflect.get(of, name, of);
      if (typeof value !== 'function') return value;
      return (...args) => {
        if (SENT.has(name)) calls.push(name);
        const answer = Reflect.apply(value, of, args);
        return ['txn', 'if', 'then', 'else'].includes(name) && !(answer instanceof Promise)
          ? counted(answer)
          : answer;
      };
    },
  });
}

const store = counted(client);
const lines = [];

/** What the first such call takes, and a later one. */
async function count(operation, work) {
  const some = [];
  for (let n = 0; n < 3; n++) {
    calls = [];
    await work(n);
    some.push(calls);
  }
  const then = some.at(-1).map((name) => (name === 'commit' ? 'a transaction' : name));
  lines.push({ operation, first: some[0].length, then: then.length, calls: then.join(', ') });
}

const data = { amount: 1 };
const lock = new recipes.DistributedLock(store, { key: 'trips', ttlMs: 10_000 });
const both = { lock: [], unlock: [] };
for (let n = 0; n < 3; n++) {
  for (const name of ['lock', 'unlock']) {
    calls = [];
    await lock[name]();
    both[name].push(calls);
  }
}
for (const [name, all] of Object.entries(both)) {
  const then = all.at(-1).map((each) => (each === 'commit' ? 'a transaction' : each));
  lines.push({
    operation: `DistributedLock.${name}`,
    first: all[0].length,
    then: then.length,
    calls: then.join(', '),
  });
}
const limiter = new recipes.RateLimiter(store);
await count('RateLimiter.checkLimit, the same id', () =>
  limiter.checkLimit('a', { maxRequests: 100, windowMs: 60_000 }),
);
await count('RateLimiter.checkLimit, a new id', (n) =>
  limiter.checkLimit(`new ${n}`, { maxRequests: 100, windowMs: 60_000 }),
);
const counter = new recipes.DistributedCounter(store, 'trips');
await count('DistributedCounter.increment', () => counter.increment());
const sharded = new recipes.ShardedCounter(store, 'trips', 1);
await count('ShardedCounter.increment, one shard', () => sharded.increment());
await count('ShardedCounter.get', () => sharded.get());
const inventory = new recipes.InventoryManager(store);
await inventory.createItem('trips', 1000);
const reserved = [];
await count('InventoryManager.reserve', async () =>
  reserved.push(await inventory.reserve('trips', 1)),
);
await count('InventoryManager.commit', (n) => inventory.commit(reserved[n]));
for (let n = 0; n < 3; n++) reserved.push(await inventory.reserve('trips', 1));
await count('InventoryManager.release', (n) => inventory.release(reserved[3 + n]));
const events = new recipes.EventStore(store);
await count('EventStore.append', () => events.append('trips', 'Deposited', data));
await count('EventStore.getEvents', () => events.getEvents('trips'));
const sessions = new recipes.SessionManager(store, 60_000);
const ids = [];
await count('SessionManager.create', async () =>
  ids.push(await sessions.create('ada', 'ada@example.com', ['admin'])),
);
await count('SessionManager.get', () => sessions.get(ids[0]));
const cached = new recipes.CachedClient(store, 60_000, 10);
await client.put('cached', '1');
await count('CachedClient.get', () => cached.get('cached', String));
const election = new recipes.LeaderElection(store, 'trips', 'node', 10_000);
await count('LeaderElection.campaign and resign', async () => {
  await election.campaign();
  await election.resign();
});
console.log(JSON.stringify(lines));
process.exit(0);
