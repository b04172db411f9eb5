//! The descriptors of the process: connections take what others leave, and never all.
//!
//! The store behind the server needs some too, also for what it writes. One that cannot open a file may have to give
//! up writing for good, so a crowd of clients must not bring that about.

#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use tokio::net::{TcpListener, TcpStream};

/// The most descriptors that are kept for others; where the system gives few, it is half of them.
#[cfg(unix)]
const MOST_KEPT: u64 = 1_024;

/// Whether a new connection took a descriptor that is kept for others.
#[cfg(unix)]
pub(crate) fn are_scarce(stream: &TcpStream) -> bool {
    use rustix::process::{Resource, getrlimit};
    let Some(limit) = getrlimit(Resource::Nofile).current else { return false };
    // The system hands out the lowest number that is free: those below it are taken.
    let taken = u64::try_from(stream.as_raw_fd()).unwrap_or(0);
    taken >= limit - (limit / 2).min(MOST_KEPT)
}

/// Whether a new connection took a descriptor that is kept for others.
#[cfg(not(unix))]
pub(crate) fn are_scarce(_: &TcpStream) -> bool {
    false
}

/// A descriptor held back, to be given up for a moment when there is no other: so clients are refused, instead of
/// waiting in the system's queue for an answer that does not come.
pub(crate) struct Spare {
    #[cfg(unix)]
    descriptor: Option<OwnedFd>,
}

impl Spare {
    #[cfg(unix)]
    pub(crate) fn of(listener: &TcpListener) -> Self {
        Self { descriptor: listener.as_fd().try_clone_to_owned().ok() }
    }

    #[cfg(not(unix))]
    pub(crate) fn of(_: &TcpListener) -> Self {
        Self {}
    }

    /// Takes every connection that waits, to be refused, and answers how many there were.
    #[cfg(unix)]
    pub(crate) fn take_waiting(&mut self, listener: &TcpListener, refuse: impl Fn(TcpStream)) -> usize {
        use futures_util::FutureExt;
        let mut refused = 0;
        if self.descriptor.take().is_some() {
            while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
                refuse(stream);
                refused += 1;
            }
        }
        *self = Self::of(listener);
        refused
    }

    /// Takes every connection that waits, to be refused, and answers how many there were.
    #[cfg(not(unix))]
    pub(crate) fn take_waiting(&mut self, _: &TcpListener, _: impl Fn(TcpStream)) -> usize {
        0
    }
}
