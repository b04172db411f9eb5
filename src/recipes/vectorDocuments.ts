import { NoriKVError, VersionMismatchError, compare, op } from '@norikv/client';
import type { Entry, NoriKVClient, Version } from '@norikv/client';
import { CONFLICT, Deadline } from './deadline.js';
import type { Along } from './guarded.js';
import { corrupt, fromJson, isRecord } from './json.js';
import { keyOf, partsOf, prefixOf, randomId } from './keys.js';
import { repeat } from './repeat.js';

/** The most vectors that one search answers. */
const MAX_MATCHES = 10_000;

/** What has still to be done to the vector of a document. */
interface Intent {
  /** Who does it: the same work is done once, however many do it. */
  readonly by: string;
  /** The vector that is to be inserted; `null` if it is to be deleted. */
  readonly vector: readonly number[] | null;
}

/** A document that a search found. */
export interface Found {
  readonly id: string;
  readonly entry: Entry;
  readonly distance: number;
}

/** How a search is narrowed down. */
interface Narrow {
  /** Leave out what is farther away. */
  readonly maxDistance?: number | undefined;
  /** Leave these out. */
  readonly without?: ReadonlySet<string>;
}

/**
 * Documents with a vector each, which a store keeps in two places and changes one after the other: the document, and what is to
 * be done to its vector, change in one transaction; the vector follows, and then it is written down that nothing is to be done
 * any more. Who finds something to be done, by a crash or by somebody who is still at it, does it before anything else to that
 * document. It is done under an idempotency key of its own, so that who was late changes nothing.
 *
 * Keys: `<recipe>/<index>/doc/<id>` and, while something is to be done, `<recipe>/<index>/todo/<id>`.
 */
export class VectorDocuments {
  readonly #client: NoriKVClient;
  readonly #recipe: string;
  readonly #index: string;
  readonly #dimensions: number;
  readonly #id = randomId();
  #writes = 0;
  #ready: Promise<void> | undefined;

  constructor(client: NoriKVClient, recipe: string, index: string, dimensions: number) {
    this.#client = client;
    this.#recipe = recipe;
    this.#index = index;
    this.#dimensions = dimensions;
  }

  /** What the keys of all that is to be done begin with. */
  get todo(): string {
    return prefixOf(this.#recipe, this.#index, 'todo');
  }

  /** The key of a document. */
  keyOf(id: string): string {
    return keyOf(this.#recipe, this.#index, 'doc', id);
  }

  /** Creates the index, if it is not there, and does what crashes have left to be done. */
  async initialize(deadline: Deadline): Promise<void> {
    const { call } = deadline;
    await this.#client.vectorCreateIndex(this.#index, this.#dimensions, 'cosine', 'hnsw', call);
    const left = await this.#client.scan({ prefix: this.todo, ...call }).toArray();
    await this.finishAll(left, deadline);
    this.#ready = Promise.resolve();
  }

  /** The same, if this object has not. */
  async ready(deadline: Deadline): Promise<void> {
    // For all who wait: it does not end with the time, or by the signal, of the first of them.
    const shared = (): Deadline => new Deadline(`making the index "${this.#index}" ready`);
    this.#ready ??= this.initialize(shared()).catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    await deadline.within(this.#ready);
  }

  /** Does what is to be done, as of the entries under {@link todo}. */
  async finishAll(todo: readonly Entry[], deadline: Deadline): Promise<void> {
    for (const entry of todo) {
      const id = partsOf(entry.keyText())[3];
      if (id === undefined) throw corrupt(entry, 'there is no such key');
      await this.#finish(id, entry, entry.version, deadline);
    }
  }

  /**
   * Stores a document and its vector, in the place of what has its id. Answers {@link CONFLICT} if a compare of `along` does not
   * hold.
   */
  async put(
    id: string,
    json: string,
    vector: Float32Array,
    deadline: Deadline,
    { compares = [], ops = [] }: Along = {},
  ): Promise<typeof CONFLICT | undefined> {
    const document = op.put(this.keyOf(id), json);
    for (;;) {
      const intent = { by: this.#by(), vector: Array.from(vector) };
      const outcome = await this.#settled(deadline, async () => {
        const { succeeded, version, results } = await this.#client
          .txn()
          .if(compare(this.#todoOf(id)).exists.equals(false), ...compares)
          .then(op.put(this.#todoOf(id), JSON.stringify(intent)), document, ...ops)
          .else(op.get(this.#todoOf(id)))
          .commit(deadline.call);
        return succeeded ? { version } : { found: results[0] };
      });
      if (outcome === undefined) continue;
      if (outcome.version !== undefined) {
        await this.#finish(id, intent, outcome.version, deadline);
        return undefined;
      }
      if (outcome.found === null) return CONFLICT;
      await this.#finish(id, outcome.found, outcome.found.version, deadline);
    }
  }

  /** Deletes a document and its vector: whether it was there. @throws With `outcome: 'unknown'` if that cannot be told. */
  async delete(id: string, deadline: Deadline): Promise<boolean> {
    const tried = new Set<string>();
    let doubt: NoriKVError | undefined;
    for (;;) {
      const intent = { by: this.#by(), vector: null };
      tried.add(intent.by);
      const attempt = async (): Promise<{ version?: Version; found?: Entry | null }> => {
        const { succeeded, version, results } = await this.#client
          .txn()
          .if(
            compare(this.#todoOf(id)).exists.equals(false),
            compare(this.keyOf(id)).exists.equals(true),
          )
          .then(op.put(this.#todoOf(id), JSON.stringify(intent)), op.delete(this.keyOf(id)))
          .else(op.get(this.#todoOf(id)))
          .commit(deadline.call);
        return succeeded ? { version } : { found: results[0] };
      };
      const outcome = await this.#settled(deadline, attempt, (error) => (doubt = error));
      if (outcome === undefined) continue;
      const { version, found } = outcome;
      if (version !== undefined) {
        await this.#finish(id, intent, version, deadline);
        return true;
      }
      if (!found) {
        // Our own delete, done by another, or never there: nothing is left that could tell.
        if (doubt !== undefined) throw doubt;
        return false;
      }
      await this.#finish(id, found, found.version, deadline);
      if (tried.has(intentOf(found).by)) return true;
    }
  }

  /** The vector of a document; `null` if there is no such document. @throws `CorruptionError` if it has none. */
  async vectorOf(id: string, deadline: Deadline): Promise<Float32Array | null> {
    const keys = [this.keyOf(id), this.#todoOf(id)];
    for (let again = false; ;) {
      const [vector, [document, todo]] = await Promise.all([
        this.#client.vectorGet(this.#index, id, deadline.call),
        this.#client.getMany(keys, deadline.call),
      ]);
      if (!document) return null;
      if (todo) {
        await this.#finish(id, todo, todo.version, deadline);
      } else {
        if (vector !== null) return vector;
        // The one may have been read before the other was written; twice it is not.
        if (again) throw corrupt(document, 'it has no vector');
        again = true;
      }
    }
  }

  /**
   * The `k` documents whose vectors are nearest, nearest first: fewer only if there are fewer. A vector whose document is gone
   * already is none.
   */
  async search(
    vector: Float32Array,
    k: number,
    deadline: Deadline,
    { maxDistance, without = new Set() }: Narrow = {},
  ): Promise<Found[]> {
    for (
      let ask = Math.min(MAX_MATCHES, k + without.size);
      ;
      ask = Math.min(MAX_MATCHES, ask * 2)
    ) {
      const options = { maxDistance, ...deadline.call };
      const answer = await this.#client.vectorSearch(this.#index, vector, ask, options);
      const matches = answer.matches.filter(({ id }) => !without.has(id));
      const keys = matches.map(({ id }) => this.keyOf(id));
      const entries = keys.length === 0 ? [] : await this.#client.getMany(keys, deadline.call);
      const found = matches.flatMap(({ id, distance }, at) => {
        const entry = entries[at];
        return entry ? [{ id, entry, distance }] : [];
      });
      const isAll = answer.matches.length < ask || ask === MAX_MATCHES;
      if (found.length >= k || isAll) return found.slice(0, k);
    }
  }

  /** Does to the vector what is to be done, and takes it off the list. */
  async #finish(
    id: string,
    todo: Entry | Intent,
    version: Version,
    deadline: Deadline,
  ): Promise<void> {
    const { by, vector } = 'by' in todo ? todo : intentOf(todo);
    const once = (): { readonly idempotencyKey: string } => ({
      idempotencyKey: `${this.#recipe}/${by}`,
      ...deadline.call,
    });
    await repeat<unknown>(
      () =>
        vector === null
          ? this.#client.vectorDelete(this.#index, id, once())
          : this.#client.vectorInsert(this.#index, id, vector, once()),
      deadline,
    );
    await repeat(async () => {
      try {
        const options = { ifMatchVersion: version, ...deadline.call };
        await this.#client.delete(this.#todoOf(id), options);
      } catch (error) {
        // Somebody else has done so.
        if (!(error instanceof VersionMismatchError && error.outcome === undefined)) throw error;
      }
    }, deadline);
  }

  /** What a call answers; `undefined` if it may or may not have taken place, and is to be looked at again. */
  async #settled<T>(
    deadline: Deadline,
    call: () => Promise<T>,
    doubted: (error: NoriKVError) => void = () => undefined,
  ): Promise<T | undefined> {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof NoriKVError) || error.outcome !== 'unknown') throw error;
      if (error.code === 'CANCELLED' || error.code === 'CLOSED') throw error;
      doubted(error);
      await deadline.backOff(error).catch(() => {
        throw error;
      });
      return undefined;
    }
  }

  #todoOf(id: string): string {
    return keyOf(this.#recipe, this.#index, 'todo', id);
  }

  #by(): string {
    return `${this.#id}.${this.#writes++}`;
  }
}

function intentOf(entry: Entry): Intent {
  const found = fromJson(entry);
  if (isRecord(found) && typeof found.by === 'string') {
    const { by, vector } = found;
    if (vector === null) return { by, vector };
    if (isVector(vector)) return { by, vector };
  }
  throw corrupt(entry, 'it does not say what is to be done to a vector');
}

function isVector(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((number) => typeof number === 'number');
}
