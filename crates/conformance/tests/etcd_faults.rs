//! An etcd cluster of three whose members are killed over and over while many write and watch. `NORIKV_LONG` makes it two
//! minutes instead of 20 seconds.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // they are tests

mod etcd_cluster;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use etcd_cluster::{Clock, SOON, in_doubt, run_time, store, three};
use norikv_conformance::{EtcdCluster, Watcher, call, get, within};
use norikv_core::{
    Call, Consistency, Entry, ErrorKind, EventKind, Get, KeyRange, Precondition, Put, PutResult, Result,
    StoreRef, Version, Watch,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

const WRITERS: usize = 32;
/// Counters that several writers share.
const SHARED: usize = 4;
const WATCHERS: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the writers did.
#[derive(Default)]
struct Tally {
    increments: AtomicU64,
    conflicts: AtomicU64,
    failures: AtomicU64,
    doubts: AtomicU64,
}

struct Writer {
    store: StoreRef,
    clock: Clock,
    tally: Arc<Tally>,
    key: String,
}

impl Writer {
    async fn read(&self) -> Result<Option<Entry>> {
        let get = Get { key: self.key.clone().into(), consistency: Consistency::Linearizable };
        self.clock.call(TIMEOUT, async |call| self.store.get(get, call).await).await
    }

    async fn put(&self, put: Put) -> Result<PutResult> {
        let made = self.clock.call(TIMEOUT, async |call| self.store.put(put, call).await).await;
        if let Err(error) = &made {
            match error.kind() {
                ErrorKind::VersionMismatch | ErrorKind::AlreadyExists => &self.tally.conflicts,
                _ if in_doubt(error) => &self.tally.doubts,
                _ => &self.tally.failures,
            }
            .fetch_add(1, Ordering::Relaxed);
        }
        made
    }

    /// What comes after an entry, on the condition that there is nothing newer.
    fn next(&self, found: Option<&Entry>) -> (u64, Put) {
        let count = found.map_or(0, |entry| count(&entry.value)) + 1;
        let precondition =
            found.map_or(Precondition::NotExists, |entry| Precondition::Version(entry.version));
        (count, Put { precondition, ..Put::new(self.key.clone(), count.to_string()) })
    }

    /// Counts one up, on a counter that others count on, too. A repeat with the idempotency key tells what became of it.
    async fn increment_shared(&self, id: String) {
        let mut tries = 0;
        'read: loop {
            let Ok(found) = self.read().await else {
                self.tally.failures.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            tries += 1;
            let put = Put { idempotency_key: Some(format!("{id}.{tries}")), ..self.next(found.as_ref()).1 };
            loop {
                match self.put(put.clone()).await {
                    Ok(_) => return,
                    Err(error) => match error.kind() {
                        ErrorKind::VersionMismatch | ErrorKind::AlreadyExists => continue 'read,
                        _ => sleep(Duration::from_millis(5)).await,
                    },
                }
            }
        }
    }

    /// Counts one up, on a counter that nobody else counts on. What is read tells what became of it.
    async fn increment_own(&self, to: u64) {
        loop {
            let Ok(found) = self.read().await else {
                self.tally.failures.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let (next, put) = self.next(found.as_ref());
            if next == to + 1 {
                // A put that was in doubt has happened.
                return;
            }
            assert_eq!(next, to, "{}", self.key);
            if self.put(put).await.is_ok() {
                return;
            }
        }
    }
}

fn count(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Watches until a version, and answers all that it was told.
async fn watch(
    store: StoreRef,
    from: Version,
    until: Arc<AtomicU64>,
    progress: bool,
) -> Vec<(Version, String, u64)> {
    let request = Watch { from: Some(from), progress, ..Watch::new(KeyRange::prefix("counter/")) };
    let mut watcher = Watcher::begin(&*store, request).await.unwrap();
    let mut told = Vec::new();
    let mut reached = Version::ZERO;
    loop {
        let end = until.load(Ordering::Acquire);
        if end != 0 && reached.index >= end {
            return told;
        }
        // What it is to be told last may be known only later.
        let Ok(batch) = timeout(Duration::from_millis(500), watcher.next()).await else { continue };
        let batch = batch.unwrap();
        assert!(batch.version >= reached, "{} after {reached}", batch.version);
        assert!(batch.events.is_empty() || batch.version > reached, "{} twice", batch.version);
        reached = batch.version;
        for event in batch.events {
            assert_eq!(event.kind, EventKind::Put);
            let key = String::from_utf8(event.entry.key.to_vec()).unwrap();
            told.push((batch.version, key, count(&event.entry.value)));
        }
    }
}

/// Kills a member every 5 s, and starts it again a second later.
async fn kill_members(cluster: &EtcdCluster) -> u32 {
    let begun = Instant::now();
    let mut kills = 0;
    while begun.elapsed() < run_time() {
        // The leader as often as it comes.
        let member = fastrand::usize(..cluster.len());
        let killed = Instant::now();
        cluster.kill(member);
        sleep(Duration::from_secs(1)).await;
        cluster.restart(member).unwrap();
        cluster.healthy().await.unwrap();
        kills += 1;
        sleep(Duration::from_secs(5).saturating_sub(killed.elapsed())).await;
    }
    kills
}

/// Three members, of which one is killed every 5 s: nothing is counted twice or lost, and nothing told twice or left out.
#[tokio::test(flavor = "multi_thread")]
async fn counters_are_exact_and_watches_whole_while_members_are_killed() {
    let cluster = three().await;
    let stores: Vec<StoreRef> = (0..4).map(|_| store(&cluster)).collect();
    let from = within(call(), stores[0].status(call())).await.unwrap().version;
    let from = Version::new(from.term, from.index + 1);
    let (clock, tally) = (Clock::start(), Arc::new(Tally::default()));
    let (ended, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));

    let mut watchers = JoinSet::new();
    for n in 0..WATCHERS {
        watchers.spawn(watch(
            StoreRef::clone(&stores[n % stores.len()]),
            from,
            Arc::clone(&last),
            n % 2 == 0,
        ));
    }
    let mut writers = JoinSet::new();
    for n in 0..WRITERS {
        let own = n % 2 == 0;
        let key = if own { format!("counter/own {n}") } else { format!("counter/{}", n / 2 % SHARED) };
        let store = StoreRef::clone(&stores[n % stores.len()]);
        let writer = Writer { store, clock: clock.clone(), tally: Arc::clone(&tally), key };
        let ended = Arc::clone(&ended);
        writers.spawn(async move {
            let mut made = 0;
            while !ended.load(Ordering::Acquire) {
                made += 1;
                if own {
                    writer.increment_own(made).await;
                } else {
                    writer.increment_shared(format!("{n}.{made}")).await;
                }
                writer.tally.increments.fetch_add(1, Ordering::Relaxed);
            }
            (writer.key, made)
        });
    }

    let kills = kill_members(&cluster).await;
    ended.store(true, Ordering::Release);
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    while let Some(writer) = writers.join_next().await {
        let (key, made) = writer.unwrap();
        *counted.entry(key).or_default() += made;
    }
    let mut newest = Version::ZERO;
    for (key, made) in &counted {
        let entry = get(&*stores[0], key.clone()).await.unwrap().unwrap();
        assert_eq!(count(&entry.value), *made, "{key}");
        assert_eq!(entry.generation, *made, "{key}");
        newest = newest.max(entry.version);
    }
    last.store(newest.index, Ordering::Release);

    let mut all: Option<Vec<_>> = None;
    while let Some(watcher) = timeout(SOON, watchers.join_next()).await.expect("a watch that stands still") {
        let told = watcher.unwrap();
        assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0), "each revision has one change");
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for (version, key, value) in &told {
            let before = counts.insert(key.clone(), *value).unwrap_or(0);
            assert_eq!(*value, before + 1, "{key} at {version}");
        }
        assert_eq!(counts, counted);
        assert_eq!(*all.get_or_insert_with(|| told.clone()), told);
    }
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{kills} kills, {} increments, {} conflicts, {} in doubt, {} failed, past its time by {:?} at most (machine {:?})",
        of(&tally.increments),
        of(&tally.conflicts),
        of(&tally.doubts),
        of(&tally.failures),
        clock.over(),
        clock.lateness(),
    );
    assert!(of(&tally.increments) > 1_000);
    for store in stores {
        within(Call::default(), store.close()).await.unwrap();
    }
}
