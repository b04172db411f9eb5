//! What a watch on etcd has to know of etcd.
#![cfg(unix)]
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod etcd_api;

use std::time::Duration;

use etcd_api::Etcd;
use futures_util::{StreamExt as _, future::join_all};
use norikv_core::{Call, KeyRange, Put, Store as _, Version, Watch};
use norikv_etcd::{EtcdSettings, EtcdStore};
use tokio::time::{sleep, timeout};

/// Members tell the past in parts of 1,000 revisions.
const EVENTS: usize = 3_000;
const AT_ONCE: usize = 100;
/// A part is more than a connection takes in before it is read.
const BYTES: usize = 10 * 1024;
/// The watch asks how far it is after half of the time within which it tells its reader.
const ASKS_AFTER: Duration = Duration::from_millis(5_500);
/// Which of a reply and an event is sent first is a matter of chance.
const WATCHES: usize = 8;

/// The members before 3.4.25 answer how far a watch is though events before that are still to come. What is believed of such an
/// answer would be events that are never told.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_progress_overtakes_no_event() {
    let etcd = Etcd::start().await;
    let store = EtcdStore::new(EtcdSettings::parse(&format!("etcd://{}", etcd.endpoint)).unwrap()).unwrap();
    let store = &store;
    let first = store.put(Put::new("k", "first"), Call::default()).await.unwrap().version;
    for part in 0..EVENTS / AT_ONCE {
        let puts = (0..AT_ONCE).map(|n| {
            store.put(Put::new(format!("k{}", part * AT_ONCE + n), vec![b'v'; BYTES]), Call::default())
        });
        for put in join_all(puts).await {
            put.unwrap();
        }
    }
    join_all((0..WATCHES).map(|_| every_revision(store, first))).await;
    store.close().await.unwrap();
}

/// A watch with a reader that is slow, so that the member has events left when the watch asks.
async fn every_revision(store: &EtcdStore, first: Version) {
    let watch = Watch { from: Some(first), progress: true, ..Watch::new(KeyRange::prefix("k")) };
    let mut watching = store.watch(watch, Call::default()).await.unwrap();
    let mut next = first;
    while next.index <= first.index + EVENTS as u64 {
        if next.index == first.index + 1 {
            sleep(ASKS_AFTER).await;
        }
        let batch = timeout(Duration::from_secs(60), watching.batches.next()).await;
        let batch = batch.expect("a batch in time").expect("no end").unwrap();
        if batch.events.is_empty() {
            assert!(batch.version < next, "progress up to {}, and {next} was not told", batch.version);
            continue;
        }
        assert_eq!(batch.version, next, "no event is left out");
        next.index += 1;
    }
}
