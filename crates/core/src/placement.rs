use xxhash_rust::xxh64::xxh64;

/// How many shards a NoriKV cluster has unless it is set up otherwise.
pub const DEFAULT_TOTAL_SHARDS: u32 = 1_024;

/// The xxHash64 of a key with seed 0.
///
/// ```
/// assert_eq!(norikv_core::xxhash64(b"hello"), 2794345569481354659);
/// ```
#[must_use]
pub fn xxhash64(key: &[u8]) -> u64 {
    xxh64(key, 0)
}

/// The bucket of a hash, from 0 up to and without `buckets`; 0 when there are no buckets.
///
/// The algorithm of Lamping and Veach, *A Fast, Minimal Memory, Consistent Hash Algorithm* (2014).
///
/// ```
/// assert_eq!(norikv_core::jump_consistent_hash(2794345569481354659, 1024), 309);
/// ```
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn jump_consistent_hash(mut hash: u64, buckets: u32) -> u32 {
    let mut bucket = 0_u64;
    let mut jump = 0_u64;
    while jump < u64::from(buckets) {
        bucket = jump;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        jump = ((bucket + 1) as f64 * ((1_u64 << 31) as f64 / ((hash >> 33) + 1) as f64)) as u64;
    }
    // `bucket` is below `buckets`, which is a u32.
    bucket as u32
}

/// The shard of a key.
#[must_use]
pub fn shard_for_key(key: &[u8], total_shards: u32) -> u32 {
    jump_consistent_hash(xxhash64(key), total_shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fall_where_every_norikv_client_puts_them() {
        let table: [(&str, u64, u32, Option<u32>); 9] = [
            ("hello", 2_794_345_569_481_354_659, 309, Some(118)),
            ("world", 16_679_358_290_033_791_471, 752, Some(4)),
            ("user:123", 12_838_382_303_697_200_627, 928, Some(59)),
            ("session:abc", 6_709_427_766_188_742_023, 48, Some(48)),
            ("config:feature-flag", 11_761_742_651_260_739_985, 987, Some(116)),
            ("metrics:cpu", 11_466_248_021_713_662_033, 336, Some(82)),
            ("", 17_241_709_254_077_376_921, 332, None),
            ("a", 15_154_266_338_359_012_955, 894, None),
            ("hello world", 5_020_219_685_658_847_592, 897, None),
        ];
        for (key, hash, of_1024, of_256) in table {
            assert_eq!(xxhash64(key.as_bytes()), hash, "{key:?}");
            assert_eq!(shard_for_key(key.as_bytes(), 1_024), of_1024, "{key:?}");
            if let Some(shard) = of_256 {
                assert_eq!(shard_for_key(key.as_bytes(), 256), shard, "{key:?}");
            }
        }
    }

    #[test]
    fn growing_moves_keys_only_to_the_new_bucket() {
        for hash in (0..10_000_u64).map(|n| xxhash64(&n.to_le_bytes())) {
            let (before, after) = (jump_consistent_hash(hash, 10), jump_consistent_hash(hash, 11));
            assert!(before == after || after == 10);
        }
    }

    #[test]
    fn one_bucket_and_none_are_bucket_zero() {
        assert_eq!(jump_consistent_hash(u64::MAX, 1), 0);
        assert_eq!(jump_consistent_hash(u64::MAX, 0), 0);
    }
}
