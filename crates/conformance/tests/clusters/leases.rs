//! Leases over all clusters.

use std::time::Duration;

use norikv_conformance::{Check, Watcher, call, get, grant, put, refused, revoke, with_lease};
use norikv_core::{Call, ErrorKind, EventKind, KeyRange, LeaseTimeToLive, Watch};

use super::Clusters;

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_has_keys_in_all_clusters_and_takes_them_with_it() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    let id = grant(&*store, 60_000).await?;
    let held: Vec<String> = (0..2).map(|cluster| clusters.key_in(cluster, "held")).collect();
    for key in &held {
        store.put(with_lease(key.clone(), "v", id), call()).await?;
    }
    put(&*store, "free", "v").await?;
    assert_eq!(get(&*store, held[1].clone()).await?.unwrap().lease, Some(id));
    let status = store.lease_time_to_live(LeaseTimeToLive { id, keys: true }, call()).await?;
    let mut sorted = held.clone();
    sorted.sort();
    assert_eq!(status.keys, sorted);
    assert_eq!(status.granted, Duration::from_secs(60));
    assert_eq!(store.leases(call()).await?, [id]);
    let kept = store.lease_keep_alive(vec![id], call()).await?;
    assert_eq!(kept, [Some(Duration::from_secs(60))]);

    let mut watch = Watcher::begin(&*store, Watch::new(KeyRange::prefix("held"))).await?;
    let version = revoke(&*store, id).await?;
    assert!(version.is_moment());
    for _ in 0..2 {
        let batch = watch.next().await?;
        assert!(batch.version <= version && batch.events[0].kind == EventKind::Delete);
    }
    for key in held {
        assert!(get(&*store, key).await?.is_none());
    }
    assert!(get(&*store, "free").await?.is_some());
    assert!(store.leases(call()).await?.is_empty());
    refused(revoke(&*store, id).await, ErrorKind::LeaseNotFound)?;
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_one_cluster_has_lost_is_lost_and_goes_in_the_others() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    for cluster in 0..2 {
        let (id, other) = (grant(&*store, 60_000).await?, grant(&*store, 60_000).await?);
        let key = clusters.key_in(1 - cluster, "held");
        store.put(with_lease(key.clone(), "v", id), call()).await?;
        let client = clusters.all[cluster].client(0).await?;
        client.lease_client().revoke(i64::try_from(id.get()).unwrap()).await.unwrap();
        assert!(!store.leases(call()).await?.contains(&id));
        refused(
            store.lease_time_to_live(LeaseTimeToLive { id, keys: false }, call()).await,
            ErrorKind::LeaseNotFound,
        )?;
        let kept = store.lease_keep_alive(vec![id, other], call()).await?;
        assert_eq!(kept, [None, Some(Duration::from_secs(60))]);
        assert!(get(&*store, key).await?.is_none(), "its keys are left in the other cluster");
        // What was left of one is revoked.
        let client = clusters.all[cluster].client(0).await?;
        client.lease_client().revoke(i64::try_from(other.get()).unwrap()).await.unwrap();
        revoke(&*store, other).await?;
    }
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_granted_in_all_clusters_or_in_none() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    clusters.all[1].kill(0);
    if clusters.all[1].len() > 1 {
        clusters.all[1].kill(1);
    }
    let short = Call::with_timeout(Duration::from_secs(3));
    let ttl = norikv_core::Ttl::from_millis(60_000)?;
    let granted = store.lease_grant(norikv_core::LeaseGrant::new(ttl), short).await;
    assert!(granted.unwrap_err().retryable());
    // A member tells of leases what it knows itself, and it may learn of the end of one a little later.
    let client = clusters.all[0].client(0).await?;
    let gone = async {
        while !client.lease_client().leases().await.unwrap().leases().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let soon = tokio::time::timeout(Duration::from_secs(20), gone).await;
    assert!(soon.is_ok(), "it is left in the cluster that was reached");
    Ok(store.close().await?)
}
