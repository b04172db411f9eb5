use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use norikv_core::{Backoff, Call, Error, ErrorKind, Result};

use super::progress::Progress;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(30);
/// How long a store may be away before it is said.
const TELL: Duration = Duration::from_secs(2);
/// How often that is said.
const AGAIN: Duration = Duration::from_secs(10);
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(50),
    max: Duration::from_secs(2),
    multiplier: 2.0,
    jitter: true,
};

/// Asks again while a store is away, for some time. What a copy asks may be asked twice.
#[derive(Clone)]
pub(crate) struct Patience {
    limit: Duration,
    pub(crate) progress: Arc<Progress>,
    /// When it was last said that a store is away: not by each of many calls.
    told: Arc<Mutex<Option<Instant>>>,
}

impl Patience {
    pub(crate) fn new(limit: Duration, progress: Progress) -> Self {
        Self { limit, progress: Arc::new(progress), told: Arc::default() }
    }

    /// Asks until there is an answer, or nothing but failures for too long.
    ///
    /// # Errors
    /// The last failure, or one that another attempt does not mend.
    pub(crate) async fn ask<T, A: Future<Output = Result<T>>>(
        &self,
        mut ask: impl FnMut(Call) -> A,
    ) -> Result<T> {
        let mut begun = None;
        let mut failures = 0;
        loop {
            let error = match ask(Call::with_timeout(ATTEMPT)).await {
                Ok(answer) => return Ok(answer),
                Err(error) if may_pass(&error) => error,
                Err(error) => return Err(error),
            };
            let away = begun.get_or_insert_with(Instant::now).elapsed();
            if away >= self.limit {
                return Err(error);
            }
            if away >= TELL {
                self.tell(&error);
            }
            failures += 1;
            tokio::time::sleep(BACKOFF.delay(failures)).await;
        }
    }

    fn tell(&self, error: &Error) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= AGAIN) {
            *told = Some(Instant::now());
            drop(told);
            self.progress.note(&format!("waiting for a store: {error}"));
        }
    }
}

/// Whether the same may succeed later.
fn may_pass(error: &Error) -> bool {
    error.retryable() || error.kind() == ErrorKind::RetryExhausted
}
