use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use norikv_core::{
    Call, Consistency, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Durability,
    Entry, Error, ErrorKind, Feature, Get, GetMany, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus,
    LeaseTimeToLive, Limits, MAX_KEEP_ALIVES, Page, Put, PutResult, Result, Scan, Sizes, Status, Store, Txn,
    TxnResult, Version, Watch, Watching, check_key,
};
use tokio::sync::oneshot;

use crate::{
    Settings,
    directory::Directory,
    done::Done,
    engine::{Engine, FjallEngine, MemoryEngine, Synced, io_error},
    hash,
    job::{Job, Reply, Work},
    lease,
    meta::Meta,
    page,
    pending::{Pending, PendingWrites},
    queue::Queue,
    read::Wanted,
    readers::Readers,
    shared::Shared,
    watch::{Batches, Wish},
    writer::Writer,
};

/// How long dropping a store that was not closed waits for it to end.
const DROP_WAIT: Duration = Duration::from_secs(5);

/// A store in this process: in memory, or in a directory on disk.
///
/// ```
/// use norikv_core::{Call, Get, Put, Store};
/// use norikv_embedded::{EmbeddedStore, Settings};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> norikv_core::Result<()> {
/// let store = EmbeddedStore::memory(Settings::default())?;
/// store.put(Put::new("greeting", "hello"), Call::default()).await?;
/// let entry = store.get_now(b"greeting", Default::default()).unwrap()?.unwrap();
/// assert_eq!(entry.value, "hello");
/// store.close().await
/// # }
/// ```
pub struct EmbeddedStore {
    /// Taken out at close. No call keeps it while it waits, so that close waits for no caller.
    shared: RwLock<Option<Arc<Shared>>>,
    queue: Arc<Queue>,
    pending: PendingWrites,
    readers: Readers,
    done: Done,
    limits: Limits,
}

impl EmbeddedStore {
    /// A store in memory, gone when it is closed.
    ///
    /// # Errors
    /// - `InvalidArgument`: a setting is out of its bounds.
    /// - `ResourceExhausted`: the process can have no further thread.
    pub fn memory(mut settings: Settings) -> Result<Self> {
        settings.check()?;
        settings.durability = Durability::Memory;
        Self::start(Box::new(MemoryEngine::new()), None, settings, Meta::EMPTY)
    }

    /// The store in a directory, which is made if it does not exist or is empty. Blocks while it reads what a
    /// crash left to be read.
    ///
    /// # Errors
    /// - `InvalidArgument`: the directory has something in it that is no store, or is a file, or a setting is out
    ///   of its bounds; nothing is written.
    /// - `ResourceExhausted`: the store is open already; also a full disk, or no descriptors left.
    /// - `Unsupported`: the store has a newer format.
    /// - `PermissionDenied`: this process may not read or write there.
    /// - `Corruption`: the data is damaged.
    pub fn open(directory: &Path, settings: Settings) -> Result<Self> {
        settings.check()?;
        if settings.durability == Durability::Memory {
            return Err(Error::invalid_argument(
                "a store in a directory has durability \"fsync\" or \"relaxed\", not \"memory\"",
            ));
        }
        let mut directory = Directory::open(directory)?;
        let synced = directory.synced();
        let engine =
            FjallEngine::open(&directory.data(), settings.cache_bytes / 16, directory.is_created(), synced)?;
        let meta = if directory.is_created() {
            let meta = Meta::load(&engine)?.ok_or_else(|| lost(0, 1))?;
            // What was acknowledged was noted. Less than that means that the journal lost its end.
            match synced {
                Some(noted) if noted.revision > meta.revision => {
                    return Err(lost(meta.revision, noted.revision));
                }
                _ => {
                    // What a killed process wrote can be read now, so it must not be lost any more.
                    engine.sync()?;
                    meta
                }
            }
        } else {
            engine.commit(vec![Meta::EMPTY.op()], true)?;
            Meta::EMPTY
        };
        directory.finish_creation()?;
        // What a crash leaves of the journal is read by what was promised, so that is noted first.
        let relaxed = settings.durability == Durability::Relaxed;
        if relaxed || synced.is_none_or(|synced| synced.relaxed) {
            let noted = Synced { revision: meta.revision, relaxed };
            directory.note_synced_durably(noted).map_err(|error| io_error("cannot open the store", error))?;
        }
        Self::start(Box::new(engine), Some(directory), settings, meta)
    }

    fn start(
        engine: Box<dyn Engine>,
        directory: Option<Directory>,
        settings: Settings,
        meta: Meta,
    ) -> Result<Self> {
        let done = Done::default();
        let limits = Limits { max_value_bytes: settings.max_value_bytes, ..Limits::default() };
        let shared = Arc::new(Shared::new(engine, directory, settings, meta, &done)?);
        let writer = Writer::new(Arc::clone(&shared))?;
        thread::Builder::new().name("norikv-write".into()).spawn(move || writer.run()).map_err(|error| {
            let message = "no thread for the store's writer; the process has too many";
            Error::new(ErrorKind::ResourceExhausted, message).caused_by(error)
        })?;
        Ok(Self {
            queue: Arc::clone(&shared.queue),
            shared: RwLock::new(Some(shared)),
            pending: PendingWrites::new(),
            readers: Readers::default(),
            done,
            limits,
        })
    }

    fn guard(&self) -> RwLockReadGuard<'_, Option<Arc<Shared>>> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn shared(&self) -> Result<Arc<Shared>> {
        self.guard().clone().ok_or_else(|| Error::closed("the store"))
    }

    /// Sends work to the writer and waits for its answer.
    async fn write<T>(&self, pending: Option<Pending>, work: impl FnOnce(Reply<T>) -> Work) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Job { work: work(reply), pending }).await?;
        // The writer answers everything it takes; without an answer it is gone.
        answer.await.unwrap_or_else(|_| Err(Error::closed("the store")))
    }

    /// Does a read: here if it need not wait for the disk, otherwise on a thread that may.
    async fn read<T: Send + 'static>(
        &self,
        here: impl FnOnce(&Shared) -> bool,
        read: impl FnOnce(&Shared, Wanted<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let answer = {
            let shared = self.shared()?;
            if here(&shared) {
                return read(&shared, &|| true);
            }
            self.readers.run(&shared, read)?
        };
        answer.await.unwrap_or_else(|_| Err(Error::closed("the store")))
    }

    /// The revision at which a read sees every write to these keys that was called before it, once it can be
    /// read; `None` if no such write is under way.
    async fn after_writes_to(&self, mut keys: impl Iterator<Item = u64>) -> Result<Option<u64>> {
        if !keys.any(|hash| self.pending.has(hash)) {
            return Ok(None);
        }
        self.write(None, |reply| Work::Barrier((), reply)).await.map(Some)
    }
}

fn lost(found: u64, noted: u64) -> Error {
    Error::new(
        ErrorKind::Corruption,
        format!(
            "the store's data ends at revision {found}, but revision {noted} was acknowledged; restore the store from a backup"
        ),
    )
}

#[async_trait]
impl Store for EmbeddedStore {
    fn get_now(&self, key: &[u8], _consistency: Consistency) -> Option<Result<Option<Entry>>> {
        if let Err(error) = check_key(key) {
            return Some(Err(error));
        }
        let hash = hash::of(key);
        if self.pending.has(hash) {
            return None;
        }
        let guard = self.guard();
        let Some(shared) = guard.as_deref() else {
            return Some(Err(Error::closed("the store")));
        };
        shared
            .get_in_memory(hash, key)
            .or_else(|| shared.reads_at_once().then(|| shared.get_newest(key, shared.published())))
    }

    async fn get(&self, request: Get, _call: Call) -> Result<Option<Entry>> {
        check_key(&request.key)?;
        let hash = hash::of(&request.key);
        let revision = match self.after_writes_to(std::iter::once(hash)).await? {
            Some(revision) => revision,
            None => {
                let shared = self.shared()?;
                if let Some(result) = shared.get_in_memory(hash, &request.key) {
                    return result;
                }
                shared.published()
            }
        };
        self.read(Shared::reads_at_once, move |shared, _| shared.get_newest(&request.key, revision)).await
    }

    async fn get_many(&self, request: GetMany, _call: Call) -> Result<Vec<Option<Entry>>> {
        page::check_many(&request.keys)?;
        request.keys.iter().try_for_each(|key| check_key(key))?;
        let hashes = request.keys.iter().map(|key| hash::of(key));
        let revision = self.after_writes_to(hashes).await?;
        self.read(Shared::reads_at_once, move |shared, _| page::get_many(shared, &request.keys, revision))
            .await
    }

    async fn put(&self, request: Put, _call: Call) -> Result<PutResult> {
        request.check(self.limits.max_value_bytes)?;
        let pending = self.pending.key(&request.key);
        self.write(Some(pending), |reply| Work::Put(request, reply)).await
    }

    async fn delete(&self, request: Delete, _call: Call) -> Result<DeleteResult> {
        request.check()?;
        let pending = self.pending.key(&request.key);
        self.write(Some(pending), |reply| Work::Delete(request, reply)).await
    }

    async fn delete_range(&self, request: DeleteRange, _call: Call) -> Result<DeleteRangeResult> {
        request.range.check()?;
        self.write(Some(self.pending.range()), |reply| Work::DeleteRange(request, reply)).await
    }

    async fn scan(&self, request: Scan, _call: Call) -> Result<Page> {
        request.range.check()?;
        let most = self.limits.max_page_entries;
        self.read(Shared::reads_at_once, move |shared, wanted| page::scan(shared, &request, most, wanted))
            .await
    }

    async fn count(&self, request: Count, _call: Call) -> Result<CountResult> {
        request.range.check()?;
        // A count has no bound but the range, so it never runs on a task.
        self.read(|_| false, move |shared, wanted| page::count(shared, &request, wanted)).await
    }

    async fn txn(&self, request: Txn, _call: Call) -> Result<TxnResult> {
        request.check(self.limits.max_value_bytes)?;
        let pending = self.pending.txn(&request);
        self.write(pending, |reply| Work::Txn(Box::new(request), reply)).await
    }

    async fn lease_grant(&self, request: LeaseGrant, _call: Call) -> Result<LeaseGranted> {
        self.write(None, |reply| Work::Grant(request, reply)).await
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>, _call: Call) -> Result<Vec<Option<Duration>>> {
        if ids.len() > MAX_KEEP_ALIVES {
            return Err(Error::invalid_argument(format!(
                "{} leases are to be kept alive at once; the most is {MAX_KEEP_ALIVES}",
                ids.len()
            )));
        }
        Ok(self.shared()?.leases.keep_alive(&ids))
    }

    async fn lease_revoke(&self, id: LeaseId, _call: Call) -> Result<Version> {
        self.write(Some(self.pending.range()), |reply| Work::Revoke(id, reply)).await
    }

    async fn lease_time_to_live(&self, request: LeaseTimeToLive, _call: Call) -> Result<LeaseStatus> {
        let id = request.id;
        let left = || self.shared()?.leases.left(id).ok_or_else(|| Error::lease_not_found(id));
        left()?;
        let keys = if request.keys {
            self.read(Shared::reads_at_once, move |shared, _| lease::keys_of(shared, id)).await?
        } else {
            Vec::new()
        };
        let left = left()?;
        Ok(LeaseStatus { id, granted: left.granted, remaining: left.remaining, keys })
    }

    async fn leases(&self, _call: Call) -> Result<Vec<LeaseId>> {
        Ok(self.shared()?.leases.ids())
    }

    async fn watch(&self, request: Watch, _call: Call) -> Result<Watching> {
        request.range.check()?;
        let shared = self.shared()?;
        let published = shared.published();
        let next = match request.from {
            None => published + 1,
            // What comes next is not the future.
            Some(from) if from == shared.version(published + 1) => from.index,
            Some(from) => shared.revision_of(from)?,
        };
        let start = shared.version(next - 1);
        let id = shared.hub.add(request.range.clone(), next, published, request.progress);
        if request.progress {
            // The writer tells progress, and may sleep until something else is due.
            shared.queue.nudge();
        }
        let wish = Wish { watch: request, term: shared.term };
        let (hub, weak) = (Arc::clone(&shared.hub), Arc::downgrade(&shared));
        let batches = Batches::new(hub, id, weak, self.readers.clone(), wish);
        Ok(Watching { start, batches: Box::pin(batches) })
    }

    async fn compact(&self, version: Version, _call: Call) -> Result<()> {
        let shared = self.shared()?;
        let to = shared.revision_of(version)?;
        drop(shared);
        self.write(None, |reply| Work::Compact(to, reply)).await
    }

    async fn status(&self, _call: Call) -> Result<Status> {
        let limits = self.limits;
        let features =
            Feature::ALL.iter().filter(|feature| !matches!(feature, Feature::Batch | Feature::Vectors));
        let read = move |shared: &Shared, _: Wanted<'_>| {
            let in_memory = shared.engine.in_memory();
            Ok(Status {
                store: if in_memory { "memory" } else { "file" }.to_owned(),
                features: features.clone().map(|feature| feature.as_str().to_owned()).collect(),
                limits,
                version: shared.version(shared.published()),
                sizes: Sizes {
                    disk_bytes: shared.engine.disk_bytes(),
                    compact_version: shared.version(shared.floor()),
                },
                durability: shared.settings.durability,
                vectors: None,
                software: env!("CARGO_PKG_VERSION").to_owned(),
            })
        };
        self.read(|shared| shared.engine.in_memory(), read).await
    }

    async fn close(&self) -> Result<()> {
        self.end();
        self.done.wait().await;
        Ok(())
    }
}

impl EmbeddedStore {
    /// Lets the writer and the readers finish what waits, and no more.
    fn end(&self) {
        let shared = self.shared.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(shared) = &shared {
            shared.hub.close();
        }
        self.queue.close();
        self.readers.close();
        drop(shared);
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.end();
        self.done.wait_blocking(DROP_WAIT);
    }
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").field("closed", &self.queue.is_closed()).finish_non_exhaustive()
    }
}
