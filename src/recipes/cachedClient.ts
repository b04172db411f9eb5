import { ClosedError, InvalidArgumentError } from '@norikv/client';
import type { CallOptions, NoriKVClient, PutOptions, Value, Version, Watch } from '@norikv/client';
import { Deadline } from './deadline.js';
import { describe } from './keys.js';
import { Lru } from './lru.js';
import { checkFields, checkOptions } from './options.js';

/** The most values that a cache may be made for. */
const MAX_SIZE = 10_000_000;

/** Settings of a {@link CachedClient}. */
export interface CachedClientOptions {
  /**
   * What all keys of the cache begin with. The cache is told each change of each key that does, so that it should be no longer
   * than need be in a store that others write to. Default: every key of the client.
   */
  readonly prefix?: string | undefined;
}

/** What {@link CachedClient.getStats} answers. */
export interface CacheStats {
  /** How many values there are, those included whose time is up and that nobody has asked for since. */
  readonly size: number;
  /** How many there may be. */
  readonly maxSize: number;
  /** How long a value is believed without being read again, in milliseconds. */
  readonly ttlMs: number;
  /** How many `get`s were answered here. */
  readonly hits: number;
  /** How many were not; those that shared the read of another count, too. */
  readonly misses: number;
  /** How many values had to go for others. */
  readonly evictions: number;
}

/** Options of {@link CachedClient.put}: those of a put of the client but for `prevEntry`. */
export type CachedPutOptions = Omit<PutOptions, 'prevEntry'>;

/** A value and until when it is believed. */
interface Cached<T> {
  readonly version: Version;
  /** By `performance.now()`. */
  readonly until: number;
  /** Made once: a hit hands it out. */
  readonly answer: Promise<T>;
}

/** What is under way for one key: whether its outcome may be kept is known only at its end. */
interface UnderWay<T> {
  /** The watch that was there when it began: what another one was not told, it may have missed. */
  readonly watch: Watch | undefined;
  /** The newest version that the key is known to have had. What is older is not kept. */
  newest: Version | undefined;
  /** That the key was deleted or dropped since: nothing is kept. */
  over: boolean;
  /** The read that others may share. */
  reading: Promise<T> | undefined;
  calls: number;
}

/**
 * A cache in this process in front of the store: reads of what was read before take no round trip, and what anybody changes in
 * the store is dropped as soon as a watch tells of it.
 *
 * The keys are the store's own, without a prefix of the recipe. One watch over `prefix` begins with the first use; it keeps the
 * process alive until {@link CachedClient.close}. If it ends with an error, everything is dropped, and the next use begins a
 * new one. While the store cannot be reached nothing tells of changes: a value is then at most `ttlMs` old.
 *
 * What is cached is what the parser, or the caller of `put`, made: all who ask get the same object. Do not change it.
 *
 * ```ts
 * import { NoriKVClient, bytesToString } from '@norikv/client';
 * import { CachedClient } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * await using cache = new CachedClient<{ name: string }>(client, 60_000, 1_000, { prefix: 'user:' });
 * const parse = (bytes: Uint8Array) => JSON.parse(bytesToString(bytes)) as { name: string };
 *
 * await cache.put('user:1', { name: 'Ada' }, (user) => JSON.stringify(user));
 * console.log((await cache.get('user:1', parse)).name); // Ada
 * console.log(cache.getStats().hits); // 1
 * ```
 */
export class CachedClient<T> implements AsyncDisposable {
  readonly #client: NoriKVClient;
  readonly #prefix: string;
  readonly #ttlMs: number;
  readonly #maxSize: number;
  readonly #cached: Lru<Cached<T>>;
  readonly #underWay = new Map<string, UnderWay<T>>();
  #opening: Promise<void> | undefined;
  #watch: Watch | undefined;
  #closed = false;
  #hits = 0;
  #misses = 0;
  #evictions = 0;

  /**
   * @param ttlMs - How long a value is believed without being read again, in milliseconds: above 0, also `Infinity`. It is
   *   counted from when the value came, by a clock that nobody sets. The stored key does not expire with it.
   * @param maxSize - How many values are kept: a whole number from 1 to 10,000,000. The one used least recently goes.
   * @throws `InvalidArgumentError`.
   */
  constructor(
    client: NoriKVClient,
    ttlMs = 60_000,
    maxSize = 1_000,
    options: CachedClientOptions = {},
  ) {
    const { prefix = '' } = checkFields(options, 'the options of a cache', ['prefix']);
    if (typeof ttlMs !== 'number' || !(ttlMs > 0)) {
      throw new InvalidArgumentError(`ttlMs is a number above 0; got ${describe(ttlMs)}`);
    }
    if (!Number.isInteger(maxSize) || maxSize < 1 || maxSize > MAX_SIZE) {
      const message = `maxSize is a whole number from 1 to ${MAX_SIZE}; got ${describe(maxSize)}`;
      throw new InvalidArgumentError(message);
    }
    if (prefix !== '') checkText(prefix, 'the prefix of a cache');
    this.#client = client;
    this.#prefix = prefix;
    this.#ttlMs = ttlMs;
    this.#maxSize = maxSize;
    this.#cached = new Lru(maxSize);
  }

  /**
   * The value of a key: the cached one, or what `parser` makes of the stored bytes. Those who miss at once share one read, and
   * what the parser of the first of them makes of it; `timeoutMs` and `signal` end the wait of the one who gave them.
   *
   * @param parser - Always the same for one key. What it throws is handed on, and nothing is cached.
   * @throws `KeyNotFoundError` if the key is not there, which is not cached; `InvalidArgumentError` for a key that is not under
   *   the cache's prefix; `ClosedError`; what the client throws.
   */
  get(
    key: string,
    parser: (bytes: Uint8Array) => T | Promise<T>,
    options?: CallOptions,
  ): Promise<T> {
    // No async function, and nothing is made: a hit has to cost no more than looking it up.
    const node = this.#cached.find(key);
    if (node !== undefined && options === undefined && performance.now() < node.value.until) {
      this.#hits += 1;
      this.#cached.touch(node);
      return node.value.answer;
    }
    return this.#get(key, parser, options);
  }

  /**
   * Writes a value to the store and, once that is acknowledged, to the cache, unless somebody else wrote meanwhile. Also what is
   * not awaited is seen by the next `get`.
   *
   * @param serializer - Makes what is stored.
   * @param options - As of the client's `put`: with `ttlMs` the *stored* key expires, which the cache is told.
   * @throws What the client's `put` throws; `InvalidArgumentError` as of `get`; `ClosedError`.
   */
  async put(
    key: string,
    value: T,
    serializer: (value: T) => Value,
    options: CachedPutOptions = {},
  ): Promise<Version> {
    this.#check(key);
    if (typeof serializer !== 'function') {
      throw new InvalidArgumentError(`a serializer is a function; got ${describe(serializer)}`);
    }
    const bytes = serializer(value);
    const deadline = new Deadline(`the put of "${key}"`, options);
    if (this.#watch === undefined) await this.#open(deadline);
    // Whoever asks from now on asks the store, in this order.
    this.invalidate(key);
    const underWay = this.#begin(key);
    try {
      const version = await this.#client.put(key, bytes, { ...options, prevEntry: false });
      this.#hear(key, version);
      // A repeat of a write that took place before is answered its version, though others may have written since.
      if (options.idempotencyKey === undefined) this.#keep(key, underWay, version, value);
      return version;
    } finally {
      this.#end(key, underWay);
    }
  }

  /**
   * Deletes a key: `true` if it was there.
   *
   * @throws What the client's `delete` throws; `InvalidArgumentError` as of `get`; `ClosedError`.
   */
  async delete(key: string, options: CallOptions = {}): Promise<boolean> {
    this.#check(key);
    const deadline = new Deadline(`the delete of "${key}"`, options);
    if (this.#watch === undefined) await this.#open(deadline);
    this.invalidate(key);
    try {
      return await this.#client.delete(key, options);
    } finally {
      // A read that began before it may have brought the value back, or still may.
      this.invalidate(key);
    }
  }

  /** Drops a key here, not in the store. A read under way is not kept either. */
  invalidate(key: string): void {
    this.#cached.delete(key);
    const underWay = this.#underWay.get(key);
    if (underWay === undefined) return;
    underWay.over = true;
    this.#underWay.delete(key);
  }

  /** Drops everything here, not in the store. */
  invalidateAll(): void {
    this.#cached.clear();
    for (const underWay of this.#underWay.values()) underWay.over = true;
    this.#underWay.clear();
  }

  /** What it holds, and what it did since it was made. */
  getStats(): CacheStats {
    return {
      size: this.#cached.size,
      maxSize: this.#maxSize,
      ttlMs: this.#ttlMs,
      hits: this.#hits,
      misses: this.#misses,
      evictions: this.#evictions,
    };
  }

  /** Ends the watch and drops everything; the store keeps what it has. What is called afterwards fails with `ClosedError`. */
  async close(): Promise<void> {
    this.#closed = true;
    this.invalidateAll();
    // What it failed with, those who wait for it are told.
    await this.#opening?.catch(() => undefined);
    const watch = this.#watch;
    this.#watch = undefined;
    await watch?.close();
  }

  /** The same as {@link CachedClient.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #get(
    key: string,
    parser: (bytes: Uint8Array) => T | Promise<T>,
    options: CallOptions | undefined,
  ): Promise<T> {
    this.#check(key);
    if (typeof parser !== 'function') {
      throw new InvalidArgumentError(`a parser is a function; got ${describe(parser)}`);
    }
    checkOptions(options);
    const deadline = new Deadline(`the get of "${key}"`, options);
    const node = this.#cached.find(key);
    if (node !== undefined && performance.now() < node.value.until) {
      this.#hits += 1;
      this.#cached.touch(node);
      return await node.value.answer;
    }
    this.#misses += 1;
    // Nothing is kept that was read before the watch began: a change in between would not be told.
    if (this.#watch === undefined) await this.#open(deadline);
    const underWay = this.#underWay.get(key);
    return await deadline.within(underWay?.reading ?? this.#read(key, parser));
  }

  #read(key: string, parser: (bytes: Uint8Array) => T | Promise<T>): Promise<T> {
    const underWay = this.#begin(key);
    const read = async (): Promise<T> => {
      try {
        const { value, version } = await this.#client.get(key);
        const parsed = await parser(value);
        this.#keep(key, underWay, version, parsed);
        return parsed;
      } finally {
        if (underWay.reading === reading) underWay.reading = undefined;
        this.#end(key, underWay);
      }
    };
    const reading = read();
    underWay.reading = reading;
    return reading;
  }

  #begin(key: string): UnderWay<T> {
    let underWay = this.#underWay.get(key);
    if (underWay === undefined) {
      underWay = {
        watch: this.#watch,
        newest: undefined,
        over: false,
        reading: undefined,
        calls: 0,
      };
      this.#underWay.set(key, underWay);
    }
    underWay.calls += 1;
    return underWay;
  }

  #end(key: string, underWay: UnderWay<T>): void {
    underWay.calls -= 1;
    if (underWay.calls === 0 && this.#underWay.get(key) === underWay) this.#underWay.delete(key);
  }

  /** Caches what a call brought, if nothing newer is known. */
  #keep(key: string, underWay: UnderWay<T>, version: Version, value: T): void {
    const { watch, newest, over } = underWay;
    if (over || watch === undefined || watch !== this.#watch) return;
    if (newest !== undefined && newest.compare(version) > 0) return;
    const there = this.#cached.find(key);
    if (there !== undefined && there.value.version.compare(version) > 0) return;
    const until = performance.now() + this.#ttlMs;
    this.#evictions += this.#cached.set(key, { version, until, answer: Promise.resolve(value) });
  }

  /** That the key has had this version: what is older is dropped, and what is under way learns of it. */
  #hear(key: string, version: Version): void {
    const node = this.#cached.find(key);
    if (node !== undefined && node.value.version.compare(version) < 0) this.#cached.delete(key);
    const underWay = this.#underWay.get(key);
    if (underWay === undefined) return;
    if (underWay.newest === undefined || underWay.newest.compare(version) < 0) {
      underWay.newest = version;
    }
    // It may bring what was there before: whoever asks from now on is not answered by it.
    underWay.reading = undefined;
  }

  async #open(deadline: Deadline): Promise<void> {
    this.#opening ??= this.#beginWatch().finally(() => (this.#opening = undefined));
    await deadline.within(this.#opening);
  }

  async #beginWatch(): Promise<void> {
    const watch = this.#client.watch(this.#prefix === '' ? {} : { prefix: this.#prefix });
    try {
      await watch.ready;
      if (this.#closed) throw closed();
    } catch (error) {
      await watch.close();
      throw error;
    }
    this.#watch = watch;
    void this.#follow(watch);
  }

  async #follow(watch: Watch): Promise<void> {
    try {
      for await (const { events } of watch) {
        for (const { entry } of events) this.#hear(entry.keyText(), entry.version);
      }
    } catch {
      // What it missed is read anew; if the store cannot say, the next use fails with its reason.
      if (this.#watch !== watch) return;
      this.#watch = undefined;
      this.invalidateAll();
    }
  }

  #check(key: string): void {
    if (this.#closed) throw closed();
    checkText(key, 'a key of a cache');
    if (!key.startsWith(this.#prefix)) {
      const message = `the cache is of keys that begin with ${describe(this.#prefix)}; ${describe(key)} does not`;
      throw new InvalidArgumentError(message);
    }
  }
}

function closed(): ClosedError {
  return new ClosedError('the cache was closed; make another one to go on');
}

/** Half of a surrogate pair is another character in the store, and changes of it would not be heard. */
function checkText(text: unknown, what: string): void {
  if (typeof text === 'string' && text !== '' && !/\p{Surrogate}/u.test(text)) return;
  throw new InvalidArgumentError(
    `${what} is text that is not empty and has no half of a surrogate pair; got ${describe(text)}`,
  );
}
