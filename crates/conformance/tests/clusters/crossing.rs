//! What would be of several clusters at once, and is not done.

use norikv_conformance::{Check, get, put, refused, to_delete_range, to_put, to_scan, txn, when_exists};
use norikv_core::{
    Call, Consistency, DeleteRange, Error, ErrorKind, GetMany, KeyRange, Put, Scan, Store, Txn, Version,
};

use super::Clusters;

/// That it says what is where, and what to do.
fn names(error: &Error, clusters: &Clusters, parts: &[&str]) {
    for part in parts {
        assert!(error.message().contains(part), "{part} is not in: {error}");
    }
    for cluster in &clusters.all {
        assert!(error.message().contains(&cluster.endpoints()[0]), "{error}");
    }
    assert!(error.message().contains("hash tag {…}"), "{error}");
}

async fn get_many(store: &dyn Store, keys: &[&str]) -> norikv_core::Result<usize> {
    let keys = keys.iter().map(|key| (*key).to_owned().into()).collect();
    let request = GetMany { keys, consistency: Consistency::default() };
    Ok(store.get_many(request, Call::default()).await?.into_iter().flatten().count())
}

async fn delete(store: &dyn Store, range: KeyRange) -> norikv_core::Result<u64> {
    Ok(store.delete_range(DeleteRange { range }, Call::default()).await?.deleted)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_crosses_is_refused_with_the_keys_and_nothing_is_written() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    let [a, b] = [clusters.key_in(0, "a"), clusters.key_in(1, "b")];
    put(&*store, a.clone(), "v").await?;
    put(&*store, b.clone(), "v").await?;
    let before = clusters.revisions().await;

    let both = Txn { then: vec![to_put(a.clone(), "w"), to_put(b.clone(), "w")], ..Txn::default() };
    let error = refused(txn(&*store, both).await, ErrorKind::Unsupported)?;
    names(&error, &clusters, &[&a, &b, "a transaction"]);
    let compared = Txn {
        compares: vec![when_exists(a.clone(), true)],
        otherwise: vec![to_put(b.clone(), "w")],
        ..Txn::default()
    };
    names(&refused(txn(&*store, compared).await, ErrorKind::Unsupported)?, &clusters, &[&a, &b]);
    let range = || KeyRange::new("x".into(), Some("z".into())).unwrap();
    for range in [to_delete_range(range()), to_scan(range())] {
        let ranged = Txn { then: vec![to_put(a.clone(), "w"), range], ..Txn::default() };
        let error = refused(txn(&*store, ranged).await, ErrorKind::Unsupported)?;
        assert!(error.message().contains("the range from \"x\" to \"z\" is in all 2 clusters"), "{error}");
    }
    let error = refused(get_many(&*store, &[&a, &a, &b]).await, ErrorKind::Unsupported)?;
    names(&error, &clusters, &[&a, &b, "a getMany"]);
    let error = refused(delete(&*store, KeyRange::all()).await, ErrorKind::Unsupported)?;
    assert!(error.message().contains("the range from \"\" on"), "{error}");
    refused(delete(&*store, KeyRange::prefix("{a")).await, ErrorKind::Unsupported)?;

    // What is wrong in itself is that first.
    refused(get_many(&*store, &[&a, &b, ""]).await, ErrorKind::InvalidArgument)?;
    let wrong = Txn { then: vec![to_put("", "w"), to_put(b.clone(), "w")], ..Txn::default() };
    refused(txn(&*store, wrong).await, ErrorKind::InvalidArgument)?;
    assert_eq!(clusters.revisions().await, before, "something was written");
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_hash_tag_the_same_is_done_at_once() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    for cluster in 0..2 {
        let tag = clusters.tag_of(cluster);
        let [a, b] = ["a", "b"].map(|key| format!("{tag}/{key}"));
        let both = Txn { then: vec![to_put(a.clone(), "v"), to_put(b.clone(), "v")], ..Txn::default() };
        let made = txn(&*store, both).await?;
        assert!(made.succeeded && !made.version.is_moment());
        assert_eq!(get(&*store, a.clone()).await?.unwrap().version, made.version);
        assert_eq!(get_many(&*store, &[&a, &b]).await?, 2);
        // Reads at the version of one of its writes, as on one cluster.
        put(&*store, a.clone(), "w").await?;
        let then = Scan { version: Some(made.version), ..Scan::new(KeyRange::prefix(tag.clone())) };
        let page = store.scan(then, Call::default()).await?;
        assert_eq!((page.entries.len(), &*page.entries[0].value, page.version), (2, &b"v"[..], made.version));
        assert_eq!(delete(&*store, KeyRange::prefix(tag)).await?, 2);
    }
    // Where keys are in one cluster by chance, they are in one cluster.
    let (one, other) = (clusters.key_in(0, "x"), clusters.key_in(0, "y"));
    let both = Txn { then: vec![to_put(one.clone(), "v"), to_put(other.clone(), "v")], ..Txn::default() };
    assert!(txn(&*store, both).await?.succeeded);
    // Of one key an old version is read as it is on one cluster, whatever its name.
    let old = get(&*store, one.clone()).await?.unwrap().version;
    put(&*store, one.clone(), "w").await?;
    let then = Scan { version: Some(old), ..Scan::new(KeyRange::single(&one.into())) };
    assert_eq!(store.scan(then, Call::default()).await?.entries[0].value, "v");
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_an_idempotency_key_is_where_its_key_is() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    for cluster in 0..2 {
        let key = clusters.key_in(cluster, "key");
        let once = Put { idempotency_key: Some(format!("once{cluster}")), ..Put::new(key, "v") };
        let first: Version = store.put(once.clone(), Call::default()).await?.version;
        assert_eq!(store.put(once, Call::default()).await?.version, first);
        let record = format!("\0norikv.idempotency/once{cluster}");
        assert!(clusters.raw(cluster).await.contains_key(record.as_bytes()));
        assert!(!clusters.raw(1 - cluster).await.contains_key(record.as_bytes()));
    }
    Ok(store.close().await?)
}
