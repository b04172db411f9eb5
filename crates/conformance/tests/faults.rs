//! A client and a server with a network between them that fails.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // they are tests

mod worlds;

use std::{
    fmt::Debug,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use norikv_conformance::{Proxy, Way, get, put, within};
use norikv_core::{
    Call, Delete, Entry, Error, ErrorKind, Field, FieldName, Get, KeyRange, Precondition, Put, PutResult,
    Result, Scan, Store, StoreRef, Version,
};
use norikv_embedded::{EmbeddedStore, Settings};
use norikv_server::Server;
use tokio::time::sleep;
use worlds::{remote, serve, serve_at};

/// Long enough for anything that works.
const SOON: Duration = Duration::from_secs(20);

/// A store, a server before it, a proxy before that, and a client that comes through the proxy.
struct World {
    /// Without a network.
    direct: StoreRef,
    server: Server,
    proxy: Proxy,
    client: StoreRef,
}

impl World {
    async fn new() -> Self {
        let direct: StoreRef = Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
        let server = serve(StoreRef::clone(&direct), false).await.unwrap();
        let proxy = Proxy::start(server.local_addr()).await.unwrap();
        let client = remote(proxy.local_addr()).unwrap();
        put(&*client, "warm", "up").await.unwrap();
        Self { direct, server, proxy, client }
    }

    /// Makes a put whose reply is lost: it is done, and then the connection breaks.
    async fn lose_the_reply_of(&self, put: Put, call: Call) -> Result<PutResult> {
        let (key, before) = (put.key.clone(), version_of(&*self.direct, &put.key).await);
        self.proxy.hold(Way::ToClient);
        let made = within(call, self.client.put(put, call));
        let lose = async {
            until(async || version_of(&*self.direct, &key).await != before).await;
            self.proxy.cut();
            self.proxy.heal();
        };
        tokio::join!(made, lose).0
    }

    async fn end(self) {
        self.client.close().await.unwrap();
        self.server.shutdown(Duration::ZERO).await.unwrap();
        self.direct.close().await.unwrap();
    }
}

async fn version_of(store: &dyn Store, key: &bytes::Bytes) -> Option<Version> {
    get(store, key.clone()).await.unwrap().map(|entry| entry.version)
}

async fn entry(store: &dyn Store, key: &'static str) -> Entry {
    get(store, key).await.unwrap().unwrap()
}

async fn newest(store: &dyn Store) -> Version {
    store.status(Call::default()).await.unwrap().version
}

/// Waits until something holds.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < SOON, "it did not come");
        sleep(Duration::from_millis(1)).await;
    }
}

/// Makes a call, and holds it to its time.
///
/// What the machine itself is late by, when others use it, is not counted: a thread that only sleeps tells it.
async fn in_time<T: Debug>(millis: u64, made: impl AsyncFnOnce(Call) -> Result<T>) -> Result<T> {
    let late = Lateness::watch();
    let timeout = Duration::from_millis(millis);
    let begun = Instant::now();
    let call = Call::with_timeout(timeout);
    let result = within(call, made(call)).await;
    let took = begun.elapsed();
    let most = timeout + Duration::from_millis(100) + 3 * late.most();
    assert!(took < most, "{took:?} for {timeout:?}, where {most:?} are due: {result:?}");
    result
}

/// How late this machine wakes those who sleep.
struct Lateness(Arc<AtomicU64>);

impl Lateness {
    fn watch() -> Self {
        let nanos = Arc::new(AtomicU64::new(0));
        let seen = Arc::downgrade(&nanos);
        std::thread::spawn(move || {
            let tick = Duration::from_millis(2);
            loop {
                let begun = Instant::now();
                std::thread::sleep(tick);
                let late = begun.elapsed().saturating_sub(tick);
                let Some(seen) = seen.upgrade() else { return };
                seen.fetch_max(late.as_nanos().try_into().unwrap(), Ordering::Relaxed);
            }
        });
        Self(nanos)
    }

    fn most(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

fn outcome_is_unknown(error: &Error) -> bool {
    matches!(error.field(FieldName::Outcome), Some(Field::Text(text)) if &**text == "unknown")
}

/// What a plain or conditional write may say when its reply did not come.
#[track_caller]
fn assert_in_doubt(error: &Error) {
    let unknown = error.kind() == ErrorKind::Unavailable && outcome_is_unknown(error);
    assert!(unknown || error.kind() == ErrorKind::DeadlineExceeded, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_put_whose_reply_is_lost_says_so_and_is_not_made_again() {
    let world = World::new().await;
    for n in 0..10 {
        let before = newest(&*world.direct).await;
        let call = Call::with_timeout(SOON);
        let lost = world.lose_the_reply_of(Put::new("k", n.to_string()), call).await.unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::Unavailable, "{lost:?}");
        assert!(outcome_is_unknown(&lost), "{lost:?}");
        // The client goes on, on a new connection, and the write was made once.
        assert_eq!(entry(&*world.client, "k").await.value, n.to_string());
        assert_eq!(newest(&*world.direct).await.index, before.index + 1);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_put_whose_reply_is_lost_is_made_exactly_once() {
    let world = World::new().await;
    for n in 0..10 {
        let before = newest(&*world.direct).await;
        let put = Put { idempotency_key: Some(format!("id {n}")), ..Put::new("k", n.to_string()) };
        let done = world.lose_the_reply_of(put, Call::with_timeout(SOON)).await.unwrap();
        assert_eq!(done.version.index, before.index + 1);
        assert_eq!(newest(&*world.direct).await, done.version);
        assert_eq!(entry(&*world.direct, "k").await.version, done.version);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_put_whose_reply_is_lost_never_says_that_its_condition_failed() {
    let world = World::new().await;
    let mut version = put(&*world.direct, "k", "0").await.unwrap();
    for n in 1..=10 {
        let put = Put { precondition: Precondition::Version(version), ..Put::new("k", n.to_string()) };
        match world.lose_the_reply_of(put, Call::with_timeout(SOON)).await {
            Ok(done) => assert_eq!(done.version.index, version.index + 1),
            Err(error) => assert_in_doubt(&error),
        }
        let now = entry(&*world.direct, "k").await;
        assert_eq!((now.value, now.generation), (n.to_string().into(), n + 1));
        version = now.version;
    }
    let create = Put { precondition: Precondition::NotExists, ..Put::new("new", "v") };
    match world.lose_the_reply_of(create, Call::with_timeout(SOON)).await {
        Ok(_) => {}
        Err(error) => assert_in_doubt(&error),
    }
    assert_eq!(entry(&*world.direct, "new").await.generation, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_whose_reply_is_lost_says_so() {
    let world = World::new().await;
    put(&*world.direct, "k", "v").await.unwrap();
    world.proxy.hold(Way::ToClient);
    let call = Call::with_timeout(SOON);
    let lose = async {
        until(async || get(&*world.direct, "k").await.unwrap().is_none()).await;
        world.proxy.cut();
        world.proxy.heal();
    };
    let (deleted, ()) = tokio::join!(world.client.delete(Delete::new("k"), call), lose);
    assert_in_doubt(&deleted.unwrap_err());
    world.end().await;
}

/// Cuts at every place that a byte can be: whatever the client says of each write, it is true in the end.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_connection_is_cut_what_the_client_says_is_true() {
    let world = World::new().await;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut said = Vec::new();
    for n in 0..400_u32 {
        // A key for each write: one that was given up may still be under way when the next is made.
        let key = format!("k{n}");
        let first = put(&*world.direct, key.clone(), "0").await.unwrap();
        let way = if random.bool() { Way::ToServer } else { Way::ToClient };
        world.proxy.cut_after(way, random.u64(..300));
        let plain = Put::new(key.clone(), "1");
        let made = match n % 3 {
            0 => plain,
            1 => Put { precondition: Precondition::Version(first), ..plain },
            _ => Put { idempotency_key: Some(key.clone()), ..plain },
        };
        said.push((key, in_time(5_000, async |call| world.client.put(made, call).await).await));
        world.proxy.heal();
    }
    world.client.close().await.unwrap();
    world.server.shutdown(SOON).await.unwrap();

    let (mut lost, mut done) = (0, 0);
    for (n, (key, said)) in said.into_iter().enumerate() {
        let now = get(&*world.direct, key).await.unwrap().unwrap();
        let about = format!("write {n}, seed {seed}: {said:?}, {now:?}");
        assert!(now.generation <= 2, "made twice: {about}");
        match said {
            Ok(put) => {
                done += 1;
                assert!(now.generation == 2 && now.version == put.version, "{about}");
            }
            Err(error) if outcome_is_unknown(&error) || error.kind() == ErrorKind::DeadlineExceeded => {
                lost += 1;
                assert!(n % 3 != 2, "a write that can be repeated is: {about}");
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Connection | ErrorKind::Unavailable), "{about}");
                assert_eq!(now.generation, 1, "it said that it was not done: {about}");
            }
        }
    }
    assert!(lost > 0 && done > 100, "{lost} lost, {done} done");
    world.direct.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_gone_without_a_word_holds_nobody_past_the_time_of_the_call() {
    let world = World::new().await;
    world.proxy.blackhole();
    let read = in_time(200, async |call| {
        world.client.get(Get { key: "k".into(), consistency: Default::default() }, call).await
    });
    let write = in_time(250, async |call| world.client.put(Put::new("k", "v"), call).await);
    let scan = in_time(300, async |call| world.client.scan(Scan::new(KeyRange::all()), call).await);
    let status = in_time(350, async |call| world.client.status(call).await);
    let (read, write, scan, status) = tokio::join!(read, write, scan, status);
    for error in [read.unwrap_err(), write.unwrap_err(), scan.unwrap_err(), status.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error:?}");
    }
    // The network is back, the connection is still the same one, and so are the calls.
    world.proxy.heal();
    until(async || put(&*world.client, "k", "w").await.is_ok()).await;
    assert_eq!(entry(&*world.direct, "k").await.value, "w");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_which_one_way_ended_is_replaced() {
    for way in [Way::ToServer, Way::ToClient] {
        let world = World::new().await;
        world.proxy.halve(way);
        let mut not_done = Vec::new();
        for n in 0..5 {
            let key = format!("k{n}");
            let made = in_time(1_000, async |call| world.client.put(Put::new(key.clone(), "v"), call).await);
            match made.await {
                Ok(_) => assert!(get(&*world.direct, key).await.unwrap().is_some()),
                Err(error) if outcome_is_unknown(&error) || error.kind() == ErrorKind::DeadlineExceeded => {}
                Err(error) => {
                    assert!(error.retryable(), "{way:?}: {error:?}");
                    not_done.push(key);
                }
            }
        }
        world.proxy.heal();
        until(async || {
            in_time(1_000, async |call| world.client.put(Put::new("back", "v"), call).await).await.is_ok()
        })
        .await;
        for key in not_done {
            assert_eq!(get(&*world.direct, key).await.unwrap(), None, "it said that it was not done");
        }
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_answers_who_has_the_time_and_keeps_nobody_else() {
    let world = World::new().await;
    world.proxy.delay(Duration::from_millis(100));
    let patient = async {
        in_time(5_000, async |call| world.client.put(Put::new("patient", "v"), call).await).await.unwrap();
    };
    let hasty = async {
        let hasty = in_time(50, async |call| world.client.put(Put::new("hasty", "v"), call).await).await;
        assert_in_doubt(&hasty.unwrap_err());
    };
    let read = async {
        let read = Get { key: "warm".into(), consistency: Default::default() };
        let read = in_time(5_000, async |call| world.client.get(read, call).await).await;
        assert_eq!(read.unwrap().unwrap().value, "up");
    };
    tokio::join!(patient, hasty, read);
    world.proxy.heal();
    assert!(get(&*world.client, "patient").await.unwrap().is_some());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_connections_is_told_and_found_again() {
    let world = World::new().await;
    world.proxy.refuse();
    world.proxy.cut();
    until(async || world.proxy.connections() == 0).await;
    let begun = newest(&*world.direct).await;
    for n in 0..5 {
        let refused =
            in_time(300, async |call| world.client.put(Put::new("k", n.to_string()), call).await).await;
        assert!(refused.as_ref().is_err_and(Error::retryable), "{refused:?}");
    }
    assert_eq!(newest(&*world.direct).await, begun, "nothing got through");
    world.proxy.heal();
    until(async || put(&*world.client, "k", "v").await.is_ok()).await;
    world.end().await;
}

/// A server is ended and started on its port over and over while writers write. Each call ends in its time, and
/// what was acknowledged was done once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_restarted_on_its_port_is_found_again_and_nothing_is_done_twice() {
    let store: StoreRef = Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
    let mut server = serve(StoreRef::clone(&store), false).await.unwrap();
    let address: SocketAddr = server.local_addr();
    let client = remote(address).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (client, done) = (StoreRef::clone(&client), Arc::clone(&done));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0.. {
                    if done.load(Ordering::Acquire) {
                        break;
                    }
                    let key = format!("{writer}:{n}");
                    let put = Put { idempotency_key: Some(key.clone()), ..Put::new(key.clone(), "v") };
                    match in_time(1_000, async |call| client.put(put.clone(), call).await).await {
                        Ok(put) => acknowledged.push((key, put.version)),
                        Err(error) => assert!(error.retryable(), "{error:?}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    for round in 0..6 {
        sleep(Duration::from_millis(100)).await;
        if round % 2 == 0 {
            server.shutdown(Duration::from_secs(5)).await.unwrap();
        } else {
            // Broken off in the middle of whatever it did.
            server.shutdown(Duration::ZERO).await.unwrap();
        }
        sleep(Duration::from_millis(20)).await;
        server = serve_at(StoreRef::clone(&store), address, false).await.unwrap();
        // The client finds it by itself.
        until(async || get(&*client, "k").await.is_ok()).await;
    }
    done.store(true, Ordering::Release);
    let mut acknowledged = 0;
    for writer in writers {
        for (key, version) in writer.await.unwrap() {
            acknowledged += 1;
            let entry = get(&*store, key.clone()).await.unwrap().unwrap();
            assert_eq!((entry.version, entry.generation), (version, 1), "{key}");
        }
    }
    assert!(acknowledged > 50, "{acknowledged}");
    client.close().await.unwrap();
    server.shutdown(SOON).await.unwrap();
    store.close().await.unwrap();
}
