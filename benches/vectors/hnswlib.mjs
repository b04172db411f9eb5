// hnswlib-node, which calls hnswlib in the thread of JavaScript.
import hnswlib from 'hnswlib-node';

export const shapes = ['one at a time'];

export function open({ count, dimensions, k }) {
  const index = new hnswlib.HierarchicalNSW('cosine', dimensions);
  index.initIndex(count, 16, 200);
  let plain;
  return {
    build(vectors) {
      // It takes arrays of numbers. Making them is part of what it costs from JavaScript, as is the copying of ours.
      for (const [at, vector] of vectors.entries()) index.addPoint(Array.from(vector), at);
    },
    /** It is not charged for making arrays of queries. */
    prepare(queries) {
      plain = new Map(queries.map((query) => [query, Array.from(query)]));
    },
    search(_, queries, ef) {
      index.setEf(ef);
      return queries.map((query) => index.searchKnn(plain.get(query), k));
    },
    ids: (result) => result.neighbors,
    close() {},
  };
}
