import type {
  CallOptions,
  Vector,
  VectorCreateIndexOptions,
  VectorDeleteOptions,
  VectorDropIndexOptions,
  VectorGetOptions,
  VectorIndexInfo,
  VectorInsertOptions,
  VectorItem,
  VectorSearchOptions,
  VectorSearchResult,
} from '../index.js';
import { describe } from './bytes.js';
import { consistencyNumber } from './consistency.js';
import { InvalidArgumentError } from './errors.js';
import { FrameWriter, Op } from './frame.js';
import {
  CALL_OPTIONS,
  GET_OPTIONS,
  VECTOR_CREATE_OPTIONS,
  VECTOR_SEARCH_OPTIONS,
  VECTOR_WRITE_OPTIONS,
} from './names.js';
import type { Part } from './part.js';
import { refusing } from './stack.js';
import type { Caller } from './stack.js';
import { unexpected } from './unexpected.js';
import { VectorIndexes, VectorResults } from './vectorReply.js';
import { Version } from './version.js';
import { checkType } from './write.js';

// Flags of searches, as in `crates/bridge/src/vector.rs`.
const INCLUDE_VECTORS = 1;
const HAS_MAX_DISTANCE = 2;
const HAS_EF_SEARCH = 4;

/** The most vectors or queries of one call. The core refuses more; what is gathered for it has an end. */
const MAX_AT_ONCE = 100;
/** The most numbers of a vector. The core refuses more; what is copied for it has an end. */
const MAX_DIMENSIONS = 4096;
/** Half of a surrogate pair, which UTF-8 does not have. */
const LONE_SURROGATE = /\p{Surrogate}/u;

// A vector crosses as it lies in memory, and frames are little-endian. No engine runs on a machine that is not.
if (new Uint8Array(new Uint32Array([1]).buffer)[0] !== 1) {
  throw new Error('@norikv/client does not run on big-endian machines');
}

export async function createIndex(
  part: Part,
  caller: Caller,
  namespace: string,
  dimensions: number,
  distance: string,
  indexType: string,
  options: VectorCreateIndexOptions | undefined,
): Promise<boolean> {
  const reply = await part.call(caller, {
    op: Op.vectorCreateIndex,
    options,
    known: VECTOR_CREATE_OPTIONS,
    write: (frame) => {
      const { quantization = 'none', idempotencyKey } = options ?? {};
      writeText(frame, namespace, 'namespace');
      writeNumber(frame, dimensions, 'dimensions');
      writeText(frame, distance, 'distance');
      writeText(frame, indexType, 'indexType');
      writeText(frame, quantization, 'quantization');
      writeIdempotencyKey(frame, idempotencyKey);
    },
  });
  if (typeof reply === 'boolean') return reply;
  throw unexpected('vectorCreateIndex');
}

export async function dropIndex(
  part: Part,
  caller: Caller,
  namespace: string,
  options: VectorDropIndexOptions | undefined,
): Promise<boolean> {
  const reply = await part.call(caller, {
    op: Op.vectorDropIndex,
    options,
    known: VECTOR_WRITE_OPTIONS,
    write: (frame) => {
      writeText(frame, namespace, 'namespace');
      writeIdempotencyKey(frame, options?.idempotencyKey);
    },
  });
  if (typeof reply === 'boolean') return reply;
  throw unexpected('vectorDropIndex');
}

/** Inserts what `write` writes: how many vectors, and each of them. */
async function insertAll(
  part: Part,
  caller: Caller,
  namespace: string,
  options: VectorInsertOptions | undefined,
  write: (frame: FrameWriter) => void,
): Promise<Version> {
  const reply = await part.call(caller, {
    op: Op.vectorInsert,
    options,
    known: VECTOR_WRITE_OPTIONS,
    write: (frame) => {
      writeText(frame, namespace, 'namespace');
      writeIdempotencyKey(frame, options?.idempotencyKey);
      write(frame);
    },
  });
  if (reply instanceof Version) return reply;
  throw unexpected('vectorInsert');
}

export function insert(
  part: Part,
  caller: Caller,
  namespace: string,
  id: string,
  vector: Vector,
  options: VectorInsertOptions | undefined,
): Promise<Version> {
  return insertAll(part, caller, namespace, options, (frame) => {
    frame.u32(1);
    writeText(frame, id, 'id');
    writeVector(frame, vector, 'vector');
  });
}

export function insertMany(
  part: Part,
  caller: Caller,
  namespace: string,
  vectors: Iterable<VectorItem>,
  options: VectorInsertOptions | undefined,
): Promise<Version> {
  const gathered = refusing(caller, () =>
    gather(vectors, 'vectors', 'like [{ id, vector }]', (frame, item: unknown, at) => {
      if (typeof item !== 'object' || item === null) {
        throw new InvalidArgumentError(
          `vectors[${at}] is an object, like { id, vector }; got ${describe(item)}`,
        );
      }
      const { id, vector } = item as { readonly id?: unknown; readonly vector?: unknown };
      writeText(frame, id, `vectors[${at}].id`);
      writeVector(frame, vector, `vectors[${at}].vector`);
    }),
  );
  return insertAll(part, caller, namespace, options, gathered);
}

export async function deleteVector(
  part: Part,
  caller: Caller,
  namespace: string,
  id: string,
  options: VectorDeleteOptions | undefined,
): Promise<boolean> {
  const reply = await part.call(caller, {
    op: Op.vectorDelete,
    options,
    known: VECTOR_WRITE_OPTIONS,
    write: (frame) => {
      writeText(frame, namespace, 'namespace');
      writeIdempotencyKey(frame, options?.idempotencyKey);
      writeText(frame, id, 'id');
    },
  });
  if (typeof reply === 'boolean') return reply;
  throw unexpected('vectorDelete');
}

export async function getVector(
  part: Part,
  caller: Caller,
  namespace: string,
  id: string,
  options: VectorGetOptions | undefined,
): Promise<Float32Array | null> {
  const reply = await part.call(caller, {
    op: Op.vectorGet,
    options,
    known: GET_OPTIONS,
    write: (frame) => {
      writeText(frame, namespace, 'namespace');
      frame.u8(consistencyNumber(options?.consistency));
      writeText(frame, id, 'id');
    },
  });
  if (reply === null || reply instanceof Float32Array) return reply;
  throw unexpected('vectorGet');
}

/** Searches for what `write` writes: how many queries, and each of them. */
async function searchAll(
  part: Part,
  caller: Caller,
  namespace: string,
  k: number,
  options: VectorSearchOptions | undefined,
  write: (frame: FrameWriter) => void,
): Promise<VectorSearchResult[]> {
  const reply = await part.call(caller, {
    op: Op.vectorSearch,
    options,
    known: VECTOR_SEARCH_OPTIONS,
    write: (frame) => {
      const { consistency, includeVectors, maxDistance, efSearch, idPrefix = '' } = options ?? {};
      checkType(includeVectors, 'boolean', 'includeVectors');
      writeText(frame, namespace, 'namespace');
      frame.u8(consistencyNumber(consistency));
      frame.u8(
        (includeVectors === true ? INCLUDE_VECTORS : 0) |
          (maxDistance === undefined ? 0 : HAS_MAX_DISTANCE) |
          (efSearch === undefined ? 0 : HAS_EF_SEARCH),
      );
      writeNumber(frame, k, 'k');
      if (maxDistance !== undefined) writeNumber(frame, maxDistance, 'maxDistance');
      if (efSearch !== undefined) writeNumber(frame, efSearch, 'efSearch');
      writeText(frame, idPrefix, 'idPrefix');
      write(frame);
    },
  });
  if (reply instanceof VectorResults) return reply.results;
  throw unexpected('vectorSearch');
}

export async function search(
  part: Part,
  caller: Caller,
  namespace: string,
  query: Vector,
  k: number,
  options: VectorSearchOptions | undefined,
): Promise<VectorSearchResult> {
  const [result] = await searchAll(part, caller, namespace, k, options, (frame) => {
    frame.u32(1);
    writeVector(frame, query, 'query');
  });
  if (result !== undefined) return result;
  throw unexpected('vectorSearch');
}

export function searchMany(
  part: Part,
  caller: Caller,
  namespace: string,
  queries: Iterable<Vector>,
  k: number,
  options: VectorSearchOptions | undefined,
): Promise<VectorSearchResult[]> {
  const gathered = refusing(caller, () =>
    gather(queries, 'queries', 'like an array of vectors', (frame, query: unknown, at) => {
      writeVector(frame, query, `queries[${at}]`);
    }),
  );
  return searchAll(part, caller, namespace, k, options, gathered);
}

export async function indexes(
  part: Part,
  caller: Caller,
  options: CallOptions | undefined,
): Promise<VectorIndexInfo[]> {
  const reply = await part.call(caller, { op: Op.vectorIndexes, options, known: CALL_OPTIONS });
  if (reply instanceof VectorIndexes) return reply.indexes;
  throw unexpected('vectorIndexes');
}

/**
 * Writes what an iterable has, and how many of it before. Not into the frame of the calls: whoever iterates runs code
 * of the caller's, which may make other calls meanwhile, or use one array for all.
 */
function gather<T>(
  list: Iterable<T>,
  name: string,
  example: string,
  write: (frame: FrameWriter, one: T, at: number) => void,
): (frame: FrameWriter) => void {
  const given: unknown = list;
  if (
    typeof given !== 'object' ||
    typeof (given as Partial<Iterable<T>> | null)?.[Symbol.iterator] !== 'function'
  ) {
    throw new InvalidArgumentError(`${name} is an iterable, ${example}; got ${describe(given)}`);
  }
  const gathered = new FrameWriter();
  let count = 0;
  for (const one of list) {
    if (count === MAX_AT_ONCE) {
      throw new InvalidArgumentError(
        `${name} has 1 to ${MAX_AT_ONCE} items, which are one call; this one has more`,
      );
    }
    write(gathered, one, count);
    count += 1;
  }
  return (frame) => {
    frame.u32(count);
    frame.raw(gathered.frame());
  };
}

/** Writes a vector: one copy of its bytes. What is too long is refused before it is looked at. */
function writeVector(frame: FrameWriter, vector: unknown, name: string): void {
  const floats = isFloats(vector) ? checkLength(vector) : toFloats(vector, name);
  // An array that was taken away, or whose buffer has shrunk, has no buffer to look at any more.
  frame.bytes(
    floats.length === 0
      ? new Uint8Array()
      : new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength),
  );
}

/** Not `instanceof`: whoever computes embeddings may do so in another realm, as programs in Jest do. */
function isFloats(given: unknown): given is Float32Array {
  return (
    ArrayBuffer.isView(given) && Object.prototype.toString.call(given) === '[object Float32Array]'
  );
}

/** @throws InvalidArgumentError, as the core does, if it is longer than any vector is. */
function checkLength<T extends { readonly length: number }>(vector: T): T {
  if (vector.length <= MAX_DIMENSIONS) return vector;
  throw new InvalidArgumentError(
    `a vector has 1 to ${MAX_DIMENSIONS} numbers; this one has ${vector.length}`,
  );
}

/** @throws InvalidArgumentError unless it is an array with a number at each place, and no longer than any vector is. */
function toFloats(given: unknown, name: string): Float32Array {
  if (!Array.isArray(given)) {
    throw new InvalidArgumentError(
      `${name} is a Float32Array or an array of numbers; got ${describe(given)}`,
    );
  }
  const list: readonly unknown[] = checkLength(given);
  // Not `every`, which leaves the holes out.
  for (let at = 0; at < list.length; at++) {
    if (typeof list[at] !== 'number') {
      throw new InvalidArgumentError(
        `${name} has a number at each place; at ${at} it has ${at in list ? describe(list[at]) : 'a hole'}`,
      );
    }
  }
  return Float32Array.from(list as readonly number[]);
}

function writeText(frame: FrameWriter, given: unknown, name: string): void {
  if (typeof given !== 'string') {
    throw new InvalidArgumentError(`${name} is a string; got ${describe(given)}`);
  }
  // All of them would become U+FFFD: two names or ids would be one.
  if (LONE_SURROGATE.test(given)) {
    throw new InvalidArgumentError(
      `${name} is text that UTF-8 can say; got half of a surrogate pair in ${describe(given)}`,
    );
  }
  frame.text(given);
}

function writeNumber(frame: FrameWriter, given: unknown, name: string): void {
  if (typeof given !== 'number') {
    throw new InvalidArgumentError(`${name} is a number; got ${describe(given)}`);
  }
  frame.f64(given);
}

function writeIdempotencyKey(frame: FrameWriter, key: string | undefined): void {
  checkType(key, 'string', 'idempotencyKey');
  frame.u8(key === undefined ? 0 : 1);
  if (key !== undefined) frame.text(key);
}
