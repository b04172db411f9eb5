/**
 * A NoriKV server inside a Node process.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { startServer } from '@norikv/client/server';
 *
 * const server = await startServer({ store: 'memory:', listen: '127.0.0.1:0' });
 * const client = await NoriKVClient.open(server.address);
 * await client.put('a', '1');
 * await client.close();
 * await server.stop();
 * ```
 *
 * @packageDocumentation
 */

/// <reference lib="esnext.disposable" />

/** What a server speaks TLS with. Each is one or more certificates, or a key, in PEM: as text, or as the bytes of a file. */
export interface ServerTls {
  /** The server's certificate, and those between it and its authority. */
  readonly cert: string | Uint8Array;
  /** The private key of the certificate, not encrypted. */
  readonly key: string | Uint8Array;
  /** Only clients that have a certificate of one of these authorities are served. Default: no client needs one. */
  readonly clientCa?: string | Uint8Array;
}

/** Settings of a server. */
export interface ServerOptions {
  /** The store that it serves: `memory:`, `file:<directory>`, or an etcd cluster, `etcd://host:2379,…`, with vectors over it. */
  readonly store: string;
  /** The address it listens on; port 0 takes a free one. Default `127.0.0.1:7447`. */
  readonly listen?: string;
  /** The address that clients are told to reach it at. Default: the one it listens on. */
  readonly advertise?: string;
  /** When the store acknowledges a write. Default `'fsync'`. */
  readonly durability?: 'fsync' | 'relaxed';
  /** The largest value, in bytes. Default 1,048,576. */
  readonly maxValueBytes?: number;
  /**
   * The origins of the web pages that may call over gRPC-Web, as browsers write them, like `https://app.example.com`;
   * `*` is any. Pages of the server's own address always may. Default none.
   */
  readonly corsOrigins?: readonly string[];
  /** Whether to speak etcd's protocol, too: for `etcdctl` and etcd's clients of any language. Default `false`. */
  readonly etcdApi?: boolean;
  /**
   * Speaks TLS, and nothing else, with this certificate, which is read now: one that is renewed takes a restart. Default:
   * plain text.
   */
  readonly tls?: ServerTls;
}

/** A server that is running. It keeps the process alive until it is stopped. */
export interface Server extends AsyncDisposable {
  /** Its `host:port`. */
  readonly address: string;
  /** Answers what it has taken on, then stops and closes its store. Stopping twice is stopping once. */
  stop(): Promise<void>;
}

/**
 * Starts a server.
 *
 * It rejects with the errors of opening its store; with an `InvalidArgumentError` for a wrong option, a certificate or key
 * that cannot be used, or an address that this machine does not have; with an `UnavailableError` if another program listens there; and with a
 * `PermissionDeniedError` if the port is not permitted.
 */
export function startServer(options: ServerOptions): Promise<Server>;
