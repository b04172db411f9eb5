// NoriKV side by side with its peers: `npm run bench`, `npm run bench -- embedded lmdb` for the rows that have these
// words, `--quick` for shorter rounds, `--large` for a million vectors, too. A whole run that is not quick writes
// docs/benchmarks.md, one with all rows of a group that has a section of its own there writes that; any other prints.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '../scripts/lib/platform.mjs';
import { elapsed, startProgress } from '../scripts/lib/progress.mjs';
import { runGroup } from './lib/group.mjs';
import {
  benches,
  buildPackage,
  buildRustClient,
  buildWeb,
  installPeers,
  installProgram,
} from './lib/peers.mjs';
import { groups } from './rows.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    large: { type: 'boolean', default: false },
  },
});
const started = Date.now();
const [load] = os.loadavg(); // before we add to it

/** The rows of a group that have every word somewhere. */
function chosen(group) {
  return group.rows.filter((row) => {
    const theirs = group.workers?.[row.theirs]?.title ?? row.title ?? '';
    const text = `${group.name} ${row.work} ${theirs}`.toLowerCase();
    return positionals.every((word) => text.includes(word.toLowerCase()));
  });
}

function commit() {
  try {
    const git = (...args) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
    const changed = git('status', '--porcelain', '--', 'crates', 'src', 'Cargo.lock') !== '';
    return `${git('rev-parse', '--short', 'HEAD')}${changed ? ' and changes' : ''}`;
  } catch {
    return 'unknown';
  }
}

const plan = groups
  .map((group) => ({ group, rows: chosen(group) }))
  .filter(({ rows }) => rows.length > 0);
if (plan.length === 0) {
  console.error(`no row has ${positionals.join(' and ')}; there are`);
  for (const group of groups) console.error(`  ${group.name}: ${group.title}`);
  process.exit(2);
}

await buildPackage();
await installPeers();
const needsRust = plan.some(({ rows }) => rows.some((row) => row.theirs === 'rust'));
const rustProgram = needsRust ? buildRustClient() : undefined;
await rustProgram?.catch(() => {}); // its rows say so

if (plan.some(({ group }) => group.pages)) await buildWeb();
for (const program of plan.flatMap(({ group }) => group.programs ?? [])) {
  await installProgram(program);
}

const settings = {
  rounds: values.quick ? 3 : 5,
  scale: values.quick ? 0.4 : 1,
  large: values.large,
  rustClient: () => rustProgram,
};
const rows = [];
const sections = [];
for (const [at, { group, rows: wanted }] of plan.entries()) {
  const progress = startProgress(`[${at + 1}/${plan.length}] ${group.title}`);
  const { measured, tables } = await runGroup(group, wanted, { ...settings, say: progress.line });
  progress.end(`${measured.filter((row) => row.met).length} of ${measured.length} met`);
  rows.push(...measured);
  const whole = wanted.length === group.rows.length;
  if (group.section !== undefined) sections.push({ name: group.section, whole, measured, tables });
}

const { plainTable, publish, publishSection, terminalTable } = await import('./lib/report.mjs');
const report = {
  date: `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`,
  commit: commit(),
  node: process.version,
  cpus: os.availableParallelism(),
  cpu: os.cpus()[0]?.model ?? 'unknown',
  load,
  platform: `${process.platform}-${process.arch}`,
  rows,
};
console.log(`\n${terminalTable(rows)}\n`);
for (const { tables } of sections)
  for (const table of tables) console.log(`${plainTable(table)}\n`);
const out = path.join(benches, 'out');
mkdirSync(out, { recursive: true });
writeFileSync(path.join(out, 'latest.json'), `${JSON.stringify(report, null, 1)}\n`);
for (const { name, measured, tables } of sections.filter(({ whole }) => whole && !values.quick)) {
  publishSection(name, { ...report, rows: measured }, tables);
  console.log(`written: ${name} in docs/benchmarks.md`);
}
if (positionals.length === 0 && !values.quick) {
  const { draw } = await import('./lib/chart.mjs');
  await publish(report, draw);
  console.log('written: docs/benchmarks.md and docs/benchmarks/');
}
console.log(
  `${rows.filter((row) => row.met).length} of ${rows.length} budgets met, ${elapsed(started)}`,
);
process.exitCode = rows.some((row) => row.ours.missing !== undefined) ? 1 : 0;
