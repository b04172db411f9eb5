// What is measured of a store on an etcd cluster, and what it should come to: as in `../rows.mjs`.
import path from 'node:path';
import { startEtcd, startNorikvOn } from '../lib/servers.mjs';
import { fsyncFacts } from './facts.mjs';

const KEYS = 10_000;
const FLIGHT = 64;
const perSecond = { metric: 'perSecond', better: 'more' };
const cpuPerCall = { metric: 'cpuUs', better: 'less' };

/** `norikv serve` on an etcd of its own. */
async function startServed(directory) {
  const etcd = await startEtcd(path.join(directory, 'etcd'));
  try {
    const server = await startNorikvOn(`etcd://${etcd.address}`);
    const stop = async () => {
      await server.stop();
      await etcd.stop();
    };
    return { ...server, stop };
  } catch (error) {
    await etcd.stop();
    throw error;
  }
}

/** Two clusters as one. */
async function startPair(directory) {
  const [first, second] = await Promise.all(
    ['a', 'b'].map((name) => startEtcd(path.join(directory, name))),
  );
  const stop = async () => {
    await first.stop();
    await second.stop();
  };
  return { address: `etcd://${first.address};etcd://${second.address}`, stop };
}

const ours = (title, server, settings) => ({ title, file: 'norikv', keys: KEYS, server, settings });

const row = (work, measure, metric, theirs, budget, by = 'norikv') => ({
  work: `etcd: ${work}`,
  measure,
  ...metric,
  ours: by,
  theirs,
  budget,
});

const get = { op: 'get', flight: FLIGHT };
const put = { op: 'put', flight: FLIGHT };
const oneWatch = { op: 'follow', flight: 1 };
const tenWatches = { op: 'follow', flight: 10 };

export const etcd = {
  name: 'etcd',
  title: 'a store on an etcd of one member',
  section: 'etcd',
  programs: [{ program: 'etcd', debian: 'etcd-server' }],
  keys: KEYS,
  ms: 2000,
  servers: { etcd: startEtcd, served: startServed, pair: startPair },
  workers: {
    norikv: ours('NoriKV', 'etcd', ({ address }) => ({ address: `etcd://${address}` })),
    etcd3: {
      title: 'etcd3',
      file: 'etcd3',
      keys: KEYS,
      server: 'etcd',
      settings: ({ address }) => ({ address }),
    },
    rust: {
      title: 'etcd-client in Rust',
      file: 'rust',
      args: ['etcd'],
      server: 'etcd',
    },
    direct: ours('NoriKV, directly', 'etcd', ({ address }) => ({ address: `etcd://${address}` })),
    served: ours('NoriKV through norikv serve', 'served', ({ address }) => ({ nodes: [address] })),
    pair: ours('NoriKV, two clusters', 'pair', ({ address }) => ({ address })),
  },
  facts: fsyncFacts,
  rows: [
    row('get, 64 in flight', get, perSecond, 'etcd3', 3),
    row('get, 64 in flight: client CPU per call', get, cpuPerCall, 'etcd3', 2),
    row('put, 64 in flight', put, perSecond, 'etcd3', 1.5),
    row('put, 64 in flight', put, perSecond, 'rust', 0.95),
    row('put, 64 in flight: client CPU per call', put, cpuPerCall, 'etcd3', 2),
    row('get through norikv serve, 64 in flight', get, perSecond, 'direct', 0.6, 'served'),
    row('put through norikv serve, 64 in flight', put, perSecond, 'direct', 0.6, 'served'),
    row('one watch is told 10,000 events', oneWatch, perSecond, 'etcd3', 2),
    row('ten watches are told 10,000 events each', tenWatches, perSecond, 'etcd3', 2),
    row('ten watches: client CPU per event', tenWatches, cpuPerCall, 'etcd3', 2),
    row('put to two clusters, 64 in flight', put, perSecond, 'direct', 1.7, 'pair'),
    {
      work: 'etcd: fsyncs of the busier of two clusters, for each put',
      metric: 'fsyncs',
      better: 'less',
      fact: 'two',
      theirs: 'one',
      title: 'one cluster',
      budget: 1.7,
    },
  ],
};
