//! Calls on one key take effect in the order in which they were made: etcd carries out what one connection brings beside each
//! other, so each waits for the one before it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use norikv_core::xxhash64;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// The keys that calls are under way for, by their hashes: two that share one wait for each other, and that is all.
#[derive(Default)]
pub(crate) struct KeyOrder {
    keys: Mutex<HashMap<u64, Weak<RwLock<()>>>>,
}

/// The turn of a call.
pub(crate) enum Turn {
    /// Beside other reads.
    Read(#[allow(dead_code, reason = "held, and given back when it is dropped")] OwnedRwLockReadGuard<()>),
    /// Alone.
    Write(#[allow(dead_code, reason = "held, and given back when it is dropped")] OwnedRwLockWriteGuard<()>),
}

impl KeyOrder {
    fn of(&self, key: &[u8]) -> Arc<RwLock<()>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() > 1_024 && keys.len().is_power_of_two() {
            keys.retain(|_, lock| lock.strong_count() > 0);
        }
        let place = keys.entry(xxhash64(key)).or_default();
        place.upgrade().unwrap_or_else(|| {
            let lock = Arc::new(RwLock::new(()));
            *place = Arc::downgrade(&lock);
            lock
        })
    }

    /// Waits for the turn of a read. The lock is fair: who comes first goes first.
    pub(crate) async fn read(&self, key: &[u8]) -> Turn {
        let lock = self.of(key);
        Turn::Read(lock.read_owned().await)
    }

    /// Waits for the turn of a write.
    pub(crate) async fn write(&self, key: &[u8]) -> Turn {
        let lock = self.of(key);
        Turn::Write(lock.write_owned().await)
    }
}
