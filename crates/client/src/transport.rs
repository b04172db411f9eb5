use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use norikv_core::{Error, ErrorKind, MaybeSend, MaybeSync, NodeAddress, Result};
use norikv_proto::{ext, failure_to_error};

/// What [`RemoteStore`](crate::RemoteStore) needs of the world: links to nodes, a timer, and a place to run
/// what goes on beside the calls. A socket stands behind it in a process, `fetch` in a browser.
pub trait Transport: MaybeSend + MaybeSync + 'static {
    /// The way to one node.
    type Link: Link;

    /// Whether connections are so few that none is held by a stream that may never say anything.
    const SCARCE: bool = false;

    /// The way to a node. Does no I/O: the first call over it connects.
    ///
    /// # Errors
    /// `Unsupported` for an address that this transport cannot reach whatever happens.
    fn link(&self, address: &NodeAddress) -> Result<Self::Link>;

    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + MaybeSend + 'static;

    /// Runs a future to its end beside the caller.
    fn spawn(&self, future: impl Future<Output = ()> + MaybeSend + 'static);

    /// Ends every connection and every call over one. Afterwards nothing of the transport runs.
    fn close(&self) -> impl Future<Output = ()> + MaybeSend;
}

/// The way to one node: carries encoded messages. It connects when it is used and connects again when the
/// connection is lost. Dropping what it returned cancels the call.
pub trait Link: MaybeSend + MaybeSync + 'static {
    /// The answers of a server-streaming call.
    type Stream: MessageStream;

    /// One message there, one back. `method` is a path, `/package.Service/Method`.
    fn unary(
        &self,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<Bytes, Failed>> + MaybeSend;

    /// One message there, a stream back.
    fn stream(
        &self,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<Self::Stream, Failed>> + MaybeSend;

    /// The same for a stream that goes on without an end: it must not take the place of a call, and holds the
    /// server back when it is not read.
    fn lasting(
        &self,
        method: &'static str,
        message: Bytes,
    ) -> impl Future<Output = Result<Self::Stream, Failed>> + MaybeSend {
        self.stream(method, message, None)
    }

    /// How many connections for calls were made so far: what was learnt of the node is good for one of them.
    fn generation(&self) -> u64;

    /// How many connections are open.
    fn connections(&self) -> usize;
}

/// The answers of a server-streaming call. Dropping it cancels the call.
pub trait MessageStream: MaybeSend + Unpin + 'static {
    /// The next message; `None` at the end of a stream that ended well.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failed>>;
}

/// Why a call has no answer, told apart by what the server may have done.
#[derive(Clone, Debug)]
pub enum Failed {
    /// The request never left this process; kind `Connection`.
    NotSent(Error),
    /// The request may have left, and no answer came.
    Lost(Error),
    /// The server answered with a status. Its `reason` is empty if it came without details.
    Answered(ext::Failure),
    /// The server answered more than is taken; kind `ResourceExhausted`. Asking again would bring the same.
    TooLarge(Error),
}

impl Failed {
    /// Whether the server says that it does not have the method. Our own servers refuse what their store
    /// lacks with a reason; a server without the method has none to give.
    pub(crate) fn is_unimplemented(&self) -> bool {
        matches!(self, Self::Answered(failure) if failure.code == 12 && failure.reason.is_empty())
    }

    /// The error for people.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::NotSent(error) | Self::Lost(error) | Self::TooLarge(error) => error,
            Self::Answered(failure) => failure_to_error(&failure),
        }
    }

    /// Whether asking the same node again can only bring the same, until somebody changes a certificate or a setting.
    pub(crate) fn lasts(&self) -> bool {
        #[cfg(feature = "http2")]
        if let Self::NotSent(error) = self {
            return std::error::Error::source(error)
                .is_some_and(<dyn std::error::Error>::is::<norikv_tls::Fault>);
        }
        false
    }

    /// How far the call came.
    pub(crate) fn reach(&self) -> Reach {
        match self {
            Self::NotSent(_) => Reach::NotSent,
            Self::Lost(_) | Self::TooLarge(_) => Reach::Lost,
            Self::Answered(failure) => {
                let unclear = matches!(
                    ErrorKind::from_code(&failure.reason),
                    Some(ErrorKind::DeadlineExceeded | ErrorKind::Cancelled | ErrorKind::Internal)
                ) || failure.metadata.contains_key("outcome")
                    // Bare CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, ABORTED, INTERNAL, UNAVAILABLE: a proxy or
                    // a server without details may send them after the write was done.
                    || (failure.reason.is_empty() && matches!(failure.code, 1 | 2 | 4 | 10 | 13 | 14)
                        && !failure.message.starts_with("NOT_LEADER"));
                if unclear { Reach::Unclear } else { Reach::Answered }
            }
        }
    }
}

/// How far a failed call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Not out of this process.
    NotSent,
    /// Perhaps to the server; no answer.
    Lost,
    /// To the server, whose answer leaves open what it did.
    Unclear,
    /// To the server, which refused it.
    Answered,
}
