// What people do with each recipe: `use` ends everything that it began, `abort` ends what it began by signals. `keys` is how
// many keys of data the recipe may keep; 0 if it is not said.
const recipes = require('@norikv/client/recipes');

const TTL_MS = 5000;

const uses = {
  DistributedLock: {
    async use({ client }) {
      const [one, other] = [1, 2].map(
        () => new recipes.DistributedLock(client, { key: 'a', ttlMs: TTL_MS }),
      );
      await one.lock();
      const waiting = other.lock();
      await one.unlock();
      await waiting;
      await one.tryLock();
      await other.unlock();
      await one.withLock(() => {});
      await other.lock();
      await Promise.all([one.close(), other.close()]);
    },
    async abort({ client, aborted }) {
      const [one, other] = [1, 2].map(
        () => new recipes.DistributedLock(client, { key: 'a', ttlMs: TTL_MS }),
      );
      await aborted((signal) => one.lock({ signal }), 0);
      await one.close();
      const held = new recipes.DistributedLock(client, { key: 'a', ttlMs: TTL_MS });
      await held.lock();
      await aborted((signal) => other.lock({ signal }));
      await aborted((signal) => other.withLock(() => {}, { signal }), 0);
      await held.close();
      await other.close();
    },
  },
  ReadWriteLock: {
    async use({ client }) {
      const [one, other] = [1, 2].map(() => new recipes.ReadWriteLock(client, 'a', TTL_MS));
      await Promise.all([one.rLock(), other.rLock()]);
      await one.rUnlock();
      const waiting = one.lock();
      await other.rUnlock();
      await waiting;
      await one.unlock();
      await one.withRead(() => {});
      await one.withWrite(() => {});
      await other.rLock();
      await Promise.all([one.close(), other.close()]);
    },
    async abort({ client, aborted }) {
      const [one, other] = [1, 2].map(() => new recipes.ReadWriteLock(client, 'a', TTL_MS));
      await one.lock();
      await aborted((signal) => other.rLock({ signal }));
      await aborted((signal) => other.lock({ signal }));
      await one.close();
      await other.close();
    },
  },
  LockManager: {
    async use({ client }) {
      const locks = new recipes.LockManager(client, { ttlMs: TTL_MS });
      const held = await locks.acquire(['a', 'b']);
      await held.release();
      await locks.acquire('c');
      await locks.release('c');
      await locks.acquire(['d', 'e']);
      await locks.close();
    },
    async abort({ client, aborted }) {
      const [one, other] = [1, 2].map(() => new recipes.LockManager(client, { ttlMs: TTL_MS }));
      await one.acquire('b');
      await aborted((signal) => other.acquire(['a', 'b', 'c'], { signal }));
      await one.close();
      await other.close();
    },
  },
  LeaderElection: {
    async use({ client }) {
      const [one, other] = ['one', 'other'].map(
        (node) => new recipes.LeaderElection(client, 'a', node, TTL_MS),
      );
      await one.start();
      const waiting = other.campaign();
      for await (const leader of one.observe()) if (leader === 'one') break;
      await one.proclaim('hello');
      await one.stop();
      await waiting;
      await other.resign();
      await other.start();
      await other.stop();
      await one.stop();
    },
    async abort({ client, aborted }) {
      const [one, other] = ['one', 'other'].map(
        (node) => new recipes.LeaderElection(client, 'a', node, TTL_MS),
      );
      await one.campaign();
      await aborted((signal) => other.campaign({ signal }));
      await aborted(async (signal) => {
        for await (const leader of other.observe({ signal })) if (leader === null) break;
      });
      await aborted((signal) => other.start(undefined, undefined, { signal }), 0);
      await Promise.all([one.stop(), other.stop()]);
    },
  },
  LeaderTask: {
    async use({ client, wait }) {
      const election = new recipes.LeaderElection(client, 'a', 'one', TTL_MS);
      const task = new recipes.LeaderTask(election, () => {}, 10_000);
      task.start();
      await election.start();
      await wait(20);
      await task.stop();
      await election.stop();
    },
    async abort({ client, wait }) {
      const election = new recipes.LeaderElection(client, 'a', 'one', TTL_MS);
      const task = new recipes.LeaderTask(election, (signal) => ended(signal), 10_000);
      task.start();
      await election.start();
      await wait(20);
      // The run that goes on is ended by its signal.
      await election.stop();
      await task.stop();
    },
  },
  HighAvailabilityCoordinator: {
    async use({ client, wait }) {
      const election = new recipes.LeaderElection(client, 'a', 'one', TTL_MS);
      const both = new recipes.HighAvailabilityCoordinator(election, ended, ended);
      await both.start();
      await wait(20);
      await both.stop();
    },
    async abort({ client, aborted }) {
      const election = new recipes.LeaderElection(client, 'a', 'one', TTL_MS);
      const both = new recipes.HighAvailabilityCoordinator(election, ended, ended);
      await aborted((signal) => both.start({ signal }), 0);
      await both.stop();
    },
  },
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
  ServiceRegistry: {
    async use({ client }) {
      const registry = new recipes.ServiceRegistry(client, 'a', TTL_MS);
      await registry.watch('api', () => {});
      const { deregister } = await registry.register(service('one'));
      await registry.register({ ...service('two'), name: 'web' }, { healthCheck });
      for await (const event of registry.watch('api')) if (event !== undefined) break;
      await registry.discover('api');
      await deregister();
      await registry.close();
    },
    async abort({ client, aborted }) {
      const registry = new recipes.ServiceRegistry(client, 'a', TTL_MS);
      await aborted((signal) => registry.register(service('one'), { signal }), 0);
      await aborted((signal) => registry.discover('api', { signal }), 0);
      await aborted((signal) => registry.register(service('two'), { healthCheck, signal }), 0);
      await registry.close();
    },
  },
  LoadBalancer: {
    async use({ client }) {
      const registry = new recipes.ServiceRegistry(client, 'a', TTL_MS);
      await registry.register(service('one'));
      const balancer = new recipes.LoadBalancer(registry);
      (await balancer.getService('api')).release();
      await balancer.close();
      await registry.close();
    },
    async abort({ client, aborted }) {
      const registry = new recipes.ServiceRegistry(client, 'a', TTL_MS);
      await registry.register(service('one'));
      const balancer = new recipes.LoadBalancer(registry);
      await aborted((signal) => balancer.getService('api', { signal }), 0);
      await balancer.close();
      await registry.close();
    },
  },
};

/** An instance of a service. */
function service(id) {
  return { name: 'api', id, address: '127.0.0.1', port: 80 };
}

/** A check that is made while a test runs. */
const healthCheck = { check: () => true, intervalMs: 10 };

/** What leaves something of every kind behind. */
const careless = {
  async use({ client }) {
    const lease = await client.lease({ ttlMs: TTL_MS });
    await lease.put('a', '1');
    client.watch({ key: 'a' });
    setTimeout(() => {}, 60_000).unref();
    setInterval(() => {}, 60_000);
  },
};

/** Something that goes on until its signal ends it. */
function ended(signal) {
  return new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

/** What is done again and again with what is open; and with new ones each time. */
const rounds = {
  'lock and unlock'(client) {
    const lock = new recipes.DistributedLock(client, { key: 'a', ttlMs: TTL_MS });
    return {
      async round() {
        await lock.lock();
        await lock.unlock();
      },
      close: () => lock.close(),
    };
  },
  'lock and unlock, after another'(client) {
    const locks = [1, 2].map(
      () => new recipes.DistributedLock(client, { key: 'a', ttlMs: TTL_MS }),
    );
    return {
      async round() {
        await Promise.all(locks.map((lock) => lock.withLock(() => {})));
      },
      close: () => Promise.all(locks.map((lock) => lock.close())),
    };
  },
  'a new lock, closed while it is held': (client) => ({
    async round() {
      const lock = new recipes.DistributedLock(client, { key: 'a', ttlMs: TTL_MS });
      await lock.lock();
      await lock.close();
    },
  }),
  'campaign and resign'(client) {
    const election = new recipes.LeaderElection(client, 'a', 'one', TTL_MS);
    return {
      async round() {
        await election.campaign();
        await election.resign();
      },
      close: () => election.stop(),
    };
  },
  'start and stop': (client) => ({
    async round() {
      const election = new recipes.LeaderElection(client, 'a', 'one', TTL_MS);
      await election.start();
      await election.stop();
    },
  }),
  'observe and return'(client) {
    const election = new recipes.LeaderElection(client, 'a', 'one', TTL_MS);
    return {
      async round() {
        for await (const leader of election.observe()) if (leader === null) break;
      },
      close: () => election.stop(),
    };
  },
  'subscribe and return'(client) {
    const store = new recipes.EventStore(client);
    const begun = store.append('a', 'Happened', {});
    return {
      async round() {
        await begun;
        for await (const { version } of store.subscribe('a')) if (version === 1) break;
      },
    };
  },
  'register and deregister, watch and stop'(client) {
    const registry = new recipes.ServiceRegistry(client, 'a', TTL_MS);
    return {
      async round() {
        const stop = await registry.watch('api', () => {});
        await registry.register(service('one'));
        await registry.deregister('api', 'one');
        stop();
      },
      close: () => registry.close(),
    };
  },
  'a cache that watches, closed': (client) => ({
    async round() {
      const cached = new recipes.CachedClient(client, 60_000, 10);
      await cached.get('missing', String).catch(() => {});
      await cached.close();
    },
  }),
};

module.exports = { rounds, uses: { ...uses, careless } };
