//! The map of clusters: who writes it, and who is refused by it.

use std::collections::HashSet;

use futures_util::future::join_all;
use norikv_conformance::{Check, EtcdCluster, put, refused};
use norikv_core::{Call, ErrorKind};

use super::{Clusters, open};

const MAP: &[u8] = b"\0norikv.clusters/map";

#[tokio::test(flavor = "multi_thread")]
async fn first_starts_at_the_same_time_end_with_one_map() -> Check {
    let clusters = Clusters::start(3).await;
    let addresses: Vec<String> = clusters.all.iter().map(EtcdCluster::address).collect();
    let orders = [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0], [0, 2, 1], [2, 0, 1], [0, 1, 2], [2, 1, 0]];
    let starts = orders.map(|order| {
        let address = order.map(|at| addresses[at].clone()).join(";");
        async move { open(&address).await }
    });
    let stores = join_all(starts).await.into_iter().collect::<norikv_core::Result<Vec<_>>>()?;
    // Keys that each writes are where all others look for them.
    for (n, store) in stores.iter().enumerate() {
        put(&**store, format!("key{n}"), "v").await?;
        for other in &stores {
            assert!(norikv_conformance::get(&**other, format!("key{n}")).await?.is_some());
        }
    }
    let mut maps = HashSet::new();
    for cluster in 0..3 {
        maps.insert(clusters.raw(cluster).await.remove(MAP).unwrap());
    }
    assert_eq!(maps.len(), 1);
    join_all(stores.iter().map(|store| store.close())).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_died_half_way_is_completed_by_the_next() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    store.close().await?;
    // As if only the first had been written.
    clusters.all[1].client(0).await?.kv_client().delete(MAP, None).await.unwrap();
    let again = clusters.open().await;
    assert_eq!(clusters.raw(0).await[MAP], clusters.raw(1).await[MAP]);
    Ok(again.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn other_clusters_than_those_of_the_map_are_refused_and_a_swapped_order_is_not() -> Check {
    let clusters = Clusters::start(3).await;
    let [a, b, c] = [0, 1, 2].map(|at| clusters.all[at].address());
    let store = open(&format!("{a};{b}")).await?;
    let key = clusters.key_in(0, "key");
    put(&*store, key.clone(), "v").await?;
    let swapped = open(&format!("{b};{a}")).await?;
    assert!(norikv_conformance::get(&*swapped, key).await?.is_some());
    swapped.connect(Call::default()).await?;
    let before = clusters.revisions().await;

    let ids: Vec<String> = {
        let mut ids = Vec::new();
        for cluster in &clusters.all {
            ids.push(format!("{:x}", cluster.status(0).await?.header().unwrap().cluster_id()));
        }
        ids
    };
    for (address, too_many, missing) in [
        (format!("{a};{c}"), Some(2), Some(1)),
        (format!("{a};{b};{c}"), Some(2), None),
        (format!("{c};{b}"), Some(2), Some(0)),
    ] {
        let error = refused(open(&address).await.map(|_| ()), ErrorKind::InvalidArgument)?;
        let part =
            |at: Option<usize>| at.map_or_else(|| "none is".to_owned(), |at| format!("{} is", ids[at]));
        let said = format!("{} too many and {} missing", part(too_many), part(missing));
        assert!(error.message().contains(&said), "{said} is not in: {error}");
    }
    // One of several alone has not all keys.
    for address in [&a, &b] {
        let error = refused(open(address).await.map(|_| ()), ErrorKind::InvalidArgument)?;
        assert!(error.message().contains("is one of 2 that are one store together"), "{error}");
    }
    let error = refused(open(&format!("{a};{b};{a}")).await.map(|_| ()), ErrorKind::InvalidArgument)?;
    assert!(error.message().contains("the same cluster"), "{error}");
    assert_eq!(clusters.revisions().await, before, "something was written");
    // The third was never one of several.
    let third = open(&c).await?;
    third.close().await?;
    swapped.close().await?;
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_differs_in_one_cluster_is_refused() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    store.close().await?;
    let map = String::from_utf8(clusters.raw(1).await[MAP].clone()).unwrap();
    let client = clusters.all[1].client(0).await?;
    for (other, kind) in [
        (map.replace("generation 1", "generation 2"), ErrorKind::InvalidArgument),
        ("nonsense".to_owned(), ErrorKind::Corruption),
    ] {
        client.kv_client().put(MAP, other, None).await.unwrap();
        refused(open(&clusters.address()).await.map(|_| ()), kind)?;
    }
    client.kv_client().put(MAP, map, None).await.unwrap();
    Ok(clusters.open().await.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_that_have_keys_and_no_map_are_refused() -> Check {
    let clusters = Clusters::two().await;
    let alone = open(&clusters.all[1].address()).await?;
    put(&*alone, "key", "v").await?;
    let error = refused(open(&clusters.address()).await.map(|_| ()), ErrorKind::InvalidArgument)?;
    assert!(error.message().contains("has keys and no map of clusters"), "{error}");
    assert!(error.message().contains(&clusters.all[1].endpoints()[0]), "{error}");
    // Under a prefix there are none.
    open(&format!("{}/app/", clusters.address())).await?.close().await?;
    Ok(alone.close().await?)
}
