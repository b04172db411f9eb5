// The shop, run for a moment: somebody fills it, somebody buys, and too many requests are refused.
import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { SignJWT } from 'jose';
import { openClient } from '../lib/store.js';
import { createApp } from './app.js';
import { RandomPayments } from './payments.js';
import { DEFAULTS } from './settings.js';

const secret = crypto.getRandomValues(new Uint8Array(32));
await using client = await openClient();
// A part of the store that is removed at the end.
const store = client.namespace('example-shop/');
await using shop = await createApp(store, {
  ...DEFAULTS,
  secret,
  nodeId: 'shop-1',
  payments: new RandomPayments('of this example', 0.3),
  limit: { maxRequests: 20, windowMs: 60_000 },
  settleMs: 1_000,
});
await shop.tenants.manager.create('acme', 'Acme Corp', 'pro');
const server = shop.app.listen(0, '127.0.0.1');
await new Promise((resolve) => server.once('listening', resolve));
const origin = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;

function sign(role: string): Promise<string> {
  const token = new SignJWT({ tenant: 'acme', role }).setProtectedHeader({ alg: 'HS256' });
  return token.setExpirationTime('5m').sign(secret);
}

/** A browser of somebody: it has a token, and keeps the cookie. */
async function browser(role: string) {
  const headers = new Headers({ authorization: `Bearer ${await sign(role)}` });
  return async (method: string, path: string, body?: object): Promise<Response> => {
    if (body) headers.set('content-type', 'application/json');
    const request = { method, headers, body: body ? JSON.stringify(body) : null };
    const response = await fetch(origin + path, request);
    const [cookie] = response.headers.getSetCookie();
    if (cookie !== undefined) headers.set('cookie', cookie.split(';')[0] ?? '');
    return response;
  };
}

const [admin, ada] = await Promise.all([browser('admin'), browser('customer')]);

const stranger = await fetch(`${origin}/products/tea`);
console.log('without a token:', stranger.status);
assert.equal(stranger.status, 401);

const products = [
  { sku: 'tea', name: 'Green tea', description: 'leaves from the hills', cents: 490, quantity: 5 },
  { sku: 'pot', name: 'Tea pot', description: 'a pot of blue clay', cents: 2900, quantity: 2 },
  { sku: 'mug', name: 'Mug', description: 'for coffee, of white clay', cents: 900, quantity: 9 },
];
for (const product of products) {
  assert.equal((await admin('POST', '/products', product)).status, 201);
}
const found = (await (await ada('GET', '/products?q=clay%20pot')).json()) as { name: string }[];
console.log('searching for a clay pot:', found.map(({ name }) => name).join(', '));
assert.equal(found[0]?.name, 'Tea pot');

await ada('POST', '/login', { user: 'ada', email: 'ada@example.com' });
const outcomes: number[] = [];
for (let order = 1; order <= 9; order++) {
  // Whoever asks again with the same key buys once.
  const body = { sku: 'tea', quantity: 1, key: `order-${order}` };
  const response = await ada('POST', '/orders', body);
  outcomes.push(response.status);
  console.log(`order ${order}:`, response.status, JSON.stringify(await response.json()));
}
const sold = outcomes.filter((status) => status === 201).length;
const { available } = (await (await admin('GET', '/products/tea')).json()) as {
  available: number;
};
console.log(`${sold} sold, ${available} left`);
assert.equal(sold + available, 5);

let last = await ada('GET', '/me');
while (last.status !== 429) last = await ada('GET', '/me');
const { headers } = last;
const limit = ['X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset', 'Retry-After'];
console.log(last.status, limit.map((name) => `${name}: ${headers.get(name) ?? ''}`).join(', '));

await new Promise((resolve) => {
  server.close(resolve);
  server.closeAllConnections();
});
await shop[Symbol.asyncDispose]();
for (const { namespace } of await store.vectorIndexes()) await store.vectorDropIndex(namespace);
await store.deleteRange({ prefix: '' });
