import { toBytes } from './bytes.js';
import { InvalidArgumentError } from './errors.js';
import type { Version } from './version.js';

/** The first byte of a call. `crates/bridge/src/{call,vector}.rs` have the same table. */
export const Op = {
  get: 1,
  put: 2,
  delete: 3,
  getMany: 4,
  scan: 5,
  count: 6,
  deleteRange: 7,
  status: 8,
  connect: 9,
  close: 10,
  watchCluster: 11,
  cancel: 12,
  txn: 13,
  lease: 14,
  leaseRevoke: 15,
  leaseTimeToLive: 16,
  watch: 17,
  watchMore: 18,
  compact: 19,
  vectorCreateIndex: 20,
  vectorDropIndex: 21,
  vectorInsert: 22,
  vectorDelete: 23,
  vectorGet: 24,
  vectorSearch: 25,
  vectorIndexes: 26,
} as const;

const HAS_PREFIX = 2;
const SMALLEST = 4096;
/** A buffer that one large call made grow is not kept for the small ones after it. */
const LARGEST_KEPT = 1024 * 1024;

/**
 * Writes calls into one buffer that is used again and again.
 *
 * A call that turns out wrong half-way is taken back with `rollback`, so that bad input leaves nothing behind.
 */
export class FrameWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;

  /** @param size - How many bytes it has room for at first. */
  constructor(size = SMALLEST) {
    this.#bytes = new Uint8Array(size);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#at;
  }

  /** What was written; valid until the next write. */
  frame(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  /** Forgets everything. */
  reset(): void {
    this.#at = 0;
    if (this.#bytes.length > LARGEST_KEPT) this.#grow(SMALLEST);
  }

  /** Forgets what was written since the frame had `length` bytes. */
  rollback(length: number): void {
    this.#at = length;
  }

  /** Begins a call. `timeoutMs` 0 is the client's own. */
  begin(op: number, id: number, timeoutMs: number, prefix: Uint8Array | undefined): void {
    this.#reserve(16);
    const at = this.#at;
    this.#bytes[at] = op;
    this.#bytes[at + 1] = prefix === undefined ? 0 : HAS_PREFIX;
    this.#view.setUint32(at + 2, id, true);
    this.#view.setUint32(at + 6, timeoutMs, true);
    this.#at = at + 10;
    if (prefix !== undefined) this.bytes(prefix);
  }

  u8(number: number): void {
    this.#reserve(1);
    this.#bytes[this.#at] = number;
    this.#at += 1;
  }

  u32(number: number): void {
    this.#reserve(4);
    this.#view.setUint32(this.#at, number, true);
    this.#at += 4;
  }

  u64(number: bigint): void {
    this.#reserve(8);
    this.#view.setBigUint64(this.#at, number, true);
    this.#at += 8;
  }

  f64(number: number): void {
    this.#reserve(8);
    this.#view.setFloat64(this.#at, number, true);
    this.#at += 8;
  }

  version(version: Version): void {
    this.u64(version.term);
    this.u64(version.index);
  }

  bytes(bytes: Uint8Array): void {
    this.#reserve(4 + bytes.length);
    this.#view.setUint32(this.#at, bytes.length, true);
    this.#bytes.set(bytes, this.#at + 4);
    this.#at += 4 + bytes.length;
  }

  /** Bytes without their length: what another writer wrote. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  text(text: string): void {
    // A UTF-16 unit has at most three bytes of UTF-8.
    this.#reserve(4 + 3 * text.length);
    const start = this.#at + 4;
    const length = writeUtf8(text, this.#bytes, start);
    this.#view.setUint32(this.#at, length, true);
    this.#at = start + length;
  }

  /** What a caller gave as a key or value. */
  data(data: string | Uint8Array, what: string): void {
    if (typeof data === 'string') this.text(data);
    else this.bytes(toBytes(data, what));
  }

  #reserve(more: number): void {
    const needed = this.#at + more;
    if (needed > this.#bytes.length) this.#grow(needed);
  }

  #grow(needed: number): void {
    const bytes = new Uint8Array(Math.max(SMALLEST, 2 ** Math.ceil(Math.log2(needed))));
    bytes.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

const encoder = new TextEncoder();
/** Up to here a loop beats the encoder, which has to be crossed into. */
const SHORT = 48;

/** Writes a text as UTF-8 and answers its length. There must be room for three bytes per UTF-16 unit. */
export function writeUtf8(text: string, bytes: Uint8Array, start: number): number {
  if (text.length <= SHORT) {
    let at = 0;
    for (; at < text.length; at++) {
      const unit = text.charCodeAt(at);
      if (unit >= 0x80) break;
      bytes[start + at] = unit;
    }
    if (at === text.length) return at;
  }
  return encoder.encodeInto(text, bytes.subarray(start)).written;
}

const MAX_TIMEOUT_MS = 0xffff_ffff;

/**
 * A call's time limit for its frame: whole milliseconds, 0 for none of its own.
 *
 * @throws InvalidArgumentError unless it is a positive number that fits.
 */
export function checkTimeout(timeoutMs: number | undefined): number {
  if (timeoutMs === undefined) return 0;
  if (typeof timeoutMs !== 'number' || !(timeoutMs > 0) || timeoutMs > MAX_TIMEOUT_MS) {
    throw new InvalidArgumentError(
      `timeoutMs is a number of milliseconds above 0 and up to ${MAX_TIMEOUT_MS}; got ${String(timeoutMs)}`,
    );
  }
  return Math.ceil(timeoutMs);
}
