//! Calls on one key take effect in the order in which they were made: etcd carries out what one connection brings beside each
//! other, so each waits for the one before it.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::Poll,
};

use futures_util::future::{BoxFuture, join_all};
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
        Self::place(&mut keys, key)
    }

    fn place(keys: &mut HashMap<u64, Weak<RwLock<()>>>, key: &[u8]) -> Arc<RwLock<()>> {
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

    /// Waits for the turn of a write of several keys, each once. Its places are taken at once in all of them, so that of two such
    /// calls one is first everywhere.
    pub(crate) async fn write_all(&self, all: &[Vec<u8>]) -> Vec<Turn> {
        let mut turns: Option<BoxFuture<'_, Vec<OwnedRwLockWriteGuard<()>>>> = None;
        let guards = poll_fn(|context| {
            if let Some(turns) = &mut turns {
                return turns.as_mut().poll(context);
            }
            // Nobody takes a place in between: the first poll of each lock stands in its line.
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let locks: Vec<_> = all.iter().map(|key| Self::place(&mut keys, key)).collect();
            let turns = turns.insert(Box::pin(join_all(locks.into_iter().map(RwLock::write_owned))));
            let polled: Poll<_> = turns.as_mut().poll(context);
            drop(keys);
            polled
        })
        .await;
        guards.into_iter().map(Turn::Write).collect()
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
