// What it takes to keep leases alive: `node leases.mjs <count> <ttl in ms> <ms>` grants them over gRPC from a server in
// this same process, and prints the percentage of one core that client and server take together.
import { setTimeout as wait } from 'node:timers/promises';
import { NoriKVClient } from '../../dist/index.mjs';
import { startServer } from '../../dist/server.mjs';

const [count, ttlMs, ms] = process.argv.slice(2).map(Number);
const server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
const client = await NoriKVClient.open({ nodes: [server.address], timeout: 60_000 });
const leases = [];
const began = performance.now();
while (leases.length < count) {
  leases.push(...(await Promise.all(Array.from({ length: 1000 }, () => client.lease({ ttlMs })))));
}
// From here on each has been kept alive once.
await wait(Math.max(0, ttlMs / 2.5 - (performance.now() - began)));
const cpu = process.cpuUsage();
const start = performance.now();
await wait(ms);
const { user, system } = process.cpuUsage(cpu);
const lost = leases.filter((lease) => lease.signal.aborted).length;
if (lost > 0) throw new Error(`error: ${lost} leases were lost`);
console.log((user + system) / 10 / (performance.now() - start));
process.exit(0);
