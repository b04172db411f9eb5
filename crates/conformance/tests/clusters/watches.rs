//! Watches over all clusters.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, stream::iter};
use norikv_conformance::{Check, Watcher, put, refused, refused_watch};
use norikv_core::{Call, ErrorKind, FieldName, KeyRange, Scan, Store, Version, Watch, WatchBatch};

use super::{Clusters, scan_all};

async fn write(store: &dyn Store, from: usize, to: usize) {
    iter(from..to)
        .for_each_concurrent(16, |n| async move {
            put(store, format!("key{}", n % 50), n.to_string()).await.unwrap();
        })
        .await;
}

/// The next so many events.
async fn take(watch: &mut Watcher, events: usize) -> Check<Vec<WatchBatch>> {
    let (mut batches, mut found) = (Vec::new(), 0);
    while found < events {
        let batch = watch.next().await?;
        found += batch.events.len();
        batches.push(batch);
    }
    Ok(batches)
}

fn values(batches: &[WatchBatch]) -> Vec<String> {
    let events = batches.iter().flat_map(|batch| &batch.events);
    events.map(|event| String::from_utf8(event.entry.value.to_vec()).unwrap()).collect()
}

/// Each once; of each cluster in the order of its revisions; and every batch at a greater moment than the one before.
fn check_order(clusters: &Clusters, batches: &[WatchBatch]) {
    let mut last: HashMap<usize, Version> = HashMap::new();
    for pair in batches.windows(2) {
        assert!(pair[0].version < pair[1].version, "{} is not before {}", pair[0].version, pair[1].version);
    }
    for event in batches.iter().flat_map(|batch| &batch.events) {
        let (at, version) = (clusters.home(&event.entry.key), event.entry.version);
        assert!(!version.is_moment());
        assert!(last.insert(at, version).is_none_or(|before| before < version));
    }
    let each: HashSet<String> = values(batches).into_iter().collect();
    assert_eq!(each.len(), values(batches).len());
}

fn all() -> Watch {
    Watch::new(KeyRange::all())
}

async fn follows_and_goes_on(clusters: &Clusters) -> Check {
    let store = clusters.open().await;
    let mut watch = Watcher::begin(&*store, all()).await?;
    write(&*store, 0, 400).await;
    let batches = take(&mut watch, 400).await?;
    check_order(clusters, &batches);
    // It is taken up anywhere, and by anybody who has a version of it.
    let other = clusters.open().await;
    for at in [0, 1, 7, 200, 399] {
        let version = batches[at].version;
        let next = Version::new(version.term, version.index + 1);
        let mut again = Watcher::from(&*other, next).await?;
        let rest: HashSet<String> = values(&batches[at + 1..]).into_iter().collect();
        let told = take(&mut again, rest.len()).await?;
        check_order(clusters, &told);
        assert_eq!(values(&told).into_iter().collect::<HashSet<_>>(), rest, "after batch {at}");
        assert!(told.first().is_none_or(|first| first.version >= next));
        // The version of a batch is inclusive.
        let mut again = Watcher::from(&*other, version).await?;
        let rest: HashSet<String> = values(&batches[at..]).into_iter().collect();
        let told = take(&mut again, rest.len()).await?;
        assert_eq!(values(&told).into_iter().collect::<HashSet<_>>(), rest, "from batch {at}");
    }
    // What is scanned at the version that a watch starts after, and what it tells, is everything once.
    let mut watch = Watcher::begin(&*store, all()).await?;
    write(&*store, 400, 500).await;
    let scan = Scan { version: Some(watch.start), ..Scan::new(KeyRange::all()) };
    let (entries, _) = scan_all(&*other, scan).await?;
    assert!(
        entries
            .iter()
            .all(|entry| std::str::from_utf8(&entry.value).unwrap().parse::<usize>().unwrap() < 400)
    );
    assert_eq!(values(&take(&mut watch, 100).await?).len(), 100);
    other.close().await?;
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_everything_of_all_clusters_once_and_is_taken_up_where_it_was() -> Check {
    follows_and_goes_on(&Clusters::two().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_more_clusters_than_fit_into_a_version_does_so_too() -> Check {
    follows_and_goes_on(&Clusters::start(5).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_within_one_tag_is_that_of_its_cluster() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    let tag = clusters.tag_of(1);
    let mut watch = Watcher::begin(&*store, Watch::new(KeyRange::prefix(tag.clone()))).await?;
    put(&*store, clusters.key_in(1, "other"), "v").await?;
    let version = put(&*store, format!("{tag}a"), "v").await?;
    assert_eq!(watch.next().await?.version, version);
    // From a moment on it is what came after it.
    let moment = store.status(Call::default()).await?.version;
    let version = put(&*store, format!("{tag}b"), "v").await?;
    let from = Watch { from: Some(moment), ..Watch::new(KeyRange::prefix(tag)) };
    assert_eq!(Watcher::begin(&*store, from).await?.next().await?.version, version);
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_version_of_one_cluster_a_watch_of_all_is_refused() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    let version = put(&*store, "key", "v").await?;
    let from = |version| Watch { from: Some(version), ..all() };
    let error = refused_watch(&*store, from(version), ErrorKind::InvalidArgument).await?;
    assert!(error.message().contains("is that of one cluster"), "{error}");
    let now = store.status(Call::default()).await?.version;
    let future = from(Version::new(now.term, now.index + (1 << 20)));
    refused_watch(&*store, future, ErrorKind::InvalidArgument).await?;
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_how_far_it_is_and_from_below_the_floor_it_fails() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    let start = store.status(Call::default()).await?.version;
    let watch = Watch { progress: true, ..Watch::new(KeyRange::prefix("quiet")) };
    let mut watch = Watcher::begin(&*store, watch).await?;
    write(&*store, 0, 50).await;
    let now = store.status(Call::default()).await?.version;
    // How far it is beyond that, not every etcd says in time.
    let batch = watch.next().await?;
    assert!(batch.events.is_empty() && watch.start <= batch.version && batch.version <= now);
    store.compact(now, Call::default()).await?;
    let watch = Watch { from: Some(Version::new(start.term, start.index + 1)), ..all() };
    let error = refused_watch(&*store, watch, ErrorKind::Compacted).await?;
    assert_eq!(error.version(FieldName::CompactVersion), Some(now), "{error:?}");
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_all_ends_when_the_store_closes() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    let mut watch = Watcher::begin(&*store, all()).await?;
    put(&*store, "key", "v").await?;
    watch.next().await?;
    store.close().await?;
    refused(watch.next().await, ErrorKind::Closed)?;
    Ok(())
}
