// Only Node has processes: eight of them that ask for the same limit and are killed and paused.
import { expect, test } from '@jest/globals';
import { SECONDS, reportOf, runCrew } from './crew';
import { places } from './places';
import { callsOf, failures, overLimit } from './trace';

const limit = { maxRequests: 20, windowMs: 1000 };

const plan = (address: string) => ({
  address,
  work: 'limiter.cjs',
  settings: limit,
  seconds: SECONDS,
  pauseMs: [500, 2000] as const,
  everyMs: [100, 600] as const,
});

test.each(places)(
  'on $name no window has more calls that were let through than its limit, and many have about as many',
  async (place) => {
    const address = await place.start();
    const { lines, pauses } = await runCrew(plan(address));
    expect(reportOf([...failures(lines, pauses, place.expected), ...overLimit(lines, limit)])).toBe(
      '',
    );
    const through = callsOf(lines, 'asks').filter(({ end }) => end?.allowed === true);
    // One that lets nobody through keeps every limit.
    expect(through.length).toBeGreaterThan((SECONDS * limit.maxRequests) / 2);
  },
  (SECONDS + 90) * 1000,
);

test('a limiter that reads, then puts, is seen to let too many through', async () => {
  const address = await places[0]!.start();
  const naive = { ...plan(address), settings: { ...limit, naive: true }, seconds: 2 };
  const { lines } = await runCrew(naive);
  expect(overLimit(lines, limit)).not.toEqual([]);
}, 60_000);
