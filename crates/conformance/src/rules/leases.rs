//! Leases.

use std::time::Duration;

use bytes::Bytes;
use norikv_core::{
    CompareOp, CompareTarget, Entry, Error, ErrorKind, EventKind, EventReason, Field, FieldName, KeyRange,
    LeaseGrant, LeaseId, LeaseTimeToLive, MAX_KEEP_ALIVES, Put, Scan, Store, Ttl, Txn, TxnOp, TxnOpResult,
    Version, Watch,
};
use tokio::time::{Instant, sleep};

use crate::{
    Check, Setup, Watcher, World,
    ask::{
        self, call, delete, get, get_many, grant, keep_alive, keys, later, leases, newest, put, revoke,
        time_to_live, to_delete, to_get, to_put, txn, when, with_lease, within, write,
    },
    refused,
};

/// Longer than any rule goes on.
const LONG: u64 = 600_000;
/// How long after its end a lease may take its revision, and what a busy machine may be late by.
const LATEST: Duration = Duration::from_millis(500 + 2_000);
/// What reading a clock twice, in whole milliseconds, may be off by.
const TICK: Duration = Duration::from_millis(2);

fn lease_of(error: &Error) -> Option<&Field> {
    error.field(FieldName::Lease)
}

async fn entry(store: &dyn Store, key: &'static str) -> Check<Entry> {
    Ok(get(store, key).await?.ok_or("the key is not there")?)
}

/// The lease that nobody has been granted.
async fn unknown(store: &dyn Store) -> Check<LeaseId> {
    let mut id = u64::from(u32::MAX);
    let taken = leases(store).await?;
    while taken.iter().any(|lease| lease.get() == id) {
        id += 1;
    }
    Ok(LeaseId::new(id).ok_or("0 is no lease")?)
}

/// A grant answers a lease of its own and the time it was granted for; the list has them in the order of their ids.
pub async fn a_grant_answers_a_lease_of_its_own(store: &dyn Store) -> Check {
    assert_eq!(leases(store).await?, []);
    let before = newest(store).await?;
    let mut granted = Vec::new();
    for n in 0..5 {
        let ttl = Ttl::from_millis(LONG + n * 1_000)?;
        let lease = within(call(), store.lease_grant(LeaseGrant::new(ttl), call())).await?;
        assert_eq!(lease.ttl, ttl.as_duration());
        granted.push(lease.id);
    }
    granted.sort_unstable();
    let mut distinct = granted.clone();
    distinct.dedup();
    assert_eq!(distinct.len(), 5, "{granted:?}");
    assert_eq!(leases(store).await?, granted);
    revoke(store, granted[2]).await?;
    granted.remove(2);
    assert_eq!(leases(store).await?, granted);
    // Neither takes a revision.
    assert_eq!(newest(store).await?, before);
    Ok(())
}

/// An entry tells its lease, to every reader.
pub async fn an_entry_tells_its_lease(store: &dyn Store) -> Check {
    let id = grant(store, LONG).await?;
    write(store, with_lease("k", "v", id)).await?;
    put(store, "other", "v").await?;
    let entry = entry(store, "k").await?;
    assert_eq!((entry.lease, entry.expires_at), (Some(id), None));
    assert_eq!(get_many(store, vec!["k".into()]).await?, [Some(entry.clone())]);
    let (all, _) = ask::scan(store, Scan::new(KeyRange::all())).await?;
    assert_eq!((&all[0], all[1].lease), (&entry, None));
    let inside = txn(store, Txn { then: vec![to_get("k")], ..Txn::default() }).await?;
    assert_eq!(inside.results, [TxnOpResult::Get(Some(entry.clone()))]);
    if let Some(now) = store.get_now(b"k", Default::default()) {
        assert_eq!(now?, Some(entry.clone()));
    }
    // A put over it tells it as what was there before.
    let over = Put { prev_entry: true, ..Put::new("k", "w") };
    assert_eq!(within(call(), store.put(over, call())).await?.prev_entry, Some(entry));
    Ok(())
}

/// Keys put with a lease go together, in one revision, when it is revoked.
pub async fn the_keys_of_a_revoked_lease_go_in_one_revision(store: &dyn Store) -> Check {
    let (id, other) = (grant(store, LONG).await?, grant(store, LONG).await?);
    put(store, "stays", "v").await?;
    write(store, with_lease("other", "v", other)).await?;
    for key in ["c", "a", "b"] {
        write(store, with_lease(key, key, id)).await?;
    }
    let before = newest(store).await?;
    let watch = Watch { prev_entry: true, ..Watch::new(KeyRange::all()) };
    let mut watcher = Watcher::begin(store, watch).await?;
    let version = revoke(store, id).await?;
    assert_eq!(version, later(before, 1));
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["other", "stays"]);
    for key in ["a", "b", "c"] {
        assert_eq!(get(store, key).await?, None);
    }
    // The history has all of them or none.
    let at = |version| Scan { version: Some(version), ..Scan::new(KeyRange::all()) };
    assert_eq!(keys(store, at(before)).await?.len(), 5);
    assert_eq!(keys(store, at(version)).await?.len(), 2);
    went_together(&mut watcher, version, &["a", "b", "c"], id).await?;
    assert_eq!(leases(store).await?, [other]);
    assert_eq!(put(store, "a", "again").await?, later(before, 2));
    assert_eq!(entry(store, "a").await?.lease, None);
    Ok(())
}

/// Sees that the next batch of a watch is the end of a lease.
async fn went_together(watcher: &mut Watcher, version: Version, expected: &[&str], id: LeaseId) -> Check {
    let batch = watcher.next().await?;
    assert_eq!(batch.version, version);
    let mut went: Vec<&[u8]> = batch.events.iter().map(|event| &event.entry.key[..]).collect();
    went.sort_unstable();
    assert_eq!(went, expected.iter().map(|key| key.as_bytes()).collect::<Vec<_>>());
    for event in &batch.events {
        assert_eq!((event.kind, event.reason), (EventKind::Delete, EventReason::Lease));
        assert_eq!(event.entry.version, version);
        assert_eq!(event.prev_entry.as_ref().and_then(|entry| entry.lease), Some(id));
    }
    Ok(())
}

/// The end of a lease without keys takes no revision.
pub async fn the_end_of_a_lease_without_keys_takes_no_revision(store: &dyn Store) -> Check {
    let before = put(store, "k", "v").await?;
    let id = grant(store, LONG).await?;
    assert_eq!(revoke(store, id).await?, before);
    // Also of one whose keys are gone already.
    let id = grant(store, LONG).await?;
    write(store, with_lease("gone", "v", id)).await?;
    let last = delete(store, "gone").await?.version;
    assert_eq!(revoke(store, id).await?, last);
    // And of one that runs out.
    grant(store, 50).await?;
    let late = Instant::now() + Duration::from_secs(10);
    while !leases(store).await?.is_empty() {
        assert!(Instant::now() < late, "it does not run out");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(put(store, "k", "w").await?, later(last, 1));
    Ok(())
}

/// Keys put with a lease go together, in one revision, when it runs out: not before its time, and no later than 500 ms
/// after.
pub async fn the_keys_of_a_lease_that_runs_out_go_in_one_revision(store: &dyn Store) -> Check {
    let ttl = Duration::from_millis(400);
    let asked = Instant::now();
    let id = grant(store, 400).await?;
    let latest = Instant::now() + ttl + LATEST;
    put(store, "stays", "v").await?;
    let watch = Watch { prev_entry: true, ..Watch::new(KeyRange::all()) };
    let request = Txn {
        then: ["a", "b", "c"].into_iter().map(|key| TxnOp::Put(with_lease(key, "v", id))).collect(),
        ..Txn::default()
    };
    let before = txn(store, request).await?.version;
    let mut watcher = Watcher::begin(store, watch).await?;
    loop {
        let (entries, version) = ask::scan(store, Scan::new(KeyRange::all())).await?;
        let answered = Instant::now();
        match (entries.len(), version) {
            (4, version) if version == before => {
                assert!(answered < latest, "still there {:?} after its end", answered - (asked + ttl));
            }
            (1, version) if version == later(before, 1) => {
                assert!(answered + TICK >= asked + ttl, "gone {:?} too early", asked + ttl - answered);
                break;
            }
            _ => unreachable!("{entries:?} at {version}, after {before}"),
        }
        sleep(Duration::from_millis(2)).await;
    }
    went_together(&mut watcher, later(before, 1), &["a", "b", "c"], id).await?;
    refused(time_to_live(store, id).await, ErrorKind::LeaseNotFound)?;
    assert_eq!(keep_alive(store, vec![id]).await?, [None]);
    assert_eq!(leases(store).await?, []);
    Ok(())
}

/// A put without the lease detaches the key.
pub async fn a_put_without_the_lease_detaches_the_key(store: &dyn Store) -> Check {
    let id = grant(store, LONG).await?;
    for key in ["a", "b", "c", "d"] {
        write(store, with_lease(key, "v", id)).await?;
    }
    put(store, "a", "w").await?;
    txn(store, Txn { then: vec![to_put("b", "w")], ..Txn::default() }).await?;
    let ttl = Some(Ttl::from_millis(LONG)?);
    write(store, Put { ttl, ..Put::new("c", "w") }).await?;
    assert_eq!(entry(store, "a").await?.lease, None);
    assert_eq!(time_to_live(store, id).await?.keys, ["d"]);
    revoke(store, id).await?;
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["a", "b", "c"]);
    Ok(())
}

/// A put with another lease moves the key to it.
pub async fn a_put_with_another_lease_moves_the_key(store: &dyn Store) -> Check {
    let (one, two) = (grant(store, LONG).await?, grant(store, LONG).await?);
    for key in ["a", "b"] {
        write(store, with_lease(key, "1", one)).await?;
    }
    write(store, with_lease("b", "2", two)).await?;
    assert_eq!(time_to_live(store, one).await?.keys, ["a"]);
    assert_eq!(time_to_live(store, two).await?.keys, ["b"]);
    revoke(store, one).await?;
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["b"]);
    assert_eq!(entry(store, "b").await?.lease, Some(two));
    revoke(store, two).await?;
    assert!(keys(store, Scan::new(KeyRange::all())).await?.is_empty());
    Ok(())
}

/// What is deleted belongs to its lease no more, also when it is put again without it.
pub async fn what_is_deleted_belongs_to_its_lease_no_more(store: &dyn Store) -> Check {
    let id = grant(store, LONG).await?;
    for key in ["a", "b", "c:1", "d"] {
        write(store, with_lease(key, "v", id)).await?;
    }
    delete(store, "a").await?;
    txn(store, Txn { then: vec![to_delete("b")], ..Txn::default() }).await?;
    let range = KeyRange::prefix("c:");
    within(call(), store.delete_range(norikv_core::DeleteRange { range }, call())).await?;
    for key in ["a", "b", "c:1"] {
        put(store, key, "again").await?;
    }
    assert_eq!(time_to_live(store, id).await?.keys, ["d"]);
    revoke(store, id).await?;
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["a", "b", "c:1"]);
    Ok(())
}

/// `ttlMs` with `lease` is refused.
pub async fn a_ttl_with_a_lease_is_refused(store: &dyn Store) -> Check {
    let id = grant(store, LONG).await?;
    let before = newest(store).await?;
    let both = Put { ttl: Some(Ttl::from_millis(LONG)?), ..with_lease("k", "v", id) };
    refused(write(store, both).await, ErrorKind::InvalidArgument)?;
    assert_eq!((get(store, "k").await?, newest(store).await?), (None, before));
    Ok(())
}

/// Of a lease that is not there, every call says so, and nothing is changed.
pub async fn a_lease_that_is_not_there_is_not_found(store: &dyn Store) -> Check {
    let revoked = grant(store, LONG).await?;
    let before = put(store, "k", "v").await?;
    revoke(store, revoked).await?;
    for id in [revoked, unknown(store).await?] {
        let number = Field::Number(id.get());
        let error = refused(write(store, with_lease("k", "w", id)).await, ErrorKind::LeaseNotFound)?;
        assert_eq!(lease_of(&error), Some(&number));
        let error = refused(revoke(store, id).await, ErrorKind::LeaseNotFound)?;
        assert_eq!(lease_of(&error), Some(&number));
        let error = refused(time_to_live(store, id).await, ErrorKind::LeaseNotFound)?;
        assert_eq!(lease_of(&error), Some(&number));
        let request =
            Txn { then: vec![to_put("first", "v"), TxnOp::Put(with_lease("k", "w", id))], ..Txn::default() };
        let error = refused(txn(store, request).await, ErrorKind::LeaseNotFound)?;
        assert_eq!(lease_of(&error), Some(&number));
        assert_eq!(keep_alive(store, vec![id]).await?, [None]);
    }
    assert_eq!(newest(store).await?, before);
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["k"]);
    assert_eq!(entry(store, "k").await?.value, "v");
    Ok(())
}

/// A keep-alive answers for each lease, in their order, how long it has now.
pub async fn a_keep_alive_answers_for_each_lease_in_their_order(store: &dyn Store) -> Check {
    let (one, two) = (grant(store, LONG).await?, grant(store, LONG + 1_000).await?);
    let gone = grant(store, LONG).await?;
    revoke(store, gone).await?;
    let millis = |millis| Some(Duration::from_millis(millis));
    let answered = keep_alive(store, vec![two, gone, one, two]).await?;
    assert_eq!(answered, [millis(LONG + 1_000), None, millis(LONG), millis(LONG + 1_000)]);
    assert_eq!(keep_alive(store, vec![]).await?, []);
    let many = vec![one; MAX_KEEP_ALIVES];
    assert_eq!(keep_alive(store, many).await?, vec![millis(LONG); MAX_KEEP_ALIVES]);
    let too_many = vec![one; MAX_KEEP_ALIVES + 1];
    refused(keep_alive(store, too_many).await, ErrorKind::InvalidArgument)?;
    Ok(())
}

/// A lease that is kept alive lives, well beyond its time; when that ends, it goes.
pub async fn a_lease_that_is_kept_alive_lives(store: &dyn Store) -> Check {
    const TTL: Duration = Duration::from_millis(1_000);
    // A machine that does not come to it in time proves nothing; then it is begun again.
    'again: for _ in 0..10 {
        let begun = Instant::now();
        let id = grant(store, 1_000).await?;
        let mut alive = begun;
        match write(store, with_lease("k", "v", id)).await {
            Err(_) if begun.elapsed() >= TTL - TICK => continue 'again,
            written => written?,
        };
        while begun.elapsed() < 2 * TTL + TTL / 2 {
            sleep(TTL / 8).await;
            let asked = Instant::now();
            let answered = keep_alive(store, vec![id]).await?;
            // The store may have had the one before as early as it was asked.
            let in_time = alive.elapsed() < TTL - TICK;
            match answered[..] {
                [Some(left)] => assert_eq!(left, TTL),
                _ if in_time => return Err("it ran out though it was kept alive".into()),
                _ => continue 'again,
            }
            alive = asked;
        }
        let there = get(store, "k").await?.is_some();
        assert!(there || alive.elapsed() >= TTL - TICK, "its key is gone though it was kept alive");
        let latest = Instant::now() + TTL + LATEST;
        while get(store, "k").await?.is_some() {
            assert!(Instant::now() < latest, "it does not run out");
            sleep(Duration::from_millis(5)).await;
        }
        assert!(alive.elapsed() >= TTL - TICK, "gone after {:?}", alive.elapsed());
        return Ok(());
    }
    Err("this machine is too slow to keep a lease of a second alive".into())
}

/// `timeToLive` tells how long a lease was granted for and how long it has left, and its keys in their order if they
/// are asked for.
pub async fn the_time_to_live_tells_what_is_left_and_the_keys(store: &dyn Store) -> Check {
    let begun = Instant::now();
    let id = grant(store, LONG).await?;
    for key in ["b", "a", "c", "a\0"] {
        write(store, with_lease(key, "v", id)).await?;
    }
    sleep(Duration::from_millis(50)).await;
    let status = time_to_live(store, id).await?;
    let granted = Duration::from_millis(LONG);
    assert_eq!((status.id, status.granted), (id, granted));
    assert!(status.remaining <= granted - Duration::from_millis(50) + TICK, "{status:?}");
    assert!(status.remaining + begun.elapsed() + TICK >= granted, "{status:?}");
    let expected: [Bytes; 4] = ["a".into(), "a\0".into(), "b".into(), "c".into()];
    assert_eq!(status.keys, expected);
    // A keep-alive gives it its whole time again.
    let kept = Instant::now();
    keep_alive(store, vec![id]).await?;
    let request = LeaseTimeToLive { id, keys: false };
    let status = within(call(), store.lease_time_to_live(request, call())).await?;
    assert!(status.remaining + kept.elapsed() + TICK >= granted, "{status:?}");
    assert_eq!(status.keys, Vec::<Bytes>::new());
    Ok(())
}

/// A transaction compares a key's lease, and puts with one.
pub async fn a_transaction_compares_and_attaches_leases(store: &dyn Store) -> Check {
    let (one, two) = (grant(store, LONG).await?, grant(store, LONG).await?);
    let attach = |id| Txn {
        compares: vec![when("k", CompareOp::Equal, CompareTarget::Lease(0))],
        then: vec![TxnOp::Put(with_lease("k", "v", id)), to_get("k")],
        otherwise: vec![to_get("k")],
    };
    let done = txn(store, attach(one)).await?;
    assert!(done.succeeded);
    assert_eq!(done.results[1], TxnOpResult::Get(get(store, "k").await?));
    assert_eq!(time_to_live(store, one).await?.keys, ["k"]);
    assert!(!txn(store, attach(two)).await?.succeeded);
    for (op, asked, holds) in [
        (CompareOp::Equal, one.get(), true),
        (CompareOp::Equal, two.get(), false),
        (CompareOp::NotEqual, 0, true),
        (CompareOp::NotEqual, one.get(), false),
        (CompareOp::Greater, one.get() - 1, true),
        (CompareOp::GreaterOrEqual, one.get(), true),
        (CompareOp::Less, one.get(), false),
        (CompareOp::LessOrEqual, one.get(), true),
    ] {
        let compares = vec![when("k", op, CompareTarget::Lease(asked))];
        let done = txn(store, Txn { compares, ..Txn::default() }).await?;
        assert_eq!(done.succeeded, holds, "{one} {op:?} {asked}");
    }
    revoke(store, one).await?;
    assert_eq!(get(store, "k").await?, None);
    assert!(txn(store, attach(two)).await?.succeeded);
    Ok(())
}

/// A lease with thousands of keys ends in one revision like any other.
pub async fn a_lease_with_thousands_of_keys_ends_in_one_revision(store: &dyn Store) -> Check {
    const KEYS: usize = 3_000;
    let id = grant(store, LONG).await?;
    let writes = (0..KEYS).map(|n| write(store, with_lease(format!("key {n:05}"), "v", id)));
    for written in futures_util::future::join_all(writes).await {
        written?;
    }
    let before = newest(store).await?;
    let mut watcher = Watcher::begin(store, Watch::new(KeyRange::all())).await?;
    assert_eq!(time_to_live(store, id).await?.keys.len(), KEYS);
    let version = revoke(store, id).await?;
    assert_eq!(version, later(before, 1));
    assert_eq!(ask::count(store, KeyRange::all(), None).await?, 0);
    let batch = watcher.next().await?;
    assert_eq!((batch.version, batch.events.len()), (version, KEYS));
    assert_eq!(newest(store).await?, version);
    Ok(())
}

/// After a restart every live lease has its whole time again before it may run out, and its keys.
pub async fn a_lease_has_its_whole_time_again_after_the_store_was_opened_again(world: &dyn World) -> Check {
    const TTL: Duration = Duration::from_millis(1_500);
    let fixture = world.open(Setup::default()).await?;
    let (id, long) = (grant(&*fixture.store, 1_500).await?, grant(&*fixture.store, LONG).await?);
    let revoked = grant(&*fixture.store, LONG).await?;
    for (key, id) in [("a", id), ("b", id), ("long", long), ("moved", id), ("revoked", revoked)] {
        write(&*fixture.store, with_lease(key, "v", id)).await?;
    }
    write(&*fixture.store, with_lease("moved", "v", long)).await?;
    revoke(&*fixture.store, revoked).await?;
    let before = newest(&*fixture.store).await?;
    sleep(TTL / 2).await;
    let reopened = Instant::now();
    let fixture = world.reopen(fixture).await?;
    let store = &*fixture.store;
    // A machine that slept through its time proves nothing about what it had left.
    if let Ok(status) = time_to_live(store, id).await {
        assert_eq!((status.granted, status.keys), (TTL, vec!["a".into(), "b".into()]));
        assert!(status.remaining + reopened.elapsed() + TICK >= TTL, "{:?}", status.remaining);
    } else {
        assert!(reopened.elapsed() >= TTL - TICK, "it is gone");
    }
    let status = time_to_live(store, long).await?;
    assert_eq!(
        (status.granted, status.keys),
        (Duration::from_millis(LONG), vec!["long".into(), "moved".into()])
    );
    assert_eq!(entry(store, "long").await?.lease, Some(long));
    refused(time_to_live(store, revoked).await, ErrorKind::LeaseNotFound)?;
    // It runs out at its time, with its keys in one revision.
    let latest = Instant::now() + TTL + LATEST;
    while newest(store).await? == before {
        assert!(Instant::now() < latest, "it does not run out");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(
        reopened.elapsed() + TICK >= TTL,
        "it ran out {:?} after the store was opened",
        reopened.elapsed()
    );
    assert_eq!(newest(store).await?, later(before, 1));
    assert_eq!(keys(store, Scan::new(KeyRange::all())).await?, ["long", "moved"]);
    assert_eq!(leases(store).await?, [long]);
    // The id of one that is there is not given away again, and it can be ended as ever.
    assert_ne!(grant(store, LONG).await?, long);
    assert_eq!(revoke(store, long).await?, later(before, 2));
    assert!(keys(store, Scan::new(KeyRange::all())).await?.is_empty());
    Ok(fixture.owner.close().await?)
}
