// @deno/kv (SQLite) in a file.
import { join } from 'node:path';
import { openKv } from '@deno/kv';

export async function open({ directory }) {
  const kv = await openKv(join(directory, 'kv.sqlite'));
  return {
    get: (key) => kv.get([key]),
    put: (key, value) => kv.set([key], value),
    async load(pairs) {
      for (let from = 0; from < pairs.length; from += 500) {
        const batch = kv.atomic();
        for (const [key, value] of pairs.slice(from, from + 500)) batch.set([key], value);
        await batch.commit();
      }
    },
    close: () => kv.close(),
  };
}
