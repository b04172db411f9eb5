// Leaders that are killed: how long it takes until the next one knows that it leads.
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startChild } from '../lib/children.mjs';
import { startNorikvOn } from '../lib/servers.mjs';

const candidate = fileURLToPath(new URL('candidate.mjs', import.meta.url));
const LIMIT_MS = 30_000;
/** How long a candidate is given to take its place in the queue. */
const QUEUED_MS = 400;

const now = () => Number(process.hrtime.bigint()) / 1e6;

/** The milliseconds of each kill. Two processes stand for election at any time. */
export async function failovers({ directory, ttlMs, kills, say }) {
  const server = await startNorikvOn(`file:${directory}`);
  let number = 0;
  const hire = async () => {
    const name = `node-${number++}`;
    const child = startChild(process.execPath, [candidate, server.address, name, String(ttlMs)]);
    await child.next(LIMIT_MS); // it is there
    return child;
  };
  const times = [];
  let leader = await hire();
  await leader.next(LIMIT_MS);
  let follower = await hire();
  try {
    for (let kill = 1; kill <= kills; kill++) {
      say(`a leader killed, ${kill} of ${kills}`);
      // At any moment between two renewals of its lease.
      await wait(QUEUED_MS + Math.random() * ttlMs);
      const killed = now();
      process.kill(leader.pid, 'SIGKILL');
      // The clock is the machine's, the same for all processes.
      times.push(Number(await follower.next(LIMIT_MS)) - killed);
      leader = follower;
      follower = await hire();
    }
  } finally {
    for (const child of [leader, follower]) process.kill(child.pid, 'SIGKILL');
    await Promise.all([leader.ended, follower.ended]);
    await server.stop();
  }
  return times;
}
