import type { CallOptions, Entry, NoriKVClient } from '@norikv/client';
import { Deadline } from './deadline.js';
import { corrupt, fromJson, isRecord } from './json.js';
import { checkName, describe } from './keys.js';
import { checkOptions, checkWhole } from './options.js';
import { VectorDocuments } from './vectorDocuments.js';
import { checkModel, checkText, embed } from './vectorModel.js';
import type { EmbeddingModel } from './vectorModel.js';

export type { EmbeddingModel } from './vectorModel.js';

/** The most results of one search: their documents are read in one call. */
const MAX_RESULTS = 1_000;

/** A document that a search found. */
export interface SearchResult {
  readonly id: string;
  readonly title: string;
  readonly content: string;
  /** How near it is, from -1 to 1: 1 less the cosine distance. */
  readonly score: number;
}

/** Settings of a {@link SemanticSearchEngine}. */
export interface SemanticSearchOptions {
  /** The name of the vector index, and a part of the keys: 1 to 256 bytes of UTF-8. Default `'documents'`. */
  readonly namespace?: string | undefined;
}

/**
 * Documents that are found by what they mean, as far as a model knows.
 *
 * A document and what is to be done to its vector change in one transaction, so that the two do not stay apart: what a crash
 * left to be done is done by `initialize`, by the first call of another object, and by the next write of the document.
 *
 * Keys: `search/<namespace>/doc/<id>`, for moments `search/<namespace>/todo/<id>`, and the vector index `<namespace>`.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { SemanticSearchEngine } from '@norikv/client/recipes';
 *
 * // A stand-in for a model: it counts letters.
 * const model = {
 *   dimensions: 26,
 *   embed: async (text: string) =>
 *     Array.from({ length: 26 }, (_, at) => text.toLowerCase().split(String.fromCharCode(97 + at)).length - 1),
 * };
 * await using client = await NoriKVClient.open('memory:');
 * const engine = new SemanticSearchEngine(client, model);
 * await engine.initialize();
 * await engine.indexDocument('zoo', 'Zoo', 'zebras and lizards');
 * await engine.indexDocument('tea', 'Tea', 'a pot at three');
 * const [best] = await engine.search('lizard', 1);
 * console.log(best?.title); // Zoo
 * ```
 */
export class SemanticSearchEngine {
  readonly #model: EmbeddingModel;
  readonly #documents: VectorDocuments;

  /** @throws `InvalidArgumentError` for what is no model, and no name. */
  constructor(client: NoriKVClient, model: EmbeddingModel, options: SemanticSearchOptions = {}) {
    checkModel(model);
    checkOptions(options, 'namespace');
    const namespace = checkName(options.namespace ?? 'documents', 'a namespace');
    this.#model = model;
    this.#documents = new VectorDocuments(client, 'search', namespace, model.dimensions);
  }

  /**
   * Creates the vector index, if it is not there, and does what crashes have left to be done. The other calls do so once by
   * themselves.
   *
   * @throws `VectorIndexExistsError` if there is one of that name for another model.
   */
  async initialize(options: CallOptions = {}): Promise<void> {
    checkOptions(options);
    await this.#documents.initialize(new Deadline('making the search ready', options));
  }

  /**
   * Stores a document, in the place of what has its id. Three round trips, the last one only writes down that nothing is left to
   * be done.
   *
   * @param docId - 1 to 256 bytes of UTF-8.
   * @throws What the model throws; `InvalidArgumentError` for what it answers that is no vector. Nothing is written then.
   */
  async indexDocument(
    docId: string,
    title: string,
    content: string,
    options: CallOptions = {},
  ): Promise<void> {
    checkName(docId, 'a document id');
    checkText(title, 'a title');
    checkText(content, 'the content');
    checkOptions(options);
    const deadline = new Deadline(`indexing ${describe(docId)}`, options);
    const vector = await embed(this.#model, `${title} ${content}`, deadline);
    await this.#documents.ready(deadline);
    await this.#documents.put(docId, JSON.stringify({ title, content }), vector, deadline);
  }

  /**
   * The `topK` documents nearest to a query, nearest first; fewer only if there are fewer. Two round trips.
   *
   * @param topK - 1 to 1,000.
   * @throws As {@link indexDocument}; `CorruptionError` for what is no document.
   */
  async search(
    query: string,
    topK: number,
    options: CallOptions = {},
  ): Promise<readonly SearchResult[]> {
    checkText(query, 'a query');
    checkWhole(topK, 'topK', 1, MAX_RESULTS);
    checkOptions(options);
    const deadline = new Deadline('the search', options);
    const vector = await embed(this.#model, query, deadline);
    await this.#documents.ready(deadline);
    const found = await this.#documents.search(vector, topK, deadline);
    return found.map(({ id, entry, distance }) => ({
      id,
      ...documentOf(entry),
      score: 1 - distance,
    }));
  }

  /** Deletes a document: whether it was there. Three round trips, one if it was not. */
  async deleteDocument(docId: string, options: CallOptions = {}): Promise<boolean> {
    checkName(docId, 'a document id');
    checkOptions(options);
    const deadline = new Deadline(`deleting ${describe(docId)}`, options);
    await this.#documents.ready(deadline);
    return await this.#documents.delete(docId, deadline);
  }
}

function documentOf(entry: Entry): { title: string; content: string } {
  const found = fromJson(entry);
  if (isRecord(found) && typeof found.title === 'string' && typeof found.content === 'string') {
    return { title: found.title, content: found.content };
  }
  throw corrupt(entry, 'it is not a document');
}
