//! What `norikv copy` must not do, with the real binary between real stores.
#![cfg(unix)]
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;
mod copying;

use common::{Norikv, run};
use std::time::Duration;

use copying::{Copying, Etcd, assert_same, contents, copy, served};
use norikv_core::{Call, Put, Store, Ttl, Version};
use rustix::process::Signal;

async fn put(store: &dyn Store, key: &str, value: &str) -> Version {
    store.put(Put::new(key.to_owned(), value.to_owned()), Call::default()).await.unwrap().version
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_not_copied_into_itself_under_another_name() {
    let etcd = Etcd::start().await;
    let (here, there) = (etcd.address.clone(), etcd.by_name());
    let store = etcd.store();
    put(&*store, "app/x", "1").await;
    put(&*store, "other", "2").await;
    let before = contents(&*store).await;
    for (from, to) in [("/app/", ""), ("", "/app/"), ("", ""), ("/app/", "/app/x")] {
        copy(&[&format!("{here}{from}"), &format!("{there}{to}"), "--overwrite"])
            .assert_failed(1, &["the same store"]);
        assert_eq!(contents(&*store).await, before, "{from} {to}");
    }
    // Side by side is no overlap.
    copy(&[&format!("{here}/app/"), &format!("{there}/copy/")]).assert_equal();
    assert_eq!(contents(&*store).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_with_the_same_id_are_two() {
    let (from, to) = (Etcd::start_by_default().await, Etcd::start_by_default().await);
    put(&*from.store(), "a", "1").await;
    copy(&[&from.address, &to.address]).assert_equal();
    assert_same(&*from.store(), &*to.store()).await;
    assert_eq!(contents(&*to.store()).await.len(), 1);
}

#[test]
fn a_password_is_not_said_wherever_the_address_stands() {
    let secret = "etcd://root:sec;ret@127.0.0.1:1";
    for args in [
        &["serve", secret][..],
        &["serve", "--store", "memory:", secret],
        &["copy", "file:a", "file:b", secret],
        &["copy", "--from", secret],
        &["copy", &format!("--from={secret}")],
        &["copy", &format!("--quiet={secret}"), "file:a", "file:b"],
        &["copy", "file:a", "file:b", "--log", secret],
        &[secret],
        &[secret, "file:b"],
    ] {
        let ended = run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        ended.assert_one_line("norikv --help");
        assert!(
            !ended.stderr.contains("ret@") && !ended.stderr.contains("sec;"),
            "{args:?}: {}",
            ended.stderr
        );
    }
    let ended = run(&["copy", secret, &format!("{secret}/a/")]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("etcd://127.0.0.1:1 and etcd://127.0.0.1:1/a/ are"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("ret@") && !ended.stderr.contains("sec;"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_that_was_on_its_way_while_the_target_was_away_is_not_longer_by_that() {
    let server = Norikv::serve(&["--store", "memory:"]);
    let source = served(server.address());
    // It counts a time to live from when it gets the request.
    let target = Norikv::serve(&["--store", "memory:"]);
    let mut copying = Copying::start(&[server.address(), target.address(), "--follow"]);
    copying.caught_up(put(&*source, "a", "1").await);
    target.send(Signal::STOP);
    let ttl = Ttl::from_millis(600_000).ok();
    let last = source.put(Put { ttl, ..Put::new("session", "ends") }, Call::default()).await.unwrap().version;
    // More than two machines may differ by.
    tokio::time::sleep(Duration::from_secs(7)).await;
    target.send(Signal::CONT);
    copying.caught_up(last);
    copying.send(Signal::INT);
    copying.end().assert_equal();
    assert!(contents(&*served(target.address())).await.get(&b"session"[..]).is_some_and(|found| found.1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_all_keys_takes_over_those_of_a_part_and_leaves_no_note_of_theirs() {
    let server = Norikv::serve(&["--store", "memory:"]);
    let source = served(server.address());
    for key in ["a/1", "a/2", "b/1"] {
        put(&*source, key, "1").await;
    }
    let etcd = Etcd::start().await;
    // One part is broken off, and one is under way.
    let mut broken = Copying::start(&[server.address(), &etcd.address, "--prefix", "a/", "--follow"]);
    broken.line("caught up");
    broken.kill();
    let mut running = Copying::start(&[server.address(), &etcd.address, "--prefix", "b/", "--follow"]);
    running.line("caught up");
    copy(&[server.address(), &etcd.address]).assert_failed(1, &["has keys already", "--overwrite"]);

    let mut all = Copying::start(&[server.address(), &etcd.address, "--overwrite", "--follow"]);
    all.line("caught up");
    running.end().assert_failed(1, &["another norikv copy has begun"]);
    for prefix in ["a/", "c"] {
        copy(&[server.address(), &etcd.address, "--prefix", prefix, "--overwrite"])
            .assert_failed(1, &["these keys are a part of that"]);
    }
    all.send(Signal::INT);
    all.end().assert_equal();
    // Nothing is left, and it is a source like any other.
    assert_eq!(contents(&*etcd.store()).await.len(), 3);
    let back = Etcd::start().await;
    copy(&[&etcd.address, &back.address]).assert_equal();
    assert_same(&*source, &*back.store()).await;
}
