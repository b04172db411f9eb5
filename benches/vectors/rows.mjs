// What is measured of vectors, and what it should come to: as in `../rows.mjs`.
import { vectorFacts } from './facts.mjs';

/** What was measured of vectors, against something else that was. */
const against = (work, name, metric, better, budget, [theirs, title = theirs]) => ({
  work: `vectors: ${work}`,
  fact: name,
  metric,
  better,
  theirs,
  title,
  budget,
});

export const vectors = {
  name: 'vectors',
  title: 'vectors',
  section: 'vectors',
  facts: vectorFacts,
  rows: [
    ...[95, 99].flatMap((recall) => [
      ...['one', 'all'].flatMap((processors) =>
        ['hnswlib-node', 'usearch'].map((peer) =>
          against(
            `searches at recall@10 ≥ 0.${recall}, ${processors === 'one' ? 'one processor' : 'all processors'}`,
            `searches ${recall} ${processors}`,
            'perSecond',
            'more',
            1.2,
            [`${peer} ${recall} ${processors}`, peer],
          ),
        ),
      ),
      against(
        `searches at recall@10 ≥ 0.${recall} over gRPC, 16 in flight`,
        `grpc ${recall}`,
        'perSecond',
        'more',
        0.5,
        [`in process ${recall}`, 'in the process'],
      ),
    ]),
    against('durable inserts, until all are in the graph', 'indexed', 'perSecond', 'more', 0.8, [
      'hnswlib-node inserts',
      'hnswlib-node, in memory',
    ]),
    against('durable inserts, until acknowledged', 'acknowledged', 'perSecond', 'more', 0.8, [
      'hnswlib-node inserts',
      'hnswlib-node, in memory',
    ]),
    ...['built', 'opened'].map((when) =>
      against(
        `memory of the process beyond the vectors' own bytes, for each, ${when}`,
        `memory, ${when}`,
        'bytes',
        'less',
        1 / 1.2,
        ['hnswlib-node memory', 'hnswlib-node'],
      ),
    ),
    ...['one', 'all'].map((threads) =>
      against(
        `exact search, 100 k × 768, ${threads === 'one' ? 'one at a time' : '16 in flight'}`,
        `exact ${threads}`,
        'gigabytesPerSecond',
        'more',
        0.6,
        [
          `bandwidth ${threads}`,
          `memory bandwidth, ${threads === 'one' ? 'one thread' : 'all threads'}`,
        ],
      ),
    ),
    against('open after a clean stop, until all are in the graph', 'open', 'ms', 'less', 20, [
      'build',
      'building',
    ]),
  ],
};
