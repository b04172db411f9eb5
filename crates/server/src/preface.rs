use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use norikv_tls::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::tls::HANDSHAKE;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose client has said what it speaks.
///
/// What it said is read here, and then given out again: so a client that says nothing, or something that is no HTTP,
/// is known and let go of before anything is set up for it.
pub(crate) struct Prefaced {
    socket: Socket,
    pub(crate) speaks: Speaks,
    /// What was read, and how much of it is left to give out again.
    read: [u8; PREFACE.len()],
    left: std::ops::Range<usize>,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
    /// No HTTP, but the beginning of TLS, where it is not spoken.
    Tls,
}

impl Prefaced {
    /// Reads what the client begins with; `None` if that is no HTTP.
    pub(crate) async fn accept(mut stream: Stream) -> io::Result<Option<Self>> {
        let mut read = [0; PREFACE.len()];
        let mut filled = 0;
        while filled < read.len() {
            match stream.read(&mut read[filled..]).await? {
                0 => return Ok(None),
                count => filled += count,
            }
            if read[0] == HANDSHAKE {
                return Ok(Some(Self::new(stream, Speaks::Tls, read, filled)));
            }
            if read[..filled] != PREFACE[..filled] {
                // HTTP/1 begins with the name of a method. What browsers send is POST and OPTIONS; others are refused
                // by an answer of their own.
                let method = read[..filled].split(|byte| *byte == b' ').next().unwrap_or_default();
                if method.is_empty() || !method.iter().all(u8::is_ascii_uppercase) {
                    return Ok(None);
                }
                return Ok(Some(Self::new(stream, Speaks::Http1, read, filled)));
            }
        }
        Ok(Some(Self::new(stream, Speaks::Http2, read, filled)))
    }

    fn new(stream: Stream, speaks: Speaks, read: [u8; PREFACE.len()], filled: usize) -> Self {
        Self { socket: Socket(Arc::new(Mutex::new(stream))), speaks, read, left: 0..filled }
    }

    /// The socket, for what is to be done with it when HTTP/2 is over.
    pub(crate) fn socket(&self) -> Socket {
        self.socket.clone()
    }
}

/// The socket of a connection. It is one task's alone, so its lock is never waited for.
#[derive(Clone)]
pub(crate) struct Socket(Arc<Mutex<Stream>>);

impl Socket {
    fn get(&self) -> MutexGuard<'_, Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads on until the client closes too, and forgets what it reads.
    ///
    /// Closing a socket with unread bytes resets the connection, and a client whose write meets a reset does not
    /// read the answers that reached it before.
    pub(crate) async fn drain(self) {
        let mut forgotten = [0; 4_096];
        loop {
            let read = std::future::poll_fn(|cx| {
                let mut buf = ReadBuf::new(&mut forgotten);
                Pin::new(&mut *self.get()).poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
            });
            if matches!(read.await, Ok(0) | Err(_)) {
                return;
            }
        }
    }
}

impl AsyncRead for Prefaced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left.is_empty() {
            return Pin::new(&mut *self.socket.get()).poll_read(cx, buf);
        }
        let now = self.left.len().min(buf.remaining());
        let start = self.left.start;
        buf.put_slice(&self.read[start..start + now]);
        self.left.start += now;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefaced {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.socket.get()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.get()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.get()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.socket.get()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.get().is_write_vectored()
    }
}
