use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::SelectAll, task::AtomicWaker};
use http::{HeaderValue, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::body::Body as _;
use norikv_core::{Error, ErrorKind, PROGRESS_INTERVAL};
use norikv_proto::ext::{self, piece::What, streams_server::Streams};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep},
};
use tonic::{Code, Request, Response, Status, body::Body};
use tonic_types::StatusExt as _;

use crate::{
    dispatch::{Answer, Dispatch},
    meta::CameBy,
    peer::OpenWatch,
    phase::{Phase, PhaseWatch, reached},
    status::status_of,
};

/// The most streams of a session.
const MAX_STREAMS: usize = 1_024;
/// How much a session may be told before it has taken it in.
const MAX_TOLD: usize = 2;
/// What a session may be asked for: the streams without an end.
const METHODS: [&str; 2] = ["/norikv.ext.v1.Watch/Watch", "/norikv.v1.Meta/WatchCluster"];
/// How many bytes of answers travel in one message; more only where a single answer has more.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// How long a session is silent at most: a client whose connection died without a word finds out by that.
const HEARTBEAT: Duration = PROGRESS_INTERVAL;
/// The bytes before a message: a flag and its length.
const HEADER_BYTES: usize = 5;

/// The sessions of a server, by their names.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<Bytes, mpsc::Sender<ext::TellRequest>>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, mpsc::Sender<ext::TellRequest>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `norikv.ext.v1.Streams`, for one call.
pub(crate) struct StreamsService {
    pub(crate) dispatch: Dispatch,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) phase: PhaseWatch,
    pub(crate) came_by: Option<CameBy>,
}

#[async_trait]
impl Streams for StreamsService {
    type OpenStream = Session;

    async fn open(&self, request: Request<ext::OpenRequest>) -> Result<Response<Session>, Status> {
        let authorization = request.metadata().as_ref().get(AUTHORIZATION).cloned();
        let ext::OpenRequest { session: name, begin } = request.into_inner();
        if !(16..=64).contains(&name.len()) {
            let message = format!("a session's name has 16 to 64 bytes; this one has {}", name.len());
            return Err(status_of(Error::invalid_argument(message)));
        }
        // A stream without an end like a watch, and counted as one.
        let open = self.dispatch.peer().open_watch(true).map_err(status_of)?;
        let (tell, told) = mpsc::channel(MAX_TOLD);
        {
            let mut sessions = self.sessions.lock();
            if sessions.contains_key(&name) {
                let message = "the name of the session is taken; make up another";
                return Err(status_of(Error::new(ErrorKind::AlreadyExists, message)));
            }
            sessions.insert(name.clone(), tell);
        }
        let mut session = Session {
            dispatch: self.dispatch.clone(),
            sessions: Arc::clone(&self.sessions),
            name,
            authorization,
            came_by: self.came_by.clone(),
            greeted: false,
            told,
            streams: SelectAll::new(),
            controls: HashMap::new(),
            draining: reached(self.phase.clone(), Phase::Draining).boxed(),
            drains: false,
            end: None,
            over: false,
            heartbeat: Box::pin(sleep(HEARTBEAT)),
            _open: open,
        };
        session.begin(begin);
        Ok(Response::new(session))
    }

    async fn tell(&self, request: Request<ext::TellRequest>) -> Result<Response<ext::TellResponse>, Status> {
        let told = request.into_inner();
        let session = self.sessions.lock().get(&told.session).cloned();
        let gone = || {
            let message =
                "this server has no such session; it ended, or another server behind this address has it";
            status_of(Error::new(ErrorKind::NotFound, message))
        };
        session.ok_or_else(gone)?.send(told).await.map_err(|_| gone())?;
        Ok(Response::new(ext::TellResponse {}))
    }
}

/// Marks a call that came in a session.
#[derive(Clone)]
pub(crate) struct Within;

/// What the streams of a session answer, in one stream.
pub(crate) struct Session {
    dispatch: Dispatch,
    sessions: Arc<Sessions>,
    name: Bytes,
    authorization: Option<HeaderValue>,
    came_by: Option<CameBy>,
    greeted: bool,
    told: mpsc::Receiver<ext::TellRequest>,
    streams: SelectAll<One>,
    controls: HashMap<u32, Arc<Control>>,
    draining: BoxFuture<'static, ()>,
    drains: bool,
    /// Why the session ends, whatever its streams do.
    end: Option<Status>,
    over: bool,
    heartbeat: Pin<Box<Sleep>>,
    _open: OpenWatch,
}

/// What a session can say to one of its streams.
struct Control {
    /// How many bytes it may still answer; below 0 where an answer exceeded it.
    credit: AtomicI64,
    ended: AtomicBool,
    waker: AtomicWaker,
}

impl Session {
    fn begin(&mut self, begun: Vec<ext::Begin>) {
        for ext::Begin { stream: number, method, message, credit } in begun {
            if self.controls.contains_key(&number) {
                let message = format!("the session has a stream number {number} already");
                self.end = Some(status_of(Error::invalid_argument(message)));
                return;
            }
            let state = if self.streams.len() < MAX_STREAMS {
                self.call(&method, &message)
            } else {
                let message = format!("a session has at most {MAX_STREAMS} streams; begin another");
                State::Refused(status_of(Error::new(ErrorKind::ResourceExhausted, message)))
            };
            let control = Arc::new(Control {
                credit: AtomicI64::new(i64::try_from(credit).unwrap_or(i64::MAX)),
                ended: AtomicBool::new(false),
                waker: AtomicWaker::new(),
            });
            self.controls.insert(number, Arc::clone(&control));
            self.streams.push(One { number, control, state, over: false });
        }
    }

    /// Makes the call of a stream, like one that came by itself.
    fn call(&self, method: &str, message: &Bytes) -> State {
        let Some(method) = METHODS.into_iter().find(|known| *known == method) else {
            let message = format!("{method:?} is no stream of a session; those are {}", METHODS.join(", "));
            return State::Refused(Status::unimplemented(message));
        };
        let mut frame = BytesMut::with_capacity(HEADER_BYTES + message.len());
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        frame.put_slice(message);
        let mut request = http::Request::new(Full::new(frame.freeze()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static(method);
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(came_by) = &self.came_by {
            request.extensions_mut().insert(came_by.clone());
        }
        request.extensions_mut().insert(Within);
        State::Asked(Box::new(self.dispatch.answer(request)))
    }

    fn hear(&mut self, told: ext::TellRequest) {
        self.begin(told.begin);
        for ext::Credit { stream, bytes } in told.credit {
            if let Some(control) = self.controls.get(&stream) {
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                let add = |credit: i64| Some(credit.saturating_add(bytes));
                let _ = control.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
                control.waker.wake();
            }
        }
        for number in told.end {
            if let Some(control) = self.controls.remove(&number) {
                control.ended.store(true, Ordering::Release);
                control.waker.wake();
            }
        }
    }
}

impl Stream for Session {
    type Item = Result<ext::Pieces, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Poll::Ready(Some(Ok(ext::Pieces::default())));
        }
        if self.over {
            return Poll::Ready(None);
        }
        while let Poll::Ready(Some(told)) = self.told.poll_recv(cx) {
            self.hear(told);
        }
        if let Some(end) = self.end.take() {
            self.over = true;
            return Poll::Ready(Some(Err(end)));
        }
        if !self.drains && self.draining.poll_unpin(cx).is_ready() {
            self.drains = true;
            // Each is to say that it ends, also one that may say nothing for want of credit.
            for control in self.controls.values() {
                control.credit.store(i64::MAX, Ordering::Release);
                control.waker.wake();
            }
        }
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while bytes < MESSAGE_BYTES
            && let Poll::Ready(Some(piece)) = self.streams.poll_next_unpin(cx)
        {
            match &piece.what {
                Some(What::Message(message)) => bytes += message.len(),
                Some(What::Ended(_)) | None => drop(self.controls.remove(&piece.stream)),
            }
            pieces.push(piece);
        }
        if !pieces.is_empty() || self.heartbeat.poll_unpin(cx).is_ready() {
            self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT);
            return Poll::Ready(Some(Ok(ext::Pieces { pieces })));
        }
        // The server ends its streams one by one; they say so here before this does.
        if self.drains && self.streams.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.name);
    }
}

/// One stream of a session.
struct One {
    number: u32,
    control: Arc<Control>,
    state: State,
    over: bool,
}

enum State {
    Refused(Status),
    Asked(Box<Answer>),
    /// The answers, and what came of the next one.
    Answers(Body, BytesMut),
}

impl Stream for One {
    type Item = ext::Piece;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ext::Piece>> {
        self.control.waker.register(cx.waker());
        if self.over || self.control.ended.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        let end = loop {
            let control = Arc::clone(&self.control);
            match &mut self.state {
                State::Refused(status) => break status.clone(),
                State::Asked(answer) => {
                    let (head, body) = match ready!(answer.poll_unpin(cx)) {
                        Ok(response) => response.into_parts(),
                        Err(never) => match never {},
                    };
                    if let Some(status) = Status::from_header_map(&head.headers) {
                        break status;
                    }
                    self.state = State::Answers(body, BytesMut::new());
                }
                State::Answers(body, rest) => {
                    if let Some(message) = next_message(rest) {
                        let bytes = i64::try_from(message.len()).unwrap_or(i64::MAX);
                        control.credit.fetch_sub(bytes, Ordering::AcqRel);
                        let what = Some(What::Message(message));
                        return Poll::Ready(Some(ext::Piece { stream: self.number, what }));
                    }
                    // What has no credit is not asked for more; the waker was left before credit was looked at.
                    if control.credit.load(Ordering::Acquire) <= 0 {
                        return Poll::Pending;
                    }
                    match ready!(Pin::new(body).poll_frame(cx)) {
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) => rest.extend_from_slice(&data),
                            Err(frame) => {
                                let trailers = frame.into_trailers().unwrap_or_default();
                                break Status::from_header_map(&trailers)
                                    .unwrap_or_else(|| Status::unknown("the stream has no status"));
                            }
                        },
                        Some(Err(error)) => break Status::from_error(error.into()),
                        None => break Status::ok(""),
                    }
                }
            }
        };
        self.over = true;
        let ended = Some(What::Ended(failure_of(&end)));
        Poll::Ready(Some(ext::Piece { stream: self.number, what: ended }))
    }
}

/// The next message, if all of it is there.
fn next_message(rest: &mut BytesMut) -> Option<Bytes> {
    let [_, a, b, c, d, ..] = rest[..] else { return None };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if rest.len() < HEADER_BYTES + length {
        return None;
    }
    rest.advance(HEADER_BYTES);
    Some(rest.split_to(length).freeze())
}

/// A status with its details, as it travels within a message.
fn failure_of(status: &Status) -> ext::Failure {
    if status.code() == Code::Ok {
        return ext::Failure::default();
    }
    let (reason, metadata) =
        status.get_details_error_info().map(|info| (info.reason, info.metadata)).unwrap_or_default();
    ext::Failure { code: status.code() as i32, message: status.message().to_owned(), reason, metadata }
}
