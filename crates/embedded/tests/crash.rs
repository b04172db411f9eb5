//! Processes that are killed, and disks that are full: what was acknowledged is there, the rest is whole or not.
//!
//! Each test starts this test program again as a child that writes and says what was acknowledged.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, clippy::print_stdout)]

mod common;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use common::call;
use norikv_core::{Consistency, Delete, DeleteRange, Durability, ErrorKind, Get, KeyRange, Put, Scan, Store};
use norikv_embedded::{EmbeddedStore, Settings};

const DIRECTORY: &str = "NORIKV_TEST_CHILD_DIRECTORY";
const RELAXED: &str = "NORIKV_TEST_CHILD_RELAXED";

fn rounds() -> u32 {
    std::env::var("NORIKV_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10)
}

fn start(shell: &str, directory: &Path, relaxed: bool) -> Child {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{shell} exec \"$0\" --exact child --ignored --nocapture"));
    command.arg(std::env::current_exe().unwrap()).env(DIRECTORY, directory).stdout(Stdio::piped());
    if relaxed {
        command.env(RELAXED, "1");
    }
    command.spawn().unwrap()
}

/// Not a test: what the children do. 32 writers put pairs of keys that must be there together, and say each
/// write that was acknowledged.
#[test]
#[ignore = "run by the other tests as a process of its own"]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let relaxed = std::env::var_os(RELAXED).is_some();
    let durability = if relaxed { Durability::Relaxed } else { Durability::Fsync };
    let settings = Settings { durability, ..Settings::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(EmbeddedStore::open(Path::new(&directory), settings).unwrap());
        let from = store.status(call()).await.unwrap().version.index;
        let lanes = (0..32u64).map(|lane| {
            let store = Arc::clone(&store);
            async move {
                for n in from.. {
                    let key = format!("{lane:02}");
                    let value = format!("{n:020}").repeat(20);
                    let idempotency_key = Some(format!("{lane}/{n}"));
                    let put = Put { idempotency_key, ..Put::new(key, value) };
                    let result = store.put(put, call()).await;
                    // Two keys that only a range delete removes, in one revision.
                    let pair = [format!("p{lane:02}a"), format!("p{lane:02}b")];
                    let result = match result {
                        Ok(result) => {
                            for key in &pair {
                                let _ = store.put(Put::new(key.clone(), "x"), call()).await;
                            }
                            let range = KeyRange::prefix(format!("p{lane:02}"));
                            let _ = store.delete_range(DeleteRange { range }, call()).await;
                            Ok(result)
                        }
                        Err(error) => Err(error),
                    };
                    match result {
                        Ok(result) => println!("ok {lane} {n} {}", result.version.index),
                        Err(error) => {
                            println!("error {} {}", error.kind().code(), error.message());
                            break;
                        }
                    }
                    let _ = std::io::stdout().flush();
                }
            }
        });
        futures_util::future::join_all(lanes).await;
        // Reads go on when writes do not.
        let get = Get { key: "00".into(), consistency: Consistency::Lease };
        let read = store.get(get, call()).await;
        println!("read {}", read.is_ok_and(|entry| entry.is_some()));
        let again = store.put(Put::new("after", "v"), call()).await;
        println!("again {}", again.map_or_else(|error| error.kind().code(), |_| "OK"));
        let newest = store.status(call()).await.unwrap().version;
        let compacted = store.compact(newest, call()).await;
        println!("compact {}", compacted.map_or_else(|error| error.kind().code(), |()| "OK"));
        let _ = store.close().await;
    });
}

/// What was acknowledged: the number of the write and its revision, by lane.
type Acknowledged = BTreeMap<u64, (u64, u64)>;

async fn check(directory: &Path, acknowledged: &Acknowledged) {
    let store = EmbeddedStore::open(directory, Settings::default()).unwrap();
    let newest = store.status(call()).await.unwrap().version.index;
    for (lane, (n, revision)) in acknowledged {
        assert!(*revision <= newest, "revision {revision} was acknowledged; the store is at {newest}");
        let get = Get { key: format!("{lane:02}").into(), consistency: Consistency::Lease };
        let entry = store.get(get, call()).await.unwrap().unwrap();
        let text = String::from_utf8(entry.value.to_vec()).unwrap();
        let found: u64 = text[..20].parse().unwrap();
        assert_eq!(text, text[..20].repeat(20), "a half-written value");
        assert!(found == *n || found == n + 1, "lane {lane} has {found}; {n} was acknowledged");
        // The same write again answers the first version.
        let put = Put {
            idempotency_key: Some(format!("{lane}/{n}")),
            ..Put::new(format!("{lane:02}"), format!("{n:020}").repeat(20))
        };
        assert_eq!(store.put(put, call()).await.unwrap().version.index, *revision);
    }
    // Each revision of the history is whole: a range delete took both of a pair or none.
    for back in 0..200.min(newest - 1) {
        let version = Some(norikv_core::Version::new(1, newest - back));
        let page = store.scan(Scan { version, ..Scan::new(KeyRange::prefix("p")) }, call()).await.unwrap();
        for entry in &page.entries {
            let first = [&entry.key[..3], b"a"].concat();
            assert!(page.entries.iter().any(|other| other.key == first), "half a pair");
        }
    }
    store.delete(Delete::new("after"), call()).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_survives_kill_9() {
    for relaxed in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut acknowledged = Acknowledged::new();
        for round in 0..rounds() {
            let mut child = start("", directory.path(), relaxed);
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            // Killed after some acknowledged writes: never at the same place.
            let wanted = 50 + fastrand::usize(..500);
            let mut seen = 0;
            while seen < wanted {
                let Some(line) = lines.next() else { break };
                seen += usize::from(note(&line.unwrap(), &mut acknowledged));
            }
            assert_eq!(seen, wanted, "round {round}: the child ended by itself");
            child.kill().unwrap();
            for line in lines {
                note(&line.unwrap(), &mut acknowledged);
            }
            child.wait().unwrap();
            check(directory.path(), &acknowledged).await;
        }
    }
}

fn note(line: &str, acknowledged: &mut Acknowledged) -> bool {
    // The test harness writes its own name in front of the first line.
    let Some(at) = line.find("ok ") else { return false };
    let mut numbers = line[at + 3..].split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next().and_then(Result::ok);
    let (Some(lane), Some(n), Some(revision)) = (next(), next(), next()) else { return false };
    acknowledged.insert(lane, (n, revision));
    true
}

/// A limit on the size of files stands in for a full disk: writes fail in the same places.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_resource_exhausted_and_what_was_acknowledged_stays() {
    let directory = tempfile::tempdir().unwrap();
    // Made without the limit: the engine sets files aside that are larger than it.
    EmbeddedStore::open(directory.path(), Settings::default()).unwrap().close().await.unwrap();
    for round in 1..4u32 {
        let limit = format!("trap '' XFSZ; ulimit -f {};", 2_048 * round);
        let mut child = start(&limit, directory.path(), false);
        let mut acknowledged = Acknowledged::new();
        let (mut errors, mut tail) = (Vec::new(), Vec::new());
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if note(&line, &mut acknowledged) {
            } else if let Some(error) = line.strip_prefix("error ") {
                errors.push(error.split(' ').next().unwrap().to_owned());
            } else if ["read", "again", "compact"].iter().any(|word| line.starts_with(word)) {
                tail.push(line);
            }
        }
        child.wait().unwrap();
        let full = ErrorKind::ResourceExhausted.code();
        assert_eq!(errors.len(), 32, "{errors:?}");
        assert!(errors.iter().all(|error| error == full), "{errors:?}");
        assert_eq!(tail, ["read true".to_owned(), format!("again {full}"), format!("compact {full}")]);
        check(directory.path(), &acknowledged).await;
    }
}
