use std::time::Duration;

use crate::{Backoff, Call, Error, ErrorKind, FieldName};

/// How often a call is tried, and how long is waited between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The most attempts, the first included. 1 turns retries off.
    pub max_attempts: u32,
    /// The delays between them.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 3, backoff: Backoff::default() }
    }
}

/// The attempts of one call: says after each failure whether, and when, to try again.
///
/// It holds the rule of the model in one place: only what is safe is repeated, never past the deadline, never
/// without backoff. The caller owns the timer, so that the rule runs on any runtime.
#[derive(Debug)]
pub struct Retry {
    policy: RetryPolicy,
    call: Call,
    repeatable: bool,
    attempts: u32,
}

impl Retry {
    /// The attempts of a call. `repeatable` says whether sending it twice does the same as once.
    #[must_use]
    pub fn new(policy: RetryPolicy, call: Call, repeatable: bool) -> Self {
        Self { policy, call, repeatable, attempts: 0 }
    }

    /// How many attempts have failed.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// After a failed attempt: how long to wait before the next, or `None` to give up with the error.
    ///
    /// `sent` says whether the request may have reached the store. A plain write is repeated only if not.
    pub fn after(&mut self, error: &Error, sent: bool) -> Option<Duration> {
        self.attempts += 1;
        let transient = matches!(
            error.kind(),
            ErrorKind::Unavailable
                | ErrorKind::Connection
                | ErrorKind::NoNodesAvailable
                | ErrorKind::NotLeader
                | ErrorKind::ResourceExhausted
        );
        // A node that refuses a call because it does not lead, or because it is full, did not carry it out,
        // unless it says that it does not know.
        let refused = matches!(error.kind(), ErrorKind::NotLeader | ErrorKind::ResourceExhausted)
            && error.field(FieldName::Outcome).is_none();
        if !transient || !(self.repeatable || !sent || refused) {
            return None;
        }
        if self.attempts >= self.policy.max_attempts {
            return None;
        }
        let delay = self.policy.backoff.delay(self.attempts);
        (delay < self.call.remaining()).then_some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> Error {
        Error::new(ErrorKind::Unavailable, "down")
    }

    #[test]
    fn a_plain_write_is_repeated_only_when_it_did_not_leave() {
        let mut retry = Retry::new(RetryPolicy::default(), Call::default(), false);
        assert!(retry.after(&unavailable(), false).is_some());
        assert!(retry.after(&unavailable(), true).is_none());
    }

    #[test]
    fn a_plain_write_is_repeated_when_it_was_refused_but_not_when_that_is_in_doubt() {
        let full = Error::new(ErrorKind::ResourceExhausted, "full");
        let policy = RetryPolicy::default();
        let mut retry = Retry::new(policy, Call::default(), false);
        assert!(retry.after(&full, true).is_some());
        let mut retry = Retry::new(policy, Call::default(), false);
        assert!(retry.after(&full.with(FieldName::Outcome, "unknown"), true).is_none());
    }

    #[test]
    fn attempts_are_bounded() {
        let mut retry = Retry::new(RetryPolicy::default(), Call::default(), true);
        assert!(retry.after(&unavailable(), true).is_some());
        assert!(retry.after(&unavailable(), true).is_some());
        assert!(retry.after(&unavailable(), true).is_none());
        assert_eq!(retry.attempts(), 3);
    }

    #[test]
    fn nothing_is_repeated_past_the_deadline() {
        let call = Call::with_timeout(Duration::ZERO);
        let mut retry = Retry::new(RetryPolicy::default(), call, true);
        assert!(retry.after(&unavailable(), true).is_none());
    }

    #[test]
    fn an_answer_is_never_repeated() {
        let mut retry = Retry::new(RetryPolicy::default(), Call::default(), true);
        assert!(retry.after(&Error::invalid_argument("no"), true).is_none());
    }
}
