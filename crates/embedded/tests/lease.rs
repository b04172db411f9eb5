//! Leases: what the embedded store does with them in memory and on disk.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod common;

use std::time::{Duration, Instant};

use common::{both, bytes, call, settings};
use futures_util::StreamExt;
use norikv_core::{
    Consistency, ErrorKind, EventReason, FieldName, Get, KeyRange, LeaseGrant, LeaseId, LeaseTimeToLive, Put,
    Store, Ttl, Version, Watch,
};
use norikv_embedded::EmbeddedStore;

async fn grant(store: &EmbeddedStore, millis: u64) -> LeaseId {
    store.lease_grant(LeaseGrant::new(Ttl::from_millis(millis).unwrap()), call()).await.unwrap().id
}

async fn put(store: &EmbeddedStore, key: &str, lease: Option<LeaseId>) -> norikv_core::Result<Version> {
    let put = Put { lease, ..Put::new(bytes(key), "v") };
    store.put(put, call()).await.map(|result| result.version)
}

async fn is_there(store: &EmbeddedStore, key: &str) -> bool {
    store.get(Get { key: bytes(key), consistency: Consistency::Lease }, call()).await.unwrap().is_some()
}

async fn keys(store: &EmbeddedStore, id: LeaseId) -> Vec<bytes::Bytes> {
    store.lease_time_to_live(LeaseTimeToLive { id, keys: true }, call()).await.unwrap().keys
}

#[tokio::test]
async fn a_revoked_lease_takes_its_keys_in_one_revision_and_a_key_put_without_it_stays() {
    for (store, _directory) in both(settings()) {
        let (id, other) = (grant(&store, 60_000).await, grant(&store, 60_000).await);
        assert_ne!(id, other);
        let mut watching = store.watch(Watch::new(KeyRange::all()), call()).await.unwrap();
        for key in ["a", "b", "c", "d"] {
            put(&store, key, Some(id)).await.unwrap();
        }
        put(&store, "b", None).await.unwrap();
        put(&store, "c", Some(other)).await.unwrap();
        assert_eq!(keys(&store, id).await, ["a", "d"]);
        assert_eq!(keys(&store, other).await, ["c"]);
        let version = store.lease_revoke(id, call()).await.unwrap();
        assert_eq!(version.index, 8);
        let seen =
            [is_there(&store, "a"), is_there(&store, "b"), is_there(&store, "c"), is_there(&store, "d")];
        assert_eq!(futures_util::future::join_all(seen).await, [false, true, true, false]);
        let batches: Vec<_> = watching.batches.by_ref().take(7).map(Result::unwrap).collect().await;
        let last = &batches[6];
        assert_eq!(last.version, version);
        let gone: Vec<_> = last.events.iter().map(|event| (&event.entry.key[..], event.reason)).collect();
        assert_eq!(gone, [(&b"a"[..], EventReason::Lease), (&b"d"[..], EventReason::Lease)]);
        // It is gone for everything.
        let error = store.lease_revoke(id, call()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseNotFound);
        assert!(error.field(FieldName::Lease).is_some());
        assert_eq!(put(&store, "e", Some(id)).await.unwrap_err().kind(), ErrorKind::LeaseNotFound);
        assert_eq!(store.lease_keep_alive(vec![id, other], call()).await.unwrap()[0], None);
        assert_eq!(store.leases(call()).await.unwrap(), [other]);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_that_runs_out_takes_its_keys_and_one_that_is_kept_alive_does_not() {
    for (store, _directory) in both(settings()) {
        let ttl = Duration::from_millis(300);
        let (kept, left) = (grant(&store, 60_000).await, grant(&store, 300).await);
        put(&store, "kept", Some(kept)).await.unwrap();
        put(&store, "x", Some(left)).await.unwrap();
        put(&store, "y", Some(left)).await.unwrap();
        let mut watching = store.watch(Watch::new(KeyRange::all()), call()).await.unwrap();
        let began = Instant::now();
        assert_eq!(store.lease_keep_alive(vec![left, kept], call()).await.unwrap()[0], Some(ttl));
        let batch = watching.batches.next().await.unwrap().unwrap();
        assert!(began.elapsed() >= ttl, "never early");
        assert_eq!(batch.events.len(), 2);
        assert!(batch.events.iter().all(|event| event.reason == EventReason::Lease));
        assert!(is_there(&store, "kept").await && !is_there(&store, "x").await);
        assert_eq!(store.lease_keep_alive(vec![left], call()).await.unwrap(), [None]);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn after_a_restart_a_lease_has_its_full_time_and_its_keys_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), settings()).unwrap();
    let (id, revoked) = (grant(&store, 1_000).await, grant(&store, 60_000).await);
    put(&store, "k", Some(id)).await.unwrap();
    store.lease_revoke(revoked, call()).await.unwrap();
    store.close().await.unwrap();
    // Longer than it had left when the store was closed.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let opened = Instant::now();
    let store = EmbeddedStore::open(directory.path(), settings()).unwrap();
    assert_eq!(store.leases(call()).await.unwrap(), [id]);
    assert!(is_there(&store, "k").await);
    assert_eq!(keys(&store, id).await, ["k"]);
    let mut watching = store.watch(Watch::new(KeyRange::all()), call()).await.unwrap();
    let batch = watching.batches.next().await.unwrap().unwrap();
    assert!(opened.elapsed() >= Duration::from_millis(1_000));
    assert_eq!(batch.events[0].reason, EventReason::Lease);
    store.close().await.unwrap();
    let store = EmbeddedStore::open(directory.path(), settings()).unwrap();
    assert!(store.leases(call()).await.unwrap().is_empty());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_lease_and_its_keys_may_come_and_go_within_one_group() {
    for (store, _directory) in both(settings()) {
        let id = grant(&store, 60_000).await;
        // Not awaited one by one, so that they are staged together.
        let (first, second, revoked, late, read) = tokio::join!(
            put(&store, "a", Some(id)),
            put(&store, "b", Some(id)),
            store.lease_revoke(id, call()),
            put(&store, "c", Some(id)),
            is_there(&store, "a"),
        );
        assert!(first.is_ok() && second.is_ok());
        assert!(revoked.is_ok());
        assert_eq!(late.unwrap_err().kind(), ErrorKind::LeaseNotFound);
        assert!(!read);
        assert!(!is_there(&store, "b").await);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_without_keys_ends_without_a_revision() {
    for (store, _directory) in both(settings()) {
        let id = grant(&store, 60_000).await;
        assert_eq!(store.lease_revoke(id, call()).await.unwrap(), Version::new(1, 1));
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn no_more_leases_are_kept_alive_at_once_than_is_said() {
    let store = EmbeddedStore::memory(settings()).unwrap();
    let ids = |count| (1..=count).filter_map(LeaseId::new).collect::<Vec<_>>();
    assert!(store.lease_keep_alive(ids(1_024), call()).await.is_ok());
    let error = store.lease_keep_alive(ids(1_025), call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    store.close().await.unwrap();
}
