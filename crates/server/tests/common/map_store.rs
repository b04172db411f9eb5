use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use norikv_core::{
    Call, Consistency, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Durability,
    Entry, Error, Get, GetMany, Limits, Order, Page, Precondition, Put, PutResult, Result, Scan, Sizes,
    Status, Store, Version,
};
use tokio::sync::Semaphore;

/// A store in a map. A call on a key that begins with `held` waits until [`MapStore::release`].
pub struct MapStore {
    entries: Mutex<BTreeMap<Bytes, Entry>>,
    revision: AtomicU64,
    permits: Semaphore,
    /// Calls that wait to be released.
    pub held: AtomicUsize,
    /// Writes that took effect.
    pub executed: AtomicU64,
}

impl Default for MapStore {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            revision: AtomicU64::new(1),
            permits: Semaphore::new(0),
            held: AtomicUsize::new(0),
            executed: AtomicU64::new(0),
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

    pub fn value(&self, key: &str) -> Option<Bytes> {
        self.entries.lock().unwrap().get(key.as_bytes()).map(|entry| entry.value.clone())
    }

    pub fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }
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
        let key = Bytes::copy_from_slice(&request.key);
        let entry = Entry {
            key: key.clone(),
            value: Bytes::copy_from_slice(&request.value),
            version,
            create_version: before.as_ref().map_or(version, |entry| entry.create_version),
            generation: before.as_ref().map_or(1, |entry| entry.generation + 1),
            lease: None,
            expires_at: request.ttl.map(norikv_core::Ttl::as_millis),
        };
        entries.insert(key, entry);
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
        let deleted = entries.remove(&request.key).is_some();
        Ok(DeleteResult { deleted, version: if deleted { self.next_version() } else { self.version() } })
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

    async fn status(&self, _: Call) -> Result<Status> {
        Ok(Status {
            store: "map".into(),
            features: vec!["range".into()],
            limits: Limits::default(),
            version: self.version(),
            sizes: Sizes::default(),
            durability: Durability::Memory,
            software: "test".into(),
        })
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
