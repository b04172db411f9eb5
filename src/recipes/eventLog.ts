import { CorruptionError } from '@norikv/client';
import type { Entry } from '@norikv/client';
import { corrupt, fromJson, isRecord } from './json.js';
import { describe, keyOf, partsOf, prefixOf } from './keys.js';

/** Something that happened to an aggregate. */
export interface Event {
  /** The event's own: 128 random bits. */
  readonly id: string;
  /** What it happened to. */
  readonly aggregateId: string;
  /** What happened. */
  readonly type: string;
  /** What is to be known of it: a value of JSON, as it was appended. Check it before you believe it. */
  readonly data: unknown;
  /** When, in milliseconds since the Unix epoch, by the clock of whoever appended it. Not what events are ordered by. */
  readonly timestamp: number;
  /** Its place in the aggregate's history: 1 for the first, one more for each. */
  readonly version: number;
}

/** What the keys of all events begin with. */
export const EVENTS = prefixOf('events');

/** The place of an aggregate's metadata: before its events, since `!` is before `0`. */
const METADATA = '!';

/** How many digits the number of an event has in its key, so that keys are in the order of the numbers. */
const DIGITS = 16;

/** What the keys of an aggregate begin with. */
export function prefixOfEvents(aggregateId: string): string {
  return prefixOf('events', aggregateId);
}

/** The key of how many events an aggregate has. */
export function metadataKey(aggregateId: string): string {
  return keyOf('events', aggregateId, METADATA);
}

/** The key of an event. */
export function eventKey(aggregateId: string, version: number): string {
  return prefixOfEvents(aggregateId) + placeText(version);
}

/** The last part of the key of an event. */
function placeText(version: number): string {
  return String(version).padStart(DIGITS, '0');
}

/** The range of the events of an aggregate after a version. */
export function eventsAfter(aggregateId: string, version: number): { start: string; end: string } {
  // `0` comes after the separator, and so after all keys that begin with it.
  return { start: eventKey(aggregateId, version + 1), end: `${keyOf('events', aggregateId)}0` };
}

/** How many events the metadata says that there are. @throws `CorruptionError` if it says something else. */
export function versionOf(metadata: Entry): number {
  const found = fromJson(metadata);
  const version = isRecord(found) ? found.version : undefined;
  if (typeof version === 'number' && Number.isSafeInteger(version) && version >= 1) return version;
  throw corrupt(metadata, 'it is not the number of events of an aggregate');
}

/** The event of an entry. @throws `CorruptionError` if it is none, or another one. */
export function eventOf(aggregateId: string, version: number, entry: Entry): Event {
  const found = fromJson(entry);
  if (
    !isRecord(found) ||
    typeof found.id !== 'string' ||
    typeof found.type !== 'string' ||
    typeof found.timestamp !== 'number' ||
    !('data' in found)
  ) {
    throw corrupt(entry, 'it is not an event');
  }
  if (found.version !== version) {
    throw corrupt(entry, `it is the event ${describe(found.version)} in the place of ${version}`);
  }
  const { id, type, data, timestamp } = found;
  return { id, aggregateId, type, data, timestamp, version };
}

/** Takes the events of one aggregate in their order, and sees to it that none is missing. */
export class History {
  readonly #aggregateId: string;
  /** Put together once: a history may be long. */
  readonly #prefix: string;
  #last: number;
  /** How many there are, and whether there may be more that came later. */
  #total = Infinity;
  #exact = false;

  /** @param after - The version after which it begins. */
  constructor(aggregateId: string, after: number) {
    this.#aggregateId = aggregateId;
    this.#prefix = prefixOfEvents(aggregateId);
    this.#last = after;
  }

  /**
   * Takes the metadata: the first entry of the aggregate, or `null` if there is none.
   *
   * @param exact - Whether it is of the same moment as the events. @throws `CorruptionError`.
   */
  begin(metadata: Entry | null, exact = true): void {
    const key = metadataKey(this.#aggregateId);
    if (metadata !== null && metadata.keyText() !== key) {
      throw this.#hole(key, describe(metadata.keyText()));
    }
    this.#total = metadata === null ? 0 : versionOf(metadata);
    this.#exact = exact;
  }

  /** Takes the next event. @throws `CorruptionError`. */
  take(entry: Entry): Event {
    const version = this.#last + 1;
    const wanted = this.#prefix + placeText(version);
    const key = entry.keyText();
    if (key !== wanted) throw this.#hole(wanted, describe(key));
    if (this.#exact && version > this.#total) {
      const counts = `${describe(metadataKey(this.#aggregateId))} to count ${version} or more`;
      throw this.#hole(counts, this.#total);
    }
    this.#last = version;
    return eventOf(this.#aggregateId, version, entry);
  }

  /** Says that there is no more. @throws `CorruptionError` if there should be. */
  end(): void {
    if (this.#last >= this.#total) return;
    const missing = describe(eventKey(this.#aggregateId, this.#last + 1));
    throw this.#hole(missing, `none, of ${this.#total} that were appended`);
  }

  #hole(missing: string, found: string | number): CorruptionError {
    return new CorruptionError(
      `the history of ${describe(this.#aggregateId)} is not whole: it has to have ${missing}, and has ${found}; something else wrote or deleted keys of the event store`,
    );
  }
}

/** The aggregate of a key of the event store, and the number of the event; 0 for the metadata. */
export function placeOf(entry: Entry): { aggregateId: string; version: number } {
  const [, aggregateId, place = '', ...more] = partsOf(entry.keyText());
  const known = place === METADATA || (place.length === DIGITS && /^\d+$/.test(place));
  if (aggregateId === undefined || !known || more.length > 0) {
    throw corrupt(entry, 'the event store has no such key');
  }
  return { aggregateId, version: place === METADATA ? 0 : Number(place) };
}
