// Runs the suites of __test__/api in Chromium: in a page, and in a worker. Each suite has a page of its own, which may
// neither crash nor hang nor lose a test.
//   node scripts/web-tests.mjs [page | worker] [name of a suite …]
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { bundle, serve } from '../__test__/web/server.mjs';
import { launchChromium } from './lib/chromium.mjs';
import { countsLine } from './lib/counts.mjs';
import { root } from './lib/platform.mjs';

/** How long a suite may take. */
const LIMIT_MS = 120_000;
/** A test that took longer is named with its time. */
const SLOW_MS = 2_000;
/** How many pages run at a time: most suites wait for their server more than they work. */
const PAGES = 2;

const api = path.join('__test__', 'api');
const args = process.argv.slice(2);
const places = ['page', 'worker'].filter((place) => !args.some(isPlace) || args.includes(place));
const chosen = args.filter((arg) => !isPlace(arg));
const suites = readdirSync(path.join(root, api))
  .filter((file) => file.endsWith('.test.ts') && !file.endsWith('.node.test.ts'))
  .map((file) => file.replace(/\.ts$/, ''))
  .filter((name) => chosen.length === 0 || chosen.includes(name.replace('.test', '')));

function isPlace(word) {
  return word === 'page' || word === 'worker';
}

/** Runs a suite. Answers its results, and one more failure for whatever went wrong outside of its tests. */
async function runSuite(browser, origin, suite, where) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const results = [];
  const stray = [];
  let planned = [];
  let running;
  const start = performance.now();
  let timer;
  const done = new Promise((resolve) => {
    const end = (detail) => {
      stray.push(running === undefined ? detail : `${detail}, in: ${running}`);
      resolve();
    };
    timer = setTimeout(() => end(`not done after ${LIMIT_MS} ms`), LIMIT_MS);
    page.on('crash', () => end('the page crashed'));
    page.on('pageerror', (error) => stray.push(`uncaught: ${error.stack ?? error.message}`));
    const heard = {
      plan: ({ names }) => (planned = names),
      begin: ({ name }) => (running = name),
      end: ({ result }) => {
        running = undefined;
        results.push(result);
      },
      stray: ({ detail }) => stray.push(detail),
      done: resolve,
    };
    page
      .exposeBinding('report', (_, message) => void heard[message.type](message))
      .then(() => page.goto(`${origin}/page.html?suite=${suite}&where=${where}`))
      .catch((error) => end(error.message));
  });
  await done;
  clearTimeout(timer);
  await context.close();
  const told = new Set(results.map(({ name }) => name));
  const lost = planned.filter((name) => !told.has(name));
  if (lost.length > 0) stray.push(`${lost.length} tests were not run: ${lost.join('; ')}`);
  if (planned.length === 0) stray.push('it has no tests');
  return { suite, where, results, stray, seconds: (performance.now() - start) / 1000 };
}

function count({ results, stray }) {
  const of = (status) => results.filter((result) => result.status === status).length;
  return { passed: of('passed'), failed: of('failed') + stray.length, skipped: of('skipped') };
}

function print(outcome) {
  const { suite, where, results, stray, seconds } = outcome;
  console.log(`${suite} in a ${where}: ${countsLine(count(outcome))} (${seconds.toFixed(1)} s)`);
  for (const { name, status, detail, ms } of results) {
    if (ms > SLOW_MS) console.log(`  ${(ms / 1000).toFixed(1)} s: ${name}`);
    if (status === 'failed')
      console.log(`  FAILED ${name}\n    ${detail.replaceAll('\n', '\n    ')}`);
  }
  for (const detail of stray) console.log(`  FAILED ${detail.replaceAll('\n', '\n    ')}`);
}

const web = ['page', 'worker'].map((name) => `__test__/web/${name}.ts`);
const pages = await bundle([...suites.map((name) => path.join(api, `${name}.ts`)), ...web]);
pages.set(
  '/page.html',
  '<!doctype html><script type="module" src="/__test__/web/page.js"></script>',
);
const site = await serve(pages);
const browser = await launchChromium();

const waiting = places.flatMap((where) => suites.map((suite) => ({ suite, where })));
const outcomes = [];
async function work() {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const outcome = await runSuite(browser, site.origin, next.suite, next.where);
    outcomes.push(outcome);
    print(outcome);
  }
}
await Promise.all(Array.from({ length: PAGES }, work));
await browser.close();
await site.close();

const total = { passed: 0, failed: 0, skipped: 0 };
const reasons = new Map();
for (const outcome of outcomes) {
  const counts = count(outcome);
  for (const key of Object.keys(total)) total[key] += counts[key];
  for (const { status, detail } of outcome.results) {
    if (status === 'skipped') reasons.set(detail, (reasons.get(detail) ?? 0) + 1);
  }
}
for (const [reason, tests] of reasons) console.log(`${tests} skipped: ${reason}`);
console.log(countsLine(total));
process.exitCode = total.failed > 0 ? 1 : 0;
