// Services: what people do with them. See `uses.cjs`.
const recipes = require('@norikv/client/recipes');
const { TTL_MS, service } = require('./common.cjs');

/** A check that is made while a test runs. */
const healthCheck = { check: () => true, intervalMs: 10 };

module.exports = {
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
