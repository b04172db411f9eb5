//! A port that speaks TLS: what comes to it, and what is not it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

#[path = "../../tls/tests/certificates/mod.rs"]
mod certificates;
mod common;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::BufMut as _;
use certificates::Authority;
use common::{SOON, client::put, serve, settings};
use norikv_server::{Server, ServerSettings};
use norikv_tls::ServerTls;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

fn encrypted(authority: &Authority) -> ServerSettings {
    ServerSettings { tls: Some(authority.issue(&["127.0.0.1"]).server()), ..settings() }
}

/// A connection of TLS that is ready to speak one of these protocols.
async fn connect(address: SocketAddr, authority: &Authority, protocols: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

fn framed(message: &impl prost::Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.extend_from_slice(&message);
    frame
}

/// A put over gRPC-Web and HTTP/1.1.
async fn web_put(stream: &mut TlsStream<TcpStream>) -> String {
    let body = framed(&put("k", "v"));
    let head = format!(
        "POST /norikv.v1.Kv/Put HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web+proto\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// What a port says to these bytes until it closes.
async fn told(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .expect("the server left the connection open")
        .unwrap();
    answer
}

#[tokio::test]
async fn pages_call_over_tls_by_http_1_and_by_http_2() {
    let authority = Authority::new();
    let (server, store) = serve(encrypted(&authority)).await;
    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = connect(server.local_addr(), &authority, protocols).await;
        let answer = web_put(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("grpc-status:0"), "{answer}");
    }
    assert_eq!(store.value("k").unwrap(), "v");
    let stream = connect(server.local_addr(), &authority, &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut requests, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = http::Request::post(format!("https://{}/norikv.v1.Kv/Put", server.local_addr()))
        .header("content-type", "application/grpc-web+proto")
        .body(http_body_util::Full::new(bytes::Bytes::from(framed(&put("k", "2")))))
        .unwrap();
    let answer = timeout(SOON, requests.send_request(request)).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("grpc-status:0"));
    assert_eq!(store.value("k").unwrap(), "2");
    driving.abort();
}

#[tokio::test]
async fn plain_text_at_a_port_of_tls_is_told_so_in_its_own_words() {
    let authority = Authority::new();
    let (server, store) = serve(encrypted(&authority)).await;
    let answer = told(server.local_addr(), b"POST /norikv.v1.Kv/Put HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("this port speaks TLS"), "{answer}");
    let answer = told(server.local_addr(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    // SETTINGS, and GOAWAY with INADEQUATE_SECURITY after stream 0.
    assert_eq!((answer[3], answer[9 + 3], answer[9 + 9 + 7]), (4, 7, 0xc), "{answer:?}");
    assert!(String::from_utf8_lossy(&answer).contains("this port speaks TLS"), "{answer:?}");
    assert_eq!(store.value("k"), None);
}

#[tokio::test]
async fn tls_at_a_port_of_plain_text_is_answered_in_plain_text() {
    let (server, _store) = serve(settings()).await;
    let hello = [&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], &[7; 500]].concat();
    let answer = String::from_utf8(told(server.local_addr(), &hello).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("plain text"), "{answer}");
}

#[tokio::test]
async fn handshakes_that_do_not_end_are_let_go_and_hold_up_nobody() {
    let authority = Authority::new();
    let limit = Duration::from_millis(500);
    let (server, _store) = serve(ServerSettings { handshake_timeout: limit, ..encrypted(&authority) }).await;
    let begun = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(b"\x16\x03\x01\x02").await.unwrap();
        slow.push(stream);
    }
    // Also one that shook hands, and then says nothing.
    let mut silent = connect(server.local_addr(), &authority, &["h2"]).await;
    let mut stream = connect(server.local_addr(), &authority, &["http/1.1"]).await;
    assert!(web_put(&mut stream).await.contains("grpc-status:0"));
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("a slow handshake was not let go");
    }
    let _ = timeout(SOON, silent.read_to_end(&mut Vec::new())).await.expect("a silent client was not let go");
    assert!(begun.elapsed() >= limit);
}

#[tokio::test]
async fn beyond_the_most_connections_a_client_is_told_in_words_of_tls() {
    let authority = Authority::new();
    let (server, _store) = serve(ServerSettings { max_connections: 1, ..encrypted(&authority) }).await;
    let _one = connect(server.local_addr(), &authority, &["h2"]).await;
    // A fatal alert, internal_error.
    assert_eq!(told(server.local_addr(), b"").await, b"\x15\x03\x03\0\x02\x02\x50");
}

#[tokio::test]
async fn a_server_ends_while_handshakes_are_under_way() {
    let authority = Authority::new();
    let (server, _store) = serve(encrypted(&authority)).await;
    let mut begun = TcpStream::connect(server.local_addr()).await.unwrap();
    begun.write_all(b"\x16\x03\x01\x02").await.unwrap();
    let idle = connect(server.local_addr(), &authority, &["http/1.1"]).await;
    timeout(SOON, server.shutdown(Duration::from_secs(5))).await.unwrap().unwrap();
    drop((begun, idle));
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_keeps_the_server_from_starting() {
    let authority = Authority::new();
    let (one, other) = (authority.issue(&["a"]).identity(), authority.issue(&["a"]).identity());
    let mixed = norikv_tls::Identity { certificate: one.certificate, key: other.key };
    let (_server, store) = serve(settings()).await;
    let tls = Some(ServerTls { identity: mixed, client_ca: None });
    let refused = Server::start(store, ServerSettings { tls, ..settings() }).await;
    assert!(refused.unwrap_err().message().contains("key is not the key of the certificate in cert"));
}
