//! `norikv.v1` as existing clients use it, and its statuses.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;

use std::time::{Duration, Instant};

use common::{Client, SOON, client::*, serve, settings};
use norikv_core::{DEFAULT_TOTAL_SHARDS, shard_for_key};
use norikv_proto::v1;
use norikv_server::ServerSettings;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

fn assert_refused(status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no details: {status:?}"));
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("norikv", reason));
}

#[tokio::test]
async fn a_missing_key_is_an_answer_without_a_version_and_an_empty_value_is_a_value() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    assert_eq!(client.get(get("k")).await.unwrap(), v1::GetResponse::default());
    let version = client.put(put("k", "")).await.unwrap().version;
    assert!(version.is_some());
    let found = client.get(get("k")).await.unwrap();
    assert_eq!((found.version, found.value.len()), (version, 0));
    assert!(client.delete(delete("k")).await.unwrap().tombstoned);
    assert!(!client.delete(delete("k")).await.unwrap().tombstoned);
}

#[tokio::test]
async fn failed_conditions_say_what_they_expected_and_what_they_found() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let version = client.put(put("k", "1")).await.unwrap().version.unwrap();

    let wrong = Some(v1::Version { term: 1, index: 99 });
    let refused = client.put(v1::PutRequest { if_match: wrong, ..put("k", "2") }).await.unwrap_err();
    assert_refused(&refused, Code::FailedPrecondition, "VERSION_MISMATCH");
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.metadata["expected"], "1.99");
    assert_eq!(info.metadata["actual"], format!("{}.{}", version.term, version.index));
    assert_eq!(info.metadata["key"], "6b");

    let absent = Some(v1::Version::default());
    let refused = client.put(v1::PutRequest { if_match: absent, ..put("k", "2") }).await.unwrap_err();
    assert_refused(&refused, Code::AlreadyExists, "ALREADY_EXISTS");
    client.put(v1::PutRequest { if_match: absent, ..put("new", "1") }).await.unwrap();
    client.put(v1::PutRequest { if_match: Some(version), ..put("k", "2") }).await.unwrap();

    let refused =
        client.delete(v1::DeleteRequest { if_match: Some(version), ..delete("k") }).await.unwrap_err();
    assert_refused(&refused, Code::FailedPrecondition, "VERSION_MISMATCH");
}

#[tokio::test]
async fn bad_input_is_an_invalid_argument_and_changes_nothing() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let large = |bytes: usize| v1::PutRequest { value: vec![0; bytes].into(), ..put("k", "") };
    let mib = 1024 * 1024;
    let wrong = [
        put("", "v"),
        v1::PutRequest { key: vec![0; 1_025].into(), ..put("", "v") },
        large(mib + 1),
        // So large that it is not read at all.
        large(16 * mib),
        v1::PutRequest { ttl_ms: u64::MAX, ..put("k", "v") },
        v1::PutRequest { idempotency_key: "i".repeat(1_025), ..put("k", "v") },
    ];
    for request in wrong {
        assert_refused(&client.put(request).await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT");
    }
    assert_refused(&client.get(get("")).await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(store.len(), 0);
    client.put(large(mib)).await.unwrap();
}

#[tokio::test]
async fn both_sets_of_consistency_words_are_taken_and_others_are_not() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    client.put(put("k", "v")).await.unwrap();
    for word in ["", "strong", "eventual", "bounded_staleness", "lease", "linearizable", "stale_ok"] {
        let request = v1::GetRequest { consistency: word.into(), ..get("k") };
        assert_eq!(client.get(request).await.unwrap().value, "v", "{word}");
    }
    let request = v1::GetRequest { consistency: "Strong".into(), ..get("k") };
    assert_refused(&client.get(request).await.unwrap_err(), Code::InvalidArgument, "INVALID_ARGUMENT");
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_or_at_the_servers_and_its_work_with_it() {
    let bound = Duration::from_millis(150);
    let (server, store) = serve(ServerSettings { request_timeout: bound, ..settings() }).await;
    let client = Client::connect(server.local_addr()).await;

    let begun = Instant::now();
    let refused = client.put(put("held", "v")).await.unwrap_err();
    assert_refused(&refused, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!(begun.elapsed() >= bound);
    store.until_held(0).await;

    assert_eq!(refused.get_details_error_info().unwrap().metadata["timeoutMs"], "150");

    // The client watches its own deadline too, so either of them may be the one that says so.
    let mut request = Request::new(put("held", "v"));
    request.set_timeout(Duration::from_millis(20));
    let begun = Instant::now();
    client.unary::<_, v1::PutResponse>("/norikv.v1.Kv/Put", request).await.unwrap_err();
    assert!(begun.elapsed() < bound);
    store.until_held(0).await;
    assert_eq!(store.len(), 0);
}

#[tokio::test]
async fn a_cancelled_call_lets_go_of_its_work() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let task = tokio::spawn({
        let client = client.clone();
        async move { client.put(put("held", "v")).await }
    });
    store.until_held(1).await;
    task.abort();
    tokio::time::timeout(SOON, store.until_held(0)).await.unwrap();
}

#[tokio::test]
async fn the_cluster_is_this_node_which_leads_every_shard() {
    let settings = ServerSettings { node_id: "me".into(), ..settings() };
    let (server, _store) = serve(settings.clone()).await;
    let client = Client::connect(server.local_addr()).await;
    let view = client.watch_cluster().await.unwrap().message().await.unwrap().unwrap();
    let [node] = &view.nodes[..] else { panic!("{:?}", view.nodes) };
    assert_eq!((node.id.as_str(), node.role.as_str()), ("me", "leader"));
    assert_eq!(node.addr, server.local_addr().to_string());
    assert_eq!(view.shards.len(), DEFAULT_TOTAL_SHARDS as usize);
    let shard = &view.shards[shard_for_key(b"hello", DEFAULT_TOTAL_SHARDS) as usize];
    assert_eq!(shard.id, 309);
    assert_eq!(shard.replicas, [v1::ShardReplica { node_id: "me".into(), leader: true }]);

    let (server, _store) = serve(ServerSettings { advertise: Some("db.example:7".into()), ..settings }).await;
    let client = Client::connect(server.local_addr()).await;
    let view = client.watch_cluster().await.unwrap().message().await.unwrap().unwrap();
    assert_eq!(view.nodes[0].addr, "db.example:7");
}

#[tokio::test]
async fn a_client_is_told_the_address_by_which_it_came() {
    let (server, _store) = serve(settings()).await;
    let by_name = format!("http://localhost:{}", server.local_addr().port());
    let channel = tonic::transport::Endpoint::from_shared(by_name).unwrap().connect().await.unwrap();
    let view = Client(channel).watch_cluster().await.unwrap().message().await.unwrap().unwrap();
    assert_eq!(view.nodes[0].addr, format!("localhost:{}", server.local_addr().port()));
}

#[tokio::test]
async fn a_server_of_norikv_v1_alone_has_no_extension() {
    let (server, _store) = serve(ServerSettings { norikv_v1_only: true, ..settings() }).await;
    let client = Client::connect(server.local_addr()).await;
    assert_eq!(client.status().await.unwrap_err().code(), Code::Unimplemented);
    client.put(put("k", "v")).await.unwrap();
}

#[tokio::test]
async fn ten_thousand_calls_at_once_on_one_connection_are_all_answered() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    for _ in 0..3 {
        let calls: Vec<_> = (0..10_000)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.put(put("k", "v")).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn ten_thousand_calls_cancelled_at_once_cost_only_themselves() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    for _ in 0..3 {
        let calls: Vec<_> = (0..10_000)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.put(put("held", "v")).await })
            })
            .collect();
        store.until_held(settings().max_concurrent_streams as usize).await;
        for call in calls {
            call.abort();
        }
        client.put(put("k", "v")).await.unwrap();
    }
    tokio::time::timeout(SOON, store.until_held(0)).await.unwrap();
}
