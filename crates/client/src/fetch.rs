//! gRPC-Web over `fetch`, for browsers, workers, and everything else that has it.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderName, HeaderValue};
use js_sys::{Object, Promise, Reflect, Uint8Array};
use norikv_core::{Error, ErrorKind, FieldName, NodeAddress, Result};
use norikv_proto::ext;
use tokio::sync::watch;
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableStreamDefaultReader, RequestCache, RequestCredentials, RequestInit,
    RequestMode, Response,
};

use crate::{
    Settings,
    grpc::{self, Broken, Frame, Frames},
    transport::{Failed, Link, MessageStream, Transport},
};

#[wasm_bindgen]
extern "C" {
    /// The global one: a window's, a worker's, or that of a platform without either.
    #[wasm_bindgen(js_name = fetch, catch)]
    fn fetch(url: &str, init: &RequestInit) -> Result<Promise, JsValue>;
}

/// gRPC-Web over `fetch`.
#[derive(Debug)]
pub struct FetchTransport {
    authorization: Option<String>,
    /// True once the transport closes. Every call holds a receiver, so that close can wait for the last.
    closing: Rc<watch::Sender<bool>>,
}

impl FetchTransport {
    /// A transport with the settings that concern one.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let authorization = settings.token.as_ref().map(|token| format!("Bearer {token}"));
        Self { authorization, closing: Rc::new(watch::Sender::new(false)) }
    }
}

impl Transport for FetchTransport {
    type Link = FetchLink;

    fn link(&self, address: &NodeAddress) -> Result<FetchLink> {
        Ok(FetchLink(Rc::new(Node {
            address: address.clone(),
            url: address.url(),
            authorization: self.authorization.clone(),
            closing: Rc::clone(&self.closing),
            reachable: Cell::new(false),
            generation: Cell::new(0),
        })))
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        sleep(duration)
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        wasm_bindgen_futures::spawn_local(future);
    }

    async fn close(&self) {
        self.closing.send_replace(true);
        self.closing.closed().await;
    }
}

/// Waits, by the page's timer.
pub async fn sleep(duration: Duration) {
    // A timer counts in 31 bits of milliseconds; who waits for longer looks again.
    let millis = duration.as_millis().min(i32::MAX as u128);
    gloo_timers::future::TimeoutFuture::new(u32::try_from(millis).unwrap_or(u32::MAX)).await;
}

/// The way to one node.
#[derive(Debug)]
pub struct FetchLink(Rc<Node>);

#[derive(Debug)]
struct Node {
    address: NodeAddress,
    url: String,
    authorization: Option<String>,
    closing: Rc<watch::Sender<bool>>,
    /// Whether the last call reached it. The connections are the browser's own, and it tells nothing of them.
    reachable: Cell<bool>,
    /// How often it became reachable.
    generation: Cell<u64>,
}

impl Link for FetchLink {
    type Stream = Answers;

    async fn unary(
        &self,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Bytes, Failed> {
        let mut answers = self.stream(method, message, timeout).await?;
        let first = poll_fn(|cx| answers.poll_next(cx)).await?;
        // The status comes after the message; an answer without one is not an answer.
        while poll_fn(|cx| answers.poll_next(cx)).await?.is_some() {}
        first.ok_or_else(|| Failed::Lost(self.0.lost("it ended the call without an answer")))
    }

    async fn stream(
        &self,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Answers, Failed> {
        let node = &self.0;
        let mut closing = node.closing.subscribe();
        let call =
            OnAbort(AbortController::new().map_err(|_| Failed::NotSent(node.internal("AbortController")))?);
        let init =
            node.request(&message, timeout, &call.0).map_err(|_| Failed::NotSent(node.internal("fetch")))?;
        let promise = fetch(&format!("{}{method}", node.url), &init)
            .map_err(|error| Failed::NotSent(node.unreachable(&said(&error))))?;
        let closed = async {
            let _ = closing.wait_for(|closing| *closing).await;
        };
        let response = match select(std::pin::pin!(closed), JsFuture::from(promise)).await {
            Either::Left(_) => return Err(Failed::Lost(Error::closed("the client"))),
            // It may have left: a browser does not tell a request that met no server from one without an answer.
            Either::Right((Err(error), _)) => return Err(node.failed(&said(&error))),
            Either::Right((Ok(response), _)) => response,
        };
        node.reached();
        let response: Response =
            response.dyn_into().map_err(|_| Failed::Lost(node.lost("it answered with something else")))?;
        let headers = headers_of(&response.headers());
        match grpc::status(&headers) {
            Some(Err(failure)) => return Err(node.answered(failure)),
            Some(Ok(())) => {}
            None if !response.ok() => {
                let status = http::StatusCode::from_u16(response.status()).unwrap_or_default();
                return Err(node.answered(grpc::http_failure(status)));
            }
            None => {}
        }
        let reader = response.body().map(|body| body.get_reader().unchecked_into());
        Ok(Answers {
            node: Rc::clone(node),
            reader,
            reading: RefCell::new(None),
            frames: Frames::default(),
            ended: headers.contains_key("grpc-status"),
            closing: Box::pin(async move {
                let _ = closing.wait_for(|closing| *closing).await;
            }),
            _call: call,
        })
    }

    fn generation(&self) -> u64 {
        self.0.generation.get()
    }

    fn connections(&self) -> usize {
        usize::from(self.0.reachable.get())
    }
}

/// Ends a call when nobody waits for it any more.
#[derive(Debug)]
struct OnAbort(AbortController);

impl Drop for OnAbort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Node {
    fn request(
        &self,
        message: &Bytes,
        timeout: Option<Duration>,
        call: &AbortController,
    ) -> Result<RequestInit, JsValue> {
        let headers = Headers::new()?;
        headers.set("content-type", "application/grpc-web+proto")?;
        headers.set("x-grpc-web", "1")?;
        if let Some(timeout) = timeout {
            headers.set("grpc-timeout", &grpc::timeout_header(timeout))?;
        }
        if let Some(authorization) = &self.authorization {
            headers.set("authorization", authorization)?;
        }
        let init = RequestInit::new();
        init.set_method("POST");
        init.set_headers(&headers);
        init.set_body(&Uint8Array::from(&grpc::frame(message)[..]));
        init.set_mode(RequestMode::Cors);
        init.set_credentials(RequestCredentials::Omit);
        init.set_cache(RequestCache::NoStore);
        init.set_signal(Some(&call.signal()));
        Ok(init)
    }

    fn reached(&self) {
        if !self.reachable.replace(true) {
            self.generation.set(self.generation.get() + 1);
        }
    }

    fn failed(&self, why: &str) -> Failed {
        // Nothing was ever answered, or nothing is any more: either way it is not known to have left.
        let known = self.reachable.replace(false);
        let error = self.unreachable(why);
        if known { Failed::Lost(self.lost(why)) } else { Failed::Lost(error) }
    }

    fn with_address(&self, error: Error) -> Error {
        error.with(FieldName::Address, self.address.to_string().as_str())
    }

    fn internal(&self, what: &str) -> Error {
        self.with_address(Error::internal(format!("this platform has no {what} as browsers have it")))
    }

    fn unreachable(&self, why: &str) -> Error {
        self.with_address(Error::new(
            ErrorKind::Connection,
            format!(
                "no connection to {}: {why}; see whether the server runs there, lets this page's origin in (--cors-origin), and is asked over https where the page came over https",
                self.url
            ),
        ))
    }

    fn lost(&self, why: &str) -> Error {
        self.with_address(Error::new(
            ErrorKind::Unavailable,
            format!("the connection to {} was lost before the answer: {why}", self.url),
        ))
    }

    fn broken(&self, broken: &Broken) -> Failed {
        match broken {
            Broken::Wrong(why) => Failed::Lost(self.lost(why)),
            Broken::TooLarge(bytes) => Failed::TooLarge(self.with_address(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "the answer of {} has {bytes} bytes, and at most {} are taken; ask for less at once",
                    self.url,
                    grpc::MAX_MESSAGE_BYTES
                ),
            ))),
        }
    }

    fn answered(&self, mut failure: ext::Failure) -> Failed {
        failure
            .metadata
            .entry(FieldName::Address.as_str().to_owned())
            .or_insert_with(|| self.address.to_string());
        Failed::Answered(failure)
    }
}

/// What a thrown thing says.
fn said(error: &JsValue) -> String {
    let message = Reflect::get(error, &JsValue::from_str("message")).ok();
    message.and_then(|message| message.as_string()).unwrap_or_else(|| format!("{error:?}"))
}

/// Those of the answer's headers that say how the call went.
fn headers_of(headers: &Headers) -> HeaderMap {
    let names = ["grpc-status", "grpc-message", "grpc-status-details-bin", "leader-hint"];
    let found = names.into_iter().filter_map(|name| {
        let value = headers.get(name).ok()??;
        Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
    });
    found.collect()
}

/// The trailers of gRPC-Web: lines of text.
fn trailers_of(text: &[u8]) -> HeaderMap {
    let lines = text.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(line[..at].trim_ascii()).ok()?;
        Some((name, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?))
    });
    fields.collect()
}

/// The answers of a call, as its body comes.
pub struct Answers {
    node: Rc<Node>,
    reader: Option<ReadableStreamDefaultReader>,
    reading: RefCell<Option<JsFuture>>,
    frames: Frames,
    ended: bool,
    closing: Pin<Box<dyn Future<Output = ()>>>,
    _call: OnAbort,
}

impl MessageStream for Answers {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failed>> {
        loop {
            match self.frames.pull() {
                Ok(Some(Frame::Message(message))) => return Poll::Ready(Ok(Some(message))),
                Ok(Some(Frame::Trailers(text))) => {
                    self.ended = true;
                    match grpc::status(&trailers_of(&text)) {
                        Some(Ok(())) => return Poll::Ready(Ok(None)),
                        Some(Err(failure)) => return Poll::Ready(Err(self.node.answered(failure))),
                        None => {
                            return Poll::Ready(Err(Failed::Lost(self.node.lost("the answer has no status"))));
                        }
                    }
                }
                Ok(None) => {}
                Err(broken) => return Poll::Ready(Err(self.node.broken(&broken))),
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            if self.closing.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Failed::Lost(Error::closed("the client"))));
            }
            let Some(reader) = &self.reader else {
                return Poll::Ready(Err(Failed::Lost(self.node.lost("the answer has no body"))));
            };
            let mut slot = self.reading.borrow_mut();
            let reading = slot.get_or_insert_with(|| JsFuture::from(reader.read()));
            let read = ready!(Pin::new(reading).poll(cx));
            *slot = None;
            drop(slot);
            match read.map(Object::from).and_then(|read| Reflect::get(&read, &JsValue::from_str("value"))) {
                Ok(value) if value.is_undefined() => {
                    return Poll::Ready(Err(Failed::Lost(self.node.lost("the answer broke off"))));
                }
                Ok(value) => self.frames.push(Uint8Array::from(value).to_vec().into()),
                Err(error) => return Poll::Ready(Err(self.node.failed(&said(&error)))),
            }
        }
    }
}
