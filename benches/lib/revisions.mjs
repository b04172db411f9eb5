// What is left of history that is compacted: `node revisions.mjs <directory> <revisions>` writes them over 10,000 keys in
// five parts, compacts after each, and prints as JSON how much more disk and memory the store takes after the last part
// than after the second.
import { setTimeout as wait } from 'node:timers/promises';
import { NoriKVClient } from '../../dist/index.mjs';

const [directory, revisions] = process.argv.slice(2);
const PARTS = 5;
const AT_ONCE = 1000;
const KEYS = 10_000;
const client = await NoriKVClient.open({
  address: `file:${directory}`,
  durability: 'relaxed',
  timeout: 60_000,
});
const value = Buffer.alloc(100, 7);
const sizes = [];
for (let part = 0, n = 0; part < PARTS; part++) {
  for (const end = n + Number(revisions) / PARTS; n < end; n += AT_ONCE) {
    await Promise.all(
      Array.from({ length: AT_ONCE }, (_, at) => client.put(`key-${(n + at) % KEYS}`, value)),
    );
  }
  const { version } = await client.status();
  await client.compact(version);
  // The space comes back in the background.
  let disk = Infinity;
  for (let still = 0; still < 4; await wait(500)) {
    const { diskBytes } = (await client.status()).sizes;
    still = diskBytes < disk ? 0 : still + 1;
    disk = Math.min(disk, diskBytes);
  }
  sizes.push({ disk, memory: process.memoryUsage().rss });
}
const [, second] = sizes;
const last = sizes[PARTS - 1];
console.log(
  JSON.stringify({ disk: last.disk / second.disk, memory: last.memory / second.memory, sizes }),
);
await client.close();
