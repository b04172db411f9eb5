// What is measured, and what it should come to.
//
// A group has workers (a process each) that are measured in turns, A B A B …, and rows that compare two of them.
// A row's `better` says whether more or less of its metric is better; its ratio is how many times better NoriKV is,
// and its budget what that should be at least.
import { statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { addonPath, hostPlatform } from '../scripts/lib/platform.mjs';
import { factOf } from './lib/children.mjs';
import { browserGrowth, sizes, startForPages } from './lib/browser.mjs';
import { startEtcd, startNorikv, startNorikvOn } from './lib/servers.mjs';
import { etcd } from './etcd/rows.mjs';
import { recipes } from './recipes/rows.mjs';
import { vectors } from './vectors/rows.mjs';

const perSecond = { metric: 'perSecond', better: 'more' };
const cpuPerCall = { metric: 'cpuUs', better: 'less' };
const median = { metric: 'p50Us', better: 'less' };
const late = { metric: 'p99Us', better: 'less' };

const GRPC_KEYS = 10_000;
const SMALL = 1_000;
const MANY = 100_000;
const LARGE = 1_000_000;

const overGrpc = {
  norikv: {
    title: 'NoriKV',
    file: 'norikv',
    keys: GRPC_KEYS,
    server: 'norikv',
    settings: ({ address }) => ({ nodes: [address] }),
  },
  grpcJs: {
    title: '@grpc/grpc-js',
    file: 'grpc-js',
    server: 'norikv',
    settings: ({ address }) => ({ address }),
  },
  rust: { title: 'tonic, unary', file: 'rust', server: 'norikv' },
};

/** NoriKV in the process, on disk. */
const onDisk = (durability, keys = 0) => ({
  title: 'NoriKV',
  file: 'norikv',
  keys,
  settings: ({ directory }) => ({ address: `file:${directory}`, durability }),
});
const inMemory = (keys) => ({
  title: 'NoriKV',
  file: 'norikv',
  keys,
  settings: () => ({ address: 'memory:' }),
});

/** A peer in the process, on disk. */
const peer = (title, file, options = {}, keys = 0) => ({
  title,
  file,
  keys,
  settings: ({ directory }) => ({ directory, ...options }),
});

function bothOps(make) {
  return ['get', 'put'].flatMap((op) => make(op));
}

const grpc = {
  name: 'grpc',
  title: 'get and put over gRPC',
  keys: GRPC_KEYS,
  ms: 700,
  servers: { norikv: () => startNorikv() },
  workers: overGrpc,
  rows: [
    ...bothOps((op) =>
      [
        [64, 8, 1.5],
        [256, 20, 3],
      ].flatMap(([flight, timesGrpcJs, timesRust]) => {
        const what = { work: `${op} over gRPC, ${flight} in flight`, measure: { op, flight } };
        return [
          { ...what, ...perSecond, ours: 'norikv', theirs: 'grpcJs', budget: timesGrpcJs },
          {
            ...what,
            ...cpuPerCall,
            work: `${what.work}: client CPU per call`,
            ours: 'norikv',
            theirs: 'grpcJs',
            budget: 4,
          },
          { ...what, ...perSecond, ours: 'norikv', theirs: 'rust', budget: timesRust },
        ];
      }),
    ),
    ...bothOps((op) => [
      {
        work: `${op} over gRPC, 1 in flight: median time`,
        measure: { op, flight: 1, timed: true },
        ...median,
        ours: 'norikv',
        theirs: 'grpcJs',
        budget: 1 / 0.75,
      },
    ]),
  ],
};

const grpcAlone = {
  name: 'grpc-v1',
  title: 'the same, a server of norikv.v1 alone',
  keys: GRPC_KEYS,
  ms: 700,
  servers: { norikv: () => startNorikv('--norikv-v1-only') },
  workers: overGrpc,
  rows: bothOps((op) =>
    [64, 256].map((flight) => ({
      work: `${op} over gRPC, ${flight} in flight, batches off`,
      measure: { op, flight },
      ...perSecond,
      ours: 'norikv',
      theirs: 'grpcJs',
      budget: 5,
    })),
  ),
};

const embeddedGet = {
  name: 'embedded-get',
  title: 'embedded get',
  keys: MANY,
  ms: 400,
  workers: {
    memory: inMemory(MANY),
    file: onDisk('relaxed', MANY),
    lmdb: peer('lmdb', 'lmdb', {}, MANY),
    level: peer('classic-level', 'classic-level', {}, MANY),
    deno: peer('@deno/kv', 'deno-kv', {}, MANY),
  },
  rows: ['memory', 'file'].flatMap((ours) =>
    [
      ['lmdb', 1],
      ['level', 15],
      ['deno', 50],
    ].map(([theirs, budget]) => ({
      work: `embedded get, ${ours}:, 100 k keys, one by one`,
      measure: { op: 'get' },
      ...perSecond,
      ours,
      theirs,
      budget,
    })),
  ),
};

const durablePut = {
  name: 'durable-put',
  title: 'embedded durable put',
  keys: GRPC_KEYS,
  ms: 1000,
  servers: { etcd: startEtcd },
  workers: {
    norikv: onDisk('fsync'),
    level: peer('classic-level, sync', 'classic-level', { sync: true }),
    deno: peer('@deno/kv', 'deno-kv'),
    etcd: {
      title: 'etcd through etcd3',
      file: 'etcd3',
      server: 'etcd',
      settings: ({ address }) => ({ address }),
    },
    lmdb: peer('lmdb, flushed', 'lmdb', { durability: 'flushed' }),
  },
  rows: [
    ...[
      ['level', 5],
      ['deno', 8],
      ['etcd', 12],
      ['lmdb', 1],
    ].map(([theirs, budget]) => ({
      work: 'embedded durable put, 64 in flight',
      measure: { op: 'put', flight: 64 },
      ...perSecond,
      ours: 'norikv',
      theirs,
      budget,
    })),
    {
      work: 'embedded durable put, 1 in flight',
      measure: { op: 'put' },
      ...perSecond,
      ours: 'norikv',
      theirs: 'level',
      budget: 0.8,
    },
  ],
};

const relaxedPut = {
  name: 'relaxed-put',
  title: 'embedded relaxed put',
  keys: GRPC_KEYS,
  ms: 800,
  workers: {
    norikv: onDisk('relaxed'),
    lmdb: peer('lmdb, noSync', 'lmdb', { durability: 'noSync' }),
    level: peer('classic-level', 'classic-level'),
  },
  rows: [
    ['lmdb', 1],
    ['level', 3],
  ].map(([theirs, budget]) => ({
    work: 'embedded relaxed put, 64 in flight',
    measure: { op: 'put', flight: 64 },
    ...perSecond,
    ours: 'norikv',
    theirs,
    budget,
  })),
};

const ephemeral = {
  name: 'ephemeral',
  title: 'createEphemeral()',
  ms: 500,
  workers: {
    norikv: { title: 'NoriKV', file: 'ephemeral', settings: () => ({}) },
    node: { title: 'node -e 0', file: 'empty-node', settings: () => ({}) },
  },
  rows: [
    {
      work: 'createEphemeral() to its first answered get',
      measure: { op: 'start', timed: true },
      ...median,
      ours: 'norikv',
      theirs: 'node',
      budget: 2,
    },
  ],
};

const size = (kind, make) => ({
  name: `size-${kind}`,
  title: `${kind}: with 1 M keys`,
  ms: 400,
  workers: {
    large: { ...make(LARGE), title: '1 M keys' },
    small: { ...make(SMALL), title: '1 k keys' },
  },
  rows: [
    [`${kind}: get`, { op: 'get' }],
    [`${kind}: put, 64 in flight`, { op: 'put', flight: 64 }],
    [`${kind}: scan of 100`, { op: 'scan' }],
  ].map(([work, measure]) => ({
    work: `${work}, 1 M keys`,
    measure,
    ...perSecond,
    ours: 'large',
    theirs: 'small',
    budget: 1 / 3,
  })),
});

const etcd3 = (keys = 0) => ({
  title: 'etcd through etcd3',
  file: 'etcd3',
  server: 'etcd',
  keys,
  settings: ({ address }) => ({ address }),
});

const durableTxn = {
  name: 'durable-txn',
  title: 'durable transactions',
  keys: GRPC_KEYS,
  ms: 1000,
  servers: { etcd: startEtcd, norikv: (directory) => startNorikvOn(`file:${directory}`) },
  workers: {
    embedded: onDisk('fsync', GRPC_KEYS),
    served: { ...overGrpc.norikv, title: 'NoriKV' },
    etcd: etcd3(GRPC_KEYS),
  },
  rows: [
    ['embedded', 'embedded'],
    ['served', 'over gRPC'],
  ].map(([ours, where]) => ({
    work: `durable transactions ${where}, 1 compare and 1 put, 64 in flight`,
    measure: { op: 'txn', flight: 64 },
    ...perSecond,
    ours,
    theirs: 'etcd',
    budget: 8,
  })),
};

const watches = {
  name: 'watch',
  title: 'watches',
  ms: 1500,
  servers: { etcd: startEtcd, norikv: (directory) => startNorikvOn(`file:${directory}`) },
  workers: { norikv: { ...overGrpc.norikv, keys: 0 }, etcd: etcd3() },
  rows: [
    ...[
      ['median', median],
      ['99th percentile', late],
    ].map(([which, metric]) => ({
      work: `watch: from the answer of a durable put to its event, ${which}`,
      measure: { op: 'lag' },
      ...metric,
      ours: 'norikv',
      theirs: 'etcd',
      budget: 2,
    })),
    {
      work: 'watch: events told to 1,000 watchers of one prefix, 1,000 puts/s',
      measure: { op: 'fanOut' },
      ...perSecond,
      ours: 'norikv',
      theirs: 'etcd',
      budget: 3,
    },
  ],
};

const script = (name) => fileURLToPath(new URL(`lib/${name}.mjs`, import.meta.url));
const fact = (work, name, metric, limit) => ({
  work,
  fact: name,
  metric,
  better: 'less',
  limit,
  theirs: 'limit',
  budget: 1,
});

const coordination = {
  name: 'coordination',
  title: 'the cost of watches and leases',
  async facts({ scale, say }) {
    say('a thousand watches');
    const server = await startNorikv();
    const perWatch = await factOf(script('watch-memory'), [server.address, server.pid], 60_000);
    await server.stop();
    say('a hundred thousand leases');
    const leases = await factOf(script('leases'), [MANY, 30_000, 20_000 * scale], 180_000);
    return { perWatch: Number(perWatch), leases: Number(leases) };
  },
  rows: [
    fact('server memory for each open watch', 'perWatch', 'kib', 16),
    fact(
      '100 k leases kept alive every 10 s, client and server: of one core',
      'leases',
      'percent',
      30,
    ),
  ],
};

const revisions = {
  name: 'revisions',
  title: '10 M revisions over 10 k keys, compacted',
  async facts({ place, scale, say }) {
    const count = Math.round(10 * scale) * LARGE;
    say(`${count / LARGE} M revisions`);
    return JSON.parse(await factOf(script('revisions'), [place, count], 1_800_000));
  },
  rows: [
    fact(
      '10 M revisions, compacted: disk, after the last 2 M against after the first 4 M',
      'disk',
      'growth',
      1.2,
    ),
    fact('10 M revisions, compacted: memory, the same', 'memory', 'growth', 1.2),
  ],
};

const addon = {
  name: 'addon',
  title: 'the addon',
  facts: () => ({ megabytes: statSync(addonPath(hostPlatform())).size / 1024 / 1024 }),
  rows: [
    {
      work: 'size of the addon, stripped',
      metric: 'megabytes',
      better: 'less',
      limit: 12,
      theirs: 'limit',
      budget: 1,
    },
  ],
};

const inPage = (work, measure, metric, budget, [ours, theirs] = ['norikv', 'connectWeb']) => ({
  work: `browser: ${work}`,
  measure,
  ...metric,
  ours,
  theirs,
  budget,
});

const browser = {
  name: 'browser',
  title: 'browser: a page in Chromium',
  pages: true,
  keys: GRPC_KEYS,
  ms: 1000,
  servers: { norikv: (directory) => startForPages(directory, GRPC_KEYS) },
  workers: {
    norikv: { title: 'NoriKV', page: 'norikv', server: 'norikv' },
    connectWeb: { title: 'connect-web', page: 'connect-web', server: 'norikv' },
    echo: { title: 'a WebSocket echo', page: 'norikv', server: 'norikv' },
  },
  rows: [
    inPage('page load to the first answered get, warm cache', { op: 'load' }, median, 1.2),
    ...[
      [1, 0.9],
      [16, 8],
      [64, 20],
      [256, 50],
    ].map(([flight, budget]) =>
      inPage(`get, ${flight} in flight`, { op: 'get', flight }, perSecond, budget),
    ),
    inPage('durable put, 256 in flight', { op: 'put', flight: 256 }, perSecond, 30),
    inPage('from the answer of a put to its event', { op: 'late' }, median, 2, ['norikv', 'echo']),
  ],
};

const browserFacts = {
  name: 'browser-facts',
  title: 'browser: what a page loads and holds',
  pages: true,
  async facts({ place, say }) {
    say('sizes');
    const { norikv, connectWeb } = await sizes();
    say('100,000 operations, 1,000 watches');
    const server = await startForPages(path.join(place, 'store'), GRPC_KEYS);
    const heap = await browserGrowth(server.address, { calls: MANY, watches: SMALL });
    await server.stop();
    return { download: norikv, 'connect-web': connectWeb, heap };
  },
  rows: [
    fact('browser: download, brotli', 'download', 'kib', 60),
    {
      ...fact('browser: download, brotli', 'download', 'kib'),
      theirs: 'connect-web',
      budget: 0.5,
    },
    fact('browser: heap and wasm after 100 k calls and 1 k watches', 'heap', 'growth', 1.1),
  ],
};

export const groups = [
  grpc,
  grpcAlone,
  embeddedGet,
  durablePut,
  relaxedPut,
  ephemeral,
  size('memory', inMemory),
  size('file', (keys) => onDisk('relaxed', keys)),
  durableTxn,
  watches,
  coordination,
  revisions,
  addon,
  browser,
  browserFacts,
  vectors,
  recipes,
  etcd,
];
