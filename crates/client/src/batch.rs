//! What carries the calls of a lane: takes those that gathered, sends them as one message, and hands each its
//! result as it comes.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use norikv_core::{Error, ErrorKind, FieldName};
use norikv_proto::{
    GrpcCode,
    ext::{self, BatchOp, BatchRequest, BatchResponse},
    failure_to_error,
};
use prost::Message;
use web_time::Instant;

use crate::{
    core::{Core, End, Op, Reply, State, waker},
    node::{Mode, Node},
    order::Lane,
    transport::{Failed, Link, MessageStream, Transport},
};

const METHOD: &str = "/norikv.ext.v1.Store/Batch";

/// Carries the calls of a lane until none are left.
pub(crate) async fn carry<T: Transport>(
    core: Arc<Core<T>>,
    node: Arc<Node<T::Link>>,
    lane: Lane,
    carrier: usize,
) {
    let mut calls = Vec::new();
    loop {
        // Everyone who is about to make a call makes it now, and it travels along.
        yield_now().await;
        if !core.take(node.index, lane, carrier, &mut calls) {
            return;
        }
        Batch::new(&core, &node, &mut calls).carry(lane, carrier).await;
    }
}

/// One message under way.
struct Batch<'a, T: Transport> {
    core: &'a Arc<Core<T>>,
    node: &'a Arc<Node<T::Link>>,
    /// The calls without their answer yet, by their number in the message.
    calls: Vec<Option<Op<T>>>,
    left: usize,
    last_deadline: Instant,
    seen_abandoned: u64,
}

/// Why a batch is over.
enum Over {
    /// The server ended it.
    Ended,
    /// It broke. `begun` says whether the server had begun to answer.
    Failed { failed: Failed, begun: bool },
    /// Nobody waits for it any more.
    Abandoned,
    /// The time of its last call ran out.
    Late,
    /// The store was closed.
    Closed,
}

impl<'a, T: Transport> Batch<'a, T> {
    fn new(core: &'a Arc<Core<T>>, node: &'a Arc<Node<T::Link>>, calls: &mut Vec<Op<T>>) -> Self {
        let calls: Vec<_> = calls.drain(..).map(Some).collect();
        let now = Instant::now();
        let last_deadline = calls.iter().flatten().map(|op| op.deadline).max().unwrap_or(now);
        let left = calls.len();
        Self { core, node, calls, left, last_deadline, seen_abandoned: core.abandoned() }
    }

    /// Encodes the calls, each with the time it has left.
    fn encode(&mut self) -> bytes::Bytes {
        let now = Instant::now();
        let mut request = BatchRequest { ops: Vec::with_capacity(self.calls.len()) };
        for op in self.calls.iter_mut().flatten() {
            let left = op.deadline.saturating_duration_since(now).as_millis();
            // 0 would mean no bound at all.
            op.body.timeout_ms = u32::try_from(left).unwrap_or(u32::MAX).max(1);
            request.ops.push(std::mem::take(&mut op.body));
        }
        let mut message = BytesMut::with_capacity(request.encoded_len());
        // There is room for all of it.
        let _ = request.encode(&mut message);
        for (op, body) in self.calls.iter_mut().flatten().zip(request.ops) {
            op.body = body;
        }
        message.freeze()
    }

    async fn carry(mut self, lane: Lane, carrier: usize) {
        let message = self.encode();
        let timeout =
            self.last_deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let (core, node) = (self.core, self.node);
        let mut opening = pin!(node.link.stream(METHOD, message, Some(timeout)));
        let mut late = pin!(core.transport.sleep(timeout));
        let mut stream = None;
        let mut begun = false;
        let over = poll_fn(|cx| {
            waker(node, lane, carrier).register(cx.waker());
            if core.is_closed() {
                return Poll::Ready(Over::Closed);
            }
            if self.is_abandoned() {
                return Poll::Ready(Over::Abandoned);
            }
            if late.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Over::Late);
            }
            if stream.is_none() {
                match opening.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(opened)) => stream = Some(opened),
                    Poll::Ready(Err(failed)) => return Poll::Ready(Over::Failed { failed, begun }),
                }
            }
            stream.as_mut().map_or(Poll::Pending, |stream| self.poll_results(cx, stream, &mut begun))
        })
        .await;
        drop(stream);
        self.finish(over);
    }

    fn poll_results(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut <T::Link as Link>::Stream,
        begun: &mut bool,
    ) -> Poll<Over> {
        loop {
            match stream.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(None)) => return Poll::Ready(Over::Ended),
                Poll::Ready(Err(failed)) => return Poll::Ready(Over::Failed { failed, begun: *begun }),
                Poll::Ready(Ok(Some(message))) => match BatchResponse::decode(message) {
                    Ok(response) => {
                        if !std::mem::replace(begun, true) {
                            self.core.learn_mode(self.node.index, Mode::Batch);
                        }
                        self.deliver(response);
                    }
                    Err(error) => {
                        let failed = Failed::Lost(self.error(format!(
                            "{} answered something that is no batch of results ({error})",
                            self.node.address
                        )));
                        return Poll::Ready(Over::Failed { failed, begun: true });
                    }
                },
            }
        }
    }

    /// Whether nobody waits for any of the calls. Looked at only after some caller went away.
    fn is_abandoned(&mut self) -> bool {
        let abandoned = self.core.abandoned();
        if std::mem::replace(&mut self.seen_abandoned, abandoned) == abandoned {
            return false;
        }
        self.left > 0 && self.calls.iter().flatten().all(|op| op.reply.is_closed())
    }

    /// Hands the results out. Their places are given up first, so that who is woken finds the way free.
    fn deliver(&mut self, response: BatchResponse) {
        let (core, node) = (self.core, self.node.index);
        let mut ready = Vec::with_capacity(response.results.len());
        for result in response.results {
            let call = self.calls.get_mut(result.index as usize).and_then(Option::take);
            // A result for a call that is not there, or that has one already, is the server's confusion.
            if let (Some(op), Some(result)) = (call, result.result) {
                self.left -= 1;
                ready.push((op, result));
            }
        }
        let replies: Vec<_> = core.with(|state| {
            ready
                .into_iter()
                .map(|(op, result)| {
                    let end = match result {
                        ext::batch_result::Result::Failure(failure) => {
                            let failed = Failed::Answered(failure);
                            failed_end(core, state, &op, node, failed)
                        }
                        answer => {
                            state.ended(op.ticket, op.lane);
                            End::Answer(answer)
                        }
                    };
                    (op.reply, Reply { body: op.body, end })
                })
                .collect()
        });
        for (sender, reply) in replies {
            let _ = sender.send(reply);
        }
    }

    /// Hands out what the calls without a result get.
    fn finish(mut self, over: Over) {
        if let Over::Failed { failed, begun: false } = &over
            && failed.is_unimplemented()
        {
            self.core.learn_mode(self.node.index, Mode::Plain);
            return self.each(|core, state, op, _| End::Again(state.hold(core, op.ticket, op.lane)));
        }
        match over {
            _ if self.left == 0 => {}
            Over::Abandoned | Over::Closed => self.each(|_, state, op, _| {
                state.ended(op.ticket, op.lane);
                End::Closed
            }),
            Over::Late => {
                let error = self.error_of(
                    ErrorKind::DeadlineExceeded,
                    format!("{} did not answer within the call's time", self.node.address),
                );
                self.fail(&Failed::Lost(error));
            }
            Over::Ended => {
                let error = self.error(format!(
                    "{} ended a batch without the result of every call in it",
                    self.node.address
                ));
                self.fail(&Failed::Lost(error));
            }
            Over::Failed { failed: Failed::Answered(failure), begun: true } => {
                // Calls of a batch that had begun may have been carried out, whatever ended it.
                let error = failure_to_error(&failure);
                let error =
                    self.error(format!("{} broke a batch off: {}", self.node.address, error.message()));
                self.fail(&Failed::Lost(error));
            }
            Over::Failed { failed, .. } => self.fail(&failed),
        }
    }

    fn fail(&mut self, failed: &Failed) {
        self.each(|core, state, op, node| failed_end(core, state, op, node, failed.clone()));
    }

    fn each(&mut self, end: impl Fn(&Arc<Core<T>>, &mut State<T>, &Op<T>, usize) -> End<T>) {
        let (core, node) = (self.core, self.node.index);
        let calls = std::mem::take(&mut self.calls);
        let replies: Vec<_> = core.with(|state| {
            let calls = calls.into_iter().flatten();
            calls
                .map(|op| {
                    let end = end(core, state, &op, node);
                    (op.reply, Reply { body: op.body, end })
                })
                .collect()
        });
        for (sender, reply) in replies {
            let _ = sender.send(reply);
        }
    }

    fn error(&self, message: String) -> Error {
        self.error_of(ErrorKind::Unavailable, message)
    }

    fn error_of(&self, kind: ErrorKind, message: String) -> Error {
        Error::new(kind, message).with(FieldName::Address, self.node.address.to_string().as_str())
    }
}

impl<T: Transport> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        // Only a runtime that is shut down drops a batch under way; its callers are told, not left.
        if self.calls.iter().any(Option::is_some) {
            self.each(|_, state, op, _| {
                state.ended(op.ticket, op.lane);
                End::Closed
            });
        }
    }
}

/// The end of a failed call: it keeps its place if making it again may help.
fn failed_end<T: Transport>(
    core: &Arc<Core<T>>,
    state: &mut State<T>,
    op: &Op<T>,
    node: usize,
    failed: Failed,
) -> End<T> {
    let place = if may_help(&failed) {
        Some(state.hold(core, op.ticket, op.lane))
    } else {
        state.ended(op.ticket, op.lane);
        None
    };
    End::Failed(failed, node, place)
}

fn may_help(failed: &Failed) -> bool {
    match failed {
        Failed::NotSent(_) | Failed::Lost(_) => true,
        Failed::TooLarge(_) => false,
        Failed::Answered(failure) => {
            [
                GrpcCode::Unavailable,
                GrpcCode::ResourceExhausted,
                GrpcCode::Aborted,
                GrpcCode::FailedPrecondition,
            ]
            .iter()
            .any(|code| *code as i32 == failure.code)
                && !matches!(
                    ErrorKind::from_code(&failure.reason),
                    Some(ErrorKind::VersionMismatch | ErrorKind::LeaseLost)
                )
        }
    }
}

/// The size of a call in a message, near enough to bound it.
pub(crate) fn size_of(body: &BatchOp) -> usize {
    use ext::batch_op::Op;
    const AROUND: usize = 32;
    AROUND
        + match &body.op {
            Some(Op::Get(get)) => get.key.len(),
            Some(Op::Put(ext::Put { put: Some(put), .. })) => {
                put.key.len() + put.value.len() + put.idempotency_key.len()
            }
            Some(Op::Delete(delete)) => delete.key.len() + delete.idempotency_key.len(),
            _ => 0,
        }
}

/// Lets everything else that can run, run first.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
