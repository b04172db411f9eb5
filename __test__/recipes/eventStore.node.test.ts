// Only Node has a proxy that loses replies, and processes that can be looked at from outside.
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { BankAccountAggregate, EventStore } from '@norikv/client/recipes';
import { script } from '../faults/children';
import type { Proxy } from '../faults/proxy';
import { gated } from './gate';
import { remote } from './remote';
import type { Remote } from './remote';

let away: Remote;
let proxy: Proxy;
let client: NoriKVClient;
let other: NoriKVClient;

beforeEach(async () => {
  away = await remote();
  ({ proxy } = away);
  client = await NoriKVClient.open(away.through);
  other = await NoriKVClient.open(away.address);
});
afterEach(async () => {
  await Promise.all([client.close(), other.close()]);
  await away.stop();
});

/** Waits until an event is stored, as another client sees it. */
async function stored(version: number): Promise<void> {
  for await (const event of new EventStore(other).subscribe('a')) {
    if (event.version === version) return;
  }
}

/** Has the reply to the next commit lost, after the store has carried it out. */
function loseReply(version: number): EventStore {
  const gate = gated(client);
  const store = new EventStore(gate.client);
  gate.beforeNext('commit', () => {
    away.holdReplies();
    void stored(version).then(() => {
      proxy.cut();
    });
    return Promise.resolve();
  });
  return store;
}

test('an append whose reply was lost is there once, and is answered as it is (the naive one appends again)', async () => {
  await client.put('warm', 'up');
  const store = loseReply(1);
  const event = await store.append('a', 'once', 1);
  expect(event.version).toBe(1);
  expect(await new EventStore(other).getEvents('a')).toEqual([event]);
});

test('an append for a version whose reply was lost does not conflict with itself', async () => {
  await new EventStore(client).append('a', 'first', 1);
  const store = loseReply(2);
  const event = await store.append('a', 'second', 2, { expectedVersion: 1 });
  expect(event.version).toBe(2);
  expect(await new EventStore(other).getEvents('a')).toHaveLength(2);
});

test('a withdrawal whose reply was lost is made once', async () => {
  const first = new BankAccountAggregate(new EventStore(client), 'a');
  await first.openAccount();
  await first.deposit(150);
  const account = new BankAccountAggregate(loseReply(3), 'a');
  await account.withdraw(100);
  expect(account.getBalance()).toBe(50);
});

test('appends and a subscription that was left keep no process running', async () => {
  const { code, output } = await script(`
    const { EventStore } = require('@norikv/client/recipes');
    const client = await NoriKVClient.open('memory:');
    const store = new EventStore(client);
    await store.append('a', 't', 1);
    for await (const event of store.subscribe('a')) { console.log(event.version); break; }
  `);
  expect([code, output]).toEqual([0, '1\n']);
});
