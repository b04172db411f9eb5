// Event sourcing: what happened is kept, and the balance of an account is what it makes of it.
import { BankAccountAggregate, EventConflictError, EventStore } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`this should hold: ${what}`);
}

await using client = await openClient();
const part = client.namespace('example-events/');
const store = new EventStore(part);

// Whoever follows is told what happened already, and then what happens.
const told = (async () => {
  const types: string[] = [];
  for await (const { version, type, data } of store.subscribe('account-123')) {
    console.log(`  event ${version}: ${type}`, data);
    types.push(type);
    if (types.length === 4) break;
  }
  return types;
})();

const account = new BankAccountAggregate(store, 'account-123');
await account.load();
await account.openAccount();
await account.deposit(100);
await account.withdraw(30);
console.log('balance:', account.getBalance());
check(account.getBalance() === 70, '100 - 30');

// Two withdrawals at once, from two places: each sees 70 when it decides.
const here = new BankAccountAggregate(store, 'account-123');
const there = new BankAccountAggregate(new EventStore(part), 'account-123');
await Promise.all([here.load(), there.load()]);
const both = await Promise.allSettled([here.withdraw(60), there.withdraw(60)]);
for (const outcome of both) {
  console.log('withdraw 60:', outcome.status === 'rejected' ? String(outcome.reason) : 'done');
}
check(both.filter(({ status }) => status === 'fulfilled').length === 1, 'one of them passes');

await account.load();
console.log('balance:', account.getBalance());
check(account.getBalance() === 10, '70 - 60');
check((await told).length === 4, 'each event was told');

// What was decided on an old state is not appended.
const late = store.append('account-123', 'MoneyWithdrawn', { amount: 5 }, { expectedVersion: 3 });
const conflict: unknown = await late.catch((error: unknown) => error);
check(conflict instanceof EventConflictError && conflict.actual === 4, 'there are 4 events');
console.log('expected 3 events:', String(conflict));

const events = await store.getEvents('account-123');
check(events.map(({ version }) => version).join() === '1,2,3,4', 'none is missing');

await part.deleteRange({ prefix: '' });
console.log('done');
