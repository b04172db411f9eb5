use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::hash;

const COUNTERS: usize = 16_384;

/// Which keys have a write that was called and is not answered yet, so that a read of the same key, called
/// after it, knows to wait for it.
///
/// Keys share counters by their hash: at worst a read waits for a write to another key.
#[derive(Clone)]
pub(crate) struct PendingWrites(Arc<Counters>);

struct Counters {
    keys: Box<[AtomicU32]>,
    ranges: AtomicU32,
}

/// Counts a write for as long as it lives.
pub(crate) struct Pending {
    counters: Arc<Counters>,
    at: Option<usize>,
}

impl PendingWrites {
    pub(crate) fn new() -> Self {
        let keys = std::iter::repeat_with(|| AtomicU32::new(0)).take(COUNTERS).collect();
        Self(Arc::new(Counters { keys, ranges: AtomicU32::new(0) }))
    }

    /// A write to one key begins.
    pub(crate) fn key(&self, key: &[u8]) -> Pending {
        self.begin(Some(hash::of(key) as usize % COUNTERS))
    }

    /// A write to keys that are not known yet begins.
    pub(crate) fn range(&self) -> Pending {
        self.begin(None)
    }

    fn begin(&self, at: Option<usize>) -> Pending {
        self.0.counter(at).fetch_add(1, Ordering::AcqRel);
        Pending { counters: Arc::clone(&self.0), at }
    }

    /// Whether a write to the key with this hash may be under way.
    pub(crate) fn has(&self, hash: u64) -> bool {
        self.0.counter(Some(hash as usize % COUNTERS)).load(Ordering::Acquire) != 0
            || self.0.ranges.load(Ordering::Acquire) != 0
    }
}

impl Counters {
    fn counter(&self, at: Option<usize>) -> &AtomicU32 {
        at.map_or(&self.ranges, |at| &self.keys[at])
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.counters.counter(self.at).fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_pending_until_its_guard_is_dropped() {
        let writes = PendingWrites::new();
        let hash = hash::of(b"k");
        let (one, two) = (writes.key(b"k"), writes.key(b"k"));
        drop(one);
        assert!(writes.has(hash));
        drop(two);
        assert!(!writes.has(hash));
        let range = writes.range();
        assert!(writes.has(hash));
        drop(range);
        assert!(!writes.has(hash));
    }
}
