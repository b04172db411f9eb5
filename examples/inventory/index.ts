// Sells stock to many buyers at once, some of whom pay, some do not, and some are never heard of again.
import assert from 'node:assert/strict';
import { InsufficientStockError, InventoryManager } from '@norikv/client/recipes';
import { openClient } from '../lib/store.js';

const SKU = 'example:lamp';

await using client = await openClient();
const inventory = new InventoryManager(client);

await inventory.createItem(SKU, 10);
await assert.rejects(inventory.createItem(SKU, 10), { code: 'ALREADY_EXISTS' });
console.log('on the shelf:', await inventory.getAvailable(SKU));

// Twenty buyers want one each; ten get one.
const tries = await Promise.allSettled(
  Array.from({ length: 20 }, () => inventory.reserve(SKU, 1, { ttlMs: 60_000 })),
);
const reserved = tries.flatMap((tried) => (tried.status === 'fulfilled' ? [tried.value] : []));
const refused = tries.flatMap((tried): unknown[] =>
  tried.status === 'rejected' ? [tried.reason] : [],
);
assert.equal(reserved.length, 10);
assert.ok(refused.every((error) => error instanceof InsufficientStockError));
console.log(`${reserved.length} reserved, ${refused.length} were told that there are no more`);

// Some pay, the others change their minds.
const [payers, others] = [reserved.slice(0, 6), reserved.slice(6)];
await Promise.all(payers.map((id) => inventory.commit(id)));
await Promise.all(others.map((id) => inventory.release(id)));
assert.equal(await inventory.getAvailable(SKU), 4);
console.log(`${payers.length} paid; on the shelf again:`, await inventory.getAvailable(SKU));

// A payment that is told twice is taken once, and what was sold cannot be given back.
const [first] = payers;
assert.ok(first !== undefined);
await inventory.commit(first);
assert.equal(await inventory.release(first), false);
assert.equal(await inventory.getAvailable(SKU), 4);

// A buyer who vanishes: the store ends the reservation by itself, and a late payment is refused.
const watch = client.watch({ prefix: `inventory/hold/${SKU}/` }, { puts: false });
await watch.ready;
const forgotten = await inventory.reserve(SKU, 4, { ttlMs: 50 });
for await (const { events } of watch) if (events.length > 0) break;
assert.equal(await inventory.getAvailable(SKU), 4);
await assert.rejects(inventory.commit(forgotten), { code: 'NOT_FOUND' });
console.log('after a reservation ran out:', await inventory.getAvailable(SKU));

await inventory.addStock(SKU, 6);
assert.equal(await inventory.getAvailable(SKU), 10);
console.log('after a delivery of 6:', await inventory.getAvailable(SKU));

await client.delete(`inventory/item/${SKU}`);
await client.deleteRange({ prefix: `inventory/done/${SKU}/` });
