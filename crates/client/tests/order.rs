//! Which calls travel together, and in which order.
#![allow(clippy::unwrap_used)] // a test fails loudly, also in what it calls

mod fake;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use fake::{BATCH, World, bare, memory, nodes, refused, reply, serve, show, until};
use futures_util::{FutureExt, future::join_all};
use norikv_client::Failed;
use norikv_core::{Call, DeleteRange, ErrorKind, Get, GetMany, Put, Store};
use norikv_proto::{
    ext::{self, batch_op::Op},
    failure_from_error,
};
use prost::Message;
use tokio::sync::Semaphore;

/// A world whose batches of writes, or of reads, wait until the gate lets one through.
fn gated(write: bool) -> (World, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let (held, store) = (Arc::clone(&gate), memory());
    let world = World::new(nodes(&["a:1"]), move |_, method, message| {
        let (gate, store) = (Arc::clone(&held), Arc::clone(&store));
        async move {
            if method == BATCH {
                let ops = ext::BatchRequest::decode(message.clone()).unwrap().ops;
                let writes = ops.iter().any(|op| !matches!(op.op, Some(Op::Get(_))));
                if writes == write {
                    gate.acquire().await.unwrap().forget();
                }
            }
            serve(store, method, message).await
        }
    });
    (world, gate)
}

fn put(
    world: &World,
    key: &'static str,
    value: &'static str,
) -> impl Future<Output = norikv_core::Result<()>> + use<> {
    let store = Arc::clone(&world.store);
    async move { store.put(Put::new(key, value), Call::default()).await.map(drop) }
}

fn get(world: &World, key: &'static str) -> impl Future<Output = norikv_core::Result<String>> + use<> {
    let store = Arc::clone(&world.store);
    async move {
        let get = Get { key: key.into(), consistency: Default::default() };
        let entry = store.get(get, Call::default()).await?;
        Ok(entry.map_or_else(String::new, |entry| String::from_utf8_lossy(&entry.value).into_owned()))
    }
}

#[tokio::test]
async fn a_lone_call_goes_at_once_and_those_that_gather_meanwhile_go_as_one() {
    let (world, gate) = gated(true);
    let first = tokio::spawn(put(&world, "a", "1"));
    until(|| world.sent(BATCH).len() == 1).await;
    let more: Vec<_> = ["b", "c", "d"].map(|key| tokio::spawn(put(&world, key, "1"))).into();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.sent(BATCH).len(), 1, "one batch of writes is under way at a time");
    gate.add_permits(2);
    first.await.unwrap().unwrap();
    for call in more {
        call.await.unwrap().unwrap();
    }
    let sizes: Vec<_> = world.sent(BATCH).iter().map(|sent| sent.ops.len()).collect();
    assert_eq!(sizes, [1, 3]);
    assert!(world.sent(BATCH)[0].ops[0].timeout_ms > 4_000, "each call brings its own time");
}

#[tokio::test]
async fn a_slow_write_does_not_hold_up_a_read_of_another_key() {
    let (world, gate) = gated(true);
    let write = tokio::spawn(put(&world, "a", "1"));
    until(|| world.sent(BATCH).len() == 1).await;
    assert_eq!(get(&world, "b").await.unwrap(), "");
    gate.add_permits(1);
    write.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_read_sees_the_writes_made_before_it_and_none_made_after() {
    let (world, gate) = gated(true);
    gate.add_permits(1_000);
    for _ in 0..50 {
        let calls = tokio::join!(
            put(&world, "k", "1"),
            get(&world, "k"),
            put(&world, "k", "2"),
            get(&world, "k"),
            get(&world, "k"),
            put(&world, "k", "3"),
        );
        assert_eq!((calls.1.unwrap().as_str(), calls.3.unwrap().as_str()), ("1", "2"));
        assert_eq!(calls.4.unwrap(), "2");
    }
    assert_eq!(get(&world, "k").await.unwrap(), "3");
}

#[tokio::test]
async fn a_write_waits_for_the_reads_of_its_key_that_were_made_before_it() {
    let (world, gate) = gated(false);
    let read = tokio::spawn(get(&world, "k"));
    until(|| world.sent(BATCH).len() == 1).await;
    let write = tokio::spawn(put(&world, "k", "new"));
    let other = tokio::spawn(put(&world, "other", "x"));
    other.await.unwrap().unwrap();
    assert_eq!(world.sent(BATCH).len(), 2, "only the other key was written");
    gate.add_permits(1);
    assert_eq!(read.await.unwrap().unwrap(), "");
    write.await.unwrap().unwrap();
}

#[tokio::test]
async fn get_many_waits_for_the_earlier_writes_of_its_keys_alone_and_later_ones_wait_for_it() {
    let (world, gate) = gated(true);
    let write = tokio::spawn(put(&world, "k", "new"));
    until(|| world.sent(BATCH).len() == 1).await;
    let many = |keys: &[&'static str]| {
        let keys = keys.iter().map(|key| bytes::Bytes::from(*key)).collect();
        let store = Arc::clone(&world.store);
        let many = GetMany { keys, consistency: Default::default() };
        tokio::spawn(async move { store.get_many(many, Call::default()).await })
    };
    assert_eq!(many(&["x", "y"]).await.unwrap().unwrap(), [None, None]);
    let waits = many(&["x", "k", "k"]);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waits.is_finished());
    // One that is given up is in nobody's way.
    let dropped = many(&["k"]);
    tokio::task::yield_now().await;
    dropped.abort();
    let last = tokio::spawn(put(&world, "k", "last"));
    gate.add_permits(2);
    write.await.unwrap().unwrap();
    let found = waits.await.unwrap().unwrap();
    assert_eq!(found[0], None);
    assert!(found[1..].iter().all(|entry| entry.as_ref().is_some_and(|entry| entry.value == "new")));
    last.await.unwrap().unwrap();
}

#[tokio::test]
async fn delete_range_waits_for_every_earlier_call_and_later_calls_wait_for_it() {
    let (world, gate) = gated(true);
    let write = tokio::spawn(put(&world, "d/2", "1"));
    until(|| world.sent(BATCH).len() == 1).await;
    let delete = || {
        let store = Arc::clone(&world.store);
        let range = DeleteRange { range: norikv_core::KeyRange::prefix("d/") };
        tokio::spawn(async move { store.delete_range(range, Call::default()).await })
    };
    let (first, dropped) = (delete(), delete());
    tokio::time::sleep(Duration::from_millis(20)).await;
    dropped.abort();
    let later = [tokio::spawn(get(&world, "d/2")), tokio::spawn(get(&world, "else"))];
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(world.sent(fake::DELETE_RANGE).is_empty() && later.iter().all(|call| !call.is_finished()));
    gate.add_permits(1);
    write.await.unwrap().unwrap();
    assert_eq!(first.await.unwrap().unwrap().deleted, 1);
    for call in later {
        assert_eq!(call.await.unwrap().unwrap(), "");
    }
    // Close ends one that waits.
    let write = tokio::spawn(put(&world, "d/2", "1"));
    until(|| world.sent(BATCH).len() >= 3).await;
    let waits = delete();
    tokio::task::yield_now().await;
    world.store.close().await.unwrap();
    assert_eq!(waits.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    write.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_write_that_is_made_again_keeps_its_place() {
    let (failures, store) = (Arc::new(AtomicUsize::new(2)), memory());
    let backing = Arc::clone(&store);
    let world = World::new(nodes(&["a:1"]), move |_, method, message| {
        let (store, failures) = (Arc::clone(&backing), Arc::clone(&failures));
        async move {
            if method == BATCH && failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                return Err(refused("a:1"));
            }
            serve(store, method, message).await
        }
    });
    let first = tokio::spawn(put(&world, "k", "1"));
    until(|| world.sent(BATCH).len() == 1).await;
    let (second, third) = (put(&world, "k", "2"), put(&world, "k", "3"));
    let (second, third) = tokio::join!(second, third);
    first.await.unwrap().unwrap();
    second.unwrap();
    third.unwrap();
    let order: Vec<_> = world.sent(BATCH).iter().flat_map(show).collect();
    let last = |op: &str| order.iter().rposition(|other| other == op).unwrap();
    assert!(last("put k=1") < last("put k=2") && last("put k=2") < last("put k=3"), "{order:?}");
    assert_eq!(get(&world, "k").await.unwrap(), "3");
    assert!(world.store.stats().retried >= 2);
}

#[tokio::test]
async fn calls_of_a_batch_that_failed_as_a_whole_are_made_again_in_their_order() {
    for round in 0..20 {
        let (failed, store) = (Arc::new(AtomicBool::new(false)), memory());
        let world = World::new(nodes(&["a:1"]), move |_, method, message| {
            let (store, failed) = (Arc::clone(&store), Arc::clone(&failed));
            async move {
                if method == BATCH && !failed.swap(true, SeqCst) {
                    return Err(refused("a:1"));
                }
                serve(store, method, message).await
            }
        });
        let values: Vec<&'static str> = vec!["1", "2", "3", "4", "5", "6"];
        let results = join_all(values.iter().map(|value| put(&world, "k", value))).await;
        assert!(results.into_iter().all(|result| result.is_ok()), "round {round}");
        let order: Vec<_> = world.sent(BATCH).iter().skip(1).flat_map(show).collect();
        let expected: Vec<_> = values.iter().map(|value| format!("put k={value}")).collect();
        assert_eq!(order, expected, "round {round}");
    }
}

#[tokio::test]
async fn a_dropped_call_that_has_not_left_never_leaves_and_a_dropped_batch_ends_its_stream() {
    let (world, gate) = gated(true);
    let first = tokio::spawn(put(&world, "a", "1"));
    until(|| world.sent(BATCH).len() == 1).await;
    let unsent = tokio::spawn(put(&world, "b", "1"));
    let kept = tokio::spawn(put(&world, "c", "1"));
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    unsent.abort();
    assert!(unsent.await.unwrap_err().is_cancelled());
    // The only call of the batch under way: nobody waits for its stream any more, and the lane is free.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    until(|| world.sent(BATCH).len() == 2).await;
    assert_eq!(show(&world.sent(BATCH)[1]), ["put c=1"]);
    gate.add_permits(1);
    kept.await.unwrap().unwrap();
    until(|| world.open.load(SeqCst) == 0).await;
    world.store.close().await.unwrap();
}

#[tokio::test]
async fn batches_keep_to_the_servers_limit_once_it_is_known_and_are_small_before() {
    let (gate, store) = (Arc::new(Semaphore::new(1)), memory());
    let held = Arc::clone(&gate);
    let world = World::new(nodes(&["a:1"]), move |_, method, message| {
        let (gate, store) = (Arc::clone(&held), Arc::clone(&store));
        async move {
            if method == fake::STATUS {
                let limits = Some(ext::Limits { max_batch_ops: 3, ..Default::default() });
                return Ok(reply(&ext::StatusResponse { limits, ..Default::default() }));
            }
            gate.acquire().await.unwrap().forget();
            serve(store, method, message).await
        }
    });
    put(&world, "a", "1").await.unwrap();
    until(|| world.sent(fake::STATUS).len() == 1).await;
    gate.add_permits(100);
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    for result in join_all(keys.iter().map(|key| put(&world, key, "1"))).await {
        result.unwrap();
    }
    assert!(world.sent(BATCH).iter().all(|sent| sent.ops.len() <= 3));
    assert_eq!(world.sent(fake::STATUS).len(), 1, "asked once per connection");
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let mut settings = nodes(&["a:1"]);
    settings.batch.max_queued_ops = 4;
    settings.retry.max_attempts = 1;
    let world = World::new(settings, |_, _, _| std::future::pending());
    let held = tokio::spawn(put(&world, "a", "1"));
    until(|| world.sent(BATCH).len() == 1).await;
    let mut calls: Vec<_> = (0..5).map(|_| Box::pin(put(&world, "b", "1"))).collect();
    for call in &mut calls[..4] {
        assert!(call.now_or_never().is_none());
    }
    let error = (&mut calls[4]).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    drop(calls);
    held.abort();
}

#[tokio::test]
async fn close_ends_calls_that_wait_that_travel_and_that_are_about_to_be_made_again() {
    let busy = norikv_core::Error::new(ErrorKind::ResourceExhausted, "busy");
    let failure = Failed::Answered(failure_from_error(&busy));
    let mut settings = nodes(&["a:1"]);
    settings.retry.backoff.initial = Duration::from_secs(1_000);
    settings.retry.backoff.max = Duration::from_secs(1_000);
    settings.retry.backoff.jitter = false;
    let world = World::new(settings, move |_, _, message| {
        let failure = failure.clone();
        async move {
            let ops = ext::BatchRequest::decode(message).unwrap().ops;
            if matches!(ops[0].op, Some(Op::Get(_))) { Err(failure) } else { std::future::pending().await }
        }
    });
    let store = Arc::clone(&world.store);
    let again = tokio::spawn(async move {
        let get = Get { key: "r".into(), consistency: Default::default() };
        store.get(get, Call::with_timeout(Duration::from_secs(5_000))).await
    });
    let under_way = tokio::spawn(put(&world, "a", "1"));
    until(|| world.sent(BATCH).len() == 2).await;
    let waiting = tokio::spawn(put(&world, "a", "2"));
    tokio::task::yield_now().await;
    tokio::time::timeout(Duration::from_secs(1), world.store.close()).await.unwrap().unwrap();
    let ends = [
        again.await.unwrap().unwrap_err(),
        under_way.await.unwrap().unwrap_err(),
        waiting.await.unwrap().unwrap_err(),
    ];
    assert!(ends.iter().all(|error| error.kind() == ErrorKind::Closed), "{ends:?}");
    assert_eq!(world.open.load(SeqCst), 0);
}

#[tokio::test]
async fn a_server_without_batches_is_found_out_by_the_first_and_calls_on_a_key_still_keep_their_order() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (counted, logged) = (Arc::clone(&under_way), Arc::clone(&log));
    let world = World::new(nodes(&["a:1"]), move |_, method, message| {
        let (under_way, log) = (Arc::clone(&counted), Arc::clone(&logged));
        async move {
            if method != fake::PUT {
                return Err(bare(12, ""));
            }
            assert_eq!(under_way.fetch_add(1, SeqCst), 0, "one write of a key at a time");
            let put = norikv_proto::v1::PutRequest::decode(message).unwrap();
            tokio::task::yield_now().await;
            log.lock().unwrap().push(String::from_utf8(put.value.to_vec()).unwrap());
            under_way.fetch_sub(1, SeqCst);
            Ok(reply(&norikv_proto::v1::PutResponse::default()))
        }
    });
    let values = ["1", "2", "3", "4", "5"];
    for result in join_all(values.map(|value| put(&world, "k", value))).await {
        result.unwrap();
    }
    assert_eq!(*log.lock().unwrap(), values);
    assert_eq!(world.sent(BATCH).len(), 1);
}
