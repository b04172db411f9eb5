// How fast watches tell many events.
//
// A store that is measured gives `putAll(pairs)`, one transaction, which resolves with a version that
// `watch(prefix, onEvent, version)` begins at. The events are written a hundred at a time, and told to several watches: etcd
// tells the past in parts of 1,000 revisions, one each 100 ms, whoever asks, and that wait is not what is measured.
const EVENTS = 10_000;
const AT_ONCE = 100;

let written;

/** 10,000 puts, once for a process: their prefix, and the version of the first. */
async function write(store) {
  const prefix = `followed/${Math.random().toString(36).slice(2)}/`;
  let from;
  for (let n = 0; n < EVENTS; n += AT_ONCE) {
    const part = Array.from({ length: AT_ONCE }, (_, at) => String(n + at));
    const at = await store.putAll(part.map((each) => [`${prefix}${each % 1000}`, each]));
    from ??= at;
  }
  return { prefix, from };
}

/** One watch that is told 10,000 events. Fails if one is missing or comes out of order. */
async function watchAll(store, { prefix, from }) {
  let close;
  await new Promise((resolve, reject) => {
    let next = 0;
    const onEvent = (value) => {
      if (Number(value) !== next) reject(new Error(`event ${next} is ${value}`));
      next += 1;
      if (next === EVENTS) resolve();
    };
    store.watch(prefix, onEvent, from).then((end) => (close = end), reject);
  });
  await close();
}

/** `flight` watches of 10,000 events at a time, one time after the other for `ms` milliseconds. */
export async function follow(store, { ms, flight }) {
  written ??= await write(store);
  const cpu = process.cpuUsage();
  const start = performance.now();
  let events = 0;
  do {
    await Promise.all(Array.from({ length: flight }, () => watchAll(store, written)));
    events += flight * EVENTS;
  } while (performance.now() < start + ms);
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond: events / seconds, cpuUs: (user + system) / events };
}
