use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
    vec,
};

use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use norikv_core::{Call, Entry, Error, Result, StoreRef};
use norikv_proto::{
    delete_from_wire, entry_to_wire,
    ext::{self, BatchOp, BatchResponse, BatchResult, batch_op::Op, batch_result},
    failure_from_error, put_from_wire,
};
use tokio::time::{Sleep, sleep_until};
use tonic::Status;

use crate::{ext::keyless, kv::get_from_wire};

/// How many bytes of results travel in one message, about. More than this is neither gathered nor read ahead,
/// so that a reader that is slow, or asks for much, holds back its own batch instead of filling our memory.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// What a result takes beside its key and value, about.
const RESULT_BYTES: usize = 48;

/// The calls of one batch under way, and their results as a stream.
///
/// Calls are begun in the order of the request, each by polling it once: that is what gives calls on one key
/// their order. Those that are done at once, as most reads are, cost no allocation. Whatever is done when the
/// stream is asked travels in one message; the others go on, and none waits for another. Dropping the stream
/// drops the calls, which cancels them.
pub(crate) struct Batch {
    store: StoreRef,
    calls: Calls,
    /// Not begun yet, with the number of the next.
    waiting: vec::IntoIter<BatchOp>,
    next: u32,
    pending: FuturesUnordered<Pending>,
    /// How many of `pending` have neither an answer nor run out of time.
    under_way: usize,
    done: Done,
    /// Rings no later than the first deadline of the calls under way.
    alarm: Option<Pin<Box<Sleep>>>,
    earliest: Option<Instant>,
}

impl Batch {
    /// The batch of a request whose whole time is `whole`.
    ///
    /// # Errors
    /// `InvalidArgument` if there are too many calls, or one that is none; nothing has happened then.
    pub(crate) fn new(store: StoreRef, ops: Vec<BatchOp>, whole: Call, max_ops: usize) -> Result<Self> {
        if ops.len() > max_ops {
            return Err(Error::invalid_argument(format!(
                "the batch has {} calls; this server takes at most {max_ops} (limits.max_batch_ops in its status)",
                ops.len()
            )));
        }
        let no_call = |op: &BatchOp| match &op.op {
            None => true,
            Some(Op::Put(put)) => put.put.is_none(),
            Some(Op::Get(_) | Op::Delete(_)) => false,
        };
        if let Some(at) = ops.iter().position(no_call) {
            return Err(Error::invalid_argument(format!(
                "call {at} of the batch is neither a get nor a put nor a delete"
            )));
        }
        Ok(Self {
            store,
            calls: Calls { whole, latest: (0, whole) },
            done: Done { results: Vec::with_capacity(ops.len()), bytes: 0 },
            waiting: ops.into_iter(),
            next: 0,
            pending: FuturesUnordered::new(),
            under_way: 0,
            alarm: None,
            earliest: None,
        })
    }

    /// Begins calls, until all have begun or enough results have gathered.
    fn begin(&mut self, cx: &mut Context<'_>) {
        while self.done.bytes < MESSAGE_BYTES {
            let Some(BatchOp { op: Some(op), timeout_ms }) = self.waiting.next() else { return };
            let index = self.next;
            self.next += 1;
            let call = self.calls.with_timeout(timeout_ms);
            let begun = match op {
                Op::Get(get) => match get_from_wire(get) {
                    Err(error) => Err(error),
                    Ok(get) => match self.store.get_now(&get.key, get.consistency) {
                        Some(answer) => answer.map(|entry| Begun::Done(get_result(entry))),
                        None => {
                            let store = self.store.clone();
                            Ok(Begun::Future(
                                async move { store.get(get, call).await.map(get_result) }.boxed(),
                            ))
                        }
                    },
                },
                Op::Put(put) => put_from_wire(put).map(|put| {
                    let store = self.store.clone();
                    Begun::Future(
                        async move {
                            let result = store.put(put, call).await?;
                            Ok(batch_result::Result::Put(ext::PutResult {
                                version: Some(result.version.into()),
                                prev_entry: keyless(result.prev_entry).map(entry_to_wire),
                            }))
                        }
                        .boxed(),
                    )
                }),
                Op::Delete(delete) => {
                    let delete = delete_from_wire(delete);
                    let store = self.store.clone();
                    Ok(Begun::Future(
                        async move {
                            let result = store.delete(delete, call).await?;
                            Ok(batch_result::Result::Delete(norikv_proto::v1::DeleteResponse {
                                tombstoned: result.deleted,
                                version: Some(result.version.into()),
                            }))
                        }
                        .boxed(),
                    ))
                }
            };
            match begun {
                Ok(Begun::Done(result)) => self.done.push(index, Ok(result)),
                Err(error) => self.done.push(index, Err(error)),
                Ok(Begun::Future(mut future)) => match future.poll_unpin(cx) {
                    Poll::Ready(result) => self.done.push(index, result),
                    Poll::Pending => {
                        let deadline = call.deadline();
                        self.earliest = Some(self.earliest.map_or(deadline, |at| at.min(deadline)));
                        self.under_way += 1;
                        self.pending.push(Pending { index, call, future: Some(future) });
                    }
                },
            }
        }
    }

    /// Gathers what is done of the calls under way.
    fn gather(&mut self, cx: &mut Context<'_>) {
        while self.under_way > 0 && self.done.bytes < MESSAGE_BYTES {
            let Poll::Ready(Some(answer)) = self.pending.poll_next_unpin(cx) else { return };
            // One that ran out of time is answered already.
            if let Some((index, result)) = answer {
                self.under_way -= 1;
                self.done.push(index, result);
            }
        }
    }

    /// Waits for the first deadline, and then fails every call that is past its own.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(earliest) = self.earliest else { return Poll::Pending };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(earliest.into())));
        if alarm.deadline() != earliest.into() {
            alarm.as_mut().reset(earliest.into());
        }
        ready!(alarm.poll_unpin(cx));
        let now = Instant::now();
        self.earliest = None;
        for pending in &mut self.pending {
            if pending.future.is_none() {
                continue;
            }
            let deadline = pending.call.deadline();
            if deadline > now {
                self.earliest = Some(self.earliest.map_or(deadline, |at| at.min(deadline)));
                continue;
            }
            pending.future = None;
            self.under_way -= 1;
            self.done.push(pending.index, Err(pending.call.deadline_exceeded()));
        }
        Poll::Ready(())
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<BatchResponse>> {
        loop {
            self.begin(cx);
            self.gather(cx);
            if !self.done.results.is_empty() {
                return Poll::Ready(Some(self.done.take(self.under_way + self.waiting.len())));
            }
            if self.under_way == 0 {
                return Poll::Ready(None);
            }
            ready!(self.poll_deadlines(cx));
        }
    }
}

impl Stream for Batch {
    type Item = Result<BatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // The runtime makes a task that did much wait even for what is there. A batch is bounded, and its calls
        // must be begun in their order in any case.
        let message = std::future::poll_fn(|cx| this.poll_message(cx));
        std::pin::pin!(tokio::task::unconstrained(message)).poll(cx).map(|message| message.map(Ok))
    }
}

/// What came of beginning a call.
enum Begun {
    Done(batch_result::Result),
    Future(BoxFuture<'static, Result<batch_result::Result>>),
}

/// A call that was begun and not done.
struct Pending {
    index: u32,
    call: Call,
    /// `None` once the call ran out of time.
    future: Option<BoxFuture<'static, Result<batch_result::Result>>>,
}

impl Future for Pending {
    type Output = Option<(u32, Result<batch_result::Result>)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let index = self.index;
        match &mut self.future {
            Some(future) => future.poll_unpin(cx).map(|result| Some((index, result))),
            None => Poll::Ready(None),
        }
    }
}

/// The deadlines of a batch's calls. Most calls of a batch have the same timeout: it is made a deadline once.
struct Calls {
    whole: Call,
    latest: (u32, Call),
}

impl Calls {
    fn with_timeout(&mut self, timeout_ms: u32) -> Call {
        if self.latest.0 != timeout_ms {
            let call = Call::with_timeout(Duration::from_millis(timeout_ms.into()));
            let call = if call.deadline() < self.whole.deadline() { call } else { self.whole };
            self.latest = (timeout_ms, call);
        }
        self.latest.1
    }
}

/// The results that wait for the next message.
struct Done {
    results: Vec<BatchResult>,
    bytes: usize,
}

impl Done {
    fn push(&mut self, index: u32, result: Result<batch_result::Result>) {
        let result = result.unwrap_or_else(|error| batch_result::Result::Failure(failure_from_error(&error)));
        let entry = match &result {
            batch_result::Result::Get(get) => get.entry.as_ref(),
            batch_result::Result::Put(put) => put.prev_entry.as_ref(),
            batch_result::Result::Delete(_) | batch_result::Result::Failure(_) => None,
        };
        self.bytes += RESULT_BYTES + entry.map_or(0, |entry| entry.value.len());
        self.results.push(BatchResult { index, result: Some(result) });
    }

    /// The results so far, as a message. At most `left` are to come.
    fn take(&mut self, left: usize) -> BatchResponse {
        self.bytes = 0;
        BatchResponse { results: std::mem::replace(&mut self.results, Vec::with_capacity(left)) }
    }
}

fn get_result(entry: Option<Entry>) -> batch_result::Result {
    batch_result::Result::Get(ext::GetResult { entry: keyless(entry).map(entry_to_wire) })
}
