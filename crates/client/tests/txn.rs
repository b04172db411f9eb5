//! Transactions: their place in the order of the calls, and what one is worth when something goes wrong.
#![allow(clippy::unwrap_used)] // a test fails loudly, also in what it calls

mod fake;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use fake::{BATCH, TXN, World, bare, lost, memory, nodes, refused, serve, until};
use futures_util::{FutureExt, future::join_all};
use norikv_client::Failed;
use norikv_core::{
    Call, Compare, CompareOp, CompareTarget, DeleteRange, ErrorKind, FieldName, Get, KeyRange, Put, Result,
    Store, Txn, TxnOp, TxnOpResult, TxnResult,
};
use tokio::sync::Semaphore;

/// A world whose transactions wait until the gate lets one through.
fn gated() -> (World, Arc<Semaphore>) {
    let (gate, store) = (Arc::new(Semaphore::new(0)), memory());
    let held = Arc::clone(&gate);
    let world = World::new(nodes(&["a:1"]), move |_, method, message| {
        let (gate, store) = (Arc::clone(&held), Arc::clone(&store));
        async move {
            if method == TXN {
                gate.acquire().await.unwrap().forget();
            }
            serve(store, method, message).await
        }
    });
    (world, gate)
}

/// A world whose first transaction fails so, after it was carried out or not.
fn failing(failed: Failed, done: bool) -> World {
    let (store, txns) = (memory(), Arc::new(AtomicUsize::new(0)));
    World::new(nodes(&["a:1"]), move |_, method, message| {
        let (store, failed) = (Arc::clone(&store), failed.clone());
        let first = method == TXN && txns.fetch_add(1, SeqCst) == 0;
        async move {
            if !first || done {
                let answer = serve(store, method, message).await;
                return if first { Err(failed) } else { answer };
            }
            Err(failed)
        }
    })
}

fn set(key: &'static str, value: &'static str) -> TxnOp {
    TxnOp::Put(Put::new(key, value))
}

fn read(key: &'static str) -> TxnOp {
    TxnOp::Get(get(key))
}

fn get(key: &'static str) -> Get {
    Get { key: key.into(), consistency: Default::default() }
}

fn then(then: impl IntoIterator<Item = TxnOp>) -> Txn {
    Txn { then: then.into_iter().collect(), ..Txn::default() }
}

fn is(key: &'static str, value: &'static str) -> Compare {
    Compare { key: key.into(), op: CompareOp::Equal, target: CompareTarget::Value(value.into()) }
}

fn txn(world: &World, txn: Txn) -> impl Future<Output = Result<TxnResult>> + Send + use<> {
    let store = Arc::clone(&world.store);
    async move { store.txn(txn, Call::default()).await }
}

fn unknown(error: &norikv_core::Error) -> bool {
    error.field(FieldName::Outcome).is_some_and(|outcome| outcome.to_text() == "unknown")
}

async fn value(world: &World, key: &'static str) -> Option<String> {
    let entry = world.store.get(get(key), Call::default()).await.unwrap();
    entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
}

#[tokio::test]
async fn calls_on_a_key_that_nobody_awaits_take_effect_in_their_order_with_transactions_among_them() {
    let (world, gate) = gated();
    gate.add_permits(100);
    let store = &world.store;
    let steps = Txn { compares: vec![is("a", "1")], ..then([set("a", "2"), set("b", "1"), read("a")]) };
    let put = |key, value| store.put(Put::new(key, value), Call::default()).map(|put| put.map(drop)).boxed();
    let ordered = |txn: Txn| {
        let txn = store.txn(txn, Call::default());
        txn.map(|result| result.map(|result| assert!(result.succeeded))).boxed()
    };
    let reads = |key, value: &'static str| {
        let got = store.get(get(key), Call::default());
        got.map(move |got| got.map(|entry| assert_eq!(entry.unwrap().value, value))).boxed()
    };
    let calls = vec![
        put("a", "1"),
        ordered(steps),
        reads("a", "2"),
        reads("b", "1"),
        put("b", "2"),
        ordered(Txn { compares: vec![is("b", "2"), is("a", "2")], ..then([set("a", "3")]) }),
        reads("a", "3"),
        put("a", "4"),
        ordered(then([TxnOp::DeleteRange(DeleteRange { range: KeyRange::prefix("a") }), set("b", "3")])),
        put("a", "5"),
        ordered(Txn { compares: vec![is("a", "5"), is("b", "3")], ..then([]) }),
    ];
    for result in join_all(calls).await {
        result.unwrap();
    }
}

#[tokio::test]
async fn transactions_on_different_keys_are_under_way_together_and_on_one_key_in_turn() {
    let (world, gate) = gated();
    let many: Vec<_> = (0..64)
        .map(|number| {
            let put = Put::new(format!("key-{number}"), "v");
            tokio::spawn(txn(&world, then([TxnOp::Put(put)])))
        })
        .collect();
    until(|| world.sent(TXN).len() == 64).await;
    let next = tokio::spawn(txn(&world, then([set("key-7", "w")])));
    // Calls on other keys go on meanwhile.
    assert_eq!(value(&world, "other").await, None);
    assert_eq!(world.sent(TXN).len(), 64);
    gate.add_permits(65);
    for txn in many {
        txn.await.unwrap().unwrap();
    }
    next.await.unwrap().unwrap();
    assert_eq!(value(&world, "key-7").await.unwrap(), "w");
}

#[tokio::test]
async fn transactions_that_only_read_a_key_are_under_way_together() {
    let (world, gate) = gated();
    let reads = (0..2).map(|_| tokio::spawn(txn(&world, then([read("a"), read("b")])))).collect::<Vec<_>>();
    until(|| world.sent(TXN).len() == 2).await;
    let put = tokio::spawn({
        let store = Arc::clone(&world.store);
        async move { store.put(Put::new("a", "1"), Call::default()).await }
    });
    tokio::task::yield_now().await;
    assert!(world.sent(BATCH).is_empty(), "a write waits for the reads before it");
    gate.add_permits(2);
    for read in reads {
        let results = read.await.unwrap().unwrap().results;
        assert_eq!(results, [TxnOpResult::Get(None), TxnOpResult::Get(None)]);
    }
    put.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_transaction_that_is_dropped_gives_its_places_up() {
    let (world, gate) = gated();
    let under_way = tokio::spawn(txn(&world, then([set("a", "1"), set("b", "1")])));
    until(|| world.sent(TXN).len() == 1).await;
    let waiting = tokio::spawn(txn(&world, then([set("b", "2"), set("c", "2")])));
    tokio::task::yield_now().await;
    under_way.abort();
    waiting.abort();
    let _ = (under_way.await, waiting.await);
    for key in ["a", "b", "c"] {
        world.store.put(Put::new(key, "3"), Call::default()).await.unwrap();
    }
    drop(gate);
}

#[tokio::test]
async fn a_transaction_whose_reply_is_lost_is_not_repeated_and_its_outcome_is_unknown() {
    for done in [true, false] {
        let world = failing(lost(), done);
        let error = txn(&world, then([set("a", "1")])).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && unknown(&error), "{error:?}");
        assert_eq!(world.sent(TXN).len(), 1);
        assert_eq!(value(&world, "a").await.is_some(), done);
    }
}

#[tokio::test]
async fn a_transaction_that_did_not_leave_or_only_reads_is_repeated() {
    let world = failing(refused("a:1"), false);
    txn(&world, then([set("a", "1")])).await.unwrap();
    let world = failing(lost(), true);
    assert_eq!(txn(&world, then([read("a")])).await.unwrap().results, [TxnOpResult::Get(None)]);
    assert_eq!(world.sent(TXN).len(), 2);
}

#[tokio::test]
async fn a_server_without_transactions_is_named() {
    let world = failing(bare(12, ""), false);
    let error = txn(&world, then([set("a", "1")])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("a:1") && !unknown(&error), "{error:?}");
}

#[tokio::test]
async fn what_no_store_may_carry_out_is_not_sent() {
    let (world, _gate) = gated();
    let error = txn(&world, then([set("a", "1"), set("a", "2")])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(world.sent(TXN).is_empty());
}
