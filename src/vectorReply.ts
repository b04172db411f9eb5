import type { VectorIndexInfo, VectorMatch, VectorSearchResult } from '../index.js';
import type { ReplyReader } from './reply.js';

/** What several queries are answered with. */
export class VectorResults {
  constructor(readonly results: VectorSearchResult[]) {}
}

/** The vector indexes of a store. */
export class VectorIndexes {
  constructor(readonly indexes: VectorIndexInfo[]) {}
}

/** A vector: a copy of its own. `crates/bridge/src/vector.rs` writes it, and the two below. */
export function readVector(from: ReplyReader): Float32Array {
  return new Float32Array(from.bytes().buffer);
}

export function readResults(from: ReplyReader): VectorResults {
  const found = (): VectorMatch => {
    const id = from.text();
    const distance = from.f64();
    return from.u8() === 1 ? { id, distance, vector: readVector(from) } : { id, distance };
  };
  const results = from.list((): VectorSearchResult => {
    const searchTimeUs = from.safe();
    return { matches: from.list(found), searchTimeUs };
  });
  return new VectorResults(results);
}

export function readIndexes(from: ReplyReader): VectorIndexes {
  const indexes = from.list((): VectorIndexInfo => ({
    namespace: from.text(),
    dimensions: from.u32(),
    distance: from.text() as VectorIndexInfo['distance'],
    indexType: from.text() as VectorIndexInfo['indexType'],
    quantization: from.text() as VectorIndexInfo['quantization'],
    created: from.version(),
    vectors: from.safe(),
    indexed: from.safe(),
    memoryBytes: from.safe(),
  }));
  return new VectorIndexes(indexes);
}
