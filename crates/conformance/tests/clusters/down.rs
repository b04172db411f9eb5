//! One of the clusters is away.

use std::time::Duration;

use norikv_conformance::{Check, Watcher, get, put};
use norikv_core::{Call, Count, KeyRange, Put, Scan, Watch};

use super::{Clusters, keys, open, scan_all};

#[tokio::test(flavor = "multi_thread")]
async fn while_one_cluster_is_away_the_keys_of_the_other_go_on_and_no_scan_answers_half() -> Check {
    let clusters = Clusters::two().await;
    let store = clusters.open().await;
    let [here, there] = [clusters.key_in(0, "key"), clusters.key_in(1, "key")];
    put(&*store, here.clone(), "1").await?;
    put(&*store, there.clone(), "1").await?;
    let mut watch = Watcher::begin(&*store, Watch::new(KeyRange::all())).await?;
    let members = clusters.all[1].len();
    for member in 0..members {
        clusters.all[1].kill(member);
    }
    let short = || Call::with_timeout(Duration::from_secs(2));
    for n in 2..10 {
        put(&*store, here.clone(), n.to_string()).await?;
        assert_eq!(get(&*store, here.clone()).await?.unwrap().value, n.to_string());
        assert_eq!(watch.next().await?.events[0].entry.value, n.to_string());
    }
    assert!(store.put(Put::new(there.clone(), "2"), short()).await.unwrap_err().retryable());
    assert!(store.scan(Scan::new(KeyRange::all()), short()).await.unwrap_err().retryable());
    assert!(store.count(Count::default(), short()).await.unwrap_err().retryable());
    let error = open(&clusters.address()).await.map(|_| ()).unwrap_err();
    assert!(error.retryable() && error.message().contains(&clusters.all[1].endpoints()[0]), "{error}");
    for member in 0..members {
        clusters.all[1].restart(member)?;
    }
    clusters.all[1].healthy().await?;
    // Whether the put that was refused took place is not asked.
    put(&*store, there.clone(), "3").await?;
    let (entries, _) = scan_all(&*store, Scan::new(KeyRange::all())).await?;
    let mut sorted = [here, there.clone()];
    sorted.sort();
    assert_eq!(keys(&entries), sorted);
    // The watch has gone on at the cluster that is back, and missed nothing.
    loop {
        let batch = watch.next().await?;
        assert_eq!(batch.events[0].entry.key, there);
        if batch.events[0].entry.value == "3" {
            break;
        }
    }
    Ok(store.close().await?)
}
