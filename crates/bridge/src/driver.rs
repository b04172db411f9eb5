use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};
use norikv_core::{Call, Error, ErrorKind, FieldName, MaybeSend, Result};
use tokio::sync::mpsc;
use web_time::Instant;

use crate::{
    alarm::Alarm,
    call::{Incoming, Operation},
    frame::{Reader, Writer},
    keeper::Keeper,
    reply,
    session::{BoxFuture, Deliver, Shared},
    watch::{Answers, Watches},
    work::{Reply, run, write},
};

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

/// A call under way.
struct Running {
    handle: AbortHandle,
    end: Option<End>,
    call: Call,
    writes: bool,
}

/// Runs a session's calls, all in one task: no spawn, no timer and no crossing for each.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    frames: mpsc::UnboundedReceiver<Bytes>,
    deliver: Deliver,
    calls: HashMap<u32, Running>,
    futures: FuturesUnordered<BoxFuture<Finished>>,
    /// When calls are due, and the numbers of which.
    deadlines: Alarm,
    watches: Watches,
    keeper: Keeper,
    out: Writer,
    close: Option<u32>,
    closed: bool,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, frames: mpsc::UnboundedReceiver<Bytes>, deliver: Deliver) -> Self {
        Self {
            watches: Watches::new(shared.clone()),
            keeper: Keeper::new(shared.clone()),
            shared,
            frames,
            deliver,
            calls: HashMap::new(),
            futures: FuturesUnordered::new(),
            deadlines: Alarm::new(),
            out: Writer::default(),
            close: None,
            closed: false,
        }
    }

    /// One turn: takes what JavaScript sent, moves every call that can move, and delivers what is finished.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
        while self.deadlines.poll(self.shared.environment.as_ref(), cx).is_ready() {
            while let Some(id) = self.deadlines.pop(Instant::now()) {
                self.end(u32::try_from(id).unwrap_or_default(), End::TimedOut);
            }
            // What timed out is polled once more, to be answered.
            cx.waker().wake_by_ref();
        }
        let mut answers = Answers { out: &mut self.out, deadlines: &mut self.deadlines };
        self.watches.poll(cx, &mut answers);
        for lost in self.keeper.poll(cx) {
            write(&mut self.out, lost.call, &Err(lost.why));
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
                // The two sides were not built together, and nothing after this can be understood.
                Err(error) => return self.give_up(&error),
            }
        }
    }

    /// Fails every call, those that could not be read included, and ends.
    fn give_up(&mut self, error: &Error) {
        self.calls.clear();
        self.futures.clear();
        self.deadlines.clear();
        write(&mut self.out, reply::EVERY_CALL, &Err(error.clone()));
        self.closed = true;
    }

    fn start(&mut self, incoming: Incoming) {
        let Incoming { id, timeout, prefix, operation } = incoming;
        let operation = match operation {
            Ok(Operation::Cancel) => return self.end(id, End::Cancelled),
            Ok(Operation::WatchMore(credit)) => return self.watches.more(id, credit),
            Ok(operation) => operation,
            Err(error) => return write(&mut self.out, id, &Err(error)),
        };
        let timeout = timeout.unwrap_or(self.shared.timeout);
        let call = Call::with_timeout(timeout);
        if let Operation::Watch(watch, credit) = operation {
            self.watches.begin(id, prefix, watch, credit, call);
            return self.deadlines.insert(call.deadline(), id.into());
        }
        let timed = !matches!(operation, Operation::WatchCluster | Operation::Close);
        let writes = match &operation {
            Operation::Put(_)
            | Operation::Delete(_)
            | Operation::DeleteRange(_)
            | Operation::LeaseRevoke(_) => true,
            Operation::Txn(txn) => !txn.is_read_only(),
            Operation::Vector(call) => call.writes(),
            _ => false,
        };
        if matches!(operation, Operation::Close) {
            self.close = Some(id);
        }
        let work = run(self.shared.clone(), prefix, operation, call);
        self.push(id, work, call, writes);
        if timed {
            self.deadlines.insert(call.deadline(), id.into());
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
        self.calls.insert(id, Running { handle, end: None, call, writes });
        let work = Abortable::new(work, registration).map(move |result| Finished { id, result: result.ok() });
        self.futures.push(Box::pin(work));
    }

    /// Ends a call from outside: its future is dropped, which cancels what has not left the store.
    fn end(&mut self, id: u32, end: End) {
        if let Some(running) = self.calls.get_mut(&id)
            && running.end.is_none()
        {
            running.end = Some(end);
            running.handle.abort();
            return;
        }
        let error = |call: &Call| match end {
            End::TimedOut => call.deadline_exceeded(),
            End::Cancelled | End::Closed => Error::new(
                ErrorKind::Cancelled,
                "the watch was ended by its signal, or by close() before it began",
            ),
        };
        let mut answers = Answers { out: &mut self.out, deadlines: &mut self.deadlines };
        self.watches.end(id, error, &mut answers);
    }

    fn finish(&mut self, finished: Finished) {
        let id = finished.id;
        let Some(running) = self.calls.remove(&id) else {
            return;
        };
        self.deadlines.remove(running.call.deadline(), id.into());
        let result = match (finished.result, running.end) {
            (Some(result), _) => result,
            (None, end) => Err(ended(end.unwrap_or(End::Cancelled), &running)),
        };
        write(&mut self.out, id, &result);
        if let Ok(Reply::Lease(granted, sent)) = result {
            self.keeper.keep(id, granted, sent);
        }
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
                write(&mut self.out, id, &Err(ended(End::Closed, &running)));
            }
            self.watches.close(&mut Answers { out: &mut self.out, deadlines: &mut self.deadlines });
            self.futures.clear();
        }
    }
}

fn ended(end: End, running: &Running) -> Error {
    let error = match end {
        End::Cancelled => Error::new(ErrorKind::Cancelled, "the call was cancelled by its signal"),
        End::Closed => Error::new(ErrorKind::Closed, "the client was closed before the call was answered"),
        End::TimedOut => running.call.deadline_exceeded(),
    };
    if running.writes { error.with(FieldName::Outcome, "unknown") } else { error }
}
