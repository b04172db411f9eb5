//! An etcd cluster of three of which members are cut off, paused or full, and what its clients see of that.
//!
//! `NORIKV_LONG` makes it all faults, each several times.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // they are tests

mod etcd_cluster;

use std::time::{Duration, Instant};

use etcd_cluster::{
    Clock, SOON, in_doubt, long, outcome_is_unknown, store, store_at, store_from, three, until,
};
use norikv_conformance::{EtcdCluster, EtcdOptions, Watcher, call, get, grant, put, txn, with_lease, within};
use norikv_core::{
    Consistency, Entry, ErrorKind, FieldName, Get, KeyRange, LeaseTimeToLive, Precondition, Put, Result,
    Store, Ttl, Txn, TxnOp, Version, Watch,
};
use tokio::time::{sleep, timeout};

const TIMEOUT: Duration = Duration::from_secs(5);

type Fault = fn(&EtcdCluster, usize);

/// What can happen to a member.
fn faults() -> Vec<(&'static str, Fault)> {
    let mut faults: Vec<(&str, Fault)> = vec![
        ("killed", EtcdCluster::kill),
        ("paused", EtcdCluster::pause),
        ("cut off from the others", EtcdCluster::isolate),
    ];
    if long() {
        // To clients it is as silent as one that is paused.
        faults.push(("cut off from its clients", EtcdCluster::hide));
    }
    faults
}

async fn read(store: &dyn Store, clock: &Clock, consistency: Consistency) -> Result<Option<Entry>> {
    let request = Get { key: "k".into(), consistency };
    clock.call(TIMEOUT, async |call| store.get(request, call).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_cut_off_answers_old_only_to_who_takes_old() {
    let (cluster, clock) = (three().await, Clock::start());
    let leader = cluster.some_leader().await.unwrap();
    // Also the one that led, and still believes so for a while.
    for member in [leader, (leader + 1) % 3] {
        let (minority, all) = (store_from(&cluster, member), store(&cluster));
        put(&*all, "k", "old").await.unwrap();
        until("the write is everywhere", async || {
            let found = read(&*minority, &clock, Consistency::StaleOk).await.unwrap();
            found.is_some_and(|found| found.value == "old")
        })
        .await;
        cluster.isolate(member);
        cluster.some_leader().await.unwrap();
        let written = clock.call(TIMEOUT, async |call| {
            all.put(
                Put {
                    precondition: Precondition::None,
                    idempotency_key: Some(format!("new {member}")),
                    ..Put::new("k", "new")
                },
                call,
            )
            .await
        });
        written.await.unwrap();

        let stale = read(&*minority, &clock, Consistency::StaleOk).await.unwrap().unwrap();
        assert_eq!(stale.value, "old");
        let fresh =
            [Consistency::Lease, Consistency::Linearizable].map(|fresh| read(&*minority, &clock, fresh));
        for answer in futures_util::future::join_all(fresh).await {
            let error = answer.unwrap_err();
            assert!(error.retryable() || error.kind() == ErrorKind::DeadlineExceeded, "{error:?}");
        }
        // Who knows the others asks them.
        for _ in 0..3 {
            let found = read(&*all, &clock, Consistency::Linearizable).await.unwrap().unwrap();
            assert_eq!(found.value, "new");
        }
        cluster.heal();
        cluster.healthy().await.unwrap();
    }
    println!("past its time by {:?} at most", clock.over());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_safe_outlives_every_fault_of_a_member_and_what_is_not_says_that_it_does_not_know() {
    let (cluster, clock) = (three().await, Clock::start());
    for (name, fault) in faults() {
        for n in 0..if long() { 4 } else { 1 } {
            let store = store(&cluster);
            put(&*store, "k", "0").await.unwrap();
            let member = cluster.some_leader().await.unwrap();
            fault(&cluster, member);
            let begun = Instant::now();
            let plain = format!("plain {name} {n}");
            let made =
                clock.call(TIMEOUT, async |call| store.put(Put::new(plain.clone(), "1"), call).await).await;
            let id = format!("safe {name} {n}");
            let safe = Put { idempotency_key: Some(id.clone()), ..Put::new(id.clone(), "1") };
            let safe = clock.call(TIMEOUT, async |call| store.put(safe, call).await).await.unwrap();
            let found = clock.call(TIMEOUT, async |call| {
                store.get(Get { key: id.clone().into(), consistency: Consistency::Linearizable }, call).await
            });
            let found = found.await.unwrap().unwrap();
            assert_eq!((found.version, found.generation), (safe.version, 1), "{name}");
            println!(
                "{name}: {:?}, plain: {:?}",
                begun.elapsed(),
                made.as_ref().map(|_| ()).map_err(norikv_core::Error::kind)
            );
            cluster.resume(member);
            cluster.heal();
            if name == "killed" {
                cluster.restart(member).unwrap();
            }
            cluster.healthy().await.unwrap();
            let there = get(&*store, plain.clone()).await.unwrap();
            match made {
                Ok(_) => assert!(there.is_some()),
                Err(error) => assert!(in_doubt(&error), "{error:?}"),
            }
            assert!(there.is_none_or(|there| there.generation == 1), "made twice");
            store.close().await.unwrap();
        }
    }
}

/// The next change that a watch tells.
async fn change(watcher: &mut Watcher) -> (Version, Vec<String>) {
    loop {
        let batch = timeout(SOON, watcher.next()).await.expect("a watch that stands still").unwrap();
        if !batch.events.is_empty() {
            let keys = batch.events.iter().map(|event| String::from_utf8(event.entry.key.to_vec()).unwrap());
            return (batch.version, keys.collect());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_without_a_gap_or_a_repeat_whatever_happens_to_its_member() {
    let cluster = three().await;
    for (name, fault) in faults() {
        let watching: Vec<_> = (0..6).map(|_| store(&cluster)).collect();
        let mut watchers = Vec::new();
        for store in &watching {
            watchers.push(Watcher::begin(&**store, Watch::new(KeyRange::prefix("w/"))).await.unwrap());
        }
        let writer = store(&cluster);
        let mut written = vec![(put(&*writer, "w/0", name).await.unwrap(), "w/0".to_owned())];
        let member = fastrand::usize(..3);
        fault(&cluster, member);
        cluster.some_leader().await.unwrap();
        let begun = Instant::now();
        for n in 1..40 {
            let key = format!("w/{n}");
            let request = Put { idempotency_key: Some(format!("{name} {n}")), ..Put::new(key.clone(), name) };
            let done = within(call(), writer.put(request, call())).await.unwrap();
            written.push((done.version, key));
        }
        for watcher in &mut watchers {
            for (version, key) in &written {
                assert_eq!(change(watcher).await, (*version, vec![key.clone()]), "{name}");
            }
        }
        println!("{name}: all was told after {:?}", begun.elapsed());
        cluster.resume(member);
        cluster.heal();
        if name == "killed" {
            cluster.restart(member).unwrap();
        }
        cluster.healthy().await.unwrap();
        for store in watching {
            store.close().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_whose_history_was_compacted_while_its_member_was_away_is_told_the_floor() {
    let cluster = three().await;
    let (member, other) = (0, 1);
    // A writer that knew the one that goes away would not know what became of a write.
    let (watching, writer) = (store_from(&cluster, member), store_from(&cluster, other));
    let mut watcher = Watcher::begin(&*watching, Watch::new(KeyRange::prefix("w/"))).await.unwrap();
    put(&*writer, "w/0", "v").await.unwrap();
    assert_eq!(change(&mut watcher).await.1, ["w/0"]);
    cluster.proxy(member).refuse();
    cluster.proxy(member).cut();
    for n in 1..10 {
        put(&*writer, format!("w/{n}"), "v").await.unwrap();
    }
    let floor = put(&*writer, "w/10", "v").await.unwrap();
    within(call(), writer.compact(floor, call())).await.unwrap();
    cluster.heal();
    let ended = loop {
        match timeout(SOON, watcher.next()).await.unwrap() {
            Ok(batch) => assert!(batch.events.is_empty(), "{batch:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(ended.kind(), ErrorKind::Compacted, "{ended:?}");
    assert_eq!(ended.version(FieldName::CompactVersion), Some(floor), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_kept_alive_over_dead_and_moved_leaders_and_a_lost_one_is_told() {
    let (cluster, clock) = (three().await, Clock::start());
    let store = store(&cluster);
    let (kept, lost) = (grant(&*store, 6_000).await.unwrap(), grant(&*store, 2_000).await.unwrap());
    within(call(), store.put(with_lease("kept", "v", kept), call())).await.unwrap();
    within(call(), store.put(with_lease("lost", "v", lost), call())).await.unwrap();
    let begun = Instant::now();
    let mut faults = 0;
    while begun.elapsed() < Duration::from_secs(10) {
        let asked = vec![kept];
        let alive =
            clock.call(TIMEOUT, async |call| store.lease_keep_alive(asked, call).await).await.unwrap();
        assert!(alive[0].is_some(), "lost after {:?}", begun.elapsed());
        if faults * 4 < begun.elapsed().as_secs() {
            let leader = cluster.some_leader().await.unwrap();
            if faults % 2 == 0 {
                cluster.kill(leader);
                cluster.some_leader().await.unwrap();
                cluster.restart(leader).unwrap();
            } else {
                cluster.move_leader((leader + 1) % 3).await.unwrap();
            }
            faults += 1;
        }
        sleep(Duration::from_millis(500)).await;
    }
    assert!(get(&*store, "kept").await.unwrap().is_some());
    until("the other one ends", async || get(&*store, "lost").await.unwrap().is_none()).await;
    let alive = within(call(), store.lease_keep_alive(vec![lost, kept], call())).await.unwrap();
    assert!(alive[0].is_none() && alive[1].is_some(), "{alive:?}");
    let gone =
        within(call(), store.lease_time_to_live(LeaseTimeToLive { id: lost, keys: true }, call())).await;
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::LeaseNotFound);
}

fn expiring(key: String, millis: u64) -> Put {
    Put { ttl: Some(Ttl::from_millis(millis).unwrap()), ..Put::new(key, "v") }
}

/// The leases that the cluster has.
async fn leases(cluster: &EtcdCluster) -> usize {
    cluster.client(0).await.unwrap().lease_client().leases().await.unwrap().leases().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_expire_in_the_same_second_share_a_lease_and_none_goes_before_its_time() {
    let cluster = EtcdCluster::start(EtcdOptions { members: 1, ..EtcdOptions::default() }).await.unwrap();
    let store = store(&cluster);
    let begun = Instant::now();
    let puts = (0..1_000_u64).map(|n| {
        let store = &store;
        async move {
            let put = expiring(format!("e/{n}"), [4_000, 20_000, 60_000][n as usize % 3]);
            within(call(), store.put(put, call())).await.unwrap();
        }
    });
    futures_util::future::join_all(puts).await;
    let (took, granted) = (begun.elapsed(), leases(&cluster).await);
    println!("1,000 puts with ttl: {took:?}, {granted} leases");
    // Two of a second and a time to live: who comes alone has one of its own.
    assert!(granted <= 3 * 2 * (took.as_secs() as usize + 2), "{granted}");
    // A put without a time detaches, and a delete takes nobody with it.
    put(&*store, "e/0", "stays").await.unwrap();
    within(call(), store.delete(norikv_core::Delete::new("e/3"), call())).await.unwrap();
    assert!(get(&*store, "e/6").await.unwrap().is_some());
    let request = norikv_core::Count {
        range: KeyRange::prefix("e/"),
        version: None,
        consistency: Consistency::default(),
    };
    let count = async || within(call(), store.count(request.clone(), call())).await.unwrap().count;
    while begun.elapsed() < Duration::from_millis(3_900) {
        assert_eq!(count().await, 999);
        sleep(Duration::from_millis(50)).await;
    }
    until("the first third expires", async || count().await == 999 - 332).await;
    assert!(begun.elapsed() < took + Duration::from_secs(4 + 1 + 2), "{:?}", begun.elapsed());
    assert_eq!(get(&*store, "e/0").await.unwrap().unwrap().value, "stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_no_member_can_be_reached_one_error_names_each_and_why() {
    let address = "etcd://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3";
    let begun = Instant::now();
    let error = put(&*store_at(address), "k", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoNodesAvailable, "{error:?}");
    for member in ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "refused"] {
        assert!(error.message().contains(member), "{error:?}");
    }
    assert!(!outcome_is_unknown(&error) && begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_the_limit_of_etcd_is_refused_with_its_size() {
    let cluster = EtcdCluster::start(EtcdOptions { members: 1, ..EtcdOptions::default() }).await.unwrap();
    let store = store(&cluster);
    put(&*store, "largest", vec![b'v'; 1024 * 1024]).await.unwrap();
    // One over etcd's own limit, and one over that of its messages.
    for values in [2, 3] {
        let puts =
            (0..values).map(|n| TxnOp::Put(Put::new(format!("k{n}"), vec![b'v'; 1024 * 1024]))).collect();
        let error = txn(&*store, Txn { then: puts, ..Txn::default() }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
        for size in [(values * (1024 * 1024 + 2)).to_string(), "1572864".to_owned()] {
            assert!(error.message().contains(&size), "{error:?}");
        }
        assert_eq!(get(&*store, "k0").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_at_its_quota_says_what_to_do() {
    let flags = vec!["--quota-backend-bytes=4194304".to_owned()];
    let cluster =
        EtcdCluster::start(EtcdOptions { members: 1, flags, ..EtcdOptions::default() }).await.unwrap();
    let store = store(&cluster);
    let begun = Instant::now();
    let error = loop {
        match put(&*store, "k", vec![b'v'; 512 * 1024]).await {
            Ok(_) => assert!(begun.elapsed() < SOON, "it is never full"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
    for word in ["quota", "compact", "defrag", "alarm disarm"] {
        assert!(error.message().contains(word), "{error:?}");
    }
    assert!(!outcome_is_unknown(&error), "{error:?}");
    assert!(get(&*store, "k").await.unwrap().is_some(), "it is still read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_idle_for_long_loses_no_write() {
    let cluster = EtcdCluster::start(EtcdOptions { members: 1, ..EtcdOptions::default() }).await.unwrap();
    let store = store(&cluster);
    put(&*store, "k", "0").await.unwrap();
    let made = cluster.proxy(0).connections_made();
    let idle = if long() { 60 } else { 25 };
    sleep(Duration::from_secs(idle)).await;
    put(&*store, "k", "1").await.unwrap();
    assert_eq!(
        cluster.proxy(0).connections_made(),
        made,
        "etcd ends connections that ask too often whether it is there"
    );
}
