// What a program may write, and what the compiler must refuse.
import {
  ConsistencyLevel,
  KeyNotFoundError,
  NoriKVClient,
  VersionMismatchError,
  bytesToString,
  createEphemeral,
  getShardForKey,
  retryPolicy,
  xxhash64,
} from '@norikv/client';
import type {
  ClientConfig,
  GetResult,
  Key,
  NoriKVError,
  PutOptions,
  Value,
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
  void [memory, cluster];

  // @ts-expect-error an address is a string or a configuration
  await NoriKVClient.open(7447);
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
