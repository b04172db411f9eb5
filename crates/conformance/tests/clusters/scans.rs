//! Scans and counts over all clusters.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::iter};
use norikv_conformance::{Check, put, refused};
use norikv_core::{Call, Consistency, Count, ErrorKind, FieldName, KeyRange, Order, Scan, Store, Version};

use super::{Clusters, keys, scan_all};

async fn fill(store: &dyn Store, count: usize) -> BTreeMap<Bytes, Bytes> {
    let all: BTreeMap<Bytes, Bytes> = (0..count)
        .map(|n| {
            (
                Bytes::from(format!("k{:08x}", n.wrapping_mul(2_654_435_761) as u32)),
                Bytes::from(n.to_string()),
            )
        })
        .collect();
    iter(all.clone())
        .for_each_concurrent(64, |(key, value)| async move {
            put(store, key, value).await.unwrap();
        })
        .await;
    all
}

async fn count(store: &dyn Store, version: Option<Version>) -> norikv_core::Result<(u64, Version)> {
    let request = Count { range: KeyRange::prefix("k"), version, consistency: Consistency::default() };
    let result = store.count(request, Call::default()).await?;
    Ok((result.count, result.version))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_goes_over_all_clusters_in_the_order_of_the_keys() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    let all = fill(&*store, 3_000).await;
    let sorted: Vec<&Bytes> = all.keys().collect();
    let scan = Scan::new(KeyRange::prefix("k"));
    let (entries, pages) = scan_all(&*store, scan.clone()).await?;
    assert_eq!(keys(&entries).iter().collect::<Vec<_>>(), sorted);
    assert!(entries.iter().all(|entry| all[&entry.key] == entry.value));
    // No page is larger than that of one cluster, and few are smaller.
    assert!((3..=6).contains(&pages), "{pages} pages");
    let down = Scan { order: Order::Descending, keys_only: true, ..scan.clone() };
    let (entries, _) = scan_all(&*store, down).await?;
    assert_eq!(keys(&entries).iter().rev().collect::<Vec<_>>(), sorted);
    assert!(entries.iter().all(|entry| entry.value.is_empty() && entry.generation == 1));
    for limit in [1, 2, 63, 700, 1_500, 2_999, 3_000, 3_001] {
        let (entries, _) = scan_all(&*store, Scan { limit, ..scan.clone() }).await?;
        assert_eq!(entries.len() as u64, limit.min(3_000));
        assert_eq!(entries.last().map(|entry| &entry.key), Some(sorted[entries.len() - 1]));
    }
    let (from, to) = (sorted[100].clone(), sorted[1_900].clone());
    let (entries, _) = scan_all(&*store, Scan::new(KeyRange::new(from, Some(to))?)).await?;
    assert_eq!(keys(&entries).iter().collect::<Vec<_>>(), sorted[100..1_900]);
    assert_eq!(count(&*store, None).await?.0, 3_000);
    assert!(scan_all(&*store, Scan::new(KeyRange::prefix("nothing"))).await?.0.is_empty());
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_of_the_moment_of_the_first() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    let all = fill(&*store, 2_500).await;
    let mut next = Some(Scan::new(KeyRange::prefix("k")));
    let mut seen = BTreeMap::new();
    let mut versions = Vec::new();
    while let Some(scan) = next {
        let page = store.scan(scan.clone(), Call::default()).await?;
        next = scan.next(&page);
        versions.push(page.version);
        seen.extend(page.entries.into_iter().map(|entry| (entry.key, entry.value)));
        // What changes meanwhile is not seen, in neither cluster.
        for key in all.keys().rev().take(40) {
            put(&*store, key.clone(), "changed").await?;
        }
        put(&*store, format!("kzz{}", versions.len()), "new").await?;
    }
    assert!(versions.len() > 2 && versions.iter().all(|version| *version == versions[0]));
    assert_eq!(seen, all);
    // Another process reads at that moment as well, and so does a range within one cluster.
    let (then, now) = (Some(versions[0]), scan_all(&*store, Scan::new(KeyRange::prefix("k"))).await?.0.len());
    let other = clusters.open().await;
    assert_eq!(count(&*other, then).await?, (2_500, versions[0]));
    assert_eq!(now, 2_500 + versions.len());
    let last = all.keys().next_back().unwrap();
    let one = Scan { version: then, ..Scan::new(KeyRange::single(last)) };
    assert_eq!(other.scan(one, Call::default()).await?.entries[0].value, all[last]);
    other.close().await?;
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_of_one_cluster_is_no_moment_of_all() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    let version = put(&*store, "key", "v").await?;
    let all = Scan::new(KeyRange::all());
    let at = |version| Scan { version: Some(version), ..all.clone() };
    let error = refused(store.scan(at(version), Call::default()).await, ErrorKind::InvalidArgument)?;
    assert!(error.message().contains("is that of one cluster"), "{error}");
    refused(count(&*store, Some(version)).await, ErrorKind::InvalidArgument)?;
    refused(store.compact(version, Call::default()).await, ErrorKind::InvalidArgument)?;
    let now = store.status(Call::default()).await?.version;
    assert!(now.is_moment());
    let future = Version::new(now.term, now.index + (1 << 20));
    refused(store.scan(at(future), Call::default()).await, ErrorKind::InvalidArgument)?;
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_floor_of_a_moment_nothing_is_read() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    fill(&*store, 20).await;
    let early = count(&*store, None).await?.1;
    for n in 0..20 {
        put(&*store, format!("later{n}"), "v").await?;
    }
    let floor = store.status(Call::default()).await?.version;
    put(&*store, "last", "v").await?;
    store.compact(floor, Call::default()).await?;
    store.compact(floor, Call::default()).await?;
    assert_eq!(store.status(Call::default()).await?.sizes.compact_version, floor);
    let error = refused(count(&*store, Some(early)).await, ErrorKind::Compacted)?;
    assert_eq!(error.version(FieldName::CompactVersion), Some(floor));
    refused(store.compact(early, Call::default()).await, ErrorKind::Compacted)?;
    assert_eq!(count(&*store, Some(floor)).await?.0, 20);
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn moments_of_more_clusters_than_fit_are_known_to_every_process() -> Check {
    let clusters = Clusters::start(5).await;
    let store = clusters.open().await;
    let all = fill(&*store, 2_000).await;
    let first = Scan::new(KeyRange::prefix("k"));
    let page = store.scan(first.clone(), Call::default()).await?;
    put(&*store, "k", "new").await?;
    let other = clusters.open().await;
    let mut found = keys(&page.entries);
    found.extend(keys(&scan_all(&*other, first.next(&page).unwrap()).await?.0));
    assert_eq!(found.iter().collect::<Vec<_>>(), all.keys().collect::<Vec<_>>());
    assert_eq!(count(&*other, Some(page.version)).await?.0, 2_000);
    // Its base is no key of users.
    assert_eq!(scan_all(&*other, Scan::new(KeyRange::all())).await?.0.len(), 2_001);
    assert!(clusters.raw(0).await.keys().any(|key| key.starts_with(b"\0norikv.clusters/moment/")));
    other.close().await?;
    Ok(store.close().await?)
}
