//! Watches: what breaks goes on where it broke.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod fake;
#[allow(dead_code, missing_docs, unreachable_pub)]
#[path = "../../server/tests/common/map_store.rs"]
mod map_store;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use fake::{Replies, World, bare, lost, nodes, not_leader, refused};
use futures_util::StreamExt as _;
use map_store::MapStore;
use norikv_client::{Failed, Http2Transport, RemoteStore, Settings};
use norikv_core::{
    Call, Error, ErrorKind, FieldName, Get, KeyRange, PROGRESS_INTERVAL, Put, Result, Store, StoreRef,
    Version, Watch, WatchBatch, WatchBatches,
};
use norikv_embedded::EmbeddedStore;
use norikv_proto::{ext, failure_from_error, v1};
use norikv_server::{Server, ServerSettings};
use prost::Message;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(20);

/// What one stream of the scripted server sends before it is lost, or stays silent.
enum Part {
    Sends(Vec<ext::WatchResponse>, Failed),
    Stays(Vec<ext::WatchResponse>),
    Refuses(Failed),
}

/// A world whose watches go by a script, and the requests that it got with the node they went to.
type Asked = Arc<Mutex<Vec<(String, ext::WatchRequest)>>>;

fn scripted(names: &[&str], parts: Vec<Part>) -> (World, Asked) {
    let asked = Asked::default();
    let parts = Arc::new(Mutex::new(VecDeque::from(parts)));
    // What stays open is held here.
    let open = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let world = World::new(nodes(names), move |node, _, message| {
        seen.lock().unwrap().push((node, ext::WatchRequest::decode(message).unwrap()));
        let part = parts.lock().unwrap().pop_front().unwrap_or(Part::Stays(Vec::new()));
        let replies: Result<Replies, Failed> = match part {
            Part::Refuses(failed) => Err(failed),
            Part::Sends(messages, failed) => {
                let (sender, replies) = mpsc::unbounded_channel();
                for message in messages {
                    sender.send(Ok(message.encode_to_vec().into())).unwrap();
                }
                sender.send(Err(failed)).unwrap();
                Ok(replies)
            }
            Part::Stays(messages) => {
                let (sender, replies) = mpsc::unbounded_channel::<Result<Bytes, Failed>>();
                for message in messages {
                    sender.send(Ok(message.encode_to_vec().into())).unwrap();
                }
                open.lock().unwrap().push(sender);
                Ok(replies)
            }
        };
        async move { replies }
    });
    (world, asked)
}

fn created(index: u64) -> ext::WatchResponse {
    ext::WatchResponse { created: Some(Version::new(1, index).into()), batches: Vec::new() }
}

fn changes(batches: impl IntoIterator<Item = ext::WatchBatch>) -> ext::WatchResponse {
    ext::WatchResponse { created: None, batches: batches.into_iter().collect() }
}

/// A batch, or a part of one, of puts of these keys.
fn part(index: u64, keys: &[&'static str], more: bool) -> ext::WatchBatch {
    let version = Some(v1::Version { term: 1, index });
    let event = |key: &&'static str| {
        let entry = ext::Entry { key: (*key).into(), version, ..Default::default() };
        ext::Event { kind: 1, reason: 0, entry: Some(entry), prev_entry: None }
    };
    ext::WatchBatch { version, events: keys.iter().map(event).collect(), more }
}

fn batch(index: u64) -> ext::WatchBatch {
    part(index, &["k"], false)
}

fn progress(index: u64) -> ext::WatchBatch {
    part(index, &[], false)
}

fn error(kind: ErrorKind) -> Failed {
    Failed::Answered(failure_from_error(&Error::new(kind, "why")))
}

async fn begin(store: &impl Store, watch: Watch) -> WatchBatches {
    store.watch(watch, Call::default()).await.unwrap().batches
}

fn everything() -> Watch {
    Watch::new(KeyRange::all())
}

async fn next(batches: &mut WatchBatches) -> Result<WatchBatch> {
    timeout(SOON, batches.next()).await.unwrap().unwrap()
}

async fn indexes(batches: &mut WatchBatches, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(next(batches).await.unwrap().version.index);
    }
    seen
}

fn froms(asked: &Asked) -> Vec<Option<u64>> {
    asked.lock().unwrap().iter().map(|(_, request)| request.from.map(|from| from.index)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_it_broke_without_gap_or_repeat() {
    let (world, asked) = scripted(
        &["a:1"],
        vec![
            // The notice that it has begun is lost.
            Part::Sends(vec![], lost()),
            Part::Sends(vec![created(5)], lost()),
            // Cut in the middle of a revision.
            Part::Sends(vec![created(5), changes([batch(6), part(7, &["a"], true)])], lost()),
            Part::Refuses(refused("a:1")),
            // A server that repeats itself, and ends without a reason.
            Part::Sends(
                vec![created(6), changes([batch(5), batch(6), part(7, &["a"], true)])],
                error(ErrorKind::Unavailable),
            ),
            // It leaves out the rest of a revision.
            Part::Sends(vec![created(6), changes([part(7, &["a"], true), batch(8)])], lost()),
            Part::Stays(vec![
                created(6),
                changes([part(7, &["a"], true)]),
                changes([part(7, &["b", "c"], true)]),
                changes([part(7, &["d"], false), batch(9)]),
            ]),
        ],
    );
    let watching = world.store.watch(everything(), Call::default()).await.unwrap();
    assert_eq!(watching.start, Version::new(1, 5));
    let mut batches = watching.batches;
    assert_eq!(indexes(&mut batches, 1).await, [6]);
    let whole = next(&mut batches).await.unwrap();
    let keys: Vec<_> = whole.events.iter().map(|event| &event.entry.key[..]).collect();
    assert_eq!((whole.version.index, keys), (7, vec![&b"a"[..], b"b", b"c", b"d"]));
    assert_eq!(indexes(&mut batches, 1).await, [9]);
    assert_eq!(froms(&asked), [None, None, Some(6), Some(7), Some(7), Some(7), Some(7)]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_version_begins_there_again() {
    let (world, asked) =
        scripted(&["a:1"], vec![Part::Sends(vec![created(2)], lost()), Part::Stays(vec![created(2)])]);
    let mut batches = begin(&*world.store, Watch { from: Some(Version::new(1, 3)), ..everything() }).await;
    let _ = timeout(Duration::from_secs(5), batches.next()).await;
    assert_eq!(froms(&asked), [Some(3), Some(3)]);
}

#[tokio::test(start_paused = true)]
async fn how_far_a_quiet_watch_is_counts_and_is_told_to_who_asked() {
    for told in [false, true] {
        let (world, asked) = scripted(
            &["a:1"],
            vec![
                Part::Sends(vec![created(1), changes([progress(40)])], lost()),
                Part::Stays(vec![created(40), changes([progress(30), batch(50)])]),
            ],
        );
        let mut batches = begin(&*world.store, Watch { progress: told, ..everything() }).await;
        if told {
            let first = next(&mut batches).await.unwrap();
            assert!(first.version.index == 40 && first.events.is_empty());
        }
        assert_eq!(indexes(&mut batches, 1).await, [50]);
        assert_eq!(froms(&asked), [None, Some(41)]);
        assert!(asked.lock().unwrap().iter().all(|(_, request)| request.progress));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_left_for_another() {
    let (world, asked) = scripted(
        &["a:1", "b:1"],
        vec![Part::Stays(vec![created(1)]), Part::Stays(vec![created(1), changes([batch(2)])])],
    );
    let began = tokio::time::Instant::now();
    let mut batches = begin(&*world.store, everything()).await;
    assert_eq!(batches.next().await.unwrap().unwrap().version.index, 2);
    assert!((PROGRESS_INTERVAL * 2..PROGRESS_INTERVAL * 3).contains(&began.elapsed()));
    let asked = asked.lock().unwrap();
    assert_ne!(asked[0].0, asked[1].0);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_does_not_end_a_watch_and_what_cannot_does() {
    let passing = [
        error(ErrorKind::Unavailable),
        error(ErrorKind::ResourceExhausted),
        error(ErrorKind::Internal),
        error(ErrorKind::DeadlineExceeded),
        bare(14, ""),
        bare(1, ""),
        not_leader("b:1"),
        lost(),
    ];
    for failed in passing {
        let parts = vec![
            Part::Sends(vec![created(1)], failed.clone()),
            Part::Refuses(failed.clone()),
            Part::Stays(vec![created(1), changes([batch(2)])]),
        ];
        let (world, _) = scripted(&["a:1"], parts);
        let mut batches = begin(&*world.store, everything()).await;
        assert_eq!(indexes(&mut batches, 1).await, [2], "{failed:?}");
    }
    let floor = Error::new(ErrorKind::Compacted, "gone").with(FieldName::CompactVersion, Version::new(1, 9));
    let ending = [
        (Failed::Answered(failure_from_error(&floor)), ErrorKind::Compacted),
        (error(ErrorKind::InvalidArgument), ErrorKind::InvalidArgument),
        (error(ErrorKind::Unauthenticated), ErrorKind::Unauthenticated),
        (error(ErrorKind::PermissionDenied), ErrorKind::PermissionDenied),
        (error(ErrorKind::Corruption), ErrorKind::Corruption),
        (bare(12, ""), ErrorKind::Unsupported),
    ];
    for (failed, kind) in ending {
        let (world, asked) = scripted(&["a:1"], vec![Part::Sends(vec![created(1)], failed)]);
        let mut batches = begin(&*world.store, everything()).await;
        let ended = next(&mut batches).await.unwrap_err();
        assert_eq!(ended.kind(), kind);
        if kind == ErrorKind::Compacted {
            assert_eq!(ended.version(FieldName::CompactVersion), Some(Version::new(1, 9)));
        }
        assert!(batches.next().await.is_none());
        assert_eq!(asked.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_watch_that_cannot_begin_says_why() {
    let refuse = |failed: Failed| async move {
        let (world, _) = scripted(&["a:1"], vec![Part::Refuses(failed)]);
        world.store.watch(everything(), Call::default()).await.unwrap_err()
    };
    let error = refuse(bare(12, "")).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("a:1"), "{error:?}");
    let error = refuse(Failed::Answered(failure_from_error(&Error::new(ErrorKind::Compacted, "")))).await;
    assert_eq!(error.kind(), ErrorKind::Compacted);
}

#[tokio::test]
async fn a_store_that_closes_or_is_dropped_ends_its_watches() {
    for closes in [true, false] {
        let (world, _) = scripted(&["a:1"], vec![Part::Stays(vec![created(1)])]);
        let open = Arc::clone(&world.open);
        let mut batches = begin(&*world.store, everything()).await;
        let waiting = tokio::spawn(async move { (batches.next().await, batches.next().await) });
        tokio::task::yield_now().await;
        if closes {
            world.store.close().await.unwrap();
        } else {
            drop(world);
        }
        let (ended, after) = timeout(SOON, waiting).await.unwrap().unwrap();
        assert_eq!(ended.unwrap().unwrap_err().kind(), ErrorKind::Closed);
        assert!(after.is_none());
        assert_eq!(open.load(SeqCst), 0);
    }
}

#[tokio::test]
async fn a_watch_that_is_dropped_lets_go_of_its_stream() {
    let (world, _) = scripted(&["a:1"], vec![Part::Stays(vec![created(1)])]);
    let batches = begin(&*world.store, everything()).await;
    assert_eq!(world.open.load(SeqCst), 1);
    drop(batches);
    assert_eq!(world.open.load(SeqCst), 0);
}

// Real servers, real sockets.

async fn serve(store: StoreRef, listen: SocketAddr) -> Server {
    Server::start(store, ServerSettings { listen, ..ServerSettings::default() }).await.unwrap()
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn remote(address: SocketAddr) -> Arc<RemoteStore<Http2Transport>> {
    let node = address.to_string().parse().unwrap();
    Arc::new(RemoteStore::http2(Settings::for_nodes(vec![node])).unwrap())
}

fn memory() -> StoreRef {
    Arc::new(EmbeddedStore::memory(norikv_embedded::Settings::default()).unwrap())
}

#[tokio::test]
async fn a_server_that_comes_back_on_its_port_is_watched_on() {
    let store = memory();
    let mut server = serve(Arc::clone(&store), anywhere()).await;
    let address = server.local_addr();
    let remote = remote(address);
    let mut batches = begin(&*remote, everything()).await;
    let mut expected = 2;
    for round in 0..6 {
        for _ in 0..50 {
            store.put(Put::new("k", "v"), Call::default()).await.unwrap();
        }
        assert_eq!(indexes(&mut batches, 25).await, (expected..expected + 25).collect::<Vec<_>>());
        if round % 2 == 0 {
            server.shutdown(SOON).await.unwrap();
        } else {
            server.shutdown(Duration::ZERO).await.unwrap();
        }
        assert_eq!(store.status(Call::default()).await.unwrap().version.index, expected + 49);
        server = serve(Arc::clone(&store), address).await;
        assert_eq!(indexes(&mut batches, 25).await, (expected + 25..expected + 50).collect::<Vec<_>>());
        expected += 50;
    }
    remote.close().await.unwrap();
    assert_eq!(next(&mut batches).await.unwrap_err().kind(), ErrorKind::Closed);
    server.shutdown(SOON).await.unwrap();
}

/// Passes what a server says on, so many bytes of it on each connection, and then cuts it.
async fn cutting(server: SocketAddr, mut bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server).await.unwrap();
            let most = bytes as u64;
            bytes = bytes * 3 / 2;
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt as _, copy};
                let (mut from_client, mut to_client) = client.into_split();
                let (from_server, mut to_server) = server.into_split();
                let mut from_server = from_server.take(most);
                tokio::select! {
                    _ = copy(&mut from_client, &mut to_server) => {}
                    _ = copy(&mut from_server, &mut to_client) => {}
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_connection_that_is_cut_anywhere_within_a_large_revision_brings_it_once_and_whole() {
    let store = Arc::new(MapStore::default());
    let server = serve(store.clone(), anywhere()).await;
    let key = |number: usize| Bytes::from(format!("key-{number:06}"));
    let value = Bytes::from(vec![7; 1_000]);
    let mut sizes = Vec::new();
    for count in [3, 5_000, 1, 2_500, 2] {
        store.write((0..count).map(key), &value);
        sizes.push(count);
    }
    let remote = remote(cutting(server.local_addr(), 200_000).await);
    let mut batches = begin(&*remote, Watch { from: Some(Version::new(1, 2)), ..everything() }).await;
    for (size, index) in sizes.into_iter().zip(2..) {
        let batch = next(&mut batches).await.unwrap();
        assert_eq!((batch.version.index, batch.events.len()), (index, size));
        assert!(batch.events.iter().enumerate().all(|(at, event)| event.entry.key == key(at)));
    }
    assert!(remote.stats().retried > 3);
}

#[tokio::test]
async fn who_does_not_read_a_watch_holds_back_its_server_and_no_other_watch() {
    let store = Arc::new(MapStore::default());
    let server = serve(store.clone(), anywhere()).await;
    let remote = remote(server.local_addr());
    let from = Some(Version::new(1, 2));
    let mut slow: Vec<WatchBatches> = Vec::new();
    for _ in 0..8 {
        slow.push(begin(&*remote, Watch { from, ..everything() }).await);
    }
    let value = Bytes::from(vec![7; 256 * 1_024]);
    let mut quick = begin(&*remote, Watch { from, ..everything() }).await;
    for index in 2..66 {
        store.write([Bytes::from_static(b"k")], &value);
        assert_eq!(indexes(&mut quick, 1).await, [index]);
    }
    let taken = store.feed.taken.load(SeqCst) - 64;
    assert!(taken <= 8 * 8, "the store was asked for {taken} batches that nobody reads");
    for slow in &mut slow {
        assert_eq!(indexes(slow, 64).await, (2..66).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_thousand_watches_of_one_client_take_no_place_of_its_calls() {
    let store = Arc::new(MapStore::default());
    let server = serve(store.clone(), anywhere()).await;
    let remote = remote(server.local_addr());
    let mut watches = Vec::new();
    for batches in futures_util::future::join_all((0..1_000).map(|_| begin(&*remote, everything()))).await {
        watches.push(batches);
    }
    store.feed.until_open(1_000).await;
    let put = remote.put(Put::new("k", "v"), Call::default()).await.unwrap();
    for batches in &mut watches {
        assert_eq!(next(batches).await.unwrap().version, put.version);
    }
    assert!(remote.stats().active_connections <= 1 + 10);
    let get = Get { key: "k".into(), consistency: Default::default() };
    assert!(remote.get(get, Call::default()).await.unwrap().is_some());
    watches.truncate(500);
    store.feed.until_open(500).await;
    remote.close().await.unwrap();
    for batches in &mut watches {
        assert_eq!(next(batches).await.unwrap_err().kind(), ErrorKind::Closed);
    }
    store.feed.until_open(0).await;
}
