import { CorruptionError } from '@norikv/client';
import { describe } from './keys.js';

/** How many slots a window has, if it has as many milliseconds. */
const SLOTS = 32;

/** What was let through, by slots of time. */
export interface Counted {
  /** The number of the newest slot. */
  readonly slot: number;
  /** How many in that slot, in the one before it, and so on. */
  readonly counts: readonly number[];
}

/** What a window has room for. */
export interface Room {
  /** The slots of now; what is older has been forgotten. */
  readonly counted: Counted;
  /** How many more it lets through. */
  readonly free: number;
}

/**
 * A window that slides over slots of time. All slots that the last `windowMs` milliseconds touch are counted in full: one more
 * than a window has. So no window of that length, wherever it begins, has more than was allowed, and a request counts for one
 * slot longer than the window at most.
 */
export class RateWindow {
  readonly #windowMs: number;
  readonly #most: number;
  readonly #slots: number;

  constructor(windowMs: number, most: number) {
    this.#windowMs = windowMs;
    this.#most = most;
    this.#slots = Math.min(SLOTS, windowMs);
  }

  /** How long what was counted matters, in milliseconds. */
  get keepMs(): number {
    return this.#windowMs + Math.ceil(this.#windowMs / this.#slots);
  }

  /** What there is room for at a time. Time does not go back: what was counted later than now is counted now. */
  at(now: number, counted: Counted | null): Room {
    const own = Math.floor((now * this.#slots) / this.#windowMs);
    const slot = counted === null ? own : Math.max(own, counted.slot);
    const counts: number[] = [];
    if (counted !== null && slot - counted.slot <= this.#slots) {
      for (let at = counted.slot; at < slot; at++) counts.push(0);
      counts.push(...counted.counts.slice(0, this.#slots + 1 - counts.length));
    }
    const sum = counts.reduce((total, count) => total + count, 0);
    return { counted: { slot, counts }, free: Math.max(0, this.#most - sum) };
  }

  /** The same with so many more in its newest slot. */
  add({ counted: { slot, counts } }: Room, admitted: number): Counted {
    const [newest = 0, ...older] = counts;
    let length = older.length;
    while (length > 0 && older[length - 1] === 0) length -= 1;
    return { slot, counts: [newest + admitted, ...older.slice(0, length)] };
  }

  /** When the oldest that counts is forgotten, in milliseconds since the epoch. */
  freesAt({ slot, counts }: Counted): number {
    let oldest = counts.length - 1;
    while (oldest > 0 && counts[oldest] === 0) oldest -= 1;
    const end = slot - Math.max(0, oldest) + this.#slots + 1;
    return Math.ceil((end * this.#windowMs) / this.#slots);
  }
}

/** What is stored, with the name of the write. */
export function formatCounted({ slot, counts }: Counted, write: string): string {
  return `["${write}",${slot},[${counts.join(',')}]]`;
}

/** What a stored text says. @throws `CorruptionError` if it says nothing of the kind. */
export function parseCounted(text: string, key: string): Counted {
  let stored: unknown;
  try {
    stored = JSON.parse(text);
  } catch {
    stored = undefined;
  }
  const parts: readonly unknown[] = Array.isArray(stored) ? stored : [];
  const [write, slot, counts] = parts;
  const listed: readonly unknown[] = Array.isArray(counts) ? counts : [];
  if (
    parts.length === 3 &&
    typeof write === 'string' &&
    isCount(slot) &&
    listed.length > 0 &&
    listed.length <= SLOTS + 1 &&
    listed.every(isCount)
  ) {
    return { slot, counts: listed };
  }
  throw new CorruptionError(
    `the key ${describe(key)} holds ${describe(text)}, which no rate limiter wrote; reset the limit, or delete the key`,
  );
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
