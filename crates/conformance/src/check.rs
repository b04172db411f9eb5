use std::{fmt, panic::Location};

use norikv_core::{Error, ErrorKind};

/// What a rule answers.
pub type Check<T = ()> = std::result::Result<T, Failure>;

/// A store's error where the rule has none, or another one than the rule has; and where in the rule that was.
pub struct Failure {
    what: String,
    at: &'static Location<'static>,
}

impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        Self { what: format!("the store failed: {error:?}"), at: Location::caller() }
    }
}

impl From<&'static str> for Failure {
    #[track_caller]
    fn from(what: &'static str) -> Self {
        Self { what: what.to_owned(), at: Location::caller() }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.at)
    }
}

/// The error of a call that must be refused in this way.
///
/// # Errors
/// If it was answered, or refused in another way.
#[track_caller]
pub fn refused<T: fmt::Debug>(result: norikv_core::Result<T>, kind: ErrorKind) -> Check<Error> {
    let what = match result {
        Err(error) if error.kind() == kind => return Ok(error),
        Err(error) => format!("refused, but not with {}: {error:?}", kind.code()),
        Ok(answer) => format!("answered {answer:?} where {} is due", kind.code()),
    };
    Err(Failure { what, at: Location::caller() })
}
