//! Watches and leases where the network fails, servers are killed, readers stop and holders die.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // they are tests

mod command;
mod worlds;

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use command::{Norikv, file};
use norikv_conformance::{
    Fixture, Proxy, Setup, Watcher, Way, World, call, get, grant, put, to_delete_range, to_put, txn,
    with_lease, within,
};
use norikv_core::{
    Entry, ErrorKind, EventKind, EventReason, KeyRange, LeaseId, LeaseTimeToLive, MAX_TXN_OPS, Store,
    StoreRef, Txn, TxnOp, Version, Watch, WatchBatch,
};
use norikv_embedded::{EmbeddedStore, Settings};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use worlds::{File, Memory, Served, remote, serve};

/// Longer than anything takes that comes at all.
const SOON: Duration = Duration::from_secs(30);

/// What one revision changed, in its order.
type Changes = Vec<(EventKind, Bytes)>;

fn changes(batch: &WatchBatch) -> Changes {
    batch.events.iter().map(|event| (event.kind, event.entry.key.clone())).collect()
}

/// Writes single keys, transactions of many, and now and then a range delete of all of these.
struct Writer {
    store: StoreRef,
    n: u64,
    /// The keys that are there under `t:`.
    there: BTreeMap<Bytes, ()>,
}

impl Writer {
    const fn new(store: StoreRef) -> Self {
        Self { store, n: 0, there: BTreeMap::new() }
    }

    /// Makes one write. Answers its revision and what it changed; `None` if it was not answered.
    ///
    /// Each value says how many changes its revision has, so that who sees a part of them can tell.
    async fn write(&mut self) -> Option<(Version, Changes)> {
        self.n += 1;
        let n = self.n;
        if !n.is_multiple_of(4) {
            let key = Bytes::from(format!("k{}", n % 10));
            let version = put(&*self.store, key.clone(), "1").await.ok()?;
            return Some((version, vec![(EventKind::Put, key)]));
        }
        let clears = n.is_multiple_of(64);
        let puts = if n.is_multiple_of(16) { MAX_TXN_OPS - 1 } else { 5 };
        let mut then: Vec<TxnOp> = Vec::new();
        let mut changed = Changes::new();
        if clears {
            then.push(to_delete_range(KeyRange::prefix("t:")));
            changed.extend(self.there.keys().map(|key| (EventKind::Delete, key.clone())));
        }
        let keys: Vec<Bytes> =
            (0..puts).map(|i| format!("{}{i:03}", if clears { "u:" } else { "t:" }).into()).collect();
        changed.extend(keys.iter().map(|key| (EventKind::Put, key.clone())));
        // Long enough that a connection is cut within it.
        let value = Bytes::from(format!("{:<500}", changed.len()));
        then.extend(keys.iter().map(|key| to_put(key.clone(), value.clone())));
        let done = txn(&*self.store, Txn { then, ..Txn::default() }).await.ok()?;
        assert!(done.succeeded);
        if clears {
            self.there.clear();
        } else {
            self.there.extend(keys.into_iter().map(|key| (key, ())));
        }
        Some((done.version, changed))
    }
}

/// A watch that is read on a task of its own, and what it told.
struct Reader {
    told: Arc<Mutex<BTreeMap<u64, Changes>>>,
    last: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Reader {
    /// Watches everything from a revision on, and holds every batch against the one before.
    async fn begin(client: &StoreRef, from: Version) -> Self {
        let mut watcher = Watcher::from(&**client, from).await.unwrap();
        assert_eq!(watcher.start.index + 1, from.index);
        let told = Arc::new(Mutex::new(BTreeMap::new()));
        let last = Arc::new(AtomicU64::new(watcher.start.index));
        let task = tokio::spawn({
            let (told, last) = (Arc::clone(&told), Arc::clone(&last));
            async move {
                loop {
                    let batch = match watcher.next().await {
                        Ok(batch) => batch,
                        Err(error) => panic!("the watch ended: {error:?}"),
                    };
                    let expected = last.load(Ordering::Acquire) + 1;
                    assert_eq!(batch.version.index, expected, "a revision is missing, or comes twice");
                    for event in &batch.events {
                        assert_eq!(event.entry.version, batch.version);
                        if event.kind == EventKind::Put {
                            let changed: usize =
                                std::str::from_utf8(&event.entry.value).unwrap().trim().parse().unwrap();
                            assert_eq!(batch.events.len(), changed, "a revision is not whole");
                        }
                    }
                    told.lock().unwrap().insert(batch.version.index, changes(&batch));
                    last.store(batch.version.index, Ordering::Release);
                }
            }
        });
        Self { told, last, task }
    }

    /// Waits until it has told a revision.
    async fn reaches(&mut self, revision: u64, what: &str) {
        let begun = Instant::now();
        while self.last.load(Ordering::Acquire) < revision {
            if self.task.is_finished() {
                (&mut self.task).await.unwrap();
                unreachable!("a reader does not end");
            }
            let last = self.last.load(Ordering::Acquire);
            assert!(begun.elapsed() < SOON, "{what}: the watch is silent after {last}, before {revision}");
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn end(self) -> BTreeMap<u64, Changes> {
        self.task.abort();
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

async fn newest(store: &dyn Store) -> Version {
    within(call(), store.status(call())).await.unwrap().version
}

/// Breaks what passes through a proxy in one of several ways. Answers which.
async fn break_connection(proxy: &Proxy, round: usize) -> &'static str {
    let what = match round % 5 {
        0 => {
            proxy.cut();
            "cut"
        }
        1 => {
            proxy.cut_after(Way::ToClient, fastrand::u64(..20_000));
            "cut after some bytes"
        }
        2 => {
            proxy.halve(Way::ToClient);
            "the end of the server's way"
        }
        3 => {
            proxy.delay(Duration::from_millis(fastrand::u64(1..10)));
            proxy.cut();
            "cut and slow"
        }
        _ => {
            proxy.hold(Way::ToClient);
            sleep(Duration::from_millis(fastrand::u64(..5))).await;
            proxy.cut();
            "held back and cut"
        }
    };
    // It is seen when the client has come again, or has had its time to.
    let (made, begun) = (proxy.connections_made(), Instant::now());
    while proxy.connections_made() == made && begun.elapsed() < Duration::from_millis(30) {
        sleep(Duration::from_millis(1)).await;
    }
    what
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_every_revision_once_however_often_its_connection_breaks() {
    let rounds = 1_000;
    let direct: StoreRef = Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
    let server = serve(StoreRef::clone(&direct), false).await.unwrap();
    let proxy = Proxy::start(server.local_addr()).await.unwrap();
    let client = remote(proxy.local_addr()).unwrap();
    let begin = put(&*direct, "begin", "1").await.unwrap();
    let mut reader = Reader::begin(&client, Version::new(1, begin.index + 1)).await;

    // Writes past the network go on all the time.
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (stop, mut writer) = (Arc::clone(&stop), Writer::new(StoreRef::clone(&direct)));
        async move {
            let mut written = BTreeMap::new();
            while !stop.load(Ordering::Acquire) {
                let (version, changes) = writer.write().await.unwrap();
                written.insert(version.index, changes);
                sleep(Duration::from_micros(500)).await;
            }
            written
        }
    });

    // The first connections are no reconnects.
    let first = proxy.connections_made();
    for round in 0.. {
        if proxy.connections_made() >= first + rounds {
            break;
        }
        let what = break_connection(&proxy, round).await;
        let beyond = newest(&*direct).await.index + 1;
        proxy.heal();
        reader.reaches(beyond, what).await;
    }
    stop.store(true, Ordering::Release);
    let written = writer.await.unwrap();
    let last = newest(&*direct).await.index;
    reader.reaches(last, "at the end").await;
    let told = reader.end();
    assert_eq!(told.len(), written.len());
    for (revision, changes) in &written {
        assert_eq!(&told[revision], changes, "revision {revision}");
    }
    assert!(written.len() > rounds, "{} revisions", written.len());
    client.close().await.unwrap();
    server.shutdown(Duration::ZERO).await.unwrap();
    direct.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_every_revision_once_however_often_the_server_is_killed() {
    let rounds = 20;
    let directory = tempfile::tempdir().unwrap();
    let store = file(&directory.path().join("data"));
    let mut norikv = Norikv::serve(&store, &[]);
    let proxy = Proxy::start(norikv.address()).await.unwrap();
    let watching = remote(proxy.local_addr()).unwrap();
    let begin = put(&*watching, "begin", "1").await.unwrap();
    let mut reader = Reader::begin(&watching, Version::new(1, begin.index + 1)).await;
    let mut acknowledged = BTreeMap::new();
    for round in 0..rounds {
        // What is there under `t:` is not known after a kill, so each writer begins with none.
        let client = remote(norikv.address()).unwrap();
        let range = KeyRange::prefix("t:");
        let cleared = within(call(), client.delete_range(norikv_core::DeleteRange { range }, call())).await;
        assert!(cleared.unwrap().version.index >= begin.index);
        let writes = tokio::spawn({
            let mut writer = Writer::new(StoreRef::clone(&client));
            async move {
                let mut written = BTreeMap::new();
                while let Some((version, changes)) = writer.write().await {
                    written.insert(version.index, changes);
                }
                written
            }
        });
        sleep(Duration::from_millis(100 + fastrand::u64(..200))).await;
        norikv.kill();
        let written = writes.await.unwrap();
        assert!(!written.is_empty(), "round {round}: nothing was written");
        acknowledged.extend(written);
        client.close().await.unwrap();
        norikv = Norikv::serve(&store, &[]);
        proxy.retarget(norikv.address());
        proxy.cut();
        let direct = remote(norikv.address()).unwrap();
        let last = put(&*direct, "again", "1").await.unwrap();
        direct.close().await.unwrap();
        reader.reaches(last.index, "after a kill").await;
    }
    let told = reader.end();
    for (revision, changes) in &acknowledged {
        assert_eq!(&told[revision], changes, "revision {revision}");
    }
    watching.close().await.unwrap();
    assert_eq!(norikv.terminate(), Some(0));
}

/// What is compacted while a connection is broken is not missed by a watch that had been told how far it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_what_seldom_changes_outlives_compaction_and_a_broken_connection() {
    let direct: StoreRef = Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
    let server = serve(StoreRef::clone(&direct), false).await.unwrap();
    let proxy = Proxy::start(server.local_addr()).await.unwrap();
    let client = remote(proxy.local_addr()).unwrap();
    let watch = Watch { progress: true, ..Watch::new(KeyRange::prefix("seldom")) };
    let mut watcher = Watcher::begin(&*client, watch).await.unwrap();
    for n in 0..100 {
        put(&*direct, format!("often {n}"), "1").await.unwrap();
    }
    let newest = newest(&*direct).await;
    loop {
        let batch = watcher.next().await.unwrap();
        assert_eq!(batch.events, []);
        if batch.version == newest {
            break;
        }
    }
    within(call(), direct.compact(newest, call())).await.unwrap();
    proxy.cut();
    let version = put(&*direct, "seldom", "1").await.unwrap();
    loop {
        let batch = watcher.next().await.unwrap();
        if !batch.events.is_empty() {
            assert_eq!((batch.version, batch.events.len()), (version, 1));
            break;
        }
    }
    client.close().await.unwrap();
    server.shutdown(Duration::ZERO).await.unwrap();
    direct.close().await.unwrap();
}

/// Writes much while a watch is not read, and then reads it. Answers what it ended with, if it did before the end.
async fn stop_reading(world: impl World, setup: Setup) -> Option<ErrorKind> {
    const WRITERS: u64 = 8;
    const EACH: u64 = 600;
    let fixture: Fixture = world.open(setup).await.unwrap();
    let store = &*fixture.store;
    let begin = newest(store).await;
    let mut watcher = Watcher::from(store, Version::new(1, begin.index + 1)).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = StoreRef::clone(&fixture.store);
        writers.spawn(async move {
            for n in 0..EACH {
                put(&*store, format!("{writer} {}", n % 50), vec![b'v'; 4_096]).await.unwrap();
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let mut ended = None;
    for revision in begin.index + 1..=begin.index + WRITERS * EACH {
        match watcher.next().await {
            Ok(batch) => {
                assert_eq!((batch.version.index, batch.events.len()), (revision, 1));
                assert_eq!(batch.events[0].entry.value.len(), 4_096);
            }
            Err(error) => {
                ended = Some(error.kind());
                break;
            }
        }
    }
    fixture.owner.close().await.unwrap();
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_reading_under_full_load_gets_everything_in_the_end() {
    assert_eq!(stop_reading(Memory, Setup::default()).await, None);
    assert_eq!(stop_reading(Served::new(File::RELAXED), Setup::default()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_reading_until_the_history_is_gone_is_told_so_and_misses_nothing_in_silence() {
    let short = || Setup { history_revisions: Some(200), ..Setup::default() };
    for ended in [stop_reading(Memory, short()).await, stop_reading(Served::new(Memory), short()).await] {
        assert!(matches!(ended, None | Some(ErrorKind::Compacted)), "{ended:?}");
    }
}

const HOLDER: &str = "NORIKV_TEST_HOLDER";
const HELD: [&str; 3] = ["held a", "held b", "held c"];
const TTL: Duration = Duration::from_millis(1_500);

/// Not a test: the process that the next one starts and kills.
#[tokio::test]
#[ignore = "another test starts this as a process of its own"]
async fn holds_a_lease_until_it_is_killed() {
    let Ok(address) = env::var(HOLDER) else { return };
    let store = remote(address.parse().unwrap()).unwrap();
    let id = grant(&*store, 1_500).await.unwrap();
    let then = HELD.into_iter().map(|key| TxnOp::Put(with_lease(key, "v", id))).collect();
    txn(&*store, Txn { then, ..Txn::default() }).await.unwrap();
    println!("\nlease {id}");
    loop {
        let kept = within(call(), store.lease_keep_alive(vec![id], call())).await.unwrap();
        assert!(kept[0].is_some(), "it is lost");
        sleep(TTL / 6).await;
    }
}

async fn entry(store: &dyn Store, key: &'static str) -> Option<Entry> {
    get(store, key).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_held_by_a_process_that_is_killed_ends_at_its_time_with_all_its_keys() {
    let directory = tempfile::tempdir().unwrap();
    let norikv = Norikv::serve(&file(&directory.path().join("data")), &[]);
    let store = remote(norikv.address()).unwrap();
    let mut holder = Command::new(env::current_exe().unwrap())
        .args(["--exact", "holds_a_lease_until_it_is_killed", "--ignored", "--nocapture"])
        .env(HOLDER, norikv.address().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let id = BufReader::new(holder.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("lease ")?.parse().ok().and_then(LeaseId::new))
        .unwrap();
    // It lives beyond its time, since it is kept alive.
    sleep(2 * TTL).await;
    for key in HELD {
        assert_eq!(entry(&*store, key).await.unwrap().lease, Some(id));
    }
    let watch = Watch { prev_entry: true, ..Watch::new(KeyRange::prefix("held ")) };
    let mut watcher = Watcher::begin(&*store, watch).await.unwrap();
    let asked = Instant::now();
    let request = LeaseTimeToLive { id, keys: false };
    let left = within(call(), store.lease_time_to_live(request, call())).await.unwrap().remaining;
    holder.kill().unwrap();
    holder.wait().unwrap();
    let killed = Instant::now();

    let batch = timeout(SOON, watcher.next()).await.unwrap().unwrap();
    let (since_asked, since_killed) = (asked.elapsed(), killed.elapsed());
    assert!(since_asked + Duration::from_millis(5) >= left, "{since_asked:?} where {left:?} were left");
    // 500 ms, and what a busy machine may be late by.
    let latest = TTL + Duration::from_millis(500 + 2_000);
    assert!(since_killed < latest, "{since_killed:?} after its holder was killed");
    let went: Vec<_> = batch.events.iter().map(|event| (event.kind, event.reason)).collect();
    assert_eq!(went, [(EventKind::Delete, EventReason::Lease); HELD.len()]);
    for key in HELD {
        assert_eq!(entry(&*store, key).await, None);
    }
    assert_eq!(newest(&*store).await, batch.version);
    store.close().await.unwrap();
    assert_eq!(norikv.terminate(), Some(0));
}
