//! Connections that misbehave, and too many of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use common::{Client, SOON, client::*, serve, settings};
use norikv_server::ServerSettings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// Sends bytes and waits until the server has closed the connection.
async fn closed_after(address: SocketAddr, parts: &[&[u8]]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for part in parts {
        // The server may have closed already.
        let _ = stream.write_all(part).await;
    }
    let mut answer = Vec::new();
    let _ =
        timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the server left the connection open");
}

#[tokio::test]
async fn garbage_costs_only_its_own_connection() {
    let (server, _store) = serve(settings()).await;
    let address = server.local_addr();
    let client = Client::connect(address).await;
    let oversized_frame: &[u8] = b"\xff\xff\xff\0\0\0\0\0\x01";
    let bad_headers: &[u8] = b"\0\0\x04\x01\x05\0\0\0\x01\xff\xff\xff\xff";
    let data_on_stream_0: &[u8] = b"\0\0\x01\0\0\0\0\0\0x";
    let garbage: [&[&[u8]]; 7] = [
        &[b"GET / HTTP/1.1\r\n\r\n"],
        &[&[0; 1_000]],
        &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"],
        &[PREFACE, &[0xff; 1_000]],
        &[PREFACE, SETTINGS, oversized_frame],
        &[PREFACE, SETTINGS, bad_headers],
        &[PREFACE, SETTINGS, data_on_stream_0],
    ];
    for parts in garbage {
        closed_after(address, parts).await;
        client.put(put("k", "v")).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_let_go() {
    let settings = ServerSettings { handshake_timeout: Duration::from_millis(50), ..settings() };
    let (server, _store) = serve(settings).await;
    closed_after(server.local_addr(), &[]).await;
    closed_after(server.local_addr(), &[b"PRI"]).await;
}

#[tokio::test]
async fn a_connection_that_gives_no_sign_of_life_is_let_go() {
    let short = Duration::from_millis(50);
    let settings = ServerSettings { keepalive_interval: short, keepalive_timeout: short, ..settings() };
    let (server, _store) = serve(settings).await;
    closed_after(server.local_addr(), &[PREFACE, SETTINGS]).await;
}

/// Bytes as a message that is what they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl tonic::codec::Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, to: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), tonic::Status> {
        bytes::BufMut::put(to, item);
        Ok(())
    }
}

impl tonic::codec::Decoder for Raw {
    type Item = ();
    type Error = tonic::Status;

    fn decode(&mut self, _: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<()>, tonic::Status> {
        Ok(Some(()))
    }
}

#[tokio::test]
async fn a_message_that_is_no_protobuf_is_an_invalid_argument_and_costs_only_its_call() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    for path in ["/norikv.v1.Kv/Put", "/norikv.v1.Kv/Get", "/norikv.ext.v1.Store/Batch"] {
        let mut grpc = tonic::client::Grpc::new(client.0.clone());
        grpc.ready().await.unwrap();
        let garbage = tonic::Request::new(Bytes::from_static(b"\x0a\xff\xff\xff\xff\x0fgarbage"));
        let refused = grpc.unary(garbage, path.parse().unwrap(), Raw).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{path}: {refused:?}");
    }
    assert_eq!(store.len(), 0);
    client.put(put("k", "v")).await.unwrap();
}

#[tokio::test]
async fn connections_above_the_limit_are_refused_and_the_others_go_on() {
    let (server, _store) = serve(ServerSettings { max_connections: 2, ..settings() }).await;
    let address = server.local_addr();
    let (first, second) = (Client::connect(address).await, Client::connect(address).await);
    first.put(put("k", "v")).await.unwrap();
    second.put(put("k", "v")).await.unwrap();
    for _ in 0..20 {
        let mut refused = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        timeout(SOON, refused.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.ends_with(b"too many connections"));
        if let Ok(third) = Client::try_connect(address).await {
            third.get(get("k")).await.unwrap_err();
        }
        first.get(get("k")).await.unwrap();
    }
    drop(second);
    // The place is free once the server has seen the end of the connection.
    let freed = async {
        loop {
            if let Ok(client) = Client::try_connect(address).await
                && client.get(get("k")).await.is_ok()
            {
                return;
            }
        }
    };
    timeout(SOON, freed).await.unwrap();
}
