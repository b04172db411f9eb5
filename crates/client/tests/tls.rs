//! `RemoteStore` and servers that speak TLS: what is said when the two do not come together.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

#[path = "../../tls/tests/certificates/mod.rs"]
mod certificates;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use certificates::{Authority, Pair, self_signed, self_signed_authority};
use futures_util::StreamExt as _;
use norikv_client::{Http2Transport, RemoteStore, Settings};
use norikv_core::{
    Backoff, Call, Consistency, Error, ErrorKind, Field, FieldName, Get, KeyRange, NodeAddress, Put,
    RetryPolicy, Store, StoreRef, Watch,
};
use norikv_embedded::EmbeddedStore;
use norikv_server::{Server, ServerSettings};
use norikv_tls::{ClientTls, ServerTls};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

const HOST: &[&str] = &["127.0.0.1", "localhost"];
const FREE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn memory() -> StoreRef {
    Arc::new(EmbeddedStore::memory(norikv_embedded::Settings::default()).unwrap())
}

async fn serve_at(store: StoreRef, listen: SocketAddr, tls: Option<ServerTls>) -> Server {
    Server::start(store, ServerSettings { listen, tls, ..ServerSettings::default() }).await.unwrap()
}

async fn serve(tls: ServerTls) -> Server {
    serve_at(memory(), FREE, Some(tls)).await
}

fn node(scheme: &str, address: SocketAddr) -> NodeAddress {
    format!("{scheme}://{address}").parse().unwrap()
}

/// A store whose retries would take far longer than a test.
fn patient(nodes: Vec<NodeAddress>, tls: Option<ClientTls>) -> RemoteStore<Http2Transport> {
    let backoff = Backoff {
        initial: Duration::from_secs(3),
        max: Duration::from_secs(3),
        multiplier: 1.0,
        jitter: false,
    };
    let retry = RetryPolicy { max_attempts: 50, backoff };
    RemoteStore::http2(Settings { tls, retry, ..Settings::for_nodes(nodes) }).unwrap()
}

fn remote(address: SocketAddr, tls: ClientTls) -> RemoteStore<Http2Transport> {
    patient(vec![node("https", address)], Some(tls))
}

fn get() -> Get {
    Get { key: "a".into(), consistency: Consistency::Linearizable }
}

/// The error of a call that cannot come to anything: at once, with the address, and with what is wrong.
async fn fails(store: &RemoteStore<Http2Transport>, address: SocketAddr, what: &str) -> Error {
    let begun = Instant::now();
    let error = store.get(get(), Call::default()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(2), "{error} after {:?}", begun.elapsed());
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert_eq!(error.field(FieldName::Address), Some(&Field::from(address.to_string().as_str())));
    assert!(error.message().contains(what), "{what}: {error}");
    // A write that cannot have left is not in doubt.
    let error = store.put(Put::new("a", "1"), Call::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.field(FieldName::Outcome)), (ErrorKind::Connection, None), "{error}");
    error
}

#[tokio::test]
async fn calls_and_watches_go_over_tls() {
    let authority = Authority::new();
    let server = serve(authority.issue(HOST).server()).await;
    let store = remote(server.local_addr(), authority.client());
    let watch = Watch::new(KeyRange::all());
    let mut watching = store.watch(watch, Call::default()).await.unwrap();
    for n in 0..500 {
        store.put(Put::new(format!("k{n}"), "v"), Call::default()).await.unwrap();
    }
    let mut seen = 0;
    while seen < 500 {
        seen += watching.batches.next().await.unwrap().unwrap().events.len();
    }
    let large = vec![7; 1_000_000];
    store.put(Put::new("large", large.clone()), Call::default()).await.unwrap();
    let read = store.get(Get { key: "large".into(), ..get() }, Call::default()).await.unwrap().unwrap();
    assert_eq!(read.value, large);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_is_told_by_what_is_wrong_with_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let cases: Vec<(Pair, &str)> = vec![
        (authority.expired(HOST), "expired on 2020-02-01"),
        (authority.early(HOST), "not valid yet, but from 4000-01-01 on"),
        (other.issue(HOST), "unknown authority"),
        (self_signed(HOST), "self-signed"),
        (authority.issue(&["db.example.com"]), "for another host than 127.0.0.1: for"),
        (authority.issue(&[]), "for another host"),
    ];
    for (pair, what) in cases {
        let server = serve(pair.server()).await;
        let error = fails(&remote(server.local_addr(), authority.client()), server.local_addr(), what).await;
        assert!(!error.message().contains("whether the server runs"), "{error}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_where_it_is_given() {
    let pair = self_signed(HOST);
    let server = serve(pair.server()).await;
    let tls = ClientTls { ca: Some(pair.identity().certificate), ..ClientTls::default() };
    assert_eq!(remote(server.local_addr(), tls).get(get(), Call::default()).await.unwrap(), None);
    // One that may sign others is no server's.
    let pair = self_signed_authority(HOST);
    let server = serve(pair.server()).await;
    let tls = ClientTls { ca: Some(pair.identity().certificate), ..ClientTls::default() };
    fails(&remote(server.local_addr(), tls), server.local_addr(), "CA:TRUE").await;
}

#[tokio::test]
async fn a_server_may_be_known_by_another_name_than_its_address() {
    let authority = Authority::new();
    let server = serve(authority.issue(&["db.example.com"]).server()).await;
    let tls = ClientTls { server_name: Some("db.example.com".into()), ..authority.client() };
    assert_eq!(remote(server.local_addr(), tls).get(get(), Call::default()).await.unwrap(), None);
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_and_judged() {
    let (authority, other) = (Authority::new(), Authority::new());
    let tls = ServerTls { client_ca: Some(authority.pem()), ..authority.issue(HOST).server() };
    let server = serve(tls).await;
    let address = server.local_addr();
    let with = |pair: &Pair| ClientTls { identity: Some(pair.identity()), ..authority.client() };
    assert_eq!(
        remote(address, with(&authority.issue(&["me"]))).get(get(), Call::default()).await.unwrap(),
        None
    );
    fails(&remote(address, authority.client()), address, "asks for a client certificate").await;
    for (pair, why) in [
        (authority.expired(&["me"]), "refused the client certificate: it has expired"),
        (other.issue(&["me"]), "refused the client certificate: it is of an authority"),
    ] {
        fails(&remote(address, with(&pair)), address, why).await;
    }
}

#[tokio::test]
async fn plain_text_and_tls_tell_each_other_apart() {
    let authority = Authority::new();
    let encrypted = serve(authority.issue(HOST).server()).await;
    let address = encrypted.local_addr();
    fails(&patient(vec![node("http", address)], None), address, "this port speaks TLS; use tls").await;
    let plain = serve_at(memory(), FREE, None).await;
    let address = plain.local_addr();
    fails(&remote(address, authority.client()), address, "the server speaks plain text").await;
}

#[tokio::test]
async fn a_server_of_another_make_that_answers_plain_text_with_an_alert_speaks_tls() {
    let listener = TcpListener::bind(FREE).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Fatal, unexpected_message.
            stream.write_all(b"\x15\x03\x01\0\x02\x02\x0a").await.unwrap();
            open.push(stream);
        }
    });
    fails(&patient(vec![node("http", address)], None), address, "this port speaks TLS").await;
    answering.abort();
}

#[tokio::test]
async fn where_every_node_fails_so_each_is_named_and_where_one_does_not_it_is_used() {
    let (authority, other) = (Authority::new(), Authority::new());
    let expired = serve(authority.expired(HOST).server()).await;
    let unknown = serve(other.issue(HOST).server()).await;
    let nodes = [&expired, &unknown].map(|server| node("https", server.local_addr())).to_vec();
    let begun = Instant::now();
    let store = patient(nodes.clone(), Some(authority.client()));
    let error = store.get(get(), Call::default()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(error.kind(), ErrorKind::NoNodesAvailable);
    for part in ["expired", "unknown authority"].into_iter().chain(nodes.iter().map(NodeAddress::host)) {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    let right = serve(authority.issue(HOST).server()).await;
    let nodes = [&expired, &right, &unknown].map(|server| node("https", server.local_addr())).to_vec();
    let store = patient(nodes, Some(authority.client()));
    for n in 0..20 {
        store.put(Put::new(format!("k{n}"), "v"), Call::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_a_watch_goes_on_with_it() {
    let authority = Authority::new();
    let backing = memory();
    let server = serve_at(Arc::clone(&backing), FREE, Some(authority.issue(HOST).server())).await;
    let address = server.local_addr();
    let settings =
        Settings { tls: Some(authority.client()), ..Settings::for_nodes(vec![node("https", address)]) };
    let store = RemoteStore::http2(settings).unwrap();
    let watch = Watch::new(KeyRange::all());
    let mut watching = store.watch(watch, Call::default()).await.unwrap();
    store.put(Put::new("a", "1"), Call::default()).await.unwrap();
    server.shutdown(Duration::from_secs(5)).await.unwrap();
    // The first one is restarted with its time over, as happens where nobody renews it.
    let server = serve_at(Arc::clone(&backing), address, Some(authority.expired(HOST).server())).await;
    let error = store.get(get(), Call::default()).await.unwrap_err();
    assert!(error.message().contains("expired"), "{error}");
    server.shutdown(Duration::from_secs(5)).await.unwrap();
    let _server = serve_at(backing, address, Some(authority.issue(HOST).server())).await;
    store.put(Put::new("a", "2"), Call::default()).await.unwrap();
    for value in ["1", "2"] {
        let batch = tokio::time::timeout(Duration::from_secs(10), watching.batches.next()).await;
        assert_eq!(batch.unwrap().unwrap().unwrap().events[0].entry.value, value);
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused() {
    let plain =
        Settings { tls: Some(ClientTls::default()), ..Settings::for_nodes(vec!["a:1".parse().unwrap()]) };
    let mixed = vec!["https://a:1".parse().unwrap(), "b:1".parse().unwrap()];
    for settings in [plain, Settings { tls: Some(Authority::new().client()), ..Settings::for_nodes(mixed) }] {
        assert_eq!(RemoteStore::http2(settings).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
