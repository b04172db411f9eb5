// Empty projects with the packed tarballs installed, as a user has them.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll } from '@jest/globals';

export const root = path.resolve(__dirname, '../..');
export const work = mkdtempSync(path.join(os.tmpdir(), 'norikv-package-'));
export const packed = path.join(work, 'packed');
export const slow = 120_000;

// npm hands its settings on in the environment; a user's npm would not have ours.
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_OPTIONS$)/i.test(name)),
);

export function run(cwd: string, command: string, ...args: string[]): string {
  const windows = process.platform === 'win32';
  // What does not end fails here: nothing else can end it.
  const timeout = slow / 2;
  return execFileSync(command, args, {
    cwd,
    env: environment,
    encoding: 'utf8',
    shell: windows,
    timeout,
  });
}

export interface Project {
  readonly name: string;
  readonly type: 'commonjs' | 'module';
  readonly files: Readonly<Record<string, string>>;
}

/** An empty project with the two tarballs installed, from an empty cache and without a network. */
export function makeProject({ name, type, files }: Project): string {
  const folder = path.join(work, name);
  mkdirSync(folder);
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ name, type, private: true }));
  for (const [file, text] of Object.entries(files)) writeFileSync(path.join(folder, file), text);
  const tarballs = readdirSync(packed).map((file) => path.join(packed, file));
  const cache = path.join(folder, '.cache');
  run(
    folder,
    'npm',
    'install',
    '--offline',
    '--no-audit',
    '--no-fund',
    '--cache',
    cache,
    ...tarballs,
  );
  return folder;
}

beforeAll(() => {
  run(root, process.execPath, path.join(root, 'scripts', 'pack.mjs'), '--out', packed);
}, slow);

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});
