// What is done again and again.
const recipes = require('@norikv/client/recipes');
const { TTL_MS, service } = require('./common.cjs');

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

module.exports = rounds;
