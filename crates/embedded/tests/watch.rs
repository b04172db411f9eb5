//! What watches see, live and from the history, against reads at every version.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod common;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use common::{both, call, settings};
use futures_util::StreamExt;
use norikv_core::{
    Compare, CompareOp, CompareTarget, Delete, DeleteRange, ErrorKind, EventKind, EventReason, FieldName,
    KeyRange, Put, Scan, Store, Ttl, Txn, TxnOp, Version, Watch, WatchBatch, Watching,
};
use norikv_embedded::{EmbeddedStore, Settings};

type State = BTreeMap<Bytes, (Bytes, Version, Version, u64)>;

async fn watch(store: &EmbeddedStore, from: Option<u64>) -> Watching {
    let from = from.map(|index| Version::new(1, index));
    store.watch(Watch { from, prev_entry: true, ..Watch::new(KeyRange::all()) }, call()).await.unwrap()
}

async fn next(watching: &mut Watching) -> WatchBatch {
    let next = tokio::time::timeout(Duration::from_secs(60), watching.batches.next());
    next.await.unwrap().unwrap().unwrap()
}

/// Everything up to a version.
async fn until(watching: &mut Watching, last: Version) -> Vec<WatchBatch> {
    let mut batches: Vec<WatchBatch> = Vec::new();
    while batches.last().is_none_or(|batch| batch.version < last) {
        batches.push(next(watching).await);
    }
    batches
}

async fn newest(store: &EmbeddedStore) -> Version {
    store.status(call()).await.unwrap().version
}

async fn state_at(store: &EmbeddedStore, version: Version) -> State {
    let mut scan = Scan { version: Some(version), ..Scan::new(KeyRange::all()) };
    let mut state = State::new();
    loop {
        let page = store.scan(scan.clone(), call()).await.unwrap();
        state.extend(page.entries.iter().map(|entry| {
            (entry.key.clone(), (entry.value.clone(), entry.version, entry.create_version, entry.generation))
        }));
        match scan.next(&page) {
            Some(next) => scan = next,
            None => return state,
        }
    }
}

/// Applies a batch, and checks that the entries before it are those that it tells.
fn apply(state: &mut State, batch: &WatchBatch) {
    for event in &batch.events {
        let entry = &event.entry;
        assert_eq!(entry.version, batch.version);
        let old = state.get(&entry.key).cloned();
        let told = event.prev_entry.as_ref();
        assert_eq!(
            told.map(|old| (old.value.clone(), old.version, old.create_version, old.generation)),
            old,
            "what was there before"
        );
        match event.kind {
            EventKind::Put => {
                let now = (entry.value.clone(), entry.version, entry.create_version, entry.generation);
                state.insert(entry.key.clone(), now);
            }
            EventKind::Delete => {
                assert!(entry.value.is_empty() && entry.generation == 0);
                assert!(state.remove(&entry.key).is_some(), "what is deleted was there");
            }
        }
    }
}

/// Writes at random: puts, deletes, range deletes and transactions, many of them at once.
async fn write(store: &EmbeddedStore, random: &mut fastrand::Rng, rounds: usize) {
    let key = |random: &mut fastrand::Rng| Bytes::from(format!("{:02}", random.u8(..60)));
    for _ in 0..rounds {
        let mut puts = Vec::new();
        for _ in 0..random.usize(1..40) {
            let value = vec![random.u8(..); random.usize(..50)];
            puts.push(store.put(Put::new(key(random), value), call()));
        }
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
        match random.u8(..4) {
            0 => drop(store.delete(Delete::new(key(random)), call()).await.unwrap()),
            1 => {
                let range = KeyRange::prefix(format!("{}", random.u8(..6)));
                store.delete_range(DeleteRange { range }, call()).await.unwrap();
            }
            2 => {
                let (a, b) = (random.u8(..30), random.u8(30..60));
                let then = vec![
                    TxnOp::Put(Put::new(format!("{a:02}"), "txn")),
                    TxnOp::Delete(Delete::new(format!("{b:02}"))),
                ];
                store.txn(Txn { then, ..Txn::default() }, call()).await.unwrap();
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_a_watch_tells_live_is_what_it_tells_from_the_history_and_what_reads_see() {
    for (store, _directory) in both(settings()) {
        let mut random = fastrand::Rng::with_seed(7);
        let mut live = watch(&store, None).await;
        assert_eq!(live.start, Version::new(1, 1));
        write(&store, &mut random, 60).await;
        let last = newest(&store).await;
        let told = until(&mut live, last).await;
        let versions: Vec<_> = told.iter().map(|batch| batch.version.index).collect();
        assert_eq!(versions, (2..=last.index).collect::<Vec<_>>(), "every revision once, in order");

        let mut state = State::new();
        for batch in &told {
            apply(&mut state, batch);
            if random.u8(..20) == 0 {
                assert_eq!(state, state_at(&store, batch.version).await, "at {}", batch.version);
            }
        }
        assert_eq!(state, state_at(&store, last).await);

        for from in [2, 3, last.index / 2, last.index - 1, last.index] {
            let mut replayed = watch(&store, Some(from)).await;
            assert_eq!(replayed.start.index, from - 1);
            let replay = until(&mut replayed, last).await;
            assert_eq!(replay.as_slice(), &told[from as usize - 2..], "from {from}");
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn who_reads_nothing_for_long_gets_everything_and_then_what_is_new() {
    for (store, _directory) in both(settings()) {
        let mut slow = watch(&store, None).await;
        // More than the hub keeps.
        for _ in 0..10 {
            let puts = (0..1_000).map(|n| store.put(Put::new(format!("{n}"), "v"), call()));
            for put in futures_util::future::join_all(puts).await {
                put.unwrap();
            }
        }
        let last = newest(&store).await;
        let told = until(&mut slow, last).await;
        assert!(told.iter().map(|batch| batch.version.index).eq(2..=10_001));
        store.put(Put::new("new", "v"), call()).await.unwrap();
        assert_eq!(next(&mut slow).await.version, Version::new(1, 10_002));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_long_history_in_memory_is_read_with_turns_for_others() {
    let store = EmbeddedStore::memory(settings()).unwrap();
    // One by one, so that each has a row of its own.
    for n in 0..300 {
        store.put(Put::new(format!("{n}"), "v"), call()).await.unwrap();
    }
    let rare = store.put(Put::new("rare", "v"), call()).await.unwrap().version;
    let from = Some(Version::new(1, 2));
    let wish = Watch { from, ..Watch::new(KeyRange::prefix("rare")) };
    let mut watching = store.watch(wish, call()).await.unwrap();
    assert!(futures_util::poll!(watching.batches.next()).is_pending());
    assert_eq!(next(&mut watching).await.version, rare);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_that_nobody_writes_to_tells_progress_too() {
    let store = EmbeddedStore::memory(settings()).unwrap();
    // The writer has nothing to do, and sleeps.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let wish = Watch { progress: true, ..Watch::new(KeyRange::all()) };
    let mut watching = store.watch(wish, call()).await.unwrap();
    let batch = next(&mut watching).await;
    assert_eq!((batch.version, batch.events.len()), (Version::new(1, 1), 0));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_revision_of_any_size_is_one_batch_live_and_from_the_history() {
    for (store, _directory) in both(settings()) {
        let puts = (0..3_000).map(|n| store.put(Put::new(format!("k{n:04}"), vec![7; 1_000]), call()));
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
        let mut live = watch(&store, None).await;
        let range = KeyRange::prefix("k");
        let deleted = store.delete_range(DeleteRange { range }, call()).await.unwrap();
        store.put(Put::new("after", "v"), call()).await.unwrap();
        let mut replayed = watch(&store, Some(deleted.version.index)).await;
        for watching in [&mut live, &mut replayed] {
            let batch = next(watching).await;
            assert_eq!((batch.version, batch.events.len()), (deleted.version, 3_000));
            assert!(batch.events.is_sorted_by(|a, b| a.entry.key < b.entry.key));
            assert_eq!(next(watching).await.events.len(), 1);
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_watch_sees_its_keys_and_kinds_alone() {
    for (store, _directory) in both(settings()) {
        let of = |range, puts, deletes| Watch { puts, deletes, ..Watch::new(range) };
        let watches = [
            of(KeyRange::single(&"ab".into()), true, true),
            of(KeyRange::prefix("a"), true, false),
            of(KeyRange::prefix("a"), false, true),
            of(KeyRange::new("aa".into(), Some("ac".into())).unwrap(), true, true),
        ];
        let mut live = Vec::new();
        for watch in &watches {
            live.push(store.watch(watch.clone(), call()).await.unwrap());
        }
        for key in ["ab", "ac", "b", "ab"] {
            store.put(Put::new(key, "v"), call()).await.unwrap();
        }
        for key in ["ac", "b", "ab"] {
            store.delete(Delete::new(key), call()).await.unwrap();
        }
        let expected: [&[u64]; 4] = [&[2, 5, 8], &[2, 3, 5], &[6, 8], &[2, 5, 8]];
        for ((watch, live), expected) in watches.iter().zip(&mut live).zip(expected) {
            let from = Some(Version::new(1, 2));
            let mut replayed = store.watch(Watch { from, ..watch.clone() }, call()).await.unwrap();
            for watching in [live, &mut replayed] {
                for index in expected {
                    assert_eq!(next(watching).await.version.index, *index, "{watch:?}");
                }
            }
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_watch_from_below_the_floor_or_from_the_future_is_refused_and_one_from_the_floor_is_whole() {
    for (store, _directory) in both(settings()) {
        for n in 0..500 {
            store.put(Put::new(format!("{}", n % 10), format!("{n}")), call()).await.unwrap();
        }
        let before = watch(&store, Some(400)).await.batches.next().await.unwrap().unwrap();
        let mut behind = watch(&store, Some(300)).await;
        store.compact(Version::new(1, 400), call()).await.unwrap();
        let refused = |from| {
            let from = Some(Version::new(1, from));
            store.watch(Watch { from, ..Watch::new(KeyRange::all()) }, call())
        };
        let error = refused(399).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Compacted);
        assert_eq!(error.version(FieldName::CompactVersion), Some(Version::new(1, 400)));
        assert_eq!(refused(503).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let mut from_floor = watch(&store, Some(400)).await;
        assert_eq!(next(&mut from_floor).await, before, "with the entry that was there before");
        // One that was behind when the floor rose is told so, and nothing is skipped.
        let error = behind.batches.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Compacted);
        assert!(behind.batches.next().await.is_none());
        let mut to_come = watch(&store, Some(502)).await;
        store.put(Put::new("new", "v"), call()).await.unwrap();
        assert_eq!(next(&mut to_come).await.version.index, 502);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_expires_is_told_as_that() {
    for (store, _directory) in both(settings()) {
        let mut live = watch(&store, None).await;
        let ttl = Ttl::from_millis(20).ok();
        store.put(Put { ttl, ..Put::new("k", "v") }, call()).await.unwrap();
        assert_eq!(next(&mut live).await.events[0].kind, EventKind::Put);
        let mut replayed = watch(&store, Some(3)).await;
        for watching in [&mut live, &mut replayed] {
            let batch = next(watching).await;
            let event = &batch.events[0];
            assert_eq!((event.kind, event.reason), (EventKind::Delete, EventReason::Expired));
            assert_eq!(event.prev_entry.as_ref().unwrap().value, "v");
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_closed_store_ends_its_watches_and_a_watch_does_not_keep_it_open() {
    for (store, directory) in both(settings()) {
        let mut waiting = watch(&store, None).await;
        let unread = watch(&store, None).await;
        store.put(Put::new("k", "v"), call()).await.unwrap();
        // A write may be answered before it is told, and a store that closes tells nothing any more.
        assert_eq!(next(&mut waiting).await.events.len(), 1);
        let ended = tokio::spawn(async move { waiting.batches.next().await.unwrap().unwrap_err().kind() });
        tokio::task::yield_now().await;
        store.close().await.unwrap();
        let kind = tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
        assert_eq!(kind.unwrap(), ErrorKind::Closed);
        if let Some(directory) = directory {
            let store = EmbeddedStore::open(directory.path(), settings()).unwrap();
            store.close().await.unwrap();
        }
        drop(unread);
    }
}

#[tokio::test]
async fn watches_that_come_and_go_under_load_miss_nothing() {
    let store = std::sync::Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
    let writer = std::sync::Arc::clone(&store);
    let writing = tokio::spawn(async move {
        for n in 0..20_000_u64 {
            writer.put(Put::new(format!("{}", n % 100), "v"), call()).await.unwrap();
        }
    });
    while !writing.is_finished() {
        let mut watching = watch(&store, None).await;
        let mut expected = watching.start.index + 1;
        if newest(&store).await.index >= 19_900 {
            break;
        }
        for _ in 0..50 {
            assert_eq!(next(&mut watching).await.version.index, expected);
            expected += 1;
        }
    }
    writing.await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_compare_that_fails_tells_nobody_anything() {
    let store = EmbeddedStore::memory(Settings::default()).unwrap();
    let mut live = watch(&store, None).await;
    let compare = Compare { key: "k".into(), op: CompareOp::Equal, target: CompareTarget::Exists(true) };
    let txn = Txn { compares: vec![compare], then: vec![TxnOp::Put(Put::new("k", "v"))], ..Txn::default() };
    let result = store.txn(txn, call()).await.unwrap();
    assert_eq!((result.succeeded, result.version), (false, Version::new(1, 1)));
    let put = store.put(Put::new("k", "v"), call()).await.unwrap();
    assert_eq!(next(&mut live).await.version, put.version);
    store.close().await.unwrap();
}
