// Only Node has processes: eight of them that take the same lock and are killed and paused.
import { expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { SECONDS, reportOf, runCrew } from './crew';
import { places } from './places';
import { failures, heldTwice, intervalsOf, olderAfterNewer } from './trace';

const TTL_MS = 1000;

const plan = (address: string) => ({
  address,
  work: 'lock.cjs',
  settings: { ttlMs: TTL_MS },
  seconds: SECONDS,
  pauseMs: [TTL_MS * 1.2, TTL_MS * 2] as const,
  everyMs: [200, 1000] as const,
  aimed: 0.5,
});

/** The tokens that came with each write to what the lock protects, in the order of the writes. */
async function tokensWritten(client: NoriKVClient): Promise<string[]> {
  const { createVersion, version } = await client.get('protected');
  const watch = client.watch({ key: 'protected' }, { fromVersion: createVersion });
  const tokens: string[] = [];
  for await (const { events, version: upTo } of watch) {
    for (const { entry } of events) tokens.push(entry.json<{ token: string }>().token);
    if (upTo.compare(version) >= 0) break;
  }
  return tokens;
}

test.each(places)(
  'on $name no two processes hold the lock at once, tokens grow, and what the lock guards never sees an older one after a newer',
  async (place) => {
    const address = await place.start();
    const { lines, pauses } = await runCrew(plan(address));
    const client = await NoriKVClient.open(address);
    const tokens = await tokensWritten(client);
    await client.close();
    const wrong = [
      ...failures(lines, pauses, place.expected),
      ...heldTwice(lines),
      ...olderAfterNewer(tokens),
    ];
    expect(reportOf(wrong)).toBe('');
    // A lock that nobody gets excludes everybody.
    expect(intervalsOf(lines).length).toBeGreaterThan(SECONDS);
    expect(tokens.length).toBeGreaterThan(SECONDS);
  },
  (SECONDS + 90) * 1000,
);

test('a lock that looks, then puts, is seen to be held twice', async () => {
  const address = await places[0]!.start();
  const naive = { ...plan(address), settings: { ttlMs: TTL_MS, naive: true }, seconds: 4 };
  const { lines } = await runCrew(naive);
  expect(heldTwice(lines)).not.toEqual([]);
}, 60_000);
