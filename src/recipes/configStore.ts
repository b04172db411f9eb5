import { ClosedError, InvalidArgumentError, NoriKVError, compare, op } from '@norikv/client';
import type { Entry, NoriKVClient, Version } from '@norikv/client';
import { Again } from './again.js';
import { CONFLICT } from './deadline.js';
import type { Deadline } from './deadline.js';
import { corrupt, fromJson, isRecord } from './json.js';
import { checkName, describe, keyOf, partsOf, prefixOf, randomId } from './keys.js';
import { View } from './view.js';
import type { ViewChange } from './view.js';

/** What the values are under before the first restore. */
const FIRST = '0';

/** A change of one setting: what was there and what is, `null` for nothing. */
export interface Change {
  readonly path: string;
  readonly before: Entry | null;
  readonly after: Entry | null;
}

/** Who follows the changes. */
export interface Follower {
  readonly changed: (change: Change) => void;
  readonly failed: (error: unknown) => void;
}

/**
 * Where the settings of one prefix are. The values are the keys `config/<prefix>/in/<generation>/<key>`; which generation is
 * in force says `config/<prefix>/at`. So many keys are replaced by others with one write: that of `at`, which is a condition of
 * every change of a value.
 */
export class ConfigStore {
  readonly client: NoriKVClient;
  readonly prefix: string;
  readonly #view: View;
  /** What is in force, by the key of the setting. */
  #current: ReadonlyMap<string, Entry> = new Map();
  #generation = FIRST;
  /** That what says which generation is in force cannot be read. */
  #broken: unknown;
  /** What this object has written: its reads are not older. */
  #written: Version | undefined;
  readonly #followers = new Set<Follower>();
  readonly #again: Again;
  #closed = false;

  constructor(client: NoriKVClient, prefix: string) {
    this.client = client;
    this.prefix = checkName(prefix, 'the prefix of a configuration');
    this.#view = new View(client, prefixOf('config', prefix), (error) => {
      this.#failed(error);
      if (this.#followers.size > 0) this.#again.later();
    });
    this.#view.listen((changes) => {
      this.#hear(changes);
    });
    this.#again = new Again(
      () => this.#view.open(),
      (error) => {
        this.#failed(error);
      },
    );
  }

  /** The key that says which generation is in force. */
  get atKey(): string {
    return keyOf('config', this.prefix, 'at');
  }

  /** What the keys of all generations begin with. */
  get allPrefix(): string {
    return prefixOf('config', this.prefix, 'in');
  }

  /** What the keys of a generation begin with. */
  prefixOf(generation: string): string {
    return prefixOf('config', this.prefix, 'in', generation);
  }

  /** The generation that the entry of `at` says is in force. @throws `CorruptionError`. */
  generationOf(at: Entry | null): string {
    if (at === null) return FIRST;
    const found = fromJson(at);
    if (isRecord(found) && typeof found.generation === 'string' && found.generation !== '') {
      return found.generation;
    }
    throw corrupt(at, `it is ${describe(found)}`);
  }

  /** What is in force, without a round trip unless it has to be read first or lacks what this object wrote. */
  async read(deadline: Deadline): Promise<ReadonlyMap<string, Entry>> {
    this.#check();
    await this.#fresh(deadline);
    return this.#current;
  }

  /** Puts a value; `null` deletes it. Answers its version, or whether it was there. */
  async write(path: string, value: string, deadline: Deadline): Promise<Version>;
  async write(path: string, value: null, deadline: Deadline): Promise<boolean>;
  async write(path: string, value: string | null, deadline: Deadline): Promise<Version | boolean> {
    this.#check();
    if (!this.#view.isOpen || this.#broken !== undefined) await this.#fresh(deadline);
    // Of a write that is repeated because its reply was lost, the store knows that it has done it.
    const once = randomId();
    return await deadline.retry(() => this.#write(path, value, once, deadline));
  }

  /** That somebody using this object has changed what is in force: its reads are not older. */
  wrote(version: Version): void {
    if (this.#written === undefined || this.#written.compare(version) < 0) this.#written = version;
  }

  /** Follows the changes of what is in force from now on; answers how to stop. */
  async follow(follower: Follower, deadline: Deadline): Promise<() => void> {
    this.#check();
    await this.#fresh(deadline);
    this.#followers.add(follower);
    return () => void this.#followers.delete(follower);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#followers.clear();
    this.#again.stop();
    await this.#view.close();
  }

  async #fresh(deadline: Deadline): Promise<void> {
    if (this.#written !== undefined) {
      if (!this.#view.has(this.#written)) await this.#view.reach(this.#written, deadline);
    } else if (!this.#view.isOpen) {
      await this.#view.open({ signal: deadline.signal, timeoutMs: deadline.leftMs });
    }
    if (this.#broken !== undefined) throw this.#broken as Error;
  }

  async #write(
    path: string,
    value: string | null,
    once: string,
    deadline: Deadline,
  ): Promise<Version | boolean | typeof CONFLICT> {
    const generation = this.#generation;
    const at = this.#view.entries.get(this.atKey);
    const unchanged =
      at === undefined
        ? compare(this.atKey).exists.equals(false)
        : compare(this.atKey).version.equals(at.version);
    const key = keyOf('config', this.prefix, 'in', generation, ...path.split('/'));
    // Another key with the same name of the write would be refused.
    const idempotencyKey = `${once}.${generation}`;
    const txn = this.client.txn().if(unchanged).else(op.get(this.atKey));
    let doubt: NoriKVError | undefined;
    for (;;) {
      try {
        if (value === null) {
          const deleted = await txn.then(op.delete(key, { idempotencyKey })).commit(deadline.call);
          if (!deleted.succeeded) return await this.#behind(deleted.results[0], deadline, doubt);
          // The version of a delete that was repeated is not told; nor is one that found nothing a change.
          if (doubt !== undefined) await this.#readAgain();
          else if (deleted.results[0]) this.wrote(deleted.version);
          return deleted.results[0];
        }
        const put = await txn.then(op.put(key, value, { idempotencyKey })).commit(deadline.call);
        if (!put.succeeded) return await this.#behind(put.results[0], deadline, doubt);
        this.wrote(put.results[0]);
        return put.results[0];
      } catch (error) {
        if (!(error instanceof NoriKVError && error.outcome === 'unknown')) throw error;
        // That of before, from a write that is not to be made again.
        if (error === doubt) throw error;
        if (error.code === 'CANCELLED' || error.code === 'CLOSED') throw error;
        doubt = error;
        await deadline.backOff(error).catch(() => {
          throw error;
        });
      }
    }
  }

  /** Has everything read again: by the next use, or now if somebody waits to hear of changes. */
  async #readAgain(): Promise<void> {
    await this.#view.refresh();
    if (this.#followers.size > 0) this.#again.now();
  }

  /**
   * Another generation is in force, of which nobody has told yet.
   *
   * @param doubt - That the write may have taken place before that: made again, it would write over what came since.
   */
  async #behind(
    at: Entry | null,
    deadline: Deadline,
    doubt: NoriKVError | undefined,
  ): Promise<typeof CONFLICT> {
    if (doubt !== undefined) throw doubt;
    if (at === null) await this.#view.refresh();
    else await this.#view.reach(at.version, deadline);
    await this.#fresh(deadline);
    return CONFLICT;
  }

  #hear(changes: readonly ViewChange[]): void {
    const atKey = this.atKey;
    if (changes.some(({ key }) => key === atKey)) {
      try {
        this.#generation = this.generationOf(this.#view.entries.get(atKey) ?? null);
        this.#broken = undefined;
      } catch (error) {
        this.#broken = error;
        for (const { failed } of this.#followers) failed(error);
        return;
      }
      this.#replace();
      return;
    }
    const prefix = this.prefixOf(this.#generation);
    const current = new Map(this.#current);
    const told: Change[] = [];
    for (const { key, after } of changes) {
      if (!key.startsWith(prefix)) continue;
      const path = pathOf(key);
      const before = current.get(path) ?? null;
      if (after === null) current.delete(path);
      else current.set(path, after);
      told.push({ path, before, after });
    }
    if (told.length === 0) return;
    this.#current = current;
    this.#tell(told);
  }

  /** Another generation is in force: what it has in the place of what there was. */
  #replace(): void {
    const prefix = this.prefixOf(this.#generation);
    const before = this.#current;
    const current = new Map<string, Entry>();
    for (const [key, entry] of this.#view.entries) {
      if (key.startsWith(prefix)) current.set(pathOf(key), entry);
    }
    this.#current = current;
    const paths = new Set([...before.keys(), ...current.keys()]);
    this.#tell(
      [...paths].map((path) => ({
        path,
        before: before.get(path) ?? null,
        after: current.get(path) ?? null,
      })),
    );
  }

  #tell(changes: readonly Change[]): void {
    for (const change of changes) {
      for (const { changed } of [...this.#followers]) changed(change);
    }
  }

  #failed(error: unknown): void {
    // Whoever closed the client knows that there is nothing more to come.
    if (error instanceof ClosedError) this.#again.stop();
    else for (const { failed } of this.#followers) failed(error);
  }

  #check(): void {
    if (!this.#closed) return;
    throw new ClosedError('the configuration was closed; make another one to go on');
  }
}

/** The key of a setting as it is given: parts that are not empty, with `/` between them. */
export function checkPath(given: unknown, what: string): string {
  const bad =
    typeof given !== 'string' ||
    given.split('/').some((part) => part === '') ||
    /\p{Surrogate}/u.test(given);
  if (!bad) return given;
  throw new InvalidArgumentError(
    `${what} is text like "database/host", with no part empty and no half of a surrogate pair; got ${describe(given)}`,
  );
}

/** The key of a setting, of the key in the store. */
function pathOf(key: string): string {
  return partsOf(key).slice(4).join('/');
}
