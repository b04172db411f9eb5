// What `npm test` runs, in order. A step has a name, a title, a limit in minutes, the names of the
// steps it `needs`, and a `plan`: programs to run one after the other, or why it is skipped.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { countCargoTest, countCheck, countJest, countNextest, countOwn } from './counts.mjs';
import { depsAreFresh } from './deps.mjs';
import { npmCommand, run } from './exec.mjs';
import { root } from './platform.mjs';

export const logs = path.join(root, 'target', 'test-logs');

const wasmTarget = 'wasm32-unknown-unknown';
const tool = (file, ...args) => [process.execPath, path.join(root, 'node_modules', file), ...args];
const script = (name, ...args) => [process.execPath, path.join(root, 'scripts', name), ...args];

const dependencies = () => (depsAreFresh() ? [] : [[...npmCommand(), 'ci']]);

/** etcd, which our stores are held against. Where it cannot be installed, the test that needs it says so. */
async function etcd() {
  if ((await run('etcd', ['--version'])).code === 0) return [];
  if ((await run('apt-get', ['--version'])).code !== 0) return [];
  const sudo = process.getuid?.() === 0 ? '' : 'sudo -n ';
  const install = `${sudo}apt-get update; ${sudo}env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends etcd-server || true`;
  return [['sh', '-c', install]];
}

async function nextest() {
  const tests = ['cargo', 'nextest', 'run', '--workspace', '--no-fail-fast'];
  const { code } = await run('cargo', ['nextest', '--version']);
  const runner = code === 0 ? [] : [['cargo', 'install', 'cargo-nextest', '--locked']];
  return [...(await etcd()), ...runner, tests];
}

async function wasm() {
  const { output } = await run('rustc', ['--print', 'target-libdir', '--target', wasmTarget]);
  if (!existsSync(output.trim())) {
    return `the target ${wasmTarget} is not installed (rustup target add ${wasmTarget})`;
  }
  const crates = ['norikv-core', 'norikv-bridge', 'norikv-client'].flatMap((name) => ['-p', name]);
  // A browser has no sockets: the client goes without its own transport there.
  return [['cargo', 'check', ...crates, '--no-default-features', '--target', wasmTarget]];
}

function jest(name, ...args) {
  const file = path.join(logs, `${name}.json`);
  return {
    plan: () => [tool('jest/bin/jest.js', '--ci', '--json', '--outputFile', file, ...args)],
    count: countJest(file),
  };
}

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
    plan: () => [
      ['cargo', 'clippy', '--workspace', '--all-targets', '--locked', '--', '-D', 'warnings'],
    ],
  },
  { name: 'nextest', title: 'Rust tests', limit: 30, plan: nextest, count: countNextest },
  {
    name: 'doctest',
    title: 'Rust doc tests',
    limit: 10,
    plan: () => [['cargo', 'test', '--doc', '--workspace']],
    count: countCargoTest,
  },
  { name: 'wasm', title: `core, bridge and client for ${wasmTarget}`, limit: 10, plan: wasm },
  {
    name: 'build',
    title: 'build',
    limit: 20,
    needs: ['deps'],
    plan: () => [script('build-addon.mjs'), script('build-ts.mjs')],
  },
  {
    name: 'types',
    title: 'type tests',
    limit: 3,
    needs: ['deps'],
    plan: () => [script('typetests.mjs')],
    count: countOwn,
  },
  {
    name: 'eslint',
    title: 'ESLint',
    limit: 3,
    needs: ['deps'],
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
    ...jest('jest', '--testPathIgnorePatterns', '/node_modules/', '/__test__/package/'),
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
    name: 'snippets',
    title: 'code in the documentation',
    limit: 5,
    needs: ['build'],
    plan: () => [script('snippets.mjs')],
    count: countOwn,
  },
  {
    name: 'package',
    title: 'packed tarball',
    limit: 5,
    needs: ['build'],
    ...jest('package', '--testPathPatterns', '/__test__/package/'),
  },
].map((step) => ({ needs: [], count: countCheck, ...step }));
