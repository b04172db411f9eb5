import { ClosedError, CompactedError } from '@norikv/client';
import type { CallOptions, Entry, NoriKVClient, Version, Watch, WatchEvent } from '@norikv/client';
import { Deadline } from './deadline.js';

/** A change of one key of a view. */
export interface ViewChange {
  readonly key: string;
  /** What was there before; `null` for nothing. */
  readonly before: Entry | null;
  /** What is there now; `null` for nothing. */
  readonly after: Entry | null;
}

/** Hears the changes of one revision, after the view has them. */
type Listener = (changes: readonly ViewChange[]) => void;

/**
 * The entries under a prefix, kept fresh by a watch: it begins with what is there at one version, and misses nothing after it.
 * If the history that it needs is gone, it reads all again and tells the difference.
 */
export class View {
  readonly #client: NoriKVClient;
  readonly #prefix: string;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<Listener>();
  #failed: ((error: unknown) => void) | undefined;
  #opening: Promise<void> | undefined;
  #watch: Watch | undefined;
  /** Up to which it misses nothing, and who waits for that. */
  #version: Version | undefined;
  readonly #waiting = new Set<() => void>();
  #closed = false;

  /** @param failed - Hears why the watch ended, if nobody closed it. The view is opened again by the next use. */
  constructor(client: NoriKVClient, prefix: string, failed?: (error: unknown) => void) {
    this.#client = client;
    this.#prefix = prefix;
    this.#failed = failed;
  }

  /** What is there now, by key, in no order. Empty before {@link open}. */
  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  /** Whether it is fresh: it was opened, and its watch goes on. */
  get isOpen(): boolean {
    return this.#watch !== undefined;
  }

  /** Begins to hear changes; answers how to stop. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Reads what is there and begins to watch, if it does not already. @throws What the client throws. */
  async open(options: CallOptions = {}): Promise<void> {
    if (this.#watch !== undefined) return;
    await this.#open(new Deadline(`reading "${this.#prefix}"`, options));
  }

  async #open(deadline: Deadline): Promise<void> {
    if (this.#closed) throw closed();
    // One opening for all who wait; each waits as long as it wants to.
    this.#opening ??= this.#begin().finally(() => (this.#opening = undefined));
    await deadline.within(this.#opening);
  }

  /** Whether it has everything up to a version. */
  has(version: Version): boolean {
    return this.#watch !== undefined && (this.#version?.compare(version) ?? -1) >= 0;
  }

  /**
   * Opens it, and waits until it has everything up to a version, which is that of a change under its prefix: others may never
   * be told.
   *
   * @throws What the client throws.
   */
  async reach(version: Version, deadline: Deadline): Promise<void> {
    while (!this.has(version)) {
      if (this.#watch === undefined) {
        await this.#open(deadline);
        continue;
      }
      let wake = (): void => undefined;
      const woken = new Promise<void>((resolve) => (wake = resolve));
      this.#waiting.add(wake);
      try {
        await deadline.within(woken);
      } finally {
        this.#waiting.delete(wake);
      }
    }
  }

  /** Has the next use read everything again, and tell the difference. */
  async refresh(): Promise<void> {
    const watch = this.#watch;
    this.#watch = undefined;
    this.#wake();
    await watch?.close();
  }

  /** Ends the watch and forgets everything. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#failed = undefined;
    this.#listeners.clear();
    await this.#opening?.catch(() => undefined);
    const watch = this.#watch;
    this.#watch = undefined;
    this.#entries.clear();
    this.#wake();
    await watch?.close();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  async #begin(): Promise<void> {
    const watch = this.#client.watch({ prefix: this.#prefix });
    try {
      const version = await watch.ready;
      const found = await this.#client.scan({ prefix: this.#prefix, version }).toArray();
      if (this.#closed) throw closed();
      this.#watch = watch;
      this.#version = version;
      this.#tell(this.#replace(found));
      this.#wake();
      void this.#follow(watch);
    } catch (error) {
      await watch.close();
      throw error;
    }
  }

  async #follow(watch: Watch): Promise<void> {
    try {
      for await (const { version, events } of watch) {
        this.#version = version;
        this.#tell(events.map((event) => this.#apply(event)));
        this.#wake();
      }
      return;
    } catch (error) {
      if (this.#watch !== watch) return;
      this.#watch = undefined;
      this.#wake();
      if (!(error instanceof CompactedError)) {
        this.#failed?.(error);
        return;
      }
    }
    // Too slow for the history that is kept: what was missed is the difference.
    try {
      await this.open();
    } catch (error) {
      this.#failed?.(error);
    }
  }

  #apply({ type, entry }: WatchEvent): ViewChange {
    const key = entry.keyText();
    const before = this.#entries.get(key) ?? null;
    if (type === 'put') this.#entries.set(key, entry);
    else this.#entries.delete(key);
    return { key, before, after: type === 'put' ? entry : null };
  }

  /** Puts what was read in the place of what is here; answers the difference. */
  #replace(found: readonly Entry[]): ViewChange[] {
    const gone = new Map(this.#entries);
    const changes: ViewChange[] = [];
    for (const entry of found) {
      const key = entry.keyText();
      const before = gone.get(key) ?? null;
      gone.delete(key);
      if (before?.version.equals(entry.version) === true) continue;
      this.#entries.set(key, entry);
      changes.push({ key, before, after: entry });
    }
    for (const [key, before] of gone) {
      this.#entries.delete(key);
      changes.push({ key, before, after: null });
    }
    return changes;
  }

  #tell(changes: readonly ViewChange[]): void {
    if (changes.length === 0) return;
    for (const listener of this.#listeners) listener(changes);
  }
}

function closed(): ClosedError {
  return new ClosedError('it was closed; make another one to go on');
}
