//! A server that is killed while it writes: what it acknowledged is there, whole, and nothing is there twice.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)] // they are tests

mod command;
mod worlds;

use std::{
    collections::BTreeMap,
    env,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use command::{Norikv, file};
use norikv_conformance::{get, within};
use norikv_core::{Call, Delete, Entry, KeyRange, Put, PutResult, Result, Scan, Store, StoreRef, Version};
use tokio::{task::JoinSet, time::sleep};
use worlds::remote;

const WRITERS: usize = 16;

/// How often the server is killed.
fn rounds() -> usize {
    env::var("NORIKV_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10)
}

/// Answers and clears up before the client gives up.
fn call() -> Call {
    Call::with_timeout(Duration::from_secs(20))
}

async fn once(store: &dyn Store, key: &str) -> Result<PutResult> {
    // The value says which key it is of, and is long enough to be torn.
    let put = Put { idempotency_key: Some(key.to_owned()), ..Put::new(key.to_owned(), value(key)) };
    within(call(), store.put(put, call())).await
}

fn value(key: &str) -> Bytes {
    key.repeat(100).into()
}

async fn all(store: &dyn Store) -> Vec<Entry> {
    let mut scan = Some(Scan::new(KeyRange::all()));
    let mut entries = Vec::new();
    while let Some(request) = scan {
        let page = within(call(), store.scan(request.clone(), call())).await.unwrap();
        scan = request.next(&page);
        entries.extend(page.entries);
    }
    entries
}

/// Writes keys of its own until the server is gone. Answers what was acknowledged, and the key that was not.
async fn write(store: StoreRef, writer: usize, from: usize) -> (BTreeMap<String, Version>, String, usize) {
    let mut acknowledged = BTreeMap::new();
    for n in from.. {
        let key = format!("{writer:02}:{n:06}");
        match once(&*store, &key).await {
            Ok(put) => acknowledged.insert(key, put.version),
            Err(_) => return (acknowledged, key, n + 1),
        };
    }
    unreachable!("the server is killed before that")
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_under_load_loses_nothing_that_was_acknowledged_and_tears_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = file(&directory.path().join("data"));
    let mut acknowledged: BTreeMap<String, Version> = BTreeMap::new();
    let mut next = [0; WRITERS];
    let mut doubtful: Vec<String> = Vec::new();

    for round in 0..rounds() {
        let norikv = Norikv::serve(&store, &[]);
        let client = remote(norikv.address()).unwrap();
        let status = within(call(), client.status(call())).await.unwrap();

        // Everything that is there is whole, and every revision is the one of the one write that made it.
        let entries = all(&*client).await;
        let mut revisions: Vec<u64> = entries.iter().map(|entry| entry.version.index).collect();
        revisions.sort_unstable();
        let expected: Vec<u64> = (2..=status.version.index).collect();
        assert_eq!(revisions, expected, "round {round}: a revision is missing, or taken twice");
        let found: BTreeMap<_, _> = entries.iter().map(|entry| (&entry.key[..], entry)).collect();
        for (key, version) in &acknowledged {
            let entry = found.get(key.as_bytes()).unwrap_or_else(|| panic!("round {round}: {key} is lost"));
            assert_eq!((entry.version, entry.generation), (*version, 1), "round {round}: {key}");
        }
        for entry in &entries {
            let key = std::str::from_utf8(&entry.key).unwrap();
            assert!(entry.value == value(key), "round {round}: {key} is torn");
        }

        // A repeat answers the first version, and of what was in doubt there is one in the end.
        for (key, version) in acknowledged.iter().rev().step_by(7).take(50) {
            assert_eq!(once(&*client, key).await.unwrap().version, *version, "round {round}: {key}");
        }
        for key in doubtful.drain(..) {
            let was = found.get(key.as_bytes()).map(|entry| entry.version);
            let version = once(&*client, &key).await.unwrap().version;
            assert!(was.is_none_or(|was| was == version), "round {round}: {key} was made twice");
            acknowledged.insert(key, version);
        }

        let mut writers = JoinSet::new();
        for (writer, from) in next.iter().copied().enumerate() {
            let writes = write(StoreRef::clone(&client), writer, from);
            writers.spawn(async move { (writer, writes.await) });
        }
        sleep(Duration::from_millis(50 + fastrand::u64(..150))).await;
        norikv.kill();
        while let Some(wrote) = writers.join_next().await {
            let (writer, (more, in_doubt, from)) = wrote.unwrap();
            acknowledged.extend(more);
            doubtful.push(in_doubt);
            next[writer] = from;
        }
        client.close().await.unwrap();
    }
    assert!(acknowledged.len() > rounds() * WRITERS, "{} writes", acknowledged.len());
}

/// Overwrites and deletes: a key never goes back to before what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_never_takes_a_key_back_before_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let store = file(&directory.path().join("data"));
    // Each writer's key: the last version acknowledged.
    let last = Arc::new(Mutex::new(vec![Version::ZERO; WRITERS]));
    for round in 0..rounds().div_ceil(2) {
        let norikv = Norikv::serve(&store, &[]);
        let client = remote(norikv.address()).unwrap();
        let newest = within(call(), client.status(call())).await.unwrap().version;
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (client, last) = (StoreRef::clone(&client), Arc::clone(&last));
            writers.spawn(async move {
                let key = writer.to_string();
                let known = last.lock().unwrap()[writer];
                assert!(newest >= known, "round {round}: the store went back from {known} to {newest}");
                let entry = get(&*client, key.clone()).await;
                if let Ok(Some(entry)) = &entry {
                    // What is there was put at an odd number, or is newer than what is known.
                    assert!(entry.version >= known || known == Version::ZERO, "{entry:?} after {known}");
                }
                for n in 0.. {
                    let done = if n % 3 == 2 {
                        let delete = Delete::new(key.clone());
                        within(call(), client.delete(delete, call())).await.map(|done| done.version)
                    } else {
                        let put = Put::new(key.clone(), n.to_string());
                        within(call(), client.put(put, call())).await.map(|done| done.version)
                    };
                    match done {
                        Ok(version) => last.lock().unwrap()[writer] = version,
                        Err(_) => return,
                    }
                }
            });
        }
        sleep(Duration::from_millis(50 + fastrand::u64(..100))).await;
        norikv.kill();
        while let Some(done) = writers.join_next().await {
            done.unwrap();
        }
        client.close().await.unwrap();
    }
    assert!(last.lock().unwrap().iter().all(|version| *version > Version::ZERO));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_a_relaxed_store_loses_the_end_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let store = file(&directory.path().join("data"));
    let norikv = Norikv::serve(&store, &["--durability", "relaxed"]);
    let client = remote(norikv.address()).unwrap();
    let early = once(&*client, "early").await.unwrap().version;
    // Longer than it may take to be on disk.
    sleep(Duration::from_millis(300)).await;
    for n in 0..200 {
        once(&*client, &format!("late {n}")).await.unwrap();
    }
    norikv.kill();
    client.close().await.unwrap();

    let norikv = Norikv::serve(&store, &[]);
    let client = remote(norikv.address()).unwrap();
    assert_eq!(get(&*client, "early").await.unwrap().unwrap().version, early);
    let newest = within(call(), client.status(call())).await.unwrap().version;
    let mut revisions: Vec<u64> = all(&*client).await.iter().map(|entry| entry.version.index).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=newest.index).collect::<Vec<_>>(), "what is lost is the end, without a hole");
    client.close().await.unwrap();
    assert_eq!(norikv.terminate(), Some(0));
}
