//! [`RemoteStore`]: a NoriKV server or cluster as a [`norikv_core::Store`].
//!
//! Routing, order, batches, retries and errors are here, over a narrow [`Transport`]. With the feature `http2`
//! (on by default) there is one over HTTP/2 and TCP, [`Http2Transport`]; without it, the crate has no socket and
//! no timer and builds for `wasm32-unknown-unknown`, where `fetch` takes its place.

mod alone;
mod attempts;
mod batch;
mod calls;
mod conflict;
mod core;
#[cfg(target_family = "wasm")]
mod fetch;
pub mod grpc;
#[cfg(feature = "http2")]
mod http2;
mod lease;
mod node;
mod order;
mod place;
#[cfg(feature = "http2")]
mod pool;
mod remote;
mod router;
mod settings;
#[cfg(target_family = "wasm")]
mod streams;
mod topology;
mod transport;
mod txn;
mod vector;
mod watch;

#[cfg(target_family = "wasm")]
pub use fetch::{Answers as FetchAnswers, FetchLink, FetchTransport, Fetched, Node as FetchNode, sleep};
#[cfg(feature = "http2")]
pub use http2::{Answers, Http2Link, Http2Transport};
pub use remote::RemoteStore;
pub use settings::{BatchLimits, Settings};
#[cfg(target_family = "wasm")]
pub use streams::SharedStream;
pub use transport::{Failed, Link, MessageStream, Transport};

#[cfg(feature = "http2")]
impl RemoteStore<Http2Transport> {
    /// A store reached over HTTP/2 and TCP. Does no I/O; its calls must be polled inside a tokio runtime.
    ///
    /// # Errors
    /// `InvalidArgument` for settings that cannot be, among them certificates.
    pub fn http2(settings: Settings) -> norikv_core::Result<Self> {
        settings.check()?;
        let transport = Http2Transport::new(&settings)?;
        Self::new(settings, transport)
    }
}

#[cfg(target_family = "wasm")]
impl RemoteStore<FetchTransport> {
    /// A store reached with `fetch`, as browsers have it. Does no I/O.
    ///
    /// # Errors
    /// `InvalidArgument` for settings that cannot be.
    pub fn fetch(settings: Settings) -> norikv_core::Result<Self> {
        let transport = FetchTransport::new(&settings);
        Self::new(settings, transport)
    }
}
