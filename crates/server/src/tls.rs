//! Ports that speak TLS and ports that do not: one told the other says so, in words that whoever told it understands.

use std::io;

use norikv_tls::{Stream, TlsAcceptor};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    connection::LINGER,
    preface::{Prefaced, Speaks},
};

/// What a record of TLS begins with that begins a handshake. No request begins so.
pub(crate) const HANDSHAKE: u8 = 0x16;

const USE_TLS: &str = "this port speaks TLS; use tls, or an address with https://";
const USE_PLAIN_TEXT: &str = "this port speaks plain text, not TLS; use an address with http://";

/// A fatal alert, `internal_error`: a server that takes no more connections can say no more before a handshake.
pub(crate) const ALERT: &[u8] = b"\x15\x03\x03\0\x02\x02\x50";

/// HTTP/2's word for a connection that is not secure enough.
const INADEQUATE_SECURITY: u8 = 0xc;

/// Takes a connection to a port that speaks TLS. `None` if it came to nothing; whoever connected was told why.
pub(crate) async fn accept(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<Option<Prefaced>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first != [HANDSHAKE] {
        let Some(prefaced) = Prefaced::accept(Stream::Plain(stream)).await? else { return Ok(None) };
        tracing::debug!(speaks = ?prefaced.speaks, "refused: plain text where TLS is spoken");
        let answer = match prefaced.speaks {
            Speaks::Http2 => go_away(USE_TLS),
            Speaks::Http1 | Speaks::Tls => bad_request(USE_TLS),
        };
        farewell(prefaced, &answer).await;
        return Ok(None);
    }
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => Prefaced::accept(Stream::tls(stream)).await,
        Err((error, stream)) => {
            tracing::debug!(%error, "a handshake failed");
            // The alert that says why is written already.
            farewell(stream, &[]).await;
            Ok(None)
        }
    }
}

/// Tells who began TLS with a port of plain text.
pub(crate) async fn refuse(stream: Prefaced) {
    tracing::debug!("refused: TLS where plain text is spoken");
    farewell(stream, &bad_request(USE_PLAIN_TEXT)).await;
}

/// Says a last word, and sees that it is read: closing a socket with unread bytes takes it back.
async fn farewell(mut stream: impl AsyncReadExt + AsyncWrite + Unpin, word: &[u8]) {
    let said = async {
        stream.write_all(word).await?;
        stream.shutdown().await?;
        let mut forgotten = [0; 4_096];
        while stream.read(&mut forgotten).await? > 0 {}
        io::Result::Ok(())
    };
    // Who went away meanwhile does not read it either.
    let _ = timeout(LINGER, said).await;
}

fn bad_request(text: &str) -> Vec<u8> {
    let length = text.len() + 1;
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}\n"
    )
    .into_bytes()
}

/// An empty SETTINGS frame, as a server begins, and GOAWAY: no call was taken.
fn go_away(text: &str) -> Vec<u8> {
    let mut frames = b"\0\0\0\x04\0\0\0\0\0".to_vec();
    // Shorter than 256 bytes, as the texts here are.
    let length = u8::try_from(8 + text.len()).unwrap_or(8);
    frames.extend_from_slice(&[0, 0, length, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, INADEQUATE_SECURITY]);
    frames.extend_from_slice(&text.as_bytes()[..usize::from(length) - 8]);
    frames
}
