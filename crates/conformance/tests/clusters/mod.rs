//! Two etcd clusters, and what is asked of them.

mod crossing;
mod down;
mod leases;
mod map;
mod placed;
mod scans;
mod served;
pub(crate) mod tagged;
mod watches;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use norikv_conformance::{EtcdCluster, EtcdOptions};
use norikv_core::{Call, Entry, Result, Scan, Store, StoreRef, shard_for_key};
use norikv_etcd::EtcdSettings;

/// Clusters that nothing was written to.
pub(crate) struct Clusters {
    /// In the order of their ids.
    pub(crate) all: Vec<EtcdCluster>,
}

impl Clusters {
    pub(crate) async fn start(count: usize) -> Self {
        let options = if std::env::var_os("NORIKV_LONG").is_some() {
            EtcdOptions::default()
        } else {
            // One member has nobody to wait for before it leads.
            let (heartbeat, election) = (Duration::from_millis(10), Duration::from_millis(100));
            EtcdOptions { members: 1, heartbeat, election, ..EtcdOptions::default() }
        };
        let starts = (0..count).map(|_| EtcdCluster::start(options.clone()));
        let mut all: Vec<(u64, EtcdCluster)> = Vec::new();
        for cluster in join_all(starts).await {
            let cluster = cluster.unwrap();
            let id = cluster.status(0).await.unwrap().header().unwrap().cluster_id();
            all.push((id, cluster));
        }
        all.sort_by_key(|(id, _)| *id);
        Self { all: all.into_iter().map(|(_, cluster)| cluster).collect() }
    }

    pub(crate) async fn two() -> Self {
        Self::start(2).await
    }

    /// The address of all of them.
    pub(crate) fn address(&self) -> String {
        self.all.iter().map(EtcdCluster::address).collect::<Vec<_>>().join(";")
    }

    pub(crate) async fn open(&self) -> StoreRef {
        open(&self.address()).await.unwrap()
    }

    /// Which of them a key without a tag is in.
    pub(crate) fn home(&self, key: &[u8]) -> usize {
        shard_for_key(key, 1_024) as usize * self.all.len() / 1_024
    }

    /// A key without a tag that begins so, and is in one of them.
    pub(crate) fn key_in(&self, cluster: usize, begin: &str) -> String {
        (0..).map(|n| format!("{begin}{n}")).find(|key| self.home(key.as_bytes()) == cluster).unwrap()
    }

    /// A hash tag of one of them.
    pub(crate) fn tag_of(&self, cluster: usize) -> String {
        format!("{{{}}}", self.key_in(cluster, "tag"))
    }

    /// What is in a cluster, whoever wrote it.
    pub(crate) async fn raw(&self, cluster: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let client = self.all[cluster].client(0).await.unwrap();
        let options = etcd_client::GetOptions::new().with_all_keys();
        let found = client.kv_client().get("", Some(options)).await.unwrap();
        found.kvs().iter().map(|found| (found.key().to_vec(), found.value().to_vec())).collect()
    }

    /// The revision of each.
    pub(crate) async fn revisions(&self) -> Vec<i64> {
        let mut revisions = Vec::new();
        for cluster in &self.all {
            revisions.push(cluster.status(0).await.unwrap().header().unwrap().revision());
        }
        revisions
    }
}

pub(crate) async fn open(address: &str) -> Result<StoreRef> {
    norikv_etcd::open(EtcdSettings::parse_all(address)?, Call::default()).await
}

/// Everything that a scan answers, and of how many pages.
pub(crate) async fn scan_all(store: &dyn Store, scan: Scan) -> Result<(Vec<Entry>, usize)> {
    let (mut next, mut all, mut pages) = (Some(scan), Vec::new(), 0);
    while let Some(scan) = next {
        let page = store.scan(scan.clone(), Call::default()).await?;
        assert!(!page.entries.is_empty() || !page.more, "an empty page that says that there is more");
        next = scan.next(&page);
        all.extend(page.entries);
        pages += 1;
    }
    Ok((all, pages))
}

pub(crate) fn keys(entries: &[Entry]) -> Vec<Bytes> {
    entries.iter().map(|entry| entry.key.clone()).collect()
}
