use std::time::Duration;

use norikv_core::{DEFAULT_MAX_VALUE_BYTES, Durability};

/// How an embedded store behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When a write to a directory is acknowledged: [`Durability::Fsync`] or [`Durability::Relaxed`]. A store
    /// in memory is always [`Durability::Memory`].
    pub durability: Durability,
    /// The largest value, in bytes.
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
