//! Watches over gRPC.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{Client, MapStore, SOON, serve, settings};
use norikv_core::{Error, ErrorKind, Version};
use norikv_proto::ext;
use norikv_server::ServerSettings;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

const MIB: usize = 1024 * 1024;

fn from(index: u64) -> ext::WatchRequest {
    ext::WatchRequest { from: Some(Version::new(1, index).into()), ..Default::default() }
}

async fn next(watch: &mut Streaming<ext::WatchResponse>) -> ext::WatchResponse {
    timeout(SOON, watch.message()).await.unwrap().unwrap().unwrap()
}

async fn end_of(watch: &mut Streaming<ext::WatchResponse>) -> Status {
    loop {
        if let Err(status) = timeout(SOON, watch.message()).await.unwrap() {
            return status;
        }
    }
}

fn keys(count: usize) -> impl Iterator<Item = Bytes> {
    (0..count).map(|number| Bytes::from(format!("key-{number:06}")))
}

fn put(store: &MapStore, key: &'static str) -> u64 {
    store.write([key.into()], &"v".into()).index
}

#[tokio::test]
async fn a_watch_says_that_it_has_begun_and_then_what_happens() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let range = ext::Range { start: "b".into(), end: Some("c".into()) };
    let mut watch =
        client.watch(ext::WatchRequest { range: Some(range), ..Default::default() }).await.unwrap();
    let created = next(&mut watch).await;
    assert_eq!(created.created.unwrap().index, 1);
    assert!(created.batches.is_empty());
    put(&store, "a");
    let version = put(&store, "b");
    let told = next(&mut watch).await;
    assert!(told.created.is_none());
    assert_eq!(told.batches.len(), 1);
    assert_eq!(told.batches[0].version.unwrap().index, version);
    assert_eq!(told.batches[0].events[0].entry.as_ref().unwrap().key, "b");
    drop(watch);
    store.feed.until_open(0).await;
}

#[tokio::test]
async fn what_is_ready_travels_together() {
    let (server, store) = serve(settings()).await;
    for _ in 0..100 {
        put(&store, "a");
    }
    let client = Client::connect(server.local_addr()).await;
    let mut watch = client.watch(from(2)).await.unwrap();
    assert_eq!(next(&mut watch).await.created.unwrap().index, 1);
    let versions: Vec<_> =
        next(&mut watch).await.batches.iter().map(|batch| batch.version.unwrap().index).collect();
    assert_eq!(versions, (2..=101).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_large_batch_is_split_and_a_message_is_not_large_but_for_one_huge_event() {
    let (server, store) = serve(settings()).await;
    let large = store.write(keys(3_000), &Bytes::from(vec![7; 1_000])).index;
    let huge = store.write(keys(2), &Bytes::from(vec![7; 2 * MIB])).index;
    let small = put(&store, "a");
    let client = Client::connect(server.local_addr()).await;
    let mut watch = client.watch(from(large)).await.unwrap();
    next(&mut watch).await;
    let (mut counts, mut parts) = ([0; 3], 0);
    while counts != [3_000, 2, 1] {
        let message = next(&mut watch).await;
        let size = prost::Message::encoded_len(&message);
        let events: usize = message.batches.iter().map(|batch| batch.events.len()).sum();
        assert!(size <= MIB || (events == 1 && size > 2 * MIB), "{events} events in {size} bytes");
        for batch in message.batches {
            let at = [large, huge, small].iter().position(|it| *it == batch.version.unwrap().index).unwrap();
            counts[at] += batch.events.len();
            parts += 1;
            assert_eq!(batch.more, counts[at] < [3_000, 2, 1][at]);
        }
    }
    assert_eq!(parts, 3 + 2 + 1);
}

#[tokio::test]
async fn a_reader_that_is_slow_holds_back_its_own_watch() {
    let (server, store) = serve(settings()).await;
    for _ in 0..64 {
        store.write(keys(1), &Bytes::from(vec![7; MIB]));
    }
    let client = Client::connect(server.local_addr()).await;
    let mut slow = client.watch(from(2)).await.unwrap();
    next(&mut slow).await;
    let before = loop {
        // Another watch on the same connection goes on meanwhile.
        let mut other = client.watch(ext::WatchRequest::default()).await.unwrap();
        next(&mut other).await;
        let before = store.feed.taken.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        if before > 0 && store.feed.taken.load(Ordering::SeqCst) == before {
            break before;
        }
    };
    assert!(before < 8, "the store was asked for {before} MiB that nobody reads");
    let mut seen = Vec::new();
    while seen.len() < 64 {
        seen.extend(next(&mut slow).await.batches.iter().map(|batch| batch.version.unwrap().index));
    }
    assert_eq!(seen, (2..=65).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_watch_that_cannot_go_on_says_why() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    norikv_core::Store::compact(&*store, Version::new(1, 9), Default::default()).await.unwrap();
    let refused = client.watch(from(3)).await.unwrap_err();
    let details = refused.get_details_error_info().unwrap();
    assert_eq!((details.reason.as_str(), details.metadata["compactVersion"].as_str()), ("COMPACTED", "1.9"));

    let mut watch = client.watch(ext::WatchRequest::default()).await.unwrap();
    next(&mut watch).await;
    store.feed.fail(Error::new(ErrorKind::Corruption, "damaged"));
    let status = end_of(&mut watch).await;
    assert_eq!(status.code(), Code::DataLoss);
    assert_eq!(status.get_details_error_info().unwrap().reason, "CORRUPTION");

    let range = ext::Range { start: "b".into(), end: Some("a".into()) };
    let wrong = client.watch(ext::WatchRequest { range: Some(range), ..Default::default() }).await;
    assert_eq!(wrong.unwrap_err().code(), Code::InvalidArgument);
    let range = ext::Range { start: vec![7; 20 * 1_024].into(), end: None };
    let wrong = client.watch(ext::WatchRequest { range: Some(range), ..Default::default() }).await;
    assert_eq!(wrong.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_deadline_bounds_how_long_a_watch_takes_to_begin_and_not_how_long_it_goes_on() {
    let bound = Duration::from_millis(50);
    let (server, store) = serve(ServerSettings { request_timeout: bound, ..settings() }).await;
    let client = Client::connect(server.local_addr()).await;
    let ask = |start: &'static str| {
        let range = ext::Range { start: start.into(), end: None };
        client.watch(ext::WatchRequest { range: Some(range), ..Default::default() })
    };
    assert_eq!(ask("held").await.unwrap_err().code(), Code::DeadlineExceeded);
    let mut watch = ask("a").await.unwrap();
    next(&mut watch).await;
    tokio::time::sleep(2 * bound).await;
    put(&store, "b");
    assert_eq!(next(&mut watch).await.batches.len(), 1);
}

#[tokio::test]
async fn a_connection_has_so_many_watches_and_no_more() {
    let (server, store) = serve(ServerSettings { max_watches_per_connection: 2, ..settings() }).await;
    let client = Client::connect(server.local_addr()).await;
    let watch = || client.watch(ext::WatchRequest::default());
    let (one, _two) = (watch().await.unwrap(), watch().await.unwrap());
    let full = watch().await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted);
    assert!(full.message().contains("max_watches_per_connection"), "{}", full.message());
    let other = Client::connect(server.local_addr()).await;
    let third = other.watch(ext::WatchRequest::default()).await.unwrap();
    drop((one, third));
    store.feed.until_open(1).await;
    watch().await.unwrap();
}

#[tokio::test]
async fn a_server_that_shuts_down_ends_its_watches() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let mut watch = client.watch(ext::WatchRequest::default()).await.unwrap();
    next(&mut watch).await;
    let (ended, shutdown) = tokio::join!(end_of(&mut watch), server.shutdown(SOON));
    shutdown.unwrap();
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(ended.get_details_error_info().unwrap().reason, "UNAVAILABLE");
    assert_eq!(store.feed.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_watch_that_nobody_reads_does_not_keep_the_server_from_ending() {
    let (server, store) = serve(settings()).await;
    for _ in 0..8 {
        store.write(keys(1), &Bytes::from(vec![7; MIB]));
    }
    let client = Client::connect(server.local_addr()).await;
    let mut watch = client.watch(from(2)).await.unwrap();
    next(&mut watch).await;
    // What fits between the two is under way then.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    server.shutdown(SOON).await.unwrap();
    assert!(begun.elapsed() < SOON / 2, "it took {:?}", begun.elapsed());
    assert_eq!(store.feed.open.load(Ordering::SeqCst), 0);
    drop(watch);
}

#[tokio::test]
async fn a_server_of_norikv_v1_alone_has_no_watches() {
    let (server, _store) = serve(ServerSettings { norikv_v1_only: true, ..settings() }).await;
    let client = Client::connect(server.local_addr()).await;
    let status = client.watch(ext::WatchRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(client.grant(9).await.unwrap_err().code(), Code::Unimplemented);
}
