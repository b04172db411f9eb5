// Leader election: one node leads, the others wait in a queue, and whoever wants to know watches.
import assert from 'node:assert/strict';
import { LeaderElection, LeaderTask } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

await using client = await openClient();
const store = client.namespace('examples/election/');

const nodes = ['node-1', 'node-2', 'node-3'].map((id) => ({
  id,
  election: new LeaderElection(store, 'billing', id, 10_000),
}));
const [first, second, third] = nodes;
assert.ok(first !== undefined && second !== undefined && third !== undefined);

// An observer needs to be no candidate. It begins with who leads now, and null is nobody.
const leaders = first.election.observe();
console.log('at first leads', (await leaders.next()).value);

// Work that only the leader does: at once when it is elected, then every minute.
const runs: string[] = [];
const tasks = nodes.map(({ id, election }) => {
  let ran: () => void = () => undefined;
  const once = new Promise<void>((resolve) => (ran = resolve));
  const work = (): void => {
    runs.push(id);
    ran();
  };
  const task = new LeaderTask(election, work, 60_000);
  task.start();
  return { task, once };
});

for (const { id, election } of nodes) {
  await election.start(
    () => {
      console.log(id, 'leads');
    },
    () => {
      console.log(id, 'does not lead any more; it still believes so:', election.isLeader());
    },
  );
}
assert.equal((await leaders.next()).value, 'node-1');
console.log('candidates:', await store.count({ prefix: 'election/' }));

// A leader can say more than its name, and what it writes can be fenced by its token.
await first.election.proclaim('node-1 at 10.0.0.1:8080');
console.log('observed:', (await leaders.next()).value);
const token = first.election.token;

// When it goes, the next one leads at once. Had it died, that would be when its lease has run out.
await first.election.stop();
console.log('observed:', (await leaders.next()).value);
assert.ok(second.election.isLeader() && !third.election.isLeader());
assert.ok(token !== null && second.election.token !== null);
console.log('a greater token:', second.election.token.compare(token) > 0);

await second.election.resign();
console.log('observed:', (await leaders.next()).value);
for (const { task, once } of tasks) {
  await once;
  await task.stop();
}
for (const { election } of nodes) await election.stop();
console.log('observed:', (await leaders.next()).value);
await leaders.return();

assert.deepEqual(runs, ['node-1', 'node-2', 'node-3']);
assert.equal(await store.count({ prefix: '' }), 0);
