import { NotFoundError } from '@norikv/client';
import type { CallOptions, Entry, NoriKVClient } from '@norikv/client';
import { Deadline } from './deadline.js';
import { writeGuarded } from './guarded.js';
import { corrupt, fromJson, isRecord } from './json.js';
import { checkName, describe, keyOf, randomId } from './keys.js';
import { checkOptions, checkWhole } from './options.js';
import { VectorDocuments } from './vectorDocuments.js';
import type { Found } from './vectorDocuments.js';
import { checkModel, checkText, embed } from './vectorModel.js';
import type { EmbeddingModel } from './vectorModel.js';

/** The most recommendations of one call. */
const MAX_RESULTS = 1_000;

/** How many of the products that a user has seen are remembered: the newest. */
const MAX_SEEN = 1_000;

/** A product that is recommended. */
export interface ProductRecommendation {
  readonly productId: string;
  readonly name: string;
  readonly category: string;
  /** How near it is, from -1 to 1: 1 less the cosine distance. */
  readonly score: number;
}

/** Options of {@link RecommendationEngine.getRecommendations}. */
export interface RecommendationOptions extends CallOptions {
  /** Leave out what the user has interacted with: the newest 1,000 products. Default false. */
  readonly excludeSeen?: boolean | undefined;
}

/** Settings of a {@link RecommendationEngine}. */
export interface RecommendationEngineOptions {
  /** The name of the vector index, and a part of the keys: 1 to 256 bytes of UTF-8. Default `'products'`. */
  readonly namespace?: string | undefined;
}

/** What a user likes. */
interface Preference {
  /** The sum of the directions of all products that the user interacted with. */
  readonly sum: readonly number[];
  /** How many interactions are in it. */
  readonly count: number;
  /** The products, the newest last. */
  readonly seen: readonly string[];
}

/**
 * Products like those that a user looked at or bought, as far as a model knows.
 *
 * What a user likes is the sum of the directions of the products, kept in one key and changed under the version that was read: no
 * interaction is lost, however many are recorded at once. Products and their vectors do not stay apart after a crash, as those of
 * the {@link SemanticSearchEngine}.
 *
 * Keys: `recommend/<namespace>/doc/<product>`, for moments `recommend/<namespace>/todo/<product>`,
 * `recommend/<namespace>/user/<user>`, and the vector index `<namespace>`.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { RecommendationEngine } from '@norikv/client/recipes';
 *
 * // A stand-in for a model: it counts letters.
 * const model = {
 *   dimensions: 26,
 *   embed: async (text: string) =>
 *     Array.from({ length: 26 }, (_, at) => text.toLowerCase().split(String.fromCharCode(97 + at)).length - 1),
 * };
 * await using client = await NoriKVClient.open('memory:');
 * const engine = new RecommendationEngine(client, model);
 * await engine.initialize();
 * await engine.indexProduct('p1', 'Running shoes', 'light', 'Footwear');
 * await engine.indexProduct('p2', 'Trail shoes', 'durable', 'Footwear');
 * await engine.indexProduct('p3', 'Tea pot', 'made of clay', 'Kitchen');
 * await engine.recordInteraction('ada', 'p1');
 * const [best] = await engine.getRecommendations('ada', 1, { excludeSeen: true });
 * console.log(best?.name); // Trail shoes
 * ```
 */
export class RecommendationEngine {
  readonly #client: NoriKVClient;
  readonly #model: EmbeddingModel;
  readonly #namespace: string;
  readonly #products: VectorDocuments;
  readonly #id = randomId();
  #writes = 0;

  /** @throws `InvalidArgumentError` for what is no model, and no name. */
  constructor(
    client: NoriKVClient,
    model: EmbeddingModel,
    options: RecommendationEngineOptions = {},
  ) {
    checkModel(model);
    checkOptions(options, 'namespace');
    this.#client = client;
    this.#model = model;
    this.#namespace = checkName(options.namespace ?? 'products', 'a namespace');
    this.#products = new VectorDocuments(client, 'recommend', this.#namespace, model.dimensions);
  }

  /**
   * Creates the vector index, if it is not there, and does what crashes have left to be done. The other calls do so once by
   * themselves.
   *
   * @throws `VectorIndexExistsError` if there is one of that name for another model.
   */
  async initialize(options: CallOptions = {}): Promise<void> {
    checkOptions(options);
    await this.#products.initialize(new Deadline('making recommendations ready', options));
  }

  /**
   * Stores a product, in the place of what has its id. Three round trips, the last one only writes down that nothing is left to
   * be done.
   *
   * @param productId - 1 to 256 bytes of UTF-8.
   * @throws What the model throws; `InvalidArgumentError` for what it answers that is no vector. Nothing is written then.
   */
  async indexProduct(
    productId: string,
    name: string,
    desc: string,
    category: string,
    options: CallOptions = {},
  ): Promise<void> {
    checkName(productId, 'a product id');
    checkText(name, 'the name of a product');
    checkText(desc, 'the description of a product');
    checkText(category, 'the category of a product');
    checkOptions(options);
    const deadline = new Deadline(`indexing ${describe(productId)}`, options);
    const vector = await embed(this.#model, `${name} ${desc} ${category}`, deadline);
    await this.#products.ready(deadline);
    await this.#products.put(productId, JSON.stringify({ name, desc, category }), vector, deadline);
  }

  /** Deletes a product: whether it was there. What users like stays as it is. */
  async deleteProduct(productId: string, options: CallOptions = {}): Promise<boolean> {
    checkName(productId, 'a product id');
    checkOptions(options);
    const deadline = new Deadline(`deleting ${describe(productId)}`, options);
    await this.#products.ready(deadline);
    return await this.#products.delete(productId, deadline);
  }

  /**
   * Adds a product to what a user likes. Three round trips, the first of two calls at once.
   *
   * @param userId - 1 to 256 bytes of UTF-8.
   * @throws `NotFoundError` if there is no such product; `RetryExhaustedError` if others were faster for all of the time.
   */
  async recordInteraction(
    userId: string,
    productId: string,
    options: CallOptions = {},
  ): Promise<void> {
    checkName(userId, 'a user id');
    checkName(productId, 'a product id');
    checkOptions(options);
    const deadline = new Deadline(`recording an interaction of ${describe(userId)}`, options);
    const vector = await this.#vectorOf(productId, deadline);
    const length = Math.hypot(...vector);
    const key = this.#userKey(userId);
    await deadline.retry(async () => {
      const current = await this.#client.getOrNull(key, deadline.call);
      const before = current === null ? undefined : this.#preferenceOf(current);
      const sum = Array.from(vector, (value, at) => (before?.sum[at] ?? 0) + value / length);
      const seen = (before?.seen ?? []).filter((id) => id !== productId);
      seen.push(productId);
      const preference: Preference = {
        sum,
        count: (before?.count ?? 0) + 1,
        seen: seen.slice(-MAX_SEEN),
      };
      const by = `${this.#id}.${this.#writes++}`;
      const value = JSON.stringify({ ...preference, by });
      return await writeGuarded(this.#client, { key, current, value }, deadline);
    });
  }

  /**
   * The `topK` products nearest to what a user likes, nearest first; none for a user without interactions, and for one whose
   * interactions cancel each other out. Three round trips.
   *
   * @param topK - 1 to 1,000.
   */
  async getRecommendations(
    userId: string,
    topK: number,
    options: RecommendationOptions = {},
  ): Promise<readonly ProductRecommendation[]> {
    checkName(userId, 'a user id');
    checkWhole(topK, 'topK', 1, MAX_RESULTS);
    checkOptions(options, 'excludeSeen');
    const { excludeSeen = false, signal, timeoutMs } = options;
    const deadline = new Deadline(`recommending to ${describe(userId)}`, { signal, timeoutMs });
    await this.#products.ready(deadline);
    const entry = await this.#client.getOrNull(this.#userKey(userId), deadline.call);
    if (entry === null) return [];
    const { sum, count, seen } = this.#preferenceOf(entry);
    const mean = Float32Array.from(sum, (value) => value / count);
    if (mean.every((value) => value === 0)) return [];
    const without = new Set(excludeSeen ? seen : []);
    return (await this.#products.search(mean, topK, deadline, { without })).map(recommended);
  }

  /**
   * The `topK` products nearest to a product, without itself, nearest first. Three round trips, the first of two calls at once.
   *
   * @param topK - 1 to 1,000.
   * @throws `NotFoundError` if there is no such product.
   */
  async getSimilarProducts(
    productId: string,
    topK: number,
    options: CallOptions = {},
  ): Promise<readonly ProductRecommendation[]> {
    checkName(productId, 'a product id');
    checkWhole(topK, 'topK', 1, MAX_RESULTS);
    checkOptions(options);
    const deadline = new Deadline(`looking for what is like ${describe(productId)}`, options);
    const vector = await this.#vectorOf(productId, deadline);
    const without = new Set([productId]);
    return (await this.#products.search(vector, topK, deadline, { without })).map(recommended);
  }

  async #vectorOf(productId: string, deadline: Deadline): Promise<Float32Array> {
    await this.#products.ready(deadline);
    const vector = await this.#products.vectorOf(productId, deadline);
    if (vector !== null) return vector;
    throw new NotFoundError(`there is no product ${describe(productId)}`);
  }

  #userKey(userId: string): string {
    return keyOf('recommend', this.#namespace, 'user', userId);
  }

  #preferenceOf(entry: Entry): Preference {
    const found = fromJson(entry);
    if (isRecord(found) && typeof found.count === 'number' && found.count >= 1) {
      const { sum, count, seen } = found;
      if (isNumbers(sum) && sum.length === this.#model.dimensions && isTexts(seen)) {
        return { sum, count, seen };
      }
    }
    const dimensions = this.#model.dimensions;
    throw corrupt(entry, `it is not what a user likes, in ${dimensions} dimensions`);
  }
}

function recommended({ id, entry, distance }: Found): ProductRecommendation {
  const found = fromJson(entry);
  if (isRecord(found) && typeof found.name === 'string' && typeof found.category === 'string') {
    return { productId: id, name: found.name, category: found.category, score: 1 - distance };
  }
  throw corrupt(entry, 'it is not a product');
}

function isNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((number) => typeof number === 'number');
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((text) => typeof text === 'string');
}
