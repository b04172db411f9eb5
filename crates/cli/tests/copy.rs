//! `norikv copy`, with the real binary between real stores.
#![cfg(unix)]
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;
mod copying;
#[path = "copying/writer.rs"]
mod writer;

use std::{io::Write as _, time::Duration};

use common::Norikv;
use copying::{Copying, Etcd, assert_same, contents, copy, opened, served, times};
use norikv_core::{
    Call, Delete, DistanceFunction, Get, LeaseGrant, Put, Scan, Store, StoreRef, Ttl, VectorCreateIndex,
    VectorIndex, VectorIndexType, VectorInsert, VectorItem, VectorSearch, Version,
};
use rustix::process::Signal;
use tempfile::TempDir;
use writer::Writer;

fn file(directory: &TempDir, name: &str) -> String {
    format!("file:{}", directory.path().join(name).display())
}

async fn put(store: &dyn Store, key: &str, value: &str) -> Version {
    store.put(Put::new(key.to_owned(), value.to_owned()), Call::default()).await.unwrap().version
}

async fn get(store: &dyn Store, key: &str) -> Option<String> {
    let get = Get { key: key.to_owned().into(), consistency: Default::default() };
    let entry = store.get(get, Call::default()).await.unwrap();
    entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

/// Writes many keys at once.
async fn fill(store: &StoreRef, keys: u32, size: usize) {
    let puts = (0..keys).map(|number| {
        let put = Put::new(format!("key{number:06}"), vec![(number % 251) as u8; size]);
        async move { store.put(put, Call::default()).await.unwrap() }
    });
    futures_util::future::join_all(puts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_disk_is_copied_with_what_is_left_of_times_and_without_what_belongs_to_leases() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (file(&directory, "from"), file(&directory, "to"));
    let store: StoreRef = std::sync::Arc::new(opened(&directory.path().join("from")));
    fill(&store, 3_000, 20).await;
    store.put(Put::new(vec![0_u8, 255], Vec::new()), Call::default()).await.unwrap();
    store.put(Put::new(vec![b'z'; 1_024], vec![7; 1024 * 1024]), Call::default()).await.unwrap();
    let ttl = Ttl::from_millis(600_000).ok();
    store.put(Put { ttl, ..Put::new("session", "ends") }, Call::default()).await.unwrap();
    let grant = LeaseGrant::new(Ttl::from_millis(600_000).unwrap());
    let lease = Some(store.lease_grant(grant, Call::default()).await.unwrap().id);
    store.put(Put { lease, ..Put::new("lock", "held") }, Call::default()).await.unwrap();
    let session = Get { key: "session".into(), consistency: Default::default() };
    let ends = store.get(session.clone(), Call::default()).await.unwrap().unwrap().expires_at.unwrap();
    store.close().await.unwrap();
    drop(store);

    let copied = copy(&[&from, &to]);
    copied.assert_equal();
    assert!(copied.stdout.contains("3,003 keys"), "{copied:?}");
    assert!(copied.stdout.contains("left out: 1 key with a lease"), "{copied:?}");

    let (from, to) = (opened(&directory.path().join("from")), opened(&directory.path().join("to")));
    assert_same(&from, &to).await;
    assert_eq!(get(&to, "lock").await, None);
    let found = to.get(session, Call::default()).await.unwrap().unwrap().expires_at.unwrap();
    assert!(found.abs_diff(ends) <= 5_000, "{found} {ends}");
    // Nothing is left of the copy itself.
    assert_eq!(contents(&to).await.len(), 3_003);
    from.close().await.unwrap();
    to.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_disk_moves_to_etcd_and_back() {
    let directory = tempfile::tempdir().unwrap();
    let (from, back) = (file(&directory, "from"), file(&directory, "back"));
    let store: StoreRef = std::sync::Arc::new(opened(&directory.path().join("from")));
    fill(&store, 2_000, 100).await;
    store.close().await.unwrap();
    drop(store);
    let etcd = Etcd::start().await;
    copy(&[&from, &etcd.address]).assert_equal();
    let copied = copy(&[&etcd.address, &back, "--quiet"]);
    copied.assert_equal();
    assert_eq!(copied.stderr, "");
    let (from, back) = (opened(&directory.path().join("from")), opened(&directory.path().join("back")));
    assert_same(&from, &*etcd.store()).await;
    assert_same(&from, &back).await;
    from.close().await.unwrap();
    back.close().await.unwrap();
}

/// What the guide says: stop the writers, wait for the version of the last write, end the copy, change the address.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_switches_as_the_guide_says_loses_no_write() {
    let server = Norikv::serve(&["--store", "memory:"]);
    let source = served(server.address());
    fill(&source, 1_000, 50).await;
    let etcd = Etcd::start().await;
    let writer = Writer::start(&source, 4, 1);
    let mut copying = Copying::start(&[server.address(), &etcd.address, "--follow"]);
    copying.caught_up(Version::ZERO);

    writer.stop().await;
    let last = put(&*source, "last", "write").await;
    copying.caught_up(last);
    copying.send(Signal::INT);
    copying.end().assert_equal();

    let target = etcd.store();
    assert_eq!(get(&*target, "last").await.as_deref(), Some("write"));
    assert_same_but_ending(&source, &target).await;
    put(&*target, "first", "write at the new address").await;
    assert_eq!(get(&*source, "first").await, None);
}

/// The same, where entries may be about to end: those are gone at both soon.
async fn assert_same_but_ending(from: &StoreRef, to: &StoreRef) {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let begun = std::time::Instant::now();
    while contents(&**from).await != contents(&**to).await && begun.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_same(&**from, &**to).await;
}

/// Kills copies while somebody writes, and lets the last one come to its end.
async fn killed(target: &str, seed: u64, kills: u32) -> (Norikv, StoreRef) {
    let server = Norikv::serve(&["--store", "memory:"]);
    let source = served(server.address());
    fill(&source, 3_000, 50).await;
    let writer = Writer::start(&source, 4, seed);
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut working = 0;
    for round in 0..kills {
        // Some are killed while they scan, and some while they follow.
        let rate = ["1500", "100000"][chance.usize(..2)];
        let copying = Copying::start(&[server.address(), target, "--follow", "--max-rate", rate]);
        tokio::time::sleep(Duration::from_millis(chance.u64(20..1_500))).await;
        working += u32::from(copying.kill());
        // What a copy has brought over, and is deleted before the next one begins.
        let gone = format!("key{:06}", round * 7);
        source.delete(Delete::new(gone), Call::default()).await.unwrap();
    }
    assert_eq!(working, kills, "a copy that follows ends when it is told to");
    let mut copying = Copying::start(&[server.address(), target, "--follow"]);
    copying.caught_up(Version::ZERO);
    let last = writer.stop().await;
    copying.caught_up(last);
    copying.send(Signal::TERM);
    copying.end().assert_equal();
    (server, source)
}

fn seed() -> u64 {
    let seed = std::env::var("NORIKV_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    let _ = writeln!(std::io::stdout(), "NORIKV_SEED={seed}");
    seed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_to_disk_that_is_killed_again_and_again_ends_with_equal_stores() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, source) = killed(&file(&directory, "to"), seed(), times(4, 60)).await;
    let target: StoreRef = std::sync::Arc::new(opened(&directory.path().join("to")));
    assert_same_but_ending(&source, &target).await;
    target.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_to_etcd_that_is_killed_again_and_again_ends_with_equal_stores() {
    let etcd = Etcd::start().await;
    let (_server, source) = killed(&etcd.address, seed(), times(4, 60)).await;
    assert_same_but_ending(&source, &etcd.store()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_copied_and_deleted_before_the_copy_goes_on_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let target = file(&directory, "to");
    let server = Norikv::serve(&["--store", "memory:"]);
    let source = served(server.address());
    put(&*source, "a", "1").await;
    put(&*source, "b", "2").await;
    let mut copying = Copying::start(&[server.address(), &target, "--follow"]);
    copying.line("caught up");
    copying.kill();
    source.delete(Delete::new("a"), Call::default()).await.unwrap();
    put(&*source, "b", "3").await;
    let copied = copy(&[server.address(), &target]);
    copied.assert_equal();
    assert!(
        copied.stderr.contains("going on with the copy") && copied.stdout.contains("deleted 1"),
        "{copied:?}"
    );
    let target = opened(&directory.path().join("to"));
    assert_same(&*source, &target).await;
    target.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_forgets_its_history_meanwhile_is_compared_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = Norikv::serve(&["--store", "memory:"]);
    let source = served(server.address());
    fill(&source, 500, 50).await;
    let mut copying = Copying::start(&[server.address(), &file(&directory, "to"), "--follow"]);
    copying.line("caught up");
    copying.send(Signal::STOP);
    // More than the server, the network and the client hold ready for a watch that is not read.
    fill(&source, 600, 60_000).await;
    fill(&source, 300, 60_001).await;
    let last = put(&*source, "last", "write").await;
    source.compact(last, Call::default()).await.unwrap();
    copying.send(Signal::CONT);
    copying.caught_up(last);
    copying.send(Signal::INT);
    let copied = copying.end();
    copied.assert_equal();
    assert!(copied.stderr.contains("the source forgot changes"), "{copied:?}");
    assert!(copied.stderr.contains("beginning 2 of 10"), "{copied:?}");
    let target = opened(&directory.path().join("to"));
    assert_same(&*source, &target).await;
    target.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_other_data_is_refused_and_overwritten_only_when_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let (from, other, to) = (file(&directory, "from"), file(&directory, "other"), file(&directory, "to"));
    for (name, value) in [("from", "1"), ("other", "2")] {
        let store = opened(&directory.path().join(name));
        put(&store, "a", value).await;
        put(&store, name, value).await;
        store.close().await.unwrap();
    }
    copy(&[&other, &to]).assert_equal();
    // It is a whole copy, and no less somebody's data.
    copy(&[&from, &to]).assert_failed(1, &["has keys already", "\"a\"", "--overwrite"]);
    copy(&[&other, &to]).assert_failed(1, &["has keys already"]);
    copy(&[&from, &to, "--verify-only"]).assert_failed(
        3,
        &[
            "1 missing in the target, 1 different, 1 that the source has not",
            "missing: \"from\"",
            "different: \"a\"",
            "extra: \"other\"",
        ],
    );
    let copied = copy(&[&from, &to, "--overwrite"]);
    copied.assert_equal();
    assert!(copied.stdout.contains("wrote 2 keys") && copied.stdout.contains("deleted 1"), "{copied:?}");
    copy(&[&from, &to, "--verify-only"]).assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_of_a_copy_from_elsewhere_is_refused_and_is_no_source() {
    let directory = tempfile::tempdir().unwrap();
    let target = file(&directory, "to");
    let server = Norikv::serve(&["--store", "memory:"]);
    let other = Norikv::serve(&["--store", "memory:"]);
    put(&*served(server.address()), "a", "1").await;
    let mut copying = Copying::start(&[server.address(), &target, "--follow"]);
    copying.line("caught up");
    copying.kill();
    copy(&[other.address(), &target]).assert_failed(1, &["the target of a copy from", server.address()]);
    copy(&[&target, &file(&directory, "third")]).assert_failed(1, &["did not come to its end"]);
    assert!(!directory.path().join("third").join("data").join("x").exists());
    copy(&[server.address(), &target]).assert_equal();
    copy(&[&target, &file(&directory, "fourth")]).assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_into_the_target_behind_its_back_is_found_and_named_and_mended_by_the_next_run() {
    let server = Norikv::serve(&["--store", "memory:"]);
    let etcd = Etcd::start().await;
    let (source, target) = (served(server.address()), etcd.store());
    fill(&source, 100, 10).await;
    let mut copying = Copying::start(&[server.address(), &etcd.address, "--follow"]);
    copying.line("caught up");
    put(&*target, "key000007", "spoilt").await;
    put(&*target, "stray\n", "").await;
    target.delete(Delete::new("key000042"), Call::default()).await.unwrap();
    copying.send(Signal::INT);
    copying.end().assert_failed(
        3,
        &[
            "1 missing",
            "1 different",
            "1 that the source has not",
            "different: \"key000007\"",
            "missing: \"key000042\"",
            "extra: \"stray\\n\"",
        ],
    );
    copy(&[server.address(), &etcd.address]).assert_equal();
    assert_same(&*source, &*target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_to_end_while_somebody_writes_says_so_and_can_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let target = file(&directory, "to");
    let server = Norikv::serve(&["--store", "memory:"]);
    let source = served(server.address());
    fill(&source, 5_000, 500).await;
    let writer = Writer::start(&source, 4, 7);
    let mut copying = Copying::start(&[server.address(), &target, "--follow"]);
    copying.line("caught up");
    copying.send(Signal::INT);
    copying.end().assert_failed(4, &["equal at version", "the source is still written to"]);
    writer.stop().await;
    copy(&[server.address(), &target]).assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_into_one_target_the_later_goes_on_alone() {
    let etcd = Etcd::start().await;
    let server = Norikv::serve(&["--store", "memory:"]);
    put(&*served(server.address()), "a", "1").await;
    let mut first = Copying::start(&[server.address(), &etcd.address, "--follow"]);
    first.line("caught up");
    let mut second = Copying::start(&[server.address(), &etcd.address, "--follow"]);
    second.line("caught up");
    first.end().assert_failed(1, &["another norikv copy"]);
    second.send(Signal::INT);
    second.end().assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_before_the_end_breaks_a_copy_off_and_the_next_run_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let target = file(&directory, "to");
    let server = Norikv::serve(&["--store", "memory:"]);
    let source = served(server.address());
    fill(&source, 2_000, 10).await;
    let copying = Copying::start(&[server.address(), &target, "--max-rate", "100"]);
    while !directory.path().join("to").join("norikv.format").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    copying.send(Signal::INT);
    copying.end().assert_failed(1, &["run the same command again"]);
    copy(&[server.address(), &target]).assert_equal();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_prefix_is_copied_and_judged_if_one_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let target = file(&directory, "to");
    let store = opened(&directory.path().join("to"));
    put(&store, "mine", "stays").await;
    store.close().await.unwrap();
    drop(store);
    let server = Norikv::serve(&["--store", "memory:"]);
    let source = served(server.address());
    for key in ["app/a", "app/b", "apq", "other"] {
        put(&*source, key, "1").await;
    }
    copy(&[server.address(), &target, "--prefix", "app/"]).assert_equal();
    let store = opened(&directory.path().join("to"));
    let keys: Vec<_> = contents(&store).await.into_keys().collect();
    assert_eq!(keys, ["app/a", "app/b", "mine"]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let held = file(&directory, "held");
    let server = Norikv::serve(&["--store", &held]);
    let to = file(&directory, "to");
    copy(&["memory:", &to]).assert_failed(1, &["memory: is a store of this command alone"]);
    copy(&[server.address(), "memory:"]).assert_failed(1, &["memory: is a store of this command alone"]);
    copy(&[&held, &to]).assert_failed(1, &["open already", "norikv copy <host:port> <to>"]);
    copy(&[&file(&directory, "nowhere"), &to]).assert_failed(1, &["there is no store in"]);
    assert!(!directory.path().join("nowhere").exists());
    let by_name = server.address().replace("127.0.0.1", "localhost");
    copy(&[server.address(), server.address()]).assert_failed(1, &["the same store"]);
    put(&*served(server.address()), "a", "1").await;
    copy(&[server.address(), &by_name, "--overwrite"]).assert_failed(1, &["the same store"]);
    assert_eq!(contents(&*served(server.address())).await.len(), 1);
    copy(&["127.0.0.1:1", &to]).assert_failed(1, &["127.0.0.1:1"]);
    copy(&["nonsense", &to]).assert_failed(2, &["no address of a store"]);
    let v1 = Norikv::serve(&["--store", "memory:", "--norikv-v1-only"]);
    copy(&[v1.address(), &to]).assert_failed(1, &[]);
    // A value that etcd does not take.
    let large = Norikv::serve(&["--store", "memory:", "--max-value-bytes", "3000000"]);
    let put = Put::new("large", vec![0; 2_000_000]);
    served(large.address()).put(put, Call::default()).await.unwrap();
    let etcd = Etcd::start().await;
    copy(&[large.address(), &etcd.address]).assert_failed(1, &["\"large\"", "2000000", "1048576"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_moves_onto_several_clusters_and_from_them_while_somebody_writes() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (Etcd::start().await, Etcd::start().await);
    let clusters = format!("{};{}", one.address, other.address);
    let server = Norikv::serve(&["--store", "memory:"]);
    let source = served(server.address());
    fill(&source, 1_000, 50).await;
    let mut copying = Copying::start(&[server.address(), &clusters, "--follow"]);
    copying.caught_up(put(&*source, "last", "write").await);
    copying.send(Signal::INT);
    copying.end().assert_equal();
    // Each has a part of the keys.
    let at = norikv_etcd::EtcdSettings::parse_all(&clusters).unwrap();
    let store = norikv_etcd::open(at, Call::default()).await.unwrap();
    assert_same(&*source, &*store).await;
    assert!(contents(&*one.store()).await.len() > 100 && contents(&*other.store()).await.len() > 100);

    let writer = Writer::start(&store, 2, 3);
    let mut copying = Copying::start(&[&clusters, &file(&directory, "back"), "--follow"]);
    copying.line("following");
    writer.stop().await;
    put(&*store, "last", "of all").await;
    copying.send(Signal::INT);
    copying.end().assert_equal();
    let back: StoreRef = std::sync::Arc::new(opened(&directory.path().join("back")));
    assert_eq!(get(&*back, "last").await.as_deref(), Some("of all"));
    assert_same_but_ending(&store, &back).await;
    back.close().await.unwrap();
}

/// What the vector index has nearest to a vector.
async fn nearest(store: &dyn Store, query: Vec<f32>) -> Vec<String> {
    let search =
        VectorSearch { namespace: "docs".into(), queries: vec![query], k: 2, ..VectorSearch::default() };
    let found = store.vector_search(search, Call::default()).await.unwrap();
    found[0].matches.iter().map(|found| found.id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_and_their_indexes_are_copied_and_found_at_the_target() {
    let directory = tempfile::tempdir().unwrap();
    let server = Norikv::serve(&["--store", "memory:"]);
    let source = served(server.address());
    let index = VectorIndex {
        namespace: "docs".into(),
        dimensions: 2,
        distance: DistanceFunction::Cosine,
        index_type: VectorIndexType::Hnsw,
        ..VectorIndex::default()
    };
    source
        .vector_create_index(
            VectorCreateIndex { index, idempotency_key: Some("once".into()) },
            Call::default(),
        )
        .await
        .unwrap();
    let insert = |ids: &[(&str, [f32; 2])]| {
        let item =
            |(id, vector): &(&str, [f32; 2])| VectorItem { id: (*id).to_owned(), vector: vector.to_vec() };
        VectorInsert {
            namespace: "docs".into(),
            vectors: ids.iter().map(item).collect(),
            idempotency_key: None,
        }
    };
    source.vector_insert(insert(&[("cat", [1.0, 0.0]), ("dog", [0.9, 0.1])]), Call::default()).await.unwrap();

    let etcd = Etcd::start().await;
    let to_disk = file(&directory, "to");
    copy(&[server.address(), &to_disk]).assert_equal();
    let mut following = Copying::start(&[server.address(), &etcd.address, "--follow"]);
    following.line("caught up");
    let at_etcd = Norikv::serve(&["--store", &etcd.address]);
    assert_eq!(nearest(&*served(at_etcd.address()), vec![1.0, 0.0]).await, ["cat", "dog"]);
    // What comes later is found, too, by a server that had its index before.
    let last = source.vector_insert(insert(&[("car", [0.0, 1.0])]), Call::default()).await.unwrap();
    following.caught_up(last);
    following.send(Signal::INT);
    following.end().assert_equal();
    let found = served(at_etcd.address());
    let begun = std::time::Instant::now();
    loop {
        let near = nearest(&*found, vec![0.0, 1.0]).await;
        if near == ["car", "dog"] {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{near:?}");
    }
    let at_disk = Norikv::serve(&["--store", &to_disk]);
    let found = served(at_disk.address());
    assert_eq!(nearest(&*found, vec![1.0, 0.0]).await, ["cat", "dog"]);
    assert_eq!(found.vector_indexes(Call::default()).await.unwrap().len(), 1);
    // What is remembered of idempotency keys stays behind.
    let records = Scan::new(norikv_core::KeyRange::prefix(&b"\0norikv/a"[..]));
    assert!(!source.scan(records.clone(), Call::default()).await.unwrap().entries.is_empty());
    assert!(found.scan(records, Call::default()).await.unwrap().entries.is_empty());
}
