// What a page lives through: the server killed, the network gone, the machine asleep, the tab put away.
// NORIKV_LONG makes the network stay away for a minute, as in the rule; without it for a few seconds.
import { expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import type { Lease } from '@norikv/client';
import type { Page } from 'playwright-core';
import { serve, temporary } from '../faults/children';
import { Proxy } from '../faults/proxy';
import { later, open, processes, site, memoryServer } from './world';

const AWAY_MS = process.env.NORIKV_LONG === undefined ? 8_000 : 60_000;

/** Opens a client in the page with a watch of everything, whose events go to `kept.seen`. */
async function watching(page: Page, address: string): Promise<void> {
  await page.evaluate(async (node) => {
    kept.client = await norikv.NoriKVClient.open({ nodes: [node] });
    const watch = kept.client.watch({ prefix: '' });
    await watch.ready;
    kept.watching = (async () => {
      for await (const { events } of watch) {
        for (const { entry } of events) kept.seen.push(`${entry.keyText()}=${entry.text()}`);
      }
    })().catch((error: unknown) => {
      kept.seen.push(`ended by ${String(error)}`);
    });
  }, address);
}

async function sees(page: Page, event: string, timeout = 60_000): Promise<void> {
  await page.waitForFunction((text) => kept.seen.includes(text), event, { timeout });
}

/** Starts a writer in the page, which writes one number after the other until each is acknowledged. */
async function writing(page: Page): Promise<void> {
  await page.evaluate(() => {
    kept.errors = [];
    kept.writing = (async () => {
      let at = 0;
      for (; kept.enough !== true; at++) {
        for (;;) {
          try {
            // Repeated until it is known to have been written, and written once.
            const idempotencyKey = `write ${at}`;
            await kept.client.put('n', `${at}`, { idempotencyKey, timeoutMs: 1_000 });
            break;
          } catch (error) {
            const { name, retryable } = error as norikvError;
            (kept.errors as string[]).push(retryable ? name : `${name}, and not retryable`);
            // A refused connection is told at once.
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
        }
        kept.written = at;
      }
      return at;
    })();
  });
}
interface norikvError {
  readonly name: string;
  readonly retryable: boolean;
}

/** How many writes were acknowledged so far, once there are more than `than`. */
async function written(page: Page, than: number): Promise<number> {
  await page.waitForFunction((least) => Number(kept.written ?? -1) > least, than);
  return page.evaluate(() => Number(kept.written));
}

test('a server killed in mid-stream and under calls, three times: every write once and in order, none lost', async () => {
  const home = await site();
  const store = `file:${temporary()}`;
  const flags = ['--cors-origin', home.origin];
  let server = await serve(store, { flags });
  const page = await open(home);
  await watching(page, server.address);
  await writing(page);
  let count = await written(page, 20);
  for (let round = 0; round < 3; round++) {
    server.kill('SIGKILL');
    await server.ended;
    server = await serve(store, { listen: server.address, flags });
    count = await written(page, count + 20);
  }
  const total = await page.evaluate(() => {
    kept.enough = true;
    return kept.writing as Promise<number>;
  });
  await sees(page, `n=${total - 1}`);
  const { seen, errors } = await page.evaluate(() => ({
    seen: kept.seen,
    errors: kept.errors as string[],
  }));
  expect(seen).toEqual(Array.from({ length: total }, (_, at) => `n=${at}`));
  for (const name of errors) {
    expect(['ConnectionError', 'UnavailableError', 'DeadlineExceededError']).toContain(name);
  }
  await page.evaluate(() => kept.client.close());
}, 60_000);

test(`the network gone for ${AWAY_MS / 1000} s: calls fail and say why, the watch goes on where it was`, async () => {
  const home = await site();
  const server = await memoryServer(home);
  const other = await NoriKVClient.open({ nodes: [server.address] });
  later(() => other.close());
  const page = await open(home);
  await watching(page, server.address);
  await other.put('a', 'before');
  await sees(page, 'a=before');

  await page.context().setOffline(true);
  const failed = await page.evaluate(() =>
    kept.client.get('a', { timeoutMs: 2_000 }).then(
      () => 'answered',
      (error: unknown) => (error as Error).name,
    ),
  );
  expect(['ConnectionError', 'DeadlineExceededError']).toContain(failed);
  for (let at = 0; at < 5; at++) await other.put(`while away ${at}`, '1');
  // The rule is about time that passes: there is no event to wait for.
  await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
  await page.context().setOffline(false);

  await sees(page, 'while away 4=1');
  expect(await page.evaluate(async () => (await kept.client.get('a')).text())).toBe('before');
  await other.put('a', 'after');
  await sees(page, 'a=after');
  const seen = await page.evaluate(() => kept.seen);
  expect(seen).toEqual([
    'a=before',
    ...Array.from({ length: 5 }, (_, at) => `while away ${at}=1`),
    'a=after',
  ]);
  await page.evaluate(() => kept.client.close());
}, 120_000);

test('connections that die without a word: the watch goes on over another one', async () => {
  const home = await site();
  const server = await memoryServer(home);
  const between = await Proxy.start(server.address);
  later(() => between.stop());
  const other = await NoriKVClient.open({ nodes: [server.address] });
  later(() => other.close());
  const page = await open(home);
  await watching(page, between.address);
  await other.put('a', 'before');
  await sees(page, 'a=before');

  between.freeze();
  await other.put('a', 'after');
  // The server says every ten seconds that it is there; after two that did not come the page looks for another way.
  await sees(page, 'a=after', 40_000);
  expect(await page.evaluate(() => kept.seen)).toEqual(['a=before', 'a=after']);
  await page.evaluate(() => kept.client.close());
}, 90_000);

test('an hour’s sleep, after which all timers fire at once: the lease is lost, calls and the watch go on', async () => {
  const home = await site();
  const server = await memoryServer(home);
  const other = await NoriKVClient.open({ nodes: [server.address] });
  later(() => other.close());
  // Playwright's clock stands in for the page's: its timers, `Date` and `performance`, which are all that the client has.
  const page = await open(home, (context) => context.clock.install());
  await watching(page, server.address);
  await page.evaluate(async () => {
    const lease = await kept.client.lease({ ttlMs: 600_000 });
    kept.lease = lease;
    await lease.put('held', '1');
  });

  await page.clock.fastForward('01:00:00');
  const told = await page.evaluate(async () => {
    const lease = kept.lease as Lease;
    const used = await lease.put('held', '2').then(
      () => 'written',
      (error: unknown) => (error as Error).name,
    );
    const { name } = await lease.lost;
    return { used, name, aborted: lease.signal.aborted };
  });
  expect(told).toEqual({ used: 'LeaseLostError', name: 'LeaseLostError', aborted: true });

  await other.put('a', 'after');
  await sees(page, 'a=after');
  expect(await page.evaluate(async () => (await kept.client.get('a')).text())).toBe('after');
  await page.evaluate(() => kept.client.close());
}, 60_000);

/** Keeps a lease in the page. */
async function holding(page: Page, address: string, ttlMs: number): Promise<void> {
  await page.evaluate(
    async ({ node, ttl }) => {
      kept.client = await norikv.NoriKVClient.open({ nodes: [node] });
      const lease = await kept.client.lease({ ttlMs: ttl });
      kept.lease = lease;
      await lease.put('held', '1');
    },
    { node: address, ttl: ttlMs },
  );
}

/** What the page believes of its lease before it does anything with it, and what comes of a use. */
async function belief(page: Page): Promise<unknown> {
  return page.evaluate(async () => {
    const lease = kept.lease as Lease;
    const { aborted } = lease.signal;
    const used = await lease.put('held', 'late').then(
      () => 'written',
      (error: unknown) => (error as Error).name,
    );
    const { name } = await lease.lost;
    return { aborted, used, lost: name };
  });
}
const LOST = { aborted: true, used: 'LeaseLostError', lost: 'LeaseLostError' };

test('a tab whose process stands still: its lease ends for all, and is none when the tab goes on', async () => {
  const home = await site();
  const server = await memoryServer(home);
  const other = await NoriKVClient.open({ nodes: [server.address] });
  later(() => other.close());
  const page = await open(home);
  // More than a tab in the background goes through, whose timers come once a minute: nothing in it runs at all.
  const renderers = await processes('renderer');
  await holding(page, server.address, 1_500);
  await using watch = other.watch({ key: 'held' }, { puts: false });
  await watch.ready;

  // What the page finds out when it goes on, it finds out by its own clock.
  await page.context().setOffline(true);
  for (const id of renderers) process.kill(id, 'SIGSTOP');
  try {
    const { value: batch } = await watch[Symbol.asyncIterator]().next();
    expect(batch?.events.map(({ reason }) => reason)).toEqual(['lease']);
    await other.put('held', 'by another');
  } finally {
    for (const id of renderers) process.kill(id, 'SIGCONT');
  }
  expect(await belief(page)).toEqual(LOST);
  expect((await other.get('held')).text()).toBe('by another');
  await page.evaluate(() => kept.client.close());
}, 60_000);

test('timers that come seconds late: nobody believes in a lease past its time, though no timer said so', async () => {
  const home = await site();
  const server = await memoryServer(home);
  const other = await NoriKVClient.open({ nodes: [server.address] });
  later(() => other.close());
  // A browser without a screen hides no tab. So the page's timers are made what those of a hidden tab are: seldom.
  const page = await open(home, (context) =>
    context.addInitScript(() => {
      const { setTimeout: soon } = globalThis;
      Object.assign(globalThis, {
        setTimeout: (run: () => void, ms = 0) => soon(run, Math.max(ms, 10_000)),
      });
    }),
  );
  await holding(page, server.address, 1_000);
  await page.context().setOffline(true);
  await using watch = other.watch({ key: 'held' }, { puts: false });
  await watch.ready;
  const { value: batch } = await watch[Symbol.asyncIterator]().next();
  expect(batch?.events.map(({ reason }) => reason)).toEqual(['lease']);
  await other.put('held', 'by another');
  expect(await belief(page)).toEqual(LOST);
  expect((await other.get('held')).text()).toBe('by another');
  await page.evaluate(() => kept.client.close());
}, 60_000);

test('a sleep that only the wall clock tells of: the lease is lost, though its server has it yet', async () => {
  const home = await site();
  const server = await memoryServer(home);
  // As on systems where `performance.now()` and timers stand still while the machine sleeps.
  const page = await open(home, (context) =>
    context.addInitScript(() => {
      let slept = 0;
      const Clock = Date;
      globalThis.Date = class extends Clock {
        static override now(): number {
          return Clock.now() + slept;
        }
        constructor(...given: [] | [number]) {
          if (given.length === 0) super(Clock.now() + slept);
          else super(...given);
        }
      } as DateConstructor;
      Object.assign(globalThis, { sleep: (ms: number) => (slept += ms) });
    }),
  );
  await holding(page, server.address, 600_000);
  expect(await page.evaluate(() => (kept.lease as Lease).signal.aborted)).toBe(false);

  await page.evaluate(() => {
    globalThis.sleep(3_600_000);
  });
  expect(await belief(page)).toEqual(LOST);
  expect(await page.evaluate(async () => (await kept.client.get('held')).text())).toBe('1');
  await page.evaluate(() => kept.client.close());
}, 60_000);
