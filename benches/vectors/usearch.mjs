// usearch from npm: single searches in the thread of JavaScript, several at once on as many threads as it may use.
import { rmSync } from 'node:fs';
import os from 'node:os';
import usearch from 'usearch';

const AT_ONCE = 100;

export const shapes = ['one at a time', '100 at once'];

export function open({ dimensions, k, file }) {
  const config = {
    dimensions,
    metric: usearch.MetricKind.Cos,
    quantization: usearch.ScalarKind.F32,
    connectivity: 16,
    expansion_add: 128,
    multi: false,
  };
  let [index, expansion] = [new usearch.Index({ ...config, expansion_search: 64 }), 64];

  /** How many candidates it looks at is said when an index is made, so it is made again of its file. */
  function expand(ef) {
    if (ef === expansion) return;
    [index, expansion] = [new usearch.Index({ ...config, expansion_search: ef }), ef];
    index.load(file);
  }

  return {
    build(vectors) {
      const threads = os.availableParallelism();
      for (let from = 0; from < vectors.length; from += AT_ONCE) {
        const part = vectors.slice(from, from + AT_ONCE);
        index.add(
          BigUint64Array.from(part, (_, at) => BigInt(from + at)),
          part,
          threads,
        );
      }
    },
    prepare() {
      index.save(file);
    },
    expand,
    search(shape, queries, ef) {
      expand(ef);
      if (shape === 'one at a time') return queries.map((query) => index.search(query, k, 1));
      const threads = os.availableParallelism();
      const results = [];
      for (let from = 0; from < queries.length; from += AT_ONCE) {
        const part = queries.slice(from, from + AT_ONCE);
        const matches = index.search(part, k, threads);
        for (let at = 0; at < part.length; at++) results.push(matches.get(at));
      }
      return results;
    },
    ids: ({ keys }) => Array.from(keys, Number),
    close() {
      rmSync(file, { force: true });
    },
  };
}
