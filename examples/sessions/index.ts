// Sessions of users: begun, changed from two sides at once, ended, and forgotten by the store when nobody uses them.
import assert from 'node:assert/strict';
import { SessionManager } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

await using client = await openClient();

// Two objects stand for two processes of a web application.
const settings = { absoluteTtlMs: 12 * 3_600_000 };
const [here, there] = [
  new SessionManager(client, 1_800_000, settings),
  new SessionManager(client, 1_800_000, settings),
] as const;

const id = await here.create('ada', 'ada@example.com', ['user'], { data: { theme: 'dark' } });
console.log('a session whose id has', id.length, 'characters');

const session = await there.get(id);
assert.equal(session?.userId, 'ada');
assert.deepEqual(session.data, { theme: 'dark' });
console.log('the other process knows whose it is:', session.userId, session.roles.join(' '));

// Both change it at once, and neither change is lost.
const grant = (role: string) => (old: NonNullable<typeof session>) => ({
  ...old,
  roles: [...old.roles, role],
});
await Promise.all([here.update(id, grant('premium')), there.update(id, grant('editor'))]);
const roles = (await here.get(id))?.roles ?? [];
assert.deepEqual([...roles].sort(), ['editor', 'premium', 'user']);
console.log('after two updates at once:', [...roles].sort().join(' '));

// What is no id is no session; a cookie may say anything.
assert.equal(await here.get('../config'), null);

assert.equal(await there.destroy(id), true);
assert.equal(await here.get(id), null);
assert.equal(await here.update(id, (old) => old), false);
console.log('it was ended in one process, and is gone in the other');

// One that nobody uses: the store ends it.
const watch = client.watch({ prefix: 'session/' }, { puts: false });
await watch.ready;
const forgotten = await new SessionManager(client, 50).create('grace', 'grace@example.com', []);
for await (const { events } of watch) {
  if (events.some(({ entry }) => entry.keyText() === `session/${forgotten}`)) break;
}
assert.equal(await here.validate(forgotten), false);
console.log('one that nobody used is gone, too');
