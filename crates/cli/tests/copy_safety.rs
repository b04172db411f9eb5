//! What `norikv copy` must not do, with the real binary between real stores.
#![cfg(unix)]
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;
mod copying;

use copying::{Etcd, assert_same, contents, copy};
use norikv_core::{Call, Put, Store, Version};

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
