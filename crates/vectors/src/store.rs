use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use norikv_core::{
    Call, ClusterView, Consistency, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult,
    Entry, Error, ErrorKind, Feature, Get, GetMany, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus,
    LeaseTimeToLive, Page, Put, PutResult, Quantization, Result, Scan, Stats, Status, Store, StoreRef, Txn,
    TxnOp, TxnResult, VectorCreateIndex, VectorDelete, VectorDropIndex, VectorGet, VectorIndexInfo,
    VectorInsert, VectorMatch, VectorSearch, VectorSearchResult, VectorStatus, Version, Watch, Watching,
};
use tokio::sync::watch;

use crate::{
    coder::distance,
    index::{Found, Index, Wanted},
    keys,
    view::View,
    workers::Workers,
    writes::Target,
};

/// The most bytes that a search answers.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// How many vectors are read from the store at a time, to rank them again.
const READ_AT_ONCE: usize = 256;
/// How often a search begins again because what it found was deleted before it could be read.
const ATTEMPTS: usize = 4;
/// How many threads search at most.
const MOST_THREADS: usize = 8;

/// How vectors behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where graphs are saved, so that they need not be built again; nowhere, for a store in memory.
    pub directory: Option<PathBuf>,
    /// How long a write with an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// How many threads search and link at a time; one for each processor, up to 8, if it is not said.
    pub threads: Option<usize>,
    /// How often graphs are saved at most, while the store is open.
    pub save_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            directory: None,
            idempotency_window: Duration::from_secs(24 * 60 * 60),
            threads: None,
            save_every: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// How vectors behave in a store that is in a directory, or in memory: graphs are saved in a directory within.
    #[must_use]
    pub fn beside(directory: Option<&Path>, idempotency_window: Duration) -> Self {
        Self {
            directory: directory.map(|directory| directory.join("vectors")),
            idempotency_window,
            ..Self::default()
        }
    }
}

/// A store with vector indexes: those of its calls that are about vectors it carries out itself, by means of the store within,
/// to which it gives all the others.
///
/// ```
/// use std::sync::Arc;
/// use norikv_core::{Call, Store, VectorCreateIndex, VectorIndex, VectorInsert, VectorItem, VectorSearch};
/// use norikv_embedded::EmbeddedStore;
/// use norikv_vectors::{Settings, VectorStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> norikv_core::Result<()> {
/// let within = Arc::new(EmbeddedStore::memory(Default::default())?);
/// let store = VectorStore::open(within, Settings::default()).await?;
/// let index = VectorIndex { namespace: "docs".into(), dimensions: 2, ..VectorIndex::default() };
/// store.vector_create_index(VectorCreateIndex { index, idempotency_key: None }, Call::default()).await?;
/// let vectors = vec![VectorItem { id: "a".into(), vector: vec![1.0, 0.0] }];
/// let insert = VectorInsert { namespace: "docs".into(), vectors, idempotency_key: None };
/// store.vector_insert(insert, Call::default()).await?;
/// let queries = vec![vec![0.9, 0.1]];
/// let search = VectorSearch { namespace: "docs".into(), queries, k: 1, ..VectorSearch::default() };
/// assert_eq!(store.vector_search(search, Call::default()).await?[0].matches[0].id, "a");
/// store.close().await
/// # }
/// ```
pub struct VectorStore {
    pub(crate) store: StoreRef,
    pub(crate) view: Arc<View>,
    pub(crate) idempotency_window: Duration,
    workers: Workers,
    closed: AtomicBool,
}

impl VectorStore {
    /// Gives vectors to a store, which must have scans, transactions and watches. Its indexes are read in the background.
    ///
    /// # Errors
    /// Whatever the store answers to a scan.
    pub async fn open(store: StoreRef, settings: Settings) -> Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = settings.threads.unwrap_or(processors.min(MOST_THREADS)).max(1);
        let view = View::new(StoreRef::clone(&store), settings.directory, settings.save_every, threads);
        let mut first = Scan::new(keys::definitions());
        (first.limit, first.keys_only) = (1, true);
        if !store.scan(first, Call::default()).await?.entries.is_empty() {
            view.start()?;
        }
        Ok(Self {
            store,
            view,
            idempotency_window: settings.idempotency_window,
            workers: Workers::new(threads),
            closed: AtomicBool::new(false),
        })
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) { Err(Error::closed("the store")) } else { Ok(()) }
    }

    /// The index of a name, as it is after every write that was acknowledged.
    async fn index(&self, namespace: &str) -> Result<Option<Arc<Index>>> {
        self.check_open()?;
        self.view.ready().await?;
        Ok(self.view.find(namespace))
    }

    /// The index that a call on one vector is about, as far as is known now. Such a call does not wait for the view: it
    /// takes its place among the calls on its vector when it is made. A write compares whether it is this index; and of an
    /// index that was created or dropped the view knows before whoever did it.
    fn target(&self, namespace: &str) -> Result<Option<Target>> {
        self.check_open()?;
        Ok(self.view.find(namespace).map(|index| Target {
            index: index.definition.clone(),
            incarnation: index.incarnation,
            created: index.created,
        }))
    }

    /// The indexes as they are now. Asked for on a worker's thread, since an index may be changing.
    async fn infos(&self) -> Result<Vec<VectorIndexInfo>> {
        let indexes = self.view.all();
        if indexes.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self.workers.run(move || indexes.iter().map(|index| index.info()).collect())?;
        answer.await.map_err(|_| Error::closed("the store"))
    }

    /// Vectors may have been deleted by somebody who names them not one by one. The view learns of it by a mark, since it hears
    /// nothing of a version that had no vectors in it.
    async fn mark(&self) {
        if self.view.is_running() {
            // What was deleted is deleted: that it cannot be marked is no error of the delete. The view learns of it by the watch.
            match self.store.put(Put::new(keys::mark(), Vec::new()), Call::default()).await {
                Ok(mark) => self.view.wrote(mark.version),
                Err(error) => tracing::warn!(%error, "the vector indexes were not told of a delete"),
            }
        }
    }

    /// Searches on the workers' threads: one query after the other on each.
    async fn search(
        &self,
        index: &Arc<Index>,
        queries: &Arc<Vec<Vec<f32>>>,
        wanted: &Wanted,
    ) -> Result<Vec<Searched>> {
        let share = queries.len().div_ceil(self.workers.most());
        let mut answers = Vec::new();
        for from in (0..queries.len()).step_by(share) {
            let (index, queries, wanted) = (Arc::clone(index), Arc::clone(queries), wanted.clone());
            answers.push(self.workers.run(move || {
                let mut bytes = 0;
                let some = queries.iter().skip(from).take(share);
                some.map(|query| {
                    let start = Instant::now();
                    let found = index.search(query, &wanted)?;
                    bytes += found.iter().map(|found| size_of::<Found>() + found.id.len()).sum::<usize>();
                    check_answer(bytes)?;
                    Ok(Searched { found, time: start.elapsed() })
                })
                .collect::<Result<Vec<_>>>()
            })?);
        }
        let mut searched = Vec::with_capacity(queries.len());
        for answer in answers {
            // A worker that panicked has no answer.
            let part =
                answer.await.map_err(|_| Error::internal("a vector search ended without an answer"))?;
            searched.extend(part?);
        }
        Ok(searched)
    }

    /// Ranks what was found by what the store has now. Answers the matches, and whether something found is gone.
    async fn rank_again(
        &self,
        index: &Arc<Index>,
        query: &[f32],
        found: &[Found],
        request: &VectorSearch,
        call: &Call,
    ) -> Result<(Vec<VectorMatch>, bool)> {
        let mut matches = Vec::with_capacity(found.len());
        let mut read = 0;
        for part in found.chunks(READ_AT_ONCE) {
            let keys = part.iter().map(|found| keys::vector(index.incarnation, &found.id)).collect();
            let many = GetMany { keys, consistency: request.consistency };
            let entries = self.store.get_many(many, *call).await?;
            let ids = part.iter().map(|found| found.id.clone());
            let vectors: Vec<(String, Bytes)> =
                ids.zip(entries).filter_map(|(id, entry)| Some((id, entry?.value))).collect();
            let (index, query, include, most) =
                (Arc::clone(index), query.to_vec(), request.include_vectors, request.max_distance);
            let ranked = self.workers.run(move || rank(&index, &query, vectors, include, most))?.await;
            let (ranked, all) =
                ranked.map_err(|_| Error::internal("a vector search ended without an answer"))?;
            read += all;
            matches.extend(ranked);
        }
        matches.sort_by(|a, b| a.distance.total_cmp(&b.distance).then_with(|| a.id.cmp(&b.id)));
        matches.truncate(request.k as usize);
        Ok((matches, read < found.len()))
    }
}

/// How far vectors are that the store has, without those that are too far; and how many of them are vectors of the index.
fn rank(
    index: &Index,
    query: &[f32],
    vectors: Vec<(String, Bytes)>,
    include_vectors: bool,
    max_distance: Option<f32>,
) -> (Vec<VectorMatch>, usize) {
    let mut all = 0;
    let mut matches = Vec::with_capacity(vectors.len());
    for (id, value) in vectors {
        let vector = keys::decode_vector(&value);
        if index.definition.check_vector(&vector).is_err() {
            continue;
        }
        all += 1;
        let distance = distance(index.definition.distance, query, &vector);
        if max_distance.is_none_or(|most| distance <= most) {
            matches.push(VectorMatch { id, distance, vector: include_vectors.then_some(vector) });
        }
    }
    (matches, all)
}

/// What a worker found for a query, and how long that took.
struct Searched {
    found: Vec<Found>,
    time: Duration,
}

/// Refuses an answer that is larger than answers may be.
fn check_answer(bytes: usize) -> Result<()> {
    if bytes <= MAX_ANSWER_BYTES {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ResourceExhausted,
        format!(
            "this search would answer {bytes} bytes or more, and {MAX_ANSWER_BYTES} is the most; ask for fewer matches, with fewer queries at a time, or without includeVectors"
        ),
    ))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Store for VectorStore {
    fn get_now(&self, key: &[u8], consistency: Consistency) -> Option<Result<Option<Entry>>> {
        self.store.get_now(key, consistency)
    }

    async fn connect(&self, call: Call) -> Result<()> {
        self.store.connect(call).await
    }

    async fn get(&self, request: Get, call: Call) -> Result<Option<Entry>> {
        self.store.get(request, call).await
    }

    async fn get_many(&self, request: GetMany, call: Call) -> Result<Vec<Option<Entry>>> {
        self.store.get_many(request, call).await
    }

    async fn put(&self, request: Put, call: Call) -> Result<PutResult> {
        // What is put where vectors are, the view has to know, too.
        let viewed = keys::is_viewed(&request.key);
        let result = self.store.put(request, call).await?;
        if viewed {
            self.view.wrote(result.version);
        }
        Ok(result)
    }

    async fn delete(&self, request: Delete, call: Call) -> Result<DeleteResult> {
        let viewed = keys::is_viewed(&request.key);
        let result = self.store.delete(request, call).await?;
        if viewed && result.deleted {
            self.view.wrote(result.version);
        }
        Ok(result)
    }

    async fn delete_range(&self, request: DeleteRange, call: Call) -> Result<DeleteRangeResult> {
        let concerns = request.range.overlaps(&keys::viewed());
        let result = self.store.delete_range(request, call).await?;
        if concerns && result.deleted > 0 {
            self.mark().await;
        }
        Ok(result)
    }

    async fn scan(&self, request: Scan, call: Call) -> Result<Page> {
        self.store.scan(request, call).await
    }

    async fn count(&self, request: Count, call: Call) -> Result<CountResult> {
        self.store.count(request, call).await
    }

    async fn txn(&self, request: Txn, call: Call) -> Result<TxnResult> {
        let concerns = request.then.iter().chain(&request.otherwise).any(|op| match op {
            TxnOp::Put(put) => keys::is_viewed(&put.key),
            TxnOp::Delete(delete) => keys::is_viewed(&delete.key),
            TxnOp::DeleteRange(delete) => delete.range.overlaps(&keys::viewed()),
            TxnOp::Get(_) | TxnOp::Scan(_) => false,
        });
        let result = self.store.txn(request, call).await?;
        if concerns {
            self.mark().await;
        }
        Ok(result)
    }

    async fn lease_grant(&self, request: LeaseGrant, call: Call) -> Result<LeaseGranted> {
        self.store.lease_grant(request, call).await
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>, call: Call) -> Result<Vec<Option<Duration>>> {
        self.store.lease_keep_alive(ids, call).await
    }

    async fn lease_revoke(&self, id: LeaseId, call: Call) -> Result<Version> {
        self.store.lease_revoke(id, call).await
    }

    async fn lease_time_to_live(&self, request: LeaseTimeToLive, call: Call) -> Result<LeaseStatus> {
        self.store.lease_time_to_live(request, call).await
    }

    async fn leases(&self, call: Call) -> Result<Vec<LeaseId>> {
        self.store.leases(call).await
    }

    async fn watch(&self, request: Watch, call: Call) -> Result<Watching> {
        self.store.watch(request, call).await
    }

    async fn compact(&self, version: Version, call: Call) -> Result<()> {
        self.store.compact(version, call).await
    }

    async fn vector_create_index(&self, request: VectorCreateIndex, _call: Call) -> Result<bool> {
        request.check()?;
        self.check_open()?;
        self.view.start()?;
        let created = self.create(&request).await?;
        // Whoever inserts next need not wait for the index to be known. It is there whether or not the view gets to know.
        let _ = self.view.ready().await;
        Ok(created)
    }

    async fn vector_drop_index(&self, request: VectorDropIndex, _call: Call) -> Result<bool> {
        request.check()?;
        self.check_open()?;
        self.view.start()?;
        let dropped = self.drop_index(&request).await?;
        let _ = self.view.ready().await;
        Ok(dropped)
    }

    async fn vector_insert(&self, request: VectorInsert, _call: Call) -> Result<Version> {
        request.check()?;
        let target = self.target(&request.namespace)?;
        self.insert(&request, target).await
    }

    async fn vector_delete(&self, request: VectorDelete, _call: Call) -> Result<bool> {
        request.check()?;
        let target = self.target(&request.namespace)?;
        self.delete_vector(&request, target).await
    }

    async fn vector_get(&self, request: VectorGet, call: Call) -> Result<Option<Vec<f32>>> {
        request.check()?;
        let mut target = self.target(&request.namespace)?;
        if target.is_none() {
            self.view.ready().await?;
            target = self.target(&request.namespace)?;
        }
        let target = target.ok_or_else(|| Error::vector_index_not_found(&request.namespace))?;
        let key = keys::vector(target.incarnation, &request.id);
        let entry = self.store.get(Get { key, consistency: request.consistency }, call).await?;
        let vector = entry.map(|entry| keys::decode_vector(&entry.value));
        // Entries are the user's, too: what is no vector of the index is none.
        Ok(vector.filter(|vector| target.index.check_vector(vector).is_ok()))
    }

    async fn vector_search(&self, mut request: VectorSearch, call: Call) -> Result<Vec<VectorSearchResult>> {
        request.check()?;
        let index = self.index(&request.namespace).await?;
        let index = index.ok_or_else(|| Error::vector_index_not_found(&request.namespace))?;
        request.queries.iter().try_for_each(|query| index.definition.check_vector(query))?;
        let lossy = index.definition.quantization != Quantization::None;
        // What is left out of an answer does not count; what is in it, is counted again.
        if request.include_vectors && request.id_prefix.is_empty() && request.max_distance.is_none() {
            let matches = request.queries.len() * index.live().min(request.k as usize);
            check_answer(matches * index.definition.dimensions as usize * size_of::<f32>())?;
        }
        let wanted = Wanted {
            k: request.k as usize,
            ef: request.ef_search.map(|ef| ef as usize),
            id_prefix: request.id_prefix.clone(),
            max_distance: request.max_distance,
            ranked_again: lossy || request.include_vectors,
        };
        let queries = Arc::new(std::mem::take(&mut request.queries));
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut results: Vec<VectorSearchResult> = Vec::with_capacity(queries.len());
            let mut lacking = false;
            let mut bytes = 0;
            for (searched, query) in self.search(&index, &queries, &wanted).await?.into_iter().zip(&*queries)
            {
                let start = Instant::now();
                let matches = if wanted.ranked_again {
                    let (matches, gone) =
                        self.rank_again(&index, query, &searched.found, &request, &call).await?;
                    lacking |= gone && matches.len() < wanted.k;
                    matches
                } else {
                    let found = searched.found.into_iter();
                    found
                        .map(|found| VectorMatch { id: found.id, distance: found.distance, vector: None })
                        .collect()
                };
                bytes += matches
                    .iter()
                    .filter_map(|found| Some(size_of_val(found.vector.as_deref()?)))
                    .sum::<usize>();
                check_answer(bytes)?;
                let search_time_us = micros(searched.time + start.elapsed());
                results.push(VectorSearchResult { matches, search_time_us });
            }
            // What was deleted between the search and the reading left its place empty.
            if !lacking || attempts >= ATTEMPTS {
                return Ok(results);
            }
        }
    }

    async fn vector_indexes(&self, _call: Call) -> Result<Vec<VectorIndexInfo>> {
        self.check_open()?;
        self.view.ready().await?;
        self.infos().await
    }

    async fn status(&self, call: Call) -> Result<Status> {
        let mut status = self.store.status(call).await?;
        status.features.push(Feature::Vectors.as_str().to_owned());
        status.vectors = Some(match self.view.loading() {
            Some(loading) => loading,
            None => self.infos().await?.iter().fold(VectorStatus::default(), |sum, info| VectorStatus {
                indexes: sum.indexes + 1,
                vectors: sum.vectors + info.vectors,
                indexed: sum.indexed + info.indexed,
            }),
        });
        Ok(status)
    }

    fn cluster(&self) -> Option<watch::Receiver<ClusterView>> {
        self.store.cluster()
    }

    fn stats(&self) -> Stats {
        self.store.stats()
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        self.view.stop();
        self.workers.close();
        self.view.ended().await;
        self.store.close().await
    }
}

impl Drop for VectorStore {
    fn drop(&mut self) {
        self.view.stop();
        self.workers.close();
        self.view.join();
    }
}
