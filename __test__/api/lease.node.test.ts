// Only on Node: leases of processes that stand still, are busy, or are killed; and what keeps a process alive.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import readline from 'node:readline';
import { afterEach, expect, test } from '@jest/globals';
import { NoriKVClient } from '@norikv/client';
import { startServer } from '@norikv/client/server';

const root = path.resolve(__dirname, '../..');
const children = new Set<ChildProcess>();
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
});

/** A script in a process of its own: its lines as they come, and its exit code. */
function script(source: string): {
  readonly child: ChildProcess;
  readonly line: () => Promise<string>;
  readonly ended: Promise<number | null>;
} {
  const whole = `
    const { NoriKVClient, LeaseLostError } = require('@norikv/client');
    (async () => {${source}})();
  `;
  const child = spawn(process.execPath, ['-e', whole], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.add(child);
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      children.delete(child);
      resolve(code);
    });
  });
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async (): Promise<string> => String((await lines.next()).value);
  return { child, line, ended };
}

/** Waits until the system says that a process is stopped. */
async function stopped(pid: number): Promise<void> {
  for (;;) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    if (/^State:\s+T/m.test(status)) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Lets a store's clock pass that time. */
async function passed(ms: number): Promise<void> {
  await using client = await NoriKVClient.open('memory:');
  const watch = client.watch({ prefix: '' }, { puts: false });
  await watch.ready;
  await client.put('clock', '', { ttlMs: ms });
  for await (const { events } of watch) if (events.length > 0) break;
}

/** Whether a process stands still is read from /proc, which only Linux has. */
const onLinux = process.platform === 'linux' ? test : test.skip;

onLinux.each(['memory:', 'a server'])(
  'a process that stood still past its time finds out before it uses the lease of %s',
  async (kind) => {
    const server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
    const address = kind === 'memory:' ? kind : server.address;
    const { child, line, ended } = script(`
      const client = await NoriKVClient.open(${JSON.stringify(address)});
      const lease = await client.lease({ ttlMs: 500 });
      const signal = lease.signal;
      await lease.put('a', '1');
      process.kill(process.pid, 'SIGSTOP');
      // The very next thing after the pause, before any event.
      const early = lease.signal.aborted;
      const refused = await lease.put('a', '2').catch((error) => error);
      const byId = await client.put('a', '2', { lease: lease.id }).catch((error) => error);
      const reason = await lease.lost;
      console.log(JSON.stringify([
        early,
        signal === lease.signal && signal.reason === reason,
        refused instanceof LeaseLostError && byId instanceof LeaseLostError,
      ]));
      await client.close();
    `);
    await stopped(child.pid ?? 0);
    await passed(700);
    child.kill('SIGCONT');
    expect(JSON.parse(await line())).toEqual([true, true, true]);
    expect(await ended).toBe(0);
    await server.stop();
  },
);

test('the keys of a process that is killed go in one revision, within its time and half a second', async () => {
  const server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
  const client = await NoriKVClient.open(server.address);
  const watch = client.watch({ prefix: 'held/' }, { puts: false });
  await watch.ready;
  const ttlMs = 1_000;
  const { child, line, ended } = script(`
    const client = await NoriKVClient.open(${JSON.stringify(server.address)});
    const lease = await client.lease({ ttlMs: ${ttlMs} });
    await Promise.all([lease.put('held/1', '1'), lease.put('held/2', '1')]);
    console.log('held');
    // Alive until it is killed.
    for await (const batch of client.watch({ key: 'never' })) void batch;
  `);
  expect(await line()).toBe('held');
  child.kill('SIGKILL');
  await ended;
  const killed = performance.now();
  for await (const { events } of watch) {
    expect(events.map(({ entry, reason }) => [entry.keyText(), reason])).toEqual([
      ['held/1', 'lease'],
      ['held/2', 'lease'],
    ]);
    break;
  }
  expect(performance.now() - killed).toBeLessThan(ttlMs + 500);
  await client.close();
  await server.stop();
});

test('an event loop that is busy for longer than the time to live keeps the lease', async () => {
  const client = await NoriKVClient.open('memory:');
  const lease = await client.lease({ ttlMs: 300 });
  await lease.put('a', '1');
  const until = performance.now() + 1_000;
  while (performance.now() < until);
  expect(lease.signal.aborted).toBe(false);
  expect((await client.get('a')).lease).toBe(lease.id);
  await client.close();
});

test('a process with a lease and a watch that nobody iterates exits by itself', async () => {
  const { ended } = script(`
    const client = await NoriKVClient.open('memory:');
    const lease = await client.lease({ ttlMs: 60_000 });
    await client.watch({ prefix: '' }).ready;
    lease.signal;
  `);
  expect(await ended).toBe(0);
});

test('a process that closed its client exits, with leases and watches open before', async () => {
  const { ended } = script(`
    const client = await NoriKVClient.open('memory:');
    await client.lease({ ttlMs: 60_000 });
    const watch = client.watch({ prefix: '' });
    const reading = (async () => { for await (const batch of watch); })().catch(() => {});
    await watch.ready;
    await client.close();
    await reading;
  `);
  expect(await ended).toBe(0);
});

test('whoever waits for the next batch keeps the process alive', async () => {
  const { line, ended } = script(`
    const client = await NoriKVClient.open('memory:');
    await client.put('a', '1', { ttlMs: 300 });
    for await (const { events } of client.watch({ prefix: '' }, { puts: false })) {
      console.log(events[0].reason);
      break;
    }
  `);
  expect(await line()).toBe('expired');
  expect(await ended).toBe(0);
});

test('a thousand watches and leases that were opened and closed leave nothing', async () => {
  const client = await NoriKVClient.open('memory:');
  const round = async (): Promise<void> => {
    const watches = Array.from({ length: 1_000 }, () => client.watch({ prefix: 'a' }));
    const leases = await Promise.all(watches.map(() => client.lease({ ttlMs: 60_000 })));
    await Promise.all(watches.map(({ ready }) => ready));
    await client.put('a', '1');
    await Promise.all(watches.map((watch) => watch.close()));
    await Promise.all(leases.map((lease) => lease.revoke()));
  };
  await round();
  await round();
  const before = process.memoryUsage().rss;
  for (let at = 0; at < 6; at++) await round();
  // Garbage of a round is a few megabytes; a kilobyte left for each would be twelve.
  expect(process.memoryUsage().rss - before).toBeLessThan(40 * 1024 * 1024);
  expect(client.getStats().requests.inFlight).toBe(0);
  await client.close();
});
