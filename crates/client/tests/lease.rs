//! Leases of a remote store.
#![allow(clippy::unwrap_used)] // a test fails loudly, also in what it calls

mod fake;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use fake::{GRANT, REVOKE, World, bare, lost, memory, nodes, serve};
use norikv_client::{RemoteStore, Settings};
use norikv_core::{
    Call, ErrorKind, Get, LeaseGrant, LeaseId, LeaseTimeToLive, MAX_KEEP_ALIVES, Put, Store, Ttl, Version,
};
use norikv_server::{Server, ServerSettings};

fn ttl() -> LeaseGrant {
    LeaseGrant::new(Ttl::from_millis(60_000).unwrap())
}

/// A world that loses the reply to the first message of a method.
fn losing(method_lost: &'static str) -> World {
    let (store, seen) = (memory(), Arc::new(AtomicUsize::new(0)));
    World::new(nodes(&["a:1"]), move |_, method, message| {
        let store = Arc::clone(&store);
        let loses = method == method_lost && seen.fetch_add(1, SeqCst) == 0;
        async move {
            let answer = serve(store, method, message).await;
            if loses { Err(lost()) } else { answer }
        }
    })
}

#[tokio::test]
async fn a_lease_goes_with_its_keys() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let server =
        Server::start(memory(), ServerSettings { listen, ..ServerSettings::default() }).await.unwrap();
    let node = server.local_addr().to_string().parse().unwrap();
    let store = RemoteStore::http2(Settings::for_nodes(vec![node])).unwrap();
    let call = Call::default;
    let granted = store.lease_grant(ttl(), call()).await.unwrap();
    assert_eq!(granted.ttl, Duration::from_secs(60));
    let put = Put { lease: Some(granted.id), ..Put::new("k", "v") };
    store.put(put, call()).await.unwrap();
    assert_eq!(store.leases(call()).await.unwrap(), [granted.id]);
    let none = LeaseId::new(u64::MAX).unwrap();
    let kept = store.lease_keep_alive(vec![none, granted.id], call()).await.unwrap();
    assert_eq!(kept, [None, Some(granted.ttl)]);
    let left =
        store.lease_time_to_live(LeaseTimeToLive { id: granted.id, keys: true }, call()).await.unwrap();
    assert!(left.granted == granted.ttl && left.remaining <= granted.ttl && left.keys == ["k"]);
    let version = store.lease_revoke(granted.id, call()).await.unwrap();
    assert!(version > Version::new(1, 1));
    let get = Get { key: "k".into(), consistency: Default::default() };
    assert_eq!(store.get(get, call()).await.unwrap(), None);
    let error = store.lease_revoke(granted.id, call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseNotFound);
    store.close().await.unwrap();
    server.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_grant_whose_reply_is_lost_is_made_again() {
    let world = losing(GRANT);
    world.store.lease_grant(ttl(), Call::default()).await.unwrap();
    assert_eq!(world.sent(GRANT).len(), 2);
}

#[tokio::test]
async fn a_lease_that_is_gone_after_a_lost_revoke_was_revoked() {
    let world = losing(REVOKE);
    let granted = world.store.lease_grant(ttl(), Call::default()).await.unwrap();
    assert_eq!(world.store.lease_revoke(granted.id, Call::default()).await.unwrap(), Version::ZERO);
    assert_eq!(world.sent(REVOKE).len(), 2);
    let error = world.store.lease_revoke(granted.id, Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseNotFound);
}

#[tokio::test]
async fn too_many_keep_alives_are_not_sent_and_a_server_without_leases_is_named() {
    let world = World::new(nodes(&["a:1"]), |_, _, _| async { Err(bare(12, "")) });
    let ids = vec![LeaseId::new(1).unwrap(); MAX_KEEP_ALIVES + 1];
    let error = world.store.lease_keep_alive(ids, Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = world.store.lease_grant(ttl(), Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("a:1"), "{error:?}");
}
