//! Where keys are.

use norikv_conformance::{Check, Watcher, get, put, refused};
use norikv_core::{ErrorKind, KeyRange, Scan, Watch};

use super::{Clusters, keys, open, scan_all};

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_where_the_map_says_and_spread_over_both_clusters() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    for n in 0..200 {
        put(&*store, format!("key{n}"), "v").await?;
        put(&*store, format!("{{tag{n}}}/a"), "v").await?;
        put(&*store, format!("{{tag{n}}}/b"), "v").await?;
    }
    let mut found = 0;
    for cluster in 0..2 {
        let raw = clusters.raw(cluster).await;
        let plain: Vec<_> = raw.keys().filter(|key| key.starts_with(b"key")).collect();
        assert!(plain.len() > 60, "{} of 200 are in cluster {cluster}", plain.len());
        assert!(plain.iter().all(|key| clusters.home(key) == cluster));
        let tagged: Vec<_> = raw.keys().filter(|key| key.starts_with(b"{tag")).collect();
        // Both keys of each tag.
        assert!(tagged.chunks(2).all(|pair| pair[0][..pair[0].len() - 1] == pair[1][..pair[1].len() - 1]));
        found += plain.len() + tagged.len();
    }
    assert_eq!(found, 600);
    assert_eq!(get(&*store, "key7").await?.unwrap().value, "v");
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_map_is_in_both_clusters_and_hidden_from_users() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    let map = b"\0norikv.clusters/map";
    let maps = [clusters.raw(0).await[&map[..]].clone(), clusters.raw(1).await[&map[..]].clone()];
    assert_eq!(maps[0], maps[1]);
    let text = String::from_utf8(maps[0].clone()).unwrap();
    assert!(text.starts_with("norikv clusters\nformat 1\ngeneration 1\nshards 1024\ncluster "), "{text}");

    let mut watch = Watcher::begin(&*store, Watch::new(KeyRange::all())).await?;
    put(&*store, "seen", "v").await?;
    assert_eq!(keys(&scan_all(&*store, Scan::new(KeyRange::all())).await?.0), ["seen"]);
    assert_eq!(watch.next().await?.events[0].entry.key, "seen");
    refused(put(&*store, &map[..], "mine").await, ErrorKind::InvalidArgument)?;
    refused(get(&*store, &map[..]).await, ErrorKind::InvalidArgument)?;
    Ok(store.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_of_the_address_has_a_map_of_its_own_and_does_not_move_keys() -> Check {
    let clusters = Clusters::two().await;
    let [app, other] = ["app/", "other/"].map(|prefix| format!("{}/{prefix}", clusters.address()));
    let (app, other) = (open(&app).await?, open(&other).await?);
    let key = clusters.key_in(1, "key");
    put(&*app, key.clone(), "app").await?;
    put(&*other, key.clone(), "other").await?;
    assert_eq!(clusters.raw(1).await[format!("app/{key}").as_bytes()], b"app");
    assert!(clusters.raw(1).await.contains_key(&b"other/\0norikv.clusters/map"[..]));
    assert_eq!(keys(&scan_all(&*app, Scan::new(KeyRange::all())).await?.0), [key]);
    app.close().await?;
    Ok(other.close().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_opened_again_finds_what_was_written() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    for n in 0..50 {
        put(&*store, format!("key{n:02}"), n.to_string()).await?;
    }
    store.close().await?;
    let again = clusters.open().await;
    let (entries, _) = scan_all(&*again, Scan::new(KeyRange::prefix("key"))).await?;
    assert_eq!(entries.len(), 50);
    assert!(entries.iter().enumerate().all(|(n, entry)| entry.value == n.to_string()));
    Ok(again.close().await?)
}
