// What a program may write, and what the compiler must refuse.
import {
  ConsistencyLevel,
  KeyNotFoundError,
  NoriKVClient,
  VersionMismatchError,
  bytesToString,
  compare,
  createEphemeral,
  getShardForKey,
  op,
  retryPolicy,
  xxhash64,
} from '@norikv/client';
import type {
  ClientConfig,
  Entry,
  GetResult,
  Key,
  LeaseLostError,
  NoriKVError,
  PutOptions,
  PutResult,
  TxnOp,
  Value,
  Vector,
  VectorIndexInfo,
  VectorMatch,
  VectorSearchOptions,
  Version,
} from '@norikv/client';

type Equal<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
function same<A, B>(equal: Equal<A, B>): void {
  void equal;
}

export async function opens(config: ClientConfig): Promise<void> {
  await using memory = await NoriKVClient.open('memory:');
  await using cluster = await NoriKVClient.open(config);
  await NoriKVClient.open({ nodes: ['127.0.0.1:7447'], totalShards: 1024, timeout: 5000 });
  new NoriKVClient('file:./data');
  const tls = { ca: 'PEM', cert: new Uint8Array(1), key: 'PEM', serverName: 'db.example.com' };
  new NoriKVClient({ nodes: ['127.0.0.1:7447'], tls });
  new NoriKVClient({ address: 'etcd://127.0.0.1:1', tls: {}, etcd: { user: 'a', password: 'b' } });
  void [memory, cluster];

  // @ts-expect-error an address is a string or a configuration
  await NoriKVClient.open(7447);
  // @ts-expect-error a certificate is text or bytes
  new NoriKVClient({ nodes: ['127.0.0.1:7447'], tls: { ca: 5 } });
  // @ts-expect-error nodes are addresses
  new NoriKVClient({ nodes: [7447] });
}

export async function readsAndWrites(client: NoriKVClient): Promise<void> {
  const key: Key = new Uint8Array([1]);
  const value: Value = 'value';
  const version: Version = await client.put(key, value);
  same<bigint, typeof version.index>(true);
  same<bigint, typeof version.term>(true);

  const options: PutOptions = { ttlMs: 1000, ifMatchVersion: version, idempotencyKey: 'once' };
  await client.put('key', value, options);
  await client.put('key', value, { signal: AbortSignal.timeout(1000), timeoutMs: 1000 });

  const result: GetResult = await client.get('key', { consistency: ConsistencyLevel.LINEARIZABLE });
  same<Uint8Array, typeof result.value>(true);
  await client.get('key', { consistency: 'stale_ok' });
  const deleted: boolean = await client.delete('key', { ifMatchVersion: version });
  const text: string | undefined = (await client.getOrNull('key'))?.text();
  void [deleted, text, bytesToString(result.value)];

  // @ts-expect-error a key is a string or bytes
  await client.put(1, value);
  // @ts-expect-error a value is a string or bytes
  await client.put('key', { a: 1 });
  // @ts-expect-error an unknown word
  await client.get('key', { consistency: 'sometimes' });
  // @ts-expect-error an unknown option
  await client.put('key', value, { ttl: 1000 });
  // @ts-expect-error a ttl is a number of milliseconds
  await client.put('key', value, { ttlMs: '1s' });
  // @ts-expect-error the result may be null
  (await client.getOrNull('key')).text();
  // @ts-expect-error results are not to be changed
  result.value = new Uint8Array();
}

export async function scans(client: NoriKVClient): Promise<void> {
  for await (const entry of client.scan({ prefix: 'user:' })) {
    same<Uint8Array, typeof entry.key>(true);
    const generation: bigint | number = entry.generation;
    const parsed: { readonly a: number } = entry.json<{ readonly a: number }>();
    void [entry.keyText(), generation, parsed];
  }
  const all = await client.scan({ start: 'a', end: 'b', limit: 10, reverse: true }).toArray();
  const first: string | undefined = all[0]?.text();
  const many = await client.getMany(['a', new Uint8Array([1])]);
  void [
    first,
    many.length,
    await client.count({ prefix: 'a' }),
    await client.deleteRange({ prefix: 'a' }),
  ];
  await client.update('counter', (entry) => String(Number(entry?.text() ?? 0) + 1));

  const scoped = client.namespace('tenant:acme/');
  await scoped.put('key', 'value');

  // @ts-expect-error a limit is a number
  client.scan({ limit: 'all' });
  // @ts-expect-error an update answers a value
  await client.update('counter', () => 1);
}

export async function transacts(client: NoriKVClient, version: Version): Promise<void> {
  const outcome = await client
    .txn()
    .if(compare('a').version.equals(version), compare('b').exists.notEquals(true))
    .then(op.put('a', '1'), op.put('b', '2', { prevEntry: true }), op.get('c'))
    .else(op.delete('a'), op.deleteRange({ prefix: 'b' }))
    .else(op.scan({ prefix: 'c' }))
    .commit({ timeoutMs: 1000 });
  if (outcome.succeeded) {
    same<readonly [Version, PutResult, Entry | null], typeof outcome.results>(true);
  } else {
    same<readonly [boolean, number, readonly Entry[]], typeof outcome.results>(true);
  }
  const many: TxnOp[] = [op.get('a')];
  const { results } = await client
    .txn()
    .then(...many)
    .commit();
  void results.length;

  // @ts-expect-error a transaction is no promise
  await client.txn(); // eslint-disable-line @typescript-eslint/await-thenable -- it is what is refused
  // @ts-expect-error an order is asked of what has none
  void compare('a').exists.less;
  // @ts-expect-error a version is compared with a version
  compare('a').version.equals('1.2');
  // @ts-expect-error a generation is a number
  compare('a').generation.equals(1n);
  // @ts-expect-error a signal belongs to the commit
  op.put('a', '1', { signal: AbortSignal.timeout(1) });
  // @ts-expect-error a scan within a transaction has no version of its own
  op.scan({ version });
  // @ts-expect-error a compare is no op
  client.txn().then(compare('a').value.equals('1'));
}

export async function leases(client: NoriKVClient): Promise<void> {
  await using lease = await client.lease({ ttlMs: 10_000 });
  same<bigint, typeof lease.id>(true);
  same<LeaseLostError, Awaited<typeof lease.lost>>(true);
  const version: Version = await lease.put('a', '1', { ifNotExists: true });
  await client.put('a', '1', { lease });
  await client.put('a', '1', { lease: lease.id });
  const { keys } = await lease.timeToLive({ keys: true });
  void [version, keys.length, lease.signal.aborted, compare('a').lease.equals(lease)];

  // @ts-expect-error a lease has a time to live
  await client.lease({});
  // @ts-expect-error the entry goes with the lease
  await lease.put('a', '1', { ttlMs: 1000 });
  // @ts-expect-error a lease's id is a bigint
  await client.put('a', '1', { lease: 7 });
}

export async function watches(client: NoriKVClient, fromVersion: Version): Promise<void> {
  await using watch = client.watch({ prefix: 'a' }, { fromVersion, prevEntry: true, puts: false });
  const start: Version = await watch.ready;
  for await (const { version, events } of watch) {
    same<Version, typeof version>(true);
    for (const { type, entry, prevEntry, reason } of events) {
      same<'put' | 'delete', typeof type>(true);
      same<'write' | 'expired' | 'lease', typeof reason>(true);
      void [version, type, reason, entry.keyText(), prevEntry?.text()];
    }
  }
  client.watch({ key: new Uint8Array([1]) });
  await client.compact(start);

  // @ts-expect-error options come second
  client.watch({ prefix: 'a', prevEntry: true });
  // @ts-expect-error results are not to be changed
  watch.ready = Promise.resolve(start);
}

export async function searches(client: NoriKVClient): Promise<void> {
  const created: boolean = await client.vectorCreateIndex('docs', 3, 'cosine', 'hnsw');
  await client.vectorCreateIndex('few', 3, 'inner_product', 'brute_force', {
    quantization: 'int8',
    idempotencyKey: 'once',
    timeoutMs: 1000,
  });
  const vector: Vector = new Float32Array([1, 2, 3]);
  const numbers: readonly number[] = [1, 2, 3];
  const version: Version = await client.vectorInsert('docs', 'a', vector);
  same<Version, Awaited<ReturnType<typeof client.vectorInsertMany>>>(true);
  await client.vectorInsertMany('docs', new Set([{ id: 'b', vector: numbers }]));
  const read = await client.vectorGet('docs', 'a', { consistency: 'linearizable' });
  same<Float32Array | null, typeof read>(true);
  // What was read can be changed and written again.
  await client.vectorInsert('docs', 'c', read?.map((number) => number / 2) ?? numbers);

  const options: VectorSearchOptions = { includeVectors: true, maxDistance: 0.5, efSearch: 100 };
  const { matches, searchTimeUs } = await client.vectorSearch('docs', numbers, 10, options);
  same<number, typeof searchTimeUs>(true);
  const near = matches.filter(({ distance }) => distance < 0.1).map(({ id }) => id);
  same<string[], typeof near>(true);
  same<Float32Array | undefined, VectorMatch['vector']>(true);
  const many = await client.vectorSearchMany('docs', [vector, numbers], 10, { idPrefix: 'a' });
  const infos: VectorIndexInfo[] = await client.vectorIndexes({ timeoutMs: 1000 });
  const { vectors } = await client.status();
  same<number | undefined, Exclude<typeof vectors, null>['indexed'] | undefined>(true);
  const gone: boolean = await client.vectorDelete('docs', 'a');
  const dropped: boolean = await client.vectorDropIndex('docs', { idempotencyKey: 'dropped' });
  void [created, version, near, searchTimeUs, vectors];
  void [many[0]?.matches, infos[0]?.memoryBytes, gone, dropped];

  // @ts-expect-error a metric is one of three words
  await client.vectorCreateIndex('docs', 3, 'manhattan', 'hnsw');
  // @ts-expect-error an index has a type
  await client.vectorCreateIndex('docs', 3, 'cosine');
  // @ts-expect-error 64 bits are more than are kept
  await client.vectorInsert('docs', 'a', new Float64Array(3));
  // @ts-expect-error a vector has numbers
  await client.vectorInsert('docs', 'a', ['1', '2', '3']);
  // @ts-expect-error a vector has an id
  await client.vectorInsertMany('docs', [{ vector }]);
  // @ts-expect-error a search says how many it wants
  await client.vectorSearch('docs', vector);
  // @ts-expect-error an unknown option
  await client.vectorSearch('docs', vector, 10, { ef: 100 });
  // @ts-expect-error a vector may be missing
  void read.length;
  // @ts-expect-error results are not to be changed
  matches.length = 0;
}

export function errors(error: unknown): void {
  if (error instanceof VersionMismatchError) {
    same<Version | null, typeof error.actual>(true);
    same<Version, typeof error.expected>(true);
  }
  if (error instanceof KeyNotFoundError) {
    const base: NoriKVError = error;
    void base.retryable;
    // @ts-expect-error it has no such field
    void error.actual;
  }
}

export async function helpers(): Promise<void> {
  const hash: bigint = xxhash64('hello');
  const shard: number = getShardForKey('hello', 1024);
  const retry = retryPolicy().maxAttempts(3).initialDelay(10).jitter(true).build();
  const server = await createEphemeral();
  const address: string = server.address;
  await server.getClient().put('key', 'value');
  await server.stop();
  void [hash, shard, address, new NoriKVClient({ nodes: [address], retry })];
}
