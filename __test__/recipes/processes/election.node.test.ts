// Only Node has processes: eight of them that stand for the same election and are killed and paused.
import { expect, test } from '@jest/globals';
import { SECONDS, reportOf, runCrew } from './crew';
import { places } from './places';
import { failures, heldTwice, intervalsOf, slowSuccessions } from './trace';

const TTL_MS = 1000;
/** After a leader's death its lease runs out, and then the next one has to notice. */
const SUCCESSION_MS = TTL_MS + 1000;

test.each(places)(
  'on $name no two processes lead at once, tokens grow, and a leader that is killed or stands still has a successor in time',
  async (place) => {
    const address = await place.start();
    const successionMs = SUCCESSION_MS + place.lateMs;
    const { lines, kills, pauses } = await runCrew({
      address,
      work: 'election.cjs',
      settings: { ttlMs: TTL_MS },
      seconds: SECONDS,
      pauseMs: [TTL_MS * 1.2, TTL_MS * 2],
      everyMs: [300, 1500],
      calmMs: successionMs + 500,
      aimed: 0.5,
    });
    const wrong = [
      ...failures(lines, pauses, place.expected),
      ...heldTwice(lines),
      ...slowSuccessions(lines, [...kills, ...pauses], successionMs),
    ];
    expect(reportOf(wrong)).toBe('');
    expect(intervalsOf(lines).length).toBeGreaterThan(SECONDS / 3);
  },
  (SECONDS + 90) * 1000,
);
