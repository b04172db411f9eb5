// Processes that the harness starts: each has a time limit, and none outlives it.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const running = new Set();

process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/**
 * Starts a program that prints lines. `next(limitMs)` answers its next line and fails when it ends first, or takes
 * too long; `stop()` closes its stdin or sends it `signal`, and waits for its end; `ended` resolves with how it did.
 */
export function startChild(command, args, { signal, ...options } = {}) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
  running.add(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaints = (complaints + text).slice(-2000);
  });
  child.stdin.on('error', () => {}); // it has ended; `next` says so
  const ended = new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, by) => resolve(by ?? `exit code ${code}`));
  }).finally(() => running.delete(child));

  const failed = async (what) => {
    const reason = complaints.split('\n').find((line) => /error|cannot|fail/i.test(line));
    throw new Error(reason?.trim() ?? (complaints.trim().split('\n').at(-1) || what));
  };
  return {
    ended,
    pid: child.pid,
    send: (line) => child.stdin.write(`${line}\n`),
    async next(limitMs) {
      let timer;
      const late = new Promise((resolve) => {
        timer = setTimeout(resolve, limitMs, 'late');
      });
      const got = await Promise.race([lines.next(), ended.then(() => 'ended'), late]);
      clearTimeout(timer);
      if (got === 'late') {
        child.kill('SIGKILL');
        return failed(`gave no answer within ${limitMs / 1000} s`);
      }
      if (got === 'ended' || got.done) return failed(await ended);
      return got.value;
    },
    async stop() {
      if (signal !== undefined) child.kill(signal);
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** A worker that measures: `measure(what)` answers what `lib/loop.mjs` does. */
export async function startWorker(command, args, options) {
  const child = startChild(command, args, options);
  await child.next(180_000);
  return {
    async measure(what) {
      child.send(JSON.stringify(what));
      return JSON.parse(await child.next(what.ms + 60_000));
    },
    stop: () => child.stop(),
  };
}

/** Runs a script that prints one line, and answers it. */
export async function factOf(script, args, limitMs) {
  const child = startChild(process.execPath, [script, ...args.map(String)]);
  try {
    return await child.next(limitMs);
  } finally {
    await child.stop();
  }
}
