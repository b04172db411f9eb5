//! Calls on one key take effect in the order in which they were made: etcd carries out what one connection brings beside each
//! other, so each waits for the one before it.

use std::{
    collections::HashMap,
    future::{Future as _, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
};

use futures_util::future::{BoxFuture, FutureExt as _, MaybeDone, maybe_done};
use norikv_core::xxhash64;
use tokio::{
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock},
    task::coop::unconstrained,
};

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
        let mut turns: Vec<MaybeDone<BoxFuture<'_, OwnedRwLockWriteGuard<()>>>> = Vec::new();
        let every = |turns: &mut Vec<MaybeDone<_>>, context: &mut Context<'_>| {
            // Every one, whatever the others answer.
            turns
                .iter_mut()
                .filter_map(|turn| Pin::new(turn).poll(context).is_pending().then_some(()))
                .count()
                == 0
        };
        // A task that has spent its budget would not get the places that are free, and others would.
        unconstrained(poll_fn(|context| {
            let ready = if turns.is_empty() {
                // Nobody takes a place in between: the first poll of each lock stands in its line.
                let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
                let locks: Vec<_> = all.iter().map(|key| Self::place(&mut keys, key)).collect();
                turns = locks.into_iter().map(|lock| maybe_done(lock.write_owned().boxed())).collect();
                every(&mut turns, context)
            } else {
                every(&mut turns, context)
            };
            if ready { Poll::Ready(()) } else { Poll::Pending }
        }))
        .await;
        turns.iter_mut().filter_map(|turn| Pin::new(turn).take_output()).map(Turn::Write).collect()
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    /// One task polls all of them, as it does the calls of one client, and its budget is spent by the first.
    #[tokio::test]
    async fn calls_with_many_keys_in_one_task_do_not_wait_for_each_other_in_a_circle() {
        let order = KeyOrder::default();
        let keys = |from: usize, to: usize| (from..to).map(|n| vec![1, n as u8]).collect::<Vec<_>>();
        let (most, some) = (keys(100, 200), keys(0, 40));
        let call = |keys: &Vec<Vec<u8>>| {
            let (order, keys) = (&order, keys.clone());
            async move { order.write_all(&keys).await.len() }
        };
        let all = join_all([call(&most), call(&some), call(&some), call(&some)]);
        let taken = tokio::time::timeout(Duration::from_secs(5), all).await.unwrap();
        assert_eq!(taken, [100, 40, 40, 40]);
    }
}
