use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use norikv_core::{
    Call, Consistency, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Durability,
    Entry, Error, ErrorKind, Event, EventKind, EventReason, FieldName, Get, GetMany, LeaseGrant,
    LeaseGranted, LeaseId, LeaseStatus, LeaseTimeToLive, Limits, Order, Page, Precondition, Put, PutResult,
    Result, Scan, Sizes, Status, Store, Txn, TxnOp, TxnOpResult, TxnResult, VectorCreateIndex, VectorDelete,
    VectorDropIndex, VectorGet, VectorIndexInfo, VectorInsert, VectorSearch, VectorSearchResult, Version,
    Watch, WatchBatch, Watching,
};
use tokio::sync::{Semaphore, watch};

// By its path, since tests of the client take this file by its own.
#[path = "vector_map.rs"]
mod vector_map;

use vector_map::VectorMap;

/// A store in a map. A call on a key that begins with `held` waits until [`MapStore::release`].
pub struct MapStore {
    entries: Mutex<BTreeMap<Bytes, Entry>>,
    revision: AtomicU64,
    permits: Semaphore,
    /// Calls that wait to be released.
    pub held: AtomicUsize,
    /// Writes that took effect.
    pub executed: AtomicU64,
    pub feed: Arc<Feed>,
    leases: Mutex<BTreeMap<LeaseId, Duration>>,
    pub vectors: VectorMap,
    /// The version that can be watched from.
    floor: AtomicU64,
}

/// What the watches of a store share.
pub struct Feed {
    log: Mutex<Vec<WatchBatch>>,
    /// Sent after every change, with how often watches were ended, and why the last time.
    changed: watch::Sender<(usize, Option<Error>)>,
    /// Batches that watches took.
    pub taken: AtomicUsize,
    /// Watches that are open.
    pub open: AtomicUsize,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            log: Mutex::default(),
            changed: watch::Sender::new((0, None)),
            taken: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        }
    }
}

impl Feed {
    fn push(&self, batch: WatchBatch) {
        self.log.lock().unwrap().push(batch);
        self.changed.send_modify(|_| {});
    }

    /// Ends every watch that is open.
    pub fn fail(&self, error: Error) {
        self.changed.send_modify(|(ends, why)| (*ends, *why) = (*ends + 1, Some(error)));
    }

    /// Waits until so many watches are open.
    pub async fn until_open(&self, watches: usize) {
        while self.open.load(Ordering::SeqCst) != watches {
            tokio::task::yield_now().await;
        }
    }
}

struct Follower {
    feed: Arc<Feed>,
    changed: watch::Receiver<(usize, Option<Error>)>,
    ends: usize,
    request: Watch,
    at: usize,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.feed.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Follower {
    async fn next(&mut self) -> Result<WatchBatch> {
        loop {
            if let (ends, Some(error)) = &*self.changed.borrow_and_update()
                && *ends > self.ends
            {
                return Err(error.clone());
            }
            while let Some(mut batch) = self.feed.log.lock().unwrap().get(self.at).cloned() {
                self.at += 1;
                let told = batch.events.is_empty() && self.request.progress;
                batch.events.retain(|event| self.request.range.contains(&event.entry.key));
                if told || !batch.events.is_empty() {
                    self.feed.taken.fetch_add(1, Ordering::SeqCst);
                    return Ok(batch);
                }
            }
            self.changed.changed().await.unwrap();
        }
    }
}

fn event(kind: EventKind, entry: Entry) -> Event {
    Event { kind, reason: EventReason::Write, entry, prev_entry: None }
}

fn deleted(key: &Bytes, version: Version) -> Event {
    let entry = Entry {
        key: key.clone(),
        value: Bytes::new(),
        version,
        create_version: Version::ZERO,
        generation: 0,
        lease: None,
        expires_at: None,
    };
    event(EventKind::Delete, entry)
}

impl Default for MapStore {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            revision: AtomicU64::new(1),
            permits: Semaphore::new(0),
            held: AtomicUsize::new(0),
            executed: AtomicU64::new(0),
            feed: Arc::default(),
            leases: Mutex::default(),
            vectors: VectorMap::default(),
            floor: AtomicU64::new(0),
        }
    }
}

struct Held<'a>(&'a AtomicUsize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl MapStore {
    pub fn release(&self, calls: usize) {
        self.permits.add_permits(calls);
    }

    /// Waits until so many calls are held.
    pub async fn until_held(&self, calls: usize) {
        while self.held.load(Ordering::SeqCst) != calls {
            tokio::task::yield_now().await;
        }
    }

    async fn hold(&self, key: &[u8]) {
        if key.starts_with(b"held") {
            self.held.fetch_add(1, Ordering::SeqCst);
            let _held = Held(&self.held);
            self.permits.acquire().await.unwrap().forget();
        }
    }

    fn version(&self) -> Version {
        Version::new(1, self.revision.load(Ordering::SeqCst))
    }

    fn next_version(&self) -> Version {
        self.executed.fetch_add(1, Ordering::SeqCst);
        Version::new(1, self.revision.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Writes one revision, as large as it may be.
    pub fn write(&self, keys: impl IntoIterator<Item = Bytes>, value: &Bytes) -> Version {
        let mut entries = self.entries.lock().unwrap();
        let version = self.next_version();
        let entries = keys.into_iter().map(|key| set(&mut entries, &key, value, version));
        let events = entries.map(|entry| event(EventKind::Put, entry)).collect();
        self.feed.push(WatchBatch { version, events });
        version
    }

    /// Tells every watch that asked for it how far it is.
    pub fn tell_progress(&self) -> Version {
        let _entries = self.entries.lock().unwrap();
        let version = self.version();
        self.feed.push(WatchBatch { version, events: Vec::new() });
        version
    }

    /// A lease ran out.
    pub fn end_lease(&self, id: LeaseId) {
        self.leases.lock().unwrap().remove(&id);
    }

    pub fn value(&self, key: &str) -> Option<Bytes> {
        self.entries.lock().unwrap().get(key.as_bytes()).map(|entry| entry.value.clone())
    }

    pub fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }
}

fn set(entries: &mut BTreeMap<Bytes, Entry>, key: &Bytes, value: &Bytes, version: Version) -> Entry {
    let before = entries.get(key);
    let entry = Entry {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        version,
        create_version: before.map_or(version, |entry| entry.create_version),
        generation: before.map_or(1, |entry| entry.generation + 1),
        lease: None,
        expires_at: None,
    };
    entries.insert(entry.key.clone(), entry.clone());
    entry
}

#[async_trait]
impl Store for MapStore {
    fn get_now(&self, key: &[u8], _: Consistency) -> Option<Result<Option<Entry>>> {
        if key.starts_with(b"held") {
            return None;
        }
        if key.is_empty() {
            return Some(Err(Error::invalid_argument("empty")));
        }
        Some(Ok(self.entries.lock().unwrap().get(key).cloned()))
    }

    async fn get(&self, request: Get, _: Call) -> Result<Option<Entry>> {
        self.hold(&request.key).await;
        Ok(self.entries.lock().unwrap().get(&request.key).cloned())
    }

    async fn get_many(&self, request: GetMany, _: Call) -> Result<Vec<Option<Entry>>> {
        let entries = self.entries.lock().unwrap();
        Ok(request.keys.iter().map(|key| entries.get(key).cloned()).collect())
    }

    async fn put(&self, request: Put, _: Call) -> Result<PutResult> {
        request.check(Limits::default().max_value_bytes)?;
        self.hold(&request.key).await;
        let mut entries = self.entries.lock().unwrap();
        let before = entries.get(&request.key).cloned();
        match (request.precondition, before.as_ref().map(|entry| entry.version)) {
            (Precondition::NotExists, Some(actual)) => {
                return Err(Error::already_exists(&request.key, Some(actual)));
            }
            (Precondition::Version(expected), actual) if actual != Some(expected) => {
                return Err(Error::version_mismatch(&request.key, expected, actual));
            }
            _ => {}
        }
        let version = self.next_version();
        let mut entry = set(&mut entries, &request.key, &request.value, version);
        entry.expires_at = request.ttl.map(norikv_core::Ttl::as_millis);
        entries.insert(entry.key.clone(), entry.clone());
        self.feed.push(WatchBatch { version, events: vec![event(EventKind::Put, entry)] });
        Ok(PutResult { version, prev_entry: before.filter(|_| request.prev_entry) })
    }

    async fn delete(&self, request: Delete, _: Call) -> Result<DeleteResult> {
        request.check()?;
        self.hold(&request.key).await;
        let mut entries = self.entries.lock().unwrap();
        let actual = entries.get(&request.key).map(|entry| entry.version);
        if let Some(expected) = request.if_match
            && actual != Some(expected)
        {
            return Err(Error::version_mismatch(&request.key, expected, actual));
        }
        if entries.remove(&request.key).is_none() {
            return Ok(DeleteResult { deleted: false, version: self.version() });
        }
        let version = self.next_version();
        self.feed.push(WatchBatch { version, events: vec![deleted(&request.key, version)] });
        Ok(DeleteResult { deleted: true, version })
    }

    async fn delete_range(&self, request: DeleteRange, _: Call) -> Result<DeleteRangeResult> {
        let mut entries = self.entries.lock().unwrap();
        let before = entries.len();
        entries.retain(|key, _| !request.range.contains(key));
        Ok(DeleteRangeResult { deleted: (before - entries.len()) as u64, version: self.next_version() })
    }

    async fn scan(&self, request: Scan, _: Call) -> Result<Page> {
        let entries = self.entries.lock().unwrap();
        let mut found: Vec<_> =
            entries.values().filter(|entry| request.range.contains(&entry.key)).cloned().collect();
        if request.order == Order::Descending {
            found.reverse();
        }
        let limit = if request.limit == 0 { 1_024 } else { request.limit as usize };
        let more = found.len() > limit;
        found.truncate(limit);
        Ok(Page { entries: found, version: self.version(), more })
    }

    async fn count(&self, request: Count, _: Call) -> Result<CountResult> {
        let entries = self.entries.lock().unwrap();
        let count = entries.keys().filter(|key| request.range.contains(key)).count();
        Ok(CountResult { count: count as u64, version: self.version() })
    }

    /// Puts, deletes and gets, which is enough for what a server does with them.
    async fn txn(&self, request: Txn, _: Call) -> Result<TxnResult> {
        request.check(Limits::default().max_value_bytes)?;
        for compare in &request.compares {
            self.hold(&compare.key).await;
        }
        let mut entries = self.entries.lock().unwrap();
        let succeeded = request.compares.iter().all(|compare| compare.holds(entries.get(&compare.key)));
        let ops = if succeeded { request.then } else { request.otherwise };
        let writes = ops.iter().any(|op| !matches!(op, TxnOp::Get(_)));
        let version = if writes { self.next_version() } else { self.version() };
        let mut events = Vec::new();
        let results = ops.into_iter().map(|op| match op {
            TxnOp::Put(put) => {
                events.push(event(EventKind::Put, set(&mut entries, &put.key, &put.value, version)));
                TxnOpResult::Put(PutResult { version, prev_entry: None })
            }
            TxnOp::Delete(delete) => {
                let found = entries.remove(&delete.key).is_some();
                events.extend(found.then(|| deleted(&delete.key, version)));
                TxnOpResult::Delete(DeleteResult { deleted: found, version })
            }
            TxnOp::Get(get) => TxnOpResult::Get(entries.get(&get.key).cloned()),
            other => panic!("{other:?}"),
        });
        let results = results.collect();
        if !events.is_empty() {
            self.feed.push(WatchBatch { version, events });
        }
        Ok(TxnResult { succeeded, version, results })
    }

    async fn lease_grant(&self, request: LeaseGrant, _: Call) -> Result<LeaseGranted> {
        let mut leases = self.leases.lock().unwrap();
        let id = LeaseId::new(leases.last_key_value().map_or(1, |(id, _)| id.get() + 1)).unwrap();
        leases.insert(id, request.ttl.as_duration());
        Ok(LeaseGranted { id, ttl: request.ttl.as_duration() })
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>, _: Call) -> Result<Vec<Option<Duration>>> {
        let leases = self.leases.lock().unwrap();
        Ok(ids.iter().map(|id| leases.get(id).copied()).collect())
    }

    async fn lease_revoke(&self, id: LeaseId, _: Call) -> Result<Version> {
        let found = self.leases.lock().unwrap().remove(&id);
        found.map(|_| self.version()).ok_or_else(|| Error::lease_not_found(id))
    }

    async fn lease_time_to_live(&self, request: LeaseTimeToLive, _: Call) -> Result<LeaseStatus> {
        let ttl = self.leases.lock().unwrap().get(&request.id).copied();
        let ttl = ttl.ok_or_else(|| Error::lease_not_found(request.id))?;
        let keys = if request.keys { vec![Bytes::from_static(b"a")] } else { Vec::new() };
        Ok(LeaseStatus { id: request.id, granted: ttl, remaining: ttl, keys })
    }

    async fn leases(&self, _: Call) -> Result<Vec<LeaseId>> {
        Ok(self.leases.lock().unwrap().keys().copied().collect())
    }

    async fn watch(&self, request: Watch, _: Call) -> Result<Watching> {
        self.hold(&request.range.start).await;
        let _entries = self.entries.lock().unwrap();
        let floor = Version::new(1, self.floor.load(Ordering::SeqCst));
        let newest = self.version();
        let from = request.from.unwrap_or(Version::new(1, newest.index + 1));
        if request.from.is_some() && from < floor {
            return Err(Error::new(ErrorKind::Compacted, "gone").with(FieldName::CompactVersion, floor));
        }
        let at = self.feed.log.lock().unwrap().partition_point(|batch| batch.version < from);
        self.feed.open.fetch_add(1, Ordering::SeqCst);
        let changed = self.feed.changed.subscribe();
        let ends = changed.borrow().0;
        let follower = Follower { feed: Arc::clone(&self.feed), changed, ends, request, at };
        let batches = stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            let next = follower.next().await;
            let follower = next.is_ok().then_some(follower);
            Some((next, follower))
        });
        Ok(Watching { start: Version::new(1, from.index - 1), batches: Box::pin(batches) })
    }

    async fn compact(&self, version: Version, _: Call) -> Result<()> {
        self.floor.fetch_max(version.index, Ordering::SeqCst);
        Ok(())
    }

    async fn vector_create_index(&self, request: VectorCreateIndex, _: Call) -> Result<bool> {
        self.vectors.create(&request, self.next_version())
    }

    async fn vector_drop_index(&self, request: VectorDropIndex, _: Call) -> Result<bool> {
        self.vectors.drop(&request)
    }

    async fn vector_insert(&self, request: VectorInsert, _: Call) -> Result<Version> {
        self.vectors.insert(request).map(|()| self.next_version())
    }

    async fn vector_delete(&self, request: VectorDelete, _: Call) -> Result<bool> {
        self.vectors.delete(&request)
    }

    async fn vector_get(&self, request: VectorGet, _: Call) -> Result<Option<Vec<f32>>> {
        self.vectors.get(&request)
    }

    async fn vector_search(&self, request: VectorSearch, _: Call) -> Result<Vec<VectorSearchResult>> {
        self.vectors.search(&request)
    }

    async fn vector_indexes(&self, _: Call) -> Result<Vec<VectorIndexInfo>> {
        Ok(self.vectors.list())
    }

    async fn status(&self, _: Call) -> Result<Status> {
        Ok(Status {
            store: "map".into(),
            features: vec!["range".into()],
            limits: Limits::default(),
            version: self.version(),
            sizes: Sizes::default(),
            durability: Durability::Memory,
            vectors: None,
            software: "test".into(),
        })
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
