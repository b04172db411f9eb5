// Locks and elections: what people do with them. See `uses.cjs`.
const recipes = require('@norikv/client/recipes');
const { TTL_MS, ended } = require('./common.cjs');

module.exports = {
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
};
