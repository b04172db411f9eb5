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

const configs = [
  { name: 'memory:', config: () => 'memory:' },
  { name: 'file:', config: () => `file:${temporary()}` },
  { name: 'a server', config: () => ({ nodes: [server.address] }) },
  { name: 'a server that is not there', config: () => ({ nodes: ['127.0.0.1:1'] }) },
];

describe.each(configs)('a script with a client of $name', ({ name, config }) => {
  const there = name !== 'a server that is not there';
  const put = there ? `await client.put('a', '1');` : `await client.put('a', '1').catch(() => {});`;

  test('exits by itself when it has closed its client', async () => {
    const ran = await script(
      `const client = new NoriKVClient(args.config);
       ${put}
       await client.getOrNull('a').catch(() => {});
       await client.close();
       console.log('closed');`,
      { config: config() },
    );
    expect(ran).toMatchObject({ code: 0, signal: null, output: 'closed\n', complaint: '' });
  });

  test('exits by itself when it never closes its client, but nothing is pending', async () => {
    const ran = await script(
      `const client = new NoriKVClient(args.config);
       ${put}
       client.onTopologyChange(() => {});
       console.log('done');`,
      { config: config() },
    );
    expect(ran).toMatchObject({ code: 0, signal: null, output: 'done\n', complaint: '' });
  });

  test('exits by itself when it made a client and nothing else', async () => {
    const ran = await script(`new NoriKVClient(args.config);`, { config: config() });
    expect(ran).toMatchObject({ code: 0, signal: null, complaint: '' });
  });

  test('stays until its calls are answered', async () => {
    const ran = await script(
      `const client = new NoriKVClient(args.config);
       let settled = 0;
       const count = () => { settled++; };
       for (let at = 0; at < 200; at++) client.put('key:' + at, 'x').then(count, count);
       process.on('exit', () => console.log(settled));`,
      { config: config() },
    );
    expect(ran).toMatchObject({ code: 0, signal: null, output: '200\n', complaint: '' });
  });

  test.each([
    ['at once', ''],
    ['a turn later', 'await new Promise((resolve) => setImmediate(resolve));'],
    ['when the first is answered', 'await first.catch(() => {});'],
  ])('process.exit in mid-flight %s ends with its code and no crash', async (_, wait) => {
    const ran = await script(
      `const client = new NoriKVClient(args.config);
       ${put}
       const first = client.put('first', 'x', { timeoutMs: 50 });
       first.catch(() => {});
       for (let at = 0; at < 2000; at++) {
         client.put('key:' + at, 'x'.repeat(100)).catch(() => {});
         client.getOrNull('key:' + at, { timeoutMs: 5000 }).catch(() => {});
       }
       client.scan().toArray().catch(() => {});
       ${wait}
       process.exit(7);`,
      { config: config() },
    );
    expect(ran).toMatchObject({ code: 7, signal: null, complaint: '' });
  });

  test('an uncaught error in mid-flight ends it as Node ends it', async () => {
    const ran = await script(
      `const client = new NoriKVClient(args.config);
       for (let at = 0; at < 100; at++) client.put('key:' + at, 'x').catch(() => {});
       setImmediate(() => { throw new Error('mine'); });`,
      { config: config() },
    );
    expect(ran).toMatchObject({ code: 1, signal: null });
    expect(ran.complaint).toContain('Error: mine');
  });

  test('process.exit while it closes ends with its code', async () => {
    const ran = await script(
      `const client = new NoriKVClient(args.config);
       ${put}
       for (let at = 0; at < 500; at++) client.put('key:' + at, 'x').catch(() => {});
       client.close().catch(() => {});
       setImmediate(() => process.exit(9));`,
      { config: config() },
    );
    expect(ran).toMatchObject({ code: 9, signal: null, complaint: '' });
  });
});

test('a script that stopped its servers exits by itself', async () => {
  const ran = await script(
    `const { startServer } = require('@norikv/client/server');
     const server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
     const client = await NoriKVClient.open(server.address);
     await client.put('a', '1');
     await client.close();
     await server.stop();
     const ephemeral = await norikv.createEphemeral();
     await ephemeral.getClient().put('a', '1');
     await ephemeral.stop();
     console.log('stopped');`,
  );
  expect(ran).toMatchObject({ code: 0, signal: null, output: 'stopped\n', complaint: '' });
});

test('a server keeps its process until it is stopped', async () => {
  const ran = await script(
    `const { startServer } = require('@norikv/client/server');
     const server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
     const timer = setTimeout(() => {
       console.log('still there');
       server.stop();
     }, 300);
     timer.unref();`,
  );
  expect(ran).toMatchObject({ code: 0, signal: null, output: 'still there\n', complaint: '' });
});

test('what a listener throws is uncaught, and keeps no reply from its caller', async () => {
  const ran = await script(
    // A listener keeps no process alive, and the view may come after the last reply.
    `const alive = setInterval(() => {}, 1000);
     let uncaught = 0;
     process.on('uncaughtException', (error) => { if (error.message === 'mine') uncaught++; });
     const client = await NoriKVClient.open(args.config);
     const seen = new Promise((resolve) => client.onTopologyChange(() => {
       resolve();
       throw new Error('mine');
     }));
     const calls = Array.from({ length: 100 }, (_, at) => client.put('listened:' + at, 'x'));
     await seen;
     await Promise.all(calls);
     await client.close();
     clearInterval(alive);
     console.log(uncaught);`,
    { config: { nodes: [server.address] } },
  );
  expect(ran).toMatchObject({ code: 0, signal: null, output: '1\n', complaint: '' });
});
