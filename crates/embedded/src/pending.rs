use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use norikv_core::{Delete, Put, Txn, TxnOp};

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
    at: At,
}

/// Which counters a write counts in.
enum At {
    Key(usize),
    Keys(Box<[usize]>),
    Range,
}

impl PendingWrites {
    pub(crate) fn new() -> Self {
        let keys = std::iter::repeat_with(|| AtomicU32::new(0)).take(COUNTERS).collect();
        Self(Arc::new(Counters { keys, ranges: AtomicU32::new(0) }))
    }

    /// A write to one key begins.
    pub(crate) fn key(&self, key: &[u8]) -> Pending {
        self.begin(At::Key(counter_of(hash::of(key))))
    }

    /// A transaction begins; `None` if it writes nothing.
    pub(crate) fn txn(&self, txn: &Txn) -> Option<Pending> {
        let mut keys = Vec::new();
        for op in txn.then.iter().chain(&txn.otherwise) {
            match op {
                TxnOp::Put(Put { key, .. }) | TxnOp::Delete(Delete { key, .. }) => {
                    keys.push(counter_of(hash::of(key)));
                }
                TxnOp::DeleteRange(_) => return Some(self.range()),
                TxnOp::Get(_) | TxnOp::Scan(_) => {}
            }
        }
        (!keys.is_empty()).then(|| self.begin(At::Keys(keys.into())))
    }

    /// A write to keys that are not known yet begins.
    pub(crate) fn range(&self) -> Pending {
        self.begin(At::Range)
    }

    fn begin(&self, at: At) -> Pending {
        self.0.each(&at, |counter| {
            counter.fetch_add(1, Ordering::AcqRel);
        });
        Pending { counters: Arc::clone(&self.0), at }
    }

    /// Whether a write to the key with this hash may be under way.
    pub(crate) fn has(&self, hash: u64) -> bool {
        self.0.keys[counter_of(hash)].load(Ordering::Acquire) != 0
            || self.0.ranges.load(Ordering::Acquire) != 0
    }
}

fn counter_of(hash: u64) -> usize {
    hash as usize % COUNTERS
}

impl Counters {
    fn each(&self, at: &At, mut call: impl FnMut(&AtomicU32)) {
        match at {
            At::Key(at) => call(&self.keys[*at]),
            At::Keys(keys) => keys.iter().for_each(|at| call(&self.keys[*at])),
            At::Range => call(&self.ranges),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.counters.each(&self.at, |counter| {
            counter.fetch_sub(1, Ordering::AcqRel);
        });
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
