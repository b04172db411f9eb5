//! What etcd's clients go by: its codes with its own words. What is ours travels in the details, as everywhere.

use norikv_core::{Error, ErrorKind, FieldName};
use norikv_proto::{ERROR_DOMAIN, failure_from_error};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::status::status_of;

/// An error that etcd has a name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    code: Code,
    text: &'static str,
    kind: ErrorKind,
}

const fn known(code: Code, text: &'static str, kind: ErrorKind) -> Known {
    Known { code, text, kind }
}

pub(crate) const EMPTY_KEY: Known =
    known(Code::InvalidArgument, "etcdserver: key is not provided", ErrorKind::InvalidArgument);
pub(crate) const KEY_NOT_FOUND: Known =
    known(Code::InvalidArgument, "etcdserver: key not found", ErrorKind::KeyNotFound);
pub(crate) const VALUE_PROVIDED: Known =
    known(Code::InvalidArgument, "etcdserver: value is provided", ErrorKind::InvalidArgument);
pub(crate) const LEASE_PROVIDED: Known =
    known(Code::InvalidArgument, "etcdserver: lease is provided", ErrorKind::InvalidArgument);
pub(crate) const TOO_MANY_OPS: Known = known(
    Code::InvalidArgument,
    "etcdserver: too many operations in txn request",
    ErrorKind::InvalidArgument,
);
pub(crate) const DUPLICATE_KEY: Known = known(
    Code::InvalidArgument,
    "etcdserver: duplicate key given in txn request",
    ErrorKind::InvalidArgument,
);
pub(crate) const INVALID_SORT: Known =
    known(Code::InvalidArgument, "etcdserver: invalid sort option", ErrorKind::InvalidArgument);
pub(crate) const TOO_LARGE: Known =
    known(Code::InvalidArgument, "etcdserver: request is too large", ErrorKind::InvalidArgument);
pub(crate) const COMPACTED: Known =
    known(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", ErrorKind::Compacted);
pub(crate) const FUTURE_REVISION: Known = known(
    Code::OutOfRange,
    "etcdserver: mvcc: required revision is a future revision",
    ErrorKind::InvalidArgument,
);
pub(crate) const LEASE_NOT_FOUND: Known =
    known(Code::NotFound, "etcdserver: requested lease not found", ErrorKind::LeaseNotFound);
pub(crate) const LEASE_EXISTS: Known =
    known(Code::FailedPrecondition, "etcdserver: lease already exists", ErrorKind::AlreadyExists);
pub(crate) const TTL_TOO_LARGE: Known =
    known(Code::OutOfRange, "etcdserver: too large lease TTL", ErrorKind::InvalidArgument);
pub(crate) const TIMEOUT: Known =
    known(Code::Unavailable, "etcdserver: request timed out", ErrorKind::DeadlineExceeded);
pub(crate) const STOPPED: Known =
    known(Code::Unavailable, "etcdserver: server stopped", ErrorKind::Unavailable);
pub(crate) const NO_LEADER: Known = known(Code::Unavailable, "etcdserver: no leader", ErrorKind::NotLeader);
pub(crate) const DENIED: Known =
    known(Code::PermissionDenied, "etcdserver: permission denied", ErrorKind::PermissionDenied);
pub(crate) const CORRUPT: Known = known(Code::DataLoss, "etcdserver: corrupt cluster", ErrorKind::Corruption);

/// Why a call of etcd's failed.
#[derive(Debug)]
pub(crate) enum Failed {
    Known(Known),
    /// With what the store says.
    Store(Error),
}

impl From<Known> for Failed {
    fn from(known: Known) -> Self {
        Self::Known(known)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Failed {
    /// A refusal that etcd has no words for.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::Store(Error::new(ErrorKind::Unsupported, message))
    }

    /// What etcd calls it, if it has a name for it.
    pub(crate) fn known(&self) -> Option<Known> {
        match self {
            Self::Known(known) => Some(*known),
            Self::Store(error) => Some(match error.kind() {
                ErrorKind::KeyNotFound => KEY_NOT_FOUND,
                ErrorKind::Compacted => COMPACTED,
                ErrorKind::LeaseNotFound => LEASE_NOT_FOUND,
                ErrorKind::DeadlineExceeded => TIMEOUT,
                ErrorKind::Closed => STOPPED,
                ErrorKind::NotLeader => NO_LEADER,
                ErrorKind::PermissionDenied => DENIED,
                ErrorKind::Corruption => CORRUPT,
                _ => return None,
            }),
        }
    }

    /// The oldest revision that can be read, where that is what was missed.
    pub(crate) fn compact_revision(&self) -> Option<u64> {
        let Self::Store(error) = self else { return None };
        error.version(FieldName::CompactVersion).map(|version| version.index)
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.known(), self) {
            (Some(known), _) => f.write_str(known.text),
            (None, Self::Store(error)) => f.write_str(error.message()),
            (None, Self::Known(known)) => f.write_str(known.text),
        }
    }
}

impl From<Failed> for Status {
    fn from(failed: Failed) -> Self {
        let known = failed.known();
        let ours = match failed {
            Failed::Known(known) => Error::new(known.kind, known.text),
            Failed::Store(error) => error,
        };
        let Some(Known { code, text, .. }) = known else { return status_of(ours) };
        // The details repeat code and message, and some clients go by what stands there.
        let failure = failure_from_error(&ours);
        let details = ErrorDetails::with_error_info(failure.reason, ERROR_DOMAIN, failure.metadata);
        Self::with_error_details(code, text, details)
    }
}

impl From<Known> for Status {
    fn from(known: Known) -> Self {
        Failed::Known(known).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use norikv_core::Version;

    #[test]
    fn what_the_store_says_travels_in_etcds_words_with_ours_as_details() {
        let error =
            Error::new(ErrorKind::Compacted, "gone").with(FieldName::CompactVersion, Version::new(1, 7));
        let status = Status::from(Failed::from(error));
        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!(status.message(), "etcdserver: mvcc: required revision has been compacted");
        let details = status.get_details_error_info().unwrap();
        assert_eq!(
            (details.reason.as_str(), details.metadata["compactVersion"].as_str()),
            ("COMPACTED", "1.7")
        );
        let status = Status::from(LEASE_NOT_FOUND);
        assert_eq!(status.get_details_error_info().unwrap().reason, "LEASE_NOT_FOUND");
    }

    #[test]
    fn what_etcd_has_no_words_for_keeps_ours() {
        let status = Status::from(Failed::from(Error::new(ErrorKind::ResourceExhausted, "too much")));
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "too much"));
    }
}
