use std::time::Duration;

/// Exponential backoff with full jitter: each delay is drawn evenly from zero to a ceiling that grows by a
/// factor per attempt up to a maximum.
///
/// The formula is "full jitter" of Marc Brooker, *Exponential Backoff And Jitter* (AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first ceiling.
    pub initial: Duration,
    /// The highest ceiling.
    pub max: Duration,
    /// How much the ceiling grows with each attempt.
    pub multiplier: f64,
    /// Whether to draw from the whole interval; without it, each delay is its ceiling.
    pub jitter: bool,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(10),
            max: Duration::from_secs(1),
            multiplier: 2.0,
            jitter: true,
        }
    }
}

impl Backoff {
    /// The delay after failed attempt number `attempt`, counted from 1.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let ceiling = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        let ceiling = ceiling.min(self.max.as_secs_f64());
        let seconds = if self.jitter { ceiling * fastrand::f64() } else { ceiling };
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_jitter_the_delay_doubles_up_to_the_maximum() {
        let backoff = Backoff { jitter: false, ..Backoff::default() };
        let millis: Vec<_> = (1..=9).map(|n| backoff.delay(n).as_millis()).collect();
        assert_eq!(millis, [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        assert_eq!(backoff.delay(u32::MAX), backoff.max);
    }

    #[test]
    fn with_jitter_delays_spread_over_the_whole_interval() {
        let backoff = Backoff::default();
        let delays: Vec<_> = (0..1_000).map(|_| backoff.delay(7)).collect();
        assert!(delays.iter().all(|delay| *delay <= Duration::from_millis(640)));
        assert!(delays.iter().any(|delay| *delay < Duration::from_millis(160)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_millis(480)));
    }
}
