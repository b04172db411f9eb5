//! The order of calls, and calls that are dropped.

use std::{future::poll_fn, pin::Pin, task::Poll};

use bytes::Bytes;
use norikv_core::{CompareOp, CompareTarget, Delete, Entry, Put, Store, Txn, TxnOpResult};

use crate::{
    Check,
    ask::{call, get, later, of, put, to_delete, to_get, to_put, value, when},
};

/// Polls once, whatever comes of it.
async fn begin<F: Future + ?Sized>(mut call: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Writes to one key take effect in the order in which they are first polled.
pub async fn writes_to_one_key_take_effect_in_the_order_of_their_first_poll(store: &dyn Store) -> Check {
    let mut calls: Vec<_> = (0..300).map(|n| store.put(Put::new("k", n.to_string()), call())).collect();
    // Made in one order, begun in the other.
    calls.reverse();
    let mut versions = Vec::new();
    let mut waiting = Vec::new();
    for (at, mut call) in calls.into_iter().enumerate() {
        match begin(call.as_mut()).await {
            Some(answer) => versions.push((at, answer?.version)),
            None => waiting.push((at, call)),
        }
    }
    // Who is polled first from here on has no part in the order.
    waiting.reverse();
    let answers = waiting.into_iter().map(async |(at, call)| Check::Ok((at, call.await?.version)));
    for answer in futures_util::future::join_all(answers).await {
        versions.push(answer?);
    }
    versions.sort_unstable();
    assert!(versions.is_sorted_by(|a, b| a.1 < b.1), "{versions:?}");
    assert_eq!(value(store, "k").await?, Some("0".into()));
    Ok(())
}

/// A read sees the writes to its key that were begun before it, and none that were begun after.
pub async fn a_read_sees_the_writes_begun_before_it_and_none_begun_after(store: &dyn Store) -> Check {
    for n in 0..100 {
        let before = store.put(Put::new("k", n.to_string()), call());
        let read = store.get(of("k"), call());
        let delete = store.delete(Delete::new("k"), call());
        let read_nothing = store.get(of("k"), call());
        let after = store.put(Put::new("k", "after"), call());
        let (before, read, delete, read_nothing, after) =
            tokio::join!(before, read, delete, read_nothing, after);
        let entry = read?.ok_or("the key is not there")?;
        assert_eq!((entry.value, entry.version), (n.to_string().into(), before?.version));
        let delete = delete?;
        assert!(delete.deleted);
        assert_eq!(read_nothing?, None);
        assert_eq!(after?.version, later(delete.version, 1));
    }
    Ok(())
}

/// A transaction takes its place among the calls on each of its keys, in the order in which they are first polled.
pub async fn a_transaction_takes_its_place_among_the_calls_on_its_keys(store: &dyn Store) -> Check {
    for n in 0..50 {
        put(store, "b", "old").await?;
        let value = |step: &str| Bytes::from(format!("{n} {step}"));
        let first = store.put(Put::new("a", value("first")), call());
        let other = store.put(Put::new("b", value("other")), call());
        let then = vec![to_get("a"), to_get("b"), to_put("a", value("txn")), to_delete("b")];
        let compares = vec![when("a", CompareOp::Equal, CompareTarget::Value(value("first")))];
        let txn = store.txn(Txn { compares, then, ..Txn::default() }, call());
        let read = store.get(of("a"), call());
        let read_other = store.get(of("b"), call());
        let second = store
            .txn(Txn { then: vec![to_get("b"), to_put("b", value("second"))], ..Txn::default() }, call());
        let last = store.put(Put::new("a", value("last")), call());
        let read_last = store.get(of("b"), call());
        let (first, other, txn, read, read_other, second, last, read_last) =
            tokio::join!(first, other, txn, read, read_other, second, last, read_last);
        let txn = txn?;
        assert!(txn.succeeded, "round {n}: the put before it is not seen");
        let found = |entry: Option<Entry>| entry.map(|entry| (entry.value, entry.version));
        let seen: Vec<_> = txn
            .results
            .iter()
            .filter_map(|result| match result {
                TxnOpResult::Get(entry) => Some(found(entry.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(seen, [Some((value("first"), first?.version)), Some((value("other"), other?.version))]);
        assert_eq!(found(read?), Some((value("txn"), txn.version)), "round {n}");
        assert_eq!(found(read_other?), None, "round {n}");
        let second = second?;
        assert_eq!(second.results[0], TxnOpResult::Get(None), "round {n}");
        assert!(last?.version > txn.version);
        assert_eq!(found(read_last?), Some((value("second"), second.version)), "round {n}");
    }
    Ok(())
}

/// A read that is answered at once, while a transaction on its key is under way, sees what that writes.
pub async fn a_read_at_once_does_not_overtake_a_transaction(store: &dyn Store) -> Check {
    put(store, "k", "old").await?;
    for n in 0..200 {
        let written = Bytes::from(n.to_string());
        let then = vec![to_put("j", "v"), to_put("k", written.clone())];
        let mut txn = store.txn(Txn { then, ..Txn::default() }, call());
        let done = begin(txn.as_mut()).await;
        if let Some(read) = store.get_now(b"k", Default::default()) {
            assert_eq!(read?.map(|entry| entry.value), Some(written));
        }
        match done {
            Some(done) => done?,
            None => txn.await?,
        };
    }
    Ok(())
}

/// A call that is dropped before it is polled does nothing.
pub async fn a_call_dropped_before_it_is_polled_does_nothing(store: &dyn Store) -> Check {
    let before = put(store, "k", "1").await?;
    drop(store.put(Put::new("k", "2"), call()));
    drop(store.delete(Delete::new("k"), call()));
    assert_eq!(value(store, "k").await?, Some("1".into()));
    assert_eq!(put(store, "k", "3").await?, later(before, 1));
    Ok(())
}

/// A call that is dropped later happens whole or not at all, before the calls that follow it.
pub async fn a_dropped_call_happens_whole_or_not_at_all_and_holds_up_nobody(store: &dyn Store) -> Check {
    let mut newest = put(store, "k", "0").await?;
    for n in 0..100 {
        let mut dropped = store.put(Put::new("k", "dropped"), call());
        let done = begin(dropped.as_mut()).await.is_some();
        drop(dropped);
        let mut read = store.get(of("k"), call());
        let _ = begin(read.as_mut()).await;
        drop(read);
        let version = put(store, "k", n.to_string()).await?;
        let revisions = version.index - newest.index;
        assert!(revisions == 2 || (revisions == 1 && !done), "{newest} to {version}");
        newest = version;
        let entry = get(store, "k").await?.ok_or("the key is not there")?;
        assert_eq!((entry.value, entry.version), (n.to_string().into(), version));
    }
    Ok(())
}

/// Thousands of calls dropped at once hold up nobody.
pub async fn thousands_of_calls_dropped_at_once_hold_up_nobody(store: &dyn Store) -> Check {
    let mut calls: Vec<_> =
        (0..3_000).map(|n| store.put(Put::new(format!("k{}", n % 100), "dropped"), call())).collect();
    for call in &mut calls {
        let _ = begin(call.as_mut()).await;
    }
    drop(calls);
    for n in 0..100 {
        let key = format!("k{n}");
        let version = put(store, key.clone(), "kept").await?;
        let entry = get(store, key).await?.ok_or("the key is not there")?;
        assert_eq!((entry.value, entry.version), ("kept".into(), version));
    }
    Ok(())
}

/// Calls on many keys at once all get their own answer.
pub async fn calls_on_many_keys_at_once_all_get_their_own_answer(store: &dyn Store) -> Check {
    let writes = (0..1_000).map(|n| async move {
        let key = format!("k{n}");
        let version = put(store, key.clone(), n.to_string()).await?;
        let entry = get(store, key).await?.ok_or("the key is not there")?;
        assert_eq!((entry.value, entry.version), (n.to_string().into(), version));
        Check::Ok(())
    });
    futures_util::future::join_all(writes).await.into_iter().collect()
}
