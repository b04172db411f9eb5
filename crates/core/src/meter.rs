use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use web_time::Instant;

use crate::{Error, Result};

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

/// Counts and times calls.
///
/// ```
/// use norikv_core::{Error, Meter};
///
/// let meter = Meter::new()?;
/// let answer = meter.timed_now(|| Some(Ok::<_, Error>(1)));
/// assert!(matches!(answer, Some(Ok(1))));
/// assert_eq!(meter.stats().total, 1);
/// # Ok::<(), Error>(())
/// ```
pub struct Meter {
    started: AtomicU64,
    finished: AtomicU64,
    failed: AtomicU64,
    /// Nanoseconds, to two digits; a fixed 20 KiB however many calls there are.
    latency: Mutex<Histogram<u64>>,
}

/// The longest latency that is told apart: ten minutes.
const MAX_NANOS: u64 = 600_000_000_000;

impl Meter {
    /// A meter that has counted nothing.
    ///
    /// # Errors
    /// `Internal` if the histogram refuses its constant bounds.
    pub fn new() -> Result<Self> {
        let latency = Histogram::new_with_bounds(100, MAX_NANOS, 2)
            .map_err(|error| Error::internal("the latency histogram").caused_by(error))?;
        Ok(Self {
            started: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            latency: Mutex::new(latency),
        })
    }

    /// Counts and times a call. Dropped before it ended, it was cancelled, which counts as failed.
    ///
    /// # Errors
    /// The call's.
    pub async fn timed<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let timer = Timer::start(self);
        let result = call.await;
        timer.stop(result.is_err());
        result
    }

    /// Counts and times a call that is answered at once; `None`, where it cannot be, is no call.
    pub fn timed_now<T>(&self, call: impl FnOnce() -> Option<Result<T>>) -> Option<Result<T>> {
        let start = Instant::now();
        let result = call()?;
        self.started.fetch_add(1, Ordering::Relaxed);
        self.record(start.elapsed(), result.is_err());
        Some(result)
    }

    fn record(&self, elapsed: Duration, failed: bool) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(MAX_NANOS);
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(nanos.min(MAX_NANOS));
        self.finished.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> RequestStats {
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
    meter: &'a Meter,
    start: Instant,
    stopped: bool,
}

impl<'a> Timer<'a> {
    fn start(meter: &'a Meter) -> Self {
        meter.started.fetch_add(1, Ordering::Relaxed);
        Self { meter, start: Instant::now(), stopped: false }
    }

    fn stop(mut self, failed: bool) {
        self.stopped = true;
        self.meter.record(self.start.elapsed(), failed);
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if !self.stopped {
            self.meter.record(self.start.elapsed(), true);
        }
    }
}
