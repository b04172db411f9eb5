//! The server in front of a real store: what must hold over gRPC as it does in the process.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;

use std::sync::Arc;

use common::{Client, SOON, client::*, settings};
use norikv_core::{Store, StoreRef};
use norikv_embedded::{EmbeddedStore, Settings};
use norikv_proto::{ext::batch_result::Result as Answer, v1};
use norikv_server::Server;
use tonic::Code;

#[tokio::test]
async fn a_batch_on_one_key_takes_effect_in_its_order_also_while_writes_wait_for_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let stores: [StoreRef; 2] = [
        Arc::new(EmbeddedStore::memory(Settings::default()).unwrap()),
        Arc::new(EmbeddedStore::open(directory.path(), Settings::default()).unwrap()),
    ];
    for store in stores {
        let server = Server::start(store.clone(), settings()).await.unwrap();
        let client = Client::connect(server.local_addr()).await;
        for _ in 0..20 {
            let ops = vec![
                put_op("k", "1"),
                get_op("k"),
                put_op("k", "2"),
                get_op("k"),
                delete_op("k"),
                get_op("k"),
                delete_op("k"),
            ];
            let (results, _) = client.batch_all(ops).await.unwrap();
            assert_eq!(found(&results[1]).unwrap(), "1");
            assert_eq!(found(&results[3]).unwrap(), "2");
            assert_eq!(found(&results[5]), None);
            assert!(matches!(&results[4], Answer::Delete(delete) if delete.tombstoned));
            assert!(matches!(&results[6], Answer::Delete(delete) if !delete.tombstoned));
        }
        server.shutdown(SOON).await.unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_on_two_connections_count_exactly_by_compare_and_set() {
    let store = Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
    let server = Server::start(store.clone(), settings()).await.unwrap();
    let clients = [Client::connect(server.local_addr()).await, Client::connect(server.local_addr()).await];
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let client = clients[caller % 2].clone();
            tokio::spawn(async move {
                let mut counted = 0;
                while counted < 50 {
                    let found = client.get(get("counter")).await.unwrap();
                    let number: u32 = std::str::from_utf8(&found.value).unwrap().parse().unwrap_or(0);
                    let request = v1::PutRequest {
                        value: (number + 1).to_string().into(),
                        // No version is "must not exist".
                        if_match: Some(found.version.unwrap_or_default()),
                        ..put("counter", "")
                    };
                    match client.put(request).await {
                        Ok(_) => counted += 1,
                        Err(status) => assert!(
                            matches!(status.code(), Code::FailedPrecondition | Code::AlreadyExists),
                            "{status:?}"
                        ),
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(clients[0].get(get("counter")).await.unwrap().value, "800");
    let status = clients[0].status().await.unwrap();
    assert_eq!(status.store, "memory");
    assert!(status.features.iter().any(|feature| feature == "batch"));
}

#[tokio::test]
async fn a_store_that_was_closed_is_a_server_that_is_not_available() {
    let store = Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
    let server = Server::start(store.clone(), settings()).await.unwrap();
    let client = Client::connect(server.local_addr()).await;
    client.put(put("k", "v")).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(client.put(put("k", "v")).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(client.get(get("k")).await.unwrap_err().code(), Code::Unavailable);
}
