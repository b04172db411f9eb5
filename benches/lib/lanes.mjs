// Callers that each make one call after the other, in Node and in a page.

/** One caller alone looks at the clock after so many calls: some calls take no longer than the look. */
const LOOK_EVERY = 16;

/**
 * `flight` callers for `ms` milliseconds; each makes `call(random number)` after `call`. Answers how many calls were
 * made, the seconds they took, and with `timed` the sorted milliseconds of each.
 */
export async function drive({ call, flight, ms, timed, rest, randomNumbers, lookEvery }) {
  const times = [];
  const start = performance.now();
  const end = start + ms;
  const lane = timed ? timedLane : plainLane;
  const every = lookEvery ?? (flight > 1 ? 1 : LOOK_EVERY);
  const lanes = await Promise.all(
    Array.from({ length: flight }, (_, at) =>
      lane({ call, next: randomNumbers(at), end, times, rest, every }),
    ),
  );
  const done = lanes.reduce((sum, count) => sum + count, 0);
  const seconds = (performance.now() - start) / 1000;
  times.sort((a, b) => a - b);
  return { done, seconds, times };
}

async function plainLane({ call, next, end, every }) {
  let done = 0;
  do {
    for (let left = every; left > 0; left--) await call(next());
    done += every;
  } while (performance.now() < end);
  return done;
}

async function timedLane({ call, next, end, times, rest }) {
  let done = 0;
  for (let now = performance.now(); now < end; done++) {
    await call(next());
    times.push(performance.now() - now);
    await rest?.();
    now = performance.now();
  }
  return done;
}
