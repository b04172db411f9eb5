//! Vectors are entries: whoever writes entries where vectors are changes what searches find, and no search waits forever.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::{
    call, create, drop_index, get, in_time, index, near, open_at, relaxed, search_for, vector_status,
};
use norikv_core::{
    Compare, CompareOp, CompareTarget, Delete, DeleteRange, DistanceFunction, Entry, ErrorKind, KeyRange,
    LeaseGrant, Put, Quantization, Scan, Store, StoreRef, Ttl, Txn, TxnOp, VectorIndex, VectorIndexType,
    VectorInsert, VectorItem,
};
use norikv_embedded::{EmbeddedStore, Settings as EmbeddedSettings};
use norikv_vectors::{Settings, VectorStore};

const PREFIX: &[u8] = b"\0norikv/";

fn plane() -> VectorIndex {
    index("n", 2, DistanceFunction::Euclidean, VectorIndexType::Hnsw, Quantization::None)
}

async fn memory(settings: EmbeddedSettings) -> (Arc<VectorStore>, StoreRef) {
    let within: StoreRef = Arc::new(EmbeddedStore::memory(settings).unwrap());
    let store = VectorStore::open(StoreRef::clone(&within), Settings::default()).await.unwrap();
    (Arc::new(store), within)
}

fn ours() -> KeyRange {
    KeyRange::prefix(PREFIX)
}

async fn entries(store: &dyn Store, range: KeyRange) -> Vec<Entry> {
    store.scan(Scan::new(range), call()).await.unwrap().entries
}

/// The key of the vector of an id, found by looking.
async fn key_of(store: &dyn Store, id: &str) -> Bytes {
    let all = entries(store, KeyRange::prefix([PREFIX, b"v"].concat())).await;
    all.into_iter().find(|entry| entry.key.ends_with(id.as_bytes())).unwrap().key
}

async fn found(store: &dyn Store) -> Vec<String> {
    let matches = search_for(store, near("n", &[0.0, 0.0], 100)).await;
    matches.into_iter().map(|found| found.id).collect()
}

async fn insert(store: &VectorStore, id: &str, x: f32) {
    in_time("insert", common::insert(store, "n", id, &[x, 0.0])).await;
}

fn numbers(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_where_a_vector_is_becomes_it_and_garbage_is_none() {
    let (store, _) = memory(EmbeddedSettings::default()).await;
    create(&store, plane()).await;
    for (n, id) in (1u8..).zip(["a", "b", "c"]) {
        insert(&store, id, f32::from(n)).await;
    }
    let key = key_of(&*store, "b").await;
    store.put(Put::new(key.clone(), numbers(&[9.0, 0.0])), call()).await.unwrap();
    assert_eq!(found(&*store).await, ["a", "c", "b"]);
    assert_eq!(get(&*store, "n", "b").await, Some(vec![9.0, 0.0]));
    for garbage in [
        vec![],
        vec![1, 2, 3],
        numbers(&[1.0]),
        numbers(&[1.0, 2.0, 3.0]),
        numbers(&[f32::NAN, 1.0]),
        numbers(&[f32::INFINITY, 1.0]),
        numbers(&[f32::MAX, f32::MAX]),
        vec![0; 100_000],
    ] {
        store.put(Put::new(key.clone(), garbage), call()).await.unwrap();
        assert_eq!(found(&*store).await, ["a", "c"]);
        assert_eq!(get(&*store, "n", "b").await, None);
    }
    insert(&store, "b", 0.5).await;
    assert_eq!(found(&*store).await, ["b", "a", "c"]);
    // Keys that are of nothing, or of an index that is not there.
    let prefix = &key[..key.len() - 1];
    for key in [
        prefix.to_vec(),
        [prefix, b"\xff"].concat(),
        [prefix, "i".repeat(513).as_bytes()].concat(),
        [PREFIX, b"v"].concat(),
        [PREFIX, b"v\0\0\0"].concat(),
        [PREFIX, b"v\0\0\0\0\0\0\0\0id"].concat(),
        [PREFIX, b"d"].concat(),
        [PREFIX, b"d\xff"].concat(),
        [PREFIX, b"dname"].concat(),
        [PREFIX, b"m"].concat(),
        [PREFIX, b"a1"].concat(),
        PREFIX.to_vec(),
    ] {
        store.put(Put::new(key.clone(), numbers(&[1.0, 1.0])), call()).await.unwrap();
        assert_eq!(found(&*store).await, ["b", "a", "c"], "{key:?}");
        store.delete(Delete::new(key), call()).await.unwrap();
        assert_eq!(found(&*store).await, ["b", "a", "c"]);
    }
    store.delete(Delete::new(key), call()).await.unwrap();
    assert_eq!(found(&*store).await, ["a", "c"]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_by_a_range_or_a_transaction_is_not_found() {
    let (store, _) = memory(EmbeddedSettings::default()).await;
    for range in [KeyRange::all(), ours(), KeyRange::prefix([PREFIX, b"v"].concat())] {
        create(&store, plane()).await;
        for n in 0..50u8 {
            insert(&store, &n.to_string(), f32::from(n)).await;
        }
        store.delete_range(DeleteRange { range: range.clone() }, call()).await.unwrap();
        let result = in_time("search", store.vector_search(near("n", &[0.0, 0.0], 10), call())).await;
        match result {
            Ok(results) => assert_eq!(results[0].matches, []),
            Err(error) => assert_eq!(error.kind(), ErrorKind::VectorIndexNotFound),
        }
        drop_index(&*store, "n").await;
    }
    create(&store, plane()).await;
    for n in 0..4u8 {
        insert(&store, &n.to_string(), f32::from(n)).await;
    }
    let (zero, one) = (key_of(&*store, "0").await, key_of(&*store, "1").await);
    let then = vec![
        TxnOp::Delete(Delete::new(zero.clone())),
        TxnOp::Put(Put::new(one, numbers(&[8.0, 0.0]))),
        TxnOp::DeleteRange(DeleteRange { range: KeyRange::single(&key_of(&*store, "2").await) }),
    ];
    store.txn(Txn { then, ..Txn::default() }, call()).await.unwrap();
    assert_eq!(found(&*store).await, ["3", "1"]);
    // Transactions that change nothing, and a range without anything.
    let never = Compare { key: zero.clone(), op: CompareOp::Equal, target: CompareTarget::Exists(true) };
    let puts = vec![TxnOp::Put(Put::new(zero.clone(), numbers(&[8.0, 0.0])))];
    let nothing = Txn { compares: vec![never], then: puts, ..Txn::default() };
    assert!(!store.txn(nothing, call()).await.unwrap().succeeded);
    let deletes = vec![TxnOp::Delete(Delete::new(zero.clone()))];
    store.txn(Txn { then: deletes, ..Txn::default() }, call()).await.unwrap();
    store.delete_range(DeleteRange { range: KeyRange::single(&zero) }, call()).await.unwrap();
    store.delete(Delete::new(zero), call()).await.unwrap();
    assert_eq!(found(&*store).await, ["3", "1"]);
    store.close().await.unwrap();
}

/// A store that had no index when it was written to, and is asked for vectors then.
#[tokio::test(flavor = "multi_thread")]
async fn writes_before_there_is_an_index_hold_up_nobody() {
    for range in [KeyRange::all(), ours()] {
        let (store, _) = memory(EmbeddedSettings::default()).await;
        store.put(Put::new([PREFIX, b"vx"].concat(), "x"), call()).await.unwrap();
        store.put(Put::new([PREFIX, b"dx"].concat(), ""), call()).await.unwrap();
        store.put(Put::new("k", "v"), call()).await.unwrap();
        store.delete_range(DeleteRange { range: range.clone() }, call()).await.unwrap();
        store.delete_range(DeleteRange { range }, call()).await.unwrap();
        let error = in_time("search", store.vector_search(near("n", &[0.0, 0.0], 1), call())).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::VectorIndexNotFound);
        create(&store, plane()).await;
        insert(&store, "a", 1.0).await;
        assert_eq!(found(&*store).await, ["a"]);
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_expire_or_go_with_a_lease_are_vectors_until_then() {
    let (store, _) = memory(EmbeddedSettings::default()).await;
    create(&store, plane()).await;
    insert(&store, "a", 1.0).await;
    insert(&store, "b", 2.0).await;
    insert(&store, "c", 3.0).await;
    let lease = store.lease_grant(LeaseGrant::new(Ttl::from_millis(60_000).unwrap()), call()).await.unwrap();
    let put = async |id: &str, ttl: Option<u64>, x: f32| {
        let key = key_of(&*store, id).await;
        let ttl = ttl.map(|millis| Ttl::from_millis(millis).unwrap());
        let lease = ttl.is_none().then_some(lease.id);
        store.put(Put { ttl, lease, ..Put::new(key, numbers(&[x, 0.0])) }, call()).await.unwrap();
    };
    put("a", Some(1), 1.5).await;
    put("b", None, 2.5).await;
    // It has expired, or is about to.
    let first = found(&*store).await;
    assert!(first == ["b", "c"] || first == ["a", "b", "c"], "{first:?}");
    store.lease_revoke(lease.id, call()).await.unwrap();
    let gone = async {
        while found(&*store).await != ["c"] {
            tokio::task::yield_now().await;
        }
    };
    in_time("what expired or went with its lease goes", gone).await;
    store.close().await.unwrap();
}

/// The view lags, and what it has not seen is compacted: it is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn compaction_to_the_newest_version_again_and_again_holds_up_no_search() {
    let (store, within) = memory(EmbeddedSettings::default()).await;
    create(&store, plane()).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let compacting = tokio::spawn({
        let (within, stop) = (StoreRef::clone(&within), Arc::clone(&stop));
        async move {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let newest = within.status(call()).await.unwrap().version;
                within.compact(newest, call()).await.unwrap();
            }
        }
    });
    for n in 0..300u16 {
        insert(&store, &n.to_string(), f32::from(n)).await;
        let matches = search_for(&*store, near("n", &[f32::from(n), 0.0], 1)).await;
        assert_eq!(matches[0].id, n.to_string());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    compacting.await.unwrap();
    store.close().await.unwrap();
}

/// A store with little history, under heavy writing: where the view loses its place, it finds it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_with_little_history_under_heavy_writing_holds_up_no_search() {
    for on_disk in [false, true] {
        let settings = EmbeddedSettings { history_revisions: 1_000, ..relaxed() };
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = if on_disk {
            open_at(directory.path(), settings, Duration::from_secs(30)).await
        } else {
            memory(settings).await
        };
        create(&store, plane()).await;
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let writers: Vec<_> = (0..8)
            .map(|writer: u32| {
                let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut n = 0u32;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        n += 1;
                        store.put(Put::new(format!("k{writer}"), vec![0; 100]), call()).await.unwrap();
                        if n.is_multiple_of(50) {
                            let vectors = (0..100)
                                .map(|at| VectorItem { id: format!("{writer}/{at}"), vector: vec![1e6, 0.0] })
                                .collect();
                            let namespace = "n".into();
                            let insert = VectorInsert { namespace, vectors, idempotency_key: None };
                            store.vector_insert(insert, call()).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        for n in 0..200u16 {
            insert(&store, "a", f32::from(n)).await;
            let matches = search_for(&*store, near("n", &[f32::from(n), 0.0], 1)).await;
            assert_eq!((&matches[0].id[..], matches[0].distance), ("a", 0.0));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        store.close().await.unwrap();
    }
}

/// The same while the view is made of a scan: what it scans is compacted under it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_with_little_history_is_opened_under_heavy_writing() {
    let directory = tempfile::tempdir().unwrap();
    let settings = || EmbeddedSettings { history_revisions: 10_000, ..relaxed() };
    let (store, _) = open_at(directory.path(), settings(), Duration::from_secs(30)).await;
    create(&store, plane()).await;
    let vectors: Vec<(String, Vec<f32>)> =
        (0..5_000u16).map(|n| (n.to_string(), vec![f32::from(n), 0.0])).collect();
    common::insert_all(&store, "n", &vectors).await;
    store.close().await.unwrap();
    drop(store);
    let within: StoreRef = Arc::new(EmbeddedStore::open(directory.path(), settings()).unwrap());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer: u32| {
            let (store, stop) = (StoreRef::clone(&within), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    store.put(Put::new(format!("k{writer}"), vec![0; 100]), call()).await.unwrap();
                }
            })
        })
        .collect();
    let opened = VectorStore::open(StoreRef::clone(&within), Settings::default());
    let store = in_time("open", opened).await.unwrap();
    let matches = search_for(&store, near("n", &[0.0, 0.0], 3)).await;
    assert_eq!(matches.iter().map(|found| &found.id[..]).collect::<Vec<_>>(), ["0", "1", "2"]);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    store.close().await.unwrap();
}

/// What a later version may write is left as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_is_not_known_keeps_its_vectors() {
    let (store, within) = memory(EmbeddedSettings::default()).await;
    create(&store, plane()).await;
    create(&store, VectorIndex { namespace: "other".into(), ..plane() }).await;
    insert(&store, "a", 1.0).await;
    let key = [PREFIX, b"dn"].concat();
    let definition = entries(&*store, KeyRange::single(&key.clone().into())).await.remove(0);
    let mut later = definition.value.to_vec();
    later[0] = 2;
    store.put(Put::new(key.clone(), later), call()).await.unwrap();
    let error = in_time("search", store.vector_search(near("n", &[0.0, 0.0], 1), call())).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::VectorIndexNotFound);
    let error = store.vector_insert(
        VectorInsert {
            namespace: "n".into(),
            vectors: vec![VectorItem { id: "b".into(), vector: vec![1.0, 1.0] }],
            idempotency_key: None,
        },
        call(),
    );
    assert_eq!(in_time("insert", error).await.unwrap_err().kind(), ErrorKind::VectorIndexNotFound);
    // One that sees it at its start leaves the vectors, too, and sweeps no other's.
    let other = VectorStore::open(StoreRef::clone(&within), Settings::default()).await.unwrap();
    assert_eq!(vector_status(&other).await.vectors, 0);
    assert!(drop_index(&other, "other").await);
    drop(other);
    store.put(Put::new(key, definition.value), call()).await.unwrap();
    let again = VectorStore::open(StoreRef::clone(&within), Settings::default()).await.unwrap();
    assert_eq!(found(&again).await, ["a"]);
    drop(again);
    store.close().await.unwrap();
}

/// Two views of one store: each finds what the other wrote, soon, and what it wrote itself, at once.
#[tokio::test(flavor = "multi_thread")]
async fn two_views_of_one_store_agree() {
    let (store, within) = memory(EmbeddedSettings::default()).await;
    let other = Arc::new(VectorStore::open(within, Settings::default()).await.unwrap());
    create(&store, plane()).await;
    assert!(!create(&other, plane()).await);
    for n in 0..20u8 {
        insert(&store, &format!("{n:02}a"), f32::from(n)).await;
        insert(&other, &format!("{n:02}b"), f32::from(n)).await;
        assert!(found(&*other).await.contains(&format!("{n:02}b")));
    }
    // The other drops and creates the index: the view of this one is behind, and its writes find the new one.
    for n in 0..20u8 {
        assert!(drop_index(&*other, "n").await);
        create(&other, plane()).await;
        insert(&store, "new", f32::from(n)).await;
        let soon = async {
            while found(&*other).await != ["new"] {
                tokio::task::yield_now().await;
            }
        };
        in_time("the other sees it", soon).await;
        assert!(common::delete(&store, "n", "new").await);
    }
    store.close().await.unwrap();
    other.close().await.unwrap();
}
