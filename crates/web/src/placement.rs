use wasm_bindgen::prelude::wasm_bindgen;

/// The xxHash64 of a key with seed 0.
#[wasm_bindgen]
pub fn xxhash64(key: &[u8]) -> u64 {
    norikv_core::xxhash64(key)
}

/// The bucket of a hash by the jump consistent hash.
#[wasm_bindgen(js_name = jumpConsistentHash)]
pub fn jump_consistent_hash(hash: u64, buckets: u32) -> u32 {
    norikv_core::jump_consistent_hash(hash, buckets)
}
