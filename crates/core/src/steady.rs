use std::time::Duration;

use web_time::{Instant, SystemTime};

/// A moment, to tell later how long ago it was: as long as any clock says.
///
/// The monotonic clock may stand still while a machine sleeps, and the time of day may be set. For who must not
/// believe in something for too long, the longer of the two is the safe one.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    monotonic: Instant,
    wall: SystemTime,
}

impl Steady {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// How long ago it was.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let wall = SystemTime::now().duration_since(self.wall).unwrap_or_default();
        self.monotonic.elapsed().max(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_only_the_time_of_day_saw_counts() {
        let now = Steady::now();
        let hour = Duration::from_secs(3_600);
        let slept = Steady { wall: now.wall - hour, ..now };
        assert!(slept.elapsed() >= hour);
        let set_back = Steady { wall: now.wall + hour, ..now };
        assert!(set_back.elapsed() < hour);
    }
}
