// How many calls of the client each operation of a recipe makes, as JSON on one line. The store is in memory: what is
// counted is the same on every store.
import { NoriKVClient } from '../../dist/index.mjs';
import * as recipes from '../../dist/recipes/index.js';

/** What goes to the store: each is a round trip. A long scan has more. */
const SENT = new Set(
  'get getOrNull getMany put delete deleteRange scan count update lease watch commit'.split(' '),
);
/** How often each is done: the last time is how it goes on. */
const TIMES = 3;

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
        // A transaction that is being put together.
        return ['txn', 'if', 'then', 'else'].includes(name) ? counted(answer) : answer;
      };
    },
  });
}

const store = counted(client);
const lines = [];

/** Does some things one after the other, again and again, and counts each of them, but for what has to be done `before`. */
async function count(recipe, works) {
  const all = new Map(Object.keys(works).map((name) => [name, []]));
  for (let n = 0; n < TIMES; n++) {
    for (const [name, work] of Object.entries(works)) {
      await work.before?.();
      calls = [];
      await (work.run ?? work)(n);
      all.get(name).push(calls);
      calls = [];
    }
  }
  for (const [name, times] of all) {
    const last = times.at(-1).map((call) => (call === 'commit' ? 'a transaction' : call));
    const operation = `${recipe}.${name}`;
    lines.push({ operation, first: times[0].length, then: last.length, calls: last.join(', ') });
  }
}

const data = { amount: 1 };
const limit = { maxRequests: 100, windowMs: 60_000 };

const lock = new recipes.DistributedLock(store, { key: 'trips', ttlMs: 10_000 });
await count('DistributedLock', { lock: () => lock.lock(), unlock: () => lock.unlock() });

const election = new recipes.LeaderElection(store, 'trips', 'node', 10_000);
await count('LeaderElection', {
  campaign: () => election.campaign(),
  resign: () => election.resign(),
});

const limiter = new recipes.RateLimiter(store);
await count('RateLimiter', {
  'checkLimit, the same id': () => limiter.checkLimit('same', limit),
  'checkLimit, a new id': (n) => limiter.checkLimit(`new ${n}`, limit),
});

const counter = new recipes.DistributedCounter(store, 'trips');
await count('DistributedCounter', { increment: () => counter.increment() });
const sharded = new recipes.ShardedCounter(store, 'trips', 1);
await count('ShardedCounter', { increment: () => sharded.increment(), get: () => sharded.get() });

const inventory = new recipes.InventoryManager(store);
await inventory.createItem('trips', 1000);
let reservation;
const reserve = async () => {
  reservation = await inventory.reserve('trips', 1);
};
await count('InventoryManager', {
  reserve,
  commit: () => inventory.commit(reservation),
  release: { before: reserve, run: () => inventory.release(reservation) },
  getAvailable: () => inventory.getAvailable('trips'),
});

const events = new recipes.EventStore(store);
await count('EventStore', {
  append: () => events.append('trips', 'Deposited', data),
  getEvents: () => events.getEvents('trips'),
});

const sessions = new recipes.SessionManager(store, 60_000);
let session;
await count('SessionManager', {
  create: async () => {
    session = await sessions.create('ada', 'ada@example.com', ['admin']);
  },
  get: () => sessions.get(session),
});

const cached = new recipes.CachedClient(store, 60_000, 10);
await client.put('cached', '1');
await count('CachedClient', { get: () => cached.get('cached', String) });

console.log(JSON.stringify(lines));
process.exit(0);
