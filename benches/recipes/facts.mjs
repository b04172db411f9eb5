// What is measured of recipes beside calls in a loop: how long nobody leads after a leader's death, and round trips.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { factOf } from '../lib/children.mjs';
import { failovers } from './failover.mjs';
import { failoverTable, tripsTable } from './tables.mjs';

export const FAILOVER_TTL_MS = 1000;
const KILLS = 25;

const trips = fileURLToPath(new URL('trips.mjs', import.meta.url));

export async function recipeFacts({ place, scale, say }) {
  say('round trips');
  const counted = JSON.parse(await factOf(trips, [], 60_000));
  const directory = path.join(place, 'failover');
  mkdirSync(directory);
  const kills = Math.round(KILLS * scale);
  const times = await failovers({ directory, ttlMs: FAILOVER_TTL_MS, kills, say });
  times.sort((a, b) => a - b);
  return {
    // Of so few, the slowest of all.
    failover: times.at(-1),
    tables: [tripsTable(counted), failoverTable(times, FAILOVER_TTL_MS)],
  };
}
