import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

/** One connection through the proxy. */
interface Pair {
  readonly client: Socket;
  readonly server: Socket;
}

/** A TCP proxy between a client and a server that does to the bytes what networks do. */
export class Proxy {
  readonly #server: Server;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #pairs = new Set<Pair>();
  #awaited: ((request: Buffer) => boolean) | undefined;
  #port = 0;

  private constructor(target: string) {
    const [host = '', port] = target.split(':');
    this.#target = { host, port: Number(port) };
    this.#server = createServer((client) => {
      this.#accept(client);
    });
  }

  static async start(target: string): Promise<Proxy> {
    const proxy = new Proxy(target);
    await proxy.#listen(0);
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** How many connections there are. */
  get connections(): number {
    return this.#pairs.size;
  }

  /** Keeps the replies of the connections that there are; requests go on to the server. */
  holdReplies(): void {
    for (const { server } of this.#pairs) server.pause();
  }

  /** Keeps the replies from the next request on of which this holds: those to what comes before it still arrive. */
  holdRepliesTo(awaited: (request: Buffer) => boolean): void {
    this.#awaited = awaited;
  }

  /** Lets kept replies go on. */
  releaseReplies(): void {
    for (const { server } of this.#pairs) server.resume();
  }

  /** Passes nothing on any more, in either direction, and closes nothing: a peer that vanished. */
  freeze(): void {
    for (const { client, server } of this.#pairs) {
      server.pause();
      client.pause();
    }
  }

  /** Breaks every connection off. */
  cut(): void {
    for (const { client, server } of this.#pairs) {
      // A reset of what is shutting down already never ends, and holds Node up when it exits.
      if (client.writableEnded) client.destroy();
      else client.resetAndDestroy();
      server.destroy();
    }
    this.#pairs.clear();
  }

  /** Breaks every connection off, and takes no new ones until `accept`. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cut();
    await closed;
  }

  /** Takes connections again, at the same address. */
  async accept(): Promise<void> {
    await this.#listen(this.#port);
  }

  async #listen(port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, '127.0.0.1', () => {
        resolve();
      });
    });
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  #accept(client: Socket): void {
    const server = connect(this.#target);
    const pair = { client, server };
    this.#pairs.add(pair);
    client.setNoDelay(true);
    server.setNoDelay(true);
    client.on('data', (bytes: Buffer) => {
      if (this.#awaited?.(bytes) === true) {
        this.#awaited = undefined;
        this.holdReplies();
      }
      server.write(bytes);
    });
    server.on('data', (bytes) => client.write(bytes));
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        other.destroy();
        this.#pairs.delete(pair);
      });
    }
  }
}
