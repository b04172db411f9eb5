// What `npm test` runs, in order. A step has a name, a title, a limit in minutes, the names of the
// steps it `needs`, and a `plan`: programs to run one after the other, or why it is skipped; perhaps
// an `env` for them.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { aptInstall } from './apt.mjs';
import { chromiumPath } from './chromium.mjs';
import { countCargoTest, countCheck, countJest, countNextest, countOwn } from './counts.mjs';
import { depsAreFresh } from './deps.mjs';
import { npmCommand, run } from './exec.mjs';
import { root } from './platform.mjs';
import { protoc } from './protoc.mjs';
import { CANNOT, canBuildForWeb } from './wasm.mjs';

export const logs = path.join(root, 'target', 'test-logs');

const tool = (file, ...args) => [process.execPath, path.join(root, 'node_modules', file), ...args];
const script = (name, ...args) => [process.execPath, path.join(root, 'scripts', name), ...args];

const dependencies = () => (depsAreFresh() ? [] : [[...npmCommand(), 'ci']]);

/** A C++ compiler, for the library of graphs. */
async function cxx() {
  const compiler = process.env.CXX ?? 'c++';
  return (await run(compiler, ['--version'])).code === 0 ? [] : aptInstall('g++');
}

/** A C++ compiler and protoc, which some of our dependencies are built with. */
const compilers = async () => [...(await cxx()), ...(await protoc())];

/** etcd, which our stores are held against, and its command. */
async function etcd() {
  const server = await run('etcd', ['--version']);
  const command = await run('etcdctl', ['version'], { env: { ETCDCTL_API: '3' } });
  return server.code === 0 && command.code === 0 ? [] : aptInstall('etcd-server etcd-client');
}

const NO_CHROMIUM = 'there is no Chromium here (CHROMIUM_PATH)';

/** The browser of the tests. */
async function chromium() {
  if (chromiumPath() !== undefined) return [];
  const plan = await aptInstall('chromium');
  return plan.length === 0 ? NO_CHROMIUM : plan;
}

/** That it was installed is not enough: it must be found. */
function countChromium(result) {
  if (chromiumPath() !== undefined) return countCheck(result);
  return { passed: 0, failed: 1, note: 'apt-get did not install it' };
}

async function nextest() {
  const tests = ['cargo', 'nextest', 'run', '--workspace', '--no-fail-fast'];
  const { code } = await run('cargo', ['nextest', '--version']);
  const runner = code === 0 ? [] : [['cargo', 'install', 'cargo-nextest', '--locked', '--debug']];
  return [...(await compilers()), ...(await etcd()), ...runner, tests];
}

/** A plan for the browsers' build, or why this machine cannot have it. */
async function forWeb(plan) {
  if (await canBuildForWeb()) return plan;
  return CANNOT;
}

/** A plan for what takes the build for browsers as it is there, whoever built it. */
function builtForWeb(plan) {
  if (existsSync(path.join(root, 'dist', 'web', 'inline.js'))) return plan;
  return 'the build for browsers is not there (npm run build:web)';
}

/** A plan for tests in pages, or why this machine cannot have them. */
function inPages(plan) {
  return chromiumPath() === undefined ? NO_CHROMIUM : forWeb(plan);
}

function jest(name, ...args) {
  const file = path.join(logs, `${name}.json`);
  return {
    plan: () => [tool('jest/bin/jest.js', '--ci', '--json', '--outputFile', file, ...args)],
    count: countJest(file),
  };
}

// What recipes leave behind hangs little on the store, and takes long.
const longOnEtcd = process.env.NORIKV_LONG === '1' ? ['/__test__/recipes/leftovers/'] : [];
const onEtcd = jest(
  'etcd',
  '--testPathPatterns',
  '/__test__/(api|recipes/processes|etcd)/',
  '/__test__/recipes/[a-zA-Z]+\\.(node\\.)?test',
  ...longOnEtcd,
  '--testPathIgnorePatterns',
  '/node_modules/',
  '/__test__/api/.*\\.node\\.test',
  '/__test__/recipes/processes/trace',
);
const pages = jest('examples-web', '--testPathPatterns', '/__test__/examples/');
const packedWeb = jest(
  'package-web',
  '--testPathPatterns',
  '/__test__/package/(web|bundles)\\.test',
);
const web = jest('web', '--testPathPatterns', '/__test__/web/');

export const steps = [
  { name: 'deps', title: 'npm dependencies', limit: 5, plan: dependencies },
  {
    name: 'fmt',
    title: 'rustfmt',
    limit: 2,
    plan: () => [['cargo', 'fmt', '--all', '--check']],
  },
  {
    name: 'clippy',
    title: 'clippy',
    limit: 15,
    plan: async () => [
      ...(await compilers()),
      ['cargo', 'clippy', '--workspace', '--all-targets', '--locked', '--', '-D', 'warnings'],
    ],
  },
  { name: 'nextest', title: 'Rust tests', limit: 30, plan: nextest, count: countNextest },
  {
    name: 'doctest',
    title: 'Rust doc tests',
    limit: 10,
    plan: async () => [...(await compilers()), ['cargo', 'test', '--doc', '--workspace']],
    count: countCargoTest,
  },
  {
    name: 'wasm',
    title: 'clippy for browsers',
    limit: 15,
    plan: () => forWeb([script('lint-web.mjs')]),
  },
  {
    name: 'build',
    title: 'build',
    limit: 20,
    needs: ['deps'],
    plan: () => [script('build-addon.mjs'), script('build-ts.mjs')],
  },
  {
    name: 'build-web',
    title: 'build for browsers',
    limit: 20,
    needs: ['deps'],
    plan: () => forWeb([script('build-web.mjs')]),
  },
  { name: 'chromium', title: 'Chromium', limit: 5, plan: chromium, count: countChromium },
  {
    name: 'types',
    title: 'type tests',
    limit: 3,
    needs: ['build'],
    plan: () => [script('typetests.mjs')],
    count: countOwn,
  },
  {
    name: 'eslint',
    title: 'ESLint',
    limit: 3,
    needs: ['build'],
    plan: () => [tool('eslint/bin/eslint.js', '--max-warnings', '0', '.')],
  },
  {
    name: 'prettier',
    title: 'Prettier',
    limit: 2,
    needs: ['deps'],
    plan: () => [tool('prettier/bin/prettier.cjs', '--check', '.')],
  },
  {
    name: 'jest',
    title: 'jest',
    limit: 15,
    needs: ['build'],
    ...jest(
      'jest',
      '--testPathIgnorePatterns',
      '/node_modules/',
      '/__test__/(package|web|examples|etcd)/',
    ),
  },
  {
    name: 'etcd',
    title: 'API and recipes on etcd',
    limit: 10,
    needs: ['build'],
    env: { NORIKV_STORES: 'etcd' },
    plan: async () => [...(await etcd()), ...onEtcd.plan()],
    count: onEtcd.count,
  },
  {
    name: 'web-api',
    title: 'API suites in a page, a worker, and Node without the addon; recipes in a page',
    limit: 15,
    needs: ['build', 'build-web', 'chromium'],
    plan: () => inPages([script('web-tests.mjs')]),
    count: countOwn,
  },
  {
    name: 'web',
    title: 'faults in a page',
    limit: 8,
    needs: ['build', 'build-web', 'chromium'],
    plan: () => inPages(web.plan()),
    count: web.count,
  },
  {
    name: 'examples',
    title: 'examples',
    limit: 5,
    needs: ['build'],
    plan: () => [script('examples.mjs', '--all')],
    count: countOwn,
  },
  {
    name: 'examples-web',
    title: 'examples in Chromium',
    limit: 5,
    needs: ['build', 'build-web', 'chromium'],
    plan: () => inPages(pages.plan()),
    count: pages.count,
  },
  {
    name: 'snippets',
    title: 'code in the documentation',
    limit: 5,
    needs: ['build', 'build-web'],
    plan: () => [script('snippets.mjs')],
    count: countOwn,
  },
  {
    name: 'package',
    title: 'packed tarball',
    limit: 10,
    needs: ['build'],
    ...jest('package', '--testPathPatterns', '/__test__/package/(consumers|recipes)\\.test'),
  },
  {
    name: 'package-web',
    title: 'packed tarball in bundles, a page, Node and Deno',
    limit: 10,
    needs: ['build', 'build-web', 'chromium'],
    plan: () => builtForWeb(packedWeb.plan()),
    count: packedWeb.count,
  },
].map((step) => ({ needs: [], count: countCheck, ...step }));
