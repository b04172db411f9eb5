use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header, uri::Authority};
use hyper::body::Incoming;
use norikv_core::{Error, ErrorKind, Result};
use tonic::body::Body;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer, Service, ServiceExt};
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};

use crate::{
    ServerSettings,
    dispatch::{Answer, Dispatch},
    peer::Peer,
    status::status_of,
};

/// How long a browser may remember that it may call.
const PREFLIGHT_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// What a page may send, and what it may read of an answer.
const REQUEST_HEADERS: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::AUTHORIZATION,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
];
const ANSWER_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("leader-hint"),
];

/// The way in for every request: gRPC goes straight to its service, gRPC-Web by way of its translation, if the page
/// that it comes from is one that may.
pub(crate) struct Web {
    dispatch: Dispatch,
    /// The same for every connection.
    rules: Arc<Rules>,
}

struct Rules {
    origins: Origins,
    cors: CorsLayer,
}

/// The pages that may call, beside those that have the server's own origin.
enum Origins {
    Any,
    These(Vec<HeaderValue>),
}

impl Web {
    pub(crate) fn new(dispatch: Dispatch, settings: &ServerSettings) -> Result<Self> {
        let origins = Origins::of(&settings.cors_origins)?;
        let allowed = match &origins {
            Origins::Any => AllowOrigin::any(),
            Origins::These(origins) => AllowOrigin::list(origins.clone()),
        };
        // Credentials are never allowed: who calls says so in a header that the page sets itself.
        let cors = CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::POST])
            .allow_headers(REQUEST_HEADERS)
            .expose_headers(ANSWER_HEADERS)
            .max_age(PREFLIGHT_AGE);
        Ok(Self { dispatch, rules: Arc::new(Rules { origins, cors }) })
    }

    /// The same for a further connection.
    pub(crate) fn for_connection(&self) -> Self {
        Self { dispatch: self.dispatch.for_connection(), rules: Arc::clone(&self.rules) }
    }

    /// What is counted of the connection.
    pub(crate) fn peer(&self) -> &Arc<Peer> {
        self.dispatch.peer()
    }

    fn translated(&self) -> Cors<GrpcWebService<Native>> {
        self.rules.cors.layer(GrpcWebLayer::new().layer(Native(self.dispatch.clone())))
    }
}

impl hyper::service::Service<Request<Incoming>> for Web {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let headers = request.headers();
        let is_http2 = request.version() == http::Version::HTTP_2;
        if is_http2 && !headers.contains_key(header::ORIGIN) && !is_grpc_web(headers) {
            return Answering::Native(self.dispatch.answer(request));
        }
        if let Some(origin) = headers.get(header::ORIGIN)
            && !self.rules.origins.allows(origin, &request)
        {
            let status = status_of(refused(origin)).into_http();
            let (mut head, body) = status.into_parts();
            // A page that is told nothing of what may be read reads nothing.
            head.status = http::StatusCode::FORBIDDEN;
            return Answering::Web(ready(Ok(Response::from_parts(head, body))).boxed());
        }
        // A browser sends nothing else. Who sends it is not to keep the connection.
        if !is_http2 && !is_grpc_web(headers) && request.method() != Method::OPTIONS {
            return Answering::Web(ready(Ok(no_call())).boxed());
        }
        Answering::Web(self.translated().oneshot(request).boxed())
    }
}

fn is_grpc_web(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc-web"))
}

/// The answer to a request over HTTP/1.1 that is no call.
fn no_call() -> Response<Body> {
    let mut answer = Response::new(Body::new(http_body_util::Full::from(
        "this is a NoriKV server: it speaks gRPC over HTTP/2, and gRPC-Web\n",
    )));
    *answer.status_mut() = http::StatusCode::BAD_REQUEST;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

fn refused(origin: &HeaderValue) -> Error {
    Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "pages of {origin:?} may not call this server; start it with --cors-origin for those that may"
        ),
    )
}

impl Origins {
    fn of(texts: &[String]) -> Result<Self> {
        if texts.iter().any(|text| text == "*") {
            return Ok(Self::Any);
        }
        let origin = |text: &String| {
            let wrong = || {
                Error::invalid_argument(format!(
                    "an origin is written as browsers do, like https://app.example.com or http://localhost:5173, without a path; got {text:?}"
                ))
            };
            let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
            let plain = |part: &str| !part.is_empty() && part == part.to_ascii_lowercase();
            if !plain(scheme) || !plain(authority) || authority.contains('@') {
                return Err(wrong());
            }
            authority.parse::<Authority>().map_err(|_| wrong())?;
            HeaderValue::from_str(text).map_err(|_| wrong())
        };
        texts.iter().map(origin).collect::<Result<_>>().map(Self::These)
    }

    fn allows<B>(&self, origin: &HeaderValue, request: &Request<B>) -> bool {
        match self {
            Self::Any => true,
            Self::These(origins) => origins.contains(origin) || is_own(origin, request),
        }
    }
}

/// Whether the page came from this very server.
fn is_own<B>(origin: &HeaderValue, request: &Request<B>) -> bool {
    let host = || request.headers().get(header::HOST).map(HeaderValue::as_bytes);
    let own = request.uri().authority().map(|authority| authority.as_str().as_bytes()).or_else(host);
    let theirs = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    own.is_some() && own == theirs.map(|(_, authority)| authority.as_bytes())
}

/// The services as the translation calls them.
#[derive(Clone)]
struct Native(Dispatch);

impl Service<Request<Body>> for Native {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        self.0.answer(request)
    }
}

/// An answer on its way.
pub(crate) enum Answering {
    Native(Answer),
    Web(BoxFuture<'static, Result<Response<Body>, Infallible>>),
}

impl Future for Answering {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Native(answer) => answer.poll_unpin(cx),
            Self::Web(answer) => answer.poll_unpin(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_do() {
        let of = |text: &str| Origins::of(&[text.to_owned()]);
        for right in ["https://app.example.com", "http://localhost:5173", "http://[::1]:80"] {
            assert!(matches!(of(right), Ok(Origins::These(_))), "{right}");
        }
        assert!(matches!(of("*"), Ok(Origins::Any)));
        for wrong in
            ["", "app.example.com", "https://", "https://a/", "https://A.com", "https://u@a.com", "null"]
        {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_of_the_server_itself_may_call_it() {
        let origin = HeaderValue::from_static("http://127.0.0.1:7447");
        let none = Origins::of(&[]).unwrap_or(Origins::Any);
        let to = |host: &str| Request::builder().header(header::HOST, host).body(()).unwrap();
        assert!(none.allows(&origin, &to("127.0.0.1:7447")));
        assert!(!none.allows(&origin, &to("127.0.0.1:7448")));
        assert!(!none.allows(&HeaderValue::from_static("null"), &to("127.0.0.1:7447")));
    }
}
