// NoriKV, in the process or over gRPC: `config` is what its client takes.
import { setTimeout as wait } from 'node:timers/promises';
import { NoriKVClient } from '../../dist/index.mjs';

const NAME = 'vectors';
const AT_ONCE = 100;
/** Inserts under way: enough for the disk not to wait for JavaScript. */
const INSERTS = 8;
const SEARCHES = 16;

export const shapes = ['one at a time', '16 in flight', '100 at once'];

/** Does `work` for each number below `count`, some at a time. */
async function lanes(width, count, work) {
  let next = 0;
  const lane = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

export async function open({ dimensions, k, config, quantization, type = 'hnsw' }) {
  const client = await NoriKVClient.open({ timeout: 120_000, ...config });
  const info = async () => {
    const { vectors, indexed, memoryBytes } = (await client.vectorIndexes())[0];
    return { vectors, indexed, memoryBytes };
  };
  const inserts = (count, part) =>
    lanes(INSERTS, Math.ceil(count / AT_ONCE), async (batch) => {
      const from = batch * AT_ONCE;
      const items = part(from, Math.min(AT_ONCE, count - from));
      await client.vectorInsertMany(
        NAME,
        items.map((vector, at) => ({ id: `${from + at}`, vector })),
      );
    });
  return {
    info,
    create: () => client.vectorCreateIndex(NAME, dimensions, 'cosine', type, { quantization }),
    /** `part(from, count)` makes vectors, which are not kept. */
    inserts,
    async build(vectors) {
      await this.create();
      await inserts(vectors.length, (from, count) => vectors.slice(from, from + count));
      return this.indexed;
    },
    /** Until every vector is in the graph. */
    async indexed(everyMs = 20) {
      for (let now = await info(); now.indexed < now.vectors; now = await info())
        await wait(everyMs);
    },
    prepare() {},
    async search(shape, queries, ef) {
      const options = { efSearch: ef };
      if (shape === '100 at once') {
        const results = [];
        for (let from = 0; from < queries.length; from += AT_ONCE) {
          const part = queries.slice(from, from + AT_ONCE);
          results.push(...(await client.vectorSearchMany(NAME, part, k, options)));
        }
        return results;
      }
      const results = new Array(queries.length);
      await lanes(shape === '16 in flight' ? SEARCHES : 1, queries.length, async (at) => {
        results[at] = await client.vectorSearch(NAME, queries[at], k, options);
      });
      return results;
    },
    ids: ({ matches }) => matches.map(({ id }) => Number(id)),
    close: () => client.close(),
  };
}
