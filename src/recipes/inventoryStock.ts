import { CorruptionError, InvalidArgumentError, NoriKVError } from '@norikv/client';
import type { Entry, Version } from '@norikv/client';
import { corrupt, fromJson, isRecord } from './json.js';
import { checkName, describe, keyOf, partsOf, prefixOf, randomId } from './keys.js';

/** What a reservation is called in its key: who it is, and how much it holds. */
const HOLD = /^[\w-]{22}\.([1-9]\d{0,15})$/;

/** There is less than was asked for. Nothing was reserved. */
export class InsufficientStockError extends NoriKVError {
  /** What was asked for. */
  readonly sku: string;
  /** How much of it was asked for. */
  readonly requested: number;
  /** How much of it was available. */
  readonly available: number;

  constructor(sku: string, requested: number, available: number) {
    super(
      'RESOURCE_EXHAUSTED',
      `${requested} of ${describe(sku)} were asked for, and ${available} are available`,
    );
    this.sku = sku;
    this.requested = requested;
    this.available = available;
  }
}

/** An item as it was read. */
export interface Item {
  readonly version: Version;
  /** How much there is, what is reserved included. */
  readonly quantity: number;
}

/** The key of an item. */
export function itemKey(sku: string): string {
  return keyOf('inventory', 'item', sku);
}

/** What the keys of an item's living reservations begin with. */
export function holdPrefix(sku: string): string {
  return prefixOf('inventory', 'hold', sku);
}

/** A reservation, and where it is. */
export interface Reservation {
  /** What its user calls it. */
  readonly id: string;
  readonly sku: string;
  readonly quantity: number;
  /** There while it lives. */
  readonly holdKey: string;
  /** There for a day after it was committed. */
  readonly doneKey: string;
}

/** A reservation that is not there yet. */
export function newReservation(sku: string, quantity: number): Reservation {
  return reservation(sku, `${randomId()}.${quantity}`, quantity);
}

function reservation(sku: string, hold: string, quantity: number): Reservation {
  return {
    id: keyOf(sku, hold),
    sku,
    quantity,
    holdKey: keyOf('inventory', 'hold', sku, hold),
    doneKey: keyOf('inventory', 'done', sku, hold),
  };
}

/** The reservation of an id that `reserve` answered. @throws `InvalidArgumentError` if it is none. */
export function parseReservation(id: unknown): Reservation {
  const [sku = '', hold = '', ...more] = typeof id === 'string' ? partsOf(id) : [];
  const quantity = Number(HOLD.exec(hold)?.[1]);
  if (more.length > 0 || !Number.isSafeInteger(quantity) || keyOf(sku, hold) !== id) {
    throw new InvalidArgumentError(
      `a reservation's id is what reserve() answered; got ${describe(id)}`,
    );
  }
  return reservation(checkName(sku, 'the sku of a reservation'), hold, quantity);
}

/** How much a living reservation holds. @throws `CorruptionError` if the key is that of none. */
export function heldBy(entry: Entry): number {
  const key = entry.keyText();
  const quantity = Number(HOLD.exec(partsOf(key)[3] ?? '')?.[1]);
  if (Number.isSafeInteger(quantity)) return quantity;
  throw new CorruptionError(`the key ${describe(key)} is among reservations, and is none`);
}

/** What an item is stored as. */
export function formatItem(quantity: number, by: string): string {
  return JSON.stringify({ quantity, by });
}

/** What a stored item says. @throws `CorruptionError` if it says nothing of the kind. */
export function parseItem(entry: Entry): Item {
  const stored = fromJson(entry);
  if (isRecord(stored) && 'by' in stored) {
    const { quantity } = stored;
    if (typeof quantity === 'number' && Number.isSafeInteger(quantity) && quantity >= 0) {
      return { version: entry.version, quantity };
    }
  }
  throw corrupt(entry, 'it is no item of an inventory');
}
