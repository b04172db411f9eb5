// What is measured of recipes, and what it should come to: as in `../rows.mjs`.
import { startEtcd, startNorikvOn, startRedis } from '../lib/servers.mjs';
import { FAILOVER_TTL_MS, recipeFacts } from './facts.mjs';
import { besideTable } from './tables.mjs';

const perSecond = { metric: 'perSecond', better: 'more' };

const ours = {
  title: 'NoriKV',
  file: '../recipes/norikv',
  server: 'norikv',
  settings: ({ address }) => ({ config: { nodes: [address] } }),
};
const redis = (title, server) => ({
  title,
  file: '../recipes/redis',
  server,
  settings: ({ address }) => ({ address }),
});

const row = (work, measure, names, budget) => ({
  work: `recipes: ${work}`,
  measure,
  ...perSecond,
  ours: names[0],
  theirs: names[1],
  budget,
});

const lock = { op: 'lock' };
const many = { op: 'checkMany', flight: 64 };
const one = { op: 'checkOne', flight: 64 };
const read = { op: 'read', lookEvery: 1 };

export const recipes = {
  name: 'recipes',
  title: 'recipes',
  section: 'recipes',
  programs: [
    { program: 'redis-server', debian: 'redis-server' },
    { program: 'etcd', debian: 'etcd-server' },
  ],
  ms: 1500,
  servers: {
    norikv: (directory) => startNorikvOn(`file:${directory}`),
    redis: (directory) => startRedis(directory),
    durableRedis: (directory) =>
      startRedis(directory, { appendonly: 'yes', appendfsync: 'always' }),
    etcd: startEtcd,
  },
  // A process for each recipe, so that none lives with what another has open.
  workers: {
    lock: ours,
    limiter: ours,
    counter: ours,
    events: ours,
    cached: {
      ...ours,
      server: undefined,
      settings: () => ({ config: { address: 'memory:' } }),
    },
    redlock: redis('redlock, Redis', 'redis'),
    durableRedlock: redis('redlock, Redis, appendfsync always', 'durableRedis'),
    etcd: {
      title: 'etcd3, etcd',
      file: '../recipes/etcd-lock',
      server: 'etcd',
      settings: ({ address }) => ({ address }),
    },
    flexible: redis('rate-limiter-flexible, Redis', 'redis'),
    durableFlexible: redis('rate-limiter-flexible, Redis, appendfsync always', 'durableRedis'),
    incr: redis('INCR, ioredis, appendfsync always', 'durableRedis'),
    lru: { title: 'lru-cache', file: '../recipes/lru', settings: () => ({}) },
    naive: { ...ours, title: 'get, put, put', file: '../recipes/naive' },
    gets: { ...ours, title: '10,000 gets, 64 in flight', file: '../recipes/naive' },
    atOnce: { ...ours, title: '10,000 gets, all at once', file: '../recipes/naive' },
  },
  rows: [
    row('lock and unlock, uncontended, one caller', lock, ['lock', 'redlock'], 0.8),
    row('lock and unlock, uncontended, one caller', lock, ['lock', 'etcd'], 2),
    row('checkLimit, 64 in flight, 10,000 ids', many, ['limiter', 'flexible'], 0.8),
    row('checkLimit, 64 in flight, one id', one, ['limiter', 'flexible'], 0.5),
    row(
      'ShardedCounter.increment, 64 in flight',
      { op: 'increment', flight: 64 },
      ['counter', 'incr'],
      0.5,
    ),
    row('CachedClient.get, a hit', { op: 'hit' }, ['cached', 'lru'], 0.5),
    row('an event appended, one caller', { op: 'append' }, ['events', 'naive'], 1.5),
    row('10,000 events read', read, ['events', 'gets'], 20),
    {
      work: 'recipes: a new leader after kill -9 of the old one, 99th percentile',
      fact: 'failover',
      metric: 'ms',
      better: 'less',
      limit: FAILOVER_TTL_MS + 500,
      theirs: 'limit',
      title: 'TTL + 500 ms',
      budget: 1,
    },
  ],
  // As durable as ours; and all gets at once, which the client puts into batches.
  beside: [
    row('lock and unlock, uncontended, one caller', lock, ['lock', 'durableRedlock']),
    row('checkLimit, 64 in flight, 10,000 ids', many, ['limiter', 'durableFlexible']),
    row('checkLimit, 64 in flight, one id', one, ['limiter', 'durableFlexible']),
    row('10,000 events read', { op: 'readAtOnce', lookEvery: 1 }, ['events', 'atOnce']),
  ],
  tables: (measured) => (measured.length > 0 ? [besideTable(measured)] : []),
  facts: recipeFacts,
};
