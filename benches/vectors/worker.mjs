// A process of its own for whoever searches: `node --expose-gc worker.mjs <hnswlib, usearch or norikv> <settings as JSON>`
// answers each line of stdin (`{ op, … }`) with one of its own, and ends when stdin does.
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import {
  makeQueries,
  makeVectors,
  clustered,
  nearestByFormula,
  readTruth,
  recallOf,
  split,
} from './data.mjs';

/** The candidates that are tried, the fastest first. */
const CANDIDATES = [
  10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512,
];
const TARGETS = [0.95, 0.99];
const PASSES = 5;
/** How many queries the exact search is compared with the formula for. */
const CHECKED = 20;
/** How many queries an exact search over large vectors is timed with. */
const EXACT = 32;

const [who, json] = process.argv.slice(2);
const settings = JSON.parse(json);
const { open, shapes } = await import(new URL(`${who}.mjs`, import.meta.url));
const { count, dimensions, k } = settings;
const seconds = (since) => (performance.now() - since) / 1000;

function memory() {
  // The second collection frees what finalizers of the first let go.
  globalThis.gc();
  globalThis.gc();
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
}

let store;
let queries = [];
const prepared = () => {
  queries = makeQueries(settings.queries, dimensions);
  store.prepare(queries);
};

/** The best of several passes over all queries. */
async function rate(shape, ef, passes = PASSES) {
  store.expand?.(ef);
  let best = Infinity;
  for (let pass = 0; pass <= passes; pass++) {
    const start = performance.now();
    await store.search(shape, queries, ef);
    if (pass > 0) best = Math.min(best, seconds(start));
  }
  return queries.length / best;
}

const works = {
  /** Makes the index. Answers how long that took, and the memory that it takes beyond the vectors' own bytes. */
  async build() {
    const vectors = makeVectors(count, dimensions);
    const before = memory();
    const start = performance.now();
    store = await open(settings);
    await store.build(vectors);
    const acknowledged = seconds(start);
    await store.indexed?.();
    const indexed = seconds(start);
    const beyond = (memory() - before) / count - dimensions * 4;
    const { memoryBytes } = (await store.info?.()) ?? {};
    return { acknowledged, indexed, beyond, memoryBytes };
  },

  /** Opens an index that is there. Answers how long it took until it answered a search, and had all in its graph. */
  async open() {
    const first = makeQueries(settings.queries, dimensions);
    const before = memory();
    const start = performance.now();
    store = await open(settings);
    await store.search('one at a time', first.slice(0, 1), undefined);
    const answered = seconds(start);
    await store.indexed(1);
    const whole = seconds(start);
    await store.search('one at a time', first.slice(0, 1000), undefined);
    const beyond = (memory() - before) / count - dimensions * 4;
    prepared();
    const { memoryBytes } = await store.info();
    return { answered, whole, beyond, memoryBytes };
  },

  /** The fewest candidates that reach each recall. */
  async recall({ truth }) {
    prepared();
    const nearest = readTruth(truth);
    const reached = [];
    for (const ef of CANDIDATES) {
      const found = (await store.search(shapes.at(-1), queries, ef)).map(store.ids);
      const recall = recallOf(found, nearest);
      while (reached.length < TARGETS.length && recall >= TARGETS[reached.length]) {
        reached.push({ target: TARGETS[reached.length], ef, recall });
      }
      if (reached.length === TARGETS.length) break;
    }
    return reached;
  },

  /** Queries per second in each shape. */
  async rates({ ef, passes }) {
    const rates = {};
    for (const shape of shapes) rates[shape] = await rate(shape, ef, passes);
    return rates;
  },

  async rate({ shape, ef }) {
    return rate(shape, ef);
  },

  /** Writes what is nearest into a file, by exact search that is checked by the formula. */
  async truth({ file }) {
    const vectors = makeVectors(count, dimensions);
    store = await open(settings);
    await store.build(vectors);
    prepared();
    const found = (await store.search('100 at once', queries, undefined)).map(store.ids);
    const checked = queries.slice(0, CHECKED);
    const byFormula = checked.map((query) => nearestByFormula(vectors, query, k));
    // What is equally far in single precision may be named in another order, or instead.
    const right = recallOf(found, byFormula);
    if (right < 0.99) throw new Error(`error: an exact search found ${right} of what is nearest`);
    writeFileSync(file, JSON.stringify(found));
    return { right };
  },

  /** Bytes of vectors that exact searches go through in a second. */
  async exact() {
    const next = clustered('vectors', dimensions);
    store = await open(settings);
    await store.create();
    await store.inserts(count, (_, some) => split(next(some), dimensions));
    queries = makeQueries(EXACT, dimensions);
    const bytes = count * dimensions * 4;
    return {
      one: (await rate('one at a time', undefined, 3)) * bytes,
      all: (await rate('16 in flight', undefined, 3)) * bytes,
    };
  },
};

const answer = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  const { op, ...what } = JSON.parse(line);
  answer(await works[op](what));
}
await store?.close();
process.exit(0);
