use std::time::Duration;

use web_time::Instant;

use crate::{Error, ErrorKind, FieldName, limits::DEFAULT_TIMEOUT};

/// What goes with one call: by when it must be answered.
///
/// A call is cancelled by dropping its future; every store then lets go of the work that has not left it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    deadline: Instant,
    timeout: Duration,
}

impl Call {
    /// A call that may take `timeout` from now on.
    #[must_use]
    pub fn with_timeout(timeout: Duration) -> Self {
        let now = Instant::now();
        // A timeout past the end of the clock is as good as a century.
        let deadline =
            now.checked_add(timeout).unwrap_or(now + Duration::from_secs(100 * 365 * 24 * 60 * 60));
        Self { deadline, timeout }
    }

    /// When the call must be answered.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long the call was given at first.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long is left; zero once the deadline passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The error of a call whose time ran out.
    #[must_use]
    pub fn deadline_exceeded(&self) -> Error {
        let millis = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        Error::new(
            ErrorKind::DeadlineExceeded,
            format!("the call was not answered within its {millis} ms; allow more with timeoutMs, or see whether the store is overloaded"),
        )
        .with(FieldName::TimeoutMs, millis)
    }
}

impl Default for Call {
    fn default() -> Self {
        Self::with_timeout(DEFAULT_TIMEOUT)
    }
}
