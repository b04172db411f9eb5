use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time of day in milliseconds, which never runs backwards: read once from the system, then carried on by
/// the monotonic clock.
pub(crate) struct Clock {
    base: u64,
    started: Instant,
}

impl Clock {
    /// A clock that shows at least `floor`, the last time the store recorded.
    pub(crate) fn starting_at_least(floor: u64) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { base: millis(wall).max(floor), started: Instant::now() }
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now(&self) -> u64 {
        self.base.saturating_add(millis(self.started.elapsed()))
    }

    /// How long until the clock shows that time.
    pub(crate) fn until(&self, at: u64) -> Duration {
        let elapsed = self.started.elapsed();
        // From the exact start of the millisecond: a wait rounded down would end just before it, over and over.
        Duration::from_millis(at.saturating_sub(self.base)).saturating_sub(elapsed)
    }
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_never_behind_what_was_recorded() {
        let far = 1 << 45;
        let clock = Clock::starting_at_least(far);
        assert!(clock.now() >= far);
        assert_eq!(clock.until(far), Duration::ZERO);
        assert!(clock.until(far + 60_000) > Duration::from_secs(50));
    }
}
