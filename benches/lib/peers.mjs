// What the benchmarks need beside NoriKV: npm packages of their own, a small Rust program, the built package.
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { aptInstall } from '../../scripts/lib/apt.mjs';
import { run, runNpm } from '../../scripts/lib/exec.mjs';
import { addonPath, hostPlatform, root } from '../../scripts/lib/platform.mjs';
import { startProgress } from '../../scripts/lib/progress.mjs';

export const benches = path.join(root, 'benches');
const rustFolder = path.join(benches, 'rust-client');

/** Installs the peers on first use, and when their lock file changed. A failure is a word in the rows, no more. */
export async function installPeers() {
  const lock = path.join(benches, 'package-lock.json');
  const installed = path.join(benches, 'node_modules', '.package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
  await step('installing the peers', (onLine) =>
    // Not `npm ci`: it refuses a lock file without the optional parts of other platforms that a registry does not have.
    runNpm(['install', '--no-save'], { cwd: benches, onLine }),
  );
}

/** Installs a program that is measured or measured against, if it is not there. A failure is a word in its rows. */
export async function installProgram({ program, debian }) {
  if ((await run(program, ['--version'])).code !== 127) return;
  for (const [command, ...args] of await aptInstall(debian)) {
    await step(`installing ${debian}`, (onLine) => run(command, args, { onLine }));
  }
}

/** Builds the plain tonic client. Answers how to start it. */
export async function buildRustClient() {
  const target = path.join(rustFolder, 'target');
  const built = await step('building the Rust client', (onLine) =>
    run('cargo', ['build', '--release', '--locked', '--target-dir', target], {
      cwd: rustFolder,
      onLine,
    }),
  );
  if (built.code !== 0) {
    throw new Error(
      built.code === 127 ? 'cargo is not installed' : 'the Rust client does not build',
    );
  }
  const program = process.platform === 'win32' ? 'rust-client.exe' : 'rust-client';
  return path.join(target, 'release', program);
}

/** Builds the package itself if it was not. */
export async function buildPackage() {
  const there = [addonPath(hostPlatform()), path.join(root, 'dist', 'index.mjs')].every(existsSync);
  if (there) return;
  const { code, output } = await step('npm run build', (onLine) =>
    runNpm(['run', 'build'], { onLine }),
  );
  if (code !== 0) throw new Error(`npm run build failed:\n${output}`);
}

/** Builds what runs in a browser if it was not. A failure is a word in its rows. */
export async function buildWeb() {
  if (existsSync(path.join(root, 'dist', 'web', 'norikv.js'))) return;
  await step('npm run build:web', (onLine) => runNpm(['run', 'build:web'], { onLine }));
}

async function step(label, work) {
  const progress = startProgress(label);
  const result = await work(progress.line);
  progress.end(result.code === 0 ? 'done' : `failed with exit code ${result.code}`);
  return result;
}
