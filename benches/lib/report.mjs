// The results as a table on the terminal, as JSON, and as Markdown in docs/benchmarks.md.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { root } from '../../scripts/lib/platform.mjs';

const EARLIER = 8;
const docs = path.join(root, 'docs', 'benchmarks');
const page = path.join(root, 'docs', 'benchmarks.md');
const latest = path.join(docs, 'latest.json');

const rounded = (number) => {
  if (number >= 100) return number.toFixed(0);
  return number >= 10 ? number.toFixed(1) : number.toFixed(2);
};

const shown = {
  perSecond: (value) => (value >= 1000 ? `${rounded(value / 1000)} k/s` : `${rounded(value)} /s`),
  cpuUs: (value) => `${rounded(value)} µs`,
  p50Us: (value) => (value >= 1000 ? `${rounded(value / 1000)} ms` : `${rounded(value)} µs`),
  p99Us: (value) => (value >= 1000 ? `${rounded(value / 1000)} ms` : `${rounded(value)} µs`),
  megabytes: (value) => `${rounded(value)} MB`,
  bytes: (value) => `${rounded(value)} B`,
  ms: (value) => (value >= 1000 ? `${rounded(value / 1000)} s` : `${rounded(value)} ms`),
  gigabytesPerSecond: (value) => `${rounded(value)} GB/s`,
  kib: (value) => `${rounded(value)} KiB`,
  percent: (value) => `${rounded(value)} %`,
  growth: (value) => times(value),
  fsyncs: (value) => rounded(value),
};

export const keyOf = (row) => `${row.work} · ${row.theirs.title}`;
export const times = (ratio) => `${rounded(ratio)}×`;
const value = ({ metric }, side) => (side.missing === undefined ? shown[metric](side.value) : '–');

function verdict(row) {
  if (row.ours.missing !== undefined) return `failed: ${row.ours.missing}`;
  if (row.theirs.missing !== undefined) return `peer not available: ${row.theirs.missing}`;
  return row.met ? 'met' : 'not met';
}

const columns = ['work', 'against', 'NoriKV', 'peer', 'ratio', 'rounds', 'budget', ''];

function cells(row) {
  return [
    row.work,
    row.theirs.title,
    value(row, row.ours),
    value(row, row.theirs),
    row.ratio === undefined ? '–' : times(row.ratio),
    row.range === undefined ? '' : `${rounded(row.range[0])}–${rounded(row.range[1])}`,
    times(row.budget),
    verdict(row),
  ];
}

export const terminalTable = (rows) => aligned([columns, ...rows.map(cells)], new Set([0, 1, 7]));

/** A table of a group for the terminal. */
export const plainTable = ({ title, head, lines }) =>
  `${title}\n${aligned([head, ...lines], new Set([0]))}`;

function aligned(lines, left) {
  const widths = lines[0].map((_, at) => Math.max(...lines.map((line) => line[at].length)));
  const pad = (cell, at) => (left.has(at) ? cell.padEnd(widths[at]) : cell.padStart(widths[at]));
  return lines.map((line) => line.map(pad).join('  ').trimEnd()).join('\n');
}

function markdownTable(head, right, lines) {
  const line = (each) => `| ${each.join(' | ')} |`;
  const rule = `|${head.map((_, at) => (right.has(at) ? '--:' : '---')).join('|')}|`;
  return [line(head), rule, ...lines.map(line)].join('\n');
}

function summaryLine(report) {
  const met = report.rows.filter((row) => row.met).length;
  return (
    `${report.date}, commit \`${report.commit}\`, ${report.cpus} CPUs (${report.cpu}), Node ${report.node}: ` +
    `${met} of ${report.rows.length} budgets met. Load before it began: ${report.load.toFixed(1)}.`
  );
}

const budgetsMarkdown = (rows) => markdownTable(columns, new Set([2, 3, 4, 5, 6]), rows.map(cells));

/** Writes a section of docs/benchmarks.md that a group has for itself: its rows and its tables. */
export function publishSection(name, report, tables) {
  const shown = tables.flatMap(({ title, head, lines }) => {
    const right = new Set(head.map((_, at) => at).slice(1));
    return ['', `### ${title}`, '', markdownTable(head, right, lines)];
  });
  const content = [summaryLine(report), '', budgetsMarkdown(report.rows), ...shown].join('\n');
  writeFileSync(page, fill(readFileSync(page, 'utf8'), name, content));
}

function latestMarkdown(report) {
  return [
    summaryLine(report),
    '',
    '![Each ratio as a part of its budget](benchmarks/latest.svg)',
    '',
    budgetsMarkdown(report.rows),
  ].join('\n');
}

/** One column per earlier run, with its ratios. */
function historyMarkdown(report) {
  const runs = [summary(report), ...report.earlier];
  const head = [
    'work',
    'budget',
    ...runs.map((run) => `${run.date.slice(0, 10)} \`${run.commit}\``),
  ];
  const lines = report.rows.map((row) => [
    keyOf(row),
    times(row.budget),
    ...runs.map((run) => {
      const ratio = run.ratios[keyOf(row)];
      return ratio === undefined ? '–' : times(ratio);
    }),
  ]);
  return markdownTable(head, new Set(head.map((_, at) => at).slice(1)), lines);
}

function summary({ date, commit, rows }) {
  const measured = rows.filter((row) => row.ratio !== undefined);
  return {
    date,
    commit,
    ratios: Object.fromEntries(measured.map((row) => [keyOf(row), row.ratio])),
  };
}

/** Puts text between two marks of the page, which people write the rest of. */
function fill(text, name, content) {
  const [begin, end] = [`<!-- ${name}: written by npm run bench -->`, `<!-- end of ${name} -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from === -1 || to < from) throw new Error(`docs/benchmarks.md has lost its marks of ${name}`);
  return `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`;
}

/** Writes docs/benchmarks.md and what it shows. `draw` makes the picture of a report. */
export async function publish(report, draw) {
  mkdirSync(docs, { recursive: true });
  const before = existsSync(latest) ? JSON.parse(readFileSync(latest, 'utf8')) : undefined;
  const earlier = before === undefined ? [] : [summary(before), ...before.earlier];
  const whole = { ...report, earlier: earlier.slice(0, EARLIER) };
  writeFileSync(latest, `${JSON.stringify(whole, null, 1)}\n`);
  writeFileSync(path.join(docs, 'latest.svg'), await draw(whole));
  const text = readFileSync(page, 'utf8');
  const filled = fill(text, 'the latest run', latestMarkdown(whole));
  writeFileSync(page, fill(filled, 'earlier runs', historyMarkdown(whole)));
}
