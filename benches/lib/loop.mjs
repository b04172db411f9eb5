// The loops that everyone is measured with.
import { fanOut, lag } from './coordination.mjs';
import { makeKeys, makeValues, randomNumbers } from './keys.mjs';
import { drive } from './lanes.mjs';
import { follow } from './follow.mjs';

const values = makeValues();
let keys = [];

/**
 * What each kind of call does to an opened store, given the next number of a sequence without a pattern. Any other is a
 * method of the store.
 */
const calls = {
  get: (store, n) => store.get(keys[n % keys.length]),
  put: (store, n) => store.put(keys[n % keys.length], values[n % values.length]),
  scan: (store, n) => store.scan(keys[n % Math.max(keys.length - 100, 1)], 100),
  start: (store) => store.start(),
  txn: (store, n) => store.txn(keys[n % keys.length], values[n % values.length]),
};

/** Kinds of work that are no calls in a loop. */
const works = { lag, fanOut, follow };

/**
 * `flight` callers for `ms` milliseconds, each making one call after the other.
 *
 * Answers calls per second, processor time per call (user and system, all threads), and for one caller the
 * median time of a call.
 */
export async function measure(store, what) {
  const { op, flight = 1, ms, keys: keyCount = 1, timed = false, lookEvery } = what;
  if (works[op] !== undefined) return works[op](store, { ms, flight });
  if (keys.length !== keyCount) keys = makeKeys(keyCount);
  const call = calls[op] ?? ((_, n) => store[op](n));
  const cpu = process.cpuUsage();
  const { done, seconds, times } = await drive({
    call: (n) => call(store, n),
    flight,
    ms,
    timed,
    rest: store.rest?.bind(store),
    randomNumbers,
    lookEvery,
  });
  const { user, system } = process.cpuUsage(cpu);
  return {
    perSecond: done / seconds,
    cpuUs: (user + system) / done,
    p50Us: timed ? times[times.length >> 1] * 1000 : undefined,
  };
}

/** Fills a store through its own fastest way: `store.load(pairs)` takes a thousand at a time. */
export async function load(store, count) {
  const all = makeKeys(count);
  for (let from = 0; from < count; from += 1000) {
    const part = all.slice(from, from + 1000);
    await store.load(part.map((key, at) => [key, values[(from + at) % values.length]]));
  }
}
