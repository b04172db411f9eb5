// Runs the suites of __test__/api with the build for browsers: in a page of Chromium, in a worker there, and in Node; and
// those of __test__/recipes, which are users of the same API, in a page. Each suite has a page, or a process, of its own,
// which may neither crash nor hang nor lose a test.
//   node scripts/web-tests.mjs [page | worker | node] [name of a suite …]
import { fork } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { bundle, serve } from '../__test__/web/server.cjs';
import { launchChromium } from './lib/chromium.mjs';
import { countsLine } from './lib/counts.mjs';
import { root } from './lib/platform.mjs';

/** How long a suite may take. */
const LIMIT_MS = 240_000;
/** How long a process may take to end once its tests are done. */
const EXIT_MS = 10_000;
/** A test that took longer is named with its time. */
const SLOW_MS = 2_000;
/** How many pages run at a time: most suites wait for their server more than they work. */
const PAGES = 2;

const args = process.argv.slice(2);
const everywhere = ['page', 'worker', 'node'];
const isPlace = (word) => everywhere.includes(word);
const chosen = args.filter((arg) => !isPlace(arg));
const isForNode = (file) => file.endsWith('.node.test.ts');
const where = (places) => places.filter((place) => !args.some(isPlace) || args.includes(place));

/** The test files of a folder, and where they run. */
const folders = [
  { name: 'recipes', places: where(['page']) },
  { name: 'api', places: where(everywhere) },
].map((folder) => {
  const files = readdirSync(path.join(root, '__test__', folder.name));
  return { ...folder, files: files.filter((file) => file.endsWith('.test.ts')) };
});
const suites = folders.flatMap(({ name: folder, places, files }) =>
  files
    .filter((file) => !isForNode(file))
    .map((file) => file.replace(/\.test\.ts$/, ''))
    .filter((name) => chosen.length === 0 || chosen.includes(name))
    // From the end of the alphabet, where the longest are: none of them is then left alone at last.
    .reverse()
    .map((name) => ({ suite: `${folder}/${name}.test`, places })),
);

/** Suites that only Node has, of which each says in its first line why. */
const leftOut =
  chosen.length > 0
    ? []
    : folders.flatMap(({ name, files }) =>
        files.filter(isForNode).map((file) => `${name}/${file}`),
      );

/** Opens the page that runs a suite, or has a worker run it. Answers how to close it. */
async function inBrowser({ suite, where }, { report, failed, end }) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on('crash', () => end('the page crashed'));
  page.on('pageerror', (error) => failed(`uncaught: ${error.stack ?? error.message}`));
  await page.exposeBinding('report', (_, message) => report(message));
  await page.goto(`${site.origin}/page.html?suite=${suite}&where=${where}`);
  return () => context.close();
}

/** Starts the process that runs a suite with the build for browsers. Answers how to end it. */
function inNode({ suite }, { report, failed, end }) {
  const file = path.join(folder, '__test__', 'web', 'node.js');
  const child = fork(file, [suite], { env: { ...process.env, NORIKV_CONTROL: site.origin } });
  child.on('message', report);
  child.once('error', (error) => failed(error.message));
  const closed = new Promise((resolve) => {
    child.once('close', (code) => {
      if (code !== 0 && !child.killed) end(`the process ended with ${code}`);
      resolve();
    });
  });
  // A process that is done ends by itself: nothing of a client that is closed keeps it.
  return async (done) => {
    if (!done) child.kill('SIGKILL');
    const timer = setTimeout(() => {
      failed(`the process had not ended ${EXIT_MS} ms after its tests`);
      child.kill('SIGKILL');
    }, EXIT_MS);
    await closed;
    clearTimeout(timer);
  };
}

/** Runs a suite. Answers its results, and what went wrong outside of its tests. */
async function runSuite(job) {
  const results = [];
  const stray = [];
  let planned = [];
  let running;
  const start = performance.now();
  let timer;
  let close = () => undefined;
  const done = await new Promise((resolve) => {
    const failed = (detail) =>
      stray.push(running === undefined ? detail : `${detail}, in: ${running}`);
    const end = (detail) => {
      failed(detail);
      resolve(false);
    };
    timer = setTimeout(() => end(`not done after ${LIMIT_MS} ms`), LIMIT_MS);
    const heard = {
      plan: ({ names }) => (planned = names),
      begin: ({ name }) => (running = name),
      end: ({ result }) => {
        running = undefined;
        results.push(result);
      },
      stray: ({ detail }) => failed(detail),
      done: () => resolve(true),
    };
    const report = (message) => void heard[message.type](message);
    const open = job.where === 'node' ? inNode : inBrowser;
    Promise.resolve(open(job, { report, failed, end })).then(
      (opened) => (close = opened),
      (error) => end(error.message),
    );
  });
  await close(done);
  clearTimeout(timer);
  const told = new Set(results.map(({ name }) => name));
  const lost = planned.filter((name) => !told.has(name));
  if (lost.length > 0) stray.push(`${lost.length} tests were not run: ${lost.join('; ')}`);
  if (planned.length === 0) stray.push('it has no tests');
  return { ...job, results, stray, seconds: (performance.now() - start) / 1000 };
}

function count({ results, stray }) {
  const of = (status) => results.filter((result) => result.status === status).length;
  return { passed: of('passed'), failed: of('failed') + stray.length, skipped: of('skipped') };
}

function print(outcome) {
  const { suite, where, results, stray, seconds } = outcome;
  console.log(`${suite} (${where}): ${countsLine(count(outcome))} (${seconds.toFixed(1)} s)`);
  for (const { name, status, detail, ms } of results) {
    if (ms > SLOW_MS) console.log(`  ${(ms / 1000).toFixed(1)} s: ${name}`);
    if (status === 'failed')
      console.log(`  FAILED ${name}\n    ${detail.replaceAll('\n', '\n    ')}`);
  }
  for (const detail of stray) console.log(`  FAILED ${detail.replaceAll('\n', '\n    ')}`);
}

const sources = suites.map(({ suite }) => path.join('__test__', `${suite}.ts`));
const parts = (...names) => names.map((name) => path.join('__test__', 'web', `${name}.ts`));
const pages = await bundle([...sources, ...parts('page', 'worker')]);
pages.set(
  '/page.html',
  '<!doctype html><script type="module" src="/__test__/web/page.js"></script>',
);
const site = await serve(pages);

/** Where what Node runs is. */
const folder = path.join(root, 'target', 'web-tests');
rmSync(folder, { recursive: true, force: true });
const client = import.meta.resolve('@norikv/client/web');
const inProcesses = suites.filter(({ places }) => places.includes('node'));
const inFiles = inProcesses.map(({ suite }) => path.join('__test__', `${suite}.ts`));
for (const [name, content] of await bundle([...inFiles, ...parts('node')], client)) {
  mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
  writeFileSync(path.join(folder, name), content);
}
writeFileSync(path.join(folder, 'package.json'), '{ "type": "module" }\n');
const browser = await launchChromium();

const waiting = everywhere.flatMap((where) =>
  suites.flatMap(({ suite, places }) => (places.includes(where) ? [{ suite, where }] : [])),
);
const outcomes = [];
async function work() {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const outcome = await runSuite(next);
    outcomes.push(outcome);
    print(outcome);
  }
}
await Promise.all(Array.from({ length: PAGES }, work));
await browser.close();
await site.close();

for (const file of leftOut) {
  const [first] = readFileSync(path.join(root, '__test__', file), 'utf8').split('\n');
  console.log(`skipped: all of ${file}: ${first.replace('// ', '')}`);
}
const total = { passed: 0, failed: 0, skipped: leftOut.length };
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
