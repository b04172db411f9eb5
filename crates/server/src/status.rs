use std::borrow::Borrow;

use norikv_core::{Error, ErrorKind, FieldName};
use norikv_proto::{ERROR_DOMAIN, failure_from_error};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, StatusExt};

/// What every client of the protocol knows a "not the leader" by.
const NOT_LEADER: &str = "NOT_LEADER";
/// Where clients of the protocol look for the leader.
const LEADER_HINT: &str = "leader-hint";

/// The status under which an error travels: its code, its message, and `google.rpc` details with its stable
/// code as the reason and its fields as text.
#[must_use]
pub fn status_of(error: impl Borrow<Error>) -> Status {
    let error = error.borrow();
    let failure = failure_from_error(error);
    let mut message = failure.message;
    let mut metadata = MetadataMap::new();
    if error.kind() == ErrorKind::NotLeader {
        if !message.starts_with(NOT_LEADER) {
            message = format!("{NOT_LEADER}: {message}");
        }
        let hint = error.field(FieldName::LeaderHint).map(norikv_core::Field::to_text);
        if let Some(hint) = hint.and_then(|hint| MetadataValue::try_from(hint).ok()) {
            metadata.insert(LEADER_HINT, hint);
        }
    }
    let details = ErrorDetails::with_error_info(failure.reason, ERROR_DOMAIN, failure.metadata);
    Status::with_error_details_and_metadata(Code::from_i32(failure.code), message, details, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use norikv_core::Version;

    #[test]
    fn every_kind_travels_with_its_stable_code_and_fields() {
        for kind in ErrorKind::ALL {
            let status = status_of(Error::new(*kind, "why").with(FieldName::Expected, Version::new(1, 2)));
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.domain, "norikv");
            assert_eq!(info.metadata["expected"], "1.2");
            // That the server's own store is closed is, to a client, a server that is not available.
            let expected = if *kind == ErrorKind::Closed { ErrorKind::Unavailable } else { *kind };
            assert_eq!(info.reason, expected.code());
            assert_ne!(status.code(), Code::Ok);
        }
    }

    #[test]
    fn who_leads_is_said_as_existing_clients_expect_it() {
        let error = Error::new(ErrorKind::NotLeader, "ask the leader").with(FieldName::LeaderHint, "node-2");
        let status = status_of(error);
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().starts_with("NOT_LEADER"));
        assert_eq!(status.metadata().get("leader-hint").unwrap(), "node-2");
    }
}
