//! What tests on clusters of etcd have in common.
#![allow(dead_code)] // Each test file is a crate of its own and uses some of it.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use norikv_conformance::{EtcdCluster, EtcdOptions, within};
use norikv_core::{Call, Error, ErrorKind, Field, FieldName, Result, StoreRef};
use norikv_etcd::{EtcdSettings, EtcdStore};

/// Long enough for anything that works.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) fn long() -> bool {
    env::var_os("NORIKV_LONG").is_some()
}

/// How long a test goes on that has no other end.
pub(crate) fn run_time() -> Duration {
    if long() { Duration::from_secs(120) } else { Duration::from_secs(20) }
}

/// Three members.
pub(crate) async fn three() -> EtcdCluster {
    EtcdCluster::start(EtcdOptions::default()).await.unwrap()
}

pub(crate) fn store_at(address: &str) -> StoreRef {
    Arc::new(EtcdStore::new(EtcdSettings::parse(address).unwrap()).unwrap())
}

/// A store that knows all members.
pub(crate) fn store(cluster: &EtcdCluster) -> StoreRef {
    store_at(&cluster.address())
}

/// A store that knows this member and no other.
pub(crate) fn store_from(cluster: &EtcdCluster, member: usize) -> StoreRef {
    store_at(&cluster.address_of(member))
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < SOON, "it did not come: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How long calls take, held against their time. What the machine itself is late by, when others use it, is not counted:
/// a thread that only sleeps tells it.
#[derive(Clone)]
pub(crate) struct Clock(Arc<[AtomicU64; 2]>);

impl Clock {
    pub(crate) fn start() -> Self {
        let shared: Arc<[AtomicU64; 2]> = Arc::default();
        let seen = Arc::downgrade(&shared);
        std::thread::spawn(move || {
            let tick = Duration::from_millis(2);
            loop {
                let begun = Instant::now();
                std::thread::sleep(tick);
                let late = begun.elapsed().saturating_sub(tick);
                let Some(seen) = seen.upgrade() else { return };
                seen[0].fetch_max(late.as_nanos().try_into().unwrap(), Ordering::Relaxed);
            }
        });
        Self(shared)
    }

    /// Makes a call, and holds it to its time.
    pub(crate) async fn call<T>(
        &self,
        timeout: Duration,
        made: impl AsyncFnOnce(Call) -> Result<T>,
    ) -> Result<T> {
        let begun = Instant::now();
        let call = Call::with_timeout(timeout);
        let result = within(call, made(call)).await;
        let over = begun.elapsed().saturating_sub(timeout);
        self.0[1].fetch_max(over.as_nanos().try_into().unwrap(), Ordering::Relaxed);
        let most = Duration::from_millis(100) + 3 * self.lateness();
        assert!(over < most, "{over:?} past its {timeout:?}, where {most:?} are due");
        result
    }

    pub(crate) fn lateness(&self) -> Duration {
        Duration::from_nanos(self.0[0].load(Ordering::Relaxed))
    }

    /// The most that a call was past its time.
    pub(crate) fn over(&self) -> Duration {
        Duration::from_nanos(self.0[1].load(Ordering::Relaxed))
    }
}

pub(crate) fn outcome_is_unknown(error: &Error) -> bool {
    matches!(error.field(FieldName::Outcome), Some(Field::Text(text)) if &**text == "unknown")
}

/// Whether it may have been carried out.
pub(crate) fn in_doubt(error: &Error) -> bool {
    outcome_is_unknown(error) || error.kind() == ErrorKind::DeadlineExceeded
}
