import {
  AlreadyExistsError,
  type Entry,
  type NoriKVClient,
  NoriKVError,
  type Version,
  VersionMismatchError,
} from '@norikv/client';

const PREFIX = 'notes/';
/** How long after a failure the same is tried again. */
const AGAIN_MS = 500;

/** What the store has of a note; `text` is `null` if it has none. */
interface Stored {
  readonly text: string | null;
  readonly version: Version | null;
}

/** A note as this page has it. */
export interface Note {
  readonly id: string;
  /** What it should be; `null` once it is deleted here. */
  text: string | null;
  /** What the store had when `text` was begun. */
  saved: Stored;
  /** In a conflict: what somebody else made of it meanwhile. Nothing is saved until the user has decided. */
  theirs: Stored | null;
  /** Why what was done here is not saved yet, if it takes longer. */
  problem: string | null;
}

/** The notes of a store, as they are there and as they become here. */
export class Notes {
  readonly all = new Map<string, Note>();
  readonly #client: NoriKVClient;
  readonly #onChange: (id: string) => void;
  /** Notes that are being saved, and what the watch said of each meanwhile. */
  readonly #saving = new Map<string, Stored | null>();

  /** `onChange` is told the id of each note that is not as it was. */
  constructor(client: NoriKVClient, onChange: (id: string) => void) {
    this.#client = client;
    this.#onChange = onChange;
  }

  /** Reads all notes and follows them, for as long as the page lives. */
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
    await using watch = this.#client.watch({ prefix: PREFIX });
    const version = await watch.ready;
    const missing = new Set(this.all.keys());
    for await (const entry of this.#client.scan({ prefix: PREFIX, version })) {
      this.#told(entry, entry.text());
      missing.delete(idOf(entry));
    }
    for (const id of missing) this.#toldOf(id, { text: null, version });
    for await (const { events } of watch) {
      for (const { type, entry } of events) this.#told(entry, type === 'put' ? entry.text() : null);
    }
  }

  #told(entry: Entry, text: string | null): void {
    this.#toldOf(idOf(entry), { text, version: entry.version });
  }

  /** What the store has of a note now. */
  #toldOf(id: string, stored: Stored): void {
    const note = this.all.get(id);
    if (note === undefined) {
      if (stored.text === null) return;
      this.all.set(id, { id, text: stored.text, saved: stored, theirs: null, problem: null });
      this.#onChange(id);
    } else if (this.#saving.has(id)) {
      // It may be our own save, whose answer is under way: that says which version is ours.
      this.#saving.set(id, stored);
    } else if (isNewer(stored, note.saved)) {
      this.#meet(note, stored);
    }
  }

  /** Takes over what the store has, unless something would be lost by that. */
  #meet(note: Note, stored: Stored): void {
    const unsaved = note.text !== note.saved.text;
    if (unsaved && note.text !== stored.text) {
      note.theirs = stored;
    } else {
      note.text = stored.text;
      note.saved = stored;
      note.theirs = null;
    }
    this.#show(note);
  }

  /** Begins a note, and answers its id. Ids sort by time. */
  add(): string {
    const id = `${Date.now()}-${crypto.randomUUID()}`;
    const saved = { text: null, version: null };
    this.all.set(id, { id, text: null, saved, theirs: null, problem: null });
    this.edit(id, '');
    return id;
  }

  /** Makes `text` of a note, and saves it; `null` deletes it. */
  edit(id: string, text: string | null): void {
    const note = this.all.get(id);
    if (note === undefined) return;
    note.text = text;
    if (note.theirs === null) void this.#save(note);
    this.#show(note);
  }

  /** Ends a conflict. */
  decide(id: string, whose: 'mine' | 'theirs'): void {
    const note = this.all.get(id);
    if (!note?.theirs) return;
    note.saved = note.theirs;
    note.theirs = null;
    this.edit(id, whose === 'mine' ? note.text : note.saved.text);
  }

  /** Saves a note until the store has what the page has. */
  async #save(note: Note): Promise<void> {
    if (this.#saving.has(note.id)) return;
    this.#saving.set(note.id, null);
    try {
      while (note.text !== note.saved.text) {
        note.saved = await this.#write(note);
        note.problem = null;
      }
    } catch (error) {
      const faster = error instanceof VersionMismatchError || error instanceof AlreadyExistsError;
      // Who was faster, and what they wrote, the watch tells.
      note.problem = faster ? null : String(error);
    }
    const told = this.#saving.get(note.id);
    this.#saving.delete(note.id);
    if (told && isNewer(told, note.saved)) this.#meet(note, told);
    else this.#show(note);
  }

  /** Writes what the page has over what it has seen of the store, and over nothing else. */
  async #write(note: Note): Promise<Stored> {
    const { text, saved } = note;
    const key = PREFIX + note.id;
    const over = saved.text === null ? null : saved.version;
    // If an answer is lost, the same write is made again until there is one: by this key it happens once.
    const idempotencyKey = crypto.randomUUID();
    for (;;) {
      try {
        if (text === null) {
          await this.#client.delete(key, { ifMatchVersion: over ?? undefined, idempotencyKey });
          return { text, version: saved.version };
        }
        const condition = over === null ? { ifNotExists: true } : { ifMatchVersion: over };
        return {
          text,
          version: await this.#client.put(key, text, { ...condition, idempotencyKey }),
        };
      } catch (error) {
        if (!(error instanceof NoriKVError && error.retryable)) throw error;
        note.problem = 'the server does not answer';
        this.#show(note);
        await pause();
      }
    }
  }

  #show(note: Note): void {
    if (note.text === null && note.saved.text === null && note.theirs === null) {
      this.all.delete(note.id);
    }
    this.#onChange(note.id);
  }
}

function idOf(entry: Entry): string {
  return entry.keyText().slice(PREFIX.length);
}

function isNewer({ text, version }: Stored, than: Stored): boolean {
  // What was never saved is not there, and was not deleted.
  if (than.version === null) return text !== null;
  return version !== null && version.compare(than.version) > 0;
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
}
