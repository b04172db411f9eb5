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

const makeWorkers = `
  const { Worker } = require('node:worker_threads');
  const makeWorker = (config, source) => new Worker(
    \`const { parentPort, workerData } = require('node:worker_threads');
      const { NoriKVClient } = require('@norikv/client');
      (async () => { const client = await NoriKVClient.open(workerData, { timeoutMs: 30_000 }); \${source} })();\`,
    { eval: true, workerData: config },
  );
  const once = (worker, event) => new Promise((resolve, reject) => {
    worker.once(event, resolve);
    if (event !== 'error') worker.once('error', reject);
  });
`;

describe.each([
  { name: 'memory:', config: () => 'memory:', shared: false },
  { name: 'file:', config: () => undefined, shared: false },
  { name: 'a server', config: () => ({ nodes: [server.address] }), shared: true },
])('worker threads with clients of $name', ({ config, shared }) => {
  const configs = () => Array.from({ length: 4 }, () => config() ?? `file:${temporary()}`);

  test('a client in each works, and its worker ends by itself', async () => {
    const ran = await script(
      `${makeWorkers}
       const answers = await Promise.all(args.configs.map(async (config, at) => {
         const worker = makeWorker(config, \`
           const name = 'worker:\${at}:';
           await Promise.all(Array.from({ length: 300 }, (_, i) => client.put(name + i, 'x')));
           for (let i = 0; i < 50; i++) await client.update(name + 'sum', (e) => String(Number(e?.text() ?? 0) + 1));
           const count = await client.count({ prefix: name });
           const sum = (await client.get(name + 'sum')).text();
           await client.close();
           parentPort.postMessage([count, sum]);
         \`);
         const ended = once(worker, 'exit');
         const answer = await once(worker, 'message');
         return [...answer, await ended];
       }));
       console.log(JSON.stringify(answers));`,
      { configs: configs() },
    );
    expect(ran).toMatchObject({ code: 0, signal: null, complaint: '' });
    expect(JSON.parse(ran.output)).toEqual(Array.from({ length: 4 }, () => [301, '50', 0]));
  });

  test('terminate() in mid-flight ends the worker only', async () => {
    const ran = await script(
      `${makeWorkers}
       const client = await NoriKVClient.open(args.own, { timeoutMs: 30_000 });
       await client.put('own', '1');
       for (let round = 0; round < 10; round++) {
         await Promise.all(args.configs.map(async (config) => {
           const worker = makeWorker(config, \`
             for (;;) {
               const calls = Array.from({ length: 200 }, (_, i) => client.put('terminated:' + i, 'x'));
               await calls[0];
               parentPort.postMessage('busy');
               await Promise.all(calls);
             }
           \`);
           await once(worker, 'message');
           await worker.terminate();
         }));
         if ((await client.get('own')).text() !== '1') throw new Error('the own client is off');
       }
       await client.close();
       console.log('fine');`,
      { configs: configs(), own: shared ? config() : 'memory:' },
      { limitMs: 60_000 },
    );
    expect(ran).toMatchObject({ code: 0, signal: null, output: 'fine\n', complaint: '' });
  }, 60_000);

  test('process.exit in the middle of workers ends with its code', async () => {
    const ran = await script(
      `${makeWorkers}
       await Promise.all(args.configs.map(async (config) => {
         const worker = makeWorker(config, \`
           parentPort.postMessage('busy');
           for (;;) await Promise.all(Array.from({ length: 100 }, (_, i) => client.put('exit:' + i, 'x')));
         \`);
         await once(worker, 'message');
       }));
       process.exit(5);`,
      { configs: configs() },
    );
    expect(ran).toMatchObject({ code: 5, signal: null, complaint: '' });
  });
});

test('a directory that a terminated worker had open can be opened again', async () => {
  const ran = await script(
    `${makeWorkers}
     const worker = makeWorker(args.config, \`
       await client.put('a', '1');
       parentPort.postMessage('written');
       setInterval(() => client.put('b', '1'), 1);
     \`);
     await once(worker, 'message');
     await worker.terminate();
     for (let tries = 1; ; tries++) {
       try {
         const client = await NoriKVClient.open(args.config, { timeoutMs: 30_000 });
         console.log((await client.get('a')).text());
         await client.close();
         break;
       } catch (error) {
         // The core lets go of the directory when its last write is done, which nobody is told.
         if (error.code !== 'RESOURCE_EXHAUSTED' || tries === 200) throw error;
         await new Promise((resolve) => setTimeout(resolve, 10));
       }
     }`,
    { config: `file:${temporary()}` },
  );
  expect(ran).toMatchObject({ code: 0, signal: null, output: '1\n', complaint: '' });
});
