// What an open watch costs a server: `node watch-memory.mjs <server's address> <server's process id>` prints KiB for
// each of four thousand watches, no two of them of the same range. Fewer would measure the steps in which an allocator
// takes memory from the system.
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { NoriKVClient } from '../../dist/index.mjs';

const FIRST = 1000;
const WATCHES = 4000;
const [address, process_] = process.argv.slice(2);

function kib() {
  const status = readFileSync(`/proc/${process_}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)[1]);
}

const client = await NoriKVClient.open({ nodes: [address] });
await client.put('w/0', 'v');
const opened = async (from, length) => {
  const watches = Array.from({ length }, (_, at) => client.watch({ prefix: `w/${from + at}/` }));
  await Promise.all(watches.map((watch) => watch.ready));
  return watches;
};
// The first ones pay for what all of them share.
const shared = await opened(0, FIRST);
await wait(500);
const before = kib();
const watches = await opened(FIRST, WATCHES);
await wait(500);
console.log((kib() - before) / WATCHES);
await Promise.all([...shared, ...watches].map((watch) => watch.close()));
await client.close();
