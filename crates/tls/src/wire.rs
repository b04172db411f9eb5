use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use norikv_core::Error;
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsStream;

use crate::{
    client::{Connector, stranger},
    fault::Fault,
    stream::Stream,
};

/// A client's connection to a server: plain, or of TLS.
///
/// It watches what a server begins with, because what carries messages over it forgets why it broke: a server that does
/// not take a client's certificate says so only after the handshake, where TLS 1.3 is spoken.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    sense: Arc<Sense>,
    /// Whether something was read, without a look at what is shared.
    heard: bool,
    has_identity: bool,
}

/// What is known of a connection by who does not hold it.
#[derive(Debug, Default)]
pub struct Sense {
    heard: AtomicBool,
    fault: OnceLock<Fault>,
}

impl Sense {
    /// Whether the server has said something.
    #[must_use]
    pub fn heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    /// Notes why, where it was found out in another way.
    pub fn misunderstood(&self, fault: Fault) {
        let _ = self.fault.set(fault);
    }

    /// Why the two sides do not understand each other.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Unmade {
    /// It may be there the next time.
    #[error("{0}")]
    Io(io::Error),
    /// It will not be until something is changed.
    #[error("{0}")]
    Fault(Fault),
    /// It cannot be asked for.
    #[error("{0}")]
    Wrong(Error),
}

impl Wire {
    /// Connects to a port of a host, and speaks TLS if there is something to speak it with.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(host: &str, port: u16, tls: Option<&Connector>) -> Result<Self, Unmade> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let stream = TcpStream::connect((bare, port)).await.map_err(Unmade::Io)?;
        // What is written is whole; waiting for more to send only delays it.
        stream.set_nodelay(true).map_err(Unmade::Io)?;
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(connector) => Stream::tls(connector.connect(bare, stream).await?),
        };
        let has_identity = tls.is_some_and(Connector::has_identity);
        Ok(Self { stream, sense: Arc::default(), heard: false, has_identity })
    }

    /// Waits for the first word of the server, or for its last: whether it takes the client's certificate shows only then.
    /// A server that says nothing in that time may be one that does not speak first.
    ///
    /// # Errors
    /// Why the connection is over.
    pub async fn first_word(&mut self, limit: Duration) -> Result<(), Unmade> {
        let Stream::Tls(stream) = &mut self.stream else { return Ok(()) };
        let heard = poll_fn(|cx| match &mut **stream {
            TlsStream::Client(stream) => Pin::new(stream).poll_fill_buf(cx).map_ok(|_| ()),
            TlsStream::Server(stream) => Pin::new(stream).poll_fill_buf(cx).map_ok(|_| ()),
        });
        match timeout(limit, heard).await {
            Ok(Err(error)) => Err(match Fault::of(&error, self.has_identity) {
                Some(fault) => Unmade::Fault(fault),
                None => Unmade::Io(error),
            }),
            _ => Ok(()),
        }
    }

    /// Whether it is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// What is known of the connection from now on.
    #[must_use]
    pub fn sense(&self) -> Arc<Sense> {
        Arc::clone(&self.sense)
    }

    fn hear(&mut self, first: &[u8]) {
        if first.is_empty() {
            return;
        }
        self.heard = true;
        // A record of TLS: an alert, or a handshake. HTTP/2 begins with the length of a short frame.
        if !self.is_tls() && matches!(first, [0x15 | 0x16, 0x03, ..]) {
            let _ = self.sense.fault.set(Fault::SpeaksTls);
        }
        self.sense.heard.store(true, Ordering::Release);
    }

    /// A server that ended the connection may have said why, before a write found it closed.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if self.is_tls() && matches!(written, Poll::Ready(Err(_))) {
            let mut scratch = [0; 256];
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut scratch));
            if let Poll::Ready(Err(error)) = read {
                self.fail(&error);
            }
        }
        written
    }

    fn fail(&self, error: &io::Error) {
        if let Some(fault) = Fault::of(error, self.has_identity) {
            // Only the first is told: what follows is its consequence.
            let _ = self.sense.fault.set(fault);
        }
    }
}

/// Whether a port speaks TLS, for who was hung up on after words of plain text. Nothing is trusted, and nothing said.
pub async fn speaks_tls(host: &str, port: u16, limit: Duration) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let ask = async {
        let stream = TcpStream::connect((bare, port)).await.ok()?;
        // With no authority to trust, it ends with the server's certificate at the latest.
        let error = stranger(bare).ok()?.connect(bare, stream).await.err()?;
        Some(match error {
            Unmade::Fault(fault) => fault != Fault::PlainText,
            Unmade::Io(_) | Unmade::Wrong(_) => false,
        })
    };
    timeout(limit, ask).await.ok().flatten().unwrap_or(false)
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(())) if !self.heard => self.hear(&buf.filled()[before..]),
            Poll::Ready(Err(error)) => self.fail(error),
            _ => {}
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
