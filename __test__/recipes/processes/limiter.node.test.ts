// Only Node has processes: eight of them that ask for the same limit and are killed and paused.
import { expect, test } from '@jest/globals';
import { serve, temporary } from '../../faults/children';
import { SECONDS, reportOf, runCrew } from './crew';
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

test(
  'no window has more calls that were let through than its limit, and many have about as many',
  async () => {
    const { address } = await serve(`file:${temporary()}`);
    const { lines, pauses } = await runCrew(plan(address));
    expect(reportOf([...failures(lines, pauses), ...overLimit(lines, limit)])).toBe('');
    const through = callsOf(lines, 'asks').filter(({ end }) => end?.allowed === true);
    // One that lets nobody through keeps every limit.
    expect(through.length).toBeGreaterThan((SECONDS * limit.maxRequests) / 2);
  },
  (SECONDS + 90) * 1000,
);

test('a limiter that reads, then puts, is seen to let too many through', async () => {
  const { address } = await serve('memory:');
  const naive = { ...plan(address), settings: { ...limit, naive: true }, seconds: 2 };
  const { lines } = await runCrew(naive);
  expect(overLimit(lines, limit)).not.toEqual([]);
}, 60_000);
