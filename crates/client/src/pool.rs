//! The connections to a node: making them, keeping them, and finding one with a place for a further stream.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{Shared, select},
};
use h2::{
    Ping,
    client::{Builder, Connection, SendRequest},
};
use norikv_core::{Error, ErrorKind, Result};
use norikv_tls::{Sense, Unmade, Wire};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{sleep, timeout},
};

use crate::http2::Node;

/// Streams on one connection. Servers commonly take 100 to 1,000, and fail in worse ways than by making the next
/// one wait.
const MAX_STREAMS: u32 = 200;
/// Streams that are begun before the server has said how many it takes. One that lasts would keep those beyond
/// waiting for good.
const CAUTIOUS_STREAMS: usize = 100;
/// The most connections to one node for streams that last.
pub(crate) const MAX_LASTING: usize = 64;
/// How long a connection may be silent before it is asked whether it lives, and how long it has to say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a server may send before it is read: one stream's large answer must not stop the others.
const CALL_WINDOW: u32 = 4 * 1024 * 1024;
const CALLS_WINDOW: u32 = 16 * 1024 * 1024;
/// The same for streams that last. Who does not read one holds the server back soon, and no other stream, for
/// there is room for all of them.
const LASTING_WINDOW: u32 = 128 * 1024;
const ALL_LASTING_WINDOW: u32 = MAX_STREAMS * LASTING_WINDOW;

/// What connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Calls, which take turns where there are many.
    Calls,
    /// Streams that last. Each needs a place at once, so there are as many connections as it takes.
    Lasting,
}

/// The connections to a node for one use.
#[derive(Debug)]
pub(crate) struct Pool {
    of: Use,
    slots: Box<[Mutex<Slot>]>,
    next: AtomicUsize,
    /// How many connections were begun.
    made: AtomicU64,
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

/// A connection that is open.
#[derive(Clone)]
pub(crate) struct Channel {
    pub(crate) requests: SendRequest<Bytes>,
    pub(crate) alive: Arc<AtomicBool>,
    pub(crate) sense: Arc<Sense>,
    streams: Arc<Semaphore>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("alive", &self.alive).finish_non_exhaustive()
    }
}

impl Channel {
    /// A place for a stream that lasts.
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        let used = MAX_STREAMS as usize - self.streams.available_permits();
        if !self.alive.load(Ordering::Acquire) || used >= self.requests.current_max_send_streams() {
            return None;
        }
        Arc::clone(&self.streams).try_acquire_owned().ok()
    }
}

impl Pool {
    pub(crate) fn new(of: Use, most: usize) -> Self {
        let slots = (0..most).map(|_| Mutex::default()).collect();
        Self { of, slots, next: AtomicUsize::new(0), made: AtomicU64::new(0) }
    }

    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// A connection without streams ends once nothing can begin one on it.
    pub(crate) fn let_go(&self) {
        for at in 0..self.slots.len() {
            *self.slot(at) = Slot::Idle;
        }
    }

    fn slot(&self, at: usize) -> MutexGuard<'_, Slot> {
        self.slots[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on a connection that is open, or else where there may soon be one.
    fn find(&self) -> Result<(Channel, OwnedSemaphorePermit), Option<usize>> {
        let (mut coming, mut free) = (None, None);
        for at in 0..self.slots.len() {
            match &*self.slot(at) {
                Slot::Open(channel) if channel.alive.load(Ordering::Acquire) => {
                    if let Some(permit) = channel.place() {
                        return Ok((channel.clone(), permit));
                    }
                }
                Slot::Connecting(..) => coming = coming.or(Some(at)),
                _ => free = free.or(Some(at)),
            }
        }
        Err(coming.or(free))
    }
}

impl Node {
    /// A place for a stream on a connection.
    pub(crate) async fn channel(self: &Arc<Self>, pool: &Pool) -> Result<(Channel, OwnedSemaphorePermit)> {
        if pool.of == Use::Calls {
            let at = pool.next.fetch_add(1, Ordering::Relaxed) % pool.slots.len();
            let channel = self.connected(pool, at).await?;
            let permit = Arc::clone(&channel.streams).acquire_owned().await;
            return Ok((channel, permit.map_err(|error| self.unreachable(&error))?));
        }
        // Whoever waited for a connection may find it full, and then waits for the next.
        for _ in 0..pool.slots.len() {
            match pool.find() {
                Ok(found) => return Ok(found),
                Err(Some(at)) => drop(self.connected(pool, at).await?),
                Err(None) => break,
            }
        }
        let most = pool.slots.len();
        Err(self.with_address(Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "{most} connections to {} are full of watches; end some, or watch a larger range with one",
                self.address
            ),
        )))
    }

    /// The connection of a place: one that is open, or the one that is being made, or a new one.
    async fn connected(self: &Arc<Self>, pool: &Pool, at: usize) -> Result<Channel> {
        let (id, connecting) = {
            let mut slot = pool.slot(at);
            match &*slot {
                Slot::Open(channel) if channel.alive.load(Ordering::Acquire) => return Ok(channel.clone()),
                Slot::Connecting(id, connecting) => (*id, connecting.clone()),
                _ => {
                    let id = pool.made.fetch_add(1, Ordering::AcqRel) + 1;
                    let (done, connecting) = oneshot::channel();
                    let connecting = connecting.shared();
                    tokio::spawn(Arc::clone(self).run(pool.of, done));
                    *slot = Slot::Connecting(id, connecting.clone());
                    (id, connecting)
                }
            }
        };
        let made = connecting.await.unwrap_or_else(|_| Err(Error::closed("the connection")));
        let mut slot = pool.slot(at);
        if matches!(&*slot, Slot::Connecting(under_way, _) if *under_way == id) {
            *slot = made.as_ref().map_or(Slot::Idle, |channel| Slot::Open(channel.clone()));
        }
        made
    }

    /// Makes a connection, tells, and keeps it going until it ends or the transport closes.
    async fn run(self: Arc<Self>, of: Use, done: oneshot::Sender<Result<Channel>>) {
        let mut closing = self.shared.closing.subscribe();
        let closed = pin!(closing.wait_for(|closing| *closing));
        let work = pin!(async {
            let (channel, connection) = match self.connect(of).await {
                Ok(made) => made,
                Err(error) => {
                    let _ = done.send(Err(error));
                    return;
                }
            };
            let alive = Alive::new(&self, &channel);
            // Without a handle of its own to the connection, which would keep it open.
            let streams = (of == Use::Lasting).then(|| Arc::clone(&channel.streams));
            let _ = done.send(Ok(channel));
            keep_alive(connection, streams).await;
            drop(alive);
        });
        select(closed, work).await;
    }

    async fn connect(&self, of: Use) -> Result<(Channel, Connection<Wire, Bytes>)> {
        let limit = self.shared.connect_timeout;
        let (stream_window, window, begun) = match of {
            Use::Calls => (CALL_WINDOW, CALLS_WINDOW, usize::MAX),
            Use::Lasting => (LASTING_WINDOW, ALL_LASTING_WINDOW, CAUTIOUS_STREAMS),
        };
        let connect = async {
            let tls = self.shared.tls.as_ref().filter(|_| self.address.tls());
            let wire = Wire::connect(self.address.host(), self.address.port(), tls)
                .await
                .map_err(|unmade| self.unmade(unmade))?;
            let sense = wire.sense();
            let (requests, mut connection) = Builder::new()
                .enable_push(false)
                .initial_window_size(stream_window)
                .initial_connection_window_size(window)
                .initial_max_send_streams(begun)
                .max_send_buffer_size(CALLS_WINDOW as usize)
                .handshake(wire)
                .await
                .map_err(|error| self.ended(&sense, &error))?;
            if tls.is_some() {
                // Whether the server takes the client's certificate shows in its first word. No call leaves before.
                poll_fn(|cx| match connection.poll_unpin(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(self.ended(&sense, &error))),
                    Poll::Ready(Ok(())) => Poll::Ready(Err(self.ended(&sense, &"it was closed at once"))),
                    Poll::Pending if sense.heard() => Poll::Ready(Ok(())),
                    Poll::Pending => Poll::Pending,
                })
                .await?;
            }
            let channel = Channel {
                requests,
                sense,
                alive: Arc::new(AtomicBool::new(true)),
                streams: Arc::new(Semaphore::new(MAX_STREAMS as usize)),
            };
            Ok((channel, connection))
        };
        timeout(limit, connect).await.unwrap_or_else(|_| {
            Err(self.unreachable(&format_args!("no connection within {} ms", limit.as_millis())))
        })
    }
}

impl Node {
    fn unmade(&self, unmade: Unmade) -> Error {
        match unmade {
            Unmade::Io(error) => self.unreachable(&error),
            Unmade::Fault(fault) => self.faulty(fault),
            Unmade::Wrong(error) => error,
        }
    }

    /// The error of a connection that ended before it was used.
    fn ended(&self, sense: &Sense, why: &dyn fmt::Display) -> Error {
        sense.fault().map_or_else(|| self.unreachable(why), |fault| self.faulty(fault.clone()))
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

/// Runs a connection until it ends, or no longer answers a ping: a peer that vanished sends nothing. One for streams
/// that last ends when it has none.
async fn keep_alive(mut connection: Connection<Wire, Bytes>, streams: Option<Arc<Semaphore>>) {
    let pings = connection.ping_pong();
    let silent = pin!(async {
        let Some(mut pings) = pings else { return std::future::pending().await };
        loop {
            sleep(KEEPALIVE_INTERVAL).await;
            // All of its places: nothing is on it, and nothing can begin on it any more.
            let idle = streams.as_ref().and_then(|streams| streams.try_acquire_many(MAX_STREAMS).ok());
            if let Some(all) = idle {
                all.forget();
                return;
            }
            if !matches!(timeout(KEEPALIVE_TIMEOUT, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
                return;
            }
        }
    });
    // Either way the connection is over; its calls learn why from it.
    select(pin!(connection), silent).await;
}
