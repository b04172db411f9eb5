// Transactions: conditions on any number of keys, and what is done if all of them hold, or else; in one step.
import assert from 'node:assert/strict';
import { compare, op } from '@norikv/client';
import type { Compare, NoriKVClient } from '@norikv/client';
import { openClient } from '../lib/store.js';

await using client = await openClient();
const store = client.namespace('examples/txn/');
await compareAndSwap(store);
await severalKeys(store);
await everyCompare(store);
await everyStep(store);
console.log(`removed ${await store.deleteRange({ prefix: '' })} keys`);

async function compareAndSwap(store: NoriKVClient): Promise<void> {
  await store.put('counter', '0');
  const increment = store
    .txn()
    .if(compare('counter').value.equals('0'))
    .then(op.put('counter', '1'))
    .else(op.get('counter'));
  const first = await increment.commit();
  console.log('the counter is 0, make it 1:', first.succeeded);
  assert.ok(first.succeeded);

  const second = await increment.commit();
  assert.ok(!second.succeeded);
  console.log('the same again:', second.succeeded, '- it is', second.results[0]?.text());
}

/** Moves money if there is enough of it, and writes down that it did. */
async function severalKeys(store: NoriKVClient): Promise<void> {
  await store.put('account/a', '100');
  await store.put('account/b', '100');
  const [a, b] = await store.getMany(['account/a', 'account/b']);
  assert.ok(a && b);
  assert.ok(Number(a.text()) >= 50, 'there is enough');
  const outcome = await store
    .txn()
    // Values compare as bytes, by which "50" is more than "100": what was computed from is held by its version.
    .if(
      compare('account/a').version.equals(a.version),
      compare('account/b').version.equals(b.version),
    )
    .then(
      op.put('account/a', String(Number(a.text()) - 50)),
      op.put('account/b', String(Number(b.text()) + 50)),
      op.put('transfers/1', 'a to b: 50'),
    )
    .else(op.get('account/a'))
    .commit();
  assert.ok(outcome.succeeded);
  const accounts = await store.scan({ prefix: 'account/' }).toArray();
  const balances = accounts.map((entry) => entry.text());
  console.log(
    'three keys in one version,',
    `${outcome.version.toString()}:`,
    balances.join(' and '),
  );
  assert.deepEqual(balances, ['50', '150']);
  assert.ok(accounts.every(({ version }) => version.equals(outcome.version)));
}

/** All that can be compared of a key, and how. */
async function everyCompare(store: NoriKVClient): Promise<void> {
  await using lease = await store.lease({ ttlMs: 10_000 });
  const created = await store.put('key', 'b');
  const version = await lease.put('key', 'b');
  const { value, generation, createVersion, exists, ...key } = compare('key');
  const nothing = compare('nothing');
  const hold: Record<string, Compare> = {
    'its value is b': value.equals('b'),
    'its value is not a': value.notEquals('a'),
    'its value is more than a': value.greater('a'),
    'its value is b or more': value.greaterOrEqual('b'),
    'its value is less than c': value.less('c'),
    'its value is b or less': value.lessOrEqual('b'),
    'it is at the version of its last change': key.version.equals(version),
    'it changed after it was created': key.version.greater(created),
    'it was created by the first put': createVersion.equals(created),
    'it was put twice': generation.equals(2),
    'it belongs to the lease': key.lease.equals(lease),
    'it is there': exists.equals(true),
    'another is not there': nothing.exists.equals(false),
    'which was put no time': nothing.generation.equals(0),
  };
  for (const [what, condition] of Object.entries(hold)) {
    const { succeeded } = await store.txn().if(condition).commit();
    console.log(`  ${what}: ${succeeded}`);
    assert.ok(succeeded, what);
  }
  const { succeeded } = await store
    .txn()
    .if(...Object.values(hold))
    .commit();
  console.log('all of them at once:', succeeded);
  assert.ok(succeeded);
}

/** A transaction reads, deletes and scans as well, and each step sees those before it. */
async function everyStep(store: NoriKVClient): Promise<void> {
  await store.put('old/1', 'x');
  await store.put('old/2', 'y');
  await store.put('older', 'z');
  const outcome = await store
    .txn()
    .then(
      op.put('new/1', 'x', { ifNotExists: true }),
      op.get('new/1'),
      op.delete('older'),
      op.deleteRange({ prefix: 'old/' }),
      op.scan({ prefix: 'new/' }),
    )
    .commit();
  assert.ok(outcome.succeeded);
  const [, read, wasThere, deleted, scanned] = outcome.results;
  console.log(
    'put, read, deleted, deleted and scanned:',
    read?.text(),
    wasThere,
    deleted,
    scanned.length,
  );
  assert.deepEqual([read?.text(), wasThere, deleted, scanned.length], ['x', true, 2, 1]);
}
