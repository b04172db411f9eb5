//! Watches.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use norikv_core::{
    Delete, DeleteRange, Entry, ErrorKind, Event, EventKind, EventReason, FieldName, KeyRange,
    PROGRESS_INTERVAL, Put, Store, Ttl, Txn, TxnOp, Version, Watch,
};
use tokio::time::Instant;

use crate::{
    Check, Setup, Watcher, World,
    ask::{
        self, call, compact, delete, get, later, newest, put, to_delete, to_delete_range, to_get, to_put,
        txn, within, write,
    },
    refused, refused_watch,
};

fn all() -> Watch {
    Watch::new(KeyRange::all())
}

async fn entry(store: &dyn Store, key: &'static str) -> Check<Entry> {
    Ok(get(store, key).await?.ok_or("the key is not there")?)
}

/// What a watch tells of a delete: the key and the version of the delete, everything else empty.
fn deleted(key: impl Into<Bytes>, version: Version) -> Entry {
    Entry {
        key: key.into(),
        value: Bytes::new(),
        version,
        create_version: Version::ZERO,
        generation: 0,
        lease: None,
        expires_at: None,
    }
}

fn event(kind: EventKind, entry: Entry, prev_entry: Option<Entry>) -> Event {
    Event { kind, reason: EventReason::Write, entry, prev_entry }
}

/// Without `fromVersion`, a watch starts after the newest version.
pub async fn a_watch_starts_after_the_newest_version(store: &dyn Store) -> Check {
    let before = put(store, "k", "1").await?;
    let mut watcher = Watcher::begin(store, all()).await?;
    assert_eq!(watcher.start, before);
    let version = put(store, "k", "2").await?;
    let event = watcher.event().await?;
    assert_eq!((event.entry.version, event.entry.value), (version, "2".into()));
    Ok(())
}

/// `fromVersion` is inclusive and replays history, then goes on with what happens.
pub async fn from_version_is_inclusive_and_replays_history(store: &dyn Store) -> Check {
    put(store, "before", "v").await?;
    let first = put(store, "k", "0").await?;
    for n in 1..20 {
        put(store, "k", n.to_string()).await?;
    }
    let mut watcher = Watcher::from(store, first).await?;
    assert_eq!(watcher.start, Version::new(first.term, first.index - 1));
    for n in 20..25 {
        put(store, "k", n.to_string()).await?;
    }
    for n in 0..25 {
        let event = watcher.event().await?;
        assert_eq!((event.entry.version, event.entry.value), (later(first, n), n.to_string().into()));
        assert_eq!(event.entry.generation, n + 1);
    }
    // The one after the newest is the next there will be.
    let next = later(newest(store).await?, 1);
    let mut watcher = Watcher::from(store, next).await?;
    assert_eq!(put(store, "k", "next").await?, next);
    assert_eq!(watcher.event().await?.entry.version, next);
    Ok(())
}

/// A version in the future is refused: nothing could be said of those before it.
pub async fn a_from_version_in_the_future_is_refused(store: &dyn Store) -> Check {
    let version = put(store, "k", "v").await?;
    for future in [later(version, 2), Version::new(version.term + 1, 1), Version::new(u64::MAX, u64::MAX)] {
        let watch = Watch { from: Some(future), ..all() };
        refused_watch(store, watch, ErrorKind::InvalidArgument).await?;
    }
    Ok(())
}

/// A range that ends before it starts, or has a bound no key could have, is refused.
pub async fn a_watch_of_a_wrong_range_is_refused(store: &dyn Store) -> Check {
    let backwards = KeyRange { start: "c".into(), end: Some("a".into()) };
    let long = KeyRange { start: vec![b'a'; 1_026].into(), end: None };
    for range in [backwards, long] {
        refused_watch(store, Watch::new(range), ErrorKind::InvalidArgument).await?;
    }
    Ok(())
}

/// An event tells the entry as the change left it, and the one before if that is asked for.
pub async fn an_event_tells_the_entry_and_the_one_before_it(store: &dyn Store) -> Check {
    let start = newest(store).await?;
    let mut plain = Watcher::begin(store, all()).await?;
    let mut expected = Vec::new();
    put(store, "k", "1").await?;
    let one = entry(store, "k").await?;
    expected.push(event(EventKind::Put, one.clone(), None));
    let ttl = Some(Ttl::from_millis(600_000)?);
    write(store, Put { ttl, ..Put::new("k", "2") }).await?;
    let two = entry(store, "k").await?;
    expected.push(event(EventKind::Put, two.clone(), Some(one)));
    let version = delete(store, "k").await?.version;
    expected.push(event(EventKind::Delete, deleted("k", version), Some(two)));
    put(store, "k", "3").await?;
    let three = entry(store, "k").await?;
    expected.push(event(EventKind::Put, three.clone(), None));
    let range = KeyRange::all();
    let version = within(call(), store.delete_range(DeleteRange { range }, call())).await?.version;
    expected.push(event(EventKind::Delete, deleted("k", version), Some(three)));

    // From history, as it happened.
    let replay = Watch { prev_entry: true, from: Some(later(start, 1)), ..all() };
    let mut asking = Watcher::begin(store, replay).await?;
    for expected in expected {
        assert_eq!(asking.event().await?, expected);
        assert_eq!(plain.event().await?, Event { prev_entry: None, ..expected });
    }
    // And as it happens.
    put(store, "k", "4").await?;
    let four = entry(store, "k").await?;
    put(store, "k", "5").await?;
    let five = entry(store, "k").await?;
    assert_eq!(asking.event().await?, event(EventKind::Put, four.clone(), None));
    assert_eq!(asking.event().await?, event(EventKind::Put, five.clone(), Some(four)));
    let version = delete(store, "k").await?.version;
    assert_eq!(asking.event().await?, event(EventKind::Delete, deleted("k", version), Some(five)));
    Ok(())
}

/// A watch may want puts only, or deletes only, from history and as they happen.
pub async fn a_watch_may_want_puts_or_deletes_only(store: &dyn Store) -> Check {
    let start = newest(store).await?;
    let change = async || {
        put(store, "a", "v").await?;
        put(store, "b", "v").await?;
        // Of a transaction with both, those that are wanted.
        txn(store, Txn { then: vec![to_put("c", "v"), to_delete("a")], ..Txn::default() }).await?;
        delete(store, "b").await?;
        Check::Ok(())
    };
    change().await?;
    let from = Some(later(start, 1));
    let mut puts = Watcher::begin(store, Watch { from, deletes: false, ..all() }).await?;
    let mut deletes = Watcher::begin(store, Watch { from, puts: false, prev_entry: true, ..all() }).await?;
    change().await?;
    for round in [0, 4] {
        for (key, revision) in [("a", 1), ("b", 2), ("c", 3)] {
            let event = puts.event().await?;
            assert_eq!((event.kind, event.entry.key), (EventKind::Put, key.into()));
            assert_eq!(event.entry.version, later(start, round + revision));
        }
        for (key, revision, put) in [("a", 3, 1), ("b", 4, 2)] {
            let event = deletes.event().await?;
            assert_eq!(
                (event.kind, event.entry),
                (EventKind::Delete, deleted(key, later(start, round + revision)))
            );
            assert_eq!(event.prev_entry.map(|entry| entry.version), Some(later(start, round + put)));
        }
    }
    Ok(())
}

/// A watch of a key, a prefix or a range tells what changes there and nothing else.
pub async fn a_watch_tells_what_changes_in_its_range_and_nothing_else(store: &dyn Store) -> Check {
    let written: [&'static [u8]; 9] = [b"a", b"b", b"b\0", b"b1", b"b\xff", b"c", b"c\0", b"d", b"\xff\xff"];
    let ranges = [
        KeyRange::single(&Bytes::from("b")),
        KeyRange::prefix("b"),
        KeyRange::prefix(&b"\xff"[..]),
        KeyRange { start: "b1".into(), end: Some("d".into()) },
        KeyRange { start: "c".into(), end: None },
        KeyRange::all(),
    ];
    let start = newest(store).await?;
    let mut live = Vec::new();
    for range in &ranges {
        live.push(Watcher::begin(store, Watch::new(range.clone())).await?);
    }
    for key in written {
        put(store, key, "v").await?;
    }
    // A transaction that touches all of them is told in part.
    let then = written.iter().rev().map(|key| to_delete(*key)).collect();
    let last = txn(store, Txn { then, ..Txn::default() }).await?.version;
    for (range, live) in ranges.iter().zip(live) {
        let from = Some(later(start, 1));
        let replay = Watcher::begin(store, Watch { from, ..Watch::new(range.clone()) }).await?;
        for mut watcher in [live, replay] {
            let inside: Vec<Bytes> =
                written.into_iter().filter(|key| range.contains(key)).map(Bytes::from_static).collect();
            for key in &inside {
                assert_eq!(watcher.event().await?.entry.key, key, "{range:?}");
            }
            let batch = watcher.next().await?;
            assert_eq!(batch.version, last);
            let told: Vec<_> = batch.events.into_iter().map(|event| event.entry.key).collect();
            assert_eq!(told, inside.into_iter().rev().collect::<Vec<_>>(), "{range:?}");
        }
    }
    Ok(())
}

/// All events of one transaction come in one batch, in the order of its ops.
pub async fn the_events_of_a_transaction_come_in_one_batch_in_the_order_of_its_ops(
    store: &dyn Store,
) -> Check {
    let start = put(store, "gone", "v").await?;
    for key in ["range:2", "range:1"] {
        put(store, key, "v").await?;
    }
    let mut live = Watcher::begin(store, all()).await?;
    let then = vec![
        to_put("z", "1"),
        to_get("z"),
        to_delete("gone"),
        to_delete_range(KeyRange::prefix("range:")),
        to_delete("missing"),
        to_put("a", "1"),
    ];
    let version = txn(store, Txn { then, ..Txn::default() }).await?.version;
    let mut replay = Watcher::from(store, later(start, 1)).await?;
    for _ in 0..2 {
        replay.event().await?;
    }
    for watcher in [&mut live, &mut replay] {
        let batch = watcher.next().await?;
        assert_eq!(batch.version, version);
        let told: Vec<_> = batch
            .events
            .iter()
            .map(|event| (event.kind, String::from_utf8_lossy(&event.entry.key).into_owned()))
            .collect();
        let expected = [
            (EventKind::Put, "z"),
            (EventKind::Delete, "gone"),
            (EventKind::Delete, "range:1"),
            (EventKind::Delete, "range:2"),
            (EventKind::Put, "a"),
        ];
        assert_eq!(told, expected.map(|(kind, key)| (kind, key.to_owned())));
        assert!(batch.events.iter().all(|event| event.entry.version == version));
    }
    Ok(())
}

/// What a store remembers of an idempotency key is no event, and takes none along: not even if it is what the transaction began
/// with, a delete of nothing.
pub async fn what_a_step_remembers_hides_no_event_of_its_transaction(store: &dyn Store) -> Check {
    let start = put(store, "before", "v").await?;
    let mut live = Watcher::begin(store, all()).await?;
    let remembered = |delete: TxnOp| match delete {
        TxnOp::Delete(delete) => {
            TxnOp::Delete(Delete { idempotency_key: Some("first".to_owned()), ..delete })
        }
        other => other,
    };
    let then = vec![remembered(to_delete("missing")), to_put("a", "1"), to_put("b", "1")];
    let version = txn(store, Txn { then, ..Txn::default() }).await?.version;
    let mut replay = Watcher::from(store, later(start, 1)).await?;
    for watcher in [&mut live, &mut replay] {
        let batch = watcher.next().await?;
        assert_eq!(batch.version, version);
        let told: Vec<_> = batch.events.iter().map(|event| event.entry.key.clone()).collect();
        assert_eq!(told, ["a", "b"]);
    }
    Ok(())
}

/// A revision of thousands of changes comes in one batch, as it happens and from history.
pub async fn a_revision_of_thousands_of_changes_comes_in_one_batch(store: &dyn Store) -> Check {
    const KEYS: usize = 5_000;
    let start = newest(store).await?;
    let value = Bytes::from(vec![b'v'; 300]);
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key {n:05}")).collect();
    for written in join_all(keys.iter().map(|key| put(store, key.clone(), value.clone()))).await {
        written?;
    }
    let watch = Watch { prev_entry: true, ..all() };
    let mut live = Watcher::begin(store, watch.clone()).await?;
    let range = KeyRange::prefix("key ");
    let done = within(call(), store.delete_range(DeleteRange { range }, call())).await?;
    assert_eq!((done.deleted, done.version.index), (KEYS as u64, start.index + KEYS as u64 + 1));
    let mut replay = Watcher::begin(store, Watch { from: Some(done.version), ..watch }).await?;
    let after = put(store, "after", "v").await?;
    for watcher in [&mut live, &mut replay] {
        let batch = watcher.next().await?;
        assert_eq!((batch.version, batch.events.len()), (done.version, KEYS));
        for (event, key) in batch.events.iter().zip(&keys) {
            assert_eq!((event.kind, &event.entry.key[..]), (EventKind::Delete, key.as_bytes()));
            assert!(event.prev_entry.as_ref().is_some_and(|entry| entry.value == value), "{event:?}");
        }
        assert_eq!(watcher.event().await?.entry.version, after);
    }
    Ok(())
}

/// Events come in revision order, each revision once, with no gap, however many write at once and wherever in that
/// the watch begins.
pub async fn every_revision_comes_once_and_in_order_while_many_write(store: &dyn Store) -> Check {
    const WRITERS: u64 = 16;
    const EACH: u64 = 40;
    let start = newest(store).await?;
    let first = Watcher::begin(store, all()).await?;
    let last = later(start, WRITERS * EACH);
    let writers = join_all((0..WRITERS).map(async |writer| {
        for n in 0..EACH {
            if n % 4 == 3 {
                let pair = vec![to_put(format!("{writer} a"), "v"), to_put(format!("{writer} b"), "v")];
                txn(store, Txn { then: pair, ..Txn::default() }).await?;
            } else {
                put(store, format!("{writer}"), n.to_string()).await?;
            }
        }
        Check::Ok(())
    }));
    let read = async |mut watcher: Watcher| {
        let mut expected = watcher.start.index + 1;
        while expected <= last.index {
            let batch = watcher.next().await?;
            assert_eq!(batch.version.index, expected);
            let keys: Vec<_> = batch.events.iter().map(|event| &event.entry.key[..]).collect();
            let whole = match keys[..] {
                [one] => one.len() <= 2,
                [a, b] => a.ends_with(b" a") && b.ends_with(b" b") && a[..a.len() - 1] == b[..b.len() - 1],
                _ => false,
            };
            assert!(whole, "{batch:?}");
            expected += 1;
        }
        Check::Ok(())
    };
    let joining = join_all((0..6).map(async |n| {
        // From the beginning, or from wherever the store is then.
        tokio::time::sleep(Duration::from_millis(n * 10)).await;
        let from = (n % 2 == 0).then(|| later(start, 1));
        read(Watcher::begin(store, Watch { from, ..all() }).await?).await
    }));
    let (writers, first, joining) = tokio::join!(writers, read(first), joining);
    writers.into_iter().collect::<Check<Vec<()>>>()?;
    first?;
    joining.into_iter().collect::<Check<Vec<()>>>()?;
    Ok(())
}

/// An expiry is a delete with the reason `expired`; a delete by a call has the reason `write`.
pub async fn an_expiry_is_a_delete_with_its_reason(store: &dyn Store) -> Check {
    let ttl = Some(Ttl::from_millis(50)?);
    put(store, "k", "1").await?;
    let start = write(store, Put { ttl, ..Put::new("k", "2") }).await?;
    let mut live =
        Watcher::begin(store, Watch { prev_entry: true, from: Some(later(start, 1)), ..all() }).await?;
    let expired = live.event().await?;
    let version = later(start, 1);
    assert_eq!((expired.kind, expired.reason), (EventKind::Delete, EventReason::Expired));
    assert_eq!(expired.entry, deleted("k", version));
    let prev = expired.prev_entry.clone().ok_or("no entry before")?;
    assert_eq!((prev.version, prev.value, prev.generation), (start, "2".into(), 2));
    assert!(prev.expires_at.is_some());
    put(store, "k", "3").await?;
    delete(store, "k").await?;
    // From history it is what it was.
    let watch = Watch { prev_entry: true, puts: false, from: Some(start), ..all() };
    let mut replay = Watcher::begin(store, watch).await?;
    assert_eq!(replay.event().await?, expired);
    assert_eq!(replay.event().await?.reason, EventReason::Write);
    Ok(())
}

/// `progress: true` sends an empty batch at least every 10 s, with the version up to which nothing is missing.
pub async fn a_watch_that_asked_for_progress_is_told_how_far_it_is(store: &dyn Store) -> Check {
    let mut watcher =
        Watcher::begin(store, Watch { progress: true, ..Watch::new(KeyRange::prefix("p")) }).await?;
    let elsewhere = put(store, "elsewhere", "v").await?;
    let begun = Instant::now();
    loop {
        let batch = watcher.next().await?;
        assert_eq!(batch.events, [], "nothing changed in its range");
        assert!(batch.version <= elsewhere, "{} is in the future", batch.version);
        // A busy machine may be late.
        assert!(begun.elapsed() < PROGRESS_INTERVAL + Duration::from_secs(8), "no progress in time");
        if batch.version == elsewhere {
            break;
        }
    }
    let version = put(store, "p", "v").await?;
    loop {
        let batch = watcher.next().await?;
        if !batch.events.is_empty() {
            assert_eq!((batch.version, batch.events.len()), (version, 1));
            return Ok(());
        }
        assert!(batch.version < version, "progress beyond what was told");
    }
}

/// From below the compaction floor a watch fails with the floor, and from the floor on it tells everything.
pub async fn a_watch_from_below_the_floor_fails_with_the_floor(store: &dyn Store) -> Check {
    let first = put(store, "k", "0").await?;
    for n in 1..10 {
        put(store, "k", n.to_string()).await?;
    }
    let floor = later(first, 5);
    compact(store, floor).await?;
    for index in [first.index, floor.index - 1] {
        let watch = Watch { from: Some(Version::new(first.term, index)), ..all() };
        let error = refused_watch(store, watch, ErrorKind::Compacted).await?;
        assert_eq!(error.version(FieldName::CompactVersion), Some(floor));
    }
    let mut watcher = Watcher::from(store, floor).await?;
    for n in 5..10 {
        let event = watcher.event().await?;
        assert_eq!((event.entry.version, event.entry.value), (later(first, n), n.to_string().into()));
    }
    Ok(())
}

/// A watch that is read outlives the compaction of what it did not want: nothing that it wants is missing.
pub async fn a_watch_outlives_the_compaction_of_what_it_did_not_want(store: &dyn Store) -> Check {
    let wanted = async |mut watcher: Watcher| {
        let mut versions = Vec::new();
        for _ in 0..3 {
            versions.push(watcher.event().await?.entry.version);
        }
        Check::Ok(versions)
    };
    let watcher = Watcher::begin(store, Watch::new(KeyRange::prefix("wanted"))).await?;
    let write = async {
        let mut versions = Vec::new();
        for round in 0..3 {
            for n in 0..100 {
                put(store, format!("other {n}"), "v").await?;
            }
            versions.push(put(store, format!("wanted {round}"), "v").await?);
            // What is wanted and was not told yet is kept.
            let floor = Version::new(versions[round].term, versions[round].index - 1);
            compact(store, floor).await?;
        }
        Check::Ok(versions)
    };
    // With the one that was begun before, one from history.
    let from = Some(later(newest(store).await?, 1));
    let replay = Watcher::begin(store, Watch { from, ..Watch::new(KeyRange::prefix("wanted")) }).await?;
    let (told, replayed, written) = tokio::join!(wanted(watcher), wanted(replay), write);
    let written = written?;
    assert_eq!((told?, replayed?), (written.clone(), written));
    Ok(())
}

/// A watch whose reader does not read gets everything all the same, from history, and holds back nobody.
pub async fn a_slow_reader_gets_everything_and_holds_back_nobody(store: &dyn Store) -> Check {
    const WRITES: u64 = 2_500;
    let start = newest(store).await?;
    let mut slow = Watcher::begin(store, Watch { prev_entry: true, ..all() }).await?;
    let mut fast = Watcher::begin(store, all()).await?;
    // More batches and more bytes than are kept for one that does not read.
    let value = |n: u64| Bytes::from(format!("{n:08}").repeat(600));
    let write = async {
        for from in (0..WRITES).step_by(50) {
            for written in
                join_all((from..from + 50).map(|n| put(store, format!("key {}", n % 100), value(n)))).await
            {
                written?;
            }
        }
        Check::Ok(())
    };
    let read = async {
        for n in 1..=WRITES {
            assert_eq!(fast.event().await?.entry.version, later(start, n));
        }
        Check::Ok(())
    };
    let (write, read) = tokio::join!(write, read);
    write?;
    read?;
    for n in 1..=WRITES {
        let event = slow.event().await?;
        assert_eq!(event.entry.version, later(start, n));
        assert_eq!(event.entry.generation, (n - 1) / 100 + 1);
        assert_eq!(event.prev_entry.is_some(), n > 100, "{n}");
        assert_eq!(event.entry.value.len(), 4_800);
    }
    // And then what happens, as it happens.
    let version = put(store, "last", "v").await?;
    assert_eq!(slow.event().await?.entry.version, version);
    Ok(())
}

/// Watches are independent: each has its own range and place, and the end of one is not that of another.
pub async fn watches_are_independent(store: &dyn Store) -> Check {
    let first = put(store, "a", "1").await?;
    let mut a = Watcher::begin(store, Watch::new(KeyRange::prefix("a"))).await?;
    let mut b = Watcher::begin(store, Watch::new(KeyRange::prefix("b"))).await?;
    let mut both = Watcher::from(store, first).await?;
    let two = put(store, "b", "1").await?;
    let three = put(store, "a", "2").await?;
    assert_eq!(b.event().await?.entry.version, two);
    drop(b);
    put(store, "b", "2").await?;
    let last = put(store, "a", "3").await?;
    assert_eq!(a.event().await?.entry.version, three);
    assert_eq!(a.event().await?.entry.version, last);
    for n in 0..5 {
        assert_eq!(both.event().await?.entry.version, later(first, n));
    }
    Ok(())
}

/// A watch that is dropped leaves nothing behind: any number can be begun one after the other.
pub async fn a_dropped_watch_leaves_nothing_behind(store: &dyn Store) -> Check {
    let first = put(store, "k", "v").await?;
    for n in 0..600 {
        let watch = Watch { from: (n % 2 == 0).then_some(first), ..all() };
        let mut watcher = Watcher::begin(store, watch).await?;
        if n % 20 == 0 {
            // Also one that was read, and one that has something unread.
            put(store, "k", "v").await?;
            watcher.next().await?;
            put(store, "k", "v").await?;
        }
    }
    let version = newest(store).await?;
    let mut watcher = Watcher::begin(store, all()).await?;
    assert_eq!(watcher.start, version);
    let version = put(store, "k", "w").await?;
    assert_eq!(watcher.event().await?.entry.version, version);
    Ok(())
}

/// The watches of a store that closes end and say so.
pub async fn a_watch_ends_when_the_store_closes(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let store = &*fixture.store;
    let mut waiting = Watcher::begin(store, all()).await?;
    let mut unread = Watcher::begin(store, all()).await?;
    put(store, "k", "v").await?;
    waiting.next().await?;
    let (ended, closed) = tokio::join!(waiting.next(), fixture.owner.close());
    closed?;
    refused(ended, ErrorKind::Closed)?;
    // What was not read before may still be read.
    let ended = match unread.next().await {
        Ok(batch) => {
            assert_eq!(batch.events.len(), 1);
            unread.next().await
        }
        ended => ended,
    };
    refused(ended, ErrorKind::Closed)?;
    refused_watch(store, all(), ErrorKind::Closed).await?;
    Ok(())
}

/// What is told of a revision is what a read at it answers.
pub async fn what_is_told_is_what_is_read(store: &dyn Store) -> Check {
    let start = newest(store).await?;
    let mut watcher = Watcher::begin(store, Watch { prev_entry: true, ..all() }).await?;
    let mut random = fastrand::Rng::new();
    for _ in 0..60 {
        let key = |random: &mut fastrand::Rng| format!("k{}", random.u8(..6));
        match random.u8(..4) {
            0 => drop(delete(store, key(&mut random)).await?),
            1 => {
                let range = KeyRange::prefix(key(&mut random));
                let then = vec![to_put("fixed", "v"), to_delete_range(range)];
                txn(store, Txn { then, ..Txn::default() }).await?;
            }
            _ => drop(put(store, key(&mut random), random.u8(..).to_string()).await?),
        }
    }
    let newest = newest(store).await?;
    let mut known = std::collections::BTreeMap::new();
    for index in start.index + 1..=newest.index {
        let batch = watcher.next().await?;
        assert_eq!(batch.version.index, index);
        for event in batch.events {
            let key = event.entry.key.clone();
            let before = match event.kind {
                EventKind::Put => known.insert(key, event.entry),
                EventKind::Delete => known.remove(&key),
            };
            assert_eq!(event.prev_entry, before);
        }
        let at =
            norikv_core::Scan { version: Some(batch.version), ..norikv_core::Scan::new(KeyRange::all()) };
        let (entries, _) = ask::scan(store, at).await?;
        assert_eq!(entries, known.values().cloned().collect::<Vec<_>>(), "at revision {index}");
    }
    Ok(())
}

/// Many watches at once are each told everything that they want.
pub async fn many_watches_at_once_are_each_told_everything(store: &dyn Store) -> Check {
    const WATCHES: usize = 100;
    const WRITES: u64 = 50;
    let start = newest(store).await?;
    let watches = join_all((0..WATCHES).map(async |n| {
        // Half of them want everything, the others a key each.
        let range =
            if n % 2 == 0 { KeyRange::all() } else { KeyRange::single(&format!("k{}", n % 10).into()) };
        Watcher::begin(store, Watch::new(range)).await
    }));
    let mut watches = watches.await.into_iter().collect::<Result<Vec<_>, _>>()?;
    for n in 0..WRITES {
        put(store, format!("k{}", n % 10), n.to_string()).await?;
    }
    let read = watches.iter_mut().enumerate().map(async |(n, watcher)| {
        assert_eq!(watcher.start, start);
        for write in 0..WRITES {
            if n % 2 == 0 || n as u64 % 10 == write % 10 {
                let event = watcher.event().await?;
                assert_eq!(
                    (event.entry.version, event.entry.value),
                    (later(start, write + 1), write.to_string().into())
                );
            }
        }
        Check::Ok(())
    });
    join_all(read).await.into_iter().collect::<Check<Vec<()>>>()?;
    Ok(())
}

/// What happened before the store was opened again is told as it was, with reasons and entries before, and what
/// happens then comes after it.
pub async fn what_happened_before_the_store_was_opened_again_is_told(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let store = &*fixture.store;
    let start = newest(store).await?;
    let id = ask::grant(store, 600_000).await?;
    put(store, "k", "1").await?;
    write(store, ask::with_lease("leased", "v", id)).await?;
    write(store, Put { ttl: Some(Ttl::from_millis(20)?), ..Put::new("expires", "v") }).await?;
    let from = later(start, 1);
    let watch = || Watch { prev_entry: true, from: Some(from), ..all() };
    let mut before = Watcher::begin(store, watch()).await?;
    let mut told = Vec::new();
    // With the expiry.
    for _ in 0..4 {
        told.push(before.next().await?);
    }
    ask::revoke(store, id).await?;
    let then = vec![to_put("z", "1"), to_delete("k"), to_put("a", "1")];
    txn(store, Txn { then, ..Txn::default() }).await?;
    for _ in 0..2 {
        told.push(before.next().await?);
    }
    drop(before);
    let reasons: Vec<_> = told.iter().map(|batch| batch.events[0].reason).collect();
    assert_eq!(reasons[3..5], [EventReason::Expired, EventReason::Lease]);
    let fixture = world.reopen(fixture).await?;
    let mut after = Watcher::begin(&*fixture.store, watch()).await?;
    for batch in told {
        assert_eq!(after.next().await?, batch);
    }
    let version = put(&*fixture.store, "z", "2").await?;
    assert_eq!(after.event().await?.entry.version, version);
    drop(after);
    Ok(fixture.owner.close().await?)
}
