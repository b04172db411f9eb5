// Runs one group of rows: its servers, its workers, and rounds in which each is measured in turn.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { startWorker } from './children.mjs';
import { benches } from './peers.mjs';

const workerFile = fileURLToPath(new URL('worker.mjs', import.meta.url));
const data = path.join(benches, 'data');

/**
 * Measures what the rows need. Answers `{ measured, tables }`: each row with `ours` and `theirs`
 * (`{ title, value, rounds }`, or `{ title, missing }` with the reason), and its `ratio` and `range` where both were
 * measured; and the tables that a group has beside its rows, among them what is measured `beside` them, without a budget.
 */
export async function runGroup(group, rows, { rounds, scale, large, rustClient, say }) {
  mkdirSync(data, { recursive: true });
  const place = mkdtempSync(path.join(data, 'run-'));
  const stops = [];
  try {
    const whole = rows.length === group.rows.length;
    const beside = whole ? (group.beside ?? []) : [];
    const timed = [...rows, ...beside].filter((row) => row.measure !== undefined);
    const facts =
      group.facts !== undefined && rows.some((row) => row.measure === undefined)
        ? await group.facts({ place, scale, large, say })
        : {};
    const wanted = new Set(timed.flatMap((row) => [row.ours, row.theirs]));
    const crew = {};
    const servers = {};
    let browsers;
    for (const name of Object.keys(group.workers ?? {}).filter((each) => wanted.has(each))) {
      const worker = group.workers[name];
      say(`opening ${worker.title}`);
      const directory = path.join(place, name);
      mkdirSync(directory);
      try {
        if (worker.server !== undefined && servers[worker.server] === undefined) {
          const start = group.servers[worker.server];
          servers[worker.server] = await start(path.join(place, `server-${worker.server}`));
          stops.unshift(servers[worker.server].stop);
        }
        const at = { directory, address: servers[worker.server]?.address };
        if (worker.page !== undefined && browsers === undefined) {
          const { startBrowsers } = await import('./browser.mjs');
          browsers = await startBrowsers();
          stops.unshift(browsers.stop);
        }
        crew[name] = await hire(worker, at, { rustClient, browsers });
        stops.unshift(crew[name].stop);
      } catch (error) {
        crew[name] = { missing: error.message };
      }
    }
    const results = new Map();
    // The compiler of JavaScript needs a while; most of all at first.
    let warmUp = 2;
    for (const [what, names] of measurements(timed)) {
      await measureInTurns({ group, what, names, crew, results, rounds, scale, warmUp, say });
      warmUp = 0.6;
    }
    const settled = (row) =>
      row.measure === undefined ? settleFact(row, facts) : settle(row, group, crew, results);
    const tables = [...(group.tables?.(beside.map(settled)) ?? []), ...(facts.tables ?? [])];
    return { measured: rows.map(settled), tables };
  } finally {
    for (const stop of stops) await stop();
    rmSync(place, { recursive: true, force: true });
  }
}

async function hire(worker, at, { rustClient, browsers }) {
  if (worker.page !== undefined) return browsers.page(worker.page, at.address);
  if (worker.file === 'rust')
    return startWorker(await rustClient(), [...(worker.args ?? []), at.address]);
  const settings = JSON.stringify({ keys: worker.keys, ...worker.settings(at) });
  return startWorker(process.execPath, [workerFile, worker.file, settings], { cwd: benches });
}

/** Each kind of measurement once, with the workers that some row needs it of. */
function measurements(rows) {
  const all = new Map();
  for (const { measure, ours, theirs } of rows) {
    const what = JSON.stringify(measure);
    all.set(what, (all.get(what) ?? new Set()).add(ours).add(theirs));
  }
  return all;
}

async function measureInTurns({ group, what, names, crew, results, rounds, scale, warmUp, say }) {
  const order = Object.keys(group.workers).filter((name) => names.has(name));
  for (let round = -1; round < rounds; round++) {
    for (const name of order) {
      const worker = crew[name];
      if (worker.missing !== undefined) continue;
      const { title, keys } = group.workers[name];
      const { op, flight = 1 } = JSON.parse(what);
      say(
        `${op}, ${flight} in flight: ${title}, ${round < 0 ? 'warming up' : `round ${round + 1}`}`,
      );
      const ms = Math.round(group.ms * scale * (round < 0 ? warmUp : 1));
      try {
        const result = await worker.measure({ ...JSON.parse(what), ms, keys: keys || group.keys });
        if (round < 0) continue;
        const id = `${name} ${what}`;
        results.set(id, [...(results.get(id) ?? []), result]);
      } catch (error) {
        worker.missing = error.message;
      }
    }
  }
}

function settle(row, group, crew, results) {
  const side = (name) => {
    const { title } = group.workers[name];
    const { missing } = crew[name];
    if (missing !== undefined) return { title, missing };
    const measured = results.get(`${name} ${JSON.stringify(row.measure)}`);
    const rounds = measured.map((result) => result[row.metric]);
    return { title, value: median(rounds), rounds };
  };
  return settleRow(row, side(row.ours), side(row.theirs));
}

function settleFact(row, facts) {
  const value = facts[row.fact ?? row.metric];
  const ours = { title: 'NoriKV', value, rounds: [] };
  if (value === undefined) ours.missing = facts.missing;
  const limit = row.limit ?? facts[row.theirs];
  const theirs = { title: row.title ?? row.theirs, value: limit, rounds: [] };
  if (limit === undefined) theirs.missing = facts.missingPeers?.[row.title] ?? 'not measured';
  return settleRow(row, ours, theirs);
}

function settleRow({ work, metric, better, budget }, ours, theirs) {
  const row = { work, metric, budget, ours, theirs };
  if (ours.missing !== undefined || theirs.missing !== undefined) return row;
  const times = (a, b) => (better === 'more' ? a / b : b / a);
  const each = ours.rounds.map((value, at) => times(value, theirs.rounds[at]));
  row.ratio = times(ours.value, theirs.value);
  row.met = row.ratio >= budget;
  if (each.length > 0) row.range = [Math.min(...each), Math.max(...each)];
  return row;
}

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
