use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use norikv_core::{
    Call, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Entry, Error, ErrorKind,
    FieldName, Get, GetMany, KeyRange, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus, LeaseTimeToLive,
    Meter, Page, Put, PutResult, Result, Scan, Sizes, Stats, Status, Store, StoreRef, Txn, TxnOp, TxnResult,
    Version, Watch, Watching, check_key, show_key,
};

use crate::{
    clusters::{
        map::{MAX_CLUSTERS, Map, alone, settle},
        moments::Moments,
        placement::{Place, place_of},
        scans::no_moment,
    },
    entries::version,
    settings::EtcdSettings,
    store::EtcdStore,
};

/// How many keys an error names.
const NAMED: usize = 8;

/// Opens the store of one cluster, or of several as one, and makes sure that they are those that it is in.
///
/// ```no_run
/// # async fn example() -> norikv_core::Result<()> {
/// use norikv_core::{Call, Put};
/// use norikv_etcd::{EtcdSettings, open};
///
/// let clusters = EtcdSettings::parse_all("etcd://10.0.0.1:2379;etcd://10.0.1.1:2379")?;
/// let store = open(clusters, Call::default()).await?;
/// store.put(Put::new("greeting", "hello"), Call::default()).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `InvalidArgument` for settings that cannot be, and for clusters that are not those of the store; what they answer.
pub async fn open(settings: Vec<EtcdSettings>, call: Call) -> Result<StoreRef> {
    let mut stores = settings.into_iter().map(EtcdStore::new).collect::<Result<Vec<_>>>()?;
    if stores.len() > 1 {
        return Ok(Arc::new(ClustersStore::open(stores, call).await?));
    }
    let store =
        stores.pop().ok_or_else(|| Error::invalid_argument("a store on etcd has one cluster at least"))?;
    alone(&name(&store), store.inner(), call).await?;
    Ok(Arc::new(store))
}

/// How a cluster is known to people.
fn name(store: &EtcdStore) -> String {
    store.inner().connection.settings().endpoints.join(",")
}

/// A store on several etcd clusters: each has the keys of some shards.
///
/// What is about keys of one cluster is that cluster's, with all that the model promises. What would be of several at once is
/// refused before anything is written, except for scans, counts, watches and leases, which have a meaning of their own over several:
/// each cluster at a revision of its own.
pub struct ClustersStore {
    clusters: Arc<Clusters>,
    meter: Meter,
}

/// The clusters of a store, and where keys are in them.
pub(crate) struct Clusters {
    /// In the order of the map.
    stores: Vec<EtcdStore>,
    map: Map,
    pub(crate) moments: Moments,
}

/// One of the things that a call is about.
enum Part<'a> {
    Key(&'a [u8]),
    Range(&'a KeyRange),
}

impl ClustersStore {
    async fn open(stores: Vec<EtcdStore>, call: Call) -> Result<Self> {
        if stores.len() > MAX_CLUSTERS {
            return Err(Error::invalid_argument(format!(
                "at most {MAX_CLUSTERS} clusters are one store; got {}",
                stores.len()
            )));
        }
        let named: Vec<_> = stores.iter().map(|store| (name(store), &**store.inner())).collect();
        let (map, places) = settle(&named, call).await?;
        let mut unordered: Vec<Option<EtcdStore>> = stores.into_iter().map(Some).collect();
        let stores: Vec<_> =
            places.into_iter().filter_map(|place| unordered.get_mut(place).and_then(Option::take)).collect();
        let home = stores.first().ok_or_else(|| Error::internal("the map names no cluster"))?;
        let moments = Moments::new(Arc::clone(home.inner()), stores.len());
        Ok(Self { clusters: Arc::new(Clusters { stores, map, moments }), meter: Meter::new()? })
    }
}

impl Clusters {
    pub(crate) fn each(&self) -> impl Iterator<Item = &EtcdStore> {
        self.stores.iter()
    }

    pub(crate) fn count(&self) -> usize {
        self.stores.len()
    }

    fn store(&self, place: usize) -> Result<&EtcdStore> {
        self.stores.get(place).ok_or_else(|| Error::internal("the map names a cluster that is not there"))
    }

    /// The cluster of a key.
    fn home(&self, key: &[u8]) -> Result<&EtcdStore> {
        self.store(self.map.home(key))
    }

    /// The cluster of all keys of a range, if it is one; of a range without keys that of the key it would begin with.
    fn home_of(&self, range: &KeyRange) -> Option<usize> {
        match place_of(range) {
            Place::Nowhere => Some(self.map.home(&range.start)),
            Place::Shard(shard) => Some(self.map.home_of_shard(shard)),
            Place::Anywhere => None,
        }
    }

    /// The cluster that all parts of a call are in.
    ///
    /// # Errors
    /// `Unsupported` naming the keys and their clusters, if they are in several.
    fn one_of<'a>(&self, what: &str, parts: impl Iterator<Item = Part<'a>> + Clone) -> Result<&EtcdStore> {
        let place = |part: &Part<'_>| match part {
            Part::Key(key) => Some(self.map.home(key)),
            Part::Range(range) => self.home_of(range),
        };
        // What has no keys crosses nothing.
        let is_some = |part: &Part<'_>| !matches!(part, Part::Range(range) if range.is_empty());
        let mut places = parts.clone().filter(is_some).map(|part| place(&part));
        let first = match places.next() {
            Some(first) => first,
            None => parts.clone().next().map_or(Some(0), |part| place(&part)),
        };
        if let (Some(home), true) = (first, places.all(|place| place == first)) {
            return self.store(home);
        }
        let mut named: Vec<(String, Option<usize>)> = Vec::new();
        let mut key = None;
        for part in parts {
            let text = match part {
                Part::Key(named) => {
                    key.get_or_insert_with(|| bytes::Bytes::copy_from_slice(named));
                    format!("key {}", show_key(named))
                }
                Part::Range(range) => match &range.end {
                    Some(end) => format!("the range from {} to {}", show_key(&range.start), show_key(end)),
                    None => format!("the range from {} on", show_key(&range.start)),
                },
            };
            let place = place(&part);
            if !named.iter().any(|(other, _)| *other == text) {
                named.push((text, place));
            }
        }
        // Those that show the difference, first.
        named.sort_by_key(|(_, place)| *place == first && first.is_some());
        let more = named.len().saturating_sub(NAMED);
        if more > 0 {
            let last = named.pop();
            named.truncate(NAMED - 1);
            named.extend(last);
        }
        let texts: Vec<String> = named
            .iter()
            .map(|(text, place)| match place {
                Some(place) => format!("{text} is in the cluster at {}", self.name(*place)),
                None => format!("{text} is in all {} clusters", self.count()),
            })
            .collect();
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let error = Error::new(
            ErrorKind::Unsupported,
            format!(
                "{what} cannot cross etcd clusters, and nothing was done: {}{more}; use a hash tag {{…}}: keys with the same one, like \"{{user:1}}/a\" and \"{{user:1}}/b\", are in one cluster, and so is a prefix that begins with one",
                texts.join(", ")
            ),
        );
        Err(match key {
            Some(key) => error.with(FieldName::Key, key),
            None => error,
        })
    }

    fn name(&self, place: usize) -> String {
        self.stores.get(place).map(name).unwrap_or_default()
    }

    /// The moment of a version of each cluster.
    pub(crate) async fn moment(
        &self,
        versions: impl IntoIterator<Item = Version>,
        call: Call,
    ) -> Result<Version> {
        let revisions: Vec<u64> = versions.into_iter().map(|version| version.index).collect();
        self.moments.version(&revisions, None, Version::ZERO, call).await
    }

    /// What the clusters are at.
    async fn now(&self, call: Call) -> Result<Version> {
        let versions = try_join_all(self.each().map(|store| store.inner().current(call))).await?;
        self.moment(versions, call).await
    }

    /// The oldest moment that can be read, as far as the clusters tell.
    pub(crate) async fn floor(&self, call: Call) -> Option<Version> {
        let floors = try_join_all(self.each().map(|store| store.inner().floor(call))).await.ok()?;
        let floors = floors.into_iter().map(|floor| floor.unwrap_or(version(1)));
        self.moment(floors, call).await.ok()
    }

    /// A version for a range that is in one cluster: of a moment, what that was at.
    async fn version_in(&self, place: usize, asked: Option<Version>, call: Call) -> Result<Option<Version>> {
        let Some(asked) = asked else { return Ok(None) };
        let Some(moment) = self.moments.read(asked, call).await? else { return Ok(Some(asked)) };
        let revision = moment.revisions.get(place).and_then(|at| i64::try_from(*at).ok());
        Ok(Some(version(revision.unwrap_or(i64::MAX))))
    }

    async fn compact(&self, asked: Version, call: Call) -> Result<()> {
        let Some(moment) = self.moments.read(asked, call).await? else {
            return Err(no_moment(asked, "compacted"));
        };
        let compacts = self.each().zip(&moment.revisions).map(|(store, revision)| {
            store.compact(version(i64::try_from(*revision).unwrap_or(i64::MAX)), call)
        });
        match try_join_all(compacts).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.history(error, Some(asked), call).await),
        }
    }

    async fn status(&self, call: Call) -> Result<Status> {
        let all = try_join_all(self.each().map(|store| store.status(call))).await?;
        let version = self.moment(all.iter().map(|status| status.version), call).await?;
        let floors = all.iter().map(|status| status.sizes.compact_version);
        let compact_version = self.moment(floors, call).await?;
        let disk_bytes = all.iter().map(|status| status.sizes.disk_bytes).sum();
        let mut software: Vec<String> = Vec::new();
        for status in &all {
            if !software.contains(&status.software) {
                software.push(status.software.clone());
            }
        }
        let first = all.into_iter().next().ok_or_else(|| Error::internal("there is no cluster"))?;
        Ok(Status {
            version,
            sizes: Sizes { disk_bytes, compact_version },
            software: format!("{} ({} clusters)", software.join(", "), self.count()),
            ..first
        })
    }

    /// Makes sure that the clusters are still those of the map.
    async fn connect(&self, call: Call) -> Result<()> {
        let named: Vec<_> = self.each().map(|store| (name(store), &**store.inner())).collect();
        let (map, places) = settle(&named, call).await?;
        if map == self.map && places.iter().copied().eq(0..self.count()) {
            return Ok(());
        }
        Err(Error::invalid_argument(
            "the clusters behind these addresses are others than when the store was opened; open it again",
        ))
    }
}

macro_rules! metered {
    ($self:ident, $call:expr) => {
        $self.meter.timed($call).await
    };
}

#[async_trait]
impl Store for ClustersStore {
    async fn connect(&self, call: Call) -> Result<()> {
        self.clusters.connect(call).await
    }

    async fn get(&self, request: Get, call: Call) -> Result<Option<Entry>> {
        let home = self.clusters.home(&request.key)?;
        metered!(self, home.get(request, call))
    }

    async fn get_many(&self, request: GetMany, call: Call) -> Result<Vec<Option<Entry>>> {
        request.keys.iter().try_for_each(|key| check_key(key))?;
        let home = self.clusters.one_of("a getMany", request.keys.iter().map(|key| Part::Key(key)))?;
        metered!(self, home.get_many(request, call))
    }

    async fn put(&self, request: Put, call: Call) -> Result<PutResult> {
        let home = self.clusters.home(&request.key)?;
        metered!(self, home.put(request, call))
    }

    async fn delete(&self, request: Delete, call: Call) -> Result<DeleteResult> {
        let home = self.clusters.home(&request.key)?;
        metered!(self, home.delete(request, call))
    }

    async fn delete_range(&self, request: DeleteRange, call: Call) -> Result<DeleteRangeResult> {
        request.range.check()?;
        let home =
            self.clusters.one_of("a range delete", std::iter::once(&request.range).map(Part::Range))?;
        metered!(self, home.delete_range(request.clone(), call))
    }

    async fn scan(&self, mut request: Scan, call: Call) -> Result<Page> {
        request.range.check()?;
        metered!(self, async {
            match self.clusters.home_of(&request.range) {
                Some(place) => {
                    request.version = self.clusters.version_in(place, request.version, call).await?;
                    self.clusters.store(place)?.scan(request, call).await
                }
                None => self.clusters.scan(request, call).await,
            }
        })
    }

    async fn count(&self, mut request: Count, call: Call) -> Result<CountResult> {
        request.range.check()?;
        metered!(self, async {
            match self.clusters.home_of(&request.range) {
                Some(place) => {
                    request.version = self.clusters.version_in(place, request.version, call).await?;
                    self.clusters.store(place)?.count(request, call).await
                }
                None => self.clusters.count_all(request, call).await,
            }
        })
    }

    async fn txn(&self, request: Txn, call: Call) -> Result<TxnResult> {
        let first = self.clusters.store(0)?;
        request.check(first.inner().connection.settings().max_value_bytes)?;
        let compares = request.compares.iter().map(|compare| Part::Key(&compare.key));
        let ops = request.then.iter().chain(&request.otherwise).map(|op| match op {
            TxnOp::Put(put) => Part::Key(&put.key),
            TxnOp::Delete(delete) => Part::Key(&delete.key),
            TxnOp::Get(get) => Part::Key(&get.key),
            TxnOp::DeleteRange(delete) => Part::Range(&delete.range),
            TxnOp::Scan(scan) => Part::Range(&scan.range),
        });
        let parts = compares.chain(ops);
        let home = self.clusters.one_of("a transaction", parts.clone())?;
        metered!(self, async {
            let mut result = home.txn(request.clone(), call).await?;
            if parts.clone().next().is_none() {
                // It is about nothing, and answers what the store is at.
                result.version = self.clusters.now(call).await?;
            }
            Ok(result)
        })
    }

    async fn lease_grant(&self, request: LeaseGrant, call: Call) -> Result<LeaseGranted> {
        metered!(self, self.clusters.lease_grant(request, call))
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>, call: Call) -> Result<Vec<Option<Duration>>> {
        metered!(self, self.clusters.lease_keep_alive(ids, call))
    }

    async fn lease_revoke(&self, id: LeaseId, call: Call) -> Result<Version> {
        metered!(self, self.clusters.lease_revoke(id, call))
    }

    async fn lease_time_to_live(&self, request: LeaseTimeToLive, call: Call) -> Result<LeaseStatus> {
        metered!(self, self.clusters.lease_time_to_live(request, call))
    }

    async fn leases(&self, call: Call) -> Result<Vec<LeaseId>> {
        metered!(self, self.clusters.leases(call))
    }

    async fn watch(&self, mut request: Watch, call: Call) -> Result<Watching> {
        request.range.check()?;
        metered!(self, async {
            let Some(place) = self.clusters.home_of(&request.range) else {
                return Arc::clone(&self.clusters).watch_all(request, call).await;
            };
            if let Some(from) = request.from
                && let Some(moment) = self.clusters.moments.read(from, call).await?
            {
                request.from = Some(version(i64::try_from(moment.from(place)).unwrap_or(i64::MAX)));
            }
            self.clusters.store(place)?.watch(request, call).await
        })
    }

    async fn compact(&self, asked: Version, call: Call) -> Result<()> {
        metered!(self, self.clusters.compact(asked, call))
    }

    async fn status(&self, call: Call) -> Result<Status> {
        metered!(self, self.clusters.status(call))
    }

    fn unsupported(&self, what: &str) -> Error {
        match self.clusters.store(0) {
            Ok(store) => store.unsupported(what),
            Err(error) => error,
        }
    }

    fn stats(&self) -> Stats {
        let sum = |of: fn(&Stats) -> usize| self.clusters.each().map(|store| of(&store.stats())).sum();
        Stats {
            total_nodes: sum(|stats| stats.total_nodes),
            active_connections: sum(|stats| stats.active_connections),
            retried: self.clusters.each().map(|store| store.stats().retried).sum(),
            requests: self.meter.stats(),
            ..Stats::default()
        }
    }

    async fn close(&self) -> Result<()> {
        for store in self.clusters.each() {
            store.close().await?;
        }
        Ok(())
    }
}
