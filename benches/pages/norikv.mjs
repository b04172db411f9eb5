// NoriKV in a page.
import { NoriKVClient } from '../../dist/web/norikv.js';
import { serve } from './serve.mjs';

await serve((address) => {
  const client = new NoriKVClient({ nodes: [address] });
  return {
    get: (key) => client.get(key),
    put: (key, value) => client.put(key, value),
    /** Calls `onEvent` with the value of each put under a prefix. Answers how to end that. */
    async watch(prefix, onEvent) {
      const watch = client.watch({ prefix });
      await watch.ready;
      void (async () => {
        for await (const { events } of watch) for (const { entry } of events) onEvent(entry.text());
      })();
      return () => watch.close();
    },
  };
});
