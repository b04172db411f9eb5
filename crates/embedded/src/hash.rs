use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::xxh3_64;

/// The hash of a key wherever keys are spread: counters, cache shards, maps.
pub(crate) fn of(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// Hashes byte strings with xxh3.
#[derive(Clone, Copy, Default)]
pub(crate) struct Xxh3Build;

impl BuildHasher for Xxh3Build {
    type Hasher = Xxh3Hasher;

    fn build_hasher(&self) -> Xxh3Hasher {
        Xxh3Hasher(0)
    }
}

/// Takes one byte string; the length that `Hash` adds beside it changes nothing worth its time.
pub(crate) struct Xxh3Hasher(u64);

impl Hasher for Xxh3Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = of(bytes);
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
