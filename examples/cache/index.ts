// A cache in front of the store: what is read again takes no round trip, and what others write is seen nevertheless.
import { setTimeout as sleep } from 'node:timers/promises';
import { bytesToString } from '@norikv/client';
import { CachedClient } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

interface Profile {
  readonly name: string;
  readonly visits: number;
}

const parse = (bytes: Uint8Array): Profile => JSON.parse(bytesToString(bytes)) as Profile;
const serialize = (profile: Profile): string => JSON.stringify(profile);

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`this should hold: ${what}`);
}

await using client = await openClient();
const profiles = client.namespace('example-cache/');
await using cache = new CachedClient<Profile>(profiles, 60_000, 3);

for (const name of ['Ada', 'Grace', 'Edsger']) {
  await cache.put(name, { name, visits: 0 }, serialize);
}
for (let visit = 0; visit < 1_000; visit += 1) await cache.get('Ada', parse);
console.log('Ada was read 1,000 times:', cache.getStats());
check(cache.getStats().misses === 0, 'what was put is answered by the cache');

// Another process: it writes to the store, and knows nothing of the cache.
await profiles.put('Ada', serialize({ name: 'Ada', visits: 1 }));
const written = performance.now();
while ((await cache.get('Ada', parse)).visits === 0) await sleep(1);
console.log(`the change was seen after ${(performance.now() - written).toFixed(1)} ms`);

// A fourth profile needs room: the one that was used least recently goes.
await cache.put('Barbara', { name: 'Barbara', visits: 0 }, serialize);
const { size, evictions } = cache.getStats();
console.log(`${size} profiles are cached, ${evictions} had to go`);
check(size === 3 && evictions === 1, 'three are kept');

// Ten ask at once for what is not there: one read.
cache.invalidateAll();
const all = await Promise.all(Array.from({ length: 10 }, () => cache.get('Grace', parse)));
check(new Set(all).size === 1, 'all got the same object');
console.log('ten who missed at once got one object:', all[0]);

await cache.delete('Grace');
const gone = await cache.get('Grace', parse).catch((error: unknown) => String(error));
console.log('Grace is deleted:', gone);

await profiles.deleteRange({ prefix: '' });
console.log('done');
