//! gRPC-Web over `fetch`, for browsers, workers, and everything else that has it. `fetch.js` is the other half.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use norikv_core::{Error, ErrorKind, FieldName, NodeAddress, Result};
use norikv_proto::ext;
use wasm_bindgen::{JsValue, closure::Closure, prelude::wasm_bindgen};

use crate::{
    Settings,
    grpc::{self, MAX_MESSAGE_BYTES},
    streams::{SharedStream, Streams},
    transport::{Failed, Link, MessageStream, Transport},
};

#[wasm_bindgen(module = "/src/fetch.js")]
extern "C" {
    fn begin(
        wake: &Closure<dyn Fn(u32)>,
        id: u32,
        most: u32,
        url: &str,
        authorization: Option<&str>,
        timeout: Option<&str>,
        message: &[u8],
    );
    fn take(id: u32) -> Option<Vec<u8>>;
    fn end(id: u32);
    /// 16 bytes that nobody guesses.
    pub(crate) fn random() -> Vec<u8>;
    #[wasm_bindgen(js_name = startTimer)]
    fn start_timer(wake: &Closure<dyn Fn(u32)>, id: u32, millis: u32) -> JsValue;
    #[wasm_bindgen(js_name = stopTimer)]
    fn stop_timer(timer: &JsValue);
}

/// How much later than at the end of its time a call is given up whose server should have said so.
const GRACE: Duration = Duration::from_secs(1);
const FOREVER: Duration = Duration::from_millis(i32::MAX as u64);

// What `fetch.js` tells beside the frames of gRPC-Web.
const MESSAGE: u8 = 0;
const TRAILERS: u8 = 0x80;
const UNREACHED: u8 = 2;
const BROKEN: u8 = 3;
const TOO_LARGE: u8 = 4;
const HTTP: u8 = 5;

/// Who waits for calls and timers of the page, by number. The page has one thread.
#[derive(Default)]
struct Waiting {
    last: u32,
    wakers: HashMap<u32, Option<Waker>>,
}

thread_local! {
    static WAITING: RefCell<Waiting> = RefCell::default();
    /// What the page calls. Made once, and used for all calls and timers.
    static WAKE: Closure<dyn Fn(u32)> = Closure::new(|id| {
        let waker = WAITING.with_borrow_mut(|waiting| waiting.wakers.get_mut(&id).and_then(Option::take));
        // Not while it is borrowed: who is woken may begin something new.
        if let Some(waker) = waker {
            waker.wake();
        }
    });
}

/// A number under which the page wakes somebody, until it is dropped.
struct Bell(u32);

impl Bell {
    fn new() -> Self {
        WAITING.with_borrow_mut(|waiting| {
            loop {
                waiting.last = waiting.last.wrapping_add(1);
                if !waiting.wakers.contains_key(&waiting.last) {
                    waiting.wakers.insert(waiting.last, None);
                    return Self(waiting.last);
                }
            }
        })
    }

    fn register(&self, cx: &Context<'_>) {
        let waker = Some(cx.waker().clone());
        WAITING.with_borrow_mut(|waiting| drop(waiting.wakers.insert(self.0, waker)));
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let waker = WAITING.with_borrow_mut(|waiting| waiting.wakers.remove(&self.0));
        drop(waker);
    }
}

/// Waits, by the page's timer.
pub async fn sleep(duration: Duration) {
    // A timer counts in 31 bits of milliseconds, rounded up so that it never fires early; who waits for longer looks again.
    let millis = duration.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128);
    Timer::new(u32::try_from(millis).unwrap_or(u32::MAX)).await;
}

struct Timer {
    bell: Bell,
    timer: JsValue,
    begun: bool,
}

impl Timer {
    fn new(millis: u32) -> Self {
        let bell = Bell::new();
        let timer = WAKE.with(|wake| start_timer(wake, bell.0, millis));
        Self { bell, timer, begun: false }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // It fires in a task of its own, so not before it is first polled; a waker that is gone was called.
        let id = self.bell.0;
        let fired = std::mem::replace(&mut self.begun, true)
            && WAITING.with_borrow(|waiting| waiting.wakers.get(&id).is_none_or(Option::is_none));
        if fired {
            return Poll::Ready(());
        }
        self.bell.register(cx);
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        stop_timer(&self.timer);
    }
}

/// gRPC-Web over `fetch`.
#[derive(Debug)]
pub struct FetchTransport {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    authorization: Option<String>,
    closed: Cell<bool>,
}

impl FetchTransport {
    /// A transport with the settings that concern one.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        // Without a seed of the page's, every page would wait the same "random" times.
        fastrand::seed(random().into_iter().fold(0, |seed, byte| seed << 8 | u64::from(byte)));
        let authorization = settings.token.as_ref().map(|token| format!("Bearer {token}"));
        Self { shared: Rc::new(Shared { authorization, closed: Cell::new(false) }) }
    }
}

impl Transport for FetchTransport {
    type Link = FetchLink;

    /// Six, for all tabs of a browser.
    const SCARCE: bool = true;

    fn link(&self, address: &NodeAddress) -> Result<FetchLink> {
        Ok(FetchLink(Rc::new(Node {
            address: address.clone(),
            url: address.url(),
            shared: Rc::clone(&self.shared),
            reachable: Cell::new(false),
            generation: Cell::new(0),
            streams: Streams::default(),
        })))
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        sleep(duration)
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        wasm_bindgen_futures::spawn_local(future);
    }

    async fn close(&self) {
        self.shared.closed.set(true);
        // Whoever waits for an answer finds out, and lets go of it. Timers are woken for nothing: they wait on.
        let wakers: Vec<_> =
            WAITING.with_borrow(|waiting| waiting.wakers.values().flatten().cloned().collect());
        for waker in wakers {
            waker.wake();
        }
    }
}

/// The way to one node.
#[derive(Clone)]
pub struct FetchLink(Rc<Node>);

/// What is known of a node.
pub struct Node {
    address: NodeAddress,
    url: String,
    shared: Rc<Shared>,
    /// Whether the last call reached it. The connections are the browser's own, and it tells nothing of them.
    reachable: Cell<bool>,
    /// How often it became reachable.
    generation: Cell<u64>,
    streams: Streams,
}

impl FetchLink {
    pub(crate) fn node(&self) -> &Rc<Node> {
        &self.0
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.0.streams
    }

    /// A failure that the node told.
    pub(crate) fn answered(&self, failure: ext::Failure) -> Failed {
        grpc::answered(failure, &self.0.address)
    }
}

impl Link for FetchLink {
    type Stream = Answers;

    async fn unary(
        &self,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Bytes, Failed> {
        let mut answers = Fetched::begin(&self.0, method, &message, timeout);
        // The server minds the time itself; a connection that is dead says nothing.
        let mut late = pin!(sleep(timeout.map_or(FOREVER, |timeout| timeout + GRACE)));
        let mut first = None;
        poll_fn(|cx| {
            loop {
                match answers.poll_next(cx) {
                    // The status comes after the message; an answer without one is not an answer.
                    Poll::Ready(Ok(Some(message))) => first = Some(message),
                    Poll::Ready(Ok(None)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed)),
                    Poll::Pending if late.as_mut().poll(cx).is_ready() => {
                        return Poll::Ready(Err(self.0.lost("it did not answer in time")));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await?;
        first.ok_or_else(|| self.0.lost("it ended the call without an answer"))
    }

    async fn stream(
        &self,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Answers, Failed> {
        // A stream without a time goes on without an end.
        match timeout {
            None => self.lasting(method, message).await,
            Some(_) => Ok(Answers::Own(Fetched::begin(&self.0, method, &message, timeout))),
        }
    }

    /// Together with the others of this node in one `fetch`: a browser has few.
    async fn lasting(&self, method: &'static str, message: Bytes) -> Result<Answers, Failed> {
        Ok(match self.0.streams.begin(self, method, &message)? {
            Some(stream) => Answers::Shared { stream, node: Rc::clone(&self.0), method, message },
            None => Answers::Own(Fetched::begin(&self.0, method, &message, None)),
        })
    }

    fn generation(&self) -> u64 {
        self.0.generation.get()
    }

    fn connections(&self) -> usize {
        usize::from(self.0.reachable.get())
    }
}

impl Node {
    fn reached(&self) {
        if !self.reachable.replace(true) {
            self.generation.set(self.generation.get() + 1);
        }
    }

    fn failed(&self, kind: ErrorKind, message: String) -> Error {
        Error::new(kind, message).with(FieldName::Address, self.address.to_string().as_str())
    }

    /// It may have left: a browser does not tell a request that met no server from one without an answer.
    fn unreached(&self, why: &str) -> Failed {
        if self.reachable.replace(false) {
            return self.lost(why);
        }
        Failed::Lost(self.failed(
            ErrorKind::Connection,
            format!(
                "no connection to {}: {why}; see whether the server runs there, whether it lets this page's origin in (CORS: norikv serve --cors-origin …), and whether it is asked over https where the page came over https (mixed content)",
                self.url
            ),
        ))
    }

    fn lost(&self, why: &str) -> Failed {
        let message = format!("the connection to {} was lost before the answer: {why}", self.url);
        Failed::Lost(self.failed(ErrorKind::Unavailable, message))
    }
}

/// The answers of a call.
pub enum Answers {
    /// As the body of its own `fetch` comes.
    Own(Fetched),
    /// As they come with those of others.
    Shared {
        /// Where they come from.
        stream: SharedStream,
        /// What is asked, should the server not have streams in one.
        node: Rc<Node>,
        /// The method.
        method: &'static str,
        /// The request.
        message: Bytes,
    },
}

impl MessageStream for Answers {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failed>> {
        if let Self::Shared { stream, node, method, message } = self {
            match stream.poll_next(cx) {
                Poll::Ready(Err(failed)) if failed.is_unimplemented() => {
                    *self = Self::Own(Fetched::begin(node, method, message, None));
                }
                answer => return answer,
            }
        }
        match self {
            Self::Own(own) => own.poll_next(cx),
            Self::Shared { .. } => Poll::Pending,
        }
    }
}

/// The answers of a call, as its body comes.
pub struct Fetched {
    node: Rc<Node>,
    bell: Bell,
    ended: bool,
}

impl Fetched {
    pub(crate) fn begin(node: &Rc<Node>, method: &str, message: &[u8], timeout: Option<Duration>) -> Self {
        let bell = Bell::new();
        let url = [&node.url, method].concat();
        let timeout = timeout.map(grpc::timeout_header);
        let most = u32::try_from(MAX_MESSAGE_BYTES).unwrap_or(u32::MAX);
        let authorization = node.shared.authorization.as_deref();
        WAKE.with(|wake| begin(wake, bell.0, most, &url, authorization, timeout.as_deref(), message));
        Self { node: Rc::clone(node), bell, ended: false }
    }

    fn take(&mut self, event: Vec<u8>) -> Result<Option<Bytes>, Failed> {
        let node = &self.node;
        let mut event = Bytes::from(event);
        let (mark, number) = (event.get_u8(), event.get_u32());
        if !matches!(mark, UNREACHED | BROKEN) {
            node.reached();
        }
        if mark == MESSAGE {
            return Ok(Some(event));
        }
        self.ended = true;
        Err(match mark {
            TRAILERS => match grpc::status(&|name| trailer(&event, name)) {
                Some(Ok(())) => return Ok(None),
                Some(Err(failure)) => grpc::answered(failure, &node.address),
                None => node.lost("the answer has no status"),
            },
            HTTP => grpc::answered(grpc::http_failure(number), &node.address),
            TOO_LARGE => Failed::TooLarge(grpc::too_large(&node.address, number as usize)),
            UNREACHED => node.unreached(&String::from_utf8_lossy(&event)),
            BROKEN => node.lost(&String::from_utf8_lossy(&event)),
            _ => node.lost("the answer is compressed, which was not asked for"),
        })
    }
}

impl MessageStream for Fetched {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failed>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        if self.node.shared.closed.get() {
            return Poll::Ready(Err(Failed::Lost(Error::closed("the client"))));
        }
        self.bell.register(cx);
        take(self.bell.0).map_or(Poll::Pending, |event| Poll::Ready(self.take(event)))
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        end(self.bell.0);
    }
}

/// A field of the trailers of gRPC-Web, which are lines of text.
fn trailer<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let found = line[..at].trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        found.then(|| line[at + 1..].trim_ascii())
    })
}
