// What keeps data: what people do with them. See `uses.cjs`.
const recipes = require('@norikv/client/recipes');

module.exports = {
  CachedClient: {
    keys: 1,
    async use({ client }) {
      const cached = new recipes.CachedClient(client, 60_000, 10);
      await cached.put('a', '1', String);
      await cached.get('a', String);
      await cached.close();
    },
    async abort({ client, aborted }) {
      const cached = new recipes.CachedClient(client, 60_000, 10);
      await aborted((signal) => cached.put('a', '1', String, { signal }), 0);
      await cached.put('a', '1', String);
      cached.invalidateAll();
      await aborted((signal) => cached.get('a', String, { signal }), 0);
      await cached.close();
    },
  },
  DistributedCounter: {
    keys: 1,
    async use({ client }) {
      const counter = new recipes.DistributedCounter(client, 'a');
      await counter.initialize();
      await Promise.all([counter.increment(), counter.increment()]);
      await counter.get();
    },
    async abort({ client, aborted }) {
      const counter = new recipes.DistributedCounter(client, 'a');
      await aborted((signal) => counter.incrementBy(1, { signal }), 0);
      await aborted((signal) =>
        Promise.all([1, 2].map((by) => counter.incrementBy(by, { signal }))),
      );
      await aborted((signal) => counter.get({ signal }), 0);
    },
  },
  ShardedCounter: {
    keys: 4,
    async use({ client }) {
      const counter = new recipes.ShardedCounter(client, 'a', 4);
      await Promise.all([counter.increment(), counter.increment()]);
      await counter.get();
    },
    async abort({ client, aborted }) {
      const counter = new recipes.ShardedCounter(client, 'a', 4);
      await aborted((signal) => counter.incrementBy(1, { signal }), 0);
      await aborted((signal) => counter.get({ signal }), 0);
    },
  },
  InventoryManager: {
    // The item, and that one reservation was committed.
    keys: 2,
    async use({ client }) {
      const inventory = new recipes.InventoryManager(client);
      await inventory.createItem('a', 10);
      const reserved = [1, 2].map((quantity) => inventory.reserve('a', quantity));
      const [sold, given] = await Promise.all(reserved);
      await inventory.extend(sold, 60_000);
      await inventory.commit(sold);
      await inventory.release(given);
    },
    async abort({ client, aborted, wait }) {
      const inventory = new recipes.InventoryManager(client);
      await aborted((signal) => inventory.createItem('a', 10, { signal }), 0);
      await inventory.createItem('a', 10).catch(() => {});
      await aborted((signal) => inventory.reserve('a', 1, { ttlMs: 100, signal }), 0);
      await aborted((signal) => inventory.reserve('a', 1, { ttlMs: 100, signal }));
      await aborted((signal) => inventory.getAvailable('a', { signal }), 0);
      // What nobody got to know the id of runs out.
      await wait(500);
    },
  },
  RateLimiter: {
    async use({ client }) {
      const limiter = new recipes.RateLimiter(client);
      const check = () => limiter.checkLimit('a', { maxRequests: 1, windowMs: 60_000 });
      await Promise.all([check(), check(), check()]);
      await limiter.reset('a');
    },
    async abort({ client, aborted }) {
      const limiter = new recipes.RateLimiter(client);
      const limit = { maxRequests: 5, windowMs: 60_000 };
      await aborted((signal) => limiter.checkLimit('a', limit, { signal }), 0);
      await aborted((signal) => limiter.checkLimit('a', limit, { signal }));
      await aborted((signal) => limiter.reset('a', { signal }), 0);
      await limiter.reset('a');
    },
  },
  EventStore: {
    keys: 4,
    async use({ client }) {
      const store = new recipes.EventStore(client);
      await store.append('a', 'Happened', {});
      await store.appendAll(
        'a',
        [1, 2].map((data) => ({ type: 'Happened', data })),
      );
      for await (const { version } of store.subscribe('a')) if (version === 3) break;
      for await (const { version } of store.subscribeAll()) if (version === 3) break;
      await store.getEventsAfter('a', 1);
    },
    async abort({ client, aborted }) {
      const store = new recipes.EventStore(client);
      await aborted((signal) => store.append('a', 'Happened', {}, { signal }), 0);
      await store.append('a', 'Happened', {});
      const follow = (subscribe) =>
        aborted(async (signal) => {
          for await (const { version } of subscribe(signal)) if (version < 0) break;
        });
      await follow((signal) => store.subscribe('a', { signal }));
      await follow((signal) => store.subscribeAll({ signal }));
      await aborted((signal) => store.getEvents('a', { signal }), 0);
    },
  },
  BankAccountAggregate: {
    keys: 4,
    async use({ client }) {
      const account = new recipes.BankAccountAggregate(new recipes.EventStore(client), 'a');
      await account.openAccount();
      await account.deposit(10);
      await account.load();
    },
    async abort({ client, aborted }) {
      const account = new recipes.BankAccountAggregate(new recipes.EventStore(client), 'a');
      await account.openAccount();
      await aborted((signal) => account.deposit(10, { signal }), 0);
      await aborted((signal) => account.load({ signal }), 0);
    },
  },
  SessionManager: {
    async use({ client }) {
      const sessions = new recipes.SessionManager(client, 60_000);
      const id = await sessions.create('ada', 'ada@example.com', ['admin']);
      await sessions.get(id);
      await sessions.update(id, (data) => data);
      await sessions.validate(id);
      await sessions.destroy(id);
    },
    async abort({ client, aborted, wait }) {
      const sessions = new recipes.SessionManager(client, 100);
      const create = (signal) => sessions.create('ada', 'ada@example.com', ['admin'], { signal });
      await aborted(create, 0);
      const id = await create();
      await aborted((signal) => sessions.get(id, { signal }), 0);
      await aborted((signal) => sessions.update(id, (data) => data, { signal }), 0);
      await aborted((signal) => sessions.destroy(id, { signal }), 0);
      // What nobody got to know the id of runs out.
      while ((await client.count({ prefix: 'session/' })) > 0) await wait(20);
    },
  },
  TenantManager: {
    keys: 4,
    async use({ client }) {
      const tenants = new recipes.TenantManager(client);
      await tenants.create('a', 'A', 'free');
      const tenant = await tenants.getClient('a');
      await tenant.put('b', '1');
      await tenant.delete('b');
      for await (const { events } of tenantWatch(tenant)) if (events.length > 0) break;
      await tenants.list();
      await tenants.close();
    },
    async abort({ client, aborted }) {
      const tenants = new recipes.TenantManager(client);
      await aborted((signal) => tenants.create('a', 'A', 'free', { signal }), 0);
      await aborted((signal) => tenants.create('b', 'B', 'free', { signal }));
      await aborted((signal) => tenants.getClient('b', { signal }), 0);
      await tenants.close();
    },
  },
};

/** A watch of a tenant, and something for it to tell. */
function tenantWatch(tenant) {
  const watch = tenant.watch({ key: 'c' });
  void watch.ready.then(() => tenant.put('c', '1'));
  return watch;
}
