// What a page still holds after much work: nothing more than before. NORIKV_LONG does ten times as much, as in the rule.
import { expect, test } from '@jest/globals';
import type { Page } from 'playwright-core';
import { open, site, memoryServer } from './world';

const times = process.env.NORIKV_LONG === undefined ? 1 : 10;
const CALLS = 10_000 * times;
const WATCHES = 100 * times;

/**
 * What the heaps may differ by: code that was compiled meanwhile, and what the engine keeps for itself. Less than what
 * 1 KiB of each watch would be, or 10 bytes of each call.
 */
const SLACK_BYTES = 64 * 1024;

interface Held {
  /** JavaScript's heap, after what nobody holds was let go. */
  readonly heap: number;
  /** The wasm's memory, which never shrinks. */
  readonly wasm: number;
}

async function held(page: Page): Promise<Held> {
  const devtools = await page.context().newCDPSession(page);
  for (let time = 0; time < 3; time++) await devtools.send('HeapProfiler.collectGarbage');
  const { usedSize } = await devtools.send('Runtime.getHeapUsage');
  await devtools.detach();
  const wasm = await page.evaluate(() => wasmMemory.buffer.byteLength);
  return { heap: usedSize, wasm };
}

/** Puts, gets and deletes, 64 under way, and watches, 4 open. */
async function work(page: Page, calls: number, watches: number): Promise<void> {
  await page.evaluate(
    async (most) => {
      let call = 0;
      const caller = async (): Promise<void> => {
        while (call < most.calls) {
          const at = call++;
          const key = `key:${at % 100}`;
          if (at % 3 === 0) await kept.client.put(key, `value ${at}`);
          else if (at % 3 === 1) await kept.client.getOrNull(key);
          else await kept.client.delete(key);
        }
      };
      let watch = 0;
      const watcher = async (): Promise<void> => {
        while (watch < most.watches) {
          const opened = kept.client.watch({ prefix: `watched:${watch++}` });
          await opened.ready;
          await opened.close();
        }
      };
      await Promise.all([
        ...Array.from({ length: 64 }, caller),
        ...Array.from({ length: 4 }, watcher),
      ]);
    },
    { calls, watches },
  );
}

test(`the heap after ${CALLS} calls and ${WATCHES} watches is what it was before`, async () => {
  const home = await site();
  const server = await memoryServer(home);
  const page = await open(home, (context) =>
    context.addInitScript(() => {
      // The memory is the module's own; here is how to get a look at it.
      for (const name of ['instantiate', 'instantiateStreaming'] as const) {
        const original = WebAssembly[name] as (...args: unknown[]) => Promise<unknown>;
        Object.assign(WebAssembly, {
          [name]: async (...args: unknown[]) => {
            const made = (await original.apply(WebAssembly, args)) as
              WebAssembly.Instance | WebAssembly.WebAssemblyInstantiatedSource;
            const { exports } = 'instance' in made ? made.instance : made;
            Object.assign(globalThis, { wasmMemory: exports.memory });
            return made;
          },
        });
      }
    }),
  );
  await page.evaluate(async (node) => {
    kept.client = await norikv.NoriKVClient.open({ nodes: [node] });
  }, server.address);

  // The same work before: what it needs at its height is there, and its code is compiled.
  await work(page, CALLS, WATCHES);
  const before = await held(page);
  await work(page, CALLS, WATCHES);
  const after = await held(page);
  console.log(`heap ${before.heap} to ${after.heap}, wasm ${before.wasm} to ${after.wasm} bytes`);
  expect(after.heap - before.heap).toBeLessThan(SLACK_BYTES);
  expect(after.wasm - before.wasm).toBeLessThanOrEqual(SLACK_BYTES);
  const inFlight = await page.evaluate(() => kept.client.getStats().requests.inFlight);
  expect(inFlight).toBe(0);
  await page.evaluate(() => kept.client.close());
}, 600_000);
