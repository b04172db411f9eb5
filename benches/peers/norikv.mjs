// NoriKV itself: `{ address, … }` as its client takes it.
import { NoriKVClient } from '../../dist/index.mjs';

export async function open(config) {
  const client = await NoriKVClient.open(config);
  return {
    get: (key) => client.get(key),
    put: (key, value) => client.put(key, value),
    scan: (start, limit) => client.scan({ start, limit }).toArray(),
    load: (pairs) => Promise.all(pairs.map(([key, value]) => client.put(key, value))),
    close: () => client.close(),
  };
}
