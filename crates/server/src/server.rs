use std::{io, net::SocketAddr, time::Duration};

use norikv_core::{Call, Error, ErrorKind, FieldName, Result, StoreRef};
use norikv_tls::ServerTls;
use tokio::{net::TcpListener, sync::watch, time::timeout};

use crate::{ServerSettings, accept::Acceptor, dispatch::Dispatch, phase::Phase, web::Web};

/// A running server.
///
/// It runs on the runtime that started it, whichever kind that is. It does not close its store; whoever opened
/// the store does. Dropping a server without [`Server::shutdown`] breaks its connections off.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    phase: watch::Sender<Phase>,
}

impl Server {
    /// Serves a store. When this returns, clients can connect.
    ///
    /// # Errors
    /// `InvalidArgument` for settings that cannot be, such as a key that is not the certificate's, `Connection` or `PermissionDenied` if the address cannot
    /// be listened on, and whatever the store answers when it is asked for its status.
    pub async fn start(store: StoreRef, settings: ServerSettings) -> Result<Self> {
        settings.check()?;
        let tls = settings.tls.as_ref().map(ServerTls::acceptor).transpose()?;
        let status = store.status(Call::default()).await?;
        if settings.etcd_api && status.version.is_moment() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "etcd's protocol cannot be served from several clusters as one: its revisions are those of one; point etcd's clients at a cluster",
            ));
        }
        let limits = status.limits;
        let listen = settings.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| cannot_listen(listen, error))?;
        let local_addr = listener.local_addr().map_err(|error| cannot_listen(listen, error))?;
        let (phase, watch) = watch::channel(Phase::Serving);
        let acceptor = Acceptor {
            listener,
            web: Web::new(Dispatch::new(store, &limits, &settings, local_addr, watch.clone()), &settings)?,
            tls,
            max_connections: settings.max_connections,
            settings: (&settings).into(),
            phase: watch,
        };
        tokio::spawn(acceptor.run());
        tracing::info!(%local_addr, tls = settings.tls.is_some(), "serving");
        Ok(Self { local_addr, phase })
    }

    /// Where the server listens, with the port it has.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends the server: it takes no more connections and calls, answers the calls that it has, ends the streams
    /// that have no end, and closes. What is left after `grace` is broken off. Ending twice is ending once.
    ///
    /// # Errors
    /// None at present.
    pub async fn shutdown(&self, grace: Duration) -> Result<()> {
        self.advance(Phase::Draining);
        if timeout(grace, self.phase.closed()).await.is_err() {
            tracing::warn!(?grace, "calls were still under way when the grace was over");
            self.advance(Phase::Ended);
            self.phase.closed().await;
        }
        Ok(())
    }

    fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let forward = *now < phase;
            *now = phase.max(*now);
            forward
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.advance(Phase::Ended);
    }
}

fn cannot_listen(listen: SocketAddr, error: io::Error) -> Error {
    let (kind, why) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            ErrorKind::Connection,
            "another program listens there; end it, or choose another port".to_owned(),
        ),
        io::ErrorKind::AddrNotAvailable => {
            (ErrorKind::InvalidArgument, "this machine does not have that address".to_owned())
        }
        io::ErrorKind::PermissionDenied => {
            (ErrorKind::PermissionDenied, "not permitted; choose a port above 1023".to_owned())
        }
        _ => (ErrorKind::Connection, error.to_string()),
    };
    Error::new(kind, format!("cannot listen on {listen}: {why}"))
        .with(FieldName::Address, listen.to_string().as_str())
        .caused_by(error)
}
