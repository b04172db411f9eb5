use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use crate::{
    Call, ClusterView, Consistency, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult,
    Entry, Error, Event, Field, FieldName, Get, GetMany, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus,
    LeaseTimeToLive, Page, Put, PutResult, Result, Scan, Stats, Status, Store, StoreRef, Txn, TxnOp,
    TxnOpResult, TxnResult, VectorCreateIndex, VectorDelete, VectorDropIndex, VectorGet, VectorIndexInfo,
    VectorInsert, VectorSearch, VectorSearchResult, Version, Watch, WatchBatch, Watching, check_key,
    check_vector_namespace,
    limits::{MAX_KEY_BYTES, MAX_TXN_OPS},
    vector::MAX_VECTOR_NAMESPACE_BYTES,
};

/// A part of a store: the keys under a prefix, without the prefix.
///
/// Keys go in and come out without it, also in errors. The prefix counts towards a key's length.
pub struct Namespaced {
    store: StoreRef,
    prefix: Bytes,
}

impl Namespaced {
    /// The part of `store` under `prefix`.
    ///
    /// # Errors
    /// `InvalidArgument` if the prefix is empty, or leaves no room for a key.
    pub fn new(store: StoreRef, prefix: impl Into<Bytes>) -> Result<Self> {
        let prefix = prefix.into();
        if prefix.is_empty() || prefix.len() >= MAX_KEY_BYTES {
            return Err(Error::invalid_argument(format!(
                "a namespace has 1 to {} bytes; this one has {}",
                MAX_KEY_BYTES - 1,
                prefix.len()
            )));
        }
        Ok(Self { store, prefix })
    }

    /// The key in the whole store. A key that is wrong in itself is refused here, since the prefix would make
    /// an empty one look right.
    fn outer(&self, key: &[u8]) -> Result<Bytes> {
        check_key(key)?;
        let outer = [&self.prefix, key].concat();
        if outer.len() > MAX_KEY_BYTES {
            return Err(Error::invalid_argument(format!(
                "a key has 1 to {MAX_KEY_BYTES} bytes, its namespace of {} bytes included; this one has {}",
                self.prefix.len(),
                outer.len()
            )));
        }
        Ok(outer.into())
    }

    fn inner(&self, key: &Bytes) -> Bytes {
        inner(&self.prefix, key)
    }

    /// The name of a vector index in the whole store. Names are text, so the prefix must be.
    fn outer_index(&self, namespace: &str) -> Result<String> {
        check_vector_namespace(namespace)?;
        let prefix = std::str::from_utf8(&self.prefix).map_err(|_| {
            Error::invalid_argument(
                "this part of the store has no vector indexes: its namespace is not UTF-8, and their names are",
            )
        })?;
        let outer = [prefix, namespace].concat();
        if outer.len() > MAX_VECTOR_NAMESPACE_BYTES {
            return Err(Error::invalid_argument(format!(
                "a vector index's namespace has 1 to {MAX_VECTOR_NAMESPACE_BYTES} bytes, those of the part of the store ({}) included; this one has {}",
                prefix.len(),
                outer.len()
            )));
        }
        Ok(outer)
    }

    fn inner_entry(&self, entry: Entry) -> Entry {
        inner_entry(&self.prefix, entry)
    }

    fn outer_op(&self, op: &mut TxnOp) -> Result<()> {
        match op {
            TxnOp::Put(put) => put.key = self.outer(&put.key)?,
            TxnOp::Delete(delete) => delete.key = self.outer(&delete.key)?,
            TxnOp::Get(get) => get.key = self.outer(&get.key)?,
            TxnOp::DeleteRange(delete) => {
                delete.range.check()?;
                delete.range = delete.range.under(&self.prefix);
            }
            TxnOp::Scan(scan) => {
                scan.range.check()?;
                scan.range = scan.range.under(&self.prefix);
            }
        }
        Ok(())
    }

    fn inner_result(&self, result: &mut TxnOpResult) {
        let inner = |entry: &mut Entry| entry.key = self.inner(&entry.key);
        match result {
            TxnOpResult::Put(put) => put.prev_entry.iter_mut().for_each(inner),
            TxnOpResult::Get(entry) => entry.iter_mut().for_each(inner),
            TxnOpResult::Scan(page) => page.entries.iter_mut().for_each(inner),
            TxnOpResult::Delete(_) | TxnOpResult::DeleteRange(_) => {}
        }
    }

    fn inner_error(&self, error: Error) -> Error {
        match error.field(FieldName::Key) {
            Some(Field::Bytes(key)) => {
                let key = self.inner(key);
                error.with(FieldName::Key, key)
            }
            _ => error,
        }
    }
}

fn inner(prefix: &Bytes, key: &Bytes) -> Bytes {
    if key.starts_with(prefix) { key.slice(prefix.len()..) } else { key.clone() }
}

fn inner_entry(prefix: &Bytes, mut entry: Entry) -> Entry {
    entry.key = inner(prefix, &entry.key);
    entry
}

fn inner_batch(prefix: &Bytes, batch: WatchBatch) -> WatchBatch {
    let event = |event: Event| Event {
        entry: inner_entry(prefix, event.entry),
        prev_entry: event.prev_entry.map(|entry| inner_entry(prefix, entry)),
        ..event
    };
    WatchBatch { version: batch.version, events: batch.events.into_iter().map(event).collect() }
}

#[cfg_attr(not(target_family = "wasm"), async_trait)]
#[cfg_attr(target_family = "wasm", async_trait(?Send))]
impl Store for Namespaced {
    fn get_now(&self, key: &[u8], consistency: Consistency) -> Option<Result<Option<Entry>>> {
        let outer = match self.outer(key) {
            Ok(outer) => outer,
            Err(error) => return Some(Err(error)),
        };
        let result = self.store.get_now(&outer, consistency)?;
        Some(
            result
                .map(|entry| entry.map(|entry| self.inner_entry(entry)))
                .map_err(|error| self.inner_error(error)),
        )
    }

    async fn connect(&self, call: Call) -> Result<()> {
        self.store.connect(call).await
    }

    async fn get(&self, mut request: Get, call: Call) -> Result<Option<Entry>> {
        request.key = self.outer(&request.key)?;
        match self.store.get(request, call).await {
            Ok(entry) => Ok(entry.map(|entry| self.inner_entry(entry))),
            Err(error) => Err(self.inner_error(error)),
        }
    }

    async fn get_many(&self, mut request: GetMany, call: Call) -> Result<Vec<Option<Entry>>> {
        for key in &mut request.keys {
            *key = self.outer(key)?;
        }
        match self.store.get_many(request, call).await {
            Ok(entries) => {
                Ok(entries.into_iter().map(|entry| entry.map(|entry| self.inner_entry(entry))).collect())
            }
            Err(error) => Err(self.inner_error(error)),
        }
    }

    async fn put(&self, mut request: Put, call: Call) -> Result<PutResult> {
        request.key = self.outer(&request.key)?;
        match self.store.put(request, call).await {
            Ok(mut result) => {
                result.prev_entry = result.prev_entry.map(|entry| self.inner_entry(entry));
                Ok(result)
            }
            Err(error) => Err(self.inner_error(error)),
        }
    }

    async fn delete(&self, mut request: Delete, call: Call) -> Result<DeleteResult> {
        request.key = self.outer(&request.key)?;
        self.store.delete(request, call).await.map_err(|error| self.inner_error(error))
    }

    async fn delete_range(&self, mut request: DeleteRange, call: Call) -> Result<DeleteRangeResult> {
        request.range.check()?;
        request.range = request.range.under(&self.prefix);
        self.store.delete_range(request, call).await
    }

    async fn scan(&self, mut request: Scan, call: Call) -> Result<Page> {
        request.range.check()?;
        request.range = request.range.under(&self.prefix);
        let mut page = self.store.scan(request, call).await?;
        for entry in &mut page.entries {
            entry.key = self.inner(&entry.key);
        }
        Ok(page)
    }

    async fn count(&self, mut request: Count, call: Call) -> Result<CountResult> {
        request.range.check()?;
        request.range = request.range.under(&self.prefix);
        self.store.count(request, call).await
    }

    async fn txn(&self, mut request: Txn, call: Call) -> Result<TxnResult> {
        // Too many are refused before each of them is copied.
        if request.compares.len() + request.then.len() + request.otherwise.len() <= MAX_TXN_OPS {
            for compare in &mut request.compares {
                compare.key = self.outer(&compare.key)?;
            }
            for op in request.then.iter_mut().chain(&mut request.otherwise) {
                self.outer_op(op)?;
            }
        }
        let mut result = self.store.txn(request, call).await.map_err(|error| self.inner_error(error))?;
        result.results.iter_mut().for_each(|result| self.inner_result(result));
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

    /// A lease belongs to the whole store; of its keys, those of the namespace are told.
    async fn lease_time_to_live(&self, request: LeaseTimeToLive, call: Call) -> Result<LeaseStatus> {
        let mut status = self.store.lease_time_to_live(request, call).await?;
        status.keys.retain(|key| key.starts_with(&self.prefix) && key.len() > self.prefix.len());
        for key in &mut status.keys {
            *key = self.inner(key);
        }
        Ok(status)
    }

    async fn leases(&self, call: Call) -> Result<Vec<LeaseId>> {
        self.store.leases(call).await
    }

    async fn watch(&self, mut request: Watch, call: Call) -> Result<Watching> {
        request.range.check()?;
        request.range = request.range.under(&self.prefix);
        let Watching { start, batches } = self.store.watch(request, call).await?;
        let prefix = self.prefix.clone();
        let batches = batches.map(move |batch| batch.map(|batch| inner_batch(&prefix, batch)));
        Ok(Watching { start, batches: Box::pin(batches) })
    }

    async fn compact(&self, version: Version, call: Call) -> Result<()> {
        self.store.compact(version, call).await
    }

    async fn vector_create_index(&self, mut request: VectorCreateIndex, call: Call) -> Result<bool> {
        request.index.namespace = self.outer_index(&request.index.namespace)?;
        self.store.vector_create_index(request, call).await
    }

    async fn vector_drop_index(&self, mut request: VectorDropIndex, call: Call) -> Result<bool> {
        request.namespace = self.outer_index(&request.namespace)?;
        self.store.vector_drop_index(request, call).await
    }

    async fn vector_insert(&self, mut request: VectorInsert, call: Call) -> Result<Version> {
        request.namespace = self.outer_index(&request.namespace)?;
        self.store.vector_insert(request, call).await
    }

    async fn vector_delete(&self, mut request: VectorDelete, call: Call) -> Result<bool> {
        request.namespace = self.outer_index(&request.namespace)?;
        self.store.vector_delete(request, call).await
    }

    async fn vector_get(&self, mut request: VectorGet, call: Call) -> Result<Option<Vec<f32>>> {
        request.namespace = self.outer_index(&request.namespace)?;
        self.store.vector_get(request, call).await
    }

    async fn vector_search(&self, mut request: VectorSearch, call: Call) -> Result<Vec<VectorSearchResult>> {
        request.namespace = self.outer_index(&request.namespace)?;
        self.store.vector_search(request, call).await
    }

    async fn vector_indexes(&self, call: Call) -> Result<Vec<VectorIndexInfo>> {
        let mut indexes = self.store.vector_indexes(call).await?;
        indexes.retain(|info| {
            let name = info.index.namespace.as_bytes();
            name.starts_with(&self.prefix) && name.len() > self.prefix.len()
        });
        for info in &mut indexes {
            // Where the prefix is not text, no name begins with it.
            let inner = info.index.namespace.get(self.prefix.len()..).unwrap_or_default().to_owned();
            info.index.namespace = inner;
        }
        Ok(indexes)
    }

    async fn status(&self, call: Call) -> Result<Status> {
        let mut status = self.store.status(call).await?;
        status.limits.max_key_bytes = status.limits.max_key_bytes.saturating_sub(self.prefix.len());
        Ok(status)
    }

    fn cluster(&self) -> Option<watch::Receiver<ClusterView>> {
        self.store.cluster()
    }

    fn stats(&self) -> Stats {
        self.store.stats()
    }

    /// Leaves the store open: it belongs to whoever opened it.
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
