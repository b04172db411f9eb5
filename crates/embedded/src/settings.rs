use std::time::Duration;

use norikv_core::{DEFAULT_MAX_VALUE_BYTES, Durability, Error, Result};

/// The most that [`Settings::max_value_bytes`] may be: lengths are 32 bits wide on disk, and a value is in memory
/// several times over while it is written.
const MOST_VALUE_BYTES: usize = 1024 * 1024 * 1024;

/// How an embedded store behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When a write to a directory is acknowledged: [`Durability::Fsync`] or [`Durability::Relaxed`]. A store
    /// in memory is always [`Durability::Memory`].
    pub durability: Durability,
    /// The largest value, in bytes: 1 GiB at most.
    pub max_value_bytes: usize,
    /// How long a write with an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// How long old revisions are kept at most.
    pub history: Duration,
    /// How many old revisions are kept at most.
    pub history_revisions: u64,
    /// The most memory for entries kept in memory beside those on disk.
    pub cache_bytes: u64,
    /// How many writes may wait for the writer; further ones wait, in order, to be let in.
    pub queue_writes: usize,
    /// How many bytes of keys and values may wait for the writer.
    pub queue_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
            idempotency_window: Duration::from_secs(24 * 60 * 60),
            history: Duration::from_secs(60 * 60),
            history_revisions: 1_000_000,
            cache_bytes: 512 * 1024 * 1024,
            queue_writes: 8_192,
            queue_bytes: 16 * 1024 * 1024,
        }
    }
}

impl Settings {
    /// Refuses what no store can keep.
    pub(crate) fn check(&self) -> Result<()> {
        if self.max_value_bytes <= MOST_VALUE_BYTES {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "the setting maxValueBytes is {}; the most it may be is {MOST_VALUE_BYTES} (1 GiB)",
            self.max_value_bytes
        )))
    }
}

#[cfg(test)]
mod tests {
    use norikv_core::ErrorKind;

    use super::*;
    use crate::EmbeddedStore;

    #[tokio::test]
    async fn values_larger_than_a_gibibyte_cannot_be_asked_for() {
        let of = |max_value_bytes| Settings { max_value_bytes, ..Settings::default() };
        let directory = tempfile::tempdir().unwrap();
        for too_many in [MOST_VALUE_BYTES + 1, usize::MAX] {
            let path = directory.path().join("store");
            for store in [EmbeddedStore::memory(of(too_many)), EmbeddedStore::open(&path, of(too_many))] {
                let error = store.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                assert!(error.message().contains("maxValueBytes"), "{error}");
            }
            assert!(!path.exists());
        }
        EmbeddedStore::memory(of(MOST_VALUE_BYTES)).unwrap();
    }
}
