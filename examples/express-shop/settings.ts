import type { Payments } from './payments.js';

/** What the shop is told from outside. */
export interface Settings {
  /** What tokens are signed with (HS256): 32 bytes at least. */
  readonly secret: Uint8Array;
  /** Who charges the customers. */
  readonly payments: Payments;
  /** The name of this process among those that run the shop. */
  readonly nodeId: string;
  /** How many requests a customer may make, in any window of so many milliseconds. */
  readonly limit: { readonly maxRequests: number; readonly windowMs: number };
  /** How long a session lives without being used, in milliseconds. */
  readonly sessionMs: number;
  /** How long pieces are kept for an order that is being paid, in milliseconds. */
  readonly reservationMs: number;
  /** How long a request waits for the store before it says that it does not answer, in milliseconds. */
  readonly timeoutMs: number;
  /** How long the leader outlives a process that died, in milliseconds. */
  readonly leaderMs: number;
  /** How often the leader looks for orders that nobody goes on with, and how old they are by then, in milliseconds. */
  readonly settleMs: number;
}

/** What a shop has that is not said otherwise. */
export const DEFAULTS = {
  limit: { maxRequests: 100, windowMs: 60_000 },
  sessionMs: 3_600_000,
  reservationMs: 60_000,
  timeoutMs: 2_000,
  leaderMs: 10_000,
  settleMs: 5_000,
} as const;
