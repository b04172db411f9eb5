//! gRPC over HTTP/2 and TCP, for everything that has sockets.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{Either, Shared, select},
};
use h2::{
    Ping, Reason, RecvStream,
    client::{Builder, Connection, SendRequest},
};
use http::{
    HeaderMap, HeaderValue, Method, Request, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use norikv_core::{Error, ErrorKind, FieldName, NodeAddress, Result};
use norikv_proto::ext;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::{sleep, timeout},
};

use crate::{
    Settings,
    grpc::{self, Broken, Frame, Frames},
    transport::{Failed, Link, MessageStream, Transport},
};

/// Calls under way on one connection. Servers commonly take 100 to 1,000 streams, and fail in worse ways than
/// by making the next one wait.
const MAX_STREAMS: usize = 200;
/// How long a connection may be silent before it is asked whether it lives, and how long it has to say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a server may send before it is read: one stream's large answer must not stop the others.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// HTTP/2 over TCP, on tokio. Its calls must be polled inside a tokio runtime.
#[derive(Debug)]
pub struct Http2Transport {
    shared: Arc<Common>,
}

/// What all links of a transport share.
#[derive(Debug)]
struct Common {
    connect_timeout: Duration,
    max_connections: usize,
    authorization: Option<HeaderValue>,
    /// True once the transport closes. Every task holds a receiver, so that close can wait for the last.
    closing: watch::Sender<bool>,
}

impl Http2Transport {
    /// A transport with the connection settings of `settings`.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        // `Settings::check` refuses a token that no header can carry.
        let authorization = settings.token.as_ref().and_then(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            shared: Arc::new(Common {
                connect_timeout: settings.connect_timeout,
                max_connections: settings.max_connections_per_node.max(1),
                authorization,
                closing: watch::Sender::new(false),
            }),
        }
    }
}

impl Transport for Http2Transport {
    type Link = Http2Link;

    fn link(&self, address: &NodeAddress) -> Result<Http2Link> {
        if address.tls() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "https://{address} asks for TLS, which this build does not have; use http://{address}"
                ),
            )
            .with(FieldName::Address, address.to_string().as_str()));
        }
        let authority = Authority::try_from(address.to_string())
            .map_err(|error| Error::invalid_argument(format!("{address} is no address: {error}")))?;
        Ok(Http2Link {
            node: Arc::new(Node {
                shared: Arc::clone(&self.shared),
                address: address.clone(),
                authority,
                slots: (0..self.shared.max_connections).map(|_| Mutex::default()).collect(),
                next: AtomicUsize::new(0),
                generation: AtomicU64::new(0),
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
        // A connection without calls ends once nothing can begin a call on it.
        for slot in &self.node.slots {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Slot::Idle;
        }
    }
}

#[derive(Debug)]
struct Node {
    shared: Arc<Common>,
    address: NodeAddress,
    authority: Authority,
    slots: Box<[Mutex<Slot>]>,
    next: AtomicUsize,
    generation: AtomicU64,
    open: AtomicUsize,
}

/// The place of one connection.
#[derive(Debug, Default)]
enum Slot {
    #[default]
    Idle,
    /// Everyone who needs the connection waits for the one attempt that is under way.
    Connecting(u64, Connecting),
    Open(Channel),
}

type Connecting = Shared<oneshot::Receiver<Result<Channel>>>;

#[derive(Clone)]
struct Channel {
    requests: SendRequest<Bytes>,
    alive: Arc<AtomicBool>,
    streams: Arc<Semaphore>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("alive", &self.alive).finish_non_exhaustive()
    }
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
        let node = &self.node;
        let request = node.request(method, timeout).map_err(Failed::NotSent)?;
        let mut reconnected = false;
        let (response, permit) = loop {
            let channel = node.channel().await.map_err(Failed::NotSent)?;
            let started = start(&channel, &request, &message).await;
            match started {
                Ok(started) => break started,
                // The connection ended while it was idle; the request has not left.
                Err(error) => {
                    channel.alive.store(false, Ordering::Release);
                    if std::mem::replace(&mut reconnected, true) {
                        return Err(Failed::NotSent(node.unreachable(&error)));
                    }
                }
            }
        };
        let response = response.await.map_err(|error| node.failed(&error))?;
        let (head, body) = response.into_parts();
        match grpc::status(&head.headers) {
            Some(Err(failure)) => return Err(node.answered(failure)),
            None if !head.status.is_success() => {
                return Err(node.answered(grpc::http_failure(head.status)));
            }
            _ => {}
        }
        Ok(Answers { node: Arc::clone(node), body, frames: Frames::default(), ended: false, _permit: permit })
    }

    fn generation(&self) -> u64 {
        self.node.generation.load(Ordering::Acquire)
    }

    fn connections(&self) -> usize {
        self.node.open.load(Ordering::Acquire)
    }
}

/// Sends a request. An error means that it did not leave.
async fn start(
    channel: &Channel,
    request: &Request<()>,
    message: &Bytes,
) -> Result<(h2::client::ResponseFuture, OwnedSemaphorePermit), h2::Error> {
    let permit = Arc::clone(&channel.streams)
        .acquire_owned()
        .await
        .map_err(|_| h2::Error::from(Reason::REFUSED_STREAM))?;
    let mut requests = channel.requests.clone().ready().await?;
    let (response, mut body) = requests.send_request(request.clone(), false)?;
    body.send_data(grpc::frame(message), true)?;
    Ok((response, permit))
}

impl Node {
    fn request(&self, method: &'static str, timeout: Option<Duration>) -> Result<Request<()>> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
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

    /// A connection: one that is open, or the one that is being made, or a new one.
    async fn channel(self: &Arc<Self>) -> Result<Channel> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let (id, connecting) = {
            let mut slot = self.slots[at].lock().unwrap_or_else(PoisonError::into_inner);
            match &*slot {
                Slot::Open(channel) if channel.alive.load(Ordering::Acquire) => return Ok(channel.clone()),
                Slot::Connecting(id, connecting) => (*id, connecting.clone()),
                _ => {
                    let id = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
                    let (done, connecting) = oneshot::channel();
                    let connecting = connecting.shared();
                    tokio::spawn(Arc::clone(self).run(done));
                    *slot = Slot::Connecting(id, connecting.clone());
                    (id, connecting)
                }
            }
        };
        let made = connecting.await.unwrap_or_else(|_| Err(Error::closed("the connection")));
        let mut slot = self.slots[at].lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*slot, Slot::Connecting(under_way, _) if *under_way == id) {
            *slot = made.as_ref().map_or(Slot::Idle, |channel| Slot::Open(channel.clone()));
        }
        made
    }

    /// Makes a connection, tells, and keeps it going until it ends or the transport closes.
    async fn run(self: Arc<Self>, done: oneshot::Sender<Result<Channel>>) {
        let mut closing = self.shared.closing.subscribe();
        let closed = pin!(closing.wait_for(|closing| *closing));
        let work = pin!(async {
            let (channel, connection) = match self.connect().await {
                Ok(made) => made,
                Err(error) => {
                    let _ = done.send(Err(error));
                    return;
                }
            };
            let alive = Alive::new(&self, &channel);
            let _ = done.send(Ok(channel));
            keep_alive(connection).await;
            drop(alive);
        });
        select(closed, work).await;
    }

    async fn connect(&self) -> Result<(Channel, Connection<TcpStream, Bytes>)> {
        let host = self.address.host().trim_start_matches('[').trim_end_matches(']');
        let limit = self.shared.connect_timeout;
        let connect = async {
            let stream = TcpStream::connect((host, self.address.port()))
                .await
                .map_err(|error| self.unreachable(&error))?;
            // A batch is one write; waiting for more to send only delays it.
            stream.set_nodelay(true).map_err(|error| self.unreachable(&error))?;
            let (requests, connection) = Builder::new()
                .enable_push(false)
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buffer_size(CONNECTION_WINDOW as usize)
                .handshake(stream)
                .await
                .map_err(|error| self.unreachable(&error))?;
            let channel = Channel {
                requests,
                alive: Arc::new(AtomicBool::new(true)),
                streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            };
            Ok((channel, connection))
        };
        timeout(limit, connect).await.unwrap_or_else(|_| {
            Err(self.unreachable(&format_args!("no connection within {} ms", limit.as_millis())))
        })
    }

    fn with_address(&self, error: Error) -> Error {
        error.with(FieldName::Address, self.address.to_string().as_str())
    }

    fn unreachable(&self, why: &dyn fmt::Display) -> Error {
        self.with_address(Error::new(
            ErrorKind::Connection,
            format!(
                "no connection to {}: {why}; see whether the server runs and listens there",
                self.address
            ),
        ))
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
            Broken::TooLarge(bytes) => Failed::TooLarge(self.with_address(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "the answer of {} has {bytes} bytes, and at most {} are taken; ask for less at once: fewer keys, or a smaller limit",
                    self.address,
                    grpc::MAX_MESSAGE_BYTES
                ),
            ))),
        }
    }

    fn answered(&self, mut failure: ext::Failure) -> Failed {
        failure
            .metadata
            .entry(FieldName::Address.as_str().to_owned())
            .or_insert_with(|| self.address.to_string());
        Failed::Answered(failure)
    }
}

/// Counts a connection while it lives.
struct Alive<'a> {
    node: &'a Node,
    alive: Arc<AtomicBool>,
}

impl<'a> Alive<'a> {
    fn new(node: &'a Node, channel: &Channel) -> Self {
        node.open.fetch_add(1, Ordering::AcqRel);
        Self { node, alive: Arc::clone(&channel.alive) }
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Release);
        self.node.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs a connection until it ends, or no longer answers a ping: a peer that vanished sends nothing.
async fn keep_alive(mut connection: Connection<TcpStream, Bytes>) {
    let pings = connection.ping_pong();
    let silent = pin!(async {
        let Some(mut pings) = pings else { return std::future::pending().await };
        loop {
            sleep(KEEPALIVE_INTERVAL).await;
            if !matches!(timeout(KEEPALIVE_TIMEOUT, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
                return;
            }
        }
    });
    match select(pin!(connection), silent).await {
        // Either way the connection is over; its calls learn why from it.
        Either::Left(_) | Either::Right(_) => {}
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
                    match trailers.as_ref().and_then(grpc::status) {
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
