// What people do with each recipe: `use` ends everything that it began, `abort` ends what it began by signals. `keys` is how
// many keys of data the recipe may keep; 0 if it is not said.
const { TTL_MS } = require('./common.cjs');

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

module.exports = {
  ...require('./ownership.cjs'),
  ...require('./services.cjs'),
  ...require('./configuration.cjs'),
  ...require('./data.cjs'),
  ...require('./search.cjs'),
  careless,
};
