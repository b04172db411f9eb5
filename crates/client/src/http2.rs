//! gRPC over HTTP/2 and TCP, for everything that has sockets.

use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{
    HeaderMap, HeaderValue, Method, Request, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use norikv_core::{Error, ErrorKind, FieldName, NodeAddress, Result};
use norikv_proto::ext;
use norikv_tls::{Connector, Fault, Sense};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::sleep,
};

use crate::{
    Settings,
    grpc::{self, Broken, Frame, Frames},
    pool::{Channel, MAX_LASTING, Pool, Use},
    transport::{Failed, Link, MessageStream, Transport},
};

/// HTTP/2 over TCP, on tokio. Its calls must be polled inside a tokio runtime.
#[derive(Debug)]
pub struct Http2Transport {
    shared: Arc<Common>,
}

/// What all links of a transport share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) connect_timeout: Duration,
    max_connections: usize,
    authorization: Option<HeaderValue>,
    /// What TLS is spoken with, where it is.
    pub(crate) tls: Option<Connector>,
    /// True once the transport closes. Every task holds a receiver, so that close can wait for the last.
    pub(crate) closing: watch::Sender<bool>,
}

impl Http2Transport {
    /// A transport with the connection settings of `settings`.
    ///
    /// # Errors
    /// `InvalidArgument` for certificates that cannot be used, and for servers of which only some speak TLS.
    pub fn new(settings: &Settings) -> Result<Self> {
        let tls = match settings.speaks_tls()? {
            true => Some(settings.tls.clone().unwrap_or_default().connector()?),
            false => None,
        };
        // `Settings::check` refuses a token that no header can carry.
        let authorization = settings.token.as_ref().and_then(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Ok(Self {
            shared: Arc::new(Common {
                connect_timeout: settings.connect_timeout,
                max_connections: settings.max_connections_per_node.max(1),
                authorization,
                tls,
                closing: watch::Sender::new(false),
            }),
        })
    }
}

impl Transport for Http2Transport {
    type Link = Http2Link;

    fn link(&self, address: &NodeAddress) -> Result<Http2Link> {
        if address.tls() && self.shared.tls.is_none() {
            return Err(Error::invalid_argument(format!(
                "https://{address} asks for TLS, and the settings of this client name no server with https://"
            )));
        }
        let authority = Authority::try_from(address.to_string())
            .map_err(|error| Error::invalid_argument(format!("{address} is no address: {error}")))?;
        Ok(Http2Link {
            node: Arc::new(Node {
                shared: Arc::clone(&self.shared),
                address: address.clone(),
                authority,
                calls: Pool::new(Use::Calls, self.shared.max_connections),
                lasting: Pool::new(Use::Lasting, MAX_LASTING),
                open: AtomicUsize::new(0),
            }),
        })
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        sleep(duration)
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }

    async fn close(&self) {
        self.shared.closing.send_replace(true);
        self.shared.closing.closed().await;
    }
}

/// The connections to one node. They end when it is dropped.
#[derive(Debug)]
pub struct Http2Link {
    node: Arc<Node>,
}

impl Drop for Http2Link {
    fn drop(&mut self) {
        self.node.calls.let_go();
        self.node.lasting.let_go();
    }
}

/// A server, and the ways to it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) shared: Arc<Common>,
    pub(crate) address: NodeAddress,
    authority: Authority,
    pub(crate) calls: Pool,
    /// Streams that last have connections of their own, so that they take no call's place.
    pub(crate) lasting: Pool,
    /// How many connections are open.
    pub(crate) open: AtomicUsize,
}

impl Link for Http2Link {
    type Stream = Answers;

    async fn unary(
        &self,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Bytes, Failed> {
        let mut answers = self.stream(method, message, timeout).await?;
        let first = poll_fn(|cx| answers.poll_next(cx)).await?;
        // The status comes after the message; an answer without one is not an answer.
        while poll_fn(|cx| answers.poll_next(cx)).await?.is_some() {}
        first.ok_or_else(|| Failed::Lost(answers.node.lost("it ended the call without an answer")))
    }

    async fn stream(
        &self,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Answers, Failed> {
        self.node.stream(&self.node.calls, method, message, timeout).await
    }

    async fn lasting(&self, method: &'static str, message: Bytes) -> Result<Answers, Failed> {
        self.node.stream(&self.node.lasting, method, message, None).await
    }

    fn generation(&self) -> u64 {
        self.node.calls.made()
    }

    fn connections(&self) -> usize {
        self.node.open.load(Ordering::Acquire)
    }
}

/// Sends a request, and tells whether its message left, too. An error means that nothing did.
async fn start(
    channel: &Channel,
    request: &Request<()>,
    message: &Bytes,
) -> Result<(h2::client::ResponseFuture, bool), h2::Error> {
    let mut requests = channel.requests.clone().ready().await?;
    let (response, mut body) = requests.send_request(request.clone(), false)?;
    // A server may refuse a call by its head alone, so fast that the message finds the stream closed. That is an
    // answer, and no broken connection.
    let sent = body.send_data(grpc::frame(message), true).is_ok();
    Ok((response, sent))
}

/// Why a server that was told plain text did not take a call in: because TLS is spoken there. What it was told then is
/// no call to it.
fn misunderstood(sense: &Sense, error: &h2::Error) -> Option<Fault> {
    let told = error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::INADEQUATE_SECURITY);
    let fault = sense.fault().filter(|fault| **fault == Fault::SpeaksTls).cloned();
    fault.or_else(|| told.then_some(Fault::SpeaksTls))
}

impl Node {
    async fn stream(
        self: &Arc<Self>,
        pool: &Pool,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Answers, Failed> {
        let request = self.request(method, timeout).map_err(Failed::NotSent)?;
        let mut reconnected = false;
        let ((response, sent), permit, sense) = loop {
            let (channel, permit) = self.channel(pool).await.map_err(Failed::NotSent)?;
            match start(&channel, &request, &message).await {
                Ok(started) => break (started, permit, channel.sense),
                // The connection ended while it was idle; the request has not left.
                Err(error) => {
                    channel.alive.store(false, Ordering::Release);
                    if let Some(fault) = misunderstood(&channel.sense, &error) {
                        return Err(Failed::NotSent(self.faulty(fault)));
                    }
                    if std::mem::replace(&mut reconnected, true) {
                        return Err(Failed::NotSent(self.unreachable(&error)));
                    }
                }
            }
        };
        let response = response.await.map_err(|error| match misunderstood(&sense, &error) {
            Some(fault) => Failed::NotSent(self.faulty(fault)),
            None if sent => self.failed(&error),
            // Without its message a call cannot have been carried out.
            None => Failed::NotSent(self.unreachable(&error)),
        })?;
        let (head, body) = response.into_parts();
        match status(&head.headers) {
            Some(Err(failure)) => return Err(self.answered(failure)),
            None if !head.status.is_success() => {
                return Err(self.answered(grpc::http_failure(head.status.as_u16().into())));
            }
            _ => {}
        }
        Ok(Answers { node: Arc::clone(self), body, frames: Frames::default(), ended: false, _permit: permit })
    }

    fn request(&self, method: &'static str, timeout: Option<Duration>) -> Result<Request<()>> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if self.address.tls() { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static(method));
        let uri = Uri::from_parts(parts)
            .map_err(|error| Error::internal(format!("the path {method}")).caused_by(error))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers: &mut HeaderMap = request.headers_mut();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert(
            "user-agent",
            HeaderValue::from_static(concat!("norikv-rust/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(timeout) = timeout
            && let Ok(value) = HeaderValue::try_from(grpc::timeout_header(timeout))
        {
            headers.insert("grpc-timeout", value);
        }
        if let Some(authorization) = &self.shared.authorization {
            headers.insert("authorization", authorization.clone());
        }
        Ok(request)
    }

    pub(crate) fn with_address(&self, error: Error) -> Error {
        error.with(FieldName::Address, self.address.to_string().as_str())
    }

    pub(crate) fn unreachable(&self, why: &dyn fmt::Display) -> Error {
        self.with_address(Error::new(
            ErrorKind::Connection,
            format!(
                "no connection to {}: {why}; see whether the server runs and listens there",
                self.address
            ),
        ))
    }

    /// The error of a server that TLS does not come about with, or that does not speak it.
    pub(crate) fn faulty(&self, fault: Fault) -> Error {
        self.with_address(Error::new(
            ErrorKind::Connection,
            format!("no connection to {}: {fault}", self.address),
        ))
        .caused_by(fault)
    }

    fn lost(&self, why: impl fmt::Display) -> Error {
        self.with_address(Error::new(
            ErrorKind::Unavailable,
            format!("the connection to {} was lost before the answer: {why}", self.address),
        ))
    }

    fn failed(&self, error: &h2::Error) -> Failed {
        if error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
            // HTTP/2's own word for "not begun".
            return Failed::NotSent(self.unreachable(error));
        }
        Failed::Lost(self.lost(error))
    }

    fn broken(&self, broken: &Broken) -> Failed {
        match broken {
            Broken::Wrong(why) => Failed::Lost(self.lost(why)),
            Broken::TooLarge(bytes) => Failed::TooLarge(grpc::too_large(&self.address, *bytes)),
        }
    }

    fn answered(&self, failure: ext::Failure) -> Failed {
        grpc::answered(failure, &self.address)
    }
}

/// The answers of a call, as HTTP/2 data.
pub struct Answers {
    node: Arc<Node>,
    body: RecvStream,
    frames: Frames,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("node", &self.node.address).finish_non_exhaustive()
    }
}

impl MessageStream for Answers {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failed>> {
        loop {
            match self.frames.pull() {
                Ok(Some(Frame::Message(message))) => return Poll::Ready(Ok(Some(message))),
                Ok(None) => {}
                Ok(Some(Frame::Trailers(_))) => {
                    return Poll::Ready(Err(Failed::Lost(self.node.lost("it answered in gRPC-Web"))));
                }
                Err(broken) => return Poll::Ready(Err(self.node.broken(&broken))),
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) => {
                    // What is read makes room; an error here shows again at the next read.
                    let _ = self.body.flow_control().release_capacity(data.len());
                    self.frames.push(data);
                }
                Some(Err(error)) => return Poll::Ready(Err(self.node.failed(&error))),
                None => {
                    let trailers =
                        ready!(self.body.poll_trailers(cx)).map_err(|error| self.node.failed(&error))?;
                    self.ended = true;
                    match trailers.as_ref().and_then(status) {
                        Some(Ok(())) if self.frames.is_empty() => {}
                        Some(Err(failure)) => return Poll::Ready(Err(self.node.answered(failure))),
                        _ => {
                            return Poll::Ready(Err(Failed::Lost(self.node.lost("the answer broke off"))));
                        }
                    }
                }
            }
        }
    }
}

/// The status that headers or trailers carry.
fn status(headers: &HeaderMap) -> Option<std::result::Result<(), ext::Failure>> {
    grpc::status(&|name| headers.get(name).map(HeaderValue::as_bytes))
}
