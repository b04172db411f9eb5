import { CompactedError, CorruptionError } from '@norikv/client';
import type { CallOptions, Entry, NoriKVClient, WatchEvent } from '@norikv/client';
import { Deadline } from './deadline.js';
import { EventAppender, draftsOf } from './eventAppender.js';
import type { NewEvent } from './eventAppender.js';
import {
  EVENTS,
  History,
  eventOf,
  eventsAfter,
  metadataKey,
  placeOf,
  prefixOfEvents,
  versionOf,
} from './eventLog.js';
import type { Event } from './eventLog.js';
import { checkName, describe } from './keys.js';
import { checkOptions, checkWhole } from './options.js';

export { EventConflictError, MAX_EVENTS } from './eventAppender.js';
export type { NewEvent } from './eventAppender.js';
export type { Event } from './eventLog.js';

/** The most events that an aggregate can have. */
const MAX_VERSION = Number.MAX_SAFE_INTEGER;

/** Options of an append. */
export interface AppendOptions extends CallOptions {
  /** Append only if the aggregate has exactly so many events, 0 for a new one; otherwise {@link EventConflictError}. */
  readonly expectedVersion?: number | undefined;
}

/** Options of {@link EventStore.subscribe}. */
export interface SubscribeOptions extends CallOptions {
  /** The version of the last event that is known already. Default 0: from the first one on. */
  readonly afterVersion?: number | undefined;
}

/**
 * Histories of events, one for each aggregate: what happened is appended, never changed, and read in its order.
 *
 * An event and the number of events change in one transaction, guarded by the version of the latter, so that no event is
 * overwritten, doubled or left out, whoever else appends, and also when the reply to an append is lost. Appends to one
 * aggregate that meet in one object share a transaction.
 *
 * Keys: `events/<aggregate>/!` holds how many events there are, `events/<aggregate>/<number, 16 digits>` each of them.
 * Nothing else may write there.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { EventConflictError, EventStore } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const store = new EventStore(client);
 * await store.append('order-1', 'Placed', { sku: 'tea', quantity: 2 }, { expectedVersion: 0 });
 * await store.append('order-1', 'Paid', { cents: 980 });
 * const events = await store.getEvents('order-1');
 * console.log(events.map(({ version, type }) => `${version} ${type}`).join(', ')); // 1 Placed, 2 Paid
 * try {
 *   await store.append('order-1', 'Cancelled', {}, { expectedVersion: 1 });
 * } catch (error) {
 *   console.log(error instanceof EventConflictError && error.actual); // 2
 * }
 * ```
 */
export class EventStore {
  /** The client that it was made with. */
  readonly client: NoriKVClient;
  readonly #appender: EventAppender;

  /** @param client - The store that the events are in. */
  constructor(client: NoriKVClient) {
    this.client = client;
    this.#appender = new EventAppender(client);
  }

  /**
   * Appends one event, and answers it as it is stored. One round trip, if this object was the last to append to the aggregate
   * or nobody did; another two after somebody else.
   *
   * @param aggregateId - What it happened to: 1 to 256 bytes of UTF-8.
   * @param data - A value of JSON. What JSON would leave out or change (`undefined`, `NaN`, dates, …) is refused.
   * @throws {@link EventConflictError}; `InvalidArgumentError`; `CorruptionError` if the history is not whole;
   *   `RetryExhaustedError` if others were faster for all of the time; `outcome: 'unknown'` as with the client's writes.
   */
  async append(
    aggregateId: string,
    type: string,
    data: unknown,
    options?: AppendOptions,
  ): Promise<Event> {
    const [event] = await this.appendAll(aggregateId, [{ type, data }], options);
    if (event === undefined) throw new CorruptionError('an append answered no event');
    return event;
  }

  /**
   * Appends 1 to 126 events to one aggregate: all of them, one after the other, or none.
   *
   * @throws As {@link append}; `InvalidArgumentError` for no events, and for more than one transaction takes: 126, or about
   *   4 MiB.
   */
  async appendAll(
    aggregateId: string,
    events: readonly NewEvent[],
    options: AppendOptions = {},
  ): Promise<readonly Event[]> {
    checkName(aggregateId, 'an aggregate id');
    checkOptions(options, 'expectedVersion');
    const { expectedVersion } = options;
    if (expectedVersion !== undefined)
      checkWhole(expectedVersion, 'expectedVersion', 0, MAX_VERSION);
    const drafts = draftsOf(events);
    const deadline = new Deadline(`the append to ${describe(aggregateId)}`, options);
    return await this.#appender.append(aggregateId, { drafts, expectedVersion, deadline });
  }

  /**
   * All events of an aggregate, in their order and as of one moment; none if there is no such aggregate. One scan.
   *
   * @throws `CorruptionError` naming the key, if one is missing or is not what was appended.
   */
  async getEvents(aggregateId: string, options: CallOptions = {}): Promise<readonly Event[]> {
    checkName(aggregateId, 'an aggregate id');
    checkOptions(options);
    const entries = await this.client
      .scan({ prefix: prefixOfEvents(aggregateId), ...callOf(options) })
      .toArray();
    const [metadata = null, ...rest] = entries;
    const history = new History(aggregateId, 0);
    history.begin(metadata);
    const events = rest.map((entry) => history.take(entry));
    history.end();
    return events;
  }

  /**
   * The events of an aggregate after a version: nothing before them is read. One scan, and the metadata at the same time.
   *
   * @param version - The version of the last event that is known already; 0 for all.
   * @throws As {@link getEvents}.
   */
  async getEventsAfter(
    aggregateId: string,
    version: number,
    options: CallOptions = {},
  ): Promise<readonly Event[]> {
    checkWhole(version, 'the version', 0, MAX_VERSION);
    if (version === 0) return await this.getEvents(aggregateId, options);
    checkName(aggregateId, 'an aggregate id');
    checkOptions(options);
    const call = callOf(options);
    const range = { ...eventsAfter(aggregateId, version), ...call };
    const readMetadata = (): Promise<Entry | null> =>
      this.client.getOrNull(metadataKey(aggregateId), call);
    let [metadata, entries] = await Promise.all([
      readMetadata(),
      this.client.scan(range).toArray(),
    ]);
    const total = metadata === null ? 0 : versionOf(metadata);
    if (version + entries.length < total || (metadata === null && entries.length > 0)) {
      // Read at two moments, the one looks as if the other were not whole; one after the other, it does not.
      metadata = await readMetadata();
      entries = await this.client.scan(range).toArray();
    }
    const history = new History(aggregateId, version);
    history.begin(metadata, false);
    const events = entries.map((entry) => history.take(entry));
    history.end();
    return events;
  }

  /**
   * The events of an aggregate, those that there are and then each that is appended, until the loop is left or the signal
   * fires. None is missed or told twice, however slow the reader is.
   *
   * `timeoutMs` is for the beginning and for each page of what there is already, not for the whole.
   *
   * @throws From the iterator: as {@link getEvents}, and `CancelledError`.
   */
  subscribe(aggregateId: string, options: SubscribeOptions = {}): AsyncGenerator<Event, void> {
    checkName(aggregateId, 'an aggregate id');
    checkOptions(options, 'afterVersion');
    const { afterVersion = 0 } = options;
    checkWhole(afterVersion, 'afterVersion', 0, MAX_VERSION);
    return this.#follow(aggregateId, afterVersion, callOf(options));
  }

  /**
   * The events of all aggregates: those that there are, aggregate by aggregate, and then each as it is appended. Otherwise as
   * {@link subscribe}; but a reader who is so slow that the store has forgotten what it has to be told next gets a
   * `CompactedError`.
   */
  subscribeAll(options: CallOptions = {}): AsyncGenerator<Event, void> {
    checkOptions(options);
    return this.#followAll(callOf(options));
  }

  async *#follow(
    aggregateId: string,
    after: number,
    call: CallOptions,
  ): AsyncGenerator<Event, void> {
    const prefix = prefixOfEvents(aggregateId);
    let last = after;
    for (;;) {
      const watch = this.client.watch({ prefix }, call);
      try {
        const version = await watch.ready;
        const history = new History(aggregateId, last);
        const [metadata = null] = await this.client
          .scan({ prefix, limit: 1, version, ...call })
          .toArray();
        history.begin(metadata);
        const range = { ...eventsAfter(aggregateId, last), version, ...call };
        for await (const entry of this.client.scan(range)) {
          const event = history.take(entry);
          last = event.version;
          yield event;
        }
        history.end();
        for await (const { events } of watch) {
          for (const change of events) {
            const place = livePlace(change);
            // The metadata; or what is said to be known already.
            if (place.version === 0 || place.version <= last) continue;
            const event = new History(aggregateId, last).take(change.entry);
            last = event.version;
            yield event;
          }
        }
        return;
      } catch (error) {
        // Too slow for the history that is kept: the events are all there, and are read from where it stopped.
        if (!(error instanceof CompactedError)) throw error;
      } finally {
        await watch.close();
      }
    }
  }

  async *#followAll(call: CallOptions): AsyncGenerator<Event, void> {
    const watch = this.client.watch({ prefix: EVENTS }, call);
    try {
      const version = await watch.ready;
      let current: { readonly aggregateId: string; readonly history: History } | undefined;
      for await (const entry of this.client.scan({ prefix: EVENTS, version, ...call })) {
        const place = placeOf(entry);
        if (current?.aggregateId !== place.aggregateId) {
          current?.history.end();
          const history = new History(place.aggregateId, 0);
          history.begin(entry);
          current = { aggregateId: place.aggregateId, history };
        } else {
          yield current.history.take(entry);
        }
      }
      current?.history.end();
      for await (const { events } of watch) {
        for (const change of events) {
          const place = livePlace(change);
          if (place.version === 0) continue;
          yield eventOf(place.aggregateId, place.version, change.entry);
        }
      }
    } finally {
      await watch.close();
    }
  }
}

/** The options of the client's calls that an operation makes. */
function callOf({ signal, timeoutMs }: CallOptions): CallOptions {
  return { signal, timeoutMs };
}

/** Where an event was put. Nothing of the event store is ever deleted. */
function livePlace({ type, entry }: WatchEvent): { aggregateId: string; version: number } {
  if (type === 'put') return placeOf(entry);
  throw new CorruptionError(
    `${describe(entry.keyText())} was deleted, and the event store deletes nothing; something else did`,
  );
}
