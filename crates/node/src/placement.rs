use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

/// The xxHash64 of a key with seed 0.
#[napi]
pub fn xxhash64(key: &[u8]) -> BigInt {
    norikv_core::xxhash64(key).into()
}

/// The bucket of a hash by the jump consistent hash.
#[napi]
pub fn jump_consistent_hash(hash: BigInt, buckets: u32) -> u32 {
    let (_, hash, _) = hash.get_u64();
    norikv_core::jump_consistent_hash(hash, buckets)
}
