//! Many callers on one key, on several threads: nothing is lost and nobody wins twice.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // they are tests

mod worlds;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use norikv_conformance::{Fixture, Setup, World, get, put, within};
use norikv_core::{Backoff, Call, ErrorKind, Precondition, Put, Result, StoreRef, Version};
use norikv_server::Server;
use tokio::{sync::Barrier, task::JoinSet};
use worlds::{File, Memory, Namespace, Served, remote, serve};

const CALLERS: usize = 64;
const INCREMENTS: usize = 200;
const RACES: usize = 1_000;

/// Generous: a machine may be busy, and nothing here is about time.
fn call() -> Call {
    Call::with_timeout(Duration::from_secs(60))
}

/// The stores that callers are spread over: ways to the same data.
struct Ways {
    stores: Vec<StoreRef>,
    fixture: Fixture,
    server: Option<Server>,
}

impl Ways {
    /// One way: the store of a world.
    async fn one(world: impl World) -> Self {
        let fixture = world.open(Setup::default()).await.unwrap();
        Self { stores: vec![StoreRef::clone(&fixture.store)], fixture, server: None }
    }

    /// Several connections to one server, each of a client of its own.
    async fn connections(count: usize, world: impl World) -> Self {
        let fixture = world.open(Setup::default()).await.unwrap();
        let server = serve(StoreRef::clone(&fixture.store), false).await.unwrap();
        let stores = (0..count).map(|_| remote(server.local_addr()).unwrap()).collect();
        Self { stores, fixture, server: Some(server) }
    }

    fn of(&self, caller: usize) -> StoreRef {
        StoreRef::clone(&self.stores[caller % self.stores.len()])
    }

    async fn end(self) {
        for store in self.stores {
            store.close().await.unwrap();
        }
        if let Some(server) = self.server {
            server.shutdown(Duration::from_secs(5)).await.unwrap();
        }
        self.fixture.owner.close().await.unwrap();
    }
}

fn number(value: &Bytes) -> usize {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Reads the counter and writes the next number at its version, until that is done.
async fn increment(store: &StoreRef) -> Result<Version> {
    let backoff =
        Backoff { initial: Duration::from_millis(2), max: Duration::from_millis(50), ..Backoff::default() };
    for attempt in 1.. {
        let entry = get(&**store, "counter").await?.unwrap();
        let put = Put {
            precondition: Precondition::Version(entry.version),
            ..Put::new("counter", (number(&entry.value) + 1).to_string())
        };
        match within(call(), store.put(put, call())).await {
            Err(error) if error.kind() == ErrorKind::VersionMismatch => {
                tokio::time::sleep(backoff.delay(attempt)).await;
            }
            done => return Ok(done?.version),
        }
    }
    unreachable!("attempts have no end")
}

async fn counts_exactly(ways: Ways) {
    let first = put(&*ways.stores[0], "counter", "0").await.unwrap();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let store = ways.of(caller);
        callers.spawn(async move {
            let mut last = Version::ZERO;
            for _ in 0..INCREMENTS {
                let version = increment(&store).await.unwrap();
                assert!(version > last);
                last = version;
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    let entry = get(&*ways.stores[0], "counter").await.unwrap().unwrap();
    assert_eq!(number(&entry.value), CALLERS * INCREMENTS);
    assert_eq!(number(&entry.value), 12_800);
    // Every increment took one revision, and no refused one took any.
    assert_eq!(entry.version, Version::new(first.term, first.index + 12_800));
    ways.end().await;
}

async fn one_wins_each_race(ways: Ways) {
    let begin = Arc::new(Barrier::new(CALLERS));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (store, begin) = (ways.of(caller), Arc::clone(&begin));
        callers.spawn(async move {
            let mut won = Vec::new();
            for race in 0..RACES {
                begin.wait().await;
                let put = Put {
                    precondition: Precondition::NotExists,
                    ..Put::new(format!("race {race}"), caller.to_string())
                };
                match within(call(), store.put(put, call())).await {
                    Ok(_) => won.push((race, caller)),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}"),
                }
            }
            won
        });
    }
    let mut winners = Vec::new();
    while let Some(won) = callers.join_next().await {
        winners.extend(won.unwrap());
    }
    winners.sort_unstable();
    let races: Vec<_> = winners.iter().map(|(race, _)| *race).collect();
    assert_eq!(races, (0..RACES).collect::<Vec<_>>(), "each race has one winner");
    for (race, winner) in winners {
        let entry = get(&*ways.stores[0], format!("race {race}")).await.unwrap().unwrap();
        assert_eq!((number(&entry.value), entry.generation.max(1)), (winner, 1));
    }
    ways.end().await;
}

/// Makes both tests for a way to have the store.
macro_rules! concurrency {
    ($($name:ident: $ways:expr;)+) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn sixty_four_callers_that_count_by_compare_and_set_end_at_12800() {
                counts_exactly($ways.await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn of_sixty_four_callers_that_create_a_key_one_wins_1000_times_in_a_row() {
                one_wins_each_race($ways.await).await;
            }
        }
    )+};
}

concurrency! {
    memory: Ways::one(Memory);
    file: Ways::one(File::RELAXED);
    namespace: Ways::one(Namespace(Memory));
    grpc: Ways::one(Served::new(File::RELAXED));
    two_connections: Ways::connections(2, Memory);
}
