// The loops that everyone is measured with.
import { fanOut, lag } from './coordination.mjs';
import { makeKeys, makeValues, randomNumbers } from './keys.mjs';

/** One caller alone looks at the clock after so many calls: some calls take no longer than the look. */
const LOOK_EVERY = 16;

const values = makeValues();
let keys = [];

/** What each kind of call does to an opened store, given the next number of a sequence without a pattern. */
const calls = {
  get: (store, n) => store.get(keys[n % keys.length]),
  put: (store, n) => store.put(keys[n % keys.length], values[n % values.length]),
  scan: (store, n) => store.scan(keys[n % Math.max(keys.length - 100, 1)], 100),
  start: (store) => store.start(),
  txn: (store, n) => store.txn(keys[n % keys.length], values[n % values.length]),
};

/** Kinds of work that are no calls in a loop. */
const works = { lag, fanOut };

/**
 * `flight` callers for `ms` milliseconds, each making one call after the other.
 *
 * Answers calls per second, processor time per call (user and system, all threads), and for one caller the
 * median time of a call.
 */
export async function measure(store, { op, flight = 1, ms, keys: keyCount = 1, timed = false }) {
  if (works[op] !== undefined) return works[op](store, { ms });
  if (keys.length !== keyCount) keys = makeKeys(keyCount);
  const call = calls[op];
  const times = [];
  const cpu = process.cpuUsage();
  const start = performance.now();
  const end = start + ms;
  const lane = timed ? timedLane : plainLane;
  const lanes = await Promise.all(
    Array.from({ length: flight }, (_, at) =>
      lane({
        store,
        call,
        next: randomNumbers(at),
        end,
        times,
        lookEvery: flight > 1 ? 1 : LOOK_EVERY,
      }),
    ),
  );
  const done = lanes.reduce((sum, count) => sum + count, 0);
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  times.sort((a, b) => a - b);
  return {
    perSecond: done / seconds,
    cpuUs: (user + system) / done,
    p50Us: timed ? times[times.length >> 1] * 1000 : undefined,
  };
}

async function plainLane({ store, call, next, end, lookEvery }) {
  let done = 0;
  do {
    for (let left = lookEvery; left > 0; left--) await call(store, next());
    done += lookEvery;
  } while (performance.now() < end);
  return done;
}

async function timedLane({ store, call, next, end, times }) {
  let done = 0;
  for (let now = performance.now(); now < end; done++) {
    await call(store, next());
    times.push(performance.now() - now);
    await store.rest?.();
    now = performance.now();
  }
  return done;
}

/** Fills a store through its own fastest way: `store.load(pairs)` takes a thousand at a time. */
export async function load(store, count) {
  const all = makeKeys(count);
  for (let from = 0; from < count; from += 1000) {
    const part = all.slice(from, from + 1000);
    await store.load(part.map((key, at) => [key, values[(from + at) % values.length]]));
  }
}
