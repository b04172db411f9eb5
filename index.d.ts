/**
 * NoriKV: one key-value store that starts inside your process and moves to a server by changing its address.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 *
 * await using client = await NoriKVClient.open('file:./data');
 * await client.put('greeting', 'hello');
 * console.log((await client.get('greeting')).text()); // hello
 * ```
 *
 * This file is the whole public API, to be read top to bottom: values, entries and versions · opening a client ·
 * the client · ranges and scans · transactions · leases · watches · vectors · the cluster · an ephemeral server · helpers · errors.
 *
 * @packageDocumentation
 */

/// <reference lib="esnext.disposable" />

// ---------------------------------------------------------------------------------------------------------------
// Values, entries and versions
// ---------------------------------------------------------------------------------------------------------------

/** A key: 1 to 1,024 bytes. A string stands for its UTF-8 bytes. */
export type Key = string | Uint8Array;

/** A value: 0 bytes to 1 MiB (unless the store is set up otherwise). A string stands for its UTF-8 bytes. */
export type Value = string | Uint8Array;

/**
 * The version of a change. It identifies one state of one key: hand it back as `ifMatchVersion` to write only if
 * nobody wrote in between.
 *
 * ```ts
 * import { NoriKVClient, Version } from '@norikv/client';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const first = await client.put('a', '1');
 * const second = await client.put('a', '2');
 * console.log(second.compare(first) > 0, Version.parse(first.toString()).equals(first)); // true true
 * ```
 */
export class Version {
  /**
   * @param term - The incarnation of the store, from 0 to 2^64 - 1.
   * @param index - The revision of the store, from 0 to 2^64 - 1.
   * @throws {@link InvalidArgumentError} if either is not a `bigint` in that range.
   */
  constructor(term: bigint, index: bigint);
  /** The incarnation of the store: 1 at first, one more each time it is restored from a backup. */
  readonly term: bigint;
  /** The revision of the store that made the change. */
  readonly index: bigint;
  /** Whether both parts are equal. */
  equals(other: Version): boolean;
  /** Negative, zero or positive, as this version is older than, equal to or newer than the other. */
  compare(other: Version): number;
  /** `"term.index"`. */
  toString(): string;
  /** `"term.index"`: `JSON.stringify` keeps a version whole. */
  toJSON(): string;
  /**
   * The version of a text that `toString()` made.
   *
   * @throws {@link InvalidArgumentError} if it is not such a text.
   */
  static parse(text: string): Version;
}

/** A key, its value, and what the store knows about them. */
export interface Entry {
  /** The key, as bytes. Within a {@link NoriKVClient.namespace | namespace}, without its prefix. */
  readonly key: Uint8Array;
  /** The value: a copy of its own, which does not change later. Empty in a scan with `keysOnly`. */
  readonly value: Uint8Array;
  /** The version of the last change. */
  readonly version: Version;
  /** The version of the creation since the last delete. */
  readonly createVersion: Version;
  /** 1 at creation, one more with each put. 0 from a server of the plain `norikv.v1` protocol, which does not say. */
  readonly generation: number;
  /** The id of the {@link Lease} that the entry belongs to, or `null`. */
  readonly lease: bigint | null;
  /** When the entry expires, in milliseconds since the Unix epoch. */
  readonly expiresAt: number | null;
  /** The key as text. Bytes that are not UTF-8 become U+FFFD. */
  keyText(): string;
  /** The value as text. Bytes that are not UTF-8 become U+FFFD. */
  text(): string;
  /**
   * The value as JSON.
   *
   * @throws `SyntaxError` if it is not JSON. Nothing checks that it is a `T`.
   */
  json<T = unknown>(): T;
}

/** What {@link NoriKVClient.get} answers. */
export type GetResult = Entry;

/**
 * How fresh a read must be: `'lease'` (the default: as fresh as a leader that holds its lease), `'linearizable'`
 * (never older than any write acknowledged before the call) or `'stale_ok'` (any replica; may be old).
 */
export type ConsistencyLevel = 'lease' | 'linearizable' | 'stale_ok';

/** The words of {@link ConsistencyLevel} by name. */
export const ConsistencyLevel: {
  /** The default: as fresh as a leader that holds its lease. */
  readonly LEASE: 'lease';
  /** Never older than any write acknowledged before the call. */
  readonly LINEARIZABLE: 'linearizable';
  /** From any replica; may be old. */
  readonly STALE_OK: 'stale_ok';
};

// ---------------------------------------------------------------------------------------------------------------
// Opening a client
// ---------------------------------------------------------------------------------------------------------------

/** How often, and after what delays, a call that failed for a passing reason is made again. */
export interface RetryConfig {
  /** The most attempts, the first included; 1 turns retries off. Default 3. */
  readonly maxAttempts?: number;
  /** The longest first delay, in milliseconds. Default 10. */
  readonly initialDelay?: number;
  /** The longest delay of all, in milliseconds. Default 1,000. */
  readonly maxDelay?: number;
  /** How much the longest delay grows with each attempt: 1 to 100. Default 2. */
  readonly backoffMultiplier?: number;
  /** Whether each delay is drawn evenly from zero to the longest (full jitter). Default true. */
  readonly jitter?: boolean;
}

/** Settings of every client. */
export interface CommonConfig {
  /** How long a call may take, retries included, in milliseconds. Default 5,000. */
  readonly timeout?: number;
  /** How failed calls are retried. */
  readonly retry?: RetryConfig;
}

/**
 * Whom a client trusts, and who it is, where TLS is spoken. Each is one or more certificates, or a key, in PEM: as text, or
 * as the bytes of a file.
 *
 * ```ts no-run: needs certificates and a server
 * import { readFileSync } from 'node:fs';
 * import { NoriKVClient } from '@norikv/client';
 *
 * const client = new NoriKVClient({
 *   nodes: ['db.example.com:7447'],
 *   tls: { ca: readFileSync('ca.crt'), cert: readFileSync('app.crt'), key: readFileSync('app.key') },
 * });
 * ```
 */
export interface TlsConfig {
  /** The authorities whose certificates are trusted, and no others. Default: those that the system trusts. */
  readonly ca?: string | Uint8Array;
  /** The client's own certificate, and those between it and its authority, for servers that ask for one. With `key`. */
  readonly cert?: string | Uint8Array;
  /** The private key of `cert`, not encrypted. */
  readonly key?: string | Uint8Array;
  /** The name that the servers' certificates are for. Default: the host of each address. */
  readonly serverName?: string;
}

/** Who a client of an etcd cluster is, and which part of it is its own. What the address says, too, has to be the same. */
export interface EtcdConfig {
  /** The name of a user of the cluster. With `password`. */
  readonly user?: string;
  /** The user's password. */
  readonly password?: string;
  /** What all keys begin with in the cluster, and none here does. */
  readonly prefix?: string | Uint8Array;
}

/** Settings of a client of NoriKV servers. */
export interface ClusterConfig extends CommonConfig {
  /** The servers, each `host:port`. One that answers is enough to find the others. */
  readonly nodes: readonly string[];
  /** How many shards the cluster places keys on. Default 1,024. */
  readonly totalShards?: number;
  /** Whether to follow the cluster's view, and so know which server leads which shard. Default true. */
  readonly watchCluster?: boolean;
  /** The most connections to one server: 1 to 256. Default 1, which carries any number of calls. */
  readonly maxConnectionsPerNode?: number;
  /** Sent with every call as `authorization: Bearer …`. */
  readonly token?: string;
  /**
   * Speaks TLS with all servers, with this. An `https://` address alone does, too. Not in a browser, which decides by itself
   * what it trusts: {@link UnsupportedError}.
   */
  readonly tls?: TlsConfig;
}

/** Settings of a client of one address, and of an embedded store or an etcd cluster behind it. */
export interface AddressConfig extends CommonConfig {
  /**
   * `memory:`, `file:<directory>`, `host:port` or `https://host:port`, or in Node the members of an etcd cluster:
   * `etcd://host:2379,host:2379`, with `user:password@` before them and `/prefix`, which all keys then begin with there,
   * behind them; `etcds://` with TLS. Special characters of these are percent-encoded. Several clusters,
   * `etcd://…;etcd://…`, are one store: each key is in one of them.
   *
   * On etcd, times to live count in whole seconds, rounded up, and what has run out goes up to two seconds later;
   * events do not say why something is gone; and there are no vectors, but from a server in front of the cluster:
   * `norikv serve --store etcd://…`. All else is the same, in Node. A browser goes through such a server.
   */
  readonly address: string;
  /**
   * When a `file:` store acknowledges a write: `'fsync'` (the default) once it is on disk, `'relaxed'` once it is
   * in memory, and on disk within 100 ms.
   */
  readonly durability?: 'fsync' | 'relaxed';
  /** The largest value that the store takes, in bytes, where that is the client's to say. Default 1,048,576. */
  readonly maxValueBytes?: number;
  /** How long an embedded store keeps old revisions, in milliseconds. Default 3,600,000 (one hour). */
  readonly historyMs?: number;
  /** How many old revisions an embedded store keeps. Default 1,000,000. */
  readonly historyRevisions?: number;
  /** How long idempotency keys are remembered, in milliseconds, unless by a server. Default 86,400,000 (24 hours). */
  readonly idempotencyWindowMs?: number;
  /** Speaks TLS with the servers or the etcd cluster at the address, with this. Not in a browser. */
  readonly tls?: TlsConfig;
  /** Who the client of an etcd cluster is. */
  readonly etcd?: EtcdConfig;
}

/** What a client can be made of, beside a plain address. */
export type ClientConfig = ClusterConfig | AddressConfig;

// ---------------------------------------------------------------------------------------------------------------
// The client
// ---------------------------------------------------------------------------------------------------------------

/** Options of every call. A call refuses names that it does not know, with {@link InvalidArgumentError}. */
export interface CallOptions {
  /** Ends the call when it fires: the promise rejects with {@link CancelledError}, and the work ends too. */
  readonly signal?: AbortSignal | undefined;
  /** How long the call may take, retries included, in milliseconds. Default: the client's `timeout`. */
  readonly timeoutMs?: number | undefined;
}

/** Options of a read. */
export interface GetOptions extends CallOptions {
  /** How fresh the answer must be. Default `'lease'`. */
  readonly consistency?: ConsistencyLevel | undefined;
}

/** Options of a put. */
export interface PutOptions extends CallOptions {
  /**
   * The entry expires after that many milliseconds: a whole number from 1 to 10 years; on etcd after whole seconds, rounded
   * up. Default: it stays.
   */
  readonly ttlMs?: number | undefined;
  /** Write only if the key is not there; otherwise {@link AlreadyExistsError}. */
  readonly ifNotExists?: boolean | undefined;
  /** Write only if the key is at this version; otherwise {@link VersionMismatchError}. */
  readonly ifMatchVersion?: Version | undefined;
  /**
   * Makes the write happen once, however often it is sent: a repeat within the store's window (24 hours) answers
   * the first version and changes nothing. 1 to 1,024 bytes.
   */
  readonly idempotencyKey?: string | undefined;
  /**
   * Answer the entry that was there before, with the version: a {@link PutResult}. A repeat of a write with an
   * `idempotencyKey` answers `null` for it.
   */
  readonly prevEntry?: boolean | undefined;
  /**
   * The lease that the entry belongs to, or its id: the entry goes when that ends. Not together with `ttlMs`. A put
   * without it takes the key off an earlier lease.
   */
  readonly lease?: Lease | bigint | undefined;
}

/** What a put with `prevEntry: true` answers. */
export interface PutResult {
  /** The version of the write. */
  readonly version: Version;
  /** The entry that was there before, or `null`. */
  readonly prevEntry: Entry | null;
}

/** Options of a delete. */
export interface DeleteOptions extends CallOptions {
  /** Delete only if the key is at this version; otherwise, and if it is missing, {@link VersionMismatchError}. */
  readonly ifMatchVersion?: Version | undefined;
  /** Makes the delete happen once, however often it is sent. 1 to 1,024 bytes. */
  readonly idempotencyKey?: string | undefined;
}

/** Options of {@link NoriKVClient.update}. */
export interface UpdateOptions extends CallOptions {
  /** The most attempts. Default: as many as the time allows. */
  readonly maxAttempts?: number | undefined;
  /** The value expires after that many milliseconds. Default: it stays. */
  readonly ttlMs?: number | undefined;
  /** The lease that the entry belongs to, or its id; as in {@link PutOptions}. */
  readonly lease?: Lease | bigint | undefined;
}

/**
 * A client of one store, wherever it is: every call behaves the same in the process and over the network.
 *
 * Keys and values are bytes; strings are taken as UTF-8. A call before {@link NoriKVClient.connect} connects. Calls
 * on one key take effect in the order in which they were made, also when they are not awaited.
 *
 * Every call can fail with {@link InvalidArgumentError}, {@link DeadlineExceededError}, {@link CancelledError},
 * {@link ClosedError}, {@link UnavailableError}, {@link ConnectionError}, {@link NoNodesAvailableError},
 * {@link ResourceExhaustedError} and {@link CorruptionError}; what a call adds is said with it.
 */
export class NoriKVClient implements AsyncDisposable {
  /**
   * Makes a client, without connecting.
   *
   * @param config - An address (`memory:`, `file:./data`, `host:port`, `etcd://host:2379,…`) or settings.
   * @throws {@link InvalidArgumentError} if the address or a setting is wrong.
   */
  constructor(config: string | ClientConfig);

  /**
   * Makes a client and connects it.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:'); // closes itself at the end of the block
   * console.log(client.isConnected()); // true
   * ```
   */
  static open(config: string | ClientConfig, options?: CallOptions): Promise<NoriKVClient>;

  /**
   * Opens the store, or makes sure that a server answers.
   *
   * @throws {@link NoNodesAvailableError} naming each server and why it does not answer; {@link ConnectionError} for a single
   *   one, which also says what is wrong with a certificate;
   *   {@link ResourceExhaustedError} if another process has the directory open; {@link UnsupportedError} if it was
   *   written by a newer version; {@link InvalidArgumentError} if it is not a store's.
   */
  connect(options?: CallOptions): Promise<void>;

  /**
   * Closes the client: what was acknowledged is on disk, calls under way and watches fail with {@link ClosedError},
   * its leases are revoked (as many as one second is enough for; others run out), and no timer, socket or thread is
   * left. Closing twice is closing once.
   */
  close(): Promise<void>;

  /** The same as {@link NoriKVClient.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;

  /**
   * Whether the client was connected and is not closed, and, for a client of servers, has a connection that is open
   * now. That a server is lost shows only once the connection to it breaks.
   */
  isConnected(): boolean;

  /**
   * Reads one key.
   *
   * @throws {@link KeyNotFoundError} if it is not there. An empty value is there.
   */
  get(key: Key, options?: GetOptions): Promise<GetResult>;

  /** Reads one key; `null` if it is not there. */
  getOrNull(key: Key, options?: GetOptions): Promise<Entry | null>;

  /**
   * Reads many keys from one snapshot, answered in the order of `keys`; `null` for each that is not there.
   *
   * @throws {@link InvalidArgumentError} for more than 10,000 keys; {@link ResourceExhaustedError} if keys and values
   *   together have more than 64 MiB.
   */
  getMany(keys: readonly Key[], options?: GetOptions): Promise<(Entry | null)[]>;

  /**
   * Writes one key, and answers the version of the write. It is on disk, or held by the cluster's quorum, before
   * the promise resolves.
   *
   * A put that may or may not have happened fails with an error whose `outcome` is `'unknown'`: its reply was lost
   * ({@link UnavailableError}), its time ran out ({@link DeadlineExceededError}), its signal fired
   * ({@link CancelledError}) or the client was closed ({@link ClosedError}). Give an `idempotencyKey` and repeat it
   * to settle.
   *
   * ```ts
   * import { NoriKVClient, VersionMismatchError } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * const version = await client.put('stock', '7', { ifNotExists: true });
   * await client.put('stock', '6', { ifMatchVersion: version });
   * try {
   *   await client.put('stock', '5', { ifMatchVersion: version });
   * } catch (error) {
   *   console.log(error instanceof VersionMismatchError); // true
   * }
   * ```
   *
   * @throws {@link VersionMismatchError}, {@link AlreadyExistsError}; with a `lease`, {@link LeaseNotFoundError}, or
   *   {@link LeaseLostError} for one that this client held; {@link UnsupportedError} from a server that cannot write
   *   only if absent.
   */
  put(
    key: Key,
    value: Value,
    options: PutOptions & { readonly prevEntry: true },
  ): Promise<PutResult>;
  /** Writes one key, and answers the version of the write. */
  put(
    key: Key,
    value: Value,
    options?: PutOptions & { readonly prevEntry?: false },
  ): Promise<Version>;
  /** Writes one key, where the options are known only when it runs. */
  put(key: Key, value: Value, options?: PutOptions): Promise<Version | PutResult>;

  /**
   * Deletes one key: `true` if it was there, `false` if not.
   *
   * @throws {@link VersionMismatchError}.
   */
  delete(key: Key, options?: DeleteOptions): Promise<boolean>;

  /**
   * Deletes every key of a range in one revision, and answers how many there were.
   *
   * The range has a prefix, a start or an end: one without is refused, since it is more often a bound that turned
   * out `undefined`. `{ prefix: '' }` says every key.
   */
  deleteRange(range: KeyRange, options?: CallOptions): Promise<number>;

  /**
   * Reads a range in key order, page by page, all from one snapshot.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * await client.put('user:1', 'Ada');
   * await client.put('user:2', 'Grace');
   * for await (const entry of client.scan({ prefix: 'user:' })) {
   *   console.log(entry.keyText(), entry.text());
   * }
   * console.log((await client.scan({ prefix: 'user:', reverse: true, limit: 1 }).toArray()).length); // 1
   * ```
   */
  scan(options?: ScanOptions): Scan;

  /** How many keys a range has, without reading their values. */
  count(range: KeyRange, options?: CountOptions): Promise<number>;

  /**
   * Changes one key by compare-and-set: reads it, calls `fn`, and writes what it answers if nobody wrote in
   * between; otherwise it backs off and begins again, until it succeeds, `signal` fires, the time is up, or
   * `maxAttempts` are spent.
   *
   * Answers the new version, or `null` if `fn` answered `undefined`, which leaves the key alone. What `fn` throws
   * ends it.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * const add = () => client.update('counter', (entry) => String(Number(entry?.text() ?? 0) + 1));
   * await Promise.all([add(), add(), add()]);
   * console.log((await client.get('counter')).text()); // 3
   * ```
   *
   * @throws {@link RetryExhaustedError} when the attempts or the time are spent on conflicts.
   */
  update(
    key: Key,
    fn: (current: Entry | null) => Value | undefined | Promise<Value | undefined>,
    options?: UpdateOptions,
  ): Promise<Version | null>;

  /**
   * Begins a transaction: compares, and what is done if all of them hold, or else. Nothing is sent before
   * {@link Txn.commit}.
   *
   * ```ts
   * import { NoriKVClient, compare, op } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * const version = await client.put('stock', '7');
   * const outcome = await client
   *   .txn()
   *   .if(compare('stock').version.equals(version), compare('order/1').exists.equals(false))
   *   .then(op.put('order/1', 'pending'), op.put('stock', '6'), op.get('stock'))
   *   .else(op.get('stock'))
   *   .commit();
   * if (outcome.succeeded) console.log(outcome.results[2]?.text()); // 6
   * ```
   */
  txn(): Txn;

  /**
   * Grants a lease, which the client keeps alive until it is revoked or lost.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * const lease = await client.lease({ ttlMs: 10_000 });
   * await lease.put('services/api/1', '10.0.0.7:8080');
   * await lease.revoke();
   * console.log(await client.getOrNull('services/api/1')); // null
   * ```
   *
   * @throws {@link UnsupportedError} from a store without leases.
   */
  lease(options: LeaseOptions): Promise<Lease>;

  /**
   * Follows the changes of a key or a range, from now on or from `fromVersion`. It begins at once, not with the first
   * iteration.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * const watch = client.watch({ prefix: 'config/' });
   * await watch.ready;
   * await client.put('config/color', 'blue');
   * for await (const { events } of watch) {
   *   for (const { type, entry } of events) console.log(type, entry.keyText(), entry.text()); // put config/color blue
   *   break; // ends the watch
   * }
   * ```
   *
   * @throws {@link InvalidArgumentError} for what is of a wrong type or name, and {@link ClosedError}, in the call
   *   itself; every other error, also that of a key or range that cannot be, comes from {@link Watch.ready} and the
   *   iterator.
   */
  watch(range: WatchRange, options?: WatchOptions): Watch;

  /**
   * Forgets the history before a version, which becomes the oldest that can be read. A store does so by itself with
   * what is older than its history; this does it sooner.
   *
   * ```ts
   * import { CompactedError, NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * const first = await client.put('a', '1');
   * const second = await client.put('a', '2');
   * await client.compact(second);
   * const reading = client.count({ prefix: 'a' }, { version: first });
   * console.log(await reading.catch((error: unknown) => error instanceof CompactedError)); // true
   * ```
   *
   * @throws {@link CompactedError} if it is older than what can be read already; {@link InvalidArgumentError} if it is
   *   in the future.
   */
  compact(version: Version, options?: CallOptions): Promise<void>;

  /**
   * Creates a vector index: `true` if it did, `false` if the same index is there.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * await client.vectorCreateIndex('colors', 3, 'cosine', 'hnsw');
   * await client.vectorInsert('colors', 'red', [1, 0, 0]);
   * await client.vectorInsert('colors', 'orange', new Float32Array([0.9, 0.4, 0]));
   * await client.vectorInsert('colors', 'blue', [0, 0, 1]);
   * const { matches } = await client.vectorSearch('colors', [1, 0.1, 0], 2);
   * console.log(matches.map(({ id }) => id).join(' ')); // red orange
   * ```
   *
   * @param namespace - The name of the index: 1 to 256 bytes of UTF-8, the prefix of the client's own namespace included.
   * @param dimensions - How many numbers each of its vectors has: 1 to 4,096.
   * @throws {@link VectorIndexExistsError} if another one has that name; {@link InvalidArgumentError} for what cannot be an
   *   index; {@link UnsupportedError} from a store without vectors, as from each of the calls below.
   */
  vectorCreateIndex(
    namespace: string,
    dimensions: number,
    distance: DistanceFunction,
    indexType: VectorIndexType,
    options?: VectorCreateIndexOptions,
  ): Promise<boolean>;

  /**
   * Drops a vector index with all of its vectors: `true` if it was there.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * await client.vectorCreateIndex('colors', 3, 'cosine', 'hnsw');
   * console.log(await client.vectorDropIndex('colors')); // true
   * console.log(await client.vectorDropIndex('colors')); // false
   * ```
   *
   * @throws {@link InvalidArgumentError} for a name that no index has.
   */
  vectorDropIndex(namespace: string, options?: VectorDropIndexOptions): Promise<boolean>;

  /**
   * Inserts a vector, or replaces the one that has its id, and answers the version of the write. It is durable as a put
   * is, and the next search finds it. An error's `outcome` is `'unknown'` where that of a put would be.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * await client.vectorCreateIndex('colors', 3, 'cosine', 'hnsw');
   * await client.vectorInsert('colors', 'red', [1, 0, 0]);
   * await client.vectorInsert('colors', 'red', new Float32Array([1, 0.1, 0]));
   * console.log((await client.vectorIndexes())[0]?.vectors); // 1
   * ```
   *
   * @param id - 1 to 512 bytes of UTF-8. Half of a surrogate pair, which UTF-8 does not have, is refused, here and in names
   *   of indexes.
   * @param vector - Copied in this call: it may be changed right after.
   * @throws {@link VectorIndexNotFoundError}; {@link VectorDimensionMismatchError}; {@link InvalidArgumentError} for more
   *   than 4,096 numbers, a number that is `NaN` or infinite as a 32-bit float, for squares that sum up to more than about
   *   4e37, and for a vector of zeros where the distance is `'cosine'`.
   */
  vectorInsert(
    namespace: string,
    id: string,
    vector: Vector,
    options?: VectorInsertOptions,
  ): Promise<Version>;

  /**
   * Inserts or replaces 1 to 100 vectors, each with an id of its own, in one transaction: all of them or none.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * await client.vectorCreateIndex('points', 2, 'euclidean', 'brute_force');
   * const points = Array.from({ length: 100 }, (_, at) => ({ id: `p${at}`, vector: [at, 0] }));
   * await client.vectorInsertMany('points', points);
   * const { matches } = await client.vectorSearch('points', [41.6, 0], 1);
   * console.log(matches[0]?.id); // p42
   * ```
   *
   * @throws As {@link NoriKVClient.vectorInsert}; {@link InvalidArgumentError} for no vectors, for more than 100, and for
   *   two with one id.
   */
  vectorInsertMany(
    namespace: string,
    vectors: Iterable<VectorItem>,
    options?: VectorInsertOptions,
  ): Promise<Version>;

  /**
   * Deletes a vector: `true` if it was there. No later search answers it.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * await client.vectorCreateIndex('colors', 3, 'cosine', 'hnsw');
   * await client.vectorInsert('colors', 'red', [1, 0, 0]);
   * console.log(await client.vectorDelete('colors', 'red')); // true
   * console.log((await client.vectorSearch('colors', [1, 0, 0], 1)).matches.length); // 0
   * ```
   *
   * @throws {@link VectorIndexNotFoundError}; {@link InvalidArgumentError} for an id that no vector has.
   */
  vectorDelete(namespace: string, id: string, options?: VectorDeleteOptions): Promise<boolean>;

  /**
   * Reads a vector, with all of the numbers that were inserted, whatever the index's `quantization`; `null` if it is
   * not there.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * await client.vectorCreateIndex('colors', 3, 'cosine', 'hnsw', { quantization: 'int8' });
   * await client.vectorInsert('colors', 'orange', [1, 0.5, 0]);
   * console.log((await client.vectorGet('colors', 'orange'))?.join(' ')); // 1 0.5 0
   * console.log(await client.vectorGet('colors', 'blue')); // null
   * ```
   *
   * @throws {@link VectorIndexNotFoundError}; {@link InvalidArgumentError} for an id that no vector has.
   */
  vectorGet(
    namespace: string,
    id: string,
    options?: VectorGetOptions,
  ): Promise<Float32Array | null>;

  /**
   * Looks for the `k` vectors nearest to a query; fewer, if there are fewer.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * await client.vectorCreateIndex('places', 2, 'euclidean', 'hnsw');
   * await client.vectorInsert('places', 'inn:1', [3, 4]);
   * await client.vectorInsert('places', 'inn:2', [30, 40]);
   * await client.vectorInsert('places', 'mill:1', [0, 1]);
   * const { matches } = await client.vectorSearch('places', [0, 0], 10, { idPrefix: 'inn:', maxDistance: 5 });
   * console.log(matches.map(({ id, distance }) => `${id} ${distance}`).join(', ')); // inn:1 5
   * ```
   *
   * @param k - A whole number from 1 to 10,000.
   * @throws As {@link NoriKVClient.vectorInsert}, for the query; {@link ResourceExhaustedError} for vectors of more than
   *   64 MiB in the answer.
   */
  vectorSearch(
    namespace: string,
    query: Vector,
    k: number,
    options?: VectorSearchOptions,
  ): Promise<VectorSearchResult>;

  /**
   * The same for 1 to 100 queries at once. Answers a result for each, in their order.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * await client.vectorCreateIndex('places', 2, 'euclidean', 'hnsw');
   * await client.vectorInsert('places', 'inn', [3, 4]);
   * await client.vectorInsert('places', 'mill', [0, 1]);
   * const results = await client.vectorSearchMany('places', [[0, 0], [4, 4]], 1);
   * console.log(results.map(({ matches }) => matches[0]?.id).join(' ')); // mill inn
   * ```
   *
   * @throws As {@link NoriKVClient.vectorSearch}; one bad query fails them all. {@link InvalidArgumentError} for no
   *   queries, and for more than 100.
   */
  vectorSearchMany(
    namespace: string,
    queries: Iterable<Vector>,
    k: number,
    options?: VectorSearchOptions,
  ): Promise<VectorSearchResult[]>;

  /**
   * The vector indexes there are, in the order of their names. Within a namespace: those of it, without its prefix.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * await client.vectorCreateIndex('colors', 3, 'cosine', 'hnsw');
   * await client.vectorInsert('colors', 'red', [1, 0, 0]);
   * const [index] = await client.vectorIndexes();
   * console.log(index?.namespace, index?.dimensions, index?.vectors); // colors 3 1
   * ```
   *
   * @throws {@link UnsupportedError} from a store without vectors.
   */
  vectorIndexes(options?: CallOptions): Promise<VectorIndexInfo[]>;

  /**
   * A client of the keys under a prefix: the same API, with keys going in and coming out without the prefix. It
   * shares this client's connection; closing it closes nothing.
   *
   * ```ts
   * import { NoriKVClient } from '@norikv/client';
   *
   * await using client = await NoriKVClient.open('memory:');
   * const acme = client.namespace('tenant:acme/');
   * await acme.put('plan', 'gold');
   * console.log((await client.get('tenant:acme/plan')).text()); // gold
   * ```
   *
   * @throws {@link InvalidArgumentError} if the prefix is empty, or leaves no room for a key.
   */
  namespace(prefix: Key): NoriKVClient;

  /** What the store is, what it has, its limits and sizes. */
  status(options?: CallOptions): Promise<Status>;

  /** What this client counted of its own work. */
  getStats(): ClientStats;

  /** The cluster's view, or `null` while none is known, as for a store in the process. */
  getClusterView(): ClusterView | null;

  /**
   * Calls `listener` with the cluster's view, now if it is known and with each change, and answers how to stop.
   * It does not keep the process alive.
   *
   * The listener is called only while the client can reach a cluster: never for a store in the process, and never
   * again, without an error, once a store could not be opened. Subscribe anew after the next call that succeeds.
   */
  onTopologyChange(listener: (view: ClusterView) => void): () => void;
}

/** Makes a client and connects it; the same as {@link NoriKVClient.open}. */
export function createClient(config: string | ClientConfig): Promise<NoriKVClient>;

// ---------------------------------------------------------------------------------------------------------------
// Ranges and scans
// ---------------------------------------------------------------------------------------------------------------

/**
 * The keys that begin with `prefix`, or from `start` up to and without `end`; without any, every key (but
 * {@link NoriKVClient.deleteRange} wants one). Other names are refused.
 */
export interface KeyRange {
  /** Every key that begins with it. Not together with `start` or `end`. */
  readonly prefix?: Key | undefined;
  /** The first key of the range. */
  readonly start?: Key | undefined;
  /** The first key after the range. */
  readonly end?: Key | undefined;
}

/** Options of a count. */
export interface CountOptions extends GetOptions {
  /** Count as it was at this version. */
  readonly version?: Version | undefined;
}

/** What to scan, and how. `timeoutMs` counts for each page. */
export interface ScanOptions extends KeyRange, GetOptions {
  /** The most entries: a whole number, 0 for no limit. Default 0. */
  readonly limit?: number | undefined;
  /** From the last key to the first. Default false. */
  readonly reverse?: boolean | undefined;
  /** Leave the values out. Default false. */
  readonly keysOnly?: boolean | undefined;
  /**
   * Read as it was at this version.
   *
   * A version below the compaction floor fails with {@link CompactedError}, one in the future with
   * {@link InvalidArgumentError}.
   */
  readonly version?: Version | undefined;
}

/** A scan under way. Iterating it twice reads twice. */
export interface Scan extends AsyncIterable<Entry> {
  /** All entries at once. Mind the memory: a range has no bound of its own. */
  toArray(): Promise<Entry[]>;
}

// ---------------------------------------------------------------------------------------------------------------
// Transactions
// ---------------------------------------------------------------------------------------------------------------

/** A condition of a transaction on one key, made by {@link compare}. */
export interface Compare {
  /** What of the key is compared. */
  readonly target: 'value' | 'version' | 'createVersion' | 'generation' | 'lease' | 'exists';
  /** How it has to relate to what it is compared with. */
  readonly relation: 'equals' | 'notEquals' | 'less' | 'lessOrEqual' | 'greater' | 'greaterOrEqual';
}

/**
 * How something of a key may be compared. Each throws {@link InvalidArgumentError} if it is given something else than
 * a `T`.
 */
export interface Relations<T> {
  /** What is found is equal to this. */
  equals(to: T): Compare;
  /** What is found is not equal to this. */
  notEquals(to: T): Compare;
  /** What is found is less than this. */
  less(to: T): Compare;
  /** What is found is less than this, or equal to it. */
  lessOrEqual(to: T): Compare;
  /** What is found is greater than this. */
  greater(to: T): Compare;
  /** What is found is greater than this, or equal to it. */
  greaterOrEqual(to: T): Compare;
}

/** What of a key can be compared. */
export interface CompareKey {
  /** The value, as unsigned bytes. False for a missing key, whatever the relation. */
  readonly value: Relations<Value>;
  /** The version of the last change. A missing key has `new Version(0n, 0n)`, the least of all. */
  readonly version: Relations<Version>;
  /** The version of the creation; of a missing key as for `version`. */
  readonly createVersion: Relations<Version>;
  /** The generation; 0 for a missing key. */
  readonly generation: Relations<number>;
  /** The lease, or its id; 0n for a missing key and for one without a lease. */
  readonly lease: Relations<Lease | bigint>;
  /** Whether the key is there. */
  readonly exists: Pick<Relations<boolean>, 'equals' | 'notEquals'>;
}

/**
 * Begins a condition on a key.
 *
 * ```ts
 * import { NoriKVClient, compare, op } from '@norikv/client';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const claim = client
 *   .txn()
 *   .if(compare('owner').exists.equals(false))
 *   .then(op.put('owner', 'me'));
 * console.log((await claim.commit()).succeeded); // true
 * console.log((await claim.commit()).succeeded); // false
 * ```
 *
 * @throws {@link InvalidArgumentError} if the key is no key.
 */
export function compare(key: Key): CompareKey;

/** A step of a transaction, made by {@link op}. */
export interface TxnOp<
  Type extends 'put' | 'get' | 'delete' | 'deleteRange' | 'scan' =
    'put' | 'get' | 'delete' | 'deleteRange' | 'scan',
  PrevEntry extends boolean = boolean,
> {
  /** What it does. */
  readonly type: Type;
  /** Whether it answers the entry that was there before. */
  readonly prevEntry: PrevEntry;
}

/** Options of a put in a transaction. What belongs to a call, such as `signal`, belongs to {@link Txn.commit}. */
export type OpPutOptions = Omit<PutOptions, keyof CallOptions>;
/** Options of a delete in a transaction. */
export type OpDeleteOptions = Omit<DeleteOptions, keyof CallOptions>;
/**
 * What to scan in a transaction: all of it at once, as the transaction finds it. What has more than 1,024 entries or
 * 1 MiB fails with {@link ResourceExhaustedError}; give a `limit`, or scan in the transaction what fits.
 */
export type OpScanOptions = Omit<ScanOptions, keyof GetOptions | 'version'>;

/**
 * Makes the steps of a transaction. Each takes what the call of the same name takes, and refuses what is of a wrong
 * type or name with {@link InvalidArgumentError}, and a lease that is lost with {@link LeaseLostError}; what else the
 * call refuses, {@link Txn.commit} does.
 *
 * A condition of a put or delete that does not hold fails the whole transaction with its own error.
 *
 * ```ts
 * import { NoriKVClient, op } from '@norikv/client';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const { results } = await client
 *   .txn()
 *   .then(op.put('a', '1'), op.put('b', '2'), op.scan({ limit: 10 }), op.deleteRange({ prefix: 'c' }))
 *   .commit();
 * console.log(results.length); // 4
 * ```
 */
export const op: {
  /** Writes one key. Answers the {@link Version}, or a {@link PutResult} with `prevEntry: true`. */
  put(
    key: Key,
    value: Value,
    options: OpPutOptions & { readonly prevEntry: true },
  ): TxnOp<'put', true>;
  /** Writes one key. */
  put(
    key: Key,
    value: Value,
    options?: OpPutOptions & { readonly prevEntry?: false },
  ): TxnOp<'put', false>;
  /** Writes one key, where the options are known only when it runs. */
  put(key: Key, value: Value, options?: OpPutOptions): TxnOp<'put'>;
  /** Reads one key, as the steps before left it. Answers the {@link Entry}, or `null`. */
  get(key: Key): TxnOp<'get', false>;
  /** Deletes one key. Answers whether it was there. */
  delete(key: Key, options?: OpDeleteOptions): TxnOp<'delete', false>;
  /** Deletes every key of a range. Answers how many there were. */
  deleteRange(range: KeyRange): TxnOp<'deleteRange', false>;
  /** Reads a range, as the steps before left it. Answers its entries. */
  scan(options?: OpScanOptions): TxnOp<'scan', false>;
};

/** What a step of a transaction answers. */
export type TxnOpResult<Step extends TxnOp> =
  Step extends TxnOp<'put', true>
    ? PutResult
    : Step extends TxnOp<'put', false>
      ? Version
      : Step extends TxnOp<'put'>
        ? Version | PutResult
        : Step extends TxnOp<'get'>
          ? Entry | null
          : Step extends TxnOp<'delete'>
            ? boolean
            : Step extends TxnOp<'deleteRange'>
              ? number
              : Step extends TxnOp<'scan'>
                ? readonly Entry[]
                : Version | PutResult | Entry | null | boolean | number | readonly Entry[];

/** What the steps of a branch answer, in their order. */
export type TxnOpResults<Steps extends readonly TxnOp[]> = {
  readonly [At in keyof Steps]: TxnOpResult<Steps[At]>;
};

/** What a transaction answers: `succeeded` says which branch was taken, and so what `results` are. */
export type TxnResult<Then extends readonly TxnOp[], Else extends readonly TxnOp[]> =
  | {
      /** All compares held, and `then` was done. */
      readonly succeeded: true;
      /** The version of the transaction; of the store, if it changed nothing. */
      readonly version: Version;
      /** What the ops of `then` answered. */
      readonly results: TxnOpResults<Then>;
    }
  | {
      /** A compare did not hold, and `else` was done. */
      readonly succeeded: false;
      /** The version of the transaction; of the store, if it changed nothing. */
      readonly version: Version;
      /** What the ops of `else` answered. */
      readonly results: TxnOpResults<Else>;
    };

/**
 * A transaction that is being put together: at most 128 compares and ops, and in each branch one write for each key.
 *
 * Each method answers a new transaction and leaves this one as it is, so that one may be begun once and committed
 * many times. Calling one again adds to what there is. It is no promise, though it has a `then`: awaiting it instead
 * of {@link Txn.commit} fails with {@link InvalidArgumentError}, and does not compile.
 *
 * ```ts
 * import { NoriKVClient, compare, op } from '@norikv/client';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const version = await client.put('config', 'a');
 * const { succeeded } = await client
 *   .txn()
 *   .if(compare('config').version.equals(version))
 *   .then(op.put('config', 'b'), op.put('config/changed', 'yes'))
 *   .commit();
 * console.log(succeeded); // true
 * ```
 */
export interface Txn<
  Then extends readonly TxnOp[] = readonly [],
  Else extends readonly TxnOp[] = readonly [],
> {
  /** Adds conditions. All have to hold; none at all hold. */
  if(...compares: readonly Compare[]): Txn<Then, Else>;
  /** Adds ops for when all conditions hold. */
  then<Added extends readonly TxnOp[]>(...ops: Added): Txn<readonly [...Then, ...Added], Else>;
  /** Adds ops for when a condition does not hold. */
  else<Added extends readonly TxnOp[]>(...ops: Added): Txn<Then, readonly [...Else, ...Added]>;
  /**
   * Checks and does it all at once: in one revision, or in none if nothing changed. Its reads see the writes before
   * them, and nobody sees a part of it.
   *
   * An error's `outcome` is `'unknown'` where that of a put would be.
   *
   * @throws {@link InvalidArgumentError} for more than 128 compares and ops, two writes to one key in one branch, or
   *   what a single call refuses; {@link VersionMismatchError} and {@link AlreadyExistsError} from a condition of an
   *   op; {@link LeaseNotFoundError} and {@link LeaseLostError} from its lease; {@link UnsupportedError}.
   */
  commit(options?: CallOptions): Promise<TxnResult<Then, Else>>;
}

// ---------------------------------------------------------------------------------------------------------------
// Leases
// ---------------------------------------------------------------------------------------------------------------

/** Options of {@link NoriKVClient.lease}. */
export interface LeaseOptions extends CallOptions {
  /** How long the lease lives without a keep-alive, in milliseconds: a whole number from 1 to 10 years. */
  readonly ttlMs: number;
}

/** Options of {@link Lease.put}: those of a put but for its two ends. */
export type LeasePutOptions = Omit<PutOptions, 'lease' | 'ttlMs'>;

/** Options of {@link Lease.timeToLive}. */
export interface LeaseTimeToLiveOptions extends CallOptions {
  /** Whether to list the lease's keys. Default false. */
  readonly keys?: boolean | undefined;
}

/** How long a lease has left. */
export interface LeaseStatus {
  /** How long it was granted for, in milliseconds. */
  readonly grantedMs: number;
  /** How long it has left without a keep-alive, in milliseconds. */
  readonly remainingMs: number;
  /** Its keys in their order, if they were asked for. Within a namespace: those of it, without its prefix. */
  readonly keys: readonly Uint8Array[];
}

/**
 * A lease: keys put with it go together, in one revision, when it ends.
 *
 * The client renews it every third of its time, from a thread of its own, so that a busy event loop does not lose it.
 * It is lost when the store says so, when its time passed without a renewal that the store confirmed, when it is
 * revoked, and when its client is closed; once lost, it stays lost. A holder never believes in it longer than the
 * store does: a process that stood still finds out before it does anything else with the lease. It does not keep the
 * process alive.
 *
 * Each use of a lease that is lost fails with {@link LeaseLostError}.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using lease = await client.lease({ ttlMs: 5_000 });
 * lease.signal.addEventListener('abort', () => {
 *   console.log('stop the work:', String(lease.signal.reason));
 * });
 * await lease.put('leader', 'me', { ifNotExists: true });
 * const { keys } = await lease.timeToLive({ keys: true });
 * console.log(keys.length); // 1
 * ```
 */
export interface Lease extends AsyncDisposable {
  /** Its number, as {@link Entry.lease} says it. */
  readonly id: bigint;
  /** How long it lives without a keep-alive: what was asked for, or more where the store counts in whole seconds. */
  readonly ttlMs: number;
  /** Resolves with the reason when the lease is lost. It never rejects. */
  readonly lost: Promise<LeaseLostError>;
  /** Fires when the lease is lost; its `reason` is a {@link LeaseLostError}. Looking at it asks the clock first. */
  readonly signal: AbortSignal;
  /**
   * Writes one key with this lease; otherwise as {@link NoriKVClient.put}.
   *
   * @throws {@link LeaseLostError}, {@link VersionMismatchError}, {@link AlreadyExistsError}.
   */
  put(
    key: Key,
    value: Value,
    options: LeasePutOptions & { readonly prevEntry: true },
  ): Promise<PutResult>;
  /** Writes one key with this lease, and answers the version of the write. */
  put(
    key: Key,
    value: Value,
    options?: LeasePutOptions & { readonly prevEntry?: false },
  ): Promise<Version>;
  /** Writes one key with this lease, where the options are known only when it runs. */
  put(key: Key, value: Value, options?: LeasePutOptions): Promise<Version | PutResult>;
  /**
   * How long it has left, by the store's clock, and its keys.
   *
   * @throws {@link LeaseLostError}.
   */
  timeToLive(options?: LeaseTimeToLiveOptions): Promise<LeaseStatus>;
  /**
   * Ends it: its keys go in one revision. `lost` and `signal` say so, too. If the call fails, the lease is not renewed
   * any more, and runs out.
   *
   * @throws {@link LeaseLostError} if it was lost before.
   */
  revoke(options?: CallOptions): Promise<void>;
  /** Revokes it if it is not lost, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

// ---------------------------------------------------------------------------------------------------------------
// Watches
// ---------------------------------------------------------------------------------------------------------------

/** What a watch follows: one key, or a range; without any bound, every key. Other names are refused. */
export interface WatchRange extends KeyRange {
  /** The one key. Not together with a range. */
  readonly key?: Key | undefined;
}

/** Options of {@link NoriKVClient.watch}. */
export interface WatchOptions {
  /** The first version that is wanted: what happened since is replayed. Default: what happens from now on. */
  readonly fromVersion?: Version | undefined;
  /** Whether events tell the entry that was there before. Default false. */
  readonly prevEntry?: boolean | undefined;
  /**
   * Whether to send an empty batch at least every 10 s, with the version up to which nothing is missing. Default
   * false.
   */
  readonly progress?: boolean | undefined;
  /** Whether puts are wanted. Default true. */
  readonly puts?: boolean | undefined;
  /** Whether deletes are wanted. Default true. */
  readonly deletes?: boolean | undefined;
  /** Ends the watch when it fires: what is unread is dropped, and the iterator throws {@link CancelledError}. */
  readonly signal?: AbortSignal | undefined;
  /** How long it may take to begin, in milliseconds. Default: the client's `timeout`. */
  readonly timeoutMs?: number | undefined;
}

/** One change of one key. */
export interface WatchEvent {
  /** What happened to the key: it was put, or it is gone. */
  readonly type: 'put' | 'delete';
  /** The entry as the change left it. Of a delete: its key and its version, everything else empty. */
  readonly entry: Entry;
  /** The entry before, if it was asked for and there was one. */
  readonly prevEntry?: Entry;
  /** Why it happened, where the store knows it: a call, its time to live, or its lease. On etcd always `'write'`. */
  readonly reason: 'write' | 'expired' | 'lease';
}

/** The changes of one revision. */
export interface WatchBatch {
  /** Their version: nothing up to it is missing. */
  readonly version: Version;
  /** The changes, in the order in which they were made. None, where the batch only tells progress. */
  readonly events: readonly WatchEvent[];
}

/**
 * A watch under way: batches in the order of their revisions, each once, without a gap, also across a lost connection.
 *
 * It is iterated once: a second iteration is refused with {@link InvalidArgumentError}. Leaving the loop ends the
 * watch. An error comes after the batches before it: {@link CompactedError} if the history from `fromVersion` on is
 * not kept any more, {@link ClosedError} when the client is closed. Who is slow holds up nobody, and misses nothing
 * that the store's history still has.
 *
 * Waiting for the next batch keeps the process alive; a watch that nobody iterates does not.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const version = await client.put('a', '1');
 * await client.delete('a');
 * await using watch = client.watch({ key: 'a' }, { fromVersion: version, prevEntry: true });
 * const seen: string[] = [];
 * for await (const { events } of watch) {
 *   for (const { type, prevEntry } of events) seen.push(`${type} ${prevEntry?.text() ?? '-'}`);
 *   if (seen.length === 2) break;
 * }
 * console.log(seen.join(', ')); // put -, delete 1
 * ```
 */
export interface Watch extends AsyncDisposable {
  /** Resolves once the watch has begun, with the version that it starts after. Nobody has to look at it. */
  readonly ready: Promise<Version>;
  /** Ends the watch: what is unread is dropped, and the iterator is done. Closing twice is closing once. */
  close(): Promise<void>;
  /** The batches. @throws {@link InvalidArgumentError} when it is iterated a second time. */
  [Symbol.asyncIterator](): AsyncIterator<WatchBatch, undefined> & AsyncIterable<WatchBatch>;
  /** The same as {@link Watch.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

// ---------------------------------------------------------------------------------------------------------------
// Vectors
// ---------------------------------------------------------------------------------------------------------------

/** A vector on its way in. Numbers are kept as 32-bit floats, as a `Float32Array` has them. */
export type Vector = Float32Array | readonly number[];

/** A vector and its id, for {@link NoriKVClient.vectorInsertMany}. */
export interface VectorItem {
  /** 1 to 512 bytes of UTF-8. */
  readonly id: string;
  /** The vector. */
  readonly vector: Vector;
}

/**
 * How far two vectors are from each other; lower is nearer in all three. `'euclidean'` is the straight line,
 * sqrt(Σ(a−b)²). `'cosine'` is the angle, 1 − a·b/(|a||b|), from 0 to 2. `'inner_product'` is −a·b.
 */
export type DistanceFunction = 'euclidean' | 'cosine' | 'inner_product';

/**
 * How an index finds the nearest vectors: `'brute_force'` looks at each of them, `'hnsw'` at a few, by a graph, and is
 * nearly always right.
 */
export type VectorIndexType = 'brute_force' | 'hnsw';

/**
 * What an index keeps of each number in memory: all of it, half of its precision, or one of 255 steps. The store keeps
 * all of it.
 */
export type VectorQuantization = 'none' | 'f16' | 'int8';

/** Options of {@link NoriKVClient.vectorCreateIndex}. */
export interface VectorCreateIndexOptions extends CallOptions {
  /** What the index keeps of each number in memory. Default `'none'`: all of it. */
  readonly quantization?: VectorQuantization | undefined;
  /** Makes the write happen once, however often it is sent. 1 to 1,024 bytes. */
  readonly idempotencyKey?: string | undefined;
}

/** Options of {@link NoriKVClient.vectorDropIndex}. */
export interface VectorDropIndexOptions extends CallOptions {
  /** Makes the write happen once, however often it is sent. 1 to 1,024 bytes. */
  readonly idempotencyKey?: string | undefined;
}

/** Options of {@link NoriKVClient.vectorInsert} and {@link NoriKVClient.vectorInsertMany}. */
export interface VectorInsertOptions extends CallOptions {
  /** Makes the write happen once, however often it is sent: a repeat answers the first version. 1 to 1,024 bytes. */
  readonly idempotencyKey?: string | undefined;
}

/** Options of {@link NoriKVClient.vectorDelete}. */
export interface VectorDeleteOptions extends CallOptions {
  /** Makes the write happen once, however often it is sent. 1 to 1,024 bytes. */
  readonly idempotencyKey?: string | undefined;
}

/** Options of {@link NoriKVClient.vectorGet}. */
export type VectorGetOptions = GetOptions;

/** Options of {@link NoriKVClient.vectorSearch} and {@link NoriKVClient.vectorSearchMany}. */
export interface VectorSearchOptions extends GetOptions {
  /** Answer the vectors, too, as they were inserted. Default false. */
  readonly includeVectors?: boolean | undefined;
  /** Leave out what is farther away than this, which is compared as a 32-bit float. Default: nothing. */
  readonly maxDistance?: number | undefined;
  /**
   * How many candidates an `'hnsw'` index looks at, a whole number from 1 to 10,000: more is slower and finds more. At
   * least `k` are looked at.
   */
  readonly efSearch?: number | undefined;
  /** Look only at vectors whose ids begin so: up to 512 bytes of UTF-8. */
  readonly idPrefix?: string | undefined;
}

/** A vector that a search found. */
export interface VectorMatch {
  /** Its id. */
  readonly id: string;
  /** How far it is from the query. */
  readonly distance: number;
  /** The vector, if it was asked for: a copy of its own. */
  readonly vector?: Float32Array;
}

/** What a search answers. */
export interface VectorSearchResult {
  /** The nearest vectors, nearest first; those that are equally far by their ids. */
  readonly matches: readonly VectorMatch[];
  /** How long the store searched, in microseconds. */
  readonly searchTimeUs: number;
}

/** A vector index as it is now. */
export interface VectorIndexInfo {
  /** Its name. */
  readonly namespace: string;
  /** How many numbers each of its vectors has. */
  readonly dimensions: number;
  /** How far its vectors are from each other. */
  readonly distance: DistanceFunction;
  /** How it finds the nearest. */
  readonly indexType: VectorIndexType;
  /** What it keeps of each number in memory. */
  readonly quantization: VectorQuantization;
  /** When it was created. */
  readonly created: Version;
  /** How many vectors it has. */
  readonly vectors: number;
  /**
   * How many of them are in its graph. The rest is looked at one by one until it is, in the background. All of them,
   * for an index without a graph.
   */
  readonly indexed: number;
  /** How many bytes of memory it takes. */
  readonly memoryBytes: number;
}

// ---------------------------------------------------------------------------------------------------------------
// The store, the client's own counts, the cluster
// ---------------------------------------------------------------------------------------------------------------

/** What a store says of itself. */
export interface Status {
  /** What holds the data: `'memory'`, `'file'`, `'etcd'`, or what the server says. */
  readonly store: string;
  /**
   * What the store can do: some of `'range'`, `'deleteRange'`, `'ifNotExists'`, `'batch'`, `'history'`, `'txn'`,
   * `'lease'`, `'watch'`, `'compact'`, `'vectors'`.
   */
  readonly features: readonly string[];
  /** The store's limits. */
  readonly limits: {
    /** The longest key, in bytes. */
    readonly maxKeyBytes: number;
    /** The largest value, in bytes. */
    readonly maxValueBytes: number;
    /** The most calls in one message. */
    readonly maxBatchOps: number;
    /** The most entries in one page of a scan. */
    readonly maxPageEntries: number;
  };
  /** The newest version. */
  readonly version: Version;
  /** How much the store holds. */
  readonly sizes: {
    /** Bytes on disk; 0 in memory. */
    readonly diskBytes: number;
    /** The oldest version that can still be read. */
    readonly compactVersion: Version;
  };
  /** When a write is acknowledged: on disk, in memory and soon on disk, or in memory only. */
  readonly durability: 'fsync' | 'relaxed' | 'memory';
  /** The store's vector indexes together, those of other namespaces included; `null` from a store without them. */
  readonly vectors: {
    /** How many indexes there are. */
    readonly indexes: number;
    /** How many vectors they have. */
    readonly vectors: number;
    /** How many of these are indexed. The rest is, in the background, and is looked at one by one meanwhile. */
    readonly indexed: number;
  } | null;
  /** The version of the software that answers. */
  readonly software: string;
}

/** What a client counted of its own work since it was made. */
export interface ClientStats {
  /** Where calls go. */
  readonly router: {
    /** Servers that calls can be sent to; 0 for a store in the process. */
    readonly totalNodes: number;
  };
  /** What carries them. */
  readonly pool: {
    /** Connections that are open. */
    readonly activeConnections: number;
  };
  /** What is known of the cluster. */
  readonly topology: {
    /** The epoch of the cluster's view; 0 while none is known. */
    readonly epoch: bigint;
    /** Shards whose leader is known. */
    readonly cachedLeaders: number;
  };
  /** The calls themselves; those of its namespaces count, too. */
  readonly requests: {
    /** Calls that were answered, rightly or with an error. */
    readonly total: number;
    /** Of those, the ones that failed. */
    readonly failed: number;
    /** Attempts beyond the first. */
    readonly retried: number;
    /** Calls under way. */
    readonly inFlight: number;
    /** How long calls took, in milliseconds. */
    readonly latencyMs: {
      /** Half of the calls were faster. */
      readonly p50: number;
      /** 95 of 100 were faster. */
      readonly p95: number;
      /** 99 of 100 were faster. */
      readonly p99: number;
    };
  };
}

/** A node of a cluster. */
export interface ClusterNode {
  /** Its name in the view. */
  readonly id: string;
  /** `host:port`. */
  readonly addr: string;
  /** As the server names it: `leader`, `follower`, … */
  readonly role: string;
}

/** One copy of a shard. */
export interface ShardReplica {
  /** The `id` of the node that has it. */
  readonly nodeId: string;
  /** Whether that node leads the shard. */
  readonly leader: boolean;
}

/** A shard and where its copies are. */
export interface ShardInfo {
  /** Its number, from 0. */
  readonly id: number;
  /** Its copies. */
  readonly replicas: readonly ShardReplica[];
}

/** The nodes of a cluster, and who leads which shard. */
export interface ClusterView {
  /** Grows with every change. */
  readonly epoch: bigint;
  /** The nodes that there are. */
  readonly nodes: readonly ClusterNode[];
  /** The shards, and where they are. */
  readonly shards: readonly ShardInfo[];
}

// ---------------------------------------------------------------------------------------------------------------
// An ephemeral server
// ---------------------------------------------------------------------------------------------------------------

/** Settings of an ephemeral server. */
export interface EphemeralOptions {
  /** The port; 0 takes a free one. Default 0. */
  readonly port?: number;
}

/**
 * A server inside this process, for tests: on a free loopback port, with a temporary directory that `stop()`
 * removes. No binary to find and no process to spawn.
 */
export class EphemeralNoriKV implements AsyncDisposable {
  /** Makes one, without starting it. */
  constructor(options?: EphemeralOptions);
  /** Its `host:port`. @throws {@link EphemeralServerError} while it is not running. */
  readonly address: string;
  /** Starts the server. @throws {@link EphemeralServerError} if it cannot, or runs already. */
  start(): Promise<void>;
  /** Closes its clients, stops the server and removes its directory. Stopping twice is stopping once. */
  stop(): Promise<void>;
  /** The same as {@link EphemeralNoriKV.stop}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
  /** A client of the server, the same one each time. @throws {@link EphemeralServerError} while it is not running. */
  getClient(): NoriKVClient;
}

/**
 * Starts an ephemeral server.
 *
 * ```ts
 * import { createEphemeral } from '@norikv/client';
 *
 * const server = await createEphemeral();
 * await server.getClient().put('a', '1');
 * await server.stop();
 * ```
 */
export function createEphemeral(options?: EphemeralOptions): Promise<EphemeralNoriKV>;

// ---------------------------------------------------------------------------------------------------------------
// Helpers
// ---------------------------------------------------------------------------------------------------------------

/** The version of this package. */
export const VERSION: string;

/** The UTF-8 bytes of a text. */
export function stringToBytes(text: string): Uint8Array;

/** The text of UTF-8 bytes. Bytes that are not UTF-8 become U+FFFD. */
export function bytesToString(bytes: Uint8Array): string;

/**
 * The bytes of a key.
 *
 * @throws {@link InvalidArgumentError} if it is neither text nor bytes, or has not 1 to 1,024 bytes.
 */
export function keyToBytes(key: Key): Uint8Array;

/**
 * The bytes of a value.
 *
 * @throws {@link InvalidArgumentError} if it is neither text nor bytes.
 */
export function valueToBytes(value: Value): Uint8Array;

/**
 * The xxHash64 of a key with seed 0, as every NoriKV client and server computes it.
 *
 * ```ts
 * import { xxhash64 } from '@norikv/client';
 *
 * console.log(xxhash64('hello')); // 2794345569481354659n
 * ```
 */
export function xxhash64(key: Key): bigint;

/**
 * The bucket of a hash, from 0 up to and without `buckets` (Lamping and Veach, "A Fast, Minimal Memory, Consistent
 * Hash Algorithm", 2014).
 *
 * @throws {@link InvalidArgumentError} unless `hash` is a `bigint` from 0 to 2^64 - 1 and `buckets` a whole number
 *   from 1 to 2^31 - 1.
 */
export function jumpConsistentHash(hash: bigint, buckets: number): number;

/** The shard of a key. `totalShards` is 1,024 unless the cluster is set up otherwise. */
export function getShardForKey(key: Key, totalShards?: number): number;

/** Kept for compatibility: the hash needs no initialization, and the promise resolves at once. */
export function initializeHasher(): Promise<void>;

/** Builds a {@link RetryConfig} step by step. */
export interface RetryPolicyBuilder {
  /** The most attempts, the first included. */
  maxAttempts(attempts: number): RetryPolicyBuilder;
  /** The longest first delay, in milliseconds. */
  initialDelay(ms: number): RetryPolicyBuilder;
  /** The longest delay of all, in milliseconds. */
  maxDelay(ms: number): RetryPolicyBuilder;
  /** How much the longest delay grows with each attempt. */
  backoffMultiplier(factor: number): RetryPolicyBuilder;
  /** Whether delays are drawn evenly from zero to the longest. */
  jitter(on: boolean): RetryPolicyBuilder;
  /** The finished policy. */
  build(): RetryConfig;
}

/**
 * Begins a retry policy.
 *
 * ```ts
 * import { NoriKVClient, retryPolicy } from '@norikv/client';
 *
 * const retry = retryPolicy().maxAttempts(5).initialDelay(20).maxDelay(2_000).build();
 * const client = new NoriKVClient({ nodes: ['127.0.0.1:7447'], retry });
 * await client.close();
 * ```
 */
export function retryPolicy(): RetryPolicyBuilder;

// ---------------------------------------------------------------------------------------------------------------
// Errors
// ---------------------------------------------------------------------------------------------------------------

/** The stable code of every error. */
export type ErrorCode =
  | 'KEY_NOT_FOUND'
  | 'VERSION_MISMATCH'
  | 'ALREADY_EXISTS'
  | 'INVALID_ARGUMENT'
  | 'NOT_LEADER'
  | 'UNAVAILABLE'
  | 'CONNECTION'
  | 'NO_NODES_AVAILABLE'
  | 'DEADLINE_EXCEEDED'
  | 'RETRY_EXHAUSTED'
  | 'CANCELLED'
  | 'CLOSED'
  | 'UNAUTHENTICATED'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'UNSUPPORTED'
  | 'COMPACTED'
  | 'LEASE_NOT_FOUND'
  | 'LEASE_LOST'
  | 'NOT_FOUND'
  | 'VECTOR_INDEX_NOT_FOUND'
  | 'VECTOR_INDEX_EXISTS'
  | 'VECTOR_DIMENSION_MISMATCH'
  | 'VECTOR_NOT_FOUND'
  | 'CORRUPTION'
  | 'INTERNAL';

/** What may be said of any error beside its message. */
export interface ErrorDetails {
  /** What caused it. */
  readonly cause?: unknown;
  /** That a write may or may not have happened. */
  readonly outcome?: 'unknown' | undefined;
}

/**
 * What every error of this package is. Its `code` never changes; its message is for people and may.
 *
 * `instanceof` works for errors of one copy of the package; `code` works always.
 */
export class NoriKVError extends Error {
  /** The package makes its errors itself; make one of your own to test what handles it. */
  constructor(code: ErrorCode, message: string, details?: ErrorDetails);
  /** The stable code. */
  readonly code: ErrorCode;
  /** Whether the same call may succeed when it is made again, nothing else changed. */
  readonly retryable: boolean;
  /** `'unknown'` when a write may or may not have happened; otherwise absent. */
  readonly outcome?: 'unknown';
}

/** The key is not in the store. */
export class KeyNotFoundError extends NoriKVError {
  constructor(message: string, details: ErrorDetails & { readonly key: Uint8Array });
  /** The key that the call was about. */
  readonly key: Uint8Array;
}

/** The key is not at the version that the write asked for. Read it again and decide again. */
export class VersionMismatchError extends NoriKVError {
  constructor(
    message: string,
    details: ErrorDetails & {
      readonly key: Uint8Array;
      readonly expected: Version;
      readonly actual: Version | null;
    },
  );
  /** The key that the call was about. */
  readonly key: Uint8Array;
  /** What the write asked for. */
  readonly expected: Version;
  /** What was found; `null` if the key is missing. */
  readonly actual: Version | null;
}

/** The key is in the store, and the write asked for it not to be. */
export class AlreadyExistsError extends NoriKVError {
  constructor(
    message: string,
    details: ErrorDetails & { readonly key: Uint8Array; readonly actual: Version | null },
  );
  /** The key that the call was about. */
  readonly key: Uint8Array;
  /** The version that was found, where it is known. */
  readonly actual: Version | null;
}

/** The call can never succeed as it was made. Nothing changed. */
export class InvalidArgumentError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** The server does not lead the key's shard, and no other was found that does. */
export class NotLeaderError extends NoriKVError {
  constructor(
    message: string,
    details: ErrorDetails & { readonly leaderHint: string | null; readonly shardId: number | null },
  );
  /** The node id or address of the leader, where the server said so. */
  readonly leaderHint: string | null;
  /** The shard of the key, where it is known. */
  readonly shardId: number | null;
}

/** The store cannot answer now. `outcome` says whether a write may have happened. */
export class UnavailableError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** A server cannot be reached. */
export class ConnectionError extends NoriKVError {
  constructor(message: string, details: ErrorDetails & { readonly address: string | null });
  /** The `host:port` of the server. */
  readonly address: string | null;
}

/** None of the configured servers can be reached; the message says why for each. */
export class NoNodesAvailableError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** The call's time ran out. */
export class DeadlineExceededError extends NoriKVError {
  constructor(message: string, details: ErrorDetails & { readonly timeoutMs: number });
  /** How long the call was given, in milliseconds. */
  readonly timeoutMs: number;
}

/** Every attempt failed; `cause` is the last failure. */
export class RetryExhaustedError extends NoriKVError {
  constructor(message: string, details: ErrorDetails & { readonly attempts: number });
  /** How many attempts were made. */
  readonly attempts: number;
}

/** The call was ended by its signal, whose reason is the `cause`. Its `name` is `'AbortError'`. */
export class CancelledError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** The client was closed. */
export class ClosedError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** The caller did not say who it is, or said it wrongly. */
export class UnauthenticatedError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** The caller may not do this. */
export class PermissionDeniedError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** A limit, a queue or the disk is full; or the directory is open elsewhere. */
export class ResourceExhaustedError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** The store does not have this feature. Nothing changed. */
export class UnsupportedError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** The version asked for has been compacted. */
export class CompactedError extends NoriKVError {
  constructor(message: string, details: ErrorDetails & { readonly compactVersion: Version | null });
  /** The oldest version that can still be read. */
  readonly compactVersion: Version | null;
}

/** The store has no such lease: it was revoked, or ran out. Grant a new one. */
export class LeaseNotFoundError extends NoriKVError {
  constructor(message: string, details: ErrorDetails & { readonly lease: bigint });
  /** The id of the lease. */
  readonly lease: bigint;
}

/** A lease that this client held is lost; the message says why. Stop what it stood for, and grant a new one. */
export class LeaseLostError extends NoriKVError {
  constructor(message: string, details: ErrorDetails & { readonly lease: bigint });
  /** The id of the lease. */
  readonly lease: bigint;
}

/** Something named in the call, other than a key, is not there. */
export class NotFoundError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** No such vector index. */
export class VectorIndexNotFoundError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** A different vector index has that name. */
export class VectorIndexExistsError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** The vector has not as many numbers as the index's vectors. */
export class VectorDimensionMismatchError extends NoriKVError {
  constructor(
    message: string,
    details: ErrorDetails & { readonly expected: number; readonly actual: number },
  );
  /** How many numbers the index's vectors have. */
  readonly expected: number;
  /** How many this one has. */
  readonly actual: number;
}

/** No such vector. */
export class VectorNotFoundError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** Data on disk is damaged. What is not damaged can still be read. */
export class CorruptionError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** A defect in NoriKV, or an answer from a server that it does not understand. Please report it. */
export class InternalError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** An ephemeral server could not start, runs already, or is not running. Its `code` is `UNAVAILABLE`. */
export class EphemeralServerError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}
