// Runs the shop until SIGTERM: node server.mjs --nodes host:port. The environment says the rest.
import type { AddressInfo } from 'node:net';
import { openClient } from '../lib/store.js';
import { createApp } from './app.js';
import { RandomPayments } from './payments.js';
import { DEFAULTS } from './settings.js';

const { env } = process;
const { SHOP_SECRET: secret, SHOP_NODE: nodeId = `shop-${process.pid}` } = env;
if (secret === undefined) throw new Error('SHOP_SECRET is what tokens are signed with');

function number(name: string, otherwise: number): number {
  const value = Number(env[name] ?? otherwise);
  if (Number.isFinite(value)) return value;
  throw new Error(`${name} is a number`);
}

await using client = await openClient();
await using shop = await createApp(client, {
  ...DEFAULTS,
  secret: new TextEncoder().encode(secret),
  nodeId,
  payments: new RandomPayments(env.SHOP_SEED ?? 'seed', number('SHOP_DECLINED', 0.1)),
  limit: {
    maxRequests: number('SHOP_LIMIT', DEFAULTS.limit.maxRequests),
    windowMs: number('SHOP_LIMIT_MS', DEFAULTS.limit.windowMs),
  },
  reservationMs: number('SHOP_RESERVATION_MS', DEFAULTS.reservationMs),
  timeoutMs: number('SHOP_TIMEOUT_MS', DEFAULTS.timeoutMs),
  leaderMs: number('SHOP_LEADER_MS', DEFAULTS.leaderMs),
  settleMs: number('SHOP_SETTLE_MS', DEFAULTS.settleMs),
});
const server = shop.app.listen(number('PORT', 3000), '127.0.0.1');
await new Promise((resolve, reject) => {
  server.once('listening', resolve);
  server.once('error', reject);
});
const { address, port } = server.address() as AddressInfo;
console.log(`${nodeId} listens on http://${address}:${port}`);

await new Promise((resolve) => process.once('SIGTERM', resolve));
await new Promise((resolve) => {
  server.close(resolve);
  server.closeIdleConnections();
});
