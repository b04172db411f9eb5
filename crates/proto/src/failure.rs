use norikv_core::{Error, ErrorKind, Field, FieldName};

use crate::ext;

/// The `domain` of our `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "norikv";

/// The status codes of gRPC (`google.rpc.Code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs)] // they are gRPC's own names
pub enum GrpcCode {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl GrpcCode {
    /// The status code under which an error travels.
    #[must_use]
    pub const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::KeyNotFound
            | ErrorKind::NotFound
            | ErrorKind::LeaseNotFound
            | ErrorKind::VectorIndexNotFound
            | ErrorKind::VectorNotFound => Self::NotFound,
            ErrorKind::VersionMismatch | ErrorKind::LeaseLost => Self::FailedPrecondition,
            ErrorKind::AlreadyExists | ErrorKind::VectorIndexExists => Self::AlreadyExists,
            ErrorKind::InvalidArgument | ErrorKind::VectorDimensionMismatch => Self::InvalidArgument,
            ErrorKind::NotLeader
            | ErrorKind::Unavailable
            | ErrorKind::Connection
            | ErrorKind::NoNodesAvailable
            | ErrorKind::RetryExhausted
            | ErrorKind::Closed => Self::Unavailable,
            ErrorKind::DeadlineExceeded => Self::DeadlineExceeded,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Unauthenticated => Self::Unauthenticated,
            ErrorKind::PermissionDenied => Self::PermissionDenied,
            ErrorKind::ResourceExhausted => Self::ResourceExhausted,
            ErrorKind::Unsupported => Self::Unimplemented,
            ErrorKind::Compacted => Self::OutOfRange,
            ErrorKind::Corruption => Self::DataLoss,
            _ => Self::Internal,
        }
    }
}

/// The kind of an error that came with a status code alone, as from a server that sends no details.
const fn kind_of(code: i32) -> ErrorKind {
    match code {
        1 => ErrorKind::Cancelled,
        3 => ErrorKind::InvalidArgument,
        4 => ErrorKind::DeadlineExceeded,
        5 => ErrorKind::NotFound,
        6 => ErrorKind::AlreadyExists,
        7 => ErrorKind::PermissionDenied,
        8 => ErrorKind::ResourceExhausted,
        9 => ErrorKind::VersionMismatch,
        10 | 14 => ErrorKind::Unavailable,
        11 => ErrorKind::Compacted,
        12 => ErrorKind::Unsupported,
        15 => ErrorKind::Corruption,
        16 => ErrorKind::Unauthenticated,
        _ => ErrorKind::Internal,
    }
}

/// What travels of an error: its code, message, reason and fields.
#[must_use]
pub fn failure_from_error(error: &Error) -> ext::Failure {
    // That the server's own store is closed is no news of the client: to it, the server is not available.
    let kind = match error.kind() {
        ErrorKind::Closed => ErrorKind::Unavailable,
        kind => kind,
    };
    ext::Failure {
        code: GrpcCode::of(kind) as i32,
        message: error.message().to_owned(),
        reason: kind.code().to_owned(),
        metadata: error
            .fields()
            .iter()
            .map(|(name, field)| (name.as_str().to_owned(), field.to_text()))
            .collect(),
    }
}

/// The error of what travelled. Without a reason that is known, the code decides.
///
/// A message that begins with `NOT_LEADER` is how servers of `norikv.v1` say so: the one text that the protocol
/// itself gives a meaning.
#[must_use]
pub fn failure_to_error(failure: &ext::Failure) -> Error {
    let not_leader = failure.message.starts_with("NOT_LEADER")
        && matches!(failure.code, code if code == GrpcCode::Unavailable as i32 || code == GrpcCode::FailedPrecondition as i32);
    let kind = match ErrorKind::from_code(&failure.reason) {
        Some(kind) => kind,
        None if not_leader => ErrorKind::NotLeader,
        None => kind_of(failure.code),
    };
    failure.metadata.iter().fold(Error::new(kind, failure.message.clone()), |error, (name, text)| {
        let field = FieldName::from_name(name)
            .and_then(|name| Field::from_text(name, text).map(|field| (name, field)));
        match field {
            Some((name, field)) => error.with(name, field),
            None => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use norikv_core::Version;

    #[test]
    fn every_kind_survives_the_wire_with_its_fields() {
        for kind in ErrorKind::ALL {
            let error = Error::new(*kind, "why")
                .with(FieldName::Key, bytes::Bytes::from_static(b"\xff"))
                .with(FieldName::Expected, Version::new(1, 2));
            let back = failure_to_error(&failure_from_error(&error));
            let expected = match kind {
                ErrorKind::Closed => ErrorKind::Unavailable,
                kind => *kind,
            };
            assert_eq!(back.kind(), expected);
            assert_eq!(back.message(), "why");
            assert_eq!(back.field(FieldName::Key), error.field(FieldName::Key));
            assert_eq!(back.version(FieldName::Expected), Some(Version::new(1, 2)));
        }
    }

    #[test]
    fn a_bare_not_leader_is_known_by_the_beginning_of_its_message() {
        for code in [GrpcCode::Unavailable, GrpcCode::FailedPrecondition] {
            let failure = ext::Failure {
                code: code as i32,
                message: "NOT_LEADER: ask node-2".into(),
                ..Default::default()
            };
            assert_eq!(failure_to_error(&failure).kind(), ErrorKind::NotLeader);
        }
        let other = ext::Failure {
            code: GrpcCode::InvalidArgument as i32,
            message: "NOT_LEADER".into(),
            ..Default::default()
        };
        assert_eq!(failure_to_error(&other).kind(), ErrorKind::InvalidArgument);
    }
}
