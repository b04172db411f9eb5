use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Frame;
use norikv_core::{Call, Error, ErrorKind, StoreRef, Version, WatchBatches, Watching};
use norikv_proto::{batch_to_wire, ext, watch_from_wire};
use prost::Message;
use tonic::{
    Status,
    body::Body,
    codec::{Codec, Streaming},
    codegen::StdError,
};
use tonic_prost::ProstCodec;

use crate::{
    peer::{OpenWatch, Peer},
    phase::{Phase, PhaseWatch, reached},
    status::status_of,
};

/// How many bytes of changes travel in one message; more only where a single change has more.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// What a batch and an event take beside their content: their tags, lengths and the version, at most.
const BATCH_BYTES: usize = 48;
const EVENT_BYTES: usize = 8;
/// The most bytes of a request: the two keys of a range, with room to spare.
const REQUEST_BYTES: usize = 16 * 1024;
/// The bytes before a message: a flag and its length.
const HEADER_BYTES: usize = 5;

/// `norikv.ext.v1.Watch`.
///
/// It writes its answers' messages itself. The framework's encoder keeps a buffer for every stream, as large as
/// the largest message that ever went through it, and most watches are quiet most of the time.
#[derive(Clone)]
pub(crate) struct WatchService {
    pub(crate) store: StoreRef,
    pub(crate) phase: PhaseWatch,
}

impl WatchService {
    /// `within`: as a stream of a session, and not as a call of its own.
    pub(crate) fn call<B>(
        &self,
        request: Request<B>,
        peer: Arc<Peer>,
        call: Call,
        within: bool,
    ) -> BoxFuture<'static, Result<Response<Body>, Infallible>>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let service = self.clone();
        async move {
            let answer = service.begin(request, &peer, call, within).await;
            Ok(answer.map_or_else(Status::into_http, |messages| {
                let mut response = Response::new(Body::new(messages));
                let grpc = HeaderValue::from_static("application/grpc");
                response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
                response
            }))
        }
        .boxed()
    }

    async fn begin<B>(
        self,
        request: Request<B>,
        peer: &Arc<Peer>,
        call: Call,
        within: bool,
    ) -> Result<Messages, Status>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        let decoder = ProstCodec::<(), ext::WatchRequest>::default().decoder();
        let mut requests = Streaming::new_request(decoder, request.into_body(), None, Some(REQUEST_BYTES));
        let asked = requests.message().await?;
        let asked = asked.ok_or_else(|| status_of(Error::invalid_argument("the call has no request")))?;
        let watch = watch_from_wire(asked).map_err(status_of)?;
        let open = peer.open_watch(!within).map_err(status_of)?;
        let Watching { start, batches } = self.store.watch(watch, call).await.map_err(status_of)?;
        Ok(Messages {
            created: Some(start),
            batches,
            left: None,
            draining: reached(self.phase, Phase::Draining).boxed(),
            end: None,
            over: false,
            _open: open,
        })
    }
}

/// The messages of one watch. HTTP/2 asks for one when the client has room for it, and the store is asked for
/// changes only then: a client that does not read holds back nothing but its own watch.
struct Messages {
    created: Option<Version>,
    batches: WatchBatches,
    /// What did not fit the message before.
    left: Option<Left>,
    draining: BoxFuture<'static, ()>,
    /// Why the watch ends; said once everything before it is.
    end: Option<Status>,
    over: bool,
    _open: OpenWatch,
}

/// A batch, or the rest of one.
struct Left {
    version: Version,
    events: vec::IntoIter<ext::Event>,
}

impl hyper::body::Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(start) = self.created.take() {
            let created = ext::WatchResponse { created: Some(start.into()), batches: Vec::new() };
            return Poll::Ready(Some(Ok(Frame::data(framed(&created)))));
        }
        if self.end.is_none() && self.draining.poll_unpin(cx).is_ready() {
            self.end = Some(status_of(going_down()));
        }
        let batches = self.gather(cx);
        if !batches.is_empty() {
            let message = ext::WatchResponse { created: None, batches };
            return Poll::Ready(Some(Ok(Frame::data(framed(&message)))));
        }
        let Some(end) = self.end.take() else { return Poll::Pending };
        self.over = true;
        let mut trailers = HeaderMap::new();
        // It fails only for a message that no header can carry, which is escaped.
        let _ = end.add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl Messages {
    /// The batches of the next message: those that are ready, as far as they fit. None are, where there is nothing
    /// to say yet, or only the end.
    fn gather(&mut self, cx: &mut Context<'_>) -> Vec<ext::WatchBatch> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        while self.end.is_none() && bytes < MESSAGE_BYTES {
            let mut left = match self.left.take() {
                Some(left) => left,
                None => match self.batches.poll_next_unpin(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(batch))) => {
                        Left { version: batch.version, events: batch_to_wire(batch).events.into_iter() }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        self.end = Some(status_of(error));
                        break;
                    }
                    Poll::Ready(None) => {
                        self.end =
                            Some(status_of(Error::internal("the store ended the watch without a reason")));
                        break;
                    }
                },
            };
            let (fitting, size) = left.fitting(MESSAGE_BYTES - bytes);
            let whole = fitting == left.events.len();
            if !whole && !batches.is_empty() {
                self.left = Some(left);
                break;
            }
            let events = left.events.by_ref().take(if whole { fitting } else { fitting.max(1) }).collect();
            let more = left.events.len() > 0;
            batches.push(ext::WatchBatch { version: Some(left.version.into()), events, more });
            self.left = more.then_some(left);
            if !whole {
                break;
            }
            bytes += size;
        }
        batches
    }
}

impl Left {
    /// How many of its events fit, and how much room the batch with them takes.
    fn fitting(&self, room: usize) -> (usize, usize) {
        let mut size = BATCH_BYTES;
        for (at, event) in self.events.as_slice().iter().enumerate() {
            let with = size + EVENT_BYTES + event.encoded_len();
            if with > room {
                return (at, size);
            }
            size = with;
        }
        (self.events.len(), size)
    }
}

/// A message in its frame.
fn framed(message: &ext::WatchResponse) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // There is room for all of it.
    let _ = message.encode(&mut frame);
    frame.freeze()
}

fn going_down() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the server shuts down; watch on at another, or at this one once it is back",
    )
}
