// How an order goes from nothing to its end, whatever dies in between. Every step may be taken again: by the request that
// began it, by the same request made again, or by the leader, who looks for orders that nobody goes on with.
import { AlreadyExistsError, NotFoundError } from '@norikv/client';
import type { CallOptions, Entry, NoriKVClient } from '@norikv/client';
import { EventStore } from '@norikv/client/recipes';
import type { InventoryManager } from '@norikv/client/recipes';
import { Order } from './orders.js';
import type { OrderState, Purchase } from './orders.js';
import type { Settings } from './settings.js';

const PENDING = 'pending/';

/** What is to be gone on with. */
interface Pending {
  readonly since: number;
  readonly reservation: string;
}

function pendingOf(entry: Entry): Pending {
  const { since, reservation } = entry.json<Partial<Pending>>();
  return { since: Number(since), reservation: String(reservation) };
}

/** The purchases of one shop. */
export class Purchases {
  readonly #client: NoriKVClient;
  readonly #events: EventStore;
  readonly #inventory: InventoryManager;
  readonly #settings: Settings;

  /** @param client - The shop's part of the store. */
  constructor(client: NoriKVClient, inventory: InventoryManager, settings: Settings) {
    this.#client = client;
    this.#events = new EventStore(client);
    this.#inventory = inventory;
    this.#settings = settings;
  }

  /** An order, as far as it got. */
  async read(orderId: string, options: CallOptions): Promise<OrderState> {
    const order = new Order(this.#events, orderId);
    await order.load(options);
    return order.state;
  }

  /** What happened to an order. */
  async history(orderId: string, options: CallOptions): Promise<readonly string[]> {
    return (await this.#events.getEvents(orderId, options)).map(({ type }) => type);
  }

  /**
   * Buys something, or goes on with that if it was begun. With the same id it is bought once, however often it is asked for.
   *
   * @throws `InsufficientStockError`.
   */
  async buy(
    orderId: string,
    purchase: Omit<Purchase, 'reservation'>,
    options: CallOptions,
  ): Promise<OrderState> {
    const order = new Order(this.#events, orderId);
    await order.load(options);
    if (order.state.step === 'none') {
      const reservation = await this.#begin(orderId, purchase, options);
      await order.record('Placed', { ...purchase, reservation }, options);
      // The same request was made twice at a time, and the order has what was kept by the other.
      if (order.state.purchase?.reservation !== reservation)
        await this.#inventory.release(reservation, options);
    }
    return await this.#settle(order, options);
  }

  /** Keeps the pieces for the order, and writes down that somebody has to go on with it. */
  async #begin(
    orderId: string,
    { sku, quantity }: Omit<Purchase, 'reservation'>,
    options: CallOptions,
  ): Promise<string> {
    const key = PENDING + orderId;
    const begun = await this.#client.getOrNull(key, options);
    if (begun !== null) return pendingOf(begun).reservation;
    const { reservationMs: ttlMs } = this.#settings;
    const reservation = await this.#inventory.reserve(sku, quantity, { ttlMs, ...options });
    const pending: Pending = { since: Date.now(), reservation };
    const value = JSON.stringify(pending);
    const guard = { ifNotExists: true, idempotencyKey: reservation };
    await this.#client.put(key, value, { ...guard, ...options }).catch((error: unknown) => {
      if (!(error instanceof AlreadyExistsError)) throw error;
    });
    return reservation;
  }

  /** Takes all steps that are left. */
  async #settle(order: Order, options: CallOptions): Promise<OrderState> {
    const { payments } = this.#settings;
    let { step, purchase } = order.state;
    if (step === 'placed' && purchase !== null) {
      const paid = await payments.charge(order.id, purchase.cents);
      ({ step, purchase } = await order.record(paid ? 'Paid' : 'Declined', {}, options));
    }
    if (step === 'paid' && purchase !== null) {
      ({ step, purchase } = await this.#deliver(order, purchase, options));
    }
    if (step === 'declined' && purchase !== null) {
      await this.#inventory.release(purchase.reservation, options);
    }
    await this.#client.delete(PENDING + order.id, options);
    return order.state;
  }

  /** Sells what is kept for an order that is paid; if it was kept for too long, gives the money back. */
  async #deliver(order: Order, purchase: Purchase, options: CallOptions): Promise<OrderState> {
    try {
      await this.#inventory.commit(purchase.reservation, options);
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
      await this.#settings.payments.refund(order.id);
      return await order.record('Refunded', {}, options);
    }
    return await order.record('Completed', {}, options);
  }

  /** Goes on with the orders that nobody went on with for a while; answers how many there were. */
  async settlePending(signal: AbortSignal): Promise<number> {
    let settled = 0;
    for await (const entry of this.#client.scan({ prefix: PENDING, signal })) {
      const { since, reservation } = pendingOf(entry);
      if (Date.now() - since < this.#settings.settleMs) continue;
      const order = new Order(this.#events, entry.keyText().slice(PENDING.length));
      // Whoever began it may be about to place it: one of the two is first, and the other sees that.
      const { step } = await order.record('Abandoned', {}, { signal });
      if (step === 'abandoned') await this.#inventory.release(reservation, { signal });
      await this.#settle(order, { signal });
      settled += 1;
    }
    return settled;
  }
}
