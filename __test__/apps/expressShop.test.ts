// examples/express-shop as its users have it: processes on one store behind a server, over HTTP, with load, and with a store
// and an app that are killed.
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { TenantManager } from '@norikv/client/recipes';
import type { Served } from '../faults/children';
import { serve, temporary } from '../faults/children';
import { App, Browser, token } from './shop';
import type { Answer } from './shop';

jest.setTimeout(120_000);

let store: string;
let server: Served;
let client: NoriKVClient;
let tenants: TenantManager;

beforeEach(async () => {
  store = `file:${temporary()}`;
  server = await serve(store);
  client = await NoriKVClient.open(server.address);
  tenants = new TenantManager(client);
  await tenants.create('acme', 'Acme Corp', 'enterprise');
});

afterEach(async () => {
  await tenants[Symbol.asyncDispose]();
  await client.close();
  server.kill('SIGKILL');
  await server.ended;
});

/** A process of the shop, for as many requests as there are. */
const start = (node: string, env: Readonly<Record<string, string>> = {}) =>
  App.start(server.address, {
    SHOP_NODE: node,
    SHOP_LIMIT: '1000000',
    SHOP_TIMEOUT_MS: '20000',
    SHOP_SETTLE_MS: '500',
    SHOP_LEADER_MS: '1000',
    ...env,
  });

const admin = () => new Browser(token({ tenant: 'acme', role: 'admin' }));

/** Somebody who is logged in. */
async function customer(app: App, user: string, tenant = 'acme'): Promise<Browser> {
  const browser = new Browser(token({ tenant }));
  const { status } = await browser.ask(app, 'POST', '/login', { user, email: `${user}@b.example` });
  expect(status).toBe(201);
  return browser;
}

async function stock(app: App, quantity: number, browser = admin()): Promise<void> {
  const product = { sku: 'tea', name: 'Tea', description: 'green leaves', cents: 490, quantity };
  expect((await browser.ask(app, 'POST', '/products', product)).status).toBe(201);
}

async function available(app: App): Promise<number> {
  const { body } = await admin().ask(app, 'GET', '/products/tea');
  return Number(body.available);
}

const buy = (browser: Browser, app: App, key: string): Promise<Answer> =>
  browser.ask(app, 'POST', '/orders', { sku: 'tea', quantity: 1, key });

const keysOf = (count: number) => Array.from({ length: count }, (_, at) => `order-${at}`);

/** Waits until something holds; it is asked for again and again. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 30_000;
  while (!(await holds())) {
    expect(performance.now()).toBeLessThan(end);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Waits until nobody has to go on with an order. */
const settled = () =>
  until(async () => (await client.count({ prefix: 'shop/acme/pending/' })) === 0);

/** Waits until what was kept for orders that were never placed has run out. */
const nothingHeld = () =>
  until(async () => (await client.count({ prefix: 'shop/acme/inventory/hold/' })) === 0);

/** The orders that were sold, by what their histories say. */
async function sold(app: App, browser: Browser, keys: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const key of keys) {
    const { status, body } = await browser.ask(app, 'GET', `/orders/${key}`);
    if (status === 200 && body.step === 'completed') found.push(key);
  }
  return found;
}

describe('tokens and sessions', () => {
  test('without a token that we signed nobody gets in, and a shop is only its own', async () => {
    const app = await start('a');
    await tenants.create('other', 'Other', 'free');
    const now = Math.floor(Date.now() / 1000);
    const claims = { tenant: 'acme', role: 'admin' };
    const bad = [
      undefined,
      'garbage',
      token(claims, { secret: 'another secret, just as long as ours is' }),
      token(claims, { alg: 'none' }),
      token({ ...claims, exp: now - 60 }),
      token({ role: 'admin' }),
      token({ tenant: 7 }),
    ];
    for (const each of bad) {
      const { status } = await new Browser(each).ask(app, 'GET', '/products/tea');
      expect([each, status]).toEqual([each, 401]);
    }
    const stranger = new Browser(token({ tenant: 'nobody' }));
    expect((await stranger.ask(app, 'GET', '/products/tea')).status).toBe(403);

    await stock(app, 1);
    const other = new Browser(token({ tenant: 'other' }));
    expect((await other.ask(app, 'GET', '/products/tea')).status).toBe(404);
    expect((await other.ask(app, 'GET', '/products?q=tea')).body).toEqual([]);
    expect((await other.ask(app, 'POST', '/products', {})).status).toBe(403);
    const ada = await customer(app, 'ada');
    other.cookie = ada.cookie;
    expect((await other.ask(app, 'GET', '/me')).status).toBe(401);

    await tenants.suspend('other');
    expect((await other.ask(app, 'GET', '/products?q=tea')).status).toBe(403);
    expect((await ada.ask(app, 'GET', '/products?q=tea')).body).toMatchObject([{ sku: 'tea' }]);
    expect(await app.stop()).toBe(0);
  });

  test('a session is the same in every process, until its user logs out', async () => {
    const [a, b] = [await start('a'), await start('b')];
    const ada = await customer(a, 'ada');
    expect((await ada.ask(b, 'GET', '/me')).body).toMatchObject({ user: 'ada' });
    const { cookie } = ada;
    expect((await ada.ask(b, 'POST', '/logout')).status).toBe(200);
    ada.cookie = cookie;
    expect((await ada.ask(a, 'GET', '/me')).status).toBe(401);
    ada.cookie = 'sid=../../x; sid';
    expect((await ada.ask(a, 'GET', '/me')).status).toBe(401);
  });

  test('bad requests are refused, and change nothing', async () => {
    const app = await start('a');
    const ada = await customer(app, 'ada');
    await stock(app, 5);
    const bodies = [
      {},
      { sku: 'tea', quantity: 0 },
      { sku: 'tea', quantity: -1 },
      { sku: 'tea', quantity: 1.5 },
      { sku: ['tea'], quantity: 1 },
      { sku: 'tea', quantity: 1, key: 'a/b' },
    ];
    for (const body of bodies) {
      const { status } = await ada.ask(app, 'POST', '/orders', body);
      expect([body, status]).toEqual([body, 400]);
    }
    expect((await ada.ask(app, 'POST', '/orders', { sku: '__proto__', quantity: 1 })).status).toBe(
      404,
    );
    const again = { sku: 'tea', name: 'T', description: 'd', cents: 1, quantity: 100 };
    expect((await admin().ask(app, 'POST', '/products', again)).status).toBe(409);
    expect(await available(app)).toBe(5);
  });
});

describe('limits', () => {
  test('all processes count together, and say how many requests are left and when to come back', async () => {
    const env = { SHOP_LIMIT: '6', SHOP_LIMIT_MS: '60000' };
    const [a, b] = [await start('a', env), await start('b', env)];
    const ada = new Browser(token({ tenant: 'acme' }));
    const left: number[] = [];
    for (let request = 0; request < 6; request++) {
      const { headers } = await ada.ask(request % 2 === 0 ? a : b, 'GET', '/products?q=tea');
      expect(headers.get('x-ratelimit-limit')).toBe('6');
      left.push(Number(headers.get('x-ratelimit-remaining')));
    }
    expect(left).toEqual([5, 4, 3, 2, 1, 0]);
    const { status, headers } = await ada.ask(a, 'GET', '/products?q=tea');
    expect(status).toBe(429);
    const [reset, after] = ['x-ratelimit-reset', 'retry-after'].map((name) =>
      Number(headers.get(name)),
    );
    const now = Date.now() / 1000;
    expect(reset).toBeGreaterThan(now);
    expect(reset).toBeLessThanOrEqual(now + 65);
    expect(after).toBeGreaterThan(0);
    expect(after).toBeLessThanOrEqual(65);
  });
});

describe('load', () => {
  test('of 200 who buy 50 pieces at once in two processes, as many have one as paid, and never more than 50', async () => {
    const env = { SHOP_DECLINED: '0.2' };
    const [a, b] = [await start('a', env), await start('b', env)];
    await stock(a, 50);
    const ada = await customer(a, 'ada');
    const keys = keysOf(200);
    const selling = new AbortController();
    const seen: number[] = [];
    const watching = (async () => {
      while (!selling.signal.aborted) {
        seen.push(await available(a));
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    const answers = await Promise.all(keys.map((key, at) => buy(ada, at % 2 === 0 ? a : b, key)));
    selling.abort();
    await watching;
    await settled();

    const statuses = new Set(answers.map(({ status }) => status));
    expect([...statuses].filter((status) => ![201, 402, 409].includes(status))).toEqual([]);
    const bought = keys.filter((_, at) => answers[at]?.status === 201);
    expect(answers.filter(({ status }) => status === 402).length).toBeGreaterThan(0);
    expect(await sold(b, ada, keys)).toEqual(bought);
    expect(await available(b)).toBe(50 - bought.length);
    expect(Math.min(...seen)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...seen)).toBeLessThanOrEqual(50);

    // What was given back by those who did not pay is for the next.
    let key = 0;
    while ((await available(a)) > 0) await buy(ada, a, `later-${key++}`);
    expect((await buy(ada, a, `later-${key}`)).status).toBe(409);
  });

  test('of 200 who all pay exactly 50 have a piece', async () => {
    const env = { SHOP_DECLINED: '0' };
    const [a, b] = [await start('a', env), await start('b', env)];
    await stock(a, 50);
    const ada = await customer(a, 'ada');
    const keys = keysOf(200);
    const answers = await Promise.all(keys.map((key, at) => buy(ada, at % 2 === 0 ? a : b, key)));
    await settled();
    const bought = keys.filter((_, at) => answers[at]?.status === 201);
    expect(bought).toHaveLength(50);
    expect(await sold(a, ada, keys)).toEqual(bought);
    expect(await available(a)).toBe(0);
  });

  test('who asks for one order again and again, in both processes at once, has it once', async () => {
    const env = { SHOP_DECLINED: '0' };
    const [a, b] = [await start('a', env), await start('b', env)];
    await stock(a, 50);
    const ada = await customer(a, 'ada');
    const asked = Array.from({ length: 20 }, (_, at) => buy(ada, at % 2 === 0 ? a : b, 'one'));
    for (const { status } of await Promise.all(asked)) expect(status).toBe(201);
    expect((await buy(ada, b, 'one')).status).toBe(201);
    await settled();
    expect(await available(a)).toBe(49);
  });
});

describe('what is killed', () => {
  test('the store is killed in the middle and started again: what was acknowledged is there, and the shop goes on', async () => {
    const env = { SHOP_DECLINED: '0.2', SHOP_TIMEOUT_MS: '1500', SHOP_RESERVATION_MS: '5000' };
    const [a, b] = [await start('a', env), await start('b', env)];
    await stock(a, 50);
    const ada = await customer(a, 'ada');
    const keys = keysOf(60);
    const acknowledged: string[] = [];
    const away: Answer[] = [];

    /** Asks until there is an answer. */
    const insist = async (app: App, key: string): Promise<void> => {
      for (;;) {
        const answer = await buy(ada, app, key);
        if (answer.status === 201) acknowledged.push(key);
        if (answer.status !== 503) {
          expect([201, 402, 409]).toContain(answer.status);
          return;
        }
        away.push(answer);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    };
    /** One customer after the other, so that some come before the kill and some after. */
    const queue = [...keys];
    const line = async (app: App): Promise<void> => {
      for (let key = queue.shift(); key !== undefined; key = queue.shift()) await insist(app, key);
    };
    const lines = Promise.all([a, b, a, b, a, b].map(line));

    await until(() => Promise.resolve(acknowledged.length >= 10));
    server.kill('SIGKILL');
    await server.ended;
    const before = [...acknowledged];
    await until(() => Promise.resolve(away.length > 0));
    server = await serve(store, { listen: server.address });
    await lines;
    await settled();
    await nothingHeld();

    expect(away[0]?.headers.get('retry-after')).toBe('1');
    expect(acknowledged.length).toBeGreaterThan(before.length);
    const there = await sold(b, ada, keys);
    expect(there).toEqual(expect.arrayContaining(acknowledged));
    expect(await available(a)).toBe(50 - there.length);
    // The session outlived it, too.
    expect((await ada.ask(a, 'GET', '/me')).status).toBe(200);
    expect([await a.stop(), await b.stop()]).toEqual([0, 0]);
  });

  test('the process that leads is killed while it sells: the other leads, and ends what it began', async () => {
    const env = { SHOP_DECLINED: '0.2', SHOP_RESERVATION_MS: '5000' };
    const [a, b] = [await start('a', env), await start('b', env)];
    await stock(a, 50);
    const ada = await customer(a, 'ada');
    const leads = (node: string) =>
      until(async () => (await admin().ask(b, 'GET', '/report')).body.leader === node);
    await leads('a');
    const { token: first } = (await admin().ask(b, 'GET', '/report')).body;

    const keys = keysOf(40);
    const selling = keys.map((key) => buy(ada, a, key).catch(() => undefined));
    await until(async () => (await client.count({ prefix: 'shop/acme/pending/' })) > 0);
    await Promise.race(selling);
    await a.kill();
    const answers = await Promise.all(selling);
    const acknowledged = keys.filter((_, at) => answers[at]?.status === 201);

    await leads('b');
    await settled();
    await nothingHeld();
    const { token: second, settled: ended } = (await admin().ask(b, 'GET', '/report')).body;
    expect(ended).toBeGreaterThan(0);
    expect(Number(String(second).split('.')[1])).toBeGreaterThan(
      Number(String(first).split('.')[1]),
    );
    const there = await sold(b, ada, keys);
    expect(there).toEqual(expect.arrayContaining(acknowledged));
    expect(await available(b)).toBe(50 - there.length);
    expect((await buy(ada, b, 'next')).status).not.toBe(503);
  });
});
