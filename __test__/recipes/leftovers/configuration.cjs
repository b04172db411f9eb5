// Settings: what people do with them. See `uses.cjs`.
const recipes = require('@norikv/client/recipes');

module.exports = {
  ConfigManager: {
    keys: 1,
    async use({ client }) {
      const config = new recipes.ConfigManager(client, 'a');
      await config.watch({ prefix: 'b' }, () => {});
      await config.set('b/c', 1);
      await config.set('b/d', 1);
      await config.delete('b/d');
      await config.getAll();
      await config.close();
    },
    async abort({ client, aborted }) {
      const config = new recipes.ConfigManager(client, 'a');
      await aborted((signal) => config.get('b', { default: 1, signal }), 0);
      await aborted((signal) => config.set('b', 1, { signal }), 0);
      await aborted((signal) => config.watch('b', () => {}, { signal }), 0);
      await config.close();
    },
  },
  FeatureFlags: {
    keys: 1,
    async use({ client }) {
      const config = new recipes.ConfigManager(client, 'a');
      const flags = new recipes.FeatureFlags(config);
      await flags.setRollout('b', { percentage: 10 });
      await flags.isEnabled('b', { user: 'c' });
      await flags.getAllFlags();
      await config.close();
    },
    async abort({ client, aborted }) {
      const config = new recipes.ConfigManager(client, 'a');
      const flags = new recipes.FeatureFlags(config);
      await aborted((signal) => flags.enable('b', { signal }), 0);
      await aborted((signal) => flags.isEnabled('b', { default: false, signal }), 0);
      await config.close();
    },
  },
  SnapshotManager: {
    // A setting, and what says where it is.
    keys: 2,
    async use({ client }) {
      const config = new recipes.ConfigManager(client, 'a');
      const snapshots = new recipes.SnapshotManager(config);
      await config.set('b', 1);
      await snapshots.createSnapshot('c');
      await snapshots.restoreSnapshot('c');
      await snapshots.list();
      await snapshots.delete('c');
      await config.close();
    },
    async abort({ client, aborted }) {
      const config = new recipes.ConfigManager(client, 'a');
      const snapshots = new recipes.SnapshotManager(config);
      await config.set('b', 1);
      await aborted((signal) => snapshots.createSnapshot('c', { signal }), 0);
      await aborted((signal) => snapshots.restoreSnapshot('c', { signal }), 0);
      await aborted((signal) => snapshots.list({ signal }), 0);
      await snapshots.delete('c');
      await config.close();
    },
  },
};
