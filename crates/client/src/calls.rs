//! A call from its first attempt to its answer.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use norikv_core::{Call, Error, ErrorKind, FieldName, Result};
use norikv_proto::ext::{BatchOp, batch_result::Result as Answer};
use prost::{DecodeError, Message};
use tokio::sync::oneshot;

use crate::{
    alone,
    attempts::Attempts,
    batch::size_of,
    core::{Core, End, Reply},
    node::Node,
    transport::{Failed, Link, Reach, Transport},
};

/// How often one call may find out that its node takes no batches: once for each of a few new connections.
const MAX_AGAINS: u32 = 4;

/// A call on one key, and where it is in its attempts.
pub(crate) struct KeyCall {
    pub(crate) hash: u64,
    pub(crate) write: bool,
    pub(crate) repeatable: bool,
}

/// How a call on one key ended. The request comes back.
pub(crate) struct Ended {
    pub(crate) result: Result<Answer>,
    pub(crate) body: BatchOp,
    /// An attempt before the one that was answered may have done the write.
    pub(crate) doubt: bool,
}

/// Makes a call on one key, in the order of the calls on that key.
pub(crate) async fn on_key<T: Transport>(
    core: &Arc<Core<T>>,
    mut body: BatchOp,
    of: KeyCall,
    call: Call,
) -> Ended {
    let mut attempts = Attempts::new(core, call, of.hash, of.write, of.repeatable);
    let size = size_of(&body);
    let mut place = None;
    let mut agains = 0;
    let result = loop {
        let at = place.take().ok_or((of.hash, of.write));
        let waiting = match core.submit(body, size, call.deadline(), attempts.tries, at) {
            Ok(answer) => Waiting { core, answer, answered: false },
            Err(error) => {
                let error = attempts.last(error, Reach::Answered);
                return Ended { result: Err(error), body: BatchOp::default(), doubt: attempts.in_doubt() };
            }
        };
        let Some(reply) = waiting.await else {
            body = BatchOp::default();
            break Err(Error::closed("the client"));
        };
        body = reply.body;
        let (failed, node, kept) = match reply.end {
            End::Answer(answer) => break Ok(answer),
            End::Closed => break Err(Error::closed("the client")),
            End::Again(kept) => {
                agains += 1;
                if agains > MAX_AGAINS {
                    break Err(attempts.last(restless(), Reach::Answered));
                }
                place = Some(kept);
                continue;
            }
            End::Failed(failed, node, kept) => (failed, node, kept),
            End::Alone(node, mut kept) => match alone::call(&node, &body, call.remaining()).await {
                Ok(answer) => {
                    reached(core, &node);
                    break Ok(answer);
                }
                Err(failed) => {
                    kept.hold();
                    (failed, node.index, Some(kept))
                }
            },
        };
        if let Failed::TooLarge(error) = failed {
            break Err(attempts.last(too_large(error, of.write), Reach::Answered));
        }
        if let Err(error) = attempts.failed(failed, node).await {
            break Err(error);
        }
        place = kept;
    };
    Ended { result, body, doubt: attempts.in_doubt() }
}

/// An answer that is too large is too large again, so the call is not made again. A write was answered, with
/// what is not known.
fn too_large(error: Error, write: bool) -> Error {
    if write { error.with(FieldName::Outcome, "unknown") } else { error }
}

fn restless() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the server closes its connection after every answer, so that what it takes cannot be learnt; see what stands between client and server",
    )
}

/// What a call that is about no single key asks of a server.
pub(crate) struct AnyCall {
    pub(crate) method: &'static str,
    pub(crate) message: Bytes,
    /// The hash of the key whose leader is to answer; 0 if any node may.
    pub(crate) hash: u64,
    /// What the server would have to be able to do, for the error of one that cannot.
    pub(crate) what: &'static str,
    pub(crate) write: bool,
    /// Whether making it twice does the same as once.
    pub(crate) repeatable: bool,
}

impl AnyCall {
    /// A call that changes nothing, at any node.
    pub(crate) fn read(method: &'static str, message: &impl Message, what: &'static str) -> Self {
        let message = message.encode_to_vec().into();
        Self { method, message, hash: 0, what, write: false, repeatable: true }
    }
}

/// Makes a call that is about no single key, at any node.
pub(crate) async fn on_any<T: Transport, M: Message + Default>(
    core: &Arc<Core<T>>,
    ask: AnyCall,
    call: Call,
) -> Result<M> {
    let mut message = None;
    let mut decode = |answer| {
        message = Some(M::decode(answer)?);
        Ok(())
    };
    ask_any(core, ask, call, &mut decode).await?;
    message.ok_or_else(|| Error::closed("the client"))
}

/// Takes an answer, which may be none of what was asked for.
#[cfg(not(target_family = "wasm"))]
pub(crate) type Decode<'a> = &'a mut (dyn FnMut(Bytes) -> Result<(), DecodeError> + Send);
#[cfg(target_family = "wasm")]
pub(crate) type Decode<'a> = &'a mut dyn FnMut(Bytes) -> Result<(), DecodeError>;

/// The same for every kind of answer: there is one of it in the program, not one for each kind.
pub(crate) async fn ask_any<T: Transport>(
    core: &Arc<Core<T>>,
    ask: AnyCall,
    call: Call,
    decode: Decode<'_>,
) -> Result<()> {
    core.check_open()?;
    let mut attempts = Attempts::new(core, call, ask.hash, ask.write, ask.repeatable);
    loop {
        let Some(node) = core.with(|state| state.router.pick(ask.hash, attempts.tries)) else {
            return Err(Error::closed("the client"));
        };
        let answer = node.link.unary(ask.method, ask.message.clone(), Some(call.remaining())).await;
        let decoded =
            answer.and_then(|answer| decode(answer).map_err(|error| alone::confused(&node.address, &error)));
        let failed = match decoded {
            Ok(()) => {
                reached(core, &node);
                return Ok(());
            }
            Err(failed) if failed.is_unimplemented() => {
                return Err(alone::unsupported(&node.address, ask.what, service_of(ask.method)));
            }
            Err(Failed::TooLarge(error)) => {
                return Err(attempts.last(too_large(error, ask.write), Reach::Answered));
            }
            Err(failed) => failed,
        };
        attempts.failed(failed, node.index).await?;
    }
}

/// The service of a method's path.
fn service_of(method: &str) -> &str {
    method.trim_start_matches('/').split('/').next().unwrap_or(method)
}

pub(crate) fn reached<T: Transport>(core: &Arc<Core<T>>, node: &Node<T::Link>) {
    core.start();
    core.with(|state| {
        if let Some(place) = state.place(node.index) {
            place.reached();
        }
    });
}

/// Waits for the reply to a call that was handed in. Dropped before that, it lets go of the call.
struct Waiting<'a, T: Transport> {
    core: &'a Arc<Core<T>>,
    answer: oneshot::Receiver<Reply<T>>,
    answered: bool,
}

impl<T: Transport> Future for Waiting<'_, T> {
    type Output = Option<Reply<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = Pin::new(&mut self.answer).poll(cx);
        poll.map(|reply| {
            self.answered = true;
            reply.ok()
        })
    }
}

impl<T: Transport> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        if !self.answered {
            self.answer.close();
            self.core.abandon();
        }
    }
}
