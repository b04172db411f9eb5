import { createHash } from 'node:crypto';

/** Who charges customers: another company, over a network that fails. */
export interface Payments {
  /**
   * Charges an order once, however often it is asked to: `false` if it was declined, then and ever after. As real ones do, by
   * an idempotency key, here the id of the order.
   */
  charge(orderId: string, cents: number): Promise<boolean>;
  /** Gives back what an order was charged, once. */
  refund(orderId: string): Promise<void>;
}

/**
 * Declines a part of the orders at random. Which, the seed and the id of the order say, so that every process of the shop gets
 * the same answer and a test can be repeated.
 */
export class RandomPayments implements Payments {
  readonly #seed: string;
  readonly #declined: number;

  /** @param declined - How many are declined: 0 for none, 1 for all. */
  constructor(seed: string, declined: number) {
    this.#seed = seed;
    this.#declined = declined;
  }

  async charge(orderId: string): Promise<boolean> {
    const digest = createHash('sha256').update(`${this.#seed}/${orderId}`).digest();
    // It takes its time, in which others do theirs.
    await new Promise((resolve) => setTimeout(resolve, digest.readUInt8(4) % 20));
    return digest.readUInt32BE() / 2 ** 32 >= this.#declined;
  }

  async refund(): Promise<void> {
    await Promise.resolve();
  }
}
