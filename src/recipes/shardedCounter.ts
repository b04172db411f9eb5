import { CorruptionError, InvalidArgumentError } from '@norikv/client';
import type { CallOptions, NoriKVClient } from '@norikv/client';
import { Cell } from './cell.js';
import { Combiner } from './combiner.js';
import { checkDelta, fitsNumber, parseCount } from './counterValue.js';
import { CONFLICT, Deadline } from './deadline.js';
import { checkName, describe, keyOf, partsOf, prefixOf, randomId } from './keys.js';
import { checkWhole } from './options.js';

/** The most shards: as many as one page of a scan has. */
const MAX_SHARDS = 1_024;

/**
 * A count that is kept in several keys, its shards, so that many processes can change it at once and seldom meet. It is as exact
 * as a `DistributedCounter`, but a change does not say what the count is, and reading it reads all shards, as they were at one
 * moment.
 *
 * Each write goes to a shard drawn at random, and after a conflict to another one. What one object is asked for while a write is
 * under way goes into the next write together. A change is one round trip, or two on a shard that the object has not used yet.
 *
 * The keys are `sharded-counter/<name>/<shard>`. Objects may have different numbers of shards, and the number may be changed at
 * any time: the count is the sum of all shards that there are.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { ShardedCounter } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const views = new ShardedCounter(client, 'page:views', 20);
 * await Promise.all(Array.from({ length: 1000 }, () => views.increment()));
 * console.log(await views.get()); // 1000
 * ```
 */
export class ShardedCounter {
  readonly #client: NoriKVClient;
  readonly #name: string;
  readonly #shards: number;
  readonly #cells = new Map<number, Cell<bigint>>();
  readonly #changes: Combiner<bigint, undefined>;
  readonly #id = randomId();
  #writes = 0;

  /**
   * @param name - 1 to 256 bytes of UTF-8. Who uses the same name counts the same thing.
   * @param numShards - How many keys the writes are spread over: 1 to 1,024. About as many as there are processes that write.
   * @throws `InvalidArgumentError`
   */
  constructor(client: NoriKVClient, name: string, numShards = 10) {
    this.#client = client;
    this.#name = checkName(name, 'the name of a counter');
    this.#shards = checkWhole(numShards, 'numShards', 1, MAX_SHARDS);
    this.#changes = new Combiner(`a change of the counter ${describe(name)}`, (deltas, deadline) =>
      this.#apply(deltas, deadline),
    );
  }

  /** Adds 1. @throws As {@link incrementBy}. */
  async increment(options?: CallOptions): Promise<void> {
    await this.incrementBy(1, options);
  }

  /**
   * Adds a whole number, which may be negative.
   *
   * @throws `RetryExhaustedError` if others change the shards all the time; `CorruptionError` if the key of a shard holds no
   *   count; `ResourceExhaustedError` if 100,000 changes wait in this object. An error with `outcome: 'unknown'` may have come
   *   after the change.
   */
  async incrementBy(delta: number | bigint, options?: CallOptions): Promise<void> {
    await this.#changes.add(checkDelta(delta), this.#deadline('a change of', options));
  }

  /**
   * The count; 0 if nobody has counted yet.
   *
   * @throws `InvalidArgumentError` if it is beyond 2^53 - 1: use {@link getBigInt}; `CorruptionError` naming the key of a shard
   *   that holds no count.
   */
  async get(options?: CallOptions): Promise<number> {
    const count = await this.getBigInt(options);
    if (fitsNumber(count)) return Number(count);
    throw new InvalidArgumentError(
      `the counter ${describe(this.#name)} is at ${count}, which no number says exactly; use getBigInt()`,
    );
  }

  /** The count, whatever its size; 0n if nobody has counted yet. @throws `CorruptionError` as {@link get}. */
  async getBigInt(options?: CallOptions): Promise<bigint> {
    const deadline = this.#deadline('reading', options);
    const prefix = prefixOf('sharded-counter', this.#name);
    let sum = 0n;
    for await (const entry of this.#client.scan({ prefix, ...deadline.call })) {
      const key = entry.keyText();
      const [, , shard, ...more] = partsOf(key);
      if (more.length > 0 || !/^\d{1,4}$/.test(shard ?? '')) {
        throw new CorruptionError(
          `the key ${describe(key)} is that of no shard, and is between those of the counter ${describe(this.#name)}`,
        );
      }
      sum += parseCount(entry.text(), key);
    }
    return sum;
  }

  async #apply(
    deltas: readonly bigint[],
    deadline: Deadline,
  ): Promise<readonly undefined[] | typeof CONFLICT> {
    const cell = this.#cellOf(Math.floor(Math.random() * this.#shards));
    const before = (await cell.load(deadline)) ?? 0n;
    const count = deltas.reduce((sum, delta) => sum + delta, before);
    this.#writes += 1;
    const saved = await cell.save(count, `${count} ${this.#id}.${this.#writes}`, deadline);
    return saved ? deltas.map(() => undefined) : CONFLICT;
  }

  #cellOf(shard: number): Cell<bigint> {
    let cell = this.#cells.get(shard);
    if (cell === undefined) {
      const key = keyOf('sharded-counter', this.#name, String(shard));
      cell = new Cell(this.#client, key, parseCount);
      this.#cells.set(shard, cell);
    }
    return cell;
  }

  #deadline(what: string, options: CallOptions | undefined): Deadline {
    return new Deadline(`${what} the counter ${describe(this.#name)}`, options);
  }
}
