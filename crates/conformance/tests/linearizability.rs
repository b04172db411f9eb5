//! Histories of many clients at once, each checked to be one that a single store could have had, one call at a time.
//!
//! Finding that out takes exponential time at worst, so the histories are short: clients make a few calls each, and then
//! all are waited for (a quiet point). The next history begins with what is read there.
//!
//! A write that was under way when the server was killed cannot happen after the kill, so what is read at the next quiet
//! point is the end of it.
//!
//! `NORIKV_LONG` makes it 100,000 calls instead of 5,000.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // they are tests

mod command;
mod histories;
mod worlds;

use std::{env, sync::Arc, time::Duration};

use command::{Norikv, file};
use histories::{Event, History, Model, Op, Ret, at, begin, end, written};
use norikv_conformance::{Fixture, Setup, World};
use norikv_core::StoreRef;
use worlds::{File, Memory, Served, remote, serve};

fn long() -> bool {
    env::var_os("NORIKV_LONG").is_some()
}

fn calls() -> usize {
    if long() { 100_000 } else { 5_000 }
}

/// Histories of so many calls in all, on ways to one store that nobody else uses.
async fn check(stores: &[StoreRef], calls: usize) {
    let mut model = History::from(Model::default()).quiet(&*stores[0]).await;
    let mut made = 0;
    for round in 0.. {
        if made >= calls {
            return;
        }
        let history = History::from(model);
        end(begin(stores, &history, &round.to_string())).await;
        model = history.quiet(&*stores[round % stores.len()]).await;
        history.check();
        made += history.answered();
    }
}

async fn check_world(world: impl World) {
    let fixture: Fixture = world.open(Setup::default()).await.unwrap();
    check(&[StoreRef::clone(&fixture.store)], calls()).await;
    fixture.owner.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_a_store_in_memory_are_linearizable() {
    check_world(Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_a_store_on_disk_are_linearizable() {
    check_world(File::FSYNC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_a_store_that_reads_from_disk_are_linearizable() {
    check_world(File::UNCACHED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_one_connection_are_linearizable() {
    check_world(Served::new(Memory)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_three_connections_and_without_one_are_linearizable() {
    let fixture = Memory.open(Setup::default()).await.unwrap();
    let server = serve(StoreRef::clone(&fixture.store), false).await.unwrap();
    let mut stores = vec![StoreRef::clone(&fixture.store)];
    stores.extend((0..3).map(|_| remote(server.local_addr()).unwrap()));
    check(&stores, calls()).await;
    for store in stores.drain(1..) {
        store.close().await.unwrap();
    }
    server.shutdown(Duration::from_secs(5)).await.unwrap();
    fixture.owner.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_a_server_that_is_killed_and_started_again_are_linearizable() {
    let directory = tempfile::tempdir().unwrap();
    let store = file(&directory.path().join("data"));
    let (mut made, mut doubtful) = (0, 0);
    let mut killed: Option<Arc<History>> = None;
    for round in 0.. {
        let norikv = Norikv::serve(&store, &[]);
        let stores: Vec<_> = (0..3).map(|_| remote(norikv.address()).unwrap()).collect();
        // What was under way when the server was killed has happened by now, or never will.
        let mut model = match killed.take() {
            Some(history) => {
                let model = history.quiet(&*stores[0]).await;
                history.check();
                made += history.answered();
                model
            }
            None => History::from(Model::default()).quiet(&*stores[0]).await,
        };
        for quiet in 0..if long() { 40 } else { 8 } {
            let history = History::from(model);
            end(begin(&stores, &history, &format!("{round}.{quiet}"))).await;
            model = history.quiet(&*stores[quiet % stores.len()]).await;
            history.check();
            made += history.answered();
        }
        let history = History::from(model);
        let clients = begin(&stores, &history, &format!("{round}.killed"));
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..8_000))).await;
        norikv.kill();
        end(clients).await;
        doubtful += history.doubtful();
        killed = Some(history);
        for store in stores {
            store.close().await.unwrap();
        }
        if made >= calls() {
            break;
        }
    }
    assert!(doubtful > 0, "no call was under way when the server was killed");
}

#[test]
fn a_stale_read_is_found() {
    let put = |value: &str, revision| (0, Op::Put(0, value.into()), Some(Ret::Written(revision)));
    let read = |found| (1, Op::Get(0), Some(Ret::Found(found)));
    written(&[put("old", 1), put("new", 2), read(at("new", 2))]).check();
    assert!(!written(&[put("old", 1), put("new", 2), read(at("old", 1))]).is_linearizable());
    assert!(!written(&[put("old", 1), read(None)]).is_linearizable());
    // It is one because the put had ended; while that is under way, both are right.
    for found in [None, at("new", 1)] {
        let history = History::from(Model::default());
        history.add(Event::Begins(0, Op::Put(0, "new".into())));
        history.add(Event::Begins(1, Op::Get(0)));
        history.add(Event::Ends(1, Ret::Found(found)));
        history.add(Event::Ends(0, Ret::Written(1)));
        history.check();
    }
}

#[test]
fn a_lost_update_and_a_torn_transaction_are_found() {
    let put = (0, Op::Put(0, "v".into()), Some(Ret::Written(1)));
    let cas = |client, revision| (client, Op::Cas(0, 1, "w".into()), Some(Ret::Written(revision)));
    assert!(!written(&[put.clone(), cas(0, 2), cas(1, 3)]).is_linearizable());
    let both = Op::Txn { keys: [0, 1], at: 1, value: "t".into() };
    let done = Ret::Txn { succeeded: true, revision: 2, found: [at("v", 1), None] };
    let read = |key, found| (1, Op::Get(key), Some(Ret::Found(found)));
    let txn = (0, both, Some(done));
    written(&[put.clone(), txn.clone(), read(0, at("t", 2)), read(1, at("t", 2))]).check();
    assert!(!written(&[put.clone(), txn.clone(), read(0, at("t", 2)), read(1, None)]).is_linearizable());
    // Two of one revision, and one that is left out.
    assert!(!written(&[put.clone(), (1, Op::Put(1, "v".into()), Some(Ret::Written(1)))]).is_linearizable());
    assert!(!written(&[put, (1, Op::Put(1, "v".into()), Some(Ret::Written(3)))]).is_linearizable());
}

#[test]
fn a_write_in_doubt_may_have_happened_or_not_and_does_not_change_its_mind() {
    let doubt = (0, Op::Put(0, "v".into()), None);
    let read = |found| (1, Op::Get(0), Some(Ret::Found(found)));
    let revision = |revision| (1, Op::Revision, Some(Ret::Revision(revision)));
    written(&[doubt.clone(), read(None), revision(0)]).check();
    written(&[doubt.clone(), read(at("v", 1)), revision(1)]).check();
    written(&[doubt.clone(), read(None), read(at("v", 1))]).check();
    assert!(!written(&[doubt.clone(), read(at("v", 1)), read(None)]).is_linearizable());
    assert!(!written(&[doubt, read(None), revision(2)]).is_linearizable());
}

#[test]
fn a_write_that_is_said_to_have_failed_and_is_read_is_found() {
    for (found, right) in [(None, true), (at("v", 1), false)] {
        let history = History::from(Model::default());
        history.add(Event::Begins(0, Op::Put(0, "v".into())));
        history.add(Event::Fails(0));
        history.add(Event::Begins(1, Op::Get(0)));
        history.add(Event::Ends(1, Ret::Found(found)));
        assert_eq!(history.is_linearizable(), right);
    }
}
