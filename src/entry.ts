import type { Entry as PublicEntry } from '../index.js';
import { bytesToString, stringToBytes } from './bytes.js';
import type { Version } from './version.js';

/** A key, its value, and what the store knows about them. */
export class Entry implements PublicEntry {
  readonly #key: string | Uint8Array;

  constructor(
    /** Text where the caller gave text: most callers never ask for its bytes. */
    key: string | Uint8Array,
    readonly value: Uint8Array,
    readonly version: Version,
    readonly createVersion: Version,
    readonly generation: number,
    readonly lease: bigint | null,
    readonly expiresAt: number | null,
  ) {
    this.#key = key;
  }

  get key(): Uint8Array {
    return typeof this.#key === 'string' ? stringToBytes(this.#key) : this.#key;
  }

  keyText(): string {
    return typeof this.#key === 'string' ? this.#key : bytesToString(this.#key);
  }

  text(): string {
    return bytesToString(this.value);
  }

  json<T = unknown>(): T {
    return JSON.parse(this.text()) as T;
  }
}
