// Real etcd clusters on loopback, of Debian's package: each member is a process with a directory of its own, which can be
// killed, started again, paused, and cut off by a proxy.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** What a member writes once it takes calls: it knows a leader then. */
const READY = 'ready to serve client requests';
/** How often ports are looked for: between asking for a free one and taking it, another may. */
const TRIES = 5;

/** How a cluster is started. */
export interface ClusterOptions {
  /** How many members. Default 1. */
  readonly members?: number;
  /** Further flags of each. */
  readonly flags?: readonly string[];
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

/** One member. */
export class Member {
  /** Where clients reach it: `host:port`. */
  readonly endpoint: string;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;
  #ended: Promise<unknown> = Promise.resolve();

  constructor(endpoint: string, args: readonly string[]) {
    this.endpoint = endpoint;
    this.#args = args;
  }

  /** Starts it, for the first time or again; resolves when it takes calls. */
  async start(): Promise<void> {
    const child = spawn('etcd', this.#args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.once('close', resolve);
      child.once('error', resolve);
    });
    const complaints: string[] = [];
    await new Promise<void>((resolve, reject) => {
      child.once('error', (error) => {
        const message = 'these tests need etcd on the PATH (Debian: apt-get install etcd-server)';
        reject(new Error(message, { cause: error }));
      });
      child.once('close', (code, signal) => {
        reject(new Error(`etcd ended with ${code ?? signal ?? ''}: ${complaints.join('\n')}`));
      });
      createInterface({ input: child.stderr }).on('line', (line) => {
        if (line.includes(READY)) resolve();
        complaints.push(line);
        if (complaints.length > 20) complaints.shift();
      });
    });
  }

  /** `kill -9`; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#ended;
  }

  /** Stands still until `resume`, with its connections open. */
  pause(): void {
    this.#child?.kill('SIGSTOP');
  }

  /** Goes on. */
  resume(): void {
    this.#child?.kill('SIGCONT');
  }
}

/** A cluster. */
export class Cluster {
  readonly members: readonly Member[];
  readonly #directory: string;

  private constructor(members: readonly Member[], directory: string) {
    this.members = members;
    this.#directory = directory;
  }

  /** Starts one, and waits until it takes calls. */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    let last: unknown;
    for (let tried = 0; tried < TRIES; tried++) {
      const cluster = await Cluster.#make(options);
      try {
        await Promise.all(cluster.members.map((member) => member.start()));
        return cluster;
      } catch (error) {
        last = error;
        await cluster.stop();
      }
    }
    throw last;
  }

  static async #make({ members: count = 1, flags = [] }: ClusterOptions): Promise<Cluster> {
    const directory = await mkdtemp(join(tmpdir(), 'norikv-etcd-'));
    const ports = await freePorts(2 * count);
    const peers = ports.slice(count).map((port) => `http://127.0.0.1:${port}`);
    const initial = peers.map((peer, at) => `m${at}=${peer}`).join(',');
    const members = peers.map((peer, at) => {
      const endpoint = `127.0.0.1:${ports[at] ?? 0}`;
      return new Member(endpoint, [
        ...['--name', `m${at}`, '--data-dir', join(directory, `m${at}`)],
        ...['--listen-client-urls', `http://${endpoint}`],
        ...['--advertise-client-urls', `http://${endpoint}`],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
        ...['--initial-cluster', initial, '--initial-cluster-state', 'new'],
        // Elections in tenths of a second, and with that leases from one second on.
        ...['--heartbeat-interval', '50', '--election-timeout', '500'],
        ...flags,
      ]);
    });
    return new Cluster(members, directory);
  }

  /** The addresses of its members. */
  get endpoints(): string[] {
    return this.members.map(({ endpoint }) => endpoint);
  }

  /** Its address for clients, with a prefix for all keys. */
  address(prefix = ''): string {
    return addressOf(this.endpoints, prefix);
  }

  /** Ends all members, and removes what they wrote. */
  async stop(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** The address of a cluster at these endpoints. */
export function addressOf(endpoints: readonly string[], prefix = ''): string {
  return `etcd://${endpoints.join(',')}${prefix === '' ? '' : `/${prefix}`}`;
}
