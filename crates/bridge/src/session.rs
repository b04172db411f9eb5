use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, future};
use norikv_core::{
    ClusterView, Consistency, Entry, LeaseId, MaybeSend, MaybeSync, Meter, Namespaced, Result, Stats, Store,
    StoreRef,
};
use tokio::sync::mpsc;

use crate::{driver::Driver, frame::Writer, lease::Leases, reply};

#[cfg(not(target_family = "wasm"))]
pub(crate) type BoxFuture<T> = futures_util::future::BoxFuture<'static, T>;
#[cfg(target_family = "wasm")]
pub(crate) type BoxFuture<T> = futures_util::future::LocalBoxFuture<'static, T>;

/// A store that is being opened.
pub type OpenStore = BoxFuture<Result<StoreRef>>;
/// A time that is being waited for.
pub type Sleep = BoxFuture<()>;
/// Takes a frame of replies to JavaScript.
#[cfg(not(target_family = "wasm"))]
pub type Deliver = Box<dyn FnMut(BytesMut) + Send>;
/// Takes a frame of replies to JavaScript.
#[cfg(target_family = "wasm")]
pub type Deliver = Box<dyn FnMut(BytesMut)>;

/// What a binding lends a session: how to open its store, and a timer.
pub trait Environment: MaybeSend + MaybeSync + 'static {
    /// Opens the store that the client was configured for. Called again if it failed.
    fn open(&self) -> OpenStore;
    /// Waits.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// One client of JavaScript: takes frames of calls, and delivers frames of replies.
pub struct Session {
    shared: Arc<Shared>,
    inbox: mpsc::UnboundedSender<Bytes>,
}

/// What a session and its driver share.
pub(crate) struct Shared {
    pub(crate) environment: Box<dyn Environment>,
    pub(crate) timeout: Duration,
    pub(crate) meter: Meter,
    /// The leases that are kept alive.
    pub(crate) leases: Leases,
    store: OnceLock<StoreRef>,
    /// The opening of the store, begun by the first call that needs it. It belongs to no call: one that is
    /// cancelled leaves it to the next, since a store that is half open cannot be opened again.
    opening: Mutex<Option<Opening>>,
}

type Opening = future::Shared<OpenStore>;

impl Shared {
    fn opening(&self) -> MutexGuard<'_, Option<Opening>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new(environment: Box<dyn Environment>, timeout: Duration) -> Result<Self> {
        Ok(Self {
            environment,
            timeout,
            meter: Meter::new()?,
            leases: Leases::default(),
            store: OnceLock::new(),
            opening: Mutex::default(),
        })
    }

    /// The part of the store under a prefix; the whole store, if that is empty.
    pub(crate) async fn part(&self, prefix: Bytes) -> Result<StoreRef> {
        let store = self.store().await?;
        Ok(if prefix.is_empty() { store } else { Arc::new(Namespaced::new(store, prefix)?) })
    }

    /// The store, opened by the first call that needs it.
    pub(crate) async fn store(&self) -> Result<StoreRef> {
        if let Some(store) = self.store.get() {
            return Ok(store.clone());
        }
        let opening = self
            .opening()
            .get_or_insert_with(|| {
                let open = self.environment.open();
                open.shared()
            })
            .clone();
        let result = opening.clone().await;
        match &result {
            Ok(store) => drop(self.store.set(store.clone())),
            // The next call tries again.
            Err(_) => drop(self.opening().take_if(|current| current.ptr_eq(&opening))),
        }
        result
    }

    /// Closes the store, if it was opened or is being opened.
    pub(crate) async fn close(&self) -> Result<()> {
        let opening = self.opening().clone();
        match opening {
            Some(opening) => match opening.await {
                Ok(store) => store.close().await,
                Err(_) => Ok(()),
            },
            None => Ok(()),
        }
    }
}

impl Session {
    /// A session, and the future that does its work; it ends when the session was closed or dropped.
    ///
    /// The frames that JavaScript sends wait unbounded: each stands for promises that the caller made and
    /// holds anyway. What the store takes on at a time, it bounds.
    pub fn new(
        environment: Box<dyn Environment>,
        timeout: Duration,
        deliver: Deliver,
    ) -> Result<(Self, impl Future<Output = ()> + use<>)> {
        let shared = Arc::new(Shared::new(environment, timeout)?);
        let (inbox, frames) = mpsc::unbounded_channel();
        let mut driver = Driver::new(shared.clone(), frames, deliver);
        Ok((Self { shared, inbox }, poll_fn(move |cx| driver.poll(cx))))
    }

    /// Takes a frame of calls.
    pub fn submit(&self, frame: Bytes) {
        // A driver that has ended has failed every call; JavaScript makes none after `close`.
        let _ = self.inbox.send(frame);
    }

    /// Reads a key at once, if the store can: `None` if it cannot, or is not open yet.
    #[must_use]
    pub fn get_now(
        &self,
        prefix: &[u8],
        key: &[u8],
        consistency: Consistency,
    ) -> Option<Result<Option<Entry>>> {
        let store = self.shared.store.get()?;
        self.shared.meter.timed_now(|| {
            if prefix.is_empty() {
                return store.get_now(key, consistency);
            }
            match Namespaced::new(store.clone(), Bytes::copy_from_slice(prefix)) {
                Ok(part) => part.get_now(key, consistency),
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// How long a lease that the client holds has left without a keep-alive: nothing if it is lost, `None` if the
    /// client does not hold it. Asked in the call itself: a process that stood still finds out here first.
    #[must_use]
    pub fn lease_left(&self, id: LeaseId) -> Option<Duration> {
        self.shared.leases.left(id)
    }

    /// What the client counted of its own work.
    #[must_use]
    pub fn stats(&self) -> BytesMut {
        let stats = self.shared.store.get().map(|store| store.stats()).unwrap_or_default();
        let mut out = Writer::default();
        reply::write_stats(&mut out, &Stats { requests: self.shared.meter.stats(), ..stats });
        out.0
    }

    /// The cluster's view, if there is a cluster and its view is known.
    #[must_use]
    pub fn cluster_view(&self) -> Option<BytesMut> {
        let views = self.shared.store.get()?.cluster()?;
        let view = views.borrow();
        if *view == ClusterView::default() {
            return None;
        }
        let mut out = Writer::default();
        reply::write_cluster_view(&mut out, &view);
        Some(out.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use norikv_core::ErrorKind;
    use norikv_embedded::{EmbeddedStore, Settings};
    use tokio::sync::Notify;

    use crate::frame::{Reader, Writer};

    /// A store in memory that takes its time to open until it is let.
    struct Memory(Arc<Notify>, Arc<AtomicUsize>);

    impl Environment for Memory {
        fn open(&self) -> OpenStore {
            let gate = self.0.clone();
            self.1.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                gate.notified().await;
                gate.notify_one();
                Ok(Arc::new(EmbeddedStore::memory(Settings::default())?) as StoreRef)
            })
        }

        fn sleep(&self, duration: Duration) -> Sleep {
            Box::pin(tokio::time::sleep(duration))
        }
    }

    struct Fixture {
        session: Session,
        open: Arc<Notify>,
        openings: Arc<AtomicUsize>,
        replies: Arc<Mutex<BytesMut>>,
        delivered: Arc<Notify>,
    }

    impl Fixture {
        fn new() -> Self {
            let open = Arc::new(Notify::new());
            let openings = Arc::new(AtomicUsize::new(0));
            let replies = Arc::new(Mutex::new(BytesMut::new()));
            let delivered = Arc::new(Notify::new());
            let (into, wake) = (replies.clone(), delivered.clone());
            let (session, driver) = Session::new(
                Box::new(Memory(open.clone(), openings.clone())),
                Duration::from_secs(60),
                Box::new(move |frame| {
                    into.lock().unwrap().extend_from_slice(&frame);
                    wake.notify_one();
                }),
            )
            .unwrap();
            tokio::spawn(driver);
            Self { session, open, openings, replies, delivered }
        }

        async fn next(&self) -> Reader {
            loop {
                let frame = self.replies.lock().unwrap().split();
                if !frame.is_empty() {
                    return Reader::new(frame.freeze());
                }
                self.delivered.notified().await;
            }
        }
    }

    fn begin(out: &mut Writer, op: u8, id: u32, timeout: u32) {
        out.u8(op);
        out.u8(0);
        out.u32(id);
        out.u32(timeout);
    }

    fn put(out: &mut Writer, id: u32, timeout: u32) {
        begin(out, 2, id, timeout);
        out.u8(0);
        out.bytes(b"k");
        out.bytes(b"v");
    }

    fn send(session: &Session, out: Writer) {
        session.submit(out.0.freeze());
    }

    #[tokio::test]
    async fn calls_of_one_frame_are_answered_each_under_its_number() {
        let fixture = Fixture::new();
        fixture.open.notify_one();
        let mut out = Writer::default();
        put(&mut out, 7, 0);
        begin(&mut out, 1, 8, 0);
        out.u8(0);
        out.bytes(b"k");
        send(&fixture.session, out);
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let mut replies = fixture.next().await;
            while !replies.is_empty() {
                let (id, tag) = (replies.u32().unwrap(), replies.u8().unwrap());
                match tag {
                    reply::VERSION => assert_eq!(replies.version().unwrap().index, 2),
                    reply::ENTRY => {
                        // Flags, two versions and the generation come before the value.
                        replies.take(1 + 16 + 16 + 8).unwrap();
                        assert_eq!(replies.bytes().unwrap().as_ref(), b"v");
                    }
                    other => panic!("unexpected tag {other}"),
                }
                seen.push((id, tag));
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, [(7, reply::VERSION), (8, reply::ENTRY)]);
        let entry = fixture.session.get_now(b"", b"k", Consistency::Lease);
        assert_eq!(entry.unwrap().unwrap().unwrap().value.as_ref(), b"v");
        let part = fixture.session.get_now(b"ns:", b"k", Consistency::Lease);
        assert_eq!(part.unwrap().unwrap(), None);
    }

    #[tokio::test]
    async fn a_call_that_is_not_answered_in_its_time_fails_and_says_the_outcome_is_unknown() {
        let fixture = Fixture::new();
        let mut out = Writer::default();
        put(&mut out, 1, 5);
        send(&fixture.session, out);
        let mut replies = fixture.next().await;
        assert_eq!(replies.u32().unwrap(), 1);
        assert_eq!(replies.u8().unwrap(), reply::ERROR);
        assert_eq!(replies.u8().unwrap(), ErrorKind::DeadlineExceeded.number());
        let message = replies.text().unwrap();
        assert!(message.contains("5 ms"), "{message}");
    }

    #[tokio::test]
    async fn a_cancelled_call_is_answered_as_cancelled() {
        let fixture = Fixture::new();
        let mut out = Writer::default();
        put(&mut out, 1, 0);
        send(&fixture.session, out);
        let mut out = Writer::default();
        begin(&mut out, 12, 1, 0);
        send(&fixture.session, out);
        let mut replies = fixture.next().await;
        assert_eq!(replies.u32().unwrap(), 1);
        assert_eq!(replies.u8().unwrap(), reply::ERROR);
        assert_eq!(replies.u8().unwrap(), ErrorKind::Cancelled.number());
    }

    #[tokio::test]
    async fn an_opening_outlives_the_call_that_began_it_and_is_not_begun_twice() {
        let fixture = Fixture::new();
        let mut out = Writer::default();
        put(&mut out, 1, 5);
        send(&fixture.session, out);
        let mut replies = fixture.next().await;
        assert_eq!((replies.u32().unwrap(), replies.u8().unwrap()), (1, reply::ERROR));
        let mut out = Writer::default();
        put(&mut out, 2, 0);
        send(&fixture.session, out);
        fixture.open.notify_one();
        let mut replies = fixture.next().await;
        assert_eq!((replies.u32().unwrap(), replies.u8().unwrap()), (2, reply::VERSION));
        assert_eq!(fixture.openings.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn close_waits_for_an_opening_and_closes_what_it_opened() {
        let fixture = Fixture::new();
        let mut out = Writer::default();
        put(&mut out, 1, 0);
        send(&fixture.session, out);
        let mut out = Writer::default();
        begin(&mut out, 10, 2, 0);
        send(&fixture.session, out);
        tokio::task::yield_now().await;
        assert!(fixture.replies.lock().unwrap().is_empty());
        fixture.open.notify_one();
        let mut closed = false;
        while !closed {
            let mut replies = fixture.next().await;
            while !replies.is_empty() {
                match (replies.u32().unwrap(), replies.u8().unwrap()) {
                    (2, reply::DONE) => closed = true,
                    (1, reply::VERSION) => drop(replies.version().unwrap()),
                    // Closed before it was carried out; the rest of the frame is its error.
                    (1, reply::ERROR) => break,
                    other => panic!("unexpected reply {other:?}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn close_answers_every_call_that_is_left() {
        let fixture = Fixture::new();
        let mut out = Writer::default();
        begin(&mut out, 10, 2, 0);
        put(&mut out, 1, 0);
        send(&fixture.session, out);
        let mut replies = fixture.next().await;
        assert_eq!((replies.u32().unwrap(), replies.u8().unwrap()), (2, reply::DONE));
        assert_eq!((replies.u32().unwrap(), replies.u8().unwrap()), (1, reply::ERROR));
        assert_eq!(replies.u8().unwrap(), ErrorKind::Closed.number());
    }

    #[tokio::test]
    async fn a_frame_that_is_not_understood_fails_every_call_instead_of_leaving_one_without_an_answer() {
        let fixture = Fixture::new();
        let mut out = Writer::default();
        put(&mut out, 1, 0);
        out.u8(200);
        out.u8(0);
        out.u32(2);
        out.u32(0);
        put(&mut out, 3, 0);
        send(&fixture.session, out);
        let mut replies = fixture.next().await;
        assert_eq!((replies.u32().unwrap(), replies.u8().unwrap()), (reply::EVERY_CALL, reply::ERROR));
        assert_eq!(replies.u8().unwrap(), ErrorKind::Internal.number());
    }
}
