//! How a server ends.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use common::{Client, SOON, client::*, serve, settings};
use norikv_server::Server;
use tokio::time::timeout;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";

fn health(service: &str) -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest { service: service.into() })
}

#[tokio::test]
async fn calls_under_way_are_answered_and_the_streams_without_end_end() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let mut views = client.watch_cluster().await.unwrap();
    views.message().await.unwrap().unwrap();
    let mut batch = client.batch(vec![put_op("held-batch", "1"), put_op("k", "1")]).await.unwrap();
    batch.message().await.unwrap().unwrap();
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.put(put("held", "v")).await }
    });
    store.until_held(2).await;

    let shutdown = server.shutdown(SOON);
    let rest = async {
        assert!(views.message().await.unwrap().is_none());
        store.release(2);
        call.await.unwrap().unwrap();
        assert_eq!(batch.message().await.unwrap().unwrap().results.len(), 1);
        assert!(batch.message().await.unwrap().is_none());
    };
    let (ended, ()) = timeout(SOON, async { tokio::join!(shutdown, rest) }).await.unwrap();
    ended.unwrap();
    assert!(Client::try_connect(server.local_addr()).await.is_err());
    server.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn health_is_told_to_those_who_ask_and_to_those_who_watch() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    for service in ["", "norikv.v1.Kv", "norikv.v1.Meta", "norikv.ext.v1.Store"] {
        let answer: HealthCheckResponse = client.unary(HEALTH_CHECK, health(service)).await.unwrap();
        assert_eq!(answer.status, 1, "{service}");
    }
    let unknown = client.unary::<_, HealthCheckResponse>(HEALTH_CHECK, health("other")).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    let mut watch = client.stream::<_, HealthCheckResponse>(HEALTH_WATCH, health("")).await.unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    let mut other = client.stream::<_, HealthCheckResponse>(HEALTH_WATCH, health("other")).await.unwrap();
    assert_eq!(other.message().await.unwrap().unwrap().status, 3);

    let call = tokio::spawn({
        let client = client.clone();
        async move { client.put(put("held", "v")).await }
    });
    store.until_held(1).await;
    let rest = async {
        assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
        assert!(watch.message().await.unwrap().is_none());
        assert!(other.message().await.unwrap().is_none());
        store.release(1);
        call.await.unwrap().unwrap();
    };
    let (ended, ()) = timeout(SOON, async { tokio::join!(server.shutdown(SOON), rest) }).await.unwrap();
    ended.unwrap();
}

#[tokio::test]
async fn what_is_left_after_the_grace_is_broken_off() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let call = tokio::spawn(async move { client.put(put("held", "v")).await });
    store.until_held(1).await;
    let begun = Instant::now();
    timeout(SOON, server.shutdown(Duration::from_millis(50))).await.unwrap().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(store.held.load(Ordering::SeqCst), 0);
    assert!(call.await.unwrap().is_err());
    assert_eq!(std::sync::Arc::strong_count(&store), 1, "the server let go of its store");
}

#[tokio::test]
async fn dropping_a_server_breaks_its_connections_off() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let call = tokio::spawn(async move { client.put(put("held", "v")).await });
    store.until_held(1).await;
    drop(server);
    assert!(timeout(SOON, call).await.unwrap().unwrap().is_err());
    assert_eq!(store.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_under_load_answers_everything_that_was_executed() {
    for round in 0..10 {
        let (server, store) = serve(settings()).await;
        let address = server.local_addr();
        let callers: Vec<_> = (0..4)
            .map(|_| {
                tokio::spawn(async move {
                    let client = Client::connect(address).await;
                    let callers = (0..16).map(|caller| {
                        let client = client.clone();
                        async move {
                            let mut acknowledged = 0;
                            loop {
                                let answered = if caller % 2 == 0 {
                                    client.put(put("k", "v")).await.map(|_| 1)
                                } else {
                                    client
                                        .batch_all(vec![put_op("k", "v"); 8])
                                        .await
                                        .map(|(all, _)| all.len())
                                };
                                match answered {
                                    Ok(count) => acknowledged += count,
                                    Err(_) => return acknowledged,
                                }
                            }
                        }
                    });
                    futures_util::future::join_all(callers).await.into_iter().sum::<usize>()
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(30 + round * 7)).await;
        let begun = Instant::now();
        server.shutdown(SOON).await.unwrap();
        assert!(begun.elapsed() < SOON / 2);
        let mut acknowledged = 0;
        for caller in callers {
            acknowledged += timeout(SOON, caller).await.unwrap().unwrap();
        }
        assert!(acknowledged > 0);
        assert_eq!(store.executed.load(Ordering::SeqCst), acknowledged as u64);
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_clear_error() {
    let (server, store) = serve(settings()).await;
    let again = norikv_server::ServerSettings { listen: server.local_addr(), ..settings() };
    let error = Server::start(store, again).await.unwrap_err();
    assert_eq!(error.kind(), norikv_core::ErrorKind::Connection);
    assert!(error.message().contains(&server.local_addr().to_string()));
}
