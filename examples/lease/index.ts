// Leases: keys that live as long as somebody keeps them alive, and go together when nobody does.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { LeaseLostError } from '@norikv/client';
import type { NoriKVClient } from '@norikv/client';
import { openClient } from '../lib/store.js';

await using client = await openClient();
const store = client.namespace('examples/lease/');
await grantAndRevoke(store);
await keptAlive(store);
await lost(store);
assert.equal(await store.count({ prefix: '' }), 0);

async function grantAndRevoke(store: NoriKVClient): Promise<void> {
  const lease = await store.lease({ ttlMs: 30_000 });
  console.log('granted a lease for', lease.ttlMs, 'ms');

  // One lease for many keys: a session, a service that is there, a lock that nobody can forget to give back.
  await lease.put('sessions/user123', 'active');
  await store.put('services/api/1', '10.0.0.7:8080', { lease });
  const locked = await lease.put('locks/resource', 'node-1', { ifNotExists: true });
  console.log('put three keys with it, the last at version', String(locked));

  const { grantedMs, remainingMs, keys } = await lease.timeToLive({ keys: true });
  console.log('it was granted', grantedMs, 'ms and has some left:', remainingMs > 0);
  console.log('its keys:', keys.map((key) => Buffer.from(key).toString()).join(', '));
  assert.equal(keys.length, 3);

  await lease.revoke();
  console.log('revoked; keys that are left:', await store.count({ prefix: '' }));
  assert.equal(await store.count({ prefix: '' }), 0);
}

/** The client renews a lease by itself, every third of its time. */
async function keptAlive(store: NoriKVClient): Promise<void> {
  await using lease = await store.lease({ ttlMs: 1_000 });
  await lease.put('services/api/1', '10.0.0.7:8080');
  // It has less and less left, until a keep-alive gives it all of its time again.
  let [before, renewed] = [Infinity, 0];
  while (renewed < 2) {
    const { remainingMs } = await lease.timeToLive();
    if (remainingMs > before) {
      renewed += 1;
      console.log('kept alive; it has its time again:', remainingMs > lease.ttlMs / 2);
    }
    before = remainingMs;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.ok(!lease.signal.aborted);
  assert.equal((await store.get('services/api/1')).lease, lease.id);
}

/** When a lease is lost its holder hears it, whatever it is doing: it ran out, or its store is gone, or as here. */
async function lost(store: NoriKVClient): Promise<void> {
  const lease = await store.lease({ ttlMs: 30_000 });
  const heard = once(lease.signal, 'abort');
  await Promise.all([heard, lease.revoke()]);
  const reason: unknown = lease.signal.reason;
  assert.ok(reason instanceof LeaseLostError && reason === (await lease.lost));
  console.log('the holder of a lease that is lost hears:', reason.code);
  await assert.rejects(lease.put('services/api/1', 'me'), LeaseLostError);
}
