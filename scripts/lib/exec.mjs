// Runs a program with a time limit, keeps what it prints, and ends everything it started if it must.
import { spawn } from 'node:child_process';
import { root } from './platform.mjs';

const running = new Set();
const windows = process.platform === 'win32';

function endGroup(child) {
  if (windows) {
    spawn('taskkill', ['/pid', String(child.pid), '/t', '/f'], { stdio: 'ignore' });
    return;
  }
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    if (error.code !== 'ESRCH') throw error; // it has ended by itself
  }
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    for (const child of running) endGroup(child);
    process.exit(signal === 'SIGINT' ? 130 : 143);
  });
}

/**
 * Answers `{ code, output, timedOut }`; a program that is not there has code 127.
 * `onLine` sees each line as it comes. With `inherit`, output goes to the terminal instead.
 */
export function run(command, args, { cwd = root, env, limitMs, onLine, inherit = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: inherit ? 'inherit' : ['ignore', 'pipe', 'pipe'],
      detached: !windows && !inherit,
    });
    running.add(child);
    const chunks = [];
    let line = '';
    let timedOut = false;
    const timer =
      limitMs === undefined
        ? undefined
        : setTimeout(() => {
            timedOut = true;
            if (inherit) child.kill('SIGKILL');
            else endGroup(child);
          }, limitMs);

    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => {
        chunks.push(text);
        if (onLine === undefined) return;
        const lines = (line + text).split(/[\r\n]+/);
        line = lines.pop();
        for (const each of lines) if (each.trim() !== '') onLine(each);
      });
    }
    const settle = (code, note = '') => {
      clearTimeout(timer);
      running.delete(child);
      resolve({ code: code ?? 1, output: chunks.join('') + note, timedOut });
    };
    child.once('error', (error) => settle(127, `${error.message}\n`));
    child.once('close', (code, signal) => settle(code, signal ? `ended by ${signal}\n` : ''));
  });
}

/** npm as a program and its first arguments: the npm that runs us, if one does. */
export function npmCommand() {
  const cli = process.env.npm_execpath;
  if (cli?.endsWith('.js')) return [process.execPath, cli];
  return windows ? ['cmd', '/c', 'npm'] : ['npm'];
}

export function runNpm(args, options) {
  const [command, ...first] = npmCommand();
  return run(command, [...first, ...args], options);
}

/** Runs with output to the terminal; throws if it fails. */
export async function must(command, args, options) {
  const { code } = await run(command, args, { inherit: true, ...options });
  if (code === 127) throw new Error(`${command} is not installed`);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed with exit code ${code}`);
}

/** What a program that needs root is started with, without a question to anybody; it fails where that cannot be. */
export function asRoot() {
  return process.getuid?.() === 0 ? ['env'] : ['sudo', '-n'];
}
