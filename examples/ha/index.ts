// High availability: one node serves and one stands by. When the first fails, the second serves.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { HighAvailabilityCoordinator, LeaderElection } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

await using client = await openClient();
const store = client.namespace('examples/ha/');

/** What happened, and who waits for it. */
const happened = new Set<string>();
const waiting = new Map<string, () => void>();
function tell(what: string): void {
  console.log(what);
  happened.add(what);
  waiting.get(what)?.();
}
async function until(what: string): Promise<void> {
  if (!happened.has(what)) await new Promise<void>((resolve) => waiting.set(what, resolve));
}

let fail: (error: Error) => void = () => undefined;
const errors: string[] = [];

/** A node: as the primary it serves until its signal fires or it fails, as the secondary it keeps its copy fresh. */
function node(id: string): HighAvailabilityCoordinator {
  return new HighAvailabilityCoordinator(
    new LeaderElection(store, 'database', id, 10_000),
    async (signal) => {
      tell(`${id} serves`);
      const failed = new Promise<never>((_, reject) => {
        if (id === 'node-1') fail = reject;
      });
      await Promise.race([once(signal, 'abort'), failed]);
    },
    async (signal) => {
      tell(`${id} stands by`);
      if (!signal.aborted) await once(signal, 'abort');
    },
    { onError: (error, role) => errors.push(`${id} as ${role}: ${String(error)}`) },
  );
}

const one = node('node-1');
const two = node('node-2');
await one.start();
await two.start();
await until('node-1 serves');

// A primary that throws, or returns, gives leadership up: the other node serves at once.
fail(new Error('the disk is full'));
await until('node-2 serves');
assert.deepEqual(errors, ['node-1 as primary: Error: the disk is full']);

// A node that is stopped leaves the queue; what it did ends first.
await two.stop();
await one.stop();
assert.equal(await store.count({ prefix: '' }), 0);
