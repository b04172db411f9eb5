// Only Node has processes: eight of them that add to the same counters and are killed and paused.
import { expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { DistributedCounter, ShardedCounter } from '@norikv/client/recipes';
import { SECONDS, reportOf, runCrew } from './crew';
import { places } from './places';
import { failures, miscounted, sumsOf } from './trace';

const plan = (address: string) => ({
  address,
  work: 'counter.cjs',
  settings: {},
  seconds: SECONDS,
  pauseMs: [500, 1500] as const,
  everyMs: [100, 600] as const,
});

test.each(places)(
  'on $name counters have all that was acknowledged, and nothing that was not asked for',
  async (place) => {
    const address = await place.start();
    const { lines, pauses, finished } = await runCrew(plan(address));
    const client = await NoriKVClient.open(address);
    const wrong = failures(lines, pauses, place.expected);
    const shared = await new DistributedCounter(client, 'shared').get();
    const sharded = await new ShardedCounter(client, 'sharded', 4).get();
    wrong.push(...miscounted(lines, 'shared', shared), ...miscounted(lines, 'sharded', sharded));
    for (const who of new Set(lines.map((line) => line.who))) {
      const own = lines.filter((line) => line.name === who);
      const value = await new DistributedCounter(client, who).get();
      wrong.push(...miscounted(own, who, value));
      // Of one that ended by itself everything is known, but what a pause took the time away from.
      const { open } = sumsOf(own, ['adds', 'added']);
      const unknown = own.some(({ what }) => what === 'unknown');
      if (finished.has(who) && !unknown && open > 0) wrong.push(`${who} left ${open} open`);
    }
    await client.close();
    expect(reportOf(wrong)).toBe('');
    expect(sumsOf(lines, ['adds', 'added']).certain).toBeGreaterThan(1000);
  },
  (SECONDS + 90) * 1000,
);

test('a counter that reads, then puts, is seen to lose', async () => {
  const address = await places[0]!.start();
  const naive = { ...plan(address), settings: { naive: true }, seconds: 2 };
  const { lines } = await runCrew(naive);
  const client = await NoriKVClient.open(address);
  const value = Number((await client.get('naive/shared')).text());
  await client.close();
  expect(miscounted(lines, 'shared', value)).not.toEqual([]);
}, 60_000);
