import {
  AlreadyExistsError,
  CancelledError,
  CorruptionError,
  DeadlineExceededError,
  InvalidArgumentError,
  NoriKVError,
  op,
} from '@norikv/client';
import type { NoriKVClient, Version } from '@norikv/client';
import { CONFLICT, Deadline } from './deadline.js';
import { eventKey, metadataKey, versionOf } from './eventLog.js';
import type { Event } from './eventLog.js';
import { writeGuarded } from './guarded.js';
import { isRecord, toJson } from './json.js';
import { checkName, describe, randomId } from './keys.js';
import { Lru } from './lru.js';

/** The most events of one call of `appendAll`: with the metadata and its compare, what a transaction takes. */
export const MAX_EVENTS = 126;

/** How much of appends that meet goes into one transaction, in bytes. */
const MAX_COMBINED_BYTES = 1024 * 1024;

/** How many aggregates' metadata is remembered. */
const MAX_HEADS = 10_000;

const encoder = new TextEncoder();

/** An event that is to be appended. */
export interface NewEvent {
  /** What happened: 1 to 256 bytes of UTF-8. */
  readonly type: string;
  /** What is to be known of it: `null`, a boolean, a finite number, text, an array or a plain object of these. */
  readonly data: unknown;
}

/** The aggregate has not the `expectedVersion`. Read what is new, and decide again. Its `code` is `VERSION_MISMATCH`. */
export class EventConflictError extends NoriKVError {
  /** The aggregate. */
  readonly aggregateId: string;
  /** How many events the append expected. */
  readonly expected: number;
  /** How many there are. */
  readonly actual: number;

  /** The event store makes it; make one of your own to test what handles it. */
  constructor(aggregateId: string, expected: number, actual: number) {
    const message = `${describe(aggregateId)} has ${actual} events, and the append expected ${expected}; read what is new and decide again`;
    super('VERSION_MISMATCH', message);
    this.aggregateId = aggregateId;
    this.expected = expected;
    this.actual = actual;
  }
}

/** An event as it is written, but for its number. */
export interface Draft {
  readonly text: string;
  readonly bytes: number;
}

/** How far an aggregate is. */
interface Head {
  readonly version: number;
  readonly entry: { readonly version: Version } | null;
}

/** What is to be appended, and how. */
export interface Request {
  readonly drafts: readonly Draft[];
  readonly expectedVersion: number | undefined;
  readonly deadline: Deadline;
}

/** An append under way. */
class Append {
  readonly request: Request;
  /** Settles once the append is done. */
  readonly events: Promise<readonly Event[]>;
  settled = false;
  /** Says that nobody waits for it any more; absent until it is its turn. */
  leave?: () => void;
  #resolve: (events: readonly Event[]) => void = () => undefined;
  #reject: (error: unknown) => void = () => undefined;

  constructor(request: Request) {
    this.request = request;
    this.events = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  resolve(events: readonly Event[]): void {
    this.settled = true;
    this.#resolve(events);
  }

  reject(error: unknown): void {
    this.settled = true;
    this.#reject(error);
  }
}

/** The events as they are written. @throws `InvalidArgumentError` for what are none. */
export function draftsOf(events: readonly NewEvent[]): Draft[] {
  const given: unknown = events;
  if (!Array.isArray(given) || given.length < 1 || given.length > MAX_EVENTS) {
    const found = Array.isArray(given) ? `${given.length} of them` : describe(given);
    throw new InvalidArgumentError(
      `events are an array of 1 to ${MAX_EVENTS}, which go into one transaction; got ${found}`,
    );
  }
  return given.map((event: unknown, at) => {
    if (!isRecord(event)) {
      throw new InvalidArgumentError(`event ${at} is { type, data }; got ${describe(event)}`);
    }
    const type = checkName(event.type, `the type of event ${at}`);
    for (const name of Object.keys(event)) {
      if (name === 'type' || name === 'data') continue;
      throw new InvalidArgumentError(`event ${at} is { type, data }, and has ${describe(name)}`);
    }
    const head = JSON.stringify({ id: randomId(), type, timestamp: Date.now() });
    const text = `${head.slice(0, -1)},"data":${toJson(event.data, 'data')}}`;
    return { text, bytes: encoder.encode(text).length };
  });
}

/** Appends to the aggregates of one store, one transaction after the other for each of them. */
export class EventAppender {
  readonly #client: NoriKVClient;
  readonly #id = randomId();
  #writes = 0;
  readonly #heads = new Lru<Head>(MAX_HEADS);
  readonly #queues = new Map<string, Append[]>();

  constructor(client: NoriKVClient) {
    this.#client = client;
  }

  /** Appends, together with what else is appended to the aggregate meanwhile. */
  async append(aggregateId: string, request: Request): Promise<readonly Event[]> {
    const append = new Append(request);
    this.#enqueue(aggregateId, append);
    try {
      return await request.deadline.within(append.events);
    } catch (error) {
      if (append.settled) throw error;
      throw this.#giveUp(aggregateId, append, error);
    }
  }

  #enqueue(aggregateId: string, append: Append): void {
    const queue = this.#queues.get(aggregateId);
    if (queue !== undefined) {
      queue.push(append);
      return;
    }
    const begun = [append];
    this.#queues.set(aggregateId, begun);
    void this.#drain(aggregateId, begun);
  }

  /** Its time is up, or its signal fired: takes it out, or says that it may happen all the same. */
  #giveUp(aggregateId: string, append: Append, error: unknown): unknown {
    if (append.leave === undefined) {
      const queue = this.#queues.get(aggregateId);
      const at = queue?.indexOf(append) ?? -1;
      if (at >= 0) queue?.splice(at, 1);
      return error;
    }
    append.leave();
    const details = { outcome: 'unknown', cause: error } as const;
    if (error instanceof CancelledError) return new CancelledError(error.message, details);
    if (error instanceof DeadlineExceededError) {
      return new DeadlineExceededError(error.message, { ...details, timeoutMs: error.timeoutMs });
    }
    return error;
  }

  async #drain(aggregateId: string, queue: Append[]): Promise<void> {
    // What is appended in the same turn goes together.
    await Promise.resolve();
    while (queue.length > 0) await this.#write(aggregateId, take(queue));
    this.#queues.delete(aggregateId);
  }

  /** Appends what was taken, and settles it. Never rejects. */
  async #write(aggregateId: string, batch: readonly Append[]): Promise<void> {
    const abandoned = new AbortController();
    let waiting = batch.length;
    for (const append of batch) {
      append.leave = () => {
        waiting -= 1;
        if (waiting === 0) abandoned.abort(new Error('nobody waits for it any more'));
      };
    }
    const timeoutMs = Math.max(...batch.map(({ request }) => request.deadline.leftMs));
    const options = { signal: abandoned.signal, timeoutMs };
    const deadline = new Deadline(`the append to ${describe(aggregateId)}`, options);
    try {
      await this.#commit(aggregateId, batch, deadline);
    } catch (error) {
      this.#heads.delete(aggregateId);
      if (batch.length > 1 && error instanceof InvalidArgumentError) {
        // One of them cannot be written; the others need not hear of it.
        for (const append of batch) await this.#write(aggregateId, [append]);
        return;
      }
      for (const append of batch) append.reject(error);
    }
  }

  async #commit(aggregateId: string, batch: readonly Append[], deadline: Deadline): Promise<void> {
    const key = metadataKey(aggregateId);
    const drafts = batch.flatMap(({ request }) => request.drafts);
    const [first] = batch;
    const expected = first?.request.expectedVersion;
    let head = this.#heads.find(aggregateId)?.value;
    this.#heads.delete(aggregateId);
    // What others did since is seen by reading; a new aggregate is tried as such, if that is what is meant.
    if (head?.version !== expected && expected !== undefined) head = undefined;
    if (head === undefined && expected === 0) head = { version: 0, entry: null };
    await deadline.retry(async () => {
      const from = head ?? (await this.#read(key, deadline));
      head = undefined;
      if (expected !== undefined && from.version !== expected) {
        throw new EventConflictError(aggregateId, expected, from.version);
      }
      const texts = drafts.map(({ text }, at) => numbered(text, from.version + 1 + at));
      const total = from.version + texts.length;
      const value = JSON.stringify({ version: total, by: `${this.#id}.${this.#writes++}` });
      const ops = texts.map((text, at) =>
        op.put(eventKey(aggregateId, from.version + 1 + at), text, { ifNotExists: true }),
      );
      const write = { key, current: from.entry, value };
      const version = await writeGuarded(this.#client, write, deadline, { ops }).catch(
        (error: unknown) => {
          throw error instanceof AlreadyExistsError ? beyond(aggregateId, from, error) : error;
        },
      );
      if (version === CONFLICT) return CONFLICT;
      this.#heads.set(aggregateId, { version: total, entry: { version } });
      let at = 0;
      for (const append of batch) {
        const end = at + append.request.drafts.length;
        const mine = texts.slice(at, end);
        const begin = from.version + 1 + at;
        append.resolve(mine.map((text, index) => appended(aggregateId, begin + index, text)));
        at = end;
      }
      return undefined;
    });
  }

  async #read(key: string, deadline: Deadline): Promise<Head> {
    const entry = await this.#client.getOrNull(key, deadline.call);
    return { version: entry === null ? 0 : versionOf(entry), entry };
  }
}

/** The next appends that go into one transaction: one that expects a version goes by itself. */
function take(queue: Append[]): Append[] {
  const taken: Append[] = [];
  let [count, bytes] = [0, 0];
  for (const append of queue) {
    const { drafts, expectedVersion } = append.request;
    count += drafts.length;
    for (const draft of drafts) bytes += draft.bytes;
    const alone = expectedVersion !== undefined;
    const full = alone || count > MAX_EVENTS || bytes > MAX_COMBINED_BYTES;
    if (taken.length > 0 && full) break;
    taken.push(append);
    if (alone) break;
  }
  queue.splice(0, taken.length);
  return taken;
}

function numbered(text: string, version: number): string {
  return `{"version":${version},${text.slice(1)}`;
}

/** The event as whoever reads it will see it: nothing of it is shared with what was given. */
function appended(aggregateId: string, version: number, text: string): Event {
  const { id, type, data, timestamp } = JSON.parse(text) as Omit<Event, 'aggregateId' | 'version'>;
  return { id, aggregateId, type, data, timestamp, version };
}

function beyond(aggregateId: string, from: Head, cause: AlreadyExistsError): CorruptionError {
  const key = describe(new TextDecoder().decode(cause.key));
  const message = `the history of ${describe(aggregateId)} is not whole: ${describe(metadataKey(aggregateId))} counts ${from.version} events, and ${key} is there; something else wrote or deleted keys of the event store`;
  return new CorruptionError(message, { cause });
}
