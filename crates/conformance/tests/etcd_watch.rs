//! What a watch on etcd has to know of etcd.
#![cfg(unix)]
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod etcd_api;

use std::time::Duration;

use etcd_api::Etcd;
use futures_util::StreamExt as _;
use norikv_core::{Call, KeyRange, Put, Store as _, Watch};
use norikv_etcd::{EtcdSettings, EtcdStore};
use tokio::time::{sleep, timeout};

const EVENTS: usize = 400;
/// More than a connection takes in before it is read.
const BYTES: usize = 100 * 1024;
/// The watch asks how far it is after half of the time within which it tells its reader.
const ASKS_AFTER: Duration = Duration::from_millis(5_500);

/// The members before 3.4.25 answer how far a watch is though events before that are still to come. What is believed of such an
/// answer would be events that are never told.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_progress_overtakes_no_event() {
    let etcd = Etcd::start().await;
    let store = EtcdStore::new(EtcdSettings::parse(&format!("etcd://{}", etcd.endpoint)).unwrap()).unwrap();
    let mut first = None;
    for n in 0..EVENTS {
        let put = store.put(Put::new(format!("k{}", n % 10), vec![b'v'; BYTES]), Call::default()).await;
        first.get_or_insert(put.unwrap().version);
    }
    let watch = Watch { from: first, progress: true, ..Watch::new(KeyRange::prefix("k")) };
    let mut watching = store.watch(watch, Call::default()).await.unwrap();
    let mut next = first.unwrap();
    let mut told = 0;
    while told < EVENTS {
        if told == 1 {
            // A reader that is slow: etcd has events left when the watch asks.
            sleep(ASKS_AFTER).await;
        }
        let batch = timeout(Duration::from_secs(30), watching.batches.next()).await;
        let batch = batch.expect("a batch in time").expect("no end").unwrap();
        if batch.events.is_empty() {
            assert!(batch.version < next, "progress up to {}, and {next} was not told", batch.version);
            continue;
        }
        assert_eq!(batch.version, next, "no event is left out");
        next.index += 1;
        told += batch.events.len();
    }
    store.close().await.unwrap();
}
