// Tenants of one store: each sees its own keys only, and has what its plan allows.
import { KeyNotFoundError, PermissionDeniedError } from '@norikv/client';
import { TenantLimitError, TenantManager } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`this should hold: ${what}`);
}

const told = (promise: Promise<unknown>): Promise<unknown> =>
  promise.catch((error: unknown) => error);

await using client = await openClient();
const part = client.namespace('example-tenants/');
await using tenants = new TenantManager(part, {
  plans: {
    free: { maxKeys: 3, maxStorageMB: 1 },
    pro: { maxKeys: 100_000, maxStorageMB: 1_000 },
  },
});

await tenants.create('acme', 'Acme Corp', 'free');
await tenants.create('widgets', 'Widgets Inc', 'pro');
const again = await told(tenants.create('acme', 'Somebody else', 'pro'));
console.log('a second acme:', String(again));

const acme = await tenants.getClient('acme');
const widgets = await tenants.getClient('widgets');
await acme.put('config', 'acme-config');
await widgets.put('config', 'widgets-config');
console.log('acme reads', (await acme.get('config')).text());
check((await acme.get('config')).text() === 'acme-config', 'each has its own');

// Five writers at once, and room for two more keys.
const writes = await Promise.allSettled(
  Array.from({ length: 5 }, (_, at) => acme.put(`order/${at}`, 'placed')),
);
const refused = writes.filter(({ status }) => status === 'rejected');
console.log(`${writes.length - refused.length} orders were written, ${refused.length} refused`);
check(refused.length === 3, 'three keys in all');
const full = await told(acme.put('order/5', 'placed'));
console.log('one more:', String(full));
check(full instanceof TenantLimitError && full.limit === 'maxKeys', 'the limit is named');

await tenants.setPlan('acme', 'pro');
await acme.put('order/5', 'placed');
console.log('with another plan there is room:', await tenants.getUsage('acme'));

await tenants.suspend('acme');
const shut = await told(acme.put('order/6', 'placed'));
console.log('suspended:', String(shut));
check(shut instanceof PermissionDeniedError, 'a suspended tenant is refused');

for (const { id } of await tenants.list()) await tenants.delete(id);
const gone = await told(part.get('tenant-meta/acme'));
check(gone instanceof KeyNotFoundError, 'the tenant is gone');
check((await part.count({ prefix: '' })) === 0, 'nothing is left');
console.log('done');
