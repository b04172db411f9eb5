use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hdrhistogram::Histogram;
use tokio::sync::watch;
use web_time::Instant;

use crate::{
    Call, ClusterView, Consistency, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult,
    Entry, Error, Get, GetMany, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus, LeaseTimeToLive, Page, Put,
    PutResult, Result, Scan, Stats, Status, Store, StoreRef, Txn, TxnResult, Version, Watch, Watching,
};

/// The calls of a store, counted and timed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RequestStats {
    /// Calls that were answered, rightly or with an error.
    pub total: u64,
    /// Of those, the ones that were answered with an error, and those that were cancelled.
    pub failed: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// How long the answered calls took.
    pub latency: LatencySummary,
}

/// Percentiles, in milliseconds; 0 before the first call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencySummary {
    /// Half of the calls were faster.
    pub p50_ms: f64,
    /// 95 of 100 were faster.
    pub p95_ms: f64,
    /// 99 of 100 were faster.
    pub p99_ms: f64,
}

/// Counts and times the calls of any store.
pub struct Metered {
    store: StoreRef,
    counters: Arc<Counters>,
}

struct Counters {
    started: AtomicU64,
    finished: AtomicU64,
    failed: AtomicU64,
    /// Nanoseconds, to two digits; a fixed 20 KiB however many calls there are.
    latency: Mutex<Histogram<u64>>,
}

/// The longest latency that is told apart: ten minutes.
const MAX_NANOS: u64 = 600_000_000_000;

impl Metered {
    /// Meters a store.
    ///
    /// # Errors
    /// `Internal` if the histogram refuses its constant bounds.
    pub fn new(store: StoreRef) -> Result<Self> {
        let latency = Histogram::new_with_bounds(100, MAX_NANOS, 2)
            .map_err(|error| Error::internal("the latency histogram").caused_by(error))?;
        Ok(Self {
            store,
            counters: Arc::new(Counters {
                started: AtomicU64::new(0),
                finished: AtomicU64::new(0),
                failed: AtomicU64::new(0),
                latency: Mutex::new(latency),
            }),
        })
    }

    async fn timed<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let timer = Timer::start(&self.counters);
        let result = call.await;
        timer.stop(result.is_err());
        result
    }
}

impl Counters {
    fn record(&self, elapsed: Duration, failed: bool) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(MAX_NANOS);
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(nanos.min(MAX_NANOS));
        self.finished.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn snapshot(&self) -> RequestStats {
        let total = self.finished.load(Ordering::Relaxed);
        let latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        #[allow(clippy::cast_precision_loss)] // nanoseconds below ten minutes are exact in an f64
        let quantile = |q| latency.value_at_quantile(q) as f64 / 1e6;
        RequestStats {
            total,
            failed: self.failed.load(Ordering::Relaxed),
            in_flight: self.started.load(Ordering::Relaxed).saturating_sub(total),
            latency: LatencySummary { p50_ms: quantile(0.5), p95_ms: quantile(0.95), p99_ms: quantile(0.99) },
        }
    }
}

/// Counts a call that began; dropped before it ended, the call was cancelled, which counts as failed.
struct Timer<'a> {
    counters: &'a Counters,
    start: Instant,
    stopped: bool,
}

impl<'a> Timer<'a> {
    fn start(counters: &'a Counters) -> Self {
        counters.started.fetch_add(1, Ordering::Relaxed);
        Self { counters, start: Instant::now(), stopped: false }
    }

    fn stop(mut self, failed: bool) {
        self.stopped = true;
        self.counters.record(self.start.elapsed(), failed);
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if !self.stopped {
            self.counters.record(self.start.elapsed(), true);
        }
    }
}

#[cfg_attr(not(target_family = "wasm"), async_trait)]
#[cfg_attr(target_family = "wasm", async_trait(?Send))]
impl Store for Metered {
    fn get_now(&self, key: &[u8], consistency: Consistency) -> Option<Result<Option<Entry>>> {
        let start = Instant::now();
        let result = self.store.get_now(key, consistency)?;
        self.counters.started.fetch_add(1, Ordering::Relaxed);
        self.counters.record(start.elapsed(), result.is_err());
        Some(result)
    }

    async fn connect(&self, call: Call) -> Result<()> {
        self.store.connect(call).await
    }

    async fn get(&self, request: Get, call: Call) -> Result<Option<Entry>> {
        self.timed(self.store.get(request, call)).await
    }

    async fn get_many(&self, request: GetMany, call: Call) -> Result<Vec<Option<Entry>>> {
        self.timed(self.store.get_many(request, call)).await
    }

    async fn put(&self, request: Put, call: Call) -> Result<PutResult> {
        self.timed(self.store.put(request, call)).await
    }

    async fn delete(&self, request: Delete, call: Call) -> Result<DeleteResult> {
        self.timed(self.store.delete(request, call)).await
    }

    async fn delete_range(&self, request: DeleteRange, call: Call) -> Result<DeleteRangeResult> {
        self.timed(self.store.delete_range(request, call)).await
    }

    async fn scan(&self, request: Scan, call: Call) -> Result<Page> {
        self.timed(self.store.scan(request, call)).await
    }

    async fn count(&self, request: Count, call: Call) -> Result<CountResult> {
        self.timed(self.store.count(request, call)).await
    }

    async fn txn(&self, request: Txn, call: Call) -> Result<TxnResult> {
        self.timed(self.store.txn(request, call)).await
    }

    async fn lease_grant(&self, request: LeaseGrant, call: Call) -> Result<LeaseGranted> {
        self.timed(self.store.lease_grant(request, call)).await
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>, call: Call) -> Result<Vec<Option<Duration>>> {
        self.timed(self.store.lease_keep_alive(ids, call)).await
    }

    async fn lease_revoke(&self, id: LeaseId, call: Call) -> Result<Version> {
        self.timed(self.store.lease_revoke(id, call)).await
    }

    async fn lease_time_to_live(&self, request: LeaseTimeToLive, call: Call) -> Result<LeaseStatus> {
        self.timed(self.store.lease_time_to_live(request, call)).await
    }

    async fn leases(&self, call: Call) -> Result<Vec<LeaseId>> {
        self.timed(self.store.leases(call)).await
    }

    /// Timed until it begins.
    async fn watch(&self, request: Watch, call: Call) -> Result<Watching> {
        self.timed(self.store.watch(request, call)).await
    }

    async fn compact(&self, version: Version, call: Call) -> Result<()> {
        self.timed(self.store.compact(version, call)).await
    }

    async fn status(&self, call: Call) -> Result<Status> {
        self.timed(self.store.status(call)).await
    }

    fn cluster(&self) -> Option<watch::Receiver<ClusterView>> {
        self.store.cluster()
    }

    fn stats(&self) -> Stats {
        Stats { requests: self.counters.snapshot(), ..self.store.stats() }
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
