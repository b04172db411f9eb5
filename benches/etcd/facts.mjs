// What two clusters share of the work of one: `fsync`s, which etcd counts itself.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { startWorker } from '../lib/children.mjs';
import { benches } from '../lib/peers.mjs';
import { startEtcd } from '../lib/servers.mjs';

const workerFile = fileURLToPath(new URL('../lib/worker.mjs', import.meta.url));
const KEYS = 10_000;

/** How often an etcd has waited for its disk with its log. */
async function fsyncs(address) {
  const metrics = await (await fetch(`http://${address}/metrics`)).text();
  const line = metrics
    .split('\n')
    .find((each) => each.startsWith('etcd_disk_wal_fsync_duration_seconds_count'));
  if (line === undefined) throw new Error(`etcd at ${address} does not count its fsyncs`);
  return Number(line.split(' ')[1]);
}

/** The `fsync`s of the busiest of these clusters, for each put to all of them together. */
async function perPut(addresses, ms) {
  const address = addresses.map((each) => `etcd://${each}`).join(';');
  const settings = JSON.stringify({ keys: KEYS, address });
  const worker = await startWorker(process.execPath, [workerFile, 'norikv', settings], {
    cwd: benches,
  });
  try {
    const before = await Promise.all(addresses.map(fsyncs));
    const { perSecond } = await worker.measure({ op: 'put', flight: 64, ms, keys: KEYS });
    const after = await Promise.all(addresses.map(fsyncs));
    const most = Math.max(...after.map((count, at) => count - before[at]));
    return most / ((perSecond * ms) / 1000);
  } finally {
    await worker.stop();
  }
}

/** Answers `{ one, two }`. */
export async function fsyncFacts({ place, scale, say }) {
  const etcds = [];
  try {
    for (const name of ['one', 'two-a', 'two-b']) {
      etcds.push(await startEtcd(path.join(place, `fsyncs-${name}`)));
    }
    const [one, ...two] = etcds.map(({ address }) => address);
    say('fsyncs of one cluster and of two');
    const ms = Math.round(5000 * scale);
    return { one: await perPut([one], ms), two: await perPut(two, ms) };
  } finally {
    for (const { stop } of etcds) await stop();
  }
}
