//! gRPC-Web, as browsers speak it: over HTTP/1.1, from pages that may and pages that may not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::needless_pass_by_value)]

mod common;

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use common::{client::put, serve, settings};
use norikv_proto::{ext, v1};
use norikv_server::ServerSettings;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PAGE: &str = "https://app.example.com";

fn for_pages(origins: &[&str]) -> ServerSettings {
    ServerSettings { cors_origins: origins.iter().map(ToString::to_string).collect(), ..settings() }
}

fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.extend_from_slice(&message);
    frame
}

/// One request on a connection of its own: its head and its body, as they came.
async fn ask(address: SocketAddr, start: &str, headers: &[(&str, &str)], body: &[u8]) -> (String, Bytes) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{start} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let at = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..at].to_vec()).unwrap().to_lowercase();
    let body = Bytes::from(answer).slice(at + 4..);
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body };
    (head, body)
}

fn unchunked(mut chunked: Bytes) -> Bytes {
    let mut body = BytesMut::new();
    loop {
        let line = chunked.windows(2).position(|bytes| bytes == b"\r\n").unwrap();
        let length = std::str::from_utf8(&chunked[..line]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        chunked.advance(line + 2);
        if length == 0 {
            return body.freeze();
        }
        body.extend_from_slice(&chunked[..length]);
        chunked.advance(length + 2);
    }
}

/// The messages of a body, and the text of its trailers.
fn frames(mut body: Bytes) -> (Vec<Bytes>, String) {
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    while body.has_remaining() {
        let flag = body.get_u8();
        let length = body.get_u32() as usize;
        let content = body.split_to(length);
        if flag & 0x80 == 0 {
            messages.push(content);
        } else {
            trailers = String::from_utf8(content.to_vec()).unwrap();
        }
    }
    (messages, trailers)
}

const WEB: (&str, &str) = ("content-type", "application/grpc-web+proto");

#[tokio::test]
async fn calls_over_http_1_are_answered_with_their_trailers_in_the_body() {
    let (server, store) = serve(for_pages(&[PAGE])).await;
    let headers = [WEB, ("x-grpc-web", "1"), ("origin", PAGE)];
    let (head, body) =
        ask(server.local_addr(), "POST /norikv.v1.Kv/Put", &headers, &framed(&put("k", "v"))).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains(&format!("access-control-allow-origin: {PAGE}")), "{head}");
    assert!(head.contains(
        "access-control-expose-headers: grpc-status,grpc-message,grpc-status-details-bin,leader-hint"
    ));
    assert!(!head.contains("access-control-allow-credentials"));
    let (messages, trailers) = frames(body);
    let answer = v1::PutResponse::decode(messages[0].clone()).unwrap();
    assert_eq!(answer.version.unwrap().index, 2);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
    assert_eq!(store.value("k").unwrap(), "v");
}

#[tokio::test]
async fn an_error_carries_its_details() {
    let (server, _store) = serve(settings()).await;
    let (head, body) =
        ask(server.local_addr(), "POST /norikv.v1.Kv/Put", &[WEB], &framed(&put("", "v"))).await;
    let (_, trailers) = frames(body);
    let all = format!("{head}\r\n{trailers}");
    assert!(all.contains("grpc-status") && all.contains("grpc-status-details-bin"), "{all}");
}

#[tokio::test]
async fn batches_come_as_a_stream() {
    let (server, _store) = serve(settings()).await;
    let op = |_: u32| ext::BatchOp {
        op: Some(ext::batch_op::Op::Put(ext::Put { put: Some(put("k", "v")), ..Default::default() })),
        timeout_ms: 0,
    };
    let request = ext::BatchRequest { ops: (0..10).map(op).collect() };
    let (_, body) =
        ask(server.local_addr(), "POST /norikv.ext.v1.Store/Batch", &[WEB], &framed(&request)).await;
    let (messages, trailers) = frames(body);
    let results = messages.into_iter().flat_map(|bytes| ext::BatchResponse::decode(bytes).unwrap().results);
    assert_eq!(results.count(), 10);
    assert!(trailers.contains("grpc-status:0"));
}

#[tokio::test]
async fn a_page_that_is_on_the_list_may_ask_and_send_what_a_call_takes() {
    let (server, _store) = serve(for_pages(&[PAGE])).await;
    let headers = [
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,grpc-timeout,x-grpc-web,authorization"),
    ];
    let (head, _) = ask(server.local_addr(), "OPTIONS /norikv.v1.Kv/Put", &headers, b"").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains(&format!("access-control-allow-origin: {PAGE}")), "{head}");
    assert!(head.contains("access-control-allow-methods: post"), "{head}");
    assert!(head.contains("grpc-timeout") && head.contains("access-control-max-age"), "{head}");
}

#[tokio::test]
async fn a_page_that_is_not_on_the_list_gets_nothing_and_changes_nothing() {
    for (origins, origin) in [
        (&[][..], PAGE),
        (&[PAGE][..], "https://evil.example.com"),
        (&[PAGE][..], "https://app.example.com.evil.com"),
        (&[PAGE][..], "http://app.example.com"),
        (&[PAGE][..], "null"),
    ] {
        let (server, store) = serve(for_pages(origins)).await;
        let headers = [WEB, ("origin", origin)];
        let (head, _) =
            ask(server.local_addr(), "POST /norikv.v1.Kv/Put", &headers, &framed(&put("k", "v"))).await;
        assert!(head.starts_with("http/1.1 403"), "{head}");
        assert!(!head.contains("access-control"), "{head}");
        assert_eq!(store.value("k"), None);
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        let (head, _) = ask(server.local_addr(), "OPTIONS /norikv.v1.Kv/Put", &headers, b"").await;
        assert!(!head.contains("access-control-allow-origin"), "{head}");
    }
}

#[tokio::test]
async fn with_a_star_every_page_may_call_but_none_with_credentials() {
    let (server, _store) = serve(for_pages(&["*"])).await;
    let headers = [WEB, ("origin", "https://anywhere.example.com")];
    let (head, _) =
        ask(server.local_addr(), "POST /norikv.v1.Kv/Put", &headers, &framed(&put("k", "v"))).await;
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    assert!(!head.contains("access-control-allow-credentials"));
}

#[tokio::test]
async fn what_is_no_call_is_refused_and_the_server_goes_on() {
    let (server, _store) = serve(settings()).await;
    let address = server.local_addr();
    for (start, headers) in [
        ("GET /", &[][..]),
        ("POST /norikv.v1.Kv/Put", &[("content-type", "application/json")][..]),
        ("POST /norikv.v1.Kv/Put", &[("content-type", "application/grpc")][..]),
        ("PUT /norikv.v1.Kv/Put", &[WEB][..]),
    ] {
        let (head, _) = ask(address, start, headers, b"").await;
        assert!(head.starts_with("http/1.1 4"), "{start}: {head}");
    }
    let (_, body) = ask(address, "POST /norikv.v1.Kv/Put", &[WEB], &framed(&put("k", "v"))).await;
    assert!(frames(body).1.contains("grpc-status:0"));
}

#[tokio::test]
async fn a_server_that_ends_answers_what_it_has_and_closes_idle_connections() {
    let (server, _store) = serve(settings()).await;
    let mut idle = TcpStream::connect(server.local_addr()).await.unwrap();
    let body = framed(&put("k", "v"));
    let head = format!(
        "POST /norikv.v1.Kv/Put HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    idle.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    let mut first = [0; 16];
    idle.read_exact(&mut first).await.unwrap();
    let grace = std::time::Duration::from_secs(20);
    tokio::time::timeout(grace / 2, server.shutdown(grace)).await.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}
