// Only Node has processes: eight of them that reserve the same stock and are killed and paused.
import { setTimeout as wait } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { InventoryManager } from '@norikv/client/recipes';
import { SECONDS, reportOf, runCrew } from './crew';
import { places } from './places';
import { callsOf, failures, misstocked, oversold, sumsOf } from './trace';

const TTL_MS = 1000;
/** So much that it is sold out only towards the end. */
const STOCK = 20 * SECONDS;

test.each(places)(
  'on $name stock is never below zero nor promised twice, what was sold is gone, and nothing else is once reservations ran out',
  async (place) => {
    const address = await place.start();
    const client = await NoriKVClient.open(address);
    const inventory = new InventoryManager(client);
    await inventory.createItem('shared', STOCK);
    const { lines, pauses } = await runCrew({
      address,
      work: 'inventory.cjs',
      settings: { ttlMs: TTL_MS },
      seconds: SECONDS,
      pauseMs: [TTL_MS * 0.8, TTL_MS * 2],
      everyMs: [100, 600],
    });
    await wait(TTL_MS + 1000 + place.lateMs);
    const available = await inventory.getAvailable('shared');
    await client.close();
    const wrong = [
      ...failures(lines, pauses, place.expected),
      ...misstocked(lines, { stock: STOCK, available }),
      ...oversold(lines, { stock: STOCK, ttlMs: TTL_MS }),
    ];
    expect(reportOf(wrong)).toBe('');
    const { certain } = sumsOf(lines, ['commits', 'committed']);
    expect(certain).toBeGreaterThan(STOCK / 10);
    const reserved = callsOf(lines, 'reserves').filter(({ end }) => end?.what === 'reserved');
    expect(reserved.length).toBeGreaterThan(SECONDS * 5);
  },
  (SECONDS + 90) * 1000,
);
