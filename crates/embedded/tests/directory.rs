//! What the directory of a store may and may not be.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod common;

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use common::{call, settings};
use norikv_core::{Consistency, Durability, ErrorKind, Get, Put, Store};
use norikv_embedded::{EmbeddedStore, Settings};

fn names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

fn refused(directory: &Path) -> norikv_core::Error {
    EmbeddedStore::open(directory, settings()).map(drop).unwrap_err()
}

#[tokio::test]
async fn data_is_there_again_after_close_and_after_drop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/with/parents");
    for round in 0..4u8 {
        let store = EmbeddedStore::open(&path, Settings::default()).unwrap();
        for earlier in 0..round {
            let get = Get { key: vec![b'k', earlier].into(), consistency: Consistency::Lease };
            assert_eq!(store.get(get, call()).await.unwrap().unwrap().value, vec![earlier]);
        }
        store.put(Put::new(vec![b'k', round], vec![round]), call()).await.unwrap();
        assert_eq!(store.status(call()).await.unwrap().version.index, 2 + u64::from(round));
        if round % 2 == 0 {
            store.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_that_is_open_is_not_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), settings()).unwrap();
    let error = refused(directory.path());
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.message().contains("open already"));
    store.close().await.unwrap();
    // Closed, not dropped: the directory is free all the same.
    EmbeddedStore::open(directory.path(), settings()).unwrap().close().await.unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(directory.path(), settings()).unwrap());
    fs::write(directory.path().join("norikv.format"), "NoriKV store, format 2\n").unwrap();
    let error = refused(directory.path());
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("format 2"));
}

#[test]
fn a_damaged_or_missing_format_is_corruption_and_the_data_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(directory.path(), settings()).unwrap());
    let format = directory.path().join("norikv.format");
    let text = fs::read(&format).unwrap();
    for damaged in [&b""[..], b"NoriKV store, format x\n", b"\xff\xfe", b"NoriKV store, format 1"] {
        fs::write(&format, damaged).unwrap();
        assert_eq!(refused(directory.path()).kind(), ErrorKind::Corruption);
    }
    fs::remove_file(&format).unwrap();
    assert_eq!(refused(directory.path()).kind(), ErrorKind::Corruption);
    fs::write(&format, text).unwrap();
    drop(EmbeddedStore::open(directory.path(), settings()).unwrap());
}

#[test]
fn a_directory_of_something_else_is_refused_and_left_as_it_was() {
    for name in ["notes.txt", "data", "0.jnl"] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(name), "mine").unwrap();
        let before = names(directory.path());
        let error = refused(directory.path());
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(name));
        assert_eq!(names(directory.path()), before);
    }
}

#[test]
fn a_file_is_no_store_and_neither_is_a_place_under_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert_eq!(refused(&file).kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused(&file.join("under")).kind(), ErrorKind::InvalidArgument);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_store_on_disk_is_not_asked_to_be_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { durability: Durability::Memory, ..settings() };
    let error = EmbeddedStore::open(directory.path(), settings).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_crash_while_a_store_is_made_leaves_something_that_opens() {
    // Every prefix of what creation does, as far as it shows in names.
    for leave in [
        &[][..],
        &["norikv.lock"],
        &["norikv.lock", "norikv.creating"],
        &["norikv.lock", "norikv.creating", "data"],
        &["norikv.lock", "norikv.creating", "data", "norikv.synced", "norikv.format.new"],
    ] {
        let directory = tempfile::tempdir().unwrap();
        for name in leave {
            match *name {
                "data" => {
                    fs::create_dir(directory.path().join(name)).unwrap();
                    fs::write(directory.path().join("data/0.jnl"), "half").unwrap();
                }
                name => fs::write(directory.path().join(name), "").unwrap(),
            }
        }
        drop(EmbeddedStore::open(directory.path(), settings()).unwrap());
        assert!(!names(directory.path()).contains("norikv.creating"));
    }
}

#[cfg(unix)]
#[test]
fn a_directory_without_permission_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).unwrap();
    // The superuser may write anywhere; there is nothing to see then.
    if fs::write(directory.path().join("probe"), "").is_err() {
        assert_eq!(refused(directory.path()).kind(), ErrorKind::PermissionDenied);
    }
}

#[tokio::test]
async fn idempotency_records_and_deadlines_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let write = Put { idempotency_key: Some("once".into()), ..Put::new("k", "v") };
    let ttl = norikv_core::Ttl::from_millis(300).ok();
    let store = EmbeddedStore::open(directory.path(), settings()).unwrap();
    let first = store.put(write.clone(), call()).await.unwrap().version;
    store.put(Put { ttl, ..Put::new("short", "v") }, call()).await.unwrap();
    store.close().await.unwrap();

    let store = EmbeddedStore::open(directory.path(), settings()).unwrap();
    assert_eq!(store.put(write, call()).await.unwrap().version, first);
    let expired = async {
        while store.status(call()).await.unwrap().version.index != first.index + 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), expired).await.unwrap();
    store.close().await.unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn opening_and_closing_leaks_nothing() {
    let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let resident = || {
        let status = fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let cycles = |memory: u32, disk: u32| {
        runtime.block_on(async {
            for n in 0..memory + disk {
                let store = if n < memory {
                    EmbeddedStore::memory(settings()).unwrap()
                } else {
                    EmbeddedStore::open(directory.path(), settings()).unwrap()
                };
                store.put(Put::new("k", "v"), call()).await.unwrap();
                store.close().await.unwrap();
            }
        });
    };
    cycles(200, 20);
    let before = (count("fd"), count("task"), resident());
    cycles(10_000, 100);
    // Threads are told to end before close answers; the kernel takes a moment to bury them.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while count("task") > before.1 && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(count("fd"), before.0);
    assert!(count("task") <= before.1, "{} threads, before {}", count("task"), before.1);
    assert!(resident() < before.2 + 20_000, "{} KiB, before {}", resident(), before.2);
}
