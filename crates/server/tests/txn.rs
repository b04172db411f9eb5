//! Transactions over gRPC.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;

use bytes::Bytes;
use common::{Client, serve, settings};
use norikv_proto::ext::{self, TxnOp, compare::Target, txn_op::Op, txn_op_result::Result as Answer};
use tonic::Code;

fn create(key: &'static str, value: &'static str) -> ext::TxnRequest {
    let compare = ext::Compare { key: key.into(), op: 1, target: Some(Target::Exists(false)) };
    let put = ext::Put { put: Some(common::client::put(key, value)), ..Default::default() };
    ext::TxnRequest {
        compares: vec![compare],
        then: vec![TxnOp { op: Some(Op::Put(put)) }],
        otherwise: vec![TxnOp { op: Some(Op::Get(key.into())) }],
    }
}

#[tokio::test]
async fn a_transaction_answers_for_the_branch_that_was_taken() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let first = client.txn(create("a", "1")).await.unwrap();
    assert!(first.succeeded && matches!(first.results[0].result, Some(Answer::Put(_))));
    let second = client.txn(create("a", "2")).await.unwrap();
    let Some(Answer::Get(got)) = &second.results[0].result else { panic!("{second:?}") };
    assert_eq!(got.entry.as_ref().unwrap().value, "1");
    assert!(!second.succeeded && second.version == first.version);
    assert_eq!(store.value("a"), Some(Bytes::from("1")));
}

#[tokio::test]
async fn a_malformed_transaction_changes_nothing() {
    let (server, store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let mut twice = create("a", "1");
    twice.then.extend(create("a", "2").then);
    let mut none = create("a", "1");
    none.compares[0].target = None;
    let mut many = create("a", "1");
    many.otherwise = vec![TxnOp { op: Some(Op::Get("a".into())) }; 127];
    for request in [twice, none, many] {
        assert_eq!(client.txn(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(store.value("a"), None);
}

#[tokio::test]
async fn a_transaction_as_large_as_may_be_is_taken() {
    let (server, _store) = serve(settings()).await;
    let client = Client::connect(server.local_addr()).await;
    let put = |number: usize, bytes: usize| {
        let put = norikv_proto::v1::PutRequest {
            key: format!("key-{number:04}").into(),
            value: vec![7; bytes].into(),
            idempotency_key: format!("{number:01024}"),
            ..Default::default()
        };
        TxnOp { op: Some(Op::Put(ext::Put { put: Some(put), ..Default::default() })) }
    };
    let of = |bytes| ext::TxnRequest {
        then: (0..128).map(|number| put(number, bytes)).collect(),
        ..Default::default()
    };
    assert_eq!(client.txn(of(40_000)).await.unwrap().results.len(), 128);
    assert_eq!(client.txn(of(42_000)).await.unwrap_err().code(), Code::InvalidArgument);
}
