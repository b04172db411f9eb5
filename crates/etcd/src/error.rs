//! etcd's errors as ours, by their codes.

use etcd_client::Error as EtcdError;
use norikv_core::{Error, ErrorKind};
use norikv_tls::Fault;
use tonic::{Code, Status};

use crate::channel::unreachable;

/// How far a call got that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It did not leave.
    NotSent,
    /// It may have arrived.
    Sent,
    /// The cluster refused it, and did nothing.
    Refused,
}

/// What a failed call was told.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) reach: Reach,
    pub(crate) error: Error,
}

impl Failed {
    /// Whether the member cannot be talked to until somebody changes a certificate or a setting.
    pub(crate) fn lasts(&self) -> bool {
        self.reach == Reach::NotSent
            && std::error::Error::source(&self.error).is_some_and(<dyn std::error::Error>::is::<Fault>)
    }
}

/// The error of a call to one endpoint.
pub(crate) fn failed(endpoint: &str, error: EtcdError) -> Failed {
    match error {
        EtcdError::GRpcStatus(status) => of_status(endpoint, status),
        EtcdError::TransportError(error) => {
            Failed { reach: Reach::NotSent, error: unreachable(endpoint, &causes(&error)) }
        }
        EtcdError::InvalidUri(_) | EtcdError::InvalidArgs(_) | EtcdError::EndpointError(_) => Failed {
            reach: Reach::NotSent,
            error: Error::invalid_argument(format!("{endpoint} is no endpoint of etcd: {error}")),
        },
        other => Failed {
            reach: Reach::Sent,
            error: Error::new(ErrorKind::Unavailable, format!("{endpoint} ended the call: {other}")),
        },
    }
}

fn of_status(endpoint: &str, status: Status) -> Failed {
    let code = status.code();
    // The connector's own word, where it had one.
    if let Some(error) = within::<Error>(&status) {
        return Failed { reach: Reach::NotSent, error: error.clone() };
    }
    if let Some(error) = within::<tonic::ConnectError>(&status) {
        let error = unreachable(endpoint, &causes(error)).caused_by(status);
        return Failed { reach: Reach::NotSent, error };
    }
    if std::error::Error::source(&status).is_some() {
        // The member did not say it: its connection broke, and which code that is given says nothing.
        return Failed {
            reach: Reach::Sent,
            error: Error::new(
                ErrorKind::Unavailable,
                format!("the connection to etcd at {endpoint} broke: {}", causes(&status)),
            )
            .with(norikv_core::FieldName::Address, endpoint)
            .caused_by(status),
        };
    }
    let text = format!("etcd at {endpoint}: {}", status.message());
    let (kind, reach) = match code {
        Code::InvalidArgument | Code::FailedPrecondition => (ErrorKind::InvalidArgument, Reach::Refused),
        Code::NotFound => (ErrorKind::NotFound, Reach::Refused),
        // Also what our own end says of a reply that is too large, which a member says nothing of.
        Code::OutOfRange => (ErrorKind::Compacted, Reach::Refused),
        Code::ResourceExhausted => (ErrorKind::ResourceExhausted, Reach::Refused),
        Code::Unauthenticated => (ErrorKind::Unauthenticated, Reach::Refused),
        Code::PermissionDenied => (ErrorKind::PermissionDenied, Reach::Refused),
        Code::Unimplemented => (ErrorKind::Unsupported, Reach::Refused),
        Code::DataLoss => (ErrorKind::Corruption, Reach::Sent),
        Code::DeadlineExceeded | Code::Cancelled | Code::Unavailable | Code::Unknown | Code::Aborted => {
            (ErrorKind::Unavailable, Reach::Sent)
        }
        _ => (ErrorKind::Internal, Reach::Sent),
    };
    Failed { reach, error: Error::new(kind, text).caused_by(status) }
}

/// What of a kind a status was made of.
fn within<E: std::error::Error + 'static>(status: &Status) -> Option<&E> {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Everything that an error says, outermost first.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = error.source();
    }
    text
}
