// The servers that are measured: NoriKV's own and etcd, each a process on a free loopback port.
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { root } from '../../scripts/lib/platform.mjs';
import { startChild } from './children.mjs';

/** `norikv serve` with a store in memory. Answers `{ address, stop }`. */
export async function startNorikv(...flags) {
  return startNorikvOn('memory:', ...flags);
}

/** `norikv serve` with a store. Answers `{ address, pid, stop }`. */
export async function startNorikvOn(store, ...flags) {
  const bin = path.join(root, 'bin', 'norikv.js');
  const serve = ['serve', '--listen', '127.0.0.1:0', '--store', store, ...flags];
  const child = startChild(process.execPath, [bin, ...serve], { signal: 'SIGTERM' });
  const said = await child.next(20_000);
  return { address: said.slice(said.lastIndexOf(' ') + 1), pid: child.pid, stop: child.stop };
}

/** etcd as it is installed, with a cluster of one. Answers `{ address, stop }`; fails if there is none. */
export async function startEtcd(directory) {
  const [address, peers] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  const flags = {
    'data-dir': directory,
    'listen-client-urls': `http://${address}`,
    'advertise-client-urls': `http://${address}`,
    'listen-peer-urls': `http://${peers}`,
    'initial-advertise-peer-urls': `http://${peers}`,
    'initial-cluster': `default=http://${peers}`,
    'log-level': 'error',
  };
  const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  const env = { ...process.env, ETCD_UNSUPPORTED_ARCH: process.arch };
  const child = startChild('etcd', args, { signal: 'SIGTERM', env });
  await untilItAnswers('etcd', child, address);
  return { address, stop: child.stop };
}

/**
 * Redis as it is installed, with its own defaults but for the settings given. Answers `{ address, stop }`; fails if there is
 * none.
 */
export async function startRedis(directory, settings = {}) {
  mkdirSync(directory, { recursive: true });
  const port = await freePort();
  const flags = Object.entries({ bind: '127.0.0.1', port, dir: directory, ...settings });
  const args = flags.flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = startChild('redis-server', args, { signal: 'SIGTERM' });
  const address = `127.0.0.1:${port}`;
  await untilItAnswers('redis-server', child, address);
  return { address, stop: child.stop };
}

async function untilItAnswers(program, child, address) {
  const deadline = Date.now() + 30_000;
  while (!(await answers(address))) {
    const ended = await Promise.race([child.ended, wait(50)]);
    if (ended?.includes('ENOENT')) throw new Error(`${program} is not installed`);
    if (ended !== undefined) throw new Error(`${program} ended: ${ended}`);
    if (Date.now() > deadline) throw new Error(`${program} did not answer within 30 s`);
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

function answers(address) {
  const [host, port] = address.split(':');
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) });
    const settle = (yes) => {
      socket.destroy();
      resolve(yes);
    };
    socket.once('connect', () => settle(true)).once('error', () => settle(false));
  });
}
