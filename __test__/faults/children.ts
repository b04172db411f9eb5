// Processes of their own: servers that are killed, and scripts that are looked at from outside.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { afterAll } from '@jest/globals';

export const root = path.resolve(__dirname, '../..');
export const command = path.join(root, 'bin', 'norikv.js');

// What a test left behind must not keep the others waiting.
const running = new Set<ChildProcess>();
const directories: string[] = [];
afterAll(async () => {
  await Promise.all(
    [...running].map(
      (child) =>
        new Promise((resolve) => {
          child.once('close', resolve);
          child.kill('SIGKILL');
        }),
    ),
  );
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** A directory of its own, gone after the suite. */
export function temporary(): string {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'norikv-faults-'));
  directories.push(directory);
  return directory;
}

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Starts a program, which the suite outlives. */
export function start(program: string, args: readonly string[]): ChildProcess {
  const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  child.once('close', () => running.delete(child));
  return child;
}

/** How a process ends. */
export function endOf(child: ChildProcess): Promise<Ended> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      resolve({ code, signal });
    });
  });
}

/** A `norikv serve` that is ready. */
export interface Served {
  readonly address: string;
  readonly ended: Promise<Ended>;
  /** Sends a signal; `ended` says when it is over. */
  kill(signal: NodeJS.Signals): void;
}

/** How a server is started: where it listens, what it is started through, and further flags. */
interface ServeOptions {
  readonly listen?: string;
  readonly prefix?: readonly string[];
  readonly flags?: readonly string[];
}

/** Starts `norikv serve` and waits for the line that says where. */
export async function serve(
  store: string,
  { listen = '127.0.0.1:0', prefix = [], flags = [] }: ServeOptions = {},
): Promise<Served> {
  const args = [process.execPath, command, 'serve', '--listen', listen, '--store', store, ...flags];
  const [program, ...rest] = [...prefix, ...args] as [string, ...string[]];
  const child = start(program, rest);
  const ended = endOf(child);
  let complaint = '';
  child.stderr?.on('data', (text: Buffer) => (complaint += text.toString()));
  const address = await new Promise<string>((resolve, reject) => {
    const lines = readline.createInterface({ input: child.stdout! });
    lines.on('line', (line) => {
      const [, found] = / on (\S+)$/.exec(line) ?? [];
      if (found !== undefined) resolve(found);
    });
    ended.then(({ code, signal }) => {
      reject(new Error(`norikv serve ended with ${code ?? signal ?? ''}: ${complaint}`));
    }, reject);
  });
  return { address, ended, kill: (signal) => void child.kill(signal) };
}

/** What a script did. */
export interface Ran extends Ended {
  readonly output: string;
  readonly complaint: string;
  /** How long it ran, in milliseconds. */
  readonly took: number;
}

/**
 * Runs a script in a process of its own, which is killed after `limitMs`. It may use `require('@norikv/client')` and
 * `await`, and finds `args` in `args`.
 */
export async function script(
  source: string,
  args: Readonly<Record<string, unknown>> = {},
  { limitMs = 20_000, flags = [] }: { limitMs?: number; flags?: readonly string[] } = {},
): Promise<Ran> {
  const whole = `
    const norikv = require('@norikv/client');
    const { NoriKVClient } = norikv;
    const args = ${JSON.stringify(args)};
    (async () => {${source}})();
  `;
  const began = performance.now();
  const child = start(process.execPath, [...flags, '-e', whole]);
  const ended = endOf(child);
  let [output, complaint] = ['', ''];
  child.stdout?.on('data', (text: Buffer) => (output += text.toString()));
  child.stderr?.on('data', (text: Buffer) => (complaint += text.toString()));
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  const end = await ended;
  clearTimeout(timer);
  return { ...end, output, complaint, took: performance.now() - began };
}
