use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, ready},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use hyper::{
    rt::Executor,
    server::conn::{http1, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use norikv_tls::{Stream, TlsAcceptor};
use tokio::{
    net::TcpStream,
    task::unconstrained,
    time::{sleep, timeout},
};

use crate::{
    ServerSettings,
    phase::{Phase, PhaseWatch, reached},
    preface::{Prefaced, Speaks},
    tls,
    web::Web,
};

/// How much a client may send on one call before we have read it.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same for all calls of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The most bytes of headers in one request.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// How long a client may take to read the end of its watches when the server shuts down and nothing else is under
/// way. It watches on elsewhere; one that does not read must not keep the server from ending.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is read of a request at a time, its headers included.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;

/// How long a client may take to close its side once we have closed ours.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// How connections are set up.
#[derive(Clone, Copy)]
pub(crate) struct ConnectionSettings {
    max_concurrent_streams: u32,
    handshake_timeout: Duration,
    keepalive_interval: Duration,
    keepalive_timeout: Duration,
    idle_timeout: Duration,
}

impl From<&ServerSettings> for ConnectionSettings {
    fn from(settings: &ServerSettings) -> Self {
        Self {
            max_concurrent_streams: settings.max_concurrent_streams,
            handshake_timeout: settings.handshake_timeout,
            keepalive_interval: settings.keepalive_interval,
            keepalive_timeout: settings.keepalive_timeout,
            idle_timeout: settings.idle_timeout,
        }
    }
}

/// Serves one connection to its end. Whatever a client sends costs it this connection at most.
///
/// The connection and its calls are one task. Calls are begun in the order in which they came, which two tasks
/// on two threads would not keep; their answers leave in one write; and nothing is handed between threads.
pub(crate) async fn serve(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    web: Web,
    settings: ConnectionSettings,
    phase: PhaseWatch,
) {
    let mut draining = pin!(reached(phase, Phase::Draining));
    let begin = async {
        match &acceptor {
            Some(acceptor) => tls::accept(acceptor, stream).await,
            None => Prefaced::accept(Stream::Plain(stream)).await,
        }
    };
    let prefaced = tokio::select! {
        prefaced = timeout(settings.handshake_timeout, begin) => prefaced,
        () = &mut draining => return,
    };
    let Ok(Ok(Some(stream))) = prefaced else {
        tracing::debug!("a connection that does not speak HTTP");
        return;
    };

    let socket = stream.socket();
    let drained = match stream.speaks {
        Speaks::Http2 => exchange(stream, web, settings, draining).await,
        Speaks::Http1 => exchange_http1(stream, web, settings, draining).await,
        Speaks::Tls => {
            tls::refuse(stream).await;
            false
        }
    };
    if drained {
        let _ = timeout(LINGER, socket.drain()).await;
    }
}

/// Speaks HTTP/2 to the end. Answers whether that was the server's end, with nothing left to say.
async fn exchange(
    stream: Prefaced,
    web: Web,
    settings: ConnectionSettings,
    mut draining: Pin<&mut impl Future<Output = ()>>,
) -> bool {
    let arrived = Arrived::default();
    let peer = Arc::clone(web.peer());
    let streams = settings.max_concurrent_streams;
    let mut connection = pin!(
        http2::Builder::new(arrived.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(streams)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(settings.keepalive_interval)
            .keep_alive_timeout(settings.keepalive_timeout)
            // A client may cancel all its calls at once. One that goes on doing so before we have even seen them
            // is up to no good.
            .max_pending_accept_reset_streams(streams as usize)
            .serve_connection(TokioIo::new(stream), web)
    );
    let mut calls = FuturesUnordered::new();
    let (mut drains, mut watched) = (false, false);
    let mut farewell = None;
    std::future::poll_fn(|cx| {
        if !drains && draining.as_mut().poll(cx).is_ready() {
            drains = true;
            connection.as_mut().graceful_shutdown();
        }
        let ended = connection.as_mut().poll(cx);
        // Also when it ended: a call holds on to where it arrived, so one left there would hold itself.
        arrived.move_to(&mut calls);
        if let Poll::Ready(ended) = ended {
            if let Err(error) = &ended {
                tracing::debug!(%error, "a connection broke");
            }
            return Poll::Ready(drains && ended.is_ok());
        }
        // The number of calls is bounded, so polling all that can go on starves nobody. What they send wakes the
        // connection, that is this task.
        while let Poll::Ready(Some(())) = pin!(unconstrained(calls.next())).poll(cx) {}
        watched |= peer.endless() > 0;
        if drains && watched && calls.len() <= peer.endless() {
            ready!(farewell.get_or_insert_with(|| Box::pin(sleep(FAREWELL))).poll_unpin(cx));
            tracing::debug!("the end of a watch was not read");
            return Poll::Ready(false);
        }
        Poll::Pending
    })
    .await
}

/// Speaks HTTP/1.1 to the end, as browsers do where there is no TLS, and others where they choose it. Answers whether nothing is left to say.
async fn exchange_http1(
    stream: Prefaced,
    web: Web,
    settings: ConnectionSettings,
    draining: Pin<&mut impl Future<Output = ()>>,
) -> bool {
    let peer = Arc::clone(web.peer());
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // Also the time that a connection may be idle between two requests.
            .header_read_timeout(settings.idle_timeout)
            .max_buf_size(HTTP1_BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), web)
    );
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = draining => {
            connection.as_mut().graceful_shutdown();
            // A connection has one call at a time here.
            if peer.endless() == 0 {
                connection.await
            } else if let Ok(ended) = timeout(FAREWELL, connection).await {
                ended
            } else {
                tracing::debug!("the end of a watch was not read");
                return false;
            }
        }
    };
    if let Err(error) = &ended {
        tracing::debug!(%error, "a connection broke");
    }
    ended.is_ok()
}

/// The calls that came in since the connection was last polled.
#[derive(Clone, Default)]
struct Arrived(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl Arrived {
    fn move_to(&self, calls: &mut FuturesUnordered<BoxFuture<'static, ()>>) {
        let mut arrived = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.extend(arrived.drain(..));
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Arrived {
    fn execute(&self, call: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call.boxed());
    }
}
