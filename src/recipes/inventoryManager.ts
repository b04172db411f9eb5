import {
  AlreadyExistsError,
  CorruptionError,
  InvalidArgumentError,
  NotFoundError,
  compare,
  keyToBytes,
  op,
} from '@norikv/client';
import type { CallOptions, Compare, NoriKVClient, TxnOp } from '@norikv/client';
import { Combiner } from './combiner.js';
import { CONFLICT, Deadline } from './deadline.js';
import { writeGuarded } from './guarded.js';
import {
  InsufficientStockError,
  formatItem,
  heldBy,
  holdPrefix,
  itemKey,
  newReservation,
  parseItem,
  parseReservation,
} from './inventoryStock.js';
import type { Item, Reservation } from './inventoryStock.js';
import { checkName, describe, randomId } from './keys.js';
import { checkFields, checkWhole } from './options.js';
import { repeat } from './repeat.js';

/** How long a reservation lives by default, in milliseconds. */
const DEFAULT_TTL_MS = 600_000;
/** The longest that one lives without being extended: 366 days, in milliseconds. */
const MAX_TTL_MS = 366 * 86_400_000;
/** How long it is known that a reservation was committed, in milliseconds. */
const DONE_MS = 86_400_000;
/** How many reservations are read together with their item; more are read after it. */
const PAGE = 512;
/** How many reservations are made, and committed, in one transaction: it has at most 128 compares and ops. */
const MOST_RESERVED = 100;
const MOST_COMMITTED = 40;

/** Options of {@link InventoryManager.reserve}. */
export interface ReserveOptions extends CallOptions {
  /** How long the reservation lives, in milliseconds: a whole number from 1 to 366 days. Default 600,000 (10 minutes). */
  readonly ttlMs?: number | undefined;
}

/** One reservation that is asked for. */
interface Ask {
  readonly reservation: Reservation;
  readonly ttlMs: number;
}

/** What is asked for of one item at the moment. */
interface Line {
  readonly reserves: Combiner<Ask, string | InsufficientStockError | NotFoundError>;
  readonly commits: Combiner<Reservation, NotFoundError | undefined>;
  users: number;
}

/** An item, and how much of it its living reservations hold, at one moment. */
interface Stock {
  readonly item: Item;
  readonly held: number;
}

/**
 * Stock that is reserved, and then sold or given back, and is never sold twice nor lost, whatever crashes in between.
 *
 * A living reservation is a key that the store itself ends when its time is up. What is available is the quantity of the item
 * less what its living reservations hold, read at one moment; so a reservation that runs out gives its stock back by itself, and
 * there is no count of reserved stock that could go wrong. Each step is one transaction, guarded by what it was decided on.
 *
 * `reserve` and `commit` take two round trips, everything else one. The keys are `inventory/item/<sku>`,
 * `inventory/hold/<sku>/<id>` while a reservation lives, and `inventory/done/<sku>/<id>` for 24 hours after it was committed.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { InventoryManager } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const inventory = new InventoryManager(client);
 * await inventory.createItem('SKU-12345', 100);
 *
 * const sold = await inventory.reserve('SKU-12345', 3);
 * const given = await inventory.reserve('SKU-12345', 20);
 * console.log(await inventory.getAvailable('SKU-12345')); // 77
 * await inventory.commit(sold);
 * await inventory.release(given);
 * console.log(await inventory.getAvailable('SKU-12345')); // 97
 * ```
 */
export class InventoryManager {
  readonly #client: NoriKVClient;
  readonly #lines = new Map<string, Line>();
  readonly #id = randomId();
  #writes = 0;

  constructor(client: NoriKVClient) {
    this.#client = client;
  }

  /**
   * Makes an item.
   *
   * @param sku - What it is called: 1 to 256 bytes of UTF-8.
   * @param initialQuantity - How much of it there is: a whole number from 0 to 2^53 - 1.
   * @throws `AlreadyExistsError` if it is there, which is left as it is: add to it with {@link addStock}.
   */
  async createItem(sku: string, initialQuantity: number, options?: CallOptions): Promise<void> {
    const key = itemKey(checkSku(sku));
    checkWhole(initialQuantity, 'the quantity of an item', 0, Number.MAX_SAFE_INTEGER);
    const write = { key, current: null, value: this.#value(initialQuantity) };
    const deadline = new Deadline(`making the item ${describe(sku)}`, options);
    if ((await writeGuarded(this.#client, write, deadline)) === CONFLICT) {
      throw new AlreadyExistsError(
        `the item ${describe(sku)} is there already, and is left as it is; add to it with addStock()`,
        { key: keyToBytes(key), actual: null },
      );
    }
  }

  /**
   * Adds to what there is of an item.
   *
   * @throws `NotFoundError` if there is no such item; `InvalidArgumentError` if there would be more than 2^53 - 1;
   *   `RetryExhaustedError`.
   */
  async addStock(sku: string, quantity: number, options?: CallOptions): Promise<void> {
    const key = itemKey(checkSku(sku));
    checkQuantity(quantity);
    const deadline = new Deadline(`adding to the item ${describe(sku)}`, options);
    await deadline.retry(async () => {
      const entry = await this.#client.getOrNull(key, deadline.call);
      if (entry === null) throw unknownItem(sku);
      const sum = parseItem(entry).quantity + quantity;
      if (!Number.isSafeInteger(sum)) {
        throw new InvalidArgumentError(
          `there would be more than 2^53 - 1 of ${describe(sku)} if ${quantity} were added`,
        );
      }
      const write = { key, current: entry, value: this.#value(sum) };
      return await writeGuarded(this.#client, write, deadline);
    });
  }

  /**
   * Takes stock away from what is available, for `ttlMs`; answers the id of the reservation. Nobody else gets this stock until it
   * is released or runs out.
   *
   * @throws {@link InsufficientStockError}; `NotFoundError` if there is no such item; `RetryExhaustedError` if others change the
   *   item all the time, which says nothing about its stock. After an error with `outcome: 'unknown'` there may be a reservation,
   *   which runs out.
   */
  async reserve(sku: string, quantity: number, options?: ReserveOptions): Promise<string> {
    checkSku(sku);
    checkQuantity(quantity);
    const { ttlMs = DEFAULT_TTL_MS, ...call } = checkFields(options, 'options', [
      'ttlMs',
      'signal',
      'timeoutMs',
    ]);
    checkWhole(ttlMs, 'ttlMs', 1, MAX_TTL_MS);
    const deadline = new Deadline(`a reservation of ${describe(sku)}`, call);
    const ask = { reservation: newReservation(sku, quantity), ttlMs };
    const answer = await this.#on(sku, ({ reserves }) => reserves.add(ask, deadline));
    if (typeof answer === 'string') return answer;
    throw answer;
  }

  /**
   * Has a reservation run out `ms` milliseconds from now, instead of when it would.
   *
   * @throws `NotFoundError` if it was committed or released, or ran out.
   */
  async extend(reservationId: string, ms: number, options?: CallOptions): Promise<void> {
    const { sku, holdKey, doneKey } = parseReservation(reservationId);
    const ttlMs = checkWhole(ms, 'ms', 1, MAX_TTL_MS);
    const deadline = new Deadline(`the extension of a reservation of ${describe(sku)}`, options);
    const txn = this.#client
      .txn()
      .if(compare(holdKey).exists.equals(true))
      .then(op.put(holdKey, '', { ttlMs }))
      .else(op.get(doneKey));
    const { succeeded, results } = await repeat(() => txn.commit(deadline.call), deadline);
    if (succeeded) return;
    throw results[0] === null
      ? ended(sku)
      : new NotFoundError(`this reservation of ${describe(sku)} was committed already`);
  }

  /**
   * Sells what was reserved: it is gone for good. Committing twice is committing once, within 24 hours.
   *
   * @throws `NotFoundError` if the reservation was released or ran out: nothing was sold; `RetryExhaustedError`.
   */
  async commit(reservationId: string, options?: CallOptions): Promise<void> {
    const reservation = parseReservation(reservationId);
    const { sku } = reservation;
    const deadline = new Deadline(`the commitment of a reservation of ${describe(sku)}`, options);
    const error = await this.#on(sku, ({ commits }) => commits.add(reservation, deadline));
    if (error !== undefined) throw error;
  }

  /**
   * Gives back what was reserved: `true` if this did; `false` if there was nothing to give back, since it was committed or
   * released, or ran out.
   */
  async release(reservationId: string, options?: CallOptions): Promise<boolean> {
    const { sku, holdKey } = parseReservation(reservationId);
    const deadline = new Deadline(`the release of a reservation of ${describe(sku)}`, options);
    const idempotencyKey = randomId();
    return await repeat(
      () => this.#client.delete(holdKey, { idempotencyKey, ...deadline.call }),
      deadline,
    );
  }

  /** How much of an item can be reserved. @throws `NotFoundError` if there is no such item. */
  async getAvailable(sku: string, options?: CallOptions): Promise<number> {
    checkSku(sku);
    const stock = await this.#read(sku, new Deadline(`reading ${describe(sku)}`, options));
    if (stock === null) throw unknownItem(sku);
    return stock.item.quantity - stock.held;
  }

  /** What is there of an item, all at one moment; `null` if there is no such item. */
  async #read(sku: string, deadline: Deadline): Promise<Stock | null> {
    const prefix = holdPrefix(sku);
    const { results, version } = await this.#client
      .txn()
      .then(op.get(itemKey(sku)), op.scan({ prefix, keysOnly: true, limit: PAGE }))
      .commit(deadline.call);
    // Without a condition there is no other outcome.
    const [entry = null, holds = []] = results;
    if (entry === null) return null;
    let held = holds.reduce((sum, hold) => sum + heldBy(hold), 0);
    const last = holds[PAGE - 1];
    if (last !== undefined) {
      // The rest of the prefix, which ends where its last character is one more.
      const range = { start: `${last.keyText()}\0`, end: `${prefix.slice(0, -1)}0` };
      const rest = this.#client.scan({ ...range, keysOnly: true, version, ...deadline.call });
      for await (const hold of rest) held += heldBy(hold);
    }
    return { item: parseItem(entry), held };
  }

  async #reserve(
    sku: string,
    asks: readonly Ask[],
    deadline: Deadline,
  ): Promise<readonly (string | InsufficientStockError | NotFoundError)[] | typeof CONFLICT> {
    const stock = await this.#read(sku, deadline);
    if (stock === null) return asks.map(() => unknownItem(sku));
    const { item, held } = stock;
    let available = item.quantity - held;
    const ops: TxnOp[] = [];
    const answers = asks.map(({ reservation: { id, quantity, holdKey }, ttlMs }) => {
      if (quantity > available) return new InsufficientStockError(sku, quantity, available);
      available -= quantity;
      ops.push(op.put(holdKey, '', { ttlMs }));
      return id;
    });
    if (ops.length === 0) return answers;
    // Whoever reserves changes the item's version: of two who read the same stock, one reads it again.
    const write = { key: itemKey(sku), current: item, value: this.#value(item.quantity) };
    const version = await writeGuarded(this.#client, write, deadline, { ops });
    return version === CONFLICT ? CONFLICT : answers;
  }

  async #commit(
    sku: string,
    asked: readonly Reservation[],
    deadline: Deadline,
  ): Promise<readonly (NotFoundError | undefined)[] | typeof CONFLICT> {
    const keys = asked.flatMap(({ holdKey, doneKey }) => [holdKey, doneKey]);
    const [entry, ...found] = await this.#client.getMany([itemKey(sku), ...keys], deadline.call);
    const living = new Map<string, Reservation>();
    const answers = asked.map((reservation, at) => {
      const [hold, done] = [found[2 * at], found[2 * at + 1]];
      if (done) return undefined;
      if (!hold) return ended(sku);
      living.set(reservation.id, reservation);
      return undefined;
    });
    if (living.size === 0) return answers;
    const sold = [...living.values()];
    const item = entry ? parseItem(entry) : null;
    const left = sold.reduce((rest, { quantity }) => rest - quantity, item?.quantity ?? 0);
    if (item === null || left < 0) {
      throw new CorruptionError(
        `the key ${describe(itemKey(sku))} has less than is reserved of ${describe(sku)}: somebody else changed it`,
      );
    }
    const compares: Compare[] = sold.map(({ holdKey }) => compare(holdKey).exists.equals(true));
    const ops: TxnOp[] = sold.flatMap(({ holdKey, doneKey }) => [
      op.delete(holdKey),
      op.put(doneKey, 'committed', { ttlMs: DONE_MS }),
    ]);
    const write = { key: itemKey(sku), current: item, value: this.#value(left) };
    const version = await writeGuarded(this.#client, write, deadline, { compares, ops });
    return version === CONFLICT ? CONFLICT : answers;
  }

  /** Runs what goes together with whatever else is asked for of an item. */
  async #on<T>(sku: string, run: (line: Line) => Promise<T>): Promise<T> {
    let line = this.#lines.get(sku);
    if (line === undefined) {
      line = {
        reserves: new Combiner(
          `a reservation of ${describe(sku)}`,
          (asks, deadline) => this.#reserve(sku, asks, deadline),
          MOST_RESERVED,
        ),
        commits: new Combiner(
          `the commitment of a reservation of ${describe(sku)}`,
          (asked, deadline) => this.#commit(sku, asked, deadline),
          MOST_COMMITTED,
        ),
        users: 0,
      };
      this.#lines.set(sku, line);
    }
    line.users += 1;
    try {
      return await run(line);
    } finally {
      line.users -= 1;
      if (line.users === 0 && this.#lines.get(sku) === line) this.#lines.delete(sku);
    }
  }

  #value(quantity: number): string {
    this.#writes += 1;
    return formatItem(quantity, `${this.#id}.${this.#writes}`);
  }
}

function checkSku(sku: unknown): string {
  return checkName(sku, 'a sku');
}

function checkQuantity(quantity: unknown): void {
  checkWhole(quantity, 'a quantity', 1, Number.MAX_SAFE_INTEGER);
}

function unknownItem(sku: string): NotFoundError {
  return new NotFoundError(`there is no item ${describe(sku)}; make it with createItem()`);
}

function ended(sku: string): NotFoundError {
  return new NotFoundError(
    `this reservation of ${describe(sku)} was released or ran out; nothing was sold: reserve again`,
  );
}
