use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use norikv_core::{Durability, Entry, Error, ErrorKind, FieldName, Result, Version};

use crate::{
    Settings,
    clock::Clock,
    directory::Directory,
    done::{Done, DoneOnDrop},
    engine::{Engine, Synced, Table},
    hash,
    hub::Hub,
    lease::Leases,
    meta::Meta,
    queue::Queue,
    read,
    record::Record,
    rows::Rows,
};

/// What the callers, the writer and the readers of one store share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) term: u64,
    pub(crate) engine: Box<dyn Engine>,
    /// Unlocked after the engine is gone: fields are dropped in order.
    directory: Option<Directory>,
    pub(crate) rows: Rows,
    pub(crate) queue: Arc<Queue>,
    pub(crate) clock: Clock,
    pub(crate) leases: Leases,
    pub(crate) hub: Arc<Hub>,
    /// The newest revision that readers may see: what is committed, and on disk where that was asked for.
    published: AtomicU64,
    /// The newest revision that the writer has begun to commit.
    begun: AtomicU64,
    /// The oldest revision that can be read.
    floor: AtomicU64,
    /// The bytes of the rows on disk, as of the last time the writer looked.
    table_bytes: AtomicU64,
    /// Tells that all of this is gone. The last field, to be dropped last.
    _done: DoneOnDrop,
}

impl Shared {
    pub(crate) fn new(
        engine: Box<dyn Engine>,
        directory: Option<Directory>,
        settings: Settings,
        meta: Meta,
        done: &Done,
    ) -> Result<Self> {
        let rows = if engine.in_memory() { None } else { Some(settings.cache_bytes / 16 * 15) };
        Ok(Self {
            term: meta.term,
            leases: Leases::load(&*engine)?,
            hub: Arc::new(Hub::new(meta.revision)),
            rows: Rows::new(rows),
            queue: Arc::new(Queue::new(settings.queue_writes, settings.queue_bytes)),
            clock: Clock::starting_at_least(meta.time),
            published: AtomicU64::new(meta.revision),
            begun: AtomicU64::new(meta.revision),
            floor: AtomicU64::new(meta.floor),
            table_bytes: AtomicU64::new(engine.table_bytes()),
            engine,
            directory,
            settings,
            _done: done.on_drop(),
        })
    }

    /// Notes that everything up to a revision is on disk, and looks how much that is now and then.
    pub(crate) fn note_synced(&self, revision: u64) {
        let synced = Synced { revision, relaxed: self.settings.durability == Durability::Relaxed };
        if let Some(Err(error)) = self.directory.as_ref().map(|directory| directory.note_synced(synced)) {
            // The note only helps to find damage later; the write itself is safe.
            tracing::debug!(%error, "the newest revision on disk could not be noted");
        }
        self.table_bytes.store(self.engine.table_bytes(), Ordering::Relaxed);
    }

    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::SeqCst)
    }

    /// The writer is about to commit up to this revision.
    pub(crate) fn begin(&self, revision: u64) {
        self.begun.store(revision, Ordering::SeqCst);
    }

    /// Readers may see up to this revision from now on.
    pub(crate) fn publish(&self, revision: u64) {
        self.published.store(revision, Ordering::Release);
    }

    /// Readers are refused below this revision from now on.
    pub(crate) fn raise_floor(&self, floor: u64) {
        self.floor.fetch_max(floor, Ordering::SeqCst);
    }

    pub(crate) fn version(&self, index: u64) -> Version {
        Version::new(self.term, index)
    }

    /// Whether a read answers without waiting for the disk: there is none, or all of it fits into memory.
    pub(crate) fn reads_at_once(&self) -> bool {
        self.engine.in_memory() || self.table_bytes.load(Ordering::Relaxed) <= self.settings.cache_bytes
    }

    /// The error of a read below the floor.
    pub(crate) fn compacted(&self, asked: u64) -> Error {
        let floor = self.version(self.floor());
        Error::new(
            ErrorKind::Compacted,
            format!(
                "version {} is older than the history that is kept; the oldest that can be read is {floor}",
                self.version(asked)
            ),
        )
        .with(FieldName::CompactVersion, floor)
    }

    /// The revision of a version that a caller wants to read at.
    pub(crate) fn revision_of(&self, version: Version) -> Result<u64> {
        let newest = self.published();
        if version > self.version(newest) {
            return Err(Error::invalid_argument(format!(
                "version {version} is in the future; the store is at {}",
                self.version(newest)
            )));
        }
        if version.term < self.term || version.index < self.floor() {
            let floor = self.version(self.floor());
            return Err(Error::new(
                ErrorKind::Compacted,
                format!("version {version} cannot be read any more; the oldest that can is {floor}"),
            )
            .with(FieldName::CompactVersion, floor));
        }
        Ok(version.index)
    }

    /// The newest entry of a key, if it is known without the engine; the outer `None` if it is not.
    pub(crate) fn get_in_memory(&self, hash: u64, key: &[u8]) -> Option<Result<Option<Entry>>> {
        self.get_in_memory_at(hash, key, self.published())
    }

    /// The same as of a revision that is published.
    pub(crate) fn get_in_memory_at(
        &self,
        hash: u64,
        key: &[u8],
        revision: u64,
    ) -> Option<Result<Option<Entry>>> {
        let found = self.rows.look(hash, key, |bytes, length| {
            let record = match Record::decode(&bytes[..length]) {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            // A later write; the writer also puts records here just before it publishes them.
            if record.index > revision {
                return None;
            }
            if self.is_expired(&record) {
                return Some(Ok(None));
            }
            let value = record.value_within(bytes, length);
            Some(Ok(Some(record.entry(Bytes::copy_from_slice(key), value, self.term))))
        });
        match found {
            Some(found) => found,
            // Everything is in memory, and nothing was on its way in or out: it is not there.
            None if self.engine.in_memory() && self.begun() == revision => Some(Ok(None)),
            None => None,
        }
    }

    fn is_expired(&self, record: &Record) -> bool {
        record.expires_at.is_some() && record.expired(self.clock.now())
    }

    fn live_entry(&self, key: &[u8], record: &Record, bytes: &Bytes) -> Option<Entry> {
        let live = !self.is_expired(record);
        live.then(|| record.entry(Bytes::copy_from_slice(key), record.value(bytes), self.term))
    }

    /// The newest entry of a key as of a revision, from the engine. `Compacted` if the revision fell below
    /// the floor meanwhile.
    pub(crate) fn get_at(&self, key: &[u8], revision: u64) -> Result<Option<Entry>> {
        let ticket = self.rows.ticket(hash::of(key));
        if let Some(bytes) = self.engine.get(Table::Entries, key)? {
            let record = Record::decode(&bytes)?;
            if record.index <= revision {
                if !self.engine.in_memory() {
                    self.rows.add(&ticket, key, &bytes);
                }
                return Ok(self.live_entry(key, &record, &bytes));
            }
        }
        let undone = read::undone(&*self.engine, key, revision)?;
        self.check_floor(revision)?;
        Ok(undone.and_then(|(record, bytes)| self.live_entry(key, &record, &bytes)))
    }

    /// Refuses what was read at a revision whose history may have gone meanwhile.
    pub(crate) fn check_floor(&self, revision: u64) -> Result<()> {
        if revision < self.floor() { Err(self.compacted(revision)) } else { Ok(()) }
    }

    /// The newest entry of a key, from the engine.
    pub(crate) fn get_newest(&self, key: &[u8], mut revision: u64) -> Result<Option<Entry>> {
        loop {
            match self.get_at(key, revision) {
                // The history went faster than the read: the newest revision will do as well.
                Err(error) if error.kind() == ErrorKind::Compacted => revision = self.published(),
                result => return result,
            }
        }
    }
}
