use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The time of day in milliseconds, which never runs backwards.
///
/// The monotonic clock carries it on, but that one may stand still while the machine sleeps. So it also follows
/// the system's time of day wherever that is ahead, and not back when that is set back.
pub(crate) struct Clock {
    /// The time at the start, in microseconds since the Unix epoch; raised when the system's time gets ahead.
    base: AtomicU64,
    started: Instant,
}

impl Clock {
    /// A clock that shows at least `floor`, the last time the store recorded.
    pub(crate) fn starting_at_least(floor: u64) -> Self {
        let base = micros(wall()).max(floor.saturating_mul(1_000));
        Self { base: AtomicU64::new(base), started: Instant::now() }
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now(&self) -> u64 {
        self.show(wall(), self.started.elapsed()) / 1_000
    }

    /// How long until the clock shows that time.
    pub(crate) fn until(&self, at: u64) -> Duration {
        let now = self.show(wall(), self.started.elapsed());
        // From the exact start of the millisecond: a wait rounded down would end just before it, over and over.
        Duration::from_micros(at.saturating_mul(1_000).saturating_sub(now))
    }

    /// Microseconds since the Unix epoch, by the time of day and by how long the clock has run.
    fn show(&self, wall: Duration, elapsed: Duration) -> u64 {
        let elapsed = micros(elapsed);
        let mut base = self.base.load(Ordering::Relaxed);
        let by_wall = micros(wall).saturating_sub(elapsed);
        if by_wall > base {
            base = self.base.fetch_max(by_wall, Ordering::Relaxed).max(by_wall);
        }
        base.saturating_add(elapsed)
    }
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
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

    #[test]
    fn the_clock_follows_the_time_of_day_forwards_and_never_backwards() {
        const HOUR: Duration = Duration::from_secs(3_600);
        const SECOND: Duration = Duration::from_secs(1);

        let clock = Clock::starting_at_least(0);
        let start = Duration::from_micros(clock.base.load(Ordering::Relaxed));
        let shows = |wall, elapsed| Duration::from_micros(clock.show(wall, elapsed)) - start;
        assert_eq!(shows(start + SECOND, SECOND), SECOND);
        // The machine slept for an hour, and the monotonic clock with it.
        assert_eq!(shows(start + HOUR, SECOND), HOUR);
        // The time of day was set back.
        assert_eq!(shows(start, SECOND), HOUR);
        assert_eq!(shows(start, SECOND * 2), HOUR + SECOND);
        // What the system shows is what counts, and not only what it showed at the start.
        let late = Clock { base: AtomicU64::new(1_000), started: Instant::now() };
        assert!(Duration::from_millis(late.now()) >= start - SECOND);
    }
}
