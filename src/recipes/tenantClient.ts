import {
  ClosedError,
  NotFoundError,
  PermissionDeniedError,
  compare,
  keyToBytes,
  op,
  valueToBytes,
} from '@norikv/client';
import type {
  CallOptions,
  CountOptions,
  DeleteOptions,
  DistanceFunction,
  Entry,
  GetOptions,
  Key,
  KeyRange,
  Lease,
  LeaseOptions,
  NoriKVClient,
  PutOptions,
  PutResult,
  Scan,
  ScanOptions,
  Status,
  Txn,
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
  Version,
  Watch,
  WatchOptions,
  WatchRange,
} from '@norikv/client';
import { CONFLICT, Deadline } from './deadline.js';
import { describe } from './keys.js';
import { checkOptions } from './options.js';
import { dataPrefix, isUnlimited, tenantKey, tenantOf, usageKey } from './tenant.js';
import {
  fullRange,
  tenantLease,
  tenantTxn,
  tenantUpdate,
  tenantWatch,
  told,
} from './tenantParts.js';
import { UNKNOWN } from './tenantUsage.js';
import { TenantWriter, stepsOf, uncounted } from './tenantWriter.js';
import type { Known, TenantChange } from './tenantWriter.js';
import type { View } from './view.js';

/** The names of the options of a put and a delete that are not every call's. */
const PUT_OPTIONS = [
  'ttlMs',
  'ifNotExists',
  'ifMatchVersion',
  'prevEntry',
  'lease',
  'idempotencyKey',
];
const DELETE_OPTIONS = ['ifMatchVersion', 'idempotencyKey'];

export type { TenantChange } from './tenantWriter.js';

/**
 * A client of one tenant's keys: that of the store, with the tenant's own keys and nothing else, and its limits.
 *
 * Writes of a tenant with limits are transactions that count, and take two round trips, one after the other within one object;
 * without limits they take one. A tenant that is suspended gets `PermissionDeniedError` of everything, and one that was deleted
 * `NotFoundError`.
 *
 * What cannot be counted is an `UnsupportedError` for a tenant with limits: `txn` (use {@link write}), vectors that are written,
 * and `idempotencyKey`.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { TenantManager } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using tenants = new TenantManager(client);
 * await tenants.create('a', 'A', 'free');
 * await tenants.create('a:b', 'Not A', 'free');
 * const a = await tenants.getClient('a');
 * await a.put('b:c', 'of a');
 * console.log(await (await tenants.getClient('a:b')).getOrNull('c')); // null
 * ```
 */
export class TenantClient {
  readonly #client: NoriKVClient;
  readonly #id: string;
  readonly #key: string;
  readonly #prefix: string;
  readonly #part: NoriKVClient;
  readonly #view: View;
  readonly #writer: TenantWriter;
  #known: Known | undefined;

  /** Made by {@link TenantManager.getClient}. */
  constructor(client: NoriKVClient, tenantId: string, view: View) {
    this.#client = client;
    this.#id = tenantId;
    this.#key = tenantKey(tenantId);
    this.#prefix = dataPrefix(tenantId);
    this.#part = client.namespace(this.#prefix);
    this.#view = view;
    this.#writer = new TenantWriter(client, tenantId, (deadline) => this.#current(deadline));
  }

  /** The id of the tenant. */
  getTenantId(): string {
    return this.#id;
  }

  /** Waits until what is known of the tenant is as new as the store. @throws `NotFoundError`. @internal */
  async refresh(deadline: Deadline): Promise<void> {
    await this.#view.open(deadline.call);
    if (this.#view.entries.has(this.#key)) return;
    if ((await this.#client.getOrNull(this.#key, deadline.call)) === null) throw this.#missing();
    await told(this.#view, this.#key, deadline);
  }

  /** As of the client. */
  async get(key: Key, options?: GetOptions): Promise<Entry> {
    await this.#admit(options);
    return await this.#part.get(key, options);
  }

  /** As of the client. */
  async getOrNull(key: Key, options?: GetOptions): Promise<Entry | null> {
    await this.#admit(options);
    return await this.#part.getOrNull(key, options);
  }

  /** As of the client. */
  async getMany(keys: readonly Key[], options?: GetOptions): Promise<(Entry | null)[]> {
    await this.#admit(options);
    return await this.#part.getMany(keys, options);
  }

  /** As of the client. */
  scan(options?: ScanOptions): Scan {
    const scan = this.#part.scan(options);
    const admit = (): Promise<Known> => this.#admit(options);
    return {
      async *[Symbol.asyncIterator]() {
        await admit();
        yield* scan;
      },
      async toArray() {
        await admit();
        return await scan.toArray();
      },
    };
  }

  /** As of the client. */
  async count(range: KeyRange, options?: CountOptions): Promise<number> {
    await this.#admit(options);
    return await this.#part.count(range, options);
  }

  /** As of the client; a tenant that is suspended meanwhile is told nothing any more. */
  watch(range: WatchRange, options?: WatchOptions): Watch {
    this.#admitNow();
    return tenantWatch(this.#part.watch(range, options), () => this.#admitNow());
  }

  /** Writes one key, as of the client. @throws Also {@link TenantLimitError}. */
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
  async put(key: Key, value: Value, options: PutOptions = {}): Promise<Version | PutResult> {
    checkOptions(options, ...PUT_OPTIONS);
    const { prevEntry = false, signal, timeoutMs, ...rest } = options;
    const step = { key: keyToBytes(key), value: valueToBytes(value), options: rest };
    const writer = this.#writer;
    const { version, results } = await writer.write([step], { signal, timeoutMs }, prevEntry);
    if (!prevEntry) return version;
    const [result] = results as readonly PutResult[];
    return { version, prevEntry: result?.prevEntry ? writer.without(result.prevEntry) : null };
  }

  /** Deletes one key, as of the client: whether it was there. */
  async delete(key: Key, options: DeleteOptions = {}): Promise<boolean> {
    checkOptions(options, ...DELETE_OPTIONS);
    const { signal, timeoutMs, ...rest } = options;
    const step = { key: keyToBytes(key), value: null, options: rest };
    const { results } = await this.#writer.write([step], { signal, timeoutMs });
    return results[0] === true;
  }

  /**
   * Puts and deletes up to 100 keys, all of them or none; answers the version.
   *
   * @throws What a put and a delete throw, from the first condition that does not hold.
   */
  async write(changes: readonly TenantChange[], options: CallOptions = {}): Promise<Version> {
    checkOptions(options);
    return (await this.#writer.write(stepsOf(changes), options)).version;
  }

  /** Changes one key by compare-and-set, as of the client. @throws `RetryExhaustedError` once `maxAttempts` met other writes. */
  async update(
    key: Key,
    fn: (current: Entry | null) => Value | undefined | Promise<Value | undefined>,
    options: UpdateOptions = {},
  ): Promise<Version | null> {
    return await tenantUpdate(this, key, fn, options);
  }

  /** Deletes every key of a range, as of the client. What is left is counted with the next write. */
  async deleteRange(range: KeyRange, options: CallOptions = {}): Promise<number> {
    checkOptions(options);
    const whole = fullRange(this.#prefix, range);
    const deadline = new Deadline(`deleting of tenant ${describe(this.#id)}`, options);
    return await deadline.retry(async () => {
      const { entry, tenant } = await this.#current(deadline);
      // Whoever counted before this must not write down what he counted.
      const count = usageKey(this.#id);
      const forget = isUnlimited(tenant.limits) ? op.delete(count) : op.put(count, UNKNOWN);
      const { succeeded, results } = await this.#client
        .txn()
        .if(compare(this.#key).version.equals(entry.version))
        .then(op.deleteRange(whole), forget)
        .commit(deadline.call);
      return succeeded ? results[0] : CONFLICT;
    });
  }

  /** Grants a lease, as of the client. Its `put` counts. */
  async lease(options: LeaseOptions): Promise<Lease> {
    await this.#admit();
    return tenantLease(await this.#part.lease(options), (key, value, given) =>
      this.put(key, value, given),
    );
  }

  /** A transaction, as of the client. @throws `UnsupportedError` for a tenant with limits: see {@link write}. */
  txn(): Txn {
    const check = (): void => {
      this.#unlimited('a transaction', 'write() changes many keys at once');
    };
    check();
    return tenantTxn(this.#part.txn(), async (options) => {
      await this.#admit(options);
      check();
    });
  }

  /** As of the client. @throws `UnsupportedError` for a tenant with limits. */
  async vectorCreateIndex(
    namespace: string,
    dimensions: number,
    distance: DistanceFunction,
    indexType: VectorIndexType,
    options?: VectorCreateIndexOptions,
  ): Promise<boolean> {
    await this.#admit(options);
    this.#unlimited('a vector index');
    return await this.#part.vectorCreateIndex(namespace, dimensions, distance, indexType, options);
  }

  /** As of the client. */
  async vectorDropIndex(namespace: string, options?: VectorDropIndexOptions): Promise<boolean> {
    await this.#admit(options);
    return await this.#part.vectorDropIndex(namespace, options);
  }

  /** As of the client. @throws `UnsupportedError` for a tenant with limits. */
  async vectorInsert(
    namespace: string,
    id: string,
    vector: Vector,
    options?: VectorInsertOptions,
  ): Promise<Version> {
    await this.#admit(options);
    this.#unlimited('a vector');
    return await this.#part.vectorInsert(namespace, id, vector, options);
  }

  /** As of the client. @throws `UnsupportedError` for a tenant with limits. */
  async vectorInsertMany(
    namespace: string,
    vectors: Iterable<VectorItem>,
    options?: VectorInsertOptions,
  ): Promise<Version> {
    await this.#admit(options);
    this.#unlimited('a vector');
    return await this.#part.vectorInsertMany(namespace, vectors, options);
  }

  /** As of the client. */
  async vectorDelete(
    namespace: string,
    id: string,
    options?: VectorDeleteOptions,
  ): Promise<boolean> {
    await this.#admit(options);
    return await this.#part.vectorDelete(namespace, id, options);
  }

  /** As of the client. */
  async vectorGet(
    namespace: string,
    id: string,
    options?: VectorGetOptions,
  ): Promise<Float32Array | null> {
    await this.#admit(options);
    return await this.#part.vectorGet(namespace, id, options);
  }

  /** As of the client. */
  async vectorSearch(
    namespace: string,
    query: Vector,
    k: number,
    options?: VectorSearchOptions,
  ): Promise<VectorSearchResult> {
    await this.#admit(options);
    return await this.#part.vectorSearch(namespace, query, k, options);
  }

  /** As of the client. */
  async vectorSearchMany(
    namespace: string,
    queries: Iterable<Vector>,
    k: number,
    options?: VectorSearchOptions,
  ): Promise<VectorSearchResult[]> {
    await this.#admit(options);
    return await this.#part.vectorSearchMany(namespace, queries, k, options);
  }

  /** As of the client: those of the tenant. */
  async vectorIndexes(options?: CallOptions): Promise<VectorIndexInfo[]> {
    await this.#admit(options);
    return await this.#part.vectorIndexes(options);
  }

  /** As of the client: what the whole store says of itself. */
  async status(options?: CallOptions): Promise<Status> {
    await this.#admit(options);
    return await this.#part.status(options);
  }

  /** The tenant as it is known, if it may do something. */
  async #admit(options?: CallOptions): Promise<Known> {
    if (this.#view.isOpen) return this.#admitNow();
    const { signal, timeoutMs } = options ?? {};
    return await this.#current(new Deadline('reading tenants', { signal, timeoutMs }));
  }

  async #current(deadline: Deadline): Promise<Known> {
    await this.#view.open(deadline.call);
    return this.#admitNow();
  }

  #admitNow(): Known {
    const entry = this.#view.entries.get(this.#key);
    if (entry === undefined) {
      if (this.#view.isOpen) throw this.#missing();
      throw new ClosedError('the manager that this client is of was closed');
    }
    if (this.#known?.entry !== entry) this.#known = { entry, tenant: tenantOf(entry) };
    if (!this.#known.tenant.suspended) return this.#known;
    throw new PermissionDeniedError(`tenant ${describe(this.#id)} is suspended`);
  }

  #unlimited(what: string, instead?: string): void {
    if (!isUnlimited(this.#admitNow().tenant.limits)) throw uncounted(this.#id, what, instead);
  }

  #missing(): NotFoundError {
    return new NotFoundError(`there is no tenant ${describe(this.#id)}`);
  }
}
