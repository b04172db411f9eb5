use std::{
    io::{self, Write},
    time::Duration,
};

use norikv_tls::TlsAcceptor;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use crate::{
    connection::{self, ConnectionSettings},
    descriptors::{self, Spare},
    phase::{Phase, PhaseWatch, reached},
    tls::ALERT,
    web::Web,
};

/// How long to wait after the system failed to accept; twice as long each time, up to the most.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An empty SETTINGS frame, as a server begins, and GOAWAY with ENHANCE_YOUR_CALM: no call was taken.
const GO_AWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x1c\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo many connections";

/// Takes connections until the server drains, and sees them to their end.
pub(crate) struct Acceptor {
    pub(crate) listener: TcpListener,
    pub(crate) web: Web,
    /// What makes connections of TLS, where the port speaks it.
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) max_connections: usize,
    pub(crate) settings: ConnectionSettings,
    pub(crate) phase: PhaseWatch,
}

impl Acceptor {
    pub(crate) async fn run(self) {
        let mut connections = JoinSet::new();
        tokio::select! {
            () = reached(self.phase.clone(), Phase::Draining) => {}
            () = self.accept(&mut connections) => {}
        }
        // From here on the system refuses new connections.
        drop(self.listener);
        drop(self.web);
        let mut ended = std::pin::pin!(reached(self.phase, Phase::Ended));
        loop {
            tokio::select! {
                connection = connections.join_next() => if connection.is_none() { return },
                () = &mut ended => return connections.shutdown().await,
            }
        }
    }

    async fn accept(&self, connections: &mut JoinSet<()>) {
        let mut spare = Spare::of(&self.listener);
        let mut pause = FIRST_PAUSE;
        let word = if self.tls.is_some() { ALERT } else { GO_AWAY };
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    if connections.len() >= self.max_connections {
                        tracing::warn!(%peer, max = self.max_connections, "refused: too many connections");
                        refuse(stream, word);
                        continue;
                    }
                    if descriptors::are_scarce(&stream) {
                        tracing::warn!(%peer, "refused: too few descriptors are left to the process");
                        refuse(stream, word);
                        continue;
                    }
                    // Answers are small and complete: waiting to fill a packet would only delay them.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%peer, %error, "a connection was gone before it was served");
                        continue;
                    }
                    let (web, phase) = (self.web.for_connection(), self.phase.clone());
                    connections.spawn(connection::serve(stream, self.tls.clone(), web, self.settings, phase));
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    // Out of descriptors, most often. The connections still wait in the system's queue, so
                    // accepting again at once would only fail again, at full speed, unless they are refused.
                    let refused = spare.take_waiting(&self.listener, |stream| refuse(stream, word));
                    tracing::warn!(%error, refused, "cannot accept connections");
                    if refused == 0 {
                        sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }
}

/// Whether the error concerns the one connection that was being accepted.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Tells a client to go away, as far as that can be had without waiting for it.
fn refuse(stream: TcpStream, word: &[u8]) {
    if let Ok(mut stream) = stream.into_std() {
        // If it does not get through, the end of the connection says the same.
        let _ = stream.write(word);
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
}
