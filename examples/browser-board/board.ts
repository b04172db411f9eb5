import {
  type Entry,
  type NoriKVClient,
  type Version,
  type WatchEvent,
  compare,
  op,
} from '@norikv/client';
import { DistributedLock } from '@norikv/client/recipes';

const CARDS = 'board/cards/';
const PEOPLE = 'board/people/';
/** How long after a failure the same is tried again. */
const AGAIN_MS = 500;

export const COLUMNS = ['todo', 'doing', 'done'] as const;
export type Column = (typeof COLUMNS)[number];

/** A card, as the store has it. */
export interface Card {
  readonly id: string;
  readonly text: string;
  readonly column: Column;
  readonly version: Version;
}

/** Somebody who has the board open. */
export interface Person {
  readonly id: string;
  readonly name: string;
  /** The card that they have open for editing. */
  readonly editing: string | null;
}

/** The right to change a card's text, until it is given back or lost. */
export interface Editing {
  /** Fires when the right is lost. */
  readonly signal: AbortSignal;
  /** Saves the text, and gives the right back. */
  save(text: string): Promise<void>;
  /** Deletes the card. */
  remove(): Promise<void>;
  /** Gives the right back. */
  cancel(): Promise<void>;
}

/** The board of a store: its cards, and who looks at them. */
export class Board {
  readonly cards = new Map<string, Card>();
  readonly people = new Map<string, Person>();
  readonly #client: NoriKVClient;
  readonly #ttlMs: number;
  readonly #onChange: () => void;

  /** `ttlMs` is how long a lock outlives a page that is gone. `onChange` is called after each change of the board. */
  constructor(client: NoriKVClient, ttlMs: number, onChange: () => void) {
    this.#client = client;
    this.#ttlMs = ttlMs;
    this.#onChange = onChange;
  }

  /** Reads the board and follows it, for as long as the page lives. */
  async follow(): Promise<never> {
    for (;;) {
      try {
        await this.#followOnce();
      } catch (error) {
        // A watch rides out a server that is away. It does not begin without one, and ends if the history that it
        // missed is not kept any more: then all is read again.
        console.warn(error);
        await pause();
      }
    }
  }

  async #followOnce(): Promise<void> {
    await using watch = this.#client.watch({ prefix: 'board/' });
    const version = await watch.ready;
    const entries = await this.#client.scan({ prefix: 'board/', version }).toArray();
    this.cards.clear();
    this.people.clear();
    for (const entry of entries) this.#told({ type: 'put', entry });
    this.#onChange();
    for await (const { events } of watch) {
      for (const event of events) this.#told(event);
      this.#onChange();
    }
  }

  #told({ type, entry }: Pick<WatchEvent, 'type' | 'entry'>): void {
    const key = entry.keyText();
    if (key.startsWith(CARDS)) set(this.cards, key.slice(CARDS.length), type, cardOf(entry));
    if (key.startsWith(PEOPLE)) set(this.people, key.slice(PEOPLE.length), type, personOf(entry));
  }

  /** Puts a new card into a column. */
  async add(column: Column): Promise<string> {
    // Ids sort by time.
    const id = `${Date.now()}-${crypto.randomUUID()}`;
    const value = JSON.stringify({ text: '', column });
    await this.#client.put(CARDS + id, value, { idempotencyKey: id });
    return id;
  }

  /** Moves a card, whoever has it open: what they save is its text. */
  async move(id: string, column: Column): Promise<void> {
    await this.#client.update(CARDS + id, (entry) => {
      const card = entry && cardOf(entry);
      return card ? JSON.stringify({ text: card.text, column }) : undefined;
    });
  }

  /** Opens a card for editing; `null` if somebody else has it open. */
  async edit(id: string): Promise<Editing | null> {
    const key = CARDS + id;
    const lock = new DistributedLock(this.#client, { key: `board/${id}`, ttlMs: this.#ttlMs });
    const cancel = (): Promise<void> => lock.close();
    const { signal } = (await lock.tryLock()) ? lock : { signal: null };
    if (signal === null) {
      await cancel();
      return null;
    }
    signal.addEventListener('abort', () => void cancel());
    return {
      signal,
      save: async (text) => {
        await this.#save(key, text, lock);
        await cancel();
      },
      remove: async () => {
        const deleting = this.#client.txn().if(lock.guard()).then(op.delete(key));
        const { succeeded } = await deleting.commit();
        if (!succeeded) throw new Error('somebody else has this card by now');
        await cancel();
      },
      cancel,
    };
  }

  /** Writes a text for as long as the lock is ours, which the store decides in the same step. */
  async #save(key: string, text: string, lock: DistributedLock): Promise<void> {
    for (;;) {
      const entry = await this.#client.get(key);
      const card = cardOf(entry);
      if (card === undefined) throw new Error('this is no card any more');
      const { succeeded } = await this.#client
        .txn()
        // If the lock is lost this throws.
        .if(lock.guard(), compare(key).version.equals(entry.version))
        .then(op.put(key, JSON.stringify({ text, column: card.column })))
        .commit();
      if (succeeded) return;
      // Somebody moved it meanwhile, or the store knows sooner than we that the lock is lost.
      await pause();
    }
  }
}

function set<T>(all: Map<string, T>, id: string, type: 'put' | 'delete', value?: T): void {
  if (type === 'put' && value !== undefined) all.set(id, value);
  else all.delete(id);
}

/** What an entry says, if anything; who writes the store's keys may be anybody. */
function fieldsOf(entry: Entry): Readonly<Record<string, unknown>> {
  try {
    return { ...entry.json<object | null>() };
  } catch {
    return {};
  }
}

function cardOf(entry: Entry): Card | undefined {
  const { text, column } = fieldsOf(entry);
  const known = COLUMNS.find((each) => each === column);
  if (typeof text !== 'string' || known === undefined) return undefined;
  return { id: entry.keyText().slice(CARDS.length), text, column: known, version: entry.version };
}

function personOf(entry: Entry): Person | undefined {
  const { name, editing } = fieldsOf(entry);
  if (typeof name !== 'string') return undefined;
  const card = typeof editing === 'string' ? editing : null;
  return { id: entry.keyText().slice(PEOPLE.length), name, editing: card };
}

/** Tells the others that we are here, and what we have open, for as long as the page lives. */
export class Presence {
  readonly id: string = crypto.randomUUID();
  readonly #client: NoriKVClient;
  readonly #name: string;
  readonly #ttlMs: number;
  #editing: string | null = null;
  #changed = (): void => undefined;

  /** After `ttlMs` without a word from us we are gone. */
  constructor(client: NoriKVClient, name: string, ttlMs: number) {
    this.#client = client;
    this.#name = name;
    this.#ttlMs = ttlMs;
  }

  set editing(id: string | null) {
    this.#editing = id;
    this.#changed();
  }

  /** Grants a lease and puts our entry with it, again and again if it is lost. */
  async run(): Promise<never> {
    for (;;) {
      try {
        await using lease = await this.#client.lease({ ttlMs: this.#ttlMs });
        while (!lease.signal.aborted) {
          const changed = new Promise<void>((resolve) => (this.#changed = resolve));
          const value = JSON.stringify({ name: this.#name, editing: this.#editing });
          await lease.put(PEOPLE + this.id, value);
          await Promise.race([changed, lease.lost]);
        }
      } catch (error) {
        console.warn(error);
        await pause();
      }
    }
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
}
