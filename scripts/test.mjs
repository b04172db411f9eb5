// Everything that must hold, from a fresh clone: `npm test`, or `npm test -- jest types` for some
// steps only (their names are in lib/steps.mjs). Each step's output is kept in target/test-logs/.
// With NORIKV_ALL=1 a step that is skipped has failed.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { countsLine } from './lib/counts.mjs';
import { run } from './lib/exec.mjs';
import { root } from './lib/platform.mjs';
import { elapsed, startProgress } from './lib/progress.mjs';
import { logs, steps } from './lib/steps.mjs';

const started = Date.now();
const all = process.env.NORIKV_ALL === '1';
const wholeLimitMs = 58 * 60_000;
const env = { CARGO_TERM_COLOR: 'never', NO_COLOR: '1', FORCE_COLOR: undefined };

/** Runs a plan's programs until one fails; answers the last one's result and all of the output. */
async function runPlan(plan, limitMs, progress, more) {
  const deadline = Date.now() + limitMs;
  let all = '';
  let result = { code: 0, output: '', timedOut: false };
  for (const [command, ...args] of plan) {
    const left = deadline - Date.now();
    result = await run(command, args, {
      env: { ...env, ...more },
      limitMs: left,
      onLine: progress.line,
    });
    all += `$ ${command} ${args.join(' ')}\n${result.output}`;
    if (result.timedOut || result.code !== 0) break;
  }
  return { ...result, all };
}

async function runStep(step, label, broken) {
  const progress = startProgress(label);
  const skip = (note) => {
    progress.end(`skipped: ${note}`);
    const counts = all ? { failed: 1, skipped: 0 } : { failed: 0, skipped: 1 };
    return { passed: 0, ...counts, note: `skipped: ${note}` };
  };
  const missing = step.needs.find((name) => broken.has(name));
  if (missing !== undefined) return skip(`needs the step ${missing}, which failed`);
  const plan = await step.plan();
  if (typeof plan === 'string') return skip(plan);

  const limitMs = Math.min(step.limit * 60_000, wholeLimitMs - (Date.now() - started));
  const result = await runPlan(plan, Math.max(limitMs, 1), progress, step.env);
  writeFileSync(path.join(logs, `${step.name}.log`), result.all);
  const counts = step.count(result);
  if (result.timedOut) {
    counts.failed = Math.max(counts.failed, 1);
    counts.note = `ended after ${Math.round(Math.max(limitMs, 0) / 1000)} s, its limit`;
  }
  progress.end(countsLine(counts) + (counts.note === undefined ? '' : ` · ${counts.note}`));
  if (counts.failed > 0) console.log(`\n${result.all.split('\n').slice(-400).join('\n')}\n`);
  return counts;
}

function printSummary(rows) {
  const width = Math.max(...rows.map(({ title }) => title.length));
  const column = (value) => String(value).padStart(8);
  console.log(`\n${'suite'.padEnd(width)}${['passed', 'failed', 'skipped'].map(column).join('')}`);
  for (const { title, passed, failed, skipped, note } of rows) {
    const counts = [passed, failed, skipped].map(column).join('');
    console.log(`${title.padEnd(width)}${counts}${note === undefined ? '' : `  ${note}`}`);
  }
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !steps.some((step) => step.name === name));
if (unknown.length > 0) {
  console.error(
    `no step ${unknown.join(', ')}; there are ${steps.map(({ name }) => name).join(', ')}`,
  );
  process.exit(2);
}
mkdirSync(logs, { recursive: true });
const chosen = wanted.length === 0 ? steps : steps.filter(({ name }) => wanted.includes(name));
const rows = [];
const broken = new Set();
for (const [index, step] of chosen.entries()) {
  const counts = await runStep(step, `[${index + 1}/${chosen.length}] ${step.title}`, broken);
  rows.push({ title: step.title, skipped: 0, ...counts });
  if (counts.failed > 0 || step.needs.some((name) => broken.has(name))) broken.add(step.name);
}

printSummary(rows);
const sum = (name) => rows.reduce((total, row) => total + row[name], 0);
const total = { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
console.log(`\n${elapsed(started)}; logs in ${path.relative(root, logs)}\n`);
console.log(countsLine(total));
process.exitCode = total.failed > 0 ? 1 : 0;
