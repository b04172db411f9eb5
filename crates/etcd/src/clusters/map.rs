//! The map of clusters: which of them hold which shards. It is kept in each of them, the same in all, as text.
//!
//! It is written by the first start and never changes from then on, since nothing moves shards yet. So it is read when the store is
//! opened and when [`connect`](norikv_core::Store::connect) is called, and not with every call: what was read once is what there is.
//! A cluster is known by its own id, which etcd tells with every answer and no configuration of clients changes.

use std::fmt::Write as _;

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse};
use futures_util::future::try_join_all;
use norikv_core::{Call, Error, ErrorKind, KeyRange, Result};

use crate::{
    clusters::placement::{SHARDS, shard_of},
    connection::Ask,
    reads::unexpected,
    store::Inner,
};

const TITLE: &str = "norikv clusters";
const FORMAT: u64 = 1;
/// The most clusters that are one store.
pub(crate) const MAX_CLUSTERS: usize = 64;

/// Which clusters hold which shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    /// One more with each change of it.
    generation: u64,
    /// etcd's ids of the clusters.
    pub(crate) clusters: Vec<u64>,
    /// For each shard the place of its cluster among those.
    homes: Vec<usize>,
}

impl Map {
    /// The first map of clusters: each has as many shards as any other, or one less.
    pub(crate) fn new(mut clusters: Vec<u64>) -> Self {
        // Whoever writes it writes the same, in whatever order it was told of them.
        clusters.sort_unstable();
        let (shards, count) = (SHARDS as usize, clusters.len().max(1));
        let homes = (0..shards).map(|shard| shard * count / shards).collect();
        Self { generation: 1, clusters, homes }
    }

    /// The place of the cluster of a shard.
    pub(crate) fn home_of_shard(&self, shard: u32) -> usize {
        self.homes.get(shard as usize).copied().unwrap_or(0)
    }

    /// The place of the cluster of a key.
    pub(crate) fn home(&self, key: &[u8]) -> usize {
        self.home_of_shard(shard_of(key))
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("{TITLE}\nformat {FORMAT}\ngeneration {}\nshards {SHARDS}\n", self.generation);
        for (place, id) in self.clusters.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(text, "cluster {id:x}");
            let mut shard = 0;
            while let Some(first) = (shard..self.homes.len()).find(|shard| self.homes[*shard] == place) {
                let count = self.homes[first..].iter().take_while(|home| **home == place).count();
                let _ = write!(text, " {first}-{}", first + count - 1);
                shard = first + count;
            }
            text.push('\n');
        }
        text
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        let read = std::str::from_utf8(text).ok().and_then(read);
        read.ok_or_else(|| {
            Error::new(
                ErrorKind::Corruption,
                format!(
                    "the map of clusters is not one that this version knows: {:?}; was it written by a later version, or by hand?",
                    String::from_utf8_lossy(&text[..text.len().min(200)])
                ),
            )
        })
    }
}

fn read(text: &str) -> Option<Map> {
    let mut lines = text.lines();
    let number = |line: &str, name: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok();
    (lines.next()? == TITLE).then_some(())?;
    (number(lines.next()?, "format")? == FORMAT).then_some(())?;
    let generation = number(lines.next()?, "generation")?;
    (number(lines.next()?, "shards")? == u64::from(SHARDS)).then_some(())?;
    let mut clusters = Vec::new();
    let mut homes = vec![None; SHARDS as usize];
    for line in lines {
        let mut words = line.strip_prefix("cluster ")?.split(' ');
        clusters.push(u64::from_str_radix(words.next()?, 16).ok()?);
        for range in words {
            let (first, last) = range.split_once('-')?;
            let shards = homes.get_mut(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)?;
            // No shard is in two places.
            shards.iter().all(Option::is_none).then_some(())?;
            shards.fill(Some(clusters.len() - 1));
        }
    }
    let homes = homes.into_iter().collect::<Option<Vec<_>>>()?;
    let is_sorted = clusters.windows(2).all(|pair| pair[0] < pair[1]);
    (is_sorted && clusters.len() <= MAX_CLUSTERS).then_some(Map { generation, clusters, homes })
}

/// What a cluster says of itself.
pub(crate) struct Found {
    /// etcd's id of it.
    pub(crate) id: u64,
    pub(crate) map: Option<Map>,
}

/// Which map the clusters have, each known by its endpoints; it is written where it is not yet. Answers for each of the map's
/// clusters which of those that were asked it is.
///
/// # Errors
/// `InvalidArgument` if they are not those of the map, or have keys and no map; and what the clusters answer.
pub(crate) async fn settle(clusters: &[(String, &Inner)], call: Call) -> Result<(Map, Vec<usize>)> {
    let found = try_join_all(clusters.iter().map(|(_, cluster)| cluster.find_map(call))).await?;
    let names = |which: &[usize]| {
        let each = which.iter().map(|at| format!("{:x} (at {})", found[*at].id, clusters[*at].0));
        each.collect::<Vec<_>>().join(", ")
    };
    for (at, one) in found.iter().enumerate() {
        if let Some(other) = found[..at].iter().position(|other| other.id == one.id) {
            return Err(Error::invalid_argument(format!(
                "two parts of the address are the same cluster, {}: name each cluster once, with all of its members; if they are two, start each with an --initial-cluster-token of its own, since etcd makes a cluster's id of that and of its members",
                names(&[other, at])
            )));
        }
    }
    let asked: Vec<usize> = (0..clusters.len()).collect();
    let map = Map::new(found.iter().map(|found| found.id).collect());
    for (at, one) in found.iter().enumerate() {
        if let Some(there) = &one.map {
            check(there, &map, &names(&[at]), &names(&asked))?;
        }
    }
    let places = map.clusters.iter().filter_map(|id| found.iter().position(|one| one.id == *id)).collect();
    // In the order of their ids: of two first starts with other clusters, one is stopped by the first that both name.
    for place in &places as &Vec<usize> {
        if found[*place].map.is_some() {
            continue;
        }
        match clusters[*place].1.claim_map(&map, call).await? {
            Claimed::Mine => {}
            Claimed::Taken(there) => check(&there, &map, &names(&[*place]), &names(&asked))?,
            Claimed::Full => {
                return Err(Error::invalid_argument(format!(
                    "cluster {} has keys and no map of clusters, so they are not where several clusters would look for them: several begin empty; copy the keys into them, or give them a prefix of their own, like etcd://…;etcd://…/app/",
                    names(&[*place])
                )));
            }
        }
    }
    Ok((map, places))
}

/// Refuses a map of other clusters than were asked for.
fn check(there: &Map, asked: &Map, at: &str, names: &str) -> Result<()> {
    if there == asked {
        return Ok(());
    }
    let list = |ids: Vec<&u64>| {
        if ids.is_empty() {
            return "none".to_owned();
        }
        ids.iter().map(|id| format!("{id:x}")).collect::<Vec<_>>().join(", ")
    };
    let less = |a: &Map, b: &Map| list(a.clusters.iter().filter(|id| !b.clusters.contains(id)).collect());
    Err(Error::invalid_argument(format!(
        "these are not the clusters of this store: asked for were {names}; the map in {at} says {} (generation {}), so that {} too many and {} missing. Name exactly the clusters of the map, in any order; clusters cannot be added or taken away yet. If the map is of a first start that failed, and no keys were written, delete the key \"\\0norikv.clusters/map\" behind the prefix there",
        list(there.clusters.iter().collect()),
        there.generation,
        match less(asked, there) {
            none if none == "none" => "none is".to_owned(),
            ids => format!("{ids} is"),
        },
        match less(there, asked) {
            none if none == "none" => "none is".to_owned(),
            ids => format!("{ids} is"),
        },
    )))
}

/// Refuses a cluster that is one of several.
///
/// # Errors
/// `InvalidArgument`, and what the cluster answers.
pub(crate) async fn alone(name: &str, cluster: &Inner, call: Call) -> Result<()> {
    let Found { id, map: Some(map) } = cluster.find_map(call).await? else { return Ok(()) };
    Err(Error::invalid_argument(format!(
        "cluster {id:x} (at {name}) is one of {} that are one store together, {}, and holds a part of the keys: name all of them, like etcd://…;etcd://…",
        map.clusters.len(),
        map.clusters.iter().map(|id| format!("{id:x}")).collect::<Vec<_>>().join(", ")
    )))
}

enum Claimed {
    /// The map was written.
    Mine,
    /// There is one.
    Taken(Map),
    /// There is none, and there are keys.
    Full,
}

impl Inner {
    pub(crate) async fn find_map(&self, call: Call) -> Result<Found> {
        let key = self.keys.map();
        let answer = self
            .connection
            .ask_kv(Ask::Read, call, |mut kv| {
                let key = key.clone();
                async move { kv.get(key, None).await }
            })
            .await?;
        let id = answer.value.header().map(etcd_client::ResponseHeader::cluster_id);
        let id = id.ok_or_else(|| Error::internal("etcd answered without a header"))?;
        let map = answer.value.kvs().first().map(|found| Map::parse(found.value())).transpose()?;
        Ok(Found { id, map })
    }

    /// Writes the map, if there is none and there are no keys: both are looked at in the step that writes.
    async fn claim_map(&self, map: &Map, call: Call) -> Result<Claimed> {
        let key = self.keys.map();
        let mut compares = vec![Compare::create_revision(key.clone(), CompareOp::Equal, 0)];
        compares.extend(self.keys.visible(&KeyRange::all()).into_iter().map(|part| {
            // Of a range it holds if it holds of each of its keys: if it has none.
            Compare::version(part.start, CompareOp::Equal, 0).with_range(part.end)
        }));
        let txn = Txn::new()
            .when(compares)
            .and_then(vec![TxnOp::put(key.clone(), map.text(), None)])
            .or_else(vec![TxnOp::get(key, Some(GetOptions::new()))]);
        let answer = self
            .connection
            .ask_kv(Ask::Repeatable, call, |mut kv| {
                let txn = txn.clone();
                async move { kv.txn(txn).await }
            })
            .await?;
        if answer.value.succeeded() {
            return Ok(Claimed::Mine);
        }
        let Some(TxnOpResponse::Get(get)) = answer.value.op_responses().into_iter().next() else {
            return Err(unexpected());
        };
        match get.kvs().first() {
            Some(found) => Ok(Claimed::Taken(Map::parse(found.value())?)),
            None => Ok(Claimed::Full),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_map_is_the_same_in_whatever_order_the_clusters_are_named() {
        let map = Map::new(vec![0xb, 0xa, 0xc]);
        assert_eq!(map, Map::new(vec![0xc, 0xb, 0xa]));
        assert_eq!(map.clusters, [0xa, 0xb, 0xc]);
        assert_eq!(
            map.text(),
            "norikv clusters\nformat 1\ngeneration 1\nshards 1024\ncluster a 0-341\ncluster b 342-682\ncluster c 683-1023\n"
        );
    }

    #[test]
    fn each_cluster_has_as_many_shards_as_another_or_one_less() {
        for count in 1..=MAX_CLUSTERS {
            let map = Map::new((1..=count as u64).collect());
            let each: Vec<usize> =
                (0..count).map(|place| map.homes.iter().filter(|home| **home == place).count()).collect();
            assert!(each.iter().max().unwrap() - each.iter().min().unwrap() <= 1, "{each:?}");
            assert_eq!(Map::parse(map.text().as_bytes()).unwrap(), map);
        }
    }

    #[test]
    fn a_map_that_is_none_is_refused() {
        let map = Map::new(vec![1, 2]);
        let text = map.text();
        for wrong in [
            String::new(),
            text.replace("format 1", "format 2"),
            text.replace("1024", "512"),
            text.replace("0-511", "0-510"),
            text.replace("0-511", "0-512"),
            text.replace("0-511", "0-2000"),
            text.replace("cluster 1", "cluster x"),
            text.replace("cluster 1", "cluster 3"),
            format!("{text}and more\n"),
        ] {
            assert_eq!(Map::parse(wrong.as_bytes()).unwrap_err().kind(), ErrorKind::Corruption, "{wrong}");
        }
        let split = text.replace("0-511", "0-100 200-511").replace("512-1023", "101-199 512-1023");
        let moved = Map::parse(split.as_bytes()).unwrap();
        assert_eq!((moved.home_of_shard(150), moved.home_of_shard(200)), (1, 0));
        assert_eq!(moved.text(), split);
    }

    #[test]
    fn other_clusters_than_those_of_the_map_are_named() {
        let error = check(&Map::new(vec![1, 2]), &Map::new(vec![1, 3]), "1 (at a:1)", "1, 3").unwrap_err();
        assert!(error.message().contains("3 is too many and 2 is missing"), "{error}");
    }
}
