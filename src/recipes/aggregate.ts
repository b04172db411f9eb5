import { InvalidArgumentError } from '@norikv/client';
import type { CallOptions, Entry } from '@norikv/client';
import { CONFLICT, Deadline } from './deadline.js';
import { EventConflictError } from './eventAppender.js';
import type { NewEvent } from './eventAppender.js';
import type { Event } from './eventLog.js';
import type { EventStore } from './eventStore.js';
import { isRecord, toJson } from './json.js';
import { checkName, describe, keyOf } from './keys.js';
import { checkFunction, checkOptions, checkWhole } from './options.js';
import { Turns } from './turns.js';

/** How the state of an aggregate is kept, so that loading need not begin with the first event. */
export interface Snapshots<State> {
  /**
   * What the state is a state of: a part of the snapshots' keys, 1 to 256 bytes of UTF-8. Give it a new one when the state or
   * what events do to it changes, and old snapshots are not looked at any more.
   */
  readonly name: string;
  /** How many events come between two snapshots, 1 at least. */
  readonly every: number;
  /**
   * Makes the state of what was kept: a value of JSON, which may be anything, since it comes from the store. `null` if it is
   * no state; all events are read then.
   */
  readonly restore: (kept: unknown) => State | null;
}

/** Settings of an {@link Aggregate}. */
export interface AggregateOptions<State> {
  /** How the state is kept. The state must be a value of JSON then. Default: it is not. */
  readonly snapshots?: Snapshots<State> | undefined;
}

/** Decides what happens, from the state as it is; nothing, with an empty list. What it throws ends the command. */
export type Decide<State> = (
  state: State,
) => NewEvent | readonly NewEvent[] | Promise<NewEvent | readonly NewEvent[]>;

/** A state, and the event that it is the state after. */
interface At<State> {
  readonly state: State;
  readonly version: number;
  /** The id of that event: another history of the same length has another. */
  readonly eventId: string;
}

/**
 * A state that is what events made of it, and decides which events come next.
 *
 * A command is decided on the state as of a version and appended for exactly that version: if others appended meanwhile, what is
 * new is read, and it is decided again. What a decision refuses on a state that may be old is decided once more on the newest.
 * Commands and loads of one object come one after the other.
 *
 * Keys: those of the {@link EventStore}, and `snapshots/<name>/<aggregate>`. A snapshot holds the id of the last event that is in
 * it; one that is not of this history, or is no state, is passed over.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { Aggregate, EventStore } from '@norikv/client/recipes';
 * import type { Event } from '@norikv/client/recipes';
 *
 * class Door extends Aggregate<'open' | 'shut'> {
 *   protected initial(): 'open' | 'shut' {
 *     return 'shut';
 *   }
 *   protected apply(_: 'open' | 'shut', event: Event): 'open' | 'shut' {
 *     return event.type === 'Opened' ? 'open' : 'shut';
 *   }
 *   async open() {
 *     await this.execute((state) => (state === 'open' ? [] : { type: 'Opened', data: {} }));
 *   }
 * }
 *
 * await using client = await NoriKVClient.open('memory:');
 * const store = new EventStore(client);
 * const door = new Door(store, 'door-1');
 * await Promise.all([door.open(), new Door(store, 'door-1').open()]);
 * console.log(door.state, (await store.getEvents('door-1')).length); // open 1
 * ```
 */
export abstract class Aggregate<State> {
  /** Where its events are. */
  readonly store: EventStore;
  /** Its id. */
  readonly id: string;
  readonly #snapshots: Snapshots<State> | undefined;
  #now: At<State> | undefined;
  /** The version of the newest snapshot that is known. */
  #kept = 0;
  #failure: unknown;
  readonly #turns = new Turns();

  /** @throws `InvalidArgumentError` for what cannot be an id, or settings. */
  constructor(store: EventStore, id: string, options: AggregateOptions<State> = {}) {
    this.store = store;
    this.id = checkName(id, 'an aggregate id');
    const { snapshots } = options;
    if (snapshots !== undefined) {
      checkName(snapshots.name, 'the name of the snapshots');
      checkWhole(snapshots.every, 'every', 1, Number.MAX_SAFE_INTEGER);
      checkFunction(snapshots.restore, 'restore');
    }
    this.#snapshots = snapshots;
  }

  /** The state before the first event. */
  protected abstract initial(): State;

  /** The state after an event: a new one; what is given is left as it is. What it throws ends the load. */
  protected abstract apply(state: State, event: Event): State;

  /** The state, as far as it is loaded. */
  get state(): State {
    return this.#now === undefined ? this.initial() : this.#now.state;
  }

  /** How many events are in it. */
  get version(): number {
    return this.#now?.version ?? 0;
  }

  /** Why the newest snapshot could not be kept, if so: the next command tries again. The events are there all the same. */
  get snapshotFailure(): unknown {
    return this.#failure;
  }

  /**
   * Reads what happened since it was loaded last, and nothing else: one round trip; at first also the snapshot, before that.
   *
   * @throws `CorruptionError` if the history is not whole; what `apply` throws.
   */
  async load(options: CallOptions = {}): Promise<void> {
    checkOptions(options);
    const deadline = new Deadline(`loading ${describe(this.id)}`, options);
    await this.#inTurn(deadline, () => this.#load(deadline));
  }

  /**
   * Decides on the state and appends what was decided, as often as others are faster. Loads first, if nothing was loaded. One
   * round trip, if nobody else appended since; another with each snapshot.
   *
   * @returns The events that were appended.
   * @throws What `decide` throws on the newest state; `RetryExhaustedError` if others were faster for all of the time;
   *   `InvalidArgumentError` for what cannot be appended; `outcome: 'unknown'` as with the client's writes: {@link load} tells
   *   then.
   */
  async execute(decide: Decide<State>, options: CallOptions = {}): Promise<readonly Event[]> {
    checkFunction(decide, 'decide');
    checkOptions(options);
    const deadline = new Deadline(`the command to ${describe(this.id)}`, options);
    return await this.#inTurn(deadline, () => this.#execute(decide, deadline));
  }

  async #inTurn<T>(deadline: Deadline, work: () => Promise<T>): Promise<T> {
    await this.#turns.take(deadline);
    try {
      return await work();
    } finally {
      this.#turns.give();
    }
  }

  async #execute(decide: Decide<State>, deadline: Deadline): Promise<readonly Event[]> {
    // Whether the state is at least as new as the command.
    let newest = this.#now === undefined;
    if (newest) await this.#load(deadline);
    for (;;) {
      const events = await this.#decide(decide, newest);
      if (events.length > 0) {
        const appended = await this.#append(events, deadline);
        if (appended !== CONFLICT) {
          await this.#keep(deadline);
          return appended;
        }
        await deadline.backOff();
      } else if (newest) {
        return [];
      }
      await this.#load(deadline);
      newest = true;
    }
  }

  /** What was decided; nothing, too, if it was refused on a state that may not be the newest. */
  async #decide(decide: Decide<State>, newest: boolean): Promise<readonly NewEvent[]> {
    try {
      return listOf(await decide(this.state));
    } catch (error) {
      if (newest) throw error;
      return [];
    }
  }

  async #append(
    events: readonly NewEvent[],
    { signal, leftMs }: Deadline,
  ): Promise<readonly Event[] | typeof CONFLICT> {
    const options = { expectedVersion: this.version, signal, timeoutMs: leftMs };
    try {
      const appended = await this.store.appendAll(this.id, events, options);
      this.#fold(this.#now, appended);
      return appended;
    } catch (error) {
      if (error instanceof EventConflictError) return CONFLICT;
      throw error;
    }
  }

  async #load(deadline: Deadline): Promise<void> {
    const from = this.#now ?? (await this.#restore(deadline));
    if (from === undefined) {
      this.#fold(undefined, await this.store.getEvents(this.id, deadline.call));
      return;
    }
    // The last event that is known is read again: it tells whether the state is of this history.
    const events = await this.store.getEventsAfter(this.id, from.version - 1, deadline.call);
    if (events[0]?.id === from.eventId) {
      this.#fold(from, events.slice(1));
      return;
    }
    this.#kept = 0;
    this.#now = undefined;
    this.#fold(undefined, await this.store.getEvents(this.id, deadline.call));
  }

  #fold(from: At<State> | undefined, events: readonly Event[]): void {
    const last = events.at(-1);
    if (last === undefined) {
      this.#now = from;
      return;
    }
    let state = from === undefined ? this.initial() : from.state;
    for (const event of events) state = this.apply(state, event);
    this.#now = { state, version: last.version, eventId: last.id };
  }

  async #restore(deadline: Deadline): Promise<At<State> | undefined> {
    if (this.#snapshots === undefined) return undefined;
    const key = keyOf('snapshots', this.#snapshots.name, this.id);
    const entry = await this.store.client.getOrNull(key, deadline.call);
    const found = entry === null ? undefined : parsed(entry);
    if (!isRecord(found)) return undefined;
    const { version, event, state: kept } = found;
    const known = typeof version === 'number' && Number.isSafeInteger(version) && version >= 1;
    if (!known || typeof event !== 'string') return undefined;
    const state = this.#snapshots.restore(kept);
    if (state === null) return undefined;
    this.#kept = version;
    return { state, version, eventId: event };
  }

  /** Keeps the state, if it is time to. An older snapshot in the place of a newer one only costs reading. */
  async #keep(deadline: Deadline): Promise<void> {
    const now = this.#now;
    if (this.#snapshots === undefined || now === undefined) return;
    if (now.version - this.#kept < this.#snapshots.every) return;
    try {
      const state = toJson(now.state, 'the state');
      const head = JSON.stringify({ version: now.version, event: now.eventId });
      const key = keyOf('snapshots', this.#snapshots.name, this.id);
      await this.store.client.put(key, `${head.slice(0, -1)},"state":${state}}`, deadline.call);
      this.#kept = now.version;
      this.#failure = undefined;
    } catch (error) {
      // The command has taken place, and must not look as if it had not.
      this.#failure = error;
    }
  }
}

function listOf(decided: NewEvent | readonly NewEvent[]): readonly NewEvent[] {
  const given: unknown = decided;
  if (typeof given !== 'object' || given === null) {
    throw new InvalidArgumentError(
      `decide answers an event, or a list of them, which may be empty; got ${describe(given)}`,
    );
  }
  return isList(decided) ? decided : [decided];
}

function isList(decided: NewEvent | readonly NewEvent[]): decided is readonly NewEvent[] {
  return Array.isArray(decided);
}

/** What is not JSON is no snapshot. */
function parsed(entry: Entry): unknown {
  try {
    return entry.json();
  } catch {
    return undefined;
  }
}
