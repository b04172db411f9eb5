//! What a server gets from those who mean it ill, or do not know better: it costs them, and nobody else.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod worlds;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use norikv_client::{Failed, Http2Transport, Link as _, Settings as ClientSettings, Transport as _};
use norikv_conformance::{get, put};
use norikv_core::{Call, KeyRange, Put, Result, Scan, StoreRef, Version};
use norikv_embedded::{EmbeddedStore, Settings};
use norikv_server::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use worlds::{remote, serve};

const SOON: Duration = Duration::from_secs(20);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const SEEDS: u64 = 300;

/// A server, and somebody who uses it all the while.
struct World {
    store: StoreRef,
    server: Server,
    witness: StoreRef,
}

impl World {
    async fn new() -> Self {
        let store: StoreRef = Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
        let server = serve(StoreRef::clone(&store), false).await.unwrap();
        let witness = remote(server.local_addr()).unwrap();
        put(&*witness, "k", "v").await.unwrap();
        Self { store, server, witness }
    }

    fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    async fn version(&self) -> Version {
        self.store.status(Call::default()).await.unwrap().version
    }

    /// The server serves, and the witness has never lost its connection.
    async fn goes_on(&self) {
        let version = put(&*self.witness, "k", "v").await.unwrap();
        assert_eq!(get(&*self.witness, "k").await.unwrap().unwrap().version, version);
        assert_eq!(self.witness.stats().retried, 0);
    }

    async fn end(self) {
        self.witness.close().await.unwrap();
        timeout(SOON, self.server.shutdown(SOON)).await.expect("the server does not end").unwrap();
        self.store.close().await.unwrap();
    }
}

/// Sends bytes, and waits until the server has closed the connection. Answers what it said.
async fn closed_after(address: SocketAddr, bytes: &[u8], then_end: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may have closed before all of it is sent.
    let _ = stream.write_all(bytes).await;
    if then_end {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut answer)).await;
    drop(read.unwrap_or_else(|_| panic!("the server left the connection open after {bytes:?}")));
    answer
}

fn frame(length: u32, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http2_is_closed() {
    let world = World::new().await;
    let parts: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        &[0; 100_000],
        &[0xff; 100_000],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        b"\r\n",
    ];
    for bytes in parts {
        closed_after(world.address(), bytes, false).await;
        world.goes_on().await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_that_breaks_off_anywhere_is_closed() {
    let world = World::new().await;
    let whole = [PREFACE, SETTINGS].concat();
    for length in 0..=whole.len() {
        closed_after(world.address(), &whole[..length], true).await;
    }
    world.goes_on().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_protocol_cost_their_connection() {
    let world = World::new().await;
    let frames = [
        // Larger than any frame may be, and said to be.
        frame(0xff_ffff, 0, 0, 1, &[]),
        frame(0xff_ffff, 1, 4, 1, &[0; 70_000]),
        // Headers that are no header block; data, settings, a window and a reset where they cannot be.
        frame(4, 1, 5, 1, &[0xff; 4]),
        frame(1, 0, 0, 0, b"x"),
        frame(5, 4, 0, 0, &[0; 5]),
        frame(6, 4, 0, 1, &[0; 6]),
        frame(4, 8, 0, 0, &[0; 4]),
        frame(4, 3, 0, 0, &[0; 4]),
        frame(4, 3, 0, 7, &[0; 4]),
        // A window beyond its end, a ping of a wrong size, a continuation of nothing, an even stream.
        [frame(4, 8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), frame(4, 8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])].concat(),
        frame(7, 6, 0, 0, &[0; 7]),
        frame(1, 9, 4, 1, &[0x82]),
        frame(1, 1, 5, 2, &[0x82]),
    ];
    for frame in frames {
        closed_after(world.address(), &[PREFACE, SETTINGS, &frame].concat(), false).await;
        world.goes_on().await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_after_a_preface_cost_their_connection() {
    let world = World::new().await;
    let before = world.version().await;
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = [PREFACE, SETTINGS].concat();
        for _ in 0..random.usize(1..20) {
            let payload: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
            let length = if random.u32(..4) == 0 { random.u32(..1 << 24) } else { payload.len() as u32 };
            bytes.extend(frame(length, random.u8(..11), random.u8(..), random.u32(..8), &payload));
        }
        closed_after(world.address(), &bytes, true).await;
    }
    assert_eq!(world.version().await, before);
    world.goes_on().await;
    world.end().await;
}

/// Pings and settings without end, and never a look at the answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_never_reads_its_answers_holds_up_nobody() {
    let world = World::new().await;
    let mut flood = TcpStream::connect(world.address()).await.unwrap();
    flood.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
    let pings = frame(8, 6, 0, 0, &[0; 8]).repeat(1_000);
    // As much as the server takes.
    let _ =
        timeout(Duration::from_millis(500), async { while flood.write_all(&pings).await.is_ok() {} }).await;
    world.goes_on().await;
    drop(flood);
    world.end().await;
}

const METHODS: [&str; 8] = [
    "/norikv.v1.Kv/Put",
    "/norikv.v1.Kv/Get",
    "/norikv.v1.Kv/Delete",
    "/norikv.ext.v1.Store/Batch",
    "/norikv.ext.v1.Store/Range",
    "/norikv.ext.v1.Store/DeleteRange",
    "/norikv.ext.v1.Store/Status",
    "/norikv.v1.Kv/Nothing",
];

/// Calls that are calls, with messages that are none: each is refused, changes nothing, and costs only itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_protobuf_is_refused_and_costs_only_its_call() {
    let world = World::new().await;
    let before = world.version().await;
    let address = world.address().to_string().parse().unwrap();
    let transport = Http2Transport::new(&ClientSettings::for_nodes(vec![address])).unwrap();
    let link = transport.link(&world.address().to_string().parse().unwrap()).unwrap();
    let soon = Some(Duration::from_secs(2));
    let malformed: [&[u8]; 6] = [
        // A length beyond the end; a field that never ends; a group; a number too long; field 0; text that is none.
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\x05ab",
        b"\x0b",
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x02\x01a",
        b"\x0a\x01k\x22\x02\xff\xff",
    ];
    for method in ["/norikv.v1.Kv/Put", "/norikv.v1.Kv/Delete", "/norikv.ext.v1.Store/Batch"] {
        for message in malformed {
            // The last is text only where a put has its idempotency key.
            if message.len() == 7 && method != "/norikv.v1.Kv/Put" {
                continue;
            }
            let answer = link.unary(method, Bytes::from_static(message), soon).await;
            let Err(Failed::Answered(failure)) = answer else { panic!("{method} {message:?}: {answer:?}") };
            assert_eq!(
                (failure.code, failure.reason.as_str()),
                (3, "INVALID_ARGUMENT"),
                "{method} {message:?}"
            );
        }
    }
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let message: Bytes = (0..random.usize(..60)).map(|_| random.u8(..)).collect();
        let method = METHODS[random.usize(..METHODS.len())];
        // By chance it may be a message after all.
        let answer = timeout(SOON, link.unary(method, message.clone(), soon)).await.unwrap();
        // A batch of nothing has no answer, which is lost to who waits for one.
        let answered = matches!(answer, Ok(_) | Err(Failed::Answered(_))) || method.ends_with("Batch");
        assert!(answered, "{method} {message:?}: {answer:?}");
    }
    assert_eq!(link.generation(), 1, "one connection carried all of it");
    // Far larger than any message may be: whether its connection outlives it is the transport's affair.
    let huge = link.unary("/norikv.v1.Kv/Put", vec![0x0a; 64 << 20].into(), Some(SOON)).await;
    assert!(huge.is_err());
    assert!(world.version().await <= Version::new(1, before.index + SEEDS));
    world.goes_on().await;
    transport.close().await;
    world.end().await;
}

/// Many more calls than a connection may have under way.
async fn ten_thousand_calls_at_once(plain: bool) {
    let store: StoreRef = Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
    let server = serve(StoreRef::clone(&store), plain).await.unwrap();
    let client = remote(server.local_addr()).unwrap();
    let calls: Vec<_> = (0..10_000)
        .map(|n| {
            let client = StoreRef::clone(&client);
            tokio::spawn(async move {
                let call = Call::with_timeout(Duration::from_secs(60));
                let key = format!("k{n}");
                let version = client.put(Put::new(key.clone(), "v"), call).await?.version;
                let entry = get(&*client, key).await?;
                assert_eq!(entry.map(|entry| entry.version), Some(version));
                Result::<_>::Ok(version)
            })
        })
        .collect();
    let mut versions = Vec::new();
    for call in calls {
        versions.push(call.await.unwrap().unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..10_002).map(|index| Version::new(1, index)).collect::<Vec<_>>());
    assert_eq!(client.stats().active_connections, 1);
    let scan = Scan { limit: 1, ..Scan::new(KeyRange::all()) };
    assert!(store.scan(scan, Call::default()).await.unwrap().more);
    client.close().await.unwrap();
    server.shutdown(SOON).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_at_once_on_one_connection_are_all_answered() {
    ten_thousand_calls_at_once(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_at_once_on_one_connection_to_norikv_v1_alone_are_all_answered() {
    ten_thousand_calls_at_once(true).await;
}
