use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose client has said that it speaks HTTP/2.
///
/// The preface is read here, and then given out again: so a client that says nothing, says it a byte at a time,
/// or says something else is known and let go of before anything is set up for it.
pub(crate) struct Prefaced {
    socket: Socket,
    /// What is left of the preface to give out again.
    preface: &'static [u8],
}

impl Prefaced {
    /// Reads the preface; `None` if something else came.
    pub(crate) async fn accept(mut stream: TcpStream) -> io::Result<Option<Self>> {
        let mut read = [0; PREFACE.len()];
        let mut filled = 0;
        while filled < read.len() {
            match stream.read(&mut read[filled..]).await? {
                0 => return Ok(None),
                count => filled += count,
            }
            if read[..filled] != PREFACE[..filled] {
                return Ok(None);
            }
        }
        Ok(Some(Self { socket: Socket(Arc::new(Mutex::new(stream))), preface: PREFACE }))
    }

    /// The socket, for what is to be done with it when HTTP/2 is over.
    pub(crate) fn socket(&self) -> Socket {
        self.socket.clone()
    }
}

/// The socket of a connection. It is one task's alone, so its lock is never waited for.
#[derive(Clone)]
pub(crate) struct Socket(Arc<Mutex<TcpStream>>);

impl Socket {
    fn get(&self) -> MutexGuard<'_, TcpStream> {
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
        if self.preface.is_empty() {
            return Pin::new(&mut *self.socket.get()).poll_read(cx, buf);
        }
        let (now, later) = self.preface.split_at(self.preface.len().min(buf.remaining()));
        buf.put_slice(now);
        self.preface = later;
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
