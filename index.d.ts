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
 * the client · ranges and scans · the cluster · an ephemeral server · helpers · errors.
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
  /** The id of the lease that the entry belongs to. */
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
}

/** Settings of a client of one address, and of an embedded store behind it. */
export interface AddressConfig extends CommonConfig {
  /** `memory:`, `file:<directory>` or `host:port`. */
  readonly address: string;
  /**
   * When a `file:` store acknowledges a write: `'fsync'` (the default) once it is on disk, `'relaxed'` once it is
   * in memory, and on disk within 100 ms.
   */
  readonly durability?: 'fsync' | 'relaxed';
  /** The largest value that an embedded store takes, in bytes. Default 1,048,576. */
  readonly maxValueBytes?: number;
  /** How long an embedded store keeps old revisions, in milliseconds. Default 3,600,000 (one hour). */
  readonly historyMs?: number;
  /** How many old revisions an embedded store keeps. Default 1,000,000. */
  readonly historyRevisions?: number;
  /** How long an embedded store remembers idempotency keys, in milliseconds. Default 86,400,000 (24 hours). */
  readonly idempotencyWindowMs?: number;
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
  /** The entry expires after that many milliseconds: a whole number from 1 to 10 years. Default: it stays. */
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
   * @param config - An address (`memory:`, `file:./data`, `host:port`) or settings.
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
   * @throws {@link NoNodesAvailableError} naming each server and why it does not answer;
   *   {@link ResourceExhaustedError} if another process has the directory open; {@link UnsupportedError} if it was
   *   written by a newer version; {@link InvalidArgumentError} if it is not a store's.
   */
  connect(options?: CallOptions): Promise<void>;

  /**
   * Closes the client: what was acknowledged is on disk, calls under way fail with {@link ClosedError}, and no
   * timer, socket or thread is left. Closing twice is closing once.
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
   * @throws {@link VersionMismatchError}, {@link AlreadyExistsError}; {@link UnsupportedError} from a server that
   *   cannot write only if absent.
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
// The store, the client's own counts, the cluster
// ---------------------------------------------------------------------------------------------------------------

/** What a store says of itself. */
export interface Status {
  /** What holds the data: `'memory'`, `'file'`, or what the server says. */
  readonly store: string;
  /** What the store can do, such as `'range'`, `'deleteRange'`, `'ifNotExists'`, `'history'`, `'batch'`. */
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

/** No such lease. */
export class LeaseNotFoundError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
}

/** The lease was lost. */
export class LeaseLostError extends NoriKVError {
  constructor(message: string, details?: ErrorDetails);
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
