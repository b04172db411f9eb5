// What is measured of recipes beside the rows, as tables: `{ title, head, lines }`.
import { times } from '../lib/report.mjs';

const perSecond = (side) =>
  side.missing === undefined ? Math.round(side.value).toLocaleString('en-US') : side.missing;

/** What has no budget. */
export function besideTable(rows) {
  return {
    title: 'Beside the budgets',
    head: ['work', 'against', 'NoriKV, per second', 'peer, per second', 'ratio'],
    lines: rows.map((row) => [
      row.work.replace('recipes: ', ''),
      row.theirs.title,
      perSecond(row.ours),
      perSecond(row.theirs),
      row.ratio === undefined ? '–' : times(row.ratio),
    ]),
  };
}

/** Calls that go to the store, each a round trip. */
export function tripsTable(counted) {
  return {
    title: 'Round trips per operation',
    head: ['operation', 'the first', 'once it goes on', 'which'],
    lines: counted.map(({ operation, first, then, calls }) => [
      operation,
      `${first}`,
      `${then}`,
      calls,
    ]),
  };
}

export function failoverTable(sorted, ttlMs) {
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
  const ms = (number) => `${number.toFixed(0)} ms`;
  return {
    title: `From the kill of a leader to the next one, ${sorted.length} kills, TTL ${ttlMs} ms`,
    head: ['', 'least', 'median', '90th percentile', 'most'],
    lines: [['time', ms(sorted[0]), ms(at(0.5)), ms(at(0.9)), ms(sorted.at(-1))]],
  };
}
