import { InvalidArgumentError } from '@norikv/client';
import type { CallOptions, NoriKVClient } from '@norikv/client';
import { Cell } from './cell.js';
import { Combiner } from './combiner.js';
import { checkDelta, fitsNumber, parseCount } from './counterValue.js';
import { CONFLICT, Deadline } from './deadline.js';
import { checkName, describe, keyOf, randomId } from './keys.js';

/** One change that somebody waits for. */
interface Change {
  readonly delta: bigint;
  /** Whether the answer has to be a `number`. */
  readonly small: boolean;
}

/**
 * A count that many processes change, exact under any concurrency and after lost replies.
 *
 * Every change is a compare-and-set that carries a name of its own, so that a write whose reply was lost is known for what it
 * was. Changes that one object makes while a write is under way go into the next write together, and each is told its own
 * result: use one object per process for a counter. A change that nobody disturbs is one round trip, one after somebody else's
 * three; the first of an object is two.
 *
 * The key is `counter/<name>` (with `/` and `%` in the name escaped), its value a decimal number and the name of the write; a
 * plain decimal number that somebody wrote by hand is taken as well.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { DistributedCounter } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const requests = new DistributedCounter(client, 'api:requests');
 * await Promise.all([requests.increment(), requests.increment(), requests.incrementBy(40)]);
 * console.log(await requests.get()); // 42
 * ```
 */
export class DistributedCounter {
  readonly #client: NoriKVClient;
  readonly #key: string;
  readonly #name: string;
  readonly #cell: Cell<bigint>;
  readonly #changes: Combiner<Change, bigint | InvalidArgumentError>;
  readonly #id = randomId();
  #writes = 0;

  /**
   * @param name - 1 to 256 bytes of UTF-8. Who uses the same name counts the same thing.
   * @throws `InvalidArgumentError`
   */
  constructor(client: NoriKVClient, name: string) {
    this.#client = client;
    this.#name = checkName(name, 'the name of a counter');
    this.#key = keyOf('counter', name);
    this.#cell = new Cell(client, this.#key, parseCount);
    this.#changes = new Combiner(`a change of the counter ${describe(name)}`, (changes, deadline) =>
      this.#apply(changes, deadline),
    );
  }

  /**
   * Makes the counter, at 0, if it is not there; one that is there stays as it is. Nothing else needs it: what is not there
   * counts as 0.
   *
   * @throws `CorruptionError` if something else has its key.
   */
  async initialize(options?: CallOptions): Promise<void> {
    const deadline = this.#deadline('making', options);
    const cell = new Cell(this.#client, this.#key, parseCount);
    await deadline.retry(async () => {
      const there = (await cell.load(deadline)) !== null;
      // A conflict is a counter that somebody else has just made, which is looked at once more.
      return there || (await cell.save(0n, this.#valueOf(0n), deadline)) || CONFLICT;
    });
  }

  /** Adds 1; answers the count that this made. @throws As {@link incrementBy}. */
  async increment(options?: CallOptions): Promise<number> {
    return await this.incrementBy(1, options);
  }

  /**
   * Adds a whole number, which may be negative; answers the count that this made, as what `delta` is.
   *
   * @throws `InvalidArgumentError`, with nothing changed, if `delta` is a `number` and the count would be beyond 2^53 - 1, where
   *   numbers are not exact: give a `bigint`; `RetryExhaustedError` if others change the counter all the time;
   *   `CorruptionError` if its key holds no count; `ResourceExhaustedError` if 100,000 changes wait in this object. An error
   *   with `outcome: 'unknown'` may have come after the change.
   */
  async incrementBy(delta: number, options?: CallOptions): Promise<number>;
  /** The same for counts of any size. */
  async incrementBy(delta: bigint, options?: CallOptions): Promise<bigint>;
  async incrementBy(delta: number | bigint, options?: CallOptions): Promise<number | bigint> {
    const change = { delta: checkDelta(delta), small: typeof delta === 'number' };
    const count = await this.#changes.add(change, this.#deadline('a change of', options));
    if (typeof count !== 'bigint') throw count;
    return change.small ? Number(count) : count;
  }

  /**
   * The count; 0 if nobody has counted yet.
   *
   * @throws `InvalidArgumentError` if it is beyond 2^53 - 1: use {@link getBigInt}; `CorruptionError` if its key holds no count.
   */
  async get(options?: CallOptions): Promise<number> {
    const count = await this.getBigInt(options);
    if (fitsNumber(count)) return Number(count);
    throw new InvalidArgumentError(
      `the counter ${describe(this.#name)} is at ${count}, which no number says exactly; use getBigInt()`,
    );
  }

  /** The count, whatever its size; 0n if nobody has counted yet. @throws `CorruptionError` if its key holds no count. */
  async getBigInt(options?: CallOptions): Promise<bigint> {
    const deadline = this.#deadline('reading', options);
    const entry = await this.#client.getOrNull(this.#key, deadline.call);
    return entry === null ? 0n : parseCount(entry.text(), this.#key);
  }

  async #apply(
    changes: readonly Change[],
    deadline: Deadline,
  ): Promise<readonly (bigint | InvalidArgumentError)[] | typeof CONFLICT> {
    let outcome = this.#plan((await this.#cell.load(deadline)) ?? 0n, changes);
    // What is refused is refused for what is there, not for what was there once.
    if (outcome.refused > 0 && !this.#cell.isFresh) {
      outcome = this.#plan((await this.#cell.reload(deadline)) ?? 0n, changes);
    }
    if (outcome.refused === changes.length) return outcome.answers;
    const { count, answers } = outcome;
    return (await this.#cell.save(count, this.#valueOf(count), deadline)) ? answers : CONFLICT;
  }

  /** What comes of changes one after the other. */
  #plan(
    before: bigint,
    changes: readonly Change[],
  ): {
    readonly count: bigint;
    readonly refused: number;
    readonly answers: readonly (bigint | InvalidArgumentError)[];
  } {
    let count = before;
    let refused = 0;
    const answers = changes.map(({ delta, small }) => {
      const next = count + delta;
      if (small && !fitsNumber(next)) {
        refused += 1;
        return new InvalidArgumentError(
          `the counter ${describe(this.#name)} would be at ${next}, which no number says exactly; add a bigint`,
        );
      }
      count = next;
      return next;
    });
    return { count, refused, answers };
  }

  #valueOf(count: bigint): string {
    this.#writes += 1;
    return `${count} ${this.#id}.${this.#writes}`;
  }

  #deadline(what: string, options: CallOptions | undefined): Deadline {
    return new Deadline(`${what} the counter ${describe(this.#name)}`, options);
  }
}
