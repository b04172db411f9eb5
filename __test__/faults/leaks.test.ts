// Opening and closing again and again, in a process of its own whose memory, descriptors and threads are counted.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { script, serve, temporary } from './children';
import type { Served } from './children';

let server: Served;
beforeAll(async () => {
  server = await serve('memory:');
});
afterAll(async () => {
  server.kill('SIGTERM');
  await server.ended;
});

interface Used {
  readonly rss: number;
  readonly descriptors: number;
  readonly threads: number;
}

const megabyte = 1024 * 1024;

/** What a cycle leaves behind, before and after so many of them. */
async function cycles(config: unknown, warmUp: number, count: number): Promise<[Used, Used]> {
  const ran = await script(
    `const fs = require('node:fs');
     const cycle = async () => {
       const client = new NoriKVClient(args.config);
       await client.put('key', 'x'.repeat(1000));
       const part = client.namespace('part/');
       await Promise.all([part.getOrNull('key'), client.get('key', { timeoutMs: 5000 })]);
       await client.get('missing').catch(() => {});
       const controller = new AbortController();
       await client.get('key', { signal: controller.signal });
       client.onTopologyChange(() => {});
       await client.close();
     };
     const used = async () => {
       // Whatever is let go of after close() is let go of soon: threads end, sockets close.
       for (let at = 0; at < 5; at++) {
         globalThis.gc();
         await new Promise((resolve) => setTimeout(resolve, 40));
       }
       return {
         rss: process.memoryUsage.rss(),
         descriptors: fs.readdirSync('/proc/self/fd').length,
         threads: fs.readdirSync('/proc/self/task').length,
       };
     };
     for (let at = 0; at < args.warmUp; at++) await cycle();
     const before = await used();
     for (let at = 0; at < args.count; at++) await cycle();
     console.log(JSON.stringify([before, await used()]));`,
    { config, warmUp, count },
    { limitMs: 90_000, flags: ['--expose-gc'] },
  );
  expect(ran).toMatchObject({ code: 0, signal: null, complaint: '' });
  return JSON.parse(ran.output) as [Used, Used];
}

/** What a process uses is counted in /proc, which only Linux has. */
const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('opening and closing', () => {
  test.each([
    { name: 'memory:', config: () => 'memory:', warmUp: 1000, count: 10_000 },
    { name: 'file:', config: () => `file:${temporary()}`, warmUp: 30, count: 150 },
    { name: 'a server', config: () => ({ nodes: [server.address] }), warmUp: 200, count: 1000 },
  ])(
    '$name, $count times, leaks neither memory nor descriptors nor threads',
    async ({ config, warmUp, count }) => {
      const [before, after] = await cycles(config(), warmUp, count);
      expect(after.descriptors).toBeLessThanOrEqual(before.descriptors);
      expect(after.threads).toBeLessThanOrEqual(before.threads);
      // Allocators keep what they were given; a leak of the page alone would be 64 kB for each client.
      expect((after.rss - before.rss) / megabyte).toBeLessThan(40);
    },
    100_000,
  );

  test('a server, started and stopped 100 times', async () => {
    const ran = await script(
      `const fs = require('node:fs');
       const { startServer } = require('@norikv/client/server');
       const count = (what) => fs.readdirSync('/proc/self/' + what).length;
       const cycle = async () => {
         const server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
         const client = await NoriKVClient.open(server.address);
         await client.put('a', '1');
         await client.close();
         await server.stop();
       };
       const used = async () => {
         await new Promise((resolve) => setTimeout(resolve, 200));
         return [count('fd'), count('task')];
       };
       for (let at = 0; at < 10; at++) await cycle();
       const before = await used();
       for (let at = 0; at < 100; at++) await cycle();
       console.log(JSON.stringify([before, await used()]));`,
      {},
      { limitMs: 60_000 },
    );
    expect(ran).toMatchObject({ code: 0, signal: null, complaint: '' });
    const [before, after] = JSON.parse(ran.output) as [[number, number], [number, number]];
    expect(after[0]).toBeLessThanOrEqual(before[0]);
    expect(after[1]).toBeLessThanOrEqual(before[1]);
  }, 60_000);
});
