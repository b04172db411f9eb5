//! Somebody who writes while a copy goes on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use norikv_core::{Call, Delete, Put, StoreRef, Ttl, Version};
use tokio::task::JoinHandle;

/// Puts, deletes and puts with a time to live, until it is told to stop.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    lanes: Vec<JoinHandle<Version>>,
}

impl Writer {
    /// Begins, in some lanes with keys of their own.
    pub(crate) fn start(store: &StoreRef, lanes: u32, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let lane = |lane: u32| {
            let (store, stop) = (Arc::clone(store), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut chance = fastrand::Rng::with_seed(seed ^ u64::from(lane));
                let mut last = Version::ZERO;
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    // No faster than an etcd can take it.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let key = format!("lane{lane}/{}", chance.u32(..400));
                    let value = format!("{number}");
                    last = match chance.u8(..10) {
                        0..=2 => store.delete(Delete::new(key), Call::default()).await.unwrap().version,
                        3 => {
                            // Some are over while the copy goes on, and some are not for long.
                            let ttl = [300, 2_000, 600_000][chance.usize(..3)];
                            let put = Put {
                                ttl: Ttl::from_millis(ttl).ok(),
                                ..Put::new(format!("{key}/t"), value)
                            };
                            store.put(put, Call::default()).await.unwrap().version
                        }
                        _ => store.put(Put::new(key, value), Call::default()).await.unwrap().version,
                    }
                    .max(last);
                }
                last
            })
        };
        Self { lanes: (0..lanes).map(lane).collect(), stop }
    }

    /// Ends it. Answers the version of its last write.
    pub(crate) async fn stop(self) -> Version {
        self.stop.store(true, Ordering::Relaxed);
        let mut last = Version::ZERO;
        for lane in self.lanes {
            last = last.max(lane.await.unwrap());
        }
        last
    }
}
