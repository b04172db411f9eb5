use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};
use norikv_core::{
    Call, ClusterView, Consistency, CountResult, DeleteRangeResult, DeleteResult, Entry, Error,
    ErrorKind, FieldName, MaybeSend, MaybeSync, Metered, Namespaced, Page, PutResult, Result,
    Status, Store, StoreRef,
};
use tokio::sync::{OnceCell, mpsc, watch};

use crate::{
    call::{Incoming, Operation},
    frame::{Reader, Writer},
    reply,
};

#[cfg(not(target_family = "wasm"))]
type BoxFuture<T> = futures_util::future::BoxFuture<'static, T>;
#[cfg(target_family = "wasm")]
type BoxFuture<T> = futures_util::future::LocalBoxFuture<'static, T>;

/// A store that is being opened.
pub type OpenStore = BoxFuture<Result<StoreRef>>;
/// A time that is being waited for.
pub type Sleep = BoxFuture<()>;
/// Takes a frame of replies to JavaScript.
pub type Deliver = Box<dyn FnMut(BytesMut) + Send>;

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

struct Shared {
    environment: Box<dyn Environment>,
    store: OnceCell<StoreRef>,
    timeout: Duration,
}

impl Shared {
    /// The store, opened by the first call that needs it.
    async fn store(&self) -> Result<&StoreRef> {
        self.store
            .get_or_try_init(|| async {
                let store = self.environment.open().await?;
                Ok(Arc::new(Metered::new(store)?) as StoreRef)
            })
            .await
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
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let shared = Arc::new(Shared {
            environment,
            store: OnceCell::new(),
            timeout,
        });
        let (inbox, frames) = mpsc::unbounded_channel();
        let mut driver = Driver::new(shared.clone(), frames, deliver);
        (Self { shared, inbox }, poll_fn(move |cx| driver.poll(cx)))
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
        if prefix.is_empty() {
            return store.get_now(key, consistency);
        }
        match Namespaced::new(store.clone(), Bytes::copy_from_slice(prefix)) {
            Ok(part) => part.get_now(key, consistency),
            Err(error) => Some(Err(error)),
        }
    }

    /// What the client counted of its own work, as JSON.
    #[must_use]
    pub fn stats(&self) -> String {
        let stats = self.shared.store.get().map(|store| store.stats());
        reply::stats_to_json(&stats.unwrap_or_default()).to_string()
    }

    /// The cluster's view as JSON, if there is a cluster and its view is known.
    #[must_use]
    pub fn cluster_view(&self) -> Option<String> {
        let views = self.shared.store.get()?.cluster()?;
        let view = views.borrow();
        (*view != ClusterView::default()).then(|| reply::cluster_to_json(&view).to_string())
    }
}

/// What a finished call has to say.
enum Reply {
    Done,
    MaybeEntry(Option<Entry>),
    Put(PutResult, bool),
    Delete(DeleteResult),
    Entries(Vec<Option<Entry>>),
    Page(Page),
    Count(CountResult),
    DeleteRange(DeleteRangeResult),
    Status(Box<Status>),
    /// A view, and where the next one comes from.
    Cluster(watch::Receiver<ClusterView>),
}

struct Finished {
    id: u32,
    /// `None` if the call was ended from outside.
    result: Option<Result<Reply>>,
}

/// Why a call is ended from outside.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Cancelled,
    TimedOut,
    Closed,
}

struct Running {
    handle: AbortHandle,
    end: Option<End>,
    call: Call,
    writes: bool,
}

/// Runs a session's calls, all in one task: no spawn, no timer and no crossing for each.
struct Driver {
    shared: Arc<Shared>,
    frames: mpsc::UnboundedReceiver<Bytes>,
    deliver: Deliver,
    calls: HashMap<u32, Running>,
    futures: FuturesUnordered<BoxFuture<Finished>>,
    deadlines: Deadlines,
    timer: Option<(web_time::Instant, Sleep)>,
    out: Writer,
    close: Option<u32>,
    closed: bool,
}

impl Driver {
    fn new(
        shared: Arc<Shared>,
        frames: mpsc::UnboundedReceiver<Bytes>,
        deliver: Deliver,
    ) -> Self {
        Self {
            shared,
            frames,
            deliver,
            calls: HashMap::new(),
            futures: FuturesUnordered::new(),
            deadlines: Deadlines::default(),
            timer: None,
            out: Writer::default(),
            close: None,
            closed: false,
        }
    }

    /// One turn: takes what JavaScript sent, moves every call that can move, and delivers what is finished.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut orphaned = false;
        loop {
            match self.frames.poll_recv(cx) {
                Poll::Ready(Some(frame)) => self.accept(frame),
                Poll::Ready(None) => {
                    orphaned = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(Some(finished)) = self.futures.poll_next_unpin(cx) {
            self.finish(finished);
        }
        if self.poll_timer(cx) {
            // What timed out is polled once more, to be answered.
            cx.waker().wake_by_ref();
        }
        if !self.out.0.is_empty() {
            (self.deliver)(self.out.0.split());
        }
        if orphaned || self.closed {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn accept(&mut self, frame: Bytes) {
        let mut frame = Reader::new(frame);
        while !frame.is_empty() {
            match Incoming::read(&mut frame) {
                Ok(incoming) => self.start(incoming),
                // The two sides were not built together; nothing can be answered. JavaScript's calls end by
                // their own timeouts.
                Err(_) => return,
            }
        }
    }

    fn start(&mut self, incoming: Incoming) {
        let Incoming {
            id,
            timeout,
            prefix,
            operation,
        } = incoming;
        let operation = match operation {
            Ok(Operation::Cancel) => return self.end(id, End::Cancelled),
            Ok(operation) => operation,
            Err(error) => return self.write(id, &Err(error)),
        };
        let timeout = timeout.unwrap_or(self.shared.timeout);
        let call = Call::with_timeout(timeout);
        let timed = !matches!(operation, Operation::WatchCluster | Operation::Close);
        let writes = matches!(
            operation,
            Operation::Put(_) | Operation::Delete(_) | Operation::DeleteRange(_)
        );
        if matches!(operation, Operation::Close) {
            self.close = Some(id);
        }
        let work = run(self.shared.clone(), prefix, operation, call);
        self.push(id, work, call, writes);
        if timed {
            self.deadlines.push(timeout, call, id, &self.calls);
        }
    }

    fn push(
        &mut self,
        id: u32,
        work: impl Future<Output = Result<Reply>> + MaybeSend + 'static,
        call: Call,
        writes: bool,
    ) {
        let (handle, registration) = AbortHandle::new_pair();
        self.calls.insert(
            id,
            Running {
                handle,
                end: None,
                call,
                writes,
            },
        );
        let work = Abortable::new(work, registration).map(move |result| Finished {
            id,
            result: result.ok(),
        });
        self.futures.push(Box::pin(work));
    }

    /// Ends a call from outside: its future is dropped, which cancels what has not left the store.
    fn end(&mut self, id: u32, end: End) {
        if let Some(running) = self.calls.get_mut(&id)
            && running.end.is_none()
        {
            running.end = Some(end);
            running.handle.abort();
        }
    }

    fn finish(&mut self, finished: Finished) {
        let id = finished.id;
        let Some(running) = self.calls.remove(&id) else {
            return;
        };
        let result = match (finished.result, running.end) {
            (Some(result), _) => result,
            (None, end) => Err(ended(end.unwrap_or(End::Cancelled), &running)),
        };
        self.write(id, &result);
        if let Ok(Reply::Cluster(mut views)) = result {
            let next = async move {
                match views.changed().await {
                    Ok(()) => Ok(Reply::Cluster(views)),
                    Err(_) => Ok(Reply::Done),
                }
            };
            self.push(id, next, running.call, false);
        }
        if self.close == Some(id) {
            self.closed = true;
            let mut left: Vec<_> = self.calls.drain().collect();
            left.sort_unstable_by_key(|(id, _)| *id);
            for (id, running) in left {
                self.write(id, &Err(ended(End::Closed, &running)));
            }
            self.futures.clear();
        }
    }

    fn write(&mut self, id: u32, result: &Result<Reply>) {
        let out = &mut self.out;
        out.u32(id);
        match result {
            Err(error) => {
                out.u8(reply::ERROR);
                reply::write_error(out, error);
            }
            Ok(Reply::Done) => out.u8(reply::DONE),
            Ok(Reply::MaybeEntry(entry)) => reply::write_maybe_entry(out, entry.as_ref()),
            Ok(Reply::Put(put, false)) => {
                out.u8(reply::VERSION);
                out.version(put.version);
            }
            Ok(Reply::Put(put, true)) => {
                out.u8(reply::VERSION_AND_ENTRY);
                out.version(put.version);
                match &put.prev_entry {
                    Some(entry) => reply::write_maybe_entry(out, Some(entry)),
                    None => out.u8(reply::MISSING),
                }
            }
            Ok(Reply::Delete(delete)) => {
                out.u8(reply::BOOLEAN);
                out.u8(delete.deleted.into());
            }
            Ok(Reply::Entries(entries)) => {
                out.u8(reply::ENTRIES);
                out.u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
                for entry in entries {
                    reply::write_maybe_entry(out, entry.as_ref());
                }
            }
            Ok(Reply::Page(page)) => {
                out.u8(reply::PAGE);
                reply::write_page(out, page);
            }
            Ok(Reply::Count(CountResult { count: number, .. }))
            | Ok(Reply::DeleteRange(DeleteRangeResult {
                deleted: number, ..
            })) => {
                out.u8(reply::NUMBER);
                out.u64(*number);
            }
            Ok(Reply::Status(status)) => {
                out.u8(reply::JSON);
                out.bytes(reply::status_to_json(status).to_string().as_bytes());
            }
            Ok(Reply::Cluster(views)) => {
                out.u8(reply::JSON);
                let json = reply::cluster_to_json(&views.borrow()).to_string();
                out.bytes(json.as_bytes());
            }
        }
    }

    /// Ends what is overdue, and arms the timer for what is due next. True if anything was overdue.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let mut overdue = false;
        loop {
            let now = web_time::Instant::now();
            while let Some((due, id)) = self.deadlines.first(&self.calls) {
                if due > now {
                    break;
                }
                self.deadlines.pop(due);
                self.end(id, End::TimedOut);
                overdue = true;
            }
            let Some((due, _)) = self.deadlines.first(&self.calls) else {
                self.timer = None;
                return overdue;
            };
            let timer = match &mut self.timer {
                // A timer that fires early costs one look; one that fires late would be a promise broken.
                Some((at, timer)) if *at <= due => timer,
                _ => {
                    let sleep = self.shared.environment.sleep(due - now);
                    &mut self.timer.insert((due, sleep)).1
                }
            };
            if timer.poll_unpin(cx).is_pending() {
                return overdue;
            }
            self.timer = None;
        }
    }
}

fn ended(end: End, running: &Running) -> Error {
    let error = match end {
        End::Cancelled => Error::new(ErrorKind::Cancelled, "the call was cancelled by its signal"),
        End::Closed => Error::new(
            ErrorKind::Closed,
            "the client was closed before the call was answered",
        ),
        End::TimedOut => running.call.deadline_exceeded(),
    };
    if running.writes {
        error.with(FieldName::Outcome, "unknown")
    } else {
        error
    }
}

async fn run(
    shared: Arc<Shared>,
    prefix: Bytes,
    operation: Operation,
    call: Call,
) -> Result<Reply> {
    if let Operation::Close = operation {
        if let Some(store) = shared.store.get() {
            store.close().await?;
        }
        return Ok(Reply::Done);
    }
    let store = shared.store().await?;
    if prefix.is_empty() {
        return run_on(store.as_ref(), operation, call).await;
    }
    run_on(&Namespaced::new(store.clone(), prefix)?, operation, call).await
}

async fn run_on(store: &dyn Store, operation: Operation, call: Call) -> Result<Reply> {
    Ok(match operation {
        Operation::Get(get) => Reply::MaybeEntry(store.get(get, call).await?),
        Operation::Put(put) => {
            let prev_entry = put.prev_entry;
            Reply::Put(store.put(put, call).await?, prev_entry)
        }
        Operation::Delete(delete) => Reply::Delete(store.delete(delete, call).await?),
        Operation::GetMany(many) => Reply::Entries(store.get_many(many, call).await?),
        Operation::Scan(scan) => Reply::Page(store.scan(scan, call).await?),
        Operation::Count(count) => Reply::Count(store.count(count, call).await?),
        Operation::DeleteRange(range) => Reply::DeleteRange(store.delete_range(range, call).await?),
        Operation::Status => Reply::Status(Box::new(store.status(call).await?)),
        Operation::Connect => {
            store.connect(call).await?;
            Reply::Done
        }
        Operation::WatchCluster => match store.cluster() {
            Some(mut views) => {
                views.mark_unchanged();
                if *views.borrow() == ClusterView::default() {
                    let _ = views.changed().await;
                }
                Reply::Cluster(views)
            }
            None => Reply::Done,
        },
        // Both are handled before a store is needed.
        Operation::Close | Operation::Cancel => Reply::Done,
    })
}

/// When calls are due. Those of one timeout are due in the order they came, so each timeout has a queue, and
/// nothing is searched; finished calls leave a queue when they come to its front.
#[derive(Default)]
struct Deadlines(Vec<(Duration, VecDeque<(web_time::Instant, u32)>)>);

impl Deadlines {
    fn push(&mut self, timeout: Duration, call: Call, id: u32, calls: &HashMap<u32, Running>) {
        let due = (call.deadline(), id);
        match self.0.iter_mut().find(|(queued, _)| *queued == timeout) {
            Some((_, queue)) => {
                // One slow call at the front must not make the finished ones behind it pile up.
                if queue.len() > 1_024 + 2 * calls.len() {
                    queue.retain(|(due, id)| waiting(calls, *due, *id));
                }
                queue.push_back(due);
            }
            None => self.0.push((timeout, VecDeque::from([due]))),
        }
    }

    /// The call that is due first, once those that are finished are let go of.
    fn first(&mut self, calls: &HashMap<u32, Running>) -> Option<(web_time::Instant, u32)> {
        self.0.retain_mut(|(_, queue)| {
            while queue.front().is_some_and(|(due, id)| !waiting(calls, *due, *id)) {
                queue.pop_front();
            }
            !queue.is_empty()
        });
        self.0
            .iter()
            .filter_map(|(_, queue)| queue.front().copied())
            .min()
    }

    fn pop(&mut self, due: web_time::Instant) {
        let queue = self
            .0
            .iter_mut()
            .find(|(_, queue)| queue.front().is_some_and(|(first, _)| *first == due));
        if let Some((_, queue)) = queue {
            queue.pop_front();
        }
    }
}

/// Whether a call with that deadline is still to be answered.
fn waiting(calls: &HashMap<u32, Running>, due: web_time::Instant, id: u32) -> bool {
    calls
        .get(&id)
        .is_some_and(|running| running.call.deadline() == due && running.end.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    use norikv_embedded::{EmbeddedStore, Settings};
    use tokio::sync::Notify;

    /// A store in memory that takes its time to open until it is let.
    struct Memory(Arc<Notify>);

    impl Environment for Memory {
        fn open(&self) -> OpenStore {
            let gate = self.0.clone();
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
        replies: Arc<Mutex<BytesMut>>,
        delivered: Arc<Notify>,
    }

    impl Fixture {
        fn new() -> Self {
            let open = Arc::new(Notify::new());
            let replies = Arc::new(Mutex::new(BytesMut::new()));
            let delivered = Arc::new(Notify::new());
            let (into, wake) = (replies.clone(), delivered.clone());
            let (session, driver) = Session::new(
                Box::new(Memory(open.clone())),
                Duration::from_secs(60),
                Box::new(move |frame| {
                    into.lock().unwrap().extend_from_slice(&frame);
                    wake.notify_one();
                }),
            );
            tokio::spawn(driver);
            Self {
                session,
                open,
                replies,
                delivered,
            }
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
    async fn close_answers_every_call_that_is_left() {
        let fixture = Fixture::new();
        let mut out = Writer::default();
        put(&mut out, 1, 0);
        begin(&mut out, 10, 2, 0);
        send(&fixture.session, out);
        let mut replies = fixture.next().await;
        assert_eq!((replies.u32().unwrap(), replies.u8().unwrap()), (2, reply::DONE));
        assert_eq!((replies.u32().unwrap(), replies.u8().unwrap()), (1, reply::ERROR));
        assert_eq!(replies.u8().unwrap(), ErrorKind::Closed.number());
    }

    #[tokio::test]
    async fn a_broken_frame_harms_nothing_that_came_before() {
        let fixture = Fixture::new();
        fixture.open.notify_one();
        let mut out = Writer::default();
        put(&mut out, 1, 0);
        out.u8(200);
        send(&fixture.session, out);
        let mut replies = fixture.next().await;
        assert_eq!((replies.u32().unwrap(), replies.u8().unwrap()), (1, reply::VERSION));
    }
}
