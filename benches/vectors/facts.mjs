// Everything that is measured of vectors: who is measured, in which order, and the tables of it.
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { startChild } from '../lib/children.mjs';
import { benches } from '../lib/peers.mjs';
import { startNorikvOn } from '../lib/servers.mjs';
import { contestantsTable, growthTable, quantizationTable } from './tables.mjs';

const file = (name) => fileURLToPath(new URL(name, import.meta.url));
const LONG = 1_800_000;
const DIMENSIONS = 128;
const K = 10;
const QUERIES = 1000;
const EXACT = { count: 100_000, dimensions: 768 };
const QUANTIZATIONS = ['none', 'f16', 'int8'];
const IN_ROWS = ['none', 'int8'];

/** A process for one contestant. `ask(op, what)` has it do something. */
async function hire(who, settings) {
  const args = ['--expose-gc', file('worker.mjs'), who, JSON.stringify(settings)];
  const child = startChild(process.execPath, args, { cwd: benches });
  return {
    pid: child.pid,
    async ask(op, what = {}) {
      child.send(JSON.stringify({ op, ...what }));
      return JSON.parse(await child.next(LONG));
    },
    stop: child.stop,
  };
}

/** Lets all threads of a process, and those that they start, run on some processors only. Answers whether it can. */
function confine(pid, processors) {
  const { status } = spawnSync('taskset', ['-a', '-c', '-p', processors, String(pid)]);
  return status === 0;
}

const everywhere = `0-${os.cpus().length - 1}`;

/** Asks with the process on one processor, and with it on all. */
async function onOneAndAll(worker, ask) {
  const answers = {};
  if (confine(worker.pid, '0')) {
    answers.one = await ask();
    confine(worker.pid, everywhere);
  }
  answers.all = await ask();
  return answers;
}

/** The rates of a contestant at the fewest candidates for each recall. */
async function rates(worker, truth) {
  const reached = await worker.ask('recall', { truth });
  const all = [];
  for (const each of reached) {
    all.push({ ...each, rates: await onOneAndAll(worker, () => worker.ask('rates', each)) });
  }
  return all;
}

async function buildAndSearch(who, settings, truth) {
  const worker = await hire(who, settings);
  try {
    return { built: await worker.ask('build'), searched: await rates(worker, truth) };
  } finally {
    await worker.stop();
  }
}

const embedded = (directory) => ({ config: { address: `file:${directory}` } });

/** NoriKV on disk: built, stopped, opened again, and then served over gRPC. */
async function norikv(place, settings, truth, served) {
  mkdirSync(place, { recursive: true });
  try {
    const ours = { ...settings, ...embedded(path.join(place, 'store')) };
    const first = await buildAndSearch('norikv', ours, truth);
    const again = await hire('norikv', ours);
    const opened = await again.ask('open');
    const flights = [];
    for (const { target, ef } of first.searched) {
      const what = { shape: '16 in flight', ef };
      flights.push({ target, inProcess: await again.ask('rate', what) });
    }
    await again.stop();
    if (served) await overGrpc(path.join(place, 'store'), settings, first.searched, flights);
    return { ...first, opened, flights };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

async function overGrpc(store, settings, searched, flights) {
  const server = await startNorikvOn(`file:${store}`);
  try {
    const client = await hire('norikv', { ...settings, config: { nodes: [server.address] } });
    await client.ask('open');
    for (const [at, { ef }] of searched.entries()) {
      flights[at].overGrpc = await client.ask('rate', { shape: '16 in flight', ef });
    }
    await client.stop();
  } finally {
    await server.stop();
  }
}

async function findTruth(place, settings) {
  const file = path.join(place, `truth-${settings.count}.json`);
  const ours = { ...settings, config: { address: 'memory:' }, type: 'brute_force' };
  const worker = await hire('norikv', ours);
  await worker.ask('truth', { file });
  await worker.stop();
  return file;
}

const best = (numbers, of = Math.max) => of(...numbers);
/** The best of some rounds, each contestant's own: the machine is seldom quiet. */
function bestOf(rounds) {
  const [first] = rounds;
  const least = (pick) => best(rounds.map(pick), Math.min);
  const merged = {
    acknowledged: least(({ built }) => built.acknowledged),
    indexed: least(({ built }) => built.indexed),
    beyond: least(({ built }) => built.beyond),
    memoryBytes: first.built.memoryBytes,
    searched: first.searched.map(({ target, rates }, at) => ({
      target,
      ef: rounds.map(({ searched }) => searched[at].ef),
      recall: least(({ searched }) => searched[at].recall),
      rates: Object.fromEntries(
        Object.entries(rates).map(([processors, shapes]) => [
          processors,
          Object.fromEntries(
            Object.keys(shapes).map((shape) => [
              shape,
              best(rounds.map(({ searched }) => searched[at].rates[processors][shape])),
            ]),
          ),
        ]),
      ),
    })),
  };
  if (first.opened === undefined) return merged;
  return {
    ...merged,
    opened: least(({ opened }) => opened.whole),
    answered: least(({ opened }) => opened.answered),
    beyondOpened: least(({ opened }) => opened.beyond),
    memoryOpened: first.opened.memoryBytes,
    flights: first.flights.map(({ target }, at) => ({
      target,
      inProcess: best(rounds.map(({ flights }) => flights[at].inProcess)),
      overGrpc: best(rounds.map(({ flights }) => flights[at].overGrpc ?? 0)),
    })),
  };
}

/** Searches and inserts. Answers each contestant's best of all rounds. */
async function contest({ place, count, rounds, say }) {
  const settings = { count, dimensions: DIMENSIONS, k: K, queries: QUERIES };
  say('what is nearest');
  const truth = await findTruth(place, settings);
  const peers = {
    'hnswlib-node': () => buildAndSearch('hnswlib', settings, truth),
    usearch: () =>
      buildAndSearch('usearch', { ...settings, file: path.join(place, 'usearch') }, truth),
  };
  const all = {};
  const missing = {};
  for (let round = 1; round <= rounds; round++) {
    for (const [name, run] of Object.entries(peers)) {
      say(`${name}, round ${round}`);
      try {
        (all[name] ??= []).push(await run());
      } catch (error) {
        missing[name] = error.message;
      }
    }
    // One that is in no row is measured once.
    for (const quantization of round === 1 ? QUANTIZATIONS : IN_ROWS) {
      say(`NoriKV, quantization ${quantization}, round ${round}`);
      const ours = { ...settings, quantization };
      const run = await norikv(
        path.join(place, quantization),
        ours,
        truth,
        quantization === 'none',
      );
      (all[`NoriKV, ${quantization}`] ??= []).push(run);
    }
  }
  const measured = Object.entries(all).filter(([name]) => missing[name] === undefined);
  return {
    missing,
    results: Object.fromEntries(measured.map(([name, runs]) => [name, bestOf(runs)])),
  };
}

async function readBandwidth() {
  const child = startChild(process.execPath, [file('bandwidth.mjs')]);
  const bandwidth = JSON.parse(await child.next(LONG));
  await child.stop();
  return bandwidth;
}

async function exact({ count, say }) {
  say('memory bandwidth');
  const before = await readBandwidth();
  say(`exact search of ${count} × ${EXACT.dimensions}`);
  const settings = { ...EXACT, count, k: K, config: { address: 'memory:' }, type: 'brute_force' };
  const worker = await hire('norikv', settings);
  const ours = await worker.ask('exact');
  await worker.stop();
  say('memory bandwidth, once more');
  const after = await readBandwidth();
  const bandwidth = {
    one: Math.max(before.one, after.one),
    all: Math.max(before.all, after.all),
  };
  return { ours, bandwidth };
}

async function growth({ place, counts, say }) {
  const sizes = [];
  for (const count of counts) {
    say(`${count} vectors`);
    // An exact search over a million vectors takes a while.
    const settings = {
      count,
      dimensions: DIMENSIONS,
      k: K,
      queries: count > 100_000 ? 200 : QUERIES,
    };
    const truth = await findTruth(place, settings);
    const ours = { ...settings, quantization: 'none' };
    sizes.push({
      count,
      ...bestOf([await norikv(path.join(place, 'growth'), ours, truth, false)]),
    });
  }
  return sizes;
}

const percent = (target) => Math.round(target * 100);

/** Facts by name, for the rows, and tables. `large`: also with a million vectors. */
export async function vectorFacts({ place, scale, say, large }) {
  const count = Math.round(100_000 * scale);
  const rounds = scale < 1 ? 1 : 3;
  const { results, missing } = await contest({ place, count, rounds, say });
  const { ours, bandwidth } = await exact({ count: Math.round(EXACT.count * scale), say });
  const counts = [1_000, 10_000, ...(large ? [1_000_000] : [])];
  const sizes = await growth({ place, counts, say });

  const names = Object.keys(results);
  const isOurs = (name) => name.startsWith('NoriKV');
  const none = results['NoriKV, none'];
  const facts = { missing: 'no setting reaches the recall' };
  for (const [at, { target }] of none.searched.entries()) {
    for (const processors of Object.keys(none.searched[at].rates)) {
      const id = `${percent(target)} ${processors}`;
      const of = (name) =>
        best(Object.values(results[name].searched[at]?.rates[processors] ?? { none: NaN }));
      facts[`searches ${id}`] = best(IN_ROWS.map((quantization) => of(`NoriKV, ${quantization}`)));
      for (const name of names.filter((each) => !isOurs(each))) facts[`${name} ${id}`] = of(name);
    }
    facts[`grpc ${percent(target)}`] = none.flights[at].overGrpc;
    facts[`in process ${percent(target)}`] = none.flights[at].inProcess;
  }
  facts.indexed = count / none.indexed;
  facts.acknowledged = count / none.acknowledged;
  facts['memory, built'] = none.beyond;
  facts['memory, opened'] = none.beyondOpened;
  facts.open = none.opened * 1000;
  facts.build = none.indexed * 1000;
  facts['exact one'] = ours.one / 1e9;
  facts['exact all'] = ours.all / 1e9;
  facts['bandwidth one'] = bandwidth.one / 1e9;
  facts['bandwidth all'] = bandwidth.all / 1e9;
  if (results['hnswlib-node'] !== undefined) {
    facts['hnswlib-node inserts'] = count / results['hnswlib-node'].indexed;
    facts['hnswlib-node memory'] = results['hnswlib-node'].beyond;
  }
  const grown = [...sizes, { count, ...none }].toSorted((a, b) => a.count - b.count);
  return {
    ...facts,
    missingPeers: missing,
    tables: [
      contestantsTable(results, count),
      quantizationTable(results, count),
      growthTable(grown),
    ],
  };
}
