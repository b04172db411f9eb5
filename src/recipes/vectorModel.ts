import { InvalidArgumentError } from '@norikv/client';
import type { Deadline } from './deadline.js';
import { describe } from './keys.js';
import { checkFunction, checkWhole } from './options.js';

/** The most numbers that a vector of an index has. */
const MAX_DIMENSIONS = 4_096;
/** The most that the squares of a vector's numbers sum up to: an index refuses what is more. */
const MAX_SQUARES = 4e37;

/** What makes vectors of texts, such that texts of like meaning get vectors of like direction. */
export interface EmbeddingModel {
  /** How many numbers each vector has: 1 to 4,096. */
  readonly dimensions: number;
  /** The vector of a text: finite numbers, not all of them zero, whose squares sum up to 4e37 at most. */
  embed(text: string): Promise<readonly number[] | Float32Array>;
}

/** @throws `InvalidArgumentError` if it is no model. */
export function checkModel(model: EmbeddingModel): void {
  const given: unknown = model;
  if (typeof given !== 'object' || given === null) {
    throw new InvalidArgumentError(`a model is { dimensions, embed }; got ${describe(given)}`);
  }
  checkWhole(Reflect.get(given, 'dimensions'), "a model's dimensions", 1, MAX_DIMENSIONS);
  checkFunction(Reflect.get(given, 'embed'), "a model's embed");
}

/** Text that a model is given. @throws `InvalidArgumentError`. */
export function checkText(text: unknown, what: string): void {
  if (typeof text === 'string') return;
  throw new InvalidArgumentError(`${what} is text; got ${describe(text)}`);
}

/** The vector of a text. @throws What the model throws; `InvalidArgumentError` for what no index takes. */
export async function embed(
  model: EmbeddingModel,
  text: string,
  deadline: Deadline,
): Promise<Float32Array> {
  // In a function that waits, since a model of plain JavaScript may answer, or throw, at once.
  const asked = async (): Promise<unknown> => await model.embed(text);
  const given = await deadline.within(asked());
  const answered = `the model answered ${describe(given)} for ${describe(text)}`;
  if (!(given instanceof Float32Array) && !Array.isArray(given)) {
    throw new InvalidArgumentError(`${answered}, not an array of numbers or a Float32Array`);
  }
  if (given.length !== model.dimensions) {
    throw new InvalidArgumentError(
      `${answered} with ${given.length} numbers, and it has ${model.dimensions} dimensions`,
    );
  }
  const numbers: readonly unknown[] = Array.from<unknown>(given);
  // As the index keeps them: what is too large or too small for 32 bits is infinite or zero there.
  const vector = new Float32Array(numbers.length);
  numbers.forEach((value, at) => {
    vector[at] = typeof value === 'number' ? value : Number.NaN;
  });
  const wrong = vector.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) {
    throw new InvalidArgumentError(
      `${answered} with ${describe(numbers[wrong])} at ${wrong}, which is no finite number`,
    );
  }
  if (vector.every((value) => value === 0)) {
    throw new InvalidArgumentError(`${answered} with zeros only, which have no direction`);
  }
  // The document would be stored, and its vector never.
  if (vector.reduce((sum, value) => sum + value * value, 0) > MAX_SQUARES) {
    throw new InvalidArgumentError(
      `${answered} whose squares sum up to more than ${MAX_SQUARES}, which no index takes; scale it down`,
    );
  }
  return vector;
}
