// How fast a watch tells what happened before it began.
//
// A store that is measured gives `put(key, value)`, which resolves with a version that `watch(prefix, onEvent, version)`
// begins at.
const EVENTS = 10_000;
const AT_ONCE = 100;

let written;

/** 10,000 puts, once for a process: their prefix, and the version of the first. */
async function write(store) {
  const prefix = `replayed/${Math.random().toString(36).slice(2)}/`;
  const from = await store.put(`${prefix}${0}`, '0');
  for (let n = 1; n < EVENTS; n += AT_ONCE) {
    const part = Array.from({ length: Math.min(AT_ONCE, EVENTS - n) }, (_, at) => n + at);
    await Promise.all(part.map((each) => store.put(`${prefix}${each % 1000}`, String(each))));
  }
  return { prefix, from };
}

/** A watch of 10,000 events after the other, for `ms` milliseconds. Fails if one is missing or told twice. */
export async function replay(store, { ms }) {
  written ??= await write(store);
  const { prefix, from } = written;
  const cpu = process.cpuUsage();
  const start = performance.now();
  let rounds = 0;
  while (rounds === 0 || performance.now() < start + ms) {
    const seen = new Set();
    let told = 0;
    let close;
    await new Promise((resolve, reject) => {
      const onEvent = (value) => {
        seen.add(value);
        told += 1;
        if (told === EVENTS) resolve();
      };
      store.watch(prefix, onEvent, from).then((end) => (close = end), reject);
    });
    if (seen.size !== EVENTS) throw new Error(`${EVENTS - seen.size} events were missing`);
    await close();
    rounds += 1;
  }
  const events = rounds * EVENTS;
  const { user, system } = process.cpuUsage(cpu);
  const seconds = (performance.now() - start) / 1000;
  return { perSecond: events / seconds, cpuUs: (user + system) / events };
}
