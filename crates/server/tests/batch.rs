//! `norikv.ext.v1.Store`: batches, ranges and the status.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;

use std::time::Duration;

use common::{Client, SOON, client::*, serve, settings};
use norikv_proto::ext::{self, BatchOp, batch_op::Op, batch_result::Result as Answer, range_request::What};
use norikv_server::ServerSettings;
use tonic::{Code, Request};
use tonic_types::StatusExt;

#[tokio::test]
async fn what_is_ready_together_travels_together_and_each_call_has_its_own_outcome() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let ops = vec![
        get_op("k"),
        put_op("k", "1"),
        get_op("k"),
        put_op("k", "2"),
        get_op("k"),
        delete_op("k"),
        get_op("k"),
        get_op(""),
        BatchOp {
            op: Some(Op::Put(ext::Put {
                put: Some(norikv_proto::v1::PutRequest {
                    if_match: Some(Default::default()),
                    ..put("k", "3")
                }),
                prev_entry: true,
                lease: 0,
            })),
            timeout_ms: 0,
        },
        BatchOp {
            op: Some(Op::Get(norikv_proto::v1::GetRequest { consistency: "odd".into(), ..get("k") })),
            timeout_ms: 0,
        },
    ];
    let (results, messages) = client.batch_all(ops).await.unwrap();
    assert_eq!(messages, 1);
    assert_eq!(found(&results[0]), None);
    assert_eq!(found(&results[2]).unwrap(), "1");
    assert_eq!(found(&results[4]).unwrap(), "2");
    assert!(matches!(&results[5], Answer::Delete(delete) if delete.tombstoned));
    assert_eq!(found(&results[6]), None);
    assert_eq!(failure(&results[7]).reason, "INVALID_ARGUMENT");
    assert!(matches!(&results[8], Answer::Put(put) if put.version.is_some() && put.prev_entry.is_none()));
    assert_eq!(failure(&results[9]).reason, "INVALID_ARGUMENT");
}

#[tokio::test]
async fn a_slow_write_does_not_hold_up_a_read() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    client.put(put("k", "v")).await.unwrap();
    let mut stream = client.batch(vec![put_op("held", "1"), get_op("k"), put_op("k2", "2")]).await.unwrap();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.results.iter().map(|result| result.index).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(store.value("held"), None);
    store.release(1);
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(second.results.len(), 1);
    assert_eq!(second.results[0].index, 0);
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test]
async fn only_the_call_whose_time_ran_out_fails_and_its_work_ends() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let held = |timeout_ms| BatchOp { timeout_ms, ..put_op("held", "1") };
    let mut stream =
        client.batch(vec![held(0), held(60_000), held(30), get_op("k"), held(60)]).await.unwrap();
    let mut next = async || stream.message().await.unwrap().unwrap().results;
    assert_eq!(next().await[0].index, 3);
    for (index, timeout) in [(2, "30"), (4, "60")] {
        let results = next().await;
        assert_eq!(results[0].index, index);
        let failure = failure(results[0].result.as_ref().unwrap());
        assert_eq!(failure.code, Code::DeadlineExceeded as i32);
        assert_eq!(
            (failure.reason.as_str(), failure.metadata["timeoutMs"].as_str()),
            ("DEADLINE_EXCEEDED", timeout)
        );
    }
    store.until_held(2).await;
    store.release(2);
    let mut late = next().await;
    if late.len() == 1 {
        late.extend(next().await);
    }
    assert!(late.iter().all(|result| matches!(result.result, Some(Answer::Put(_)))));
    assert!(stream.message().await.unwrap().is_none());
    assert_eq!(store.executed.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_deadline_of_the_whole_batch_is_a_deadline_of_each_of_its_calls() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let held = BatchOp { timeout_ms: 60_000, ..put_op("held", "1") };
    let mut request = Request::new(ext::BatchRequest { ops: vec![held, put_op("k", "1")] });
    request.metadata_mut().insert("grpc-timeout", "50m".parse().unwrap());
    let mut stream: tonic::Streaming<ext::BatchResponse> =
        client.stream("/norikv.ext.v1.Store/Batch", request).await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap().results[0].index, 1);
    let late = stream.message().await.unwrap().unwrap();
    assert_eq!(failure(late.results[0].result.as_ref().unwrap()).reason, "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn dropping_the_stream_cancels_the_calls_that_wait() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let stream = client.batch(vec![put_op("held", "1"); 100]).await.unwrap();
    store.until_held(100).await;
    drop(stream);
    tokio::time::timeout(SOON, store.until_held(0)).await.unwrap();
    assert_eq!(store.len(), 0);
}

#[tokio::test]
async fn a_batch_that_is_too_long_or_malformed_does_nothing() {
    let (server, store) = serve(ServerSettings { max_batch_ops: 4, ..settings() }).await;
    let client = Client::connect(server.local_addr()).await;
    let nothing = BatchOp { op: None, timeout_ms: 0 };
    let no_put = BatchOp { op: Some(Op::Put(ext::Put::default())), timeout_ms: 0 };
    for ops in [vec![put_op("k", "v"); 5], vec![put_op("k", "v"), nothing], vec![put_op("k", "v"), no_put]] {
        let refused = client.batch_all(ops).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.get_details_error_info().unwrap().reason, "INVALID_ARGUMENT");
    }
    assert_eq!(store.len(), 0);
    assert_eq!(client.batch_all(vec![]).await.unwrap().1, 0);
    assert_eq!(client.batch_all(vec![put_op("k", "v"); 4]).await.unwrap().0.len(), 4);
}

#[tokio::test]
async fn many_large_values_come_in_messages_of_bounded_size() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let value = vec![7; 600 * 1024];
    client.put(norikv_proto::v1::PutRequest { value: value.into(), ..put("k", "") }).await.unwrap();
    let mut stream = client.batch(vec![get_op("k"); 20]).await.unwrap();
    let mut seen = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        assert!(prost::Message::encoded_len(&message) < 2 * 1024 * 1024);
        seen.extend(message.results.iter().map(|result| result.index));
    }
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_long_batch_keeps_the_order_of_calls_on_one_key() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let values: Vec<&'static str> =
        (0..1_000).map(|number| &*Box::leak(number.to_string().into_boxed_str())).collect();
    // Writes that wait longer than the runtime lets a task poll without a pause.
    store.release(1_000);
    let ops = values.iter().map(|value| put_op("held", value)).collect();
    let (results, _) = client.batch_all(ops).await.unwrap();
    let versions: Vec<_> = results
        .iter()
        .map(|result| match result {
            Answer::Put(put) => put.version.unwrap().index,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(versions.is_sorted());
    assert_eq!(store.value("held").unwrap(), "999");
}

#[tokio::test]
async fn ranges_are_scanned_counted_read_and_deleted() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    for key in ["a", "b", "c", "d"] {
        client.put(put(key, key)).await.unwrap();
    }
    let range = Some(ext::Range { start: "b".into(), end: None });
    let scan = ext::Scan { range: range.clone(), limit: 2, reverse: true, keys_only: false };
    let page = client.range(What::Scan(scan)).await.unwrap();
    let keys: Vec<_> = page.entries.into_iter().map(|entry| entry.entry.unwrap().key).collect();
    assert_eq!((keys, page.more), (vec!["d".into(), "c".into()], true));
    assert_eq!(client.range(What::Count(ext::Count { range: range.clone() })).await.unwrap().count, 3);
    let keys = ext::Keys { keys: vec!["a".into(), "x".into(), "d".into()] };
    let found = client.range(What::Keys(keys)).await.unwrap().entries;
    assert_eq!(found.iter().map(|entry| entry.entry.is_some()).collect::<Vec<_>>(), [true, false, true]);

    let wrong = ext::Range { start: "b".into(), end: Some("a".into()) };
    let refused = client.range(What::Count(ext::Count { range: Some(wrong) })).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    let delete_range = async |range| {
        let request = Request::new(ext::DeleteRangeRequest { range });
        client.unary::<_, ext::DeleteRangeResponse>("/norikv.ext.v1.Store/DeleteRange", request).await
    };
    assert_eq!(delete_range(None).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(store.len(), 4);
    assert_eq!(delete_range(range).await.unwrap().deleted, 3);
}

#[tokio::test]
async fn so_many_keys_at_once_are_refused_and_no_fewer() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let keys = |count| What::Keys(ext::Keys { keys: vec!["k".into(); count] });
    let refused = client.range(keys(10_001)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains("10001") && refused.message().contains("10000"), "{refused:?}");
    assert_eq!(client.range(keys(10_000)).await.unwrap().entries.len(), 10_000);
}

#[tokio::test]
async fn the_status_is_the_stores_with_what_the_server_adds() {
    let (server, _store) = serve(ServerSettings { max_batch_ops: 77, ..settings() }).await;
    let status = Client::connect(server.local_addr()).await.status().await.unwrap();
    assert_eq!(status.store, "map");
    assert_eq!(status.features, ["range", "batch"]);
    assert_eq!(status.limits.unwrap().max_batch_ops, 77);
    assert!(!status.software.is_empty());
}

#[test]
fn a_server_on_many_threads_keeps_the_order_of_batches_on_one_connection() {
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // On one thread of its own: on many, the client's HTTP/2 is what sends the batches out of order.
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (server, store) = many.block_on(serve(settings()));
    one.block_on(async {
        let client = Client::connect(server.local_addr()).await;
        for _ in 0..50 {
            let calls = ["1", "2", "3", "4"].map(|value| client.batch(vec![put_op("k", value)]));
            let streams = futures_util::future::join_all(calls).await;
            for stream in streams {
                stream.unwrap().message().await.unwrap();
            }
            assert_eq!(store.value("k").unwrap(), "4");
        }
    });
    drop(one);
    let shutdown = async { tokio::time::timeout(SOON, server.shutdown(Duration::from_secs(5))).await };
    many.block_on(shutdown).unwrap().unwrap();
}
