// Settings that many processes share: read from memory, told when they change, switched by flags, brought back by snapshots.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ConfigManager,
  ConfigTypeError,
  FeatureFlags,
  SnapshotManager,
} from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`this should hold: ${what}`);
}

await using client = await openClient();
const own = client.namespace('example-config/');

// Two processes with one configuration.
await using operator = new ConfigManager(own, 'app');
await using server = new ConfigManager(own, 'app');
let told = 0;
await server.watch({ prefix: 'database' }, (key, oldValue, newValue) => {
  told += 1;
  console.log(`the server hears: ${key} was ${String(oldValue)}, and is ${String(newValue)}`);
});

await operator.set('database/host', 'localhost');
await operator.set('database/port', 5432);
await operator.set('database/port', 5432); // no change, and not told
await operator.set('api/timeout', '30s');
while (!(await server.getAll()).has('api/timeout')) await sleep(1);
check(told === 2, 'each change is told once');
console.log('port:', await server.getInt('database/port'));
console.log('retries:', await server.getInt('api/retries', { default: 3 }));

const wrong = await server.getInt('api/timeout').catch((error: unknown) => error);
check(wrong instanceof ConfigTypeError, 'text is no number');
console.log('refused:', String(wrong));

// A feature for some: the same ones in every process, and more as the percentage grows.
const flags = new FeatureFlags(operator);
for (const percentage of [0, 10, 50, 100]) {
  await flags.setRollout('new-ui', { percentage, users: ['ada'] });
  let on = 0;
  for (let user = 0; user < 1_000; user += 1) {
    if (await flags.isEnabled('new-ui', { user: `user-${user}` })) on += 1;
  }
  const ada = await flags.isEnabled('new-ui', { user: 'ada' });
  console.log(`new-ui at ${percentage} %: on for ${on} of 1,000 users, for Ada: ${ada}`);
  check(ada && Math.abs(on - percentage * 10) < 70, 'about as many as were asked for');
}

// A state to go back to: all at once, and without what came later.
const snapshots = new SnapshotManager(operator);
const { keys } = await snapshots.createSnapshot('before');
console.log(`the snapshot has ${keys} settings`);
await operator.set('database/host', 'db.example');
await operator.set('database/pool', 100);
await snapshots.restoreSnapshot('before');
console.log('restored:', [...(await operator.getAll('database'))]);
check((await operator.getAll()).size === keys, 'what came later is gone');

await snapshots.delete('before');
await own.deleteRange({ prefix: '' });
console.log('done');
