//! Entries with a time to live: etcd has none but that of leases, so those that expire in the same second have one together.
//!
//! A lease of its own for each entry would cost a write of the cluster beside each put, and one more when it ends. What shares
//! one expires in one revision; a lease has so many entries at most, so that none of these is large.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use norikv_core::{Call, Result, Ttl};
use tokio::sync::OnceCell;

use crate::{
    entries::{expiry_second, now, ttl_lease},
    store::Inner,
    writes::seconds_of,
};

/// How many entries have one lease.
const SHARING: u64 = 1_000;
/// How many seconds are remembered before those that are over are looked for.
const REMEMBERED: usize = 1_024;

/// The leases of entries that expire, by the second in which they do.
#[derive(Default)]
pub(crate) struct ExpiryLeases {
    seconds: Mutex<HashMap<u64, Arc<Shared>>>,
    /// The least time to live of a lease, in seconds, as far as members have told.
    least: AtomicU64,
}

/// A lease that entries share.
struct Shared {
    taken: AtomicU64,
    /// When it was asked for: it lives from then on at least for `ttl`.
    since: Instant,
    ttl: Duration,
    /// Its number, and how long it was granted for.
    granted: OnceCell<(i64, Duration)>,
}

impl ExpiryLeases {
    /// The lease for one more entry that expires in a second, or the place for one.
    fn of(&self, second: u64, ttl: Duration, now: Duration) -> Arc<Shared> {
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        if seconds.len() >= REMEMBERED && seconds.len().is_power_of_two() {
            seconds.retain(|_, shared| shared.since.elapsed() < shared.ttl);
        }
        let lease_ttl = if let Some(shared) = seconds.get(&second) {
            // The time of day may have been set back since: what counts is how long the lease lives.
            let lives = shared.since.elapsed() + ttl <= shared.ttl;
            if lives && shared.taken.fetch_add(1, Ordering::Relaxed) < SHARING {
                return Arc::clone(shared);
            }
            // More come, and share one that lives to the end of the second.
            Duration::from_secs(second).saturating_sub(now).max(ttl)
        } else {
            // Who comes alone has one that ends with it.
            ttl
        };
        let shared = Arc::new(Shared {
            taken: AtomicU64::new(1),
            since: Instant::now(),
            ttl: Duration::from_secs(seconds_of(lease_ttl).unsigned_abs()),
            granted: OnceCell::new(),
        });
        seconds.insert(second, Arc::clone(&shared));
        shared
    }

    /// No further entry gets this lease: it is not there any more.
    pub(crate) fn forget(&self, lease: i64) {
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        seconds.retain(|_, shared| shared.granted.get().is_none_or(|(id, _)| *id != lease));
    }
}

impl Inner {
    /// The lease of an entry that lives so long from now.
    pub(crate) async fn entry_lease(&self, ttl: Ttl, call: Call) -> Result<i64> {
        loop {
            // A member may have a least time to live, which it tells with the first lease that asks for less.
            let least = Duration::from_secs(self.expiring.least.load(Ordering::Relaxed));
            let ttl = ttl.as_duration().max(least);
            let now = now();
            let second = expiry_second(ttl, now);
            let shared = self.expiring.of(second, ttl, now);
            let granting = shared.granted.get_or_try_init(|| async {
                // Who asked for it first may have failed.
                let left = shared.ttl.saturating_sub(shared.since.elapsed()).max(ttl);
                let (lease, granted) = self.grant(|| ttl_lease(second), left, call).await?;
                if granted > shared.ttl {
                    self.expiring.least.fetch_max(granted.as_secs(), Ordering::Relaxed);
                }
                Ok((lease, granted))
            });
            let (lease, granted) = *granting.await?;
            if granted <= shared.ttl {
                return Ok(lease);
            }
            // It lives longer than its number says: nobody takes it, it runs out by itself, and one with another number is asked for.
            self.expiring.forget(lease);
        }
    }
}
