// NoriKV itself: `{ address, … }` as its client takes it.
import { NoriKVClient, compare, op } from '../../dist/index.mjs';

export async function open(config) {
  const client = await NoriKVClient.open(config);
  return {
    get: (key) => client.get(key),
    put: (key, value) => client.put(key, value),
    txn: (key, value) =>
      client.txn().if(compare(key).generation.greater(0)).then(op.put(key, value)).commit(),
    async putAll(pairs) {
      const puts = pairs.map(([key, value]) => op.put(key, value));
      const { version } = await client
        .txn()
        .then(...puts)
        .commit();
      return version;
    },
    async watch(prefix, onEvent, fromVersion) {
      const watch = client.watch({ prefix }, { fromVersion });
      await watch.ready;
      void (async () => {
        for await (const { events } of watch) for (const { entry } of events) onEvent(entry.text());
      })();
      return () => watch.close();
    },
    scan: (start, limit) => client.scan({ start, limit }).toArray(),
    load: (pairs) => Promise.all(pairs.map(([key, value]) => client.put(key, value))),
    close: () => client.close(),
  };
}
