// Programs with a client of etcd end by themselves, and leave nothing behind.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { script } from '../faults/children';
import { Cluster } from './cluster';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start();
});
afterAll(() => cluster.stop());

const ended = { code: 0, signal: null, complaint: '' };

test('a script that closed its client, with a watch and a lease open, exits by itself', async () => {
  const ran = await script(
    `const client = await NoriKVClient.open(args.address);
     await client.put('a', '1');
     const lease = await client.lease({ ttlMs: 60_000 });
     await lease.put('leased', '1');
     const watch = client.watch({ prefix: '' });
     await watch.ready;
     await client.close();
     console.log('closed');`,
    { address: cluster.address('closed/') },
  );
  expect(ran).toMatchObject({ ...ended, output: 'closed\n' });
  // The lease went with its client.
  const after = await script(
    `const client = await NoriKVClient.open(args.address);
     console.log(await client.getOrNull('leased'));
     await client.close();`,
    { address: cluster.address('closed/') },
  );
  expect(after).toMatchObject({ ...ended, output: 'null\n' });
});

test('so does one that never closes its client, when nothing is pending', async () => {
  const ran = await script(
    `const client = await NoriKVClient.open(args.address);
     await client.put('a', '1');
     const watch = client.watch({ prefix: '' });
     await watch.ready;
     console.log('done');`,
    { address: cluster.address('open/') },
  );
  expect(ran).toMatchObject({ ...ended, output: 'done\n' });
});

test('so does one whose calls are all answered, and not before', async () => {
  const ran = await script(
    `const client = new NoriKVClient(args.address);
     let settled = 0;
     const count = () => { settled++; };
     for (let at = 0; at < 200; at++) client.put('key:' + at, 'x').then(count, count);
     process.on('exit', () => console.log(settled));`,
    { address: cluster.address('many/') },
  );
  expect(ran).toMatchObject({ ...ended, output: '200\n' });
});

test('so does one whose cluster is not there', async () => {
  const ran = await script(
    `const client = new NoriKVClient('etcd://127.0.0.1:1');
     await client.put('a', '1').catch((error) => console.log(error.code));
     await client.close();`,
  );
  expect(ran).toMatchObject({ ...ended, output: 'NO_NODES_AVAILABLE\n' });
});

test('process.exit in mid-flight ends with its code and no crash', async () => {
  const ran = await script(
    `const client = await NoriKVClient.open(args.address);
     client.watch({ prefix: '' });
     for (let at = 0; at < 2000; at++) {
       client.put('key:' + at, 'x'.repeat(100)).catch(() => {});
       client.getOrNull('key:' + at).catch(() => {});
     }
     setImmediate(() => process.exit(7));`,
    { address: cluster.address('exit/') },
  );
  expect(ran).toMatchObject({ code: 7, signal: null, complaint: '' });
});

test('a script that stopped a server in front of the cluster exits by itself', async () => {
  const ran = await script(
    `const { startServer } = require('@norikv/client/server');
     const server = await startServer({ store: args.address, listen: '127.0.0.1:0' });
     const client = await NoriKVClient.open(server.address);
     await client.vectorCreateIndex('v', 1, 'euclidean', 'hnsw');
     await client.vectorInsert('v', 'a', [1]);
     await client.close();
     await server.stop();
     console.log('stopped');`,
    { address: cluster.address('served/') },
  );
  expect(ran).toMatchObject({ ...ended, output: 'stopped\n' });
});

/** What a process uses is counted in /proc, which only Linux has. */
const onLinux = process.platform === 'linux' ? test : test.skip;

onLinux(
  'opening and closing 300 times leaks neither memory nor descriptors nor threads',
  async () => {
    const ran = await script(
      `const fs = require('node:fs');
       const cycle = async () => {
         const client = new NoriKVClient(args.address);
         await client.put('key', 'x'.repeat(1000));
         await client.namespace('part/').getOrNull('key');
         const watch = client.watch({ key: 'key' });
         await watch.ready;
         await client.close();
       };
       const used = async () => {
         for (let at = 0; at < 5; at++) {
           globalThis.gc();
           await new Promise((resolve) => setTimeout(resolve, 40));
         }
         return {
           megabytes: process.memoryUsage.rss() / 1024 / 1024,
           descriptors: fs.readdirSync('/proc/self/fd').length,
           threads: fs.readdirSync('/proc/self/task').length,
         };
       };
       for (let at = 0; at < 50; at++) await cycle();
       const before = await used();
       for (let at = 0; at < 300; at++) await cycle();
       console.log(JSON.stringify([before, await used()]));`,
      { address: cluster.address('cycles/') },
      { limitMs: 60_000, flags: ['--expose-gc'] },
    );
    expect(ran).toMatchObject(ended);
    type Used = Readonly<Record<'megabytes' | 'descriptors' | 'threads', number>>;
    const [before, after] = JSON.parse(ran.output) as [Used, Used];
    expect(after.descriptors).toBeLessThanOrEqual(before.descriptors);
    expect(after.threads).toBeLessThanOrEqual(before.threads);
    expect(after.megabytes - before.megabytes).toBeLessThan(30);
  },
  70_000,
);
