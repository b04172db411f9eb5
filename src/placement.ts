import type { Key } from '../index.js';
import { binding } from './binding.js';
import { toBytes } from './bytes.js';
import { InvalidArgumentError } from './errors.js';
import { refusing } from './stack.js';

const DEFAULT_TOTAL_SHARDS = 1024;
const MAX_BUCKETS = 0x7fff_ffff;
const MAX_U64 = 0xffff_ffff_ffff_ffffn;

export function xxhash64(key: Key): bigint {
  return binding().xxhash64(refusing(xxhash64, () => toBytes(key, 'a key')));
}

export function jumpConsistentHash(hash: bigint, buckets: number): number {
  refusing(jumpConsistentHash, () => {
    check(hash, buckets);
  });
  return binding().jumpConsistentHash(hash, buckets);
}

export function getShardForKey(key: Key, totalShards: number = DEFAULT_TOTAL_SHARDS): number {
  return refusing(getShardForKey, () => jumpConsistentHash(xxhash64(key), totalShards));
}

function check(hash: bigint, buckets: number): void {
  if (typeof hash !== 'bigint' || hash < 0n || hash > MAX_U64) {
    throw new InvalidArgumentError(`a hash is a bigint from 0 to 2^64 - 1; got ${String(hash)}`);
  }
  if (!Number.isSafeInteger(buckets) || buckets < 1 || buckets > MAX_BUCKETS) {
    throw new InvalidArgumentError(
      `buckets is a whole number from 1 to ${MAX_BUCKETS}; got ${String(buckets)}`,
    );
  }
}

export async function initializeHasher(): Promise<void> {
  // The hash is part of the core and needs nothing.
}
