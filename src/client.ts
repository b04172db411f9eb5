import type {
  CallOptions,
  ClientConfig,
  ClientStats,
  ClusterView,
  CountOptions,
  DeleteOptions,
  DistanceFunction,
  Entry as PublicEntry,
  GetOptions,
  Key,
  KeyRange,
  LeaseOptions,
  NoriKVClient as PublicClient,
  PutOptions,
  PutResult,
  ScanOptions,
  Status,
  UpdateOptions,
  Value,
  Vector,
  VectorCreateIndexOptions,
  VectorDeleteOptions,
  VectorDropIndexOptions,
  VectorGetOptions,
  VectorIndexInfo,
  VectorIndexType,
  VectorInsertOptions,
  VectorItem,
  VectorSearchOptions,
  VectorSearchResult,
  WatchOptions,
  WatchRange,
} from '../index.js';
import { binding } from './binding.js';
import { describe, ownKey, ownKeys, toBytes } from './bytes.js';
import { NO_STATS, readClusterView, readStats } from './cluster.js';
import { configFrame, timeoutOf } from './config.js';
import { consistencyNumber } from './consistency.js';
import { Entry } from './entry.js';
import { InvalidArgumentError, KeyNotFoundError } from './errors.js';
import { Failure } from './failure.js';
import { Op } from './frame.js';
import { grantLease } from './lease.js';
import type { Lease } from './lease.js';
import { COUNT_OPTIONS, DELETE_OPTIONS, GET_OPTIONS, checkOptions } from './names.js';
import { Part } from './part.js';
import { put } from './put.js';
import { checkBounded, writeRange, writeVersion } from './range.js';
import { StatusReply, ViewReply } from './reply.js';
import type { Reply } from './reply.js';
import { Scan } from './scan.js';
import { Session } from './session.js';
import { cutStack, refusing } from './stack.js';
import type { Caller } from './stack.js';
import { Txn } from './txn.js';
import { unexpected } from './unexpected.js';
import { update } from './update.js';
import * as vectors from './vector.js';
import type { Version } from './version.js';
import { Watch } from './watch.js';
import { writeDelete } from './write.js';

/** A client of one store, wherever it is. `index.d.ts` says what each method promises. */
export class NoriKVClient implements PublicClient {
  readonly #part: Part;

  constructor(config: string | ClientConfig) {
    const part: unknown = config;
    if (part instanceof Part) {
      this.#part = part;
    } else {
      const session = refusing(
        NoriKVClient,
        () => new Session(binding(), configFrame(config), timeoutOf(config)),
      );
      this.#part = new Part(session, undefined);
    }
  }

  static async open(config: string | ClientConfig, options?: CallOptions): Promise<NoriKVClient> {
    const client = refusing(NoriKVClient.open, () => new NoriKVClient(config));
    try {
      await client.#connect(options, NoriKVClient.open);
    } catch (error) {
      await client.close();
      throw error;
    }
    return client;
  }

  async connect(options?: CallOptions): Promise<void> {
    await this.#connect(options, NoriKVClient.prototype.connect);
  }

  async #connect(options: CallOptions | undefined, caller: Caller): Promise<void> {
    const reply = await this.#part.call(caller, { op: Op.connect, options });
    if (reply !== undefined) throw unexpected('connect');
  }

  async close(): Promise<void> {
    if (this.#part.prefix !== undefined) return;
    const reply = await this.#part.session.close();
    if (reply instanceof Failure) throw reply.toError(NoriKVClient.prototype.close);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  isConnected(): boolean {
    if (!this.#part.session.connected) return false;
    const { router, pool } = this.getStats();
    // A store in the process has no servers, and is there until it is closed.
    return router.totalNodes === 0 || pool.activeConnections > 0;
  }

  async get(key: Key, options?: GetOptions): Promise<Entry> {
    const caller = NoriKVClient.prototype.get;
    const entry = this.#getNow(caller, key, options) ?? (await this.#get(caller, key, options));
    if (entry instanceof Entry) return entry;
    const shown = typeof key === 'string' ? JSON.stringify(key) : `of ${key.length} bytes`;
    const error = new KeyNotFoundError(`key ${shown} is not in the store`, {
      key: toBytes(ownKey(key), 'a key'),
    });
    cutStack(error, caller);
    throw error;
  }

  async getOrNull(key: Key, options?: GetOptions): Promise<Entry | null> {
    const caller = NoriKVClient.prototype.getOrNull;
    const entry = this.#getNow(caller, key, options) ?? (await this.#get(caller, key, options));
    return entry === MISSING ? null : entry;
  }

  async getMany(keys: readonly Key[], options?: GetOptions): Promise<(Entry | null)[]> {
    const caller = NoriKVClient.prototype.getMany;
    const reply = await this.#part.call(caller, {
      op: Op.getMany,
      options,
      known: GET_OPTIONS,
      asked: refusing(caller, () => ownKeys(keys)),
      write: (frame) => {
        frame.u8(consistencyNumber(options?.consistency));
        frame.u32(keys.length);
        for (const key of keys) frame.data(key, 'a key');
      },
    });
    if (Array.isArray(reply)) return reply;
    throw unexpected('getMany');
  }

  put(
    key: Key,
    value: Value,
    options: PutOptions & { readonly prevEntry: true },
  ): Promise<PutResult>;
  put(
    key: Key,
    value: Value,
    options?: PutOptions & { readonly prevEntry?: false },
  ): Promise<Version>;
  put(key: Key, value: Value, options?: PutOptions): Promise<Version | PutResult>;
  async put(key: Key, value: Value, options?: PutOptions): Promise<Version | PutResult> {
    return await put(this.#part, NoriKVClient.prototype.put, key, value, options);
  }

  async delete(key: Key, options?: DeleteOptions): Promise<boolean> {
    const reply = await this.#part.call(NoriKVClient.prototype.delete, {
      op: Op.delete,
      writes: true,
      options,
      known: DELETE_OPTIONS,
      write: (frame) => {
        writeDelete(frame, key, options);
      },
    });
    if (typeof reply === 'boolean') return reply;
    throw unexpected('delete');
  }

  async deleteRange(range: KeyRange, options?: CallOptions): Promise<number> {
    const reply = await this.#part.call(NoriKVClient.prototype.deleteRange, {
      op: Op.deleteRange,
      writes: true,
      options,
      write: (frame) => {
        checkBounded(range);
        writeRange(frame, range);
      },
    });
    if (typeof reply === 'number') return reply;
    throw unexpected('deleteRange');
  }

  scan(options: ScanOptions = {}): Scan {
    return new Scan(this.#part, options);
  }

  async count(range: KeyRange, options?: CountOptions): Promise<number> {
    const reply = await this.#part.call(NoriKVClient.prototype.count, {
      op: Op.count,
      options,
      known: COUNT_OPTIONS,
      write: (frame) => {
        frame.u8(consistencyNumber(options?.consistency));
        writeRange(frame, range, 0, options?.version);
      },
    });
    if (typeof reply === 'number') return reply;
    throw unexpected('count');
  }

  async update(
    key: Key,
    fn: (current: PublicEntry | null) => Value | undefined | Promise<Value | undefined>,
    options: UpdateOptions = {},
  ): Promise<Version | null> {
    const { timeoutMs } = this.#part.session;
    const call = { client: this, timeoutMs, caller: NoriKVClient.prototype.update };
    return await update(call, key, fn, options);
  }

  txn(): Txn {
    return new Txn(this.#part);
  }

  async lease(options: LeaseOptions): Promise<Lease> {
    return await grantLease(this.#part, NoriKVClient.prototype.lease, options);
  }

  watch(range: WatchRange, options?: WatchOptions): Watch {
    return refusing(NoriKVClient.prototype.watch, () => new Watch(this.#part, range, options));
  }

  async compact(version: Version, options?: CallOptions): Promise<void> {
    const reply = await this.#part.call(NoriKVClient.prototype.compact, {
      op: Op.compact,
      options,
      write: (frame) => {
        writeVersion(frame, version, 'the version to compact to');
      },
    });
    if (reply !== undefined) throw unexpected('compact');
  }

  async vectorCreateIndex(
    namespace: string,
    dimensions: number,
    distance: DistanceFunction,
    indexType: VectorIndexType,
    options?: VectorCreateIndexOptions,
  ): Promise<boolean> {
    const caller = NoriKVClient.prototype.vectorCreateIndex;
    return await vectors.createIndex(
      this.#part,
      caller,
      namespace,
      dimensions,
      distance,
      indexType,
      options,
    );
  }

  async vectorDropIndex(namespace: string, options?: VectorDropIndexOptions): Promise<boolean> {
    const caller = NoriKVClient.prototype.vectorDropIndex;
    return await vectors.dropIndex(this.#part, caller, namespace, options);
  }

  async vectorInsert(
    namespace: string,
    id: string,
    vector: Vector,
    options?: VectorInsertOptions,
  ): Promise<Version> {
    const caller = NoriKVClient.prototype.vectorInsert;
    return await vectors.insert(this.#part, caller, namespace, id, vector, options);
  }

  async vectorInsertMany(
    namespace: string,
    items: Iterable<VectorItem>,
    options?: VectorInsertOptions,
  ): Promise<Version> {
    const caller = NoriKVClient.prototype.vectorInsertMany;
    return await vectors.insertMany(this.#part, caller, namespace, items, options);
  }

  async vectorDelete(
    namespace: string,
    id: string,
    options?: VectorDeleteOptions,
  ): Promise<boolean> {
    const caller = NoriKVClient.prototype.vectorDelete;
    return await vectors.deleteVector(this.#part, caller, namespace, id, options);
  }

  async vectorGet(
    namespace: string,
    id: string,
    options?: VectorGetOptions,
  ): Promise<Float32Array | null> {
    const caller = NoriKVClient.prototype.vectorGet;
    return await vectors.getVector(this.#part, caller, namespace, id, options);
  }

  async vectorSearch(
    namespace: string,
    query: Vector,
    k: number,
    options?: VectorSearchOptions,
  ): Promise<VectorSearchResult> {
    const caller = NoriKVClient.prototype.vectorSearch;
    return await vectors.search(this.#part, caller, namespace, query, k, options);
  }

  async vectorSearchMany(
    namespace: string,
    queries: Iterable<Vector>,
    k: number,
    options?: VectorSearchOptions,
  ): Promise<VectorSearchResult[]> {
    const caller = NoriKVClient.prototype.vectorSearchMany;
    return await vectors.searchMany(this.#part, caller, namespace, queries, k, options);
  }

  async vectorIndexes(options?: CallOptions): Promise<VectorIndexInfo[]> {
    const caller = NoriKVClient.prototype.vectorIndexes;
    return await vectors.indexes(this.#part, caller, options);
  }

  namespace(prefix: Key): NoriKVClient {
    const inner = refusing(NoriKVClient.prototype.namespace, () => toBytes(prefix, 'a namespace'));
    const outer = this.#part.prefix ?? new Uint8Array();
    const whole = new Uint8Array(outer.length + inner.length);
    whole.set(outer);
    whole.set(inner, outer.length);
    if (inner.length === 0 || whole.length >= MAX_PREFIX_BYTES) {
      const error = new InvalidArgumentError(
        `a namespace has 1 to ${MAX_PREFIX_BYTES - 1} bytes; this one has ${whole.length}`,
      );
      cutStack(error, NoriKVClient.prototype.namespace);
      throw error;
    }
    // The public constructor takes a configuration; a part is told apart by its class.
    const part: object = new Part(this.#part.session, whole);
    return new NoriKVClient(part as ClientConfig);
  }

  async status(options?: CallOptions): Promise<Status> {
    const reply = await this.#part.call(NoriKVClient.prototype.status, { op: Op.status, options });
    if (reply instanceof StatusReply) return reply.status;
    throw unexpected('status');
  }

  getStats(): ClientStats {
    const stats = this.#part.session.stats();
    return stats === null ? NO_STATS : readStats(stats);
  }

  getClusterView(): ClusterView | null {
    const view = this.#part.session.clusterView();
    return view === null ? null : readClusterView(view);
  }

  onTopologyChange(listener: (view: ClusterView) => void): () => void {
    return refusing(NoriKVClient.prototype.onTopologyChange, () => {
      const given: unknown = listener;
      if (typeof given !== 'function') {
        throw new InvalidArgumentError(`a listener is a function; got ${describe(given)}`);
      }
      return this.#part.session.listen(Op.watchCluster, (reply) => {
        if (reply instanceof ViewReply) listener(reply.view);
      });
    });
  }

  /** A read that the store answers in this very call. */
  #getNow(
    caller: Caller,
    key: Key,
    options: GetOptions | undefined,
  ): Entry | typeof MISSING | undefined {
    let reply: Reply;
    try {
      let consistency = 0;
      if (options !== undefined) {
        checkOptions(options, GET_OPTIONS);
        // What must be watched goes the way of the frames.
        if (options.signal !== undefined || options.timeoutMs !== undefined) return undefined;
        consistency = consistencyNumber(options.consistency);
      }
      reply = this.#part.session.getNow(key, this.#part.prefix, consistency);
    } catch (error) {
      if (error instanceof Error) cutStack(error, caller);
      throw error;
    }
    if (reply === undefined) return undefined;
    if (reply instanceof Entry) return reply;
    if (reply === null) return MISSING;
    if (reply instanceof Failure) throw reply.toError(caller);
    throw unexpected('get');
  }

  async #get(
    caller: Caller,
    key: Key,
    options: GetOptions | undefined,
  ): Promise<Entry | typeof MISSING> {
    const reply = await this.#part.call(caller, {
      op: Op.get,
      options,
      known: GET_OPTIONS,
      asked: refusing(caller, () => ownKey(key)),
      write: (frame) => {
        frame.u8(consistencyNumber(options?.consistency));
        frame.data(key, 'a key');
      },
    });
    if (reply instanceof Entry) return reply;
    if (reply === null) return MISSING;
    throw unexpected('get');
  }
}

/** That a key is not there, told apart from a read that was not answered yet. */
const MISSING = Symbol('missing');

/** A namespace leaves room for a key of one byte. */
const MAX_PREFIX_BYTES = 1024;

/** Makes a client and connects it. */
export async function createClient(config: string | ClientConfig): Promise<NoriKVClient> {
  try {
    return await NoriKVClient.open(config);
  } catch (error) {
    if (error instanceof Error) cutStack(error, createClient);
    throw error;
  }
}
