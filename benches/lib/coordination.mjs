// What is measured of watches: how late an event is, and how many of them a client is told in a second.
//
// A store that is measured gives `put(key, value)` and `watch(prefix, onEvent)`, which resolves with a function that
// ends the watch and calls `onEvent(value)` with the value of each put, as text.
import { setTimeout as wait } from 'node:timers/promises';

const PREFIX = 'watched/';
/** An event that was there before the answer to its put was not late at all. A ratio needs a number. */
const SOONEST_MS = 0.001;

/** One writer, one watcher: from the answer to a put to its event. */
export async function lag(store, { ms }) {
  let seen;
  const close = await store.watch(PREFIX, (value) => seen?.(value));
  const times = [];
  const end = performance.now() + ms;
  for (let n = 0; performance.now() < end; n++) {
    const value = `${n}`;
    const event = new Promise((resolve) => {
      seen = (told) => told === value && resolve(performance.now());
    });
    await store.put(`${PREFIX}${n % 100}`, value);
    const answered = performance.now();
    times.push(Math.max(SOONEST_MS, (await event) - answered));
    // The next put begins in a turn of its own.
    await new Promise(setImmediate);
  }
  await close();
  times.sort((a, b) => a - b);
  const at = (part) => times[Math.min(times.length - 1, Math.floor(times.length * part))] * 1000;
  return { p50Us: at(0.5), p99Us: at(0.99) };
}

const WATCHERS = 1000;
const PUTS_PER_SECOND = 1000;
const TICK_MS = 5;
const MOST_UNDER_WAY = 2000;

/** A thousand watchers of one prefix, and a thousand puts per second. */
export async function fanOut(store, { ms }) {
  let events = 0;
  const closes = await Promise.all(
    Array.from({ length: WATCHERS }, () => store.watch(PREFIX, () => (events += 1))),
  );
  let [underWay, sent] = [0, 0];
  const start = performance.now();
  const done = () => (underWay -= 1);
  while (performance.now() < start + ms) {
    const due = ((performance.now() - start) / 1000) * PUTS_PER_SECOND;
    while (sent < due && underWay < MOST_UNDER_WAY) {
      underWay += 1;
      sent += 1;
      store.put(`${PREFIX}${sent % 100}`, `${sent}`).then(done, done);
    }
    await wait(TICK_MS);
  }
  const seconds = (performance.now() - start) / 1000;
  const perSecond = events / seconds;
  await Promise.all(closes.map((close) => close()));
  while (underWay > 0) await wait(TICK_MS);
  return { perSecond };
}
