use std::{
    io::{self, Write},
    time::Duration,
};

use norikv_core::{Error, ErrorKind, Result, StoreRef};
use norikv_server::{Server, ServerSettings};

use crate::{args::Serve, open::open, signals::Signals};

/// Serves a store until a signal. A second signal does not wait for calls under way or for the store to close:
/// what was acknowledged is safe either way.
///
/// # Errors
/// Whatever the store or the server answers, and `Cancelled` if a second signal came.
pub(crate) async fn serve(serve: &Serve) -> Result<()> {
    // Before anything is opened: a signal that comes while the store opens must not tear it.
    let mut signals = Signals::listen().map_err(cannot_listen_to_signals)?;
    raise_descriptor_limit();
    // What is wrong with the files is told before anything is opened.
    let settings = settings(serve)?;
    let store = open(serve).await?;
    let served = serve_until_signal(&store, serve, settings, &mut signals).await;
    let closed = tokio::select! {
        closed = store.close() => closed,
        () = signals.next() => Err(forced()),
    };
    served.and(closed)
}

async fn serve_until_signal(
    store: &StoreRef,
    serve: &Serve,
    settings: ServerSettings,
    signals: &mut Signals,
) -> Result<()> {
    let server = Server::start(store.clone(), settings).await?;
    let mut out = io::stdout().lock();
    // Nobody may be reading; that is no reason not to serve.
    let _ = writeln!(out, "norikv is serving {} on {}", serve.store.shown(), server.local_addr());
    let _ = out.flush();
    drop(out);

    signals.next().await;
    tokio::select! {
        ended = server.shutdown(serve.grace_ms) => ended,
        () = signals.next() => {
            server.shutdown(Duration::ZERO).await?;
            Err(forced())
        }
    }
}

fn settings(serve: &Serve) -> Result<ServerSettings> {
    Ok(ServerSettings {
        listen: serve.listen,
        advertise: serve.advertise.clone(),
        node_id: serve.node_id.clone(),
        max_connections: serve.max_connections,
        max_watches_per_connection: serve.max_watches_per_connection,
        max_leases_per_connection: serve.max_leases_per_connection,
        request_timeout: serve.request_timeout_ms,
        cors_origins: serve.cors_origin.clone(),
        norikv_v1_only: serve.norikv_v1_only,
        etcd_api: serve.etcd_api,
        tls: serve.tls.settings()?,
        ..ServerSettings::default()
    })
}

fn forced() -> Error {
    Error::new(ErrorKind::Cancelled, "a second signal came; calls under way were broken off")
}

fn cannot_listen_to_signals(error: io::Error) -> Error {
    Error::internal("cannot listen to signals").caused_by(error)
}

/// Connections must not take the descriptors that the store needs, and many systems give a process few at first.
fn raise_descriptor_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // Where it is not allowed, the server still refuses what is too much.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
