import type { NoriKVClient, Version } from '@norikv/client';
import { CONFLICT } from './deadline.js';
import type { Deadline } from './deadline.js';
import { writeGuarded } from './guarded.js';

/** A state and where it was found. */
interface Seen<State> {
  readonly version: Version;
  readonly state: State;
}

/**
 * One key, and what was seen there last: a write that nobody else disturbs is one round trip. What is remembered may be old; it
 * is only ever written over if it is not.
 */
export class Cell<State> {
  readonly #client: NoriKVClient;
  readonly #key: string;
  readonly #parse: (text: string, key: string) => State;
  /** `undefined` for not known, `null` for nothing there. */
  #seen: Seen<State> | null | undefined;
  /** Whether others write here, too: what is remembered is then more likely to be wrong than right. */
  #shared = false;
  #isFresh = false;
  /** When what was written here is gone, by `performance.now()`: its time began before we heard of it. */
  #goneAt = Infinity;

  /**
   * @param parse - Makes the state of a value. @throws `CorruptionError` if it cannot be one.
   * @param guess - What is taken to be there before anything was seen: nothing, or nothing is known.
   */
  constructor(
    client: NoriKVClient,
    key: string,
    parse: (text: string, key: string) => State,
    guess?: null,
  ) {
    this.#client = client;
    this.#key = key;
    this.#parse = parse;
    this.#seen = guess;
  }

  /** Whether {@link load} has just asked the store. */
  get isFresh(): boolean {
    return this.#isFresh;
  }

  /** What is there, as far as is remembered. */
  async load(deadline: Deadline): Promise<State | null> {
    if (this.#seen === undefined || this.#shared) return await this.reload(deadline);
    this.#isFresh = false;
    if (performance.now() >= this.#goneAt) this.#seen = null;
    return this.#seen?.state ?? null;
  }

  /** What is there now; `null` for nothing. */
  async reload(deadline: Deadline): Promise<State | null> {
    const entry = await this.#client.getOrNull(this.#key, deadline.call);
    const before = this.#seen;
    this.#isFresh = true;
    if (entry === null) {
      this.#seen = null;
      return null;
    }
    const { version } = entry;
    // Nobody was here since we were.
    if (before?.version.equals(version) === true) {
      this.#shared = false;
      return before.state;
    }
    const state = this.#parse(entry.text(), this.#key);
    this.#seen = { version, state };
    this.#goneAt = Infinity;
    return state;
  }

  /**
   * Writes over what {@link load} or {@link reload} answered last; `false` if something else is there.
   *
   * @param value - What the state is written as. No other write may have the same bytes.
   * @throws As `writeGuarded`.
   */
  async save(state: State, value: string, deadline: Deadline, ttlMs?: number): Promise<boolean> {
    const current = this.#seen ?? null;
    // Whatever happens, that is not known any more.
    this.#seen = undefined;
    const write = { key: this.#key, current, value, ttlMs };
    const version = await writeGuarded(this.#client, write, deadline);
    if (version === CONFLICT) {
      this.#shared = true;
      return false;
    }
    this.#seen = { version, state };
    this.#goneAt = ttlMs === undefined ? Infinity : performance.now() + ttlMs;
    return true;
  }
}
