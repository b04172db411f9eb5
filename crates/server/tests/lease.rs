//! Leases over gRPC.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;

use common::{Client, serve, settings};
use norikv_core::LeaseId;
use norikv_server::ServerSettings;
use tonic::Code;
use tonic_types::StatusExt as _;

#[tokio::test]
async fn a_lease_lives_until_it_is_revoked() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let granted = client.grant(5_000).await.unwrap();
    assert_eq!((granted.id, granted.ttl_ms), (1, 5_000));
    assert_eq!(client.leases().await.unwrap().ids, [1]);
    assert_eq!(client.keep_alive(vec![1, 9, 1]).await.unwrap().ttl_ms, [5_000, 0, 5_000]);
    let left = client.time_to_live(1, true).await.unwrap();
    assert_eq!((left.granted_ms, left.remaining_ms, left.keys.len()), (5_000, 5_000, 1));
    assert!(client.revoke(1).await.unwrap().version.is_some());
    let gone = client.revoke(1).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert_eq!(gone.get_details_error_info().unwrap().reason, "LEASE_NOT_FOUND");
    assert!(client.leases().await.unwrap().ids.is_empty());
}

#[tokio::test]
async fn what_is_no_lease_and_too_many_at_once_are_refused() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    assert_eq!(client.grant(0).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.revoke(0).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.time_to_live(0, false).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.keep_alive(vec![1, 0]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.keep_alive(vec![1; 1_024]).await.unwrap().ttl_ms.len(), 1_024);
    assert_eq!(client.keep_alive(vec![1; 1_025]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.keep_alive(vec![u64::MAX; 9_999]).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_connection_has_so_many_living_leases_and_no_more() {
    let (server, store) = serve(ServerSettings { max_leases_per_connection: 2, ..settings() }).await;
    let client = Client::connect(server.local_addr()).await;
    let [one, two] = [client.grant(9).await.unwrap().id, client.grant(9).await.unwrap().id];
    let full = client.grant(9).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted);
    assert!(full.message().contains("max_leases_per_connection"), "{}", full.message());
    // Another connection has room of its own.
    assert!(Client::connect(server.local_addr()).await.grant(9).await.is_ok());
    store.end_lease(LeaseId::new(one).unwrap());
    client.grant(9).await.unwrap();
    assert_eq!(client.grant(9).await.unwrap_err().code(), Code::ResourceExhausted);
    client.revoke(two).await.unwrap();
    client.grant(9).await.unwrap();
}
