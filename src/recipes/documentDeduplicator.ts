import { InvalidArgumentError, compare, op } from '@norikv/client';
import type { CallOptions, NoriKVClient } from '@norikv/client';
import { CONFLICT, Deadline } from './deadline.js';
import { checkName, describe, keyOf, randomId } from './keys.js';
import { checkOptions } from './options.js';
import { Turns } from './turns.js';
import { VectorDocuments } from './vectorDocuments.js';
import { checkModel, checkText, embed } from './vectorModel.js';
import type { EmbeddingModel } from './vectorModel.js';

/** How far a vector may be from itself, where distances are 32-bit floats. */
const ROUNDING = 1e-6;

/** What became of a document. */
export interface DeduplicationResult {
  /** Whether it is too near to one that is stored. It is not stored then. */
  readonly isDuplicate: boolean;
  /** The id of that one. */
  readonly duplicateOf: string | null;
  /** How near it is to that one, up to 1; 0 if it was stored. */
  readonly similarity: number;
}

/** Settings of a {@link DocumentDeduplicator}. */
export interface DeduplicatorOptions {
  /** The name of the vector index, and a part of the keys: 1 to 256 bytes of UTF-8. Default `'doc_fingerprints'`. */
  readonly namespace?: string | undefined;
}

/**
 * Documents of which no two are nearly the same, as far as a model knows.
 *
 * A document is stored if nothing was stored since before the search that found nothing like it; otherwise it is searched for
 * again. So of two near-duplicates at once, one is stored, and the other is told of it. Vectors that crashes left to be written
 * are written before a search, by whoever comes next: nothing waits for a process that is gone.
 *
 * Keys: `dedup/<namespace>/todo` changes with every document that is stored, `dedup/<namespace>/doc/<id>` is there for each, for
 * moments `dedup/<namespace>/todo/<id>`; and the vector index `<namespace>`. Contents are not kept.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { DocumentDeduplicator } from '@norikv/client/recipes';
 *
 * // A stand-in for a model: it counts letters.
 * const model = {
 *   dimensions: 26,
 *   embed: async (text: string) =>
 *     Array.from({ length: 26 }, (_, at) => text.toLowerCase().split(String.fromCharCode(97 + at)).length - 1),
 * };
 * await using client = await NoriKVClient.open('memory:');
 * const dedup = new DocumentDeduplicator(client, model, 0.8);
 * const both = await Promise.all([
 *   dedup.checkAndStore('doc1', 'The quick brown fox jumps over the lazy dog.'),
 *   dedup.checkAndStore('doc2', 'A quick brown fox jumped over a lazy dog.'),
 * ]);
 * console.log(both.filter(({ isDuplicate }) => isDuplicate).length); // 1
 * ```
 */
export class DocumentDeduplicator {
  readonly #client: NoriKVClient;
  readonly #model: EmbeddingModel;
  readonly #threshold: number;
  readonly #namespace: string;
  readonly #documents: VectorDocuments;
  readonly #turns = new Turns();
  readonly #id = randomId();
  #writes = 0;

  /**
   * @param threshold - How near is too near: above 0, up to 1, compared with 1 less the cosine distance.
   * @throws `InvalidArgumentError`.
   */
  constructor(
    client: NoriKVClient,
    model: EmbeddingModel,
    threshold: number,
    options: DeduplicatorOptions = {},
  ) {
    checkModel(model);
    checkOptions(options, 'namespace');
    if (typeof threshold !== 'number' || !(threshold > 0 && threshold <= 1)) {
      throw new InvalidArgumentError(
        `a threshold is a number above 0, up to 1; got ${describe(threshold)}`,
      );
    }
    this.#client = client;
    this.#model = model;
    this.#threshold = threshold;
    this.#namespace = checkName(options.namespace ?? 'doc_fingerprints', 'a namespace');
    this.#documents = new VectorDocuments(client, 'dedup', this.#namespace, model.dimensions);
  }

  /**
   * Creates the vector index, if it is not there, and does what crashes have left to be done. The other calls do so once by
   * themselves.
   *
   * @throws `VectorIndexExistsError` if there is one of that name for another model.
   */
  async initialize(options: CallOptions = {}): Promise<void> {
    checkOptions(options);
    await this.#documents.initialize(new Deadline('making the deduplicator ready', options));
  }

  /**
   * Stores a document, unless another one is too near to it. A document with its own id is not another one: it is replaced. Five
   * round trips, three for a duplicate; others that store at the same time make it more.
   *
   * @param docId - 1 to 256 bytes of UTF-8.
   * @throws What the model throws; `InvalidArgumentError` for what it answers that is no vector; `RetryExhaustedError` if others
   *   were faster for all of the time. Nothing is written then.
   */
  async checkAndStore(
    docId: string,
    content: string,
    options: CallOptions = {},
  ): Promise<DeduplicationResult> {
    checkName(docId, 'a document id');
    checkText(content, 'the content');
    checkOptions(options);
    const deadline = new Deadline(`storing ${describe(docId)}`, options);
    const vector = await embed(this.#model, content, deadline);
    await this.#documents.ready(deadline);
    await this.#turns.take(deadline);
    try {
      return await deadline.retry(() => this.#attempt(docId, vector, deadline));
    } finally {
      this.#turns.give();
    }
  }

  /** Forgets a document, so that others like it can be stored: whether it was there. */
  async removeDocument(docId: string, options: CallOptions = {}): Promise<boolean> {
    checkName(docId, 'a document id');
    checkOptions(options);
    const deadline = new Deadline(`removing ${describe(docId)}`, options);
    await this.#documents.ready(deadline);
    return await this.#documents.delete(docId, deadline);
  }

  async #attempt(
    docId: string,
    vector: Float32Array,
    deadline: Deadline,
  ): Promise<DeduplicationResult | typeof CONFLICT> {
    // One scan of one moment: the generation, and what is to be done. What was stored up to that generation and has no vector yet
    // gets it now; what is stored later changes the generation.
    const generationKey = keyOf('dedup', this.#namespace, 'todo');
    const range = { start: generationKey, end: `${generationKey}0` };
    const entries = await this.#client.scan({ ...range, ...deadline.call }).toArray();
    const generation = entries[0]?.keyText() === generationKey ? entries[0] : null;
    await this.#documents.finishAll(generation === null ? entries : entries.slice(1), deadline);
    const near = { maxDistance: 1 - this.#threshold + ROUNDING, without: new Set([docId]) };
    const [other] = await this.#documents.search(vector, 1, deadline, near);
    if (other !== undefined) {
      return { isDuplicate: true, duplicateOf: other.id, similarity: 1 - other.distance };
    }
    const unchanged =
      generation === null
        ? compare(generationKey).exists.equals(false)
        : compare(generationKey).version.equals(generation.version);
    const by = `${this.#id}.${this.#writes++}`;
    const written = await this.#documents.put(docId, JSON.stringify({ by }), vector, deadline, {
      compares: [unchanged],
      ops: [op.put(generationKey, by)],
    });
    if (written === CONFLICT) return CONFLICT;
    return { isDuplicate: false, duplicateOf: null, similarity: 0 };
  }
}
