use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    Call, ClusterView, Consistency, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult,
    Entry, Error, ErrorKind, Get, GetMany, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus, LeaseTimeToLive,
    Page, Put, PutResult, Result, Scan, Stats, Status, Txn, TxnResult, VectorCreateIndex, VectorDelete,
    VectorDropIndex, VectorGet, VectorIndexInfo, VectorInsert, VectorSearch, VectorSearchResult, Version,
    Watch, Watching,
};

/// `Send`, except in a browser, where there is one thread and its values cannot be sent.
#[cfg(not(target_family = "wasm"))]
pub trait MaybeSend: Send {}
#[cfg(not(target_family = "wasm"))]
impl<T: Send + ?Sized> MaybeSend for T {}
/// `Send`, except in a browser, where there is one thread and its values cannot be sent.
#[cfg(target_family = "wasm")]
pub trait MaybeSend {}
#[cfg(target_family = "wasm")]
impl<T: ?Sized> MaybeSend for T {}

/// `Sync`, except in a browser, where there is one thread and its values cannot be shared.
#[cfg(not(target_family = "wasm"))]
pub trait MaybeSync: Sync {}
#[cfg(not(target_family = "wasm"))]
impl<T: Sync + ?Sized> MaybeSync for T {}
/// `Sync`, except in a browser, where there is one thread and its values cannot be shared.
#[cfg(target_family = "wasm")]
pub trait MaybeSync {}
#[cfg(target_family = "wasm")]
impl<T: ?Sized> MaybeSync for T {}

/// A store that is shared.
pub type StoreRef = Arc<dyn Store>;

/// A key-value store: one behaviour, whatever holds the data.
///
/// Rules for every implementation, which `norikv-conformance` checks:
/// - bad input is refused before anything changes;
/// - calls on one key take effect in the order in which their futures are first polled;
/// - dropping a future cancels the call: work that has not left the store is let go of;
/// - what a store cannot do, it refuses with `Unsupported` before it writes anything.
///
/// The deadline in [`Call`] is kept by whoever drives the future; a store uses it to bound its own retries and
/// to pass it on.
#[cfg_attr(not(target_family = "wasm"), async_trait)]
#[cfg_attr(target_family = "wasm", async_trait(?Send))]
pub trait Store: MaybeSend + MaybeSync + 'static {
    /// Answers a read at once, without waiting for anything, if the store can; `None` if it cannot.
    ///
    /// This is how a read in the process costs no task and no crossing of threads.
    fn get_now(&self, key: &[u8], consistency: Consistency) -> Option<Result<Option<Entry>>> {
        let _ = (key, consistency);
        None
    }

    /// Makes sure that the store can be reached. Calls do without it; it tells early what is wrong.
    async fn connect(&self, call: Call) -> Result<()> {
        let _ = call;
        Ok(())
    }

    /// Reads one key; `None` if it is not there.
    async fn get(&self, request: Get, call: Call) -> Result<Option<Entry>>;

    /// Reads many keys from one snapshot, answered in the order of the request.
    async fn get_many(&self, request: GetMany, call: Call) -> Result<Vec<Option<Entry>>>;

    /// Writes one key.
    async fn put(&self, request: Put, call: Call) -> Result<PutResult>;

    /// Deletes one key.
    async fn delete(&self, request: Delete, call: Call) -> Result<DeleteResult>;

    /// Deletes every key of a range in one revision.
    async fn delete_range(&self, request: DeleteRange, call: Call) -> Result<DeleteRangeResult>;

    /// Reads one page of a range. [`Scan::next`] gives the request for the page after it.
    async fn scan(&self, request: Scan, call: Call) -> Result<Page>;

    /// Counts the keys of a range.
    async fn count(&self, request: Count, call: Call) -> Result<CountResult>;

    /// Checks, and writes or reads accordingly, in one atomic step.
    async fn txn(&self, request: Txn, call: Call) -> Result<TxnResult> {
        let _ = (request, call);
        Err(self.unsupported("transactions"))
    }

    /// Grants a lease.
    async fn lease_grant(&self, request: LeaseGrant, call: Call) -> Result<LeaseGranted> {
        let _ = (request, call);
        Err(self.unsupported("leases"))
    }

    /// Gives leases their whole time to live again, up to [`MAX_KEEP_ALIVES`](crate::MAX_KEEP_ALIVES) of them.
    /// Answers for each how long it has now; `None` if there is no such lease.
    async fn lease_keep_alive(&self, ids: Vec<LeaseId>, call: Call) -> Result<Vec<Option<Duration>>> {
        let _ = (ids, call);
        Err(self.unsupported("leases"))
    }

    /// Ends a lease: its keys go in one revision, which is answered.
    async fn lease_revoke(&self, id: LeaseId, call: Call) -> Result<Version> {
        let _ = (id, call);
        Err(self.unsupported("leases"))
    }

    /// How long a lease has left, and its keys.
    async fn lease_time_to_live(&self, request: LeaseTimeToLive, call: Call) -> Result<LeaseStatus> {
        let _ = (request, call);
        Err(self.unsupported("leases"))
    }

    /// The leases there are, in the order of their ids.
    async fn leases(&self, call: Call) -> Result<Vec<LeaseId>> {
        let _ = call;
        Err(self.unsupported("leases"))
    }

    /// Follows the changes of a range. `call` bounds how long it takes to begin, not how long it goes on.
    async fn watch(&self, request: Watch, call: Call) -> Result<Watching> {
        let _ = (request, call);
        Err(self.unsupported("watches"))
    }

    /// Forgets the history before a version, which becomes the oldest that can be read. `Compacted` if it is older
    /// than that already.
    async fn compact(&self, version: Version, call: Call) -> Result<()> {
        let _ = (version, call);
        Err(self.unsupported("compaction by hand"))
    }

    /// Creates a vector index. Answers whether it did; `false` if the same index is there. `VectorIndexExists` if another
    /// one has its name.
    async fn vector_create_index(&self, request: VectorCreateIndex, call: Call) -> Result<bool> {
        let _ = (request, call);
        Err(self.unsupported("vector indexes"))
    }

    /// Drops a vector index with its vectors. Answers whether it was there.
    async fn vector_drop_index(&self, request: VectorDropIndex, call: Call) -> Result<bool> {
        let _ = (request, call);
        Err(self.unsupported("vector indexes"))
    }

    /// Inserts or replaces vectors, in one transaction. The next search finds them.
    async fn vector_insert(&self, request: VectorInsert, call: Call) -> Result<Version> {
        let _ = (request, call);
        Err(self.unsupported("vector indexes"))
    }

    /// Deletes one vector. Answers whether it was there. No later search answers it.
    async fn vector_delete(&self, request: VectorDelete, call: Call) -> Result<bool> {
        let _ = (request, call);
        Err(self.unsupported("vector indexes"))
    }

    /// Reads one vector, as it was inserted; `None` if it is not there.
    async fn vector_get(&self, request: VectorGet, call: Call) -> Result<Option<Vec<f32>>> {
        let _ = (request, call);
        Err(self.unsupported("vector indexes"))
    }

    /// Looks for the vectors nearest to each query. Answers a result for each, in their order.
    async fn vector_search(&self, request: VectorSearch, call: Call) -> Result<Vec<VectorSearchResult>> {
        let _ = (request, call);
        Err(self.unsupported("vector indexes"))
    }

    /// The vector indexes there are, in the order of their names.
    async fn vector_indexes(&self, call: Call) -> Result<Vec<VectorIndexInfo>> {
        let _ = call;
        Err(self.unsupported("vector indexes"))
    }

    /// What the store says of itself.
    async fn status(&self, call: Call) -> Result<Status>;

    /// The nodes behind the store, now and as they change; `None` if there are none.
    fn cluster(&self) -> Option<watch::Receiver<ClusterView>> {
        None
    }

    /// The refusal of what this store lacks. One that knows where it is to be had says so here.
    fn unsupported(&self, what: &str) -> Error {
        Error::new(ErrorKind::Unsupported, format!("this store has no {what}"))
    }

    /// What this client counted of its own work.
    fn stats(&self) -> Stats {
        Stats::default()
    }

    /// Ends the store: what was acknowledged is on disk, and no thread, timer or socket is left. Later calls
    /// fail with `Closed`. Closing twice is closing once.
    async fn close(&self) -> Result<()>;
}
