use std::{
    fs,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode,
    compaction::filter::{CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict},
};
use norikv_core::{Error, ErrorKind, FieldName, Order, Result};

use super::{Bounds, Cell, Engine, Op, Synced, Table, Visit, journal, manifest};
use crate::keys;

const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Bounds how long it takes to open the store after a crash.
const JOURNAL_BYTES: u64 = 128 * 1024 * 1024;
const SYSTEM: &str = "system";
/// The number under which the journal knows the system table: they count from 1, in the order of creation.
pub(super) const SYSTEM_KEYSPACE: u64 = 2;

/// Rows on disk, in the log-structured merge trees of the crate `fjall`.
pub(crate) struct FjallEngine {
    directory: PathBuf,
    database: Database,
    entries: Keyspace,
    system: Keyspace,
    floor: Arc<AtomicU64>,
    /// Why the engine takes no more batches, once it does not.
    broken: Mutex<Option<Error>>,
}

impl FjallEngine {
    /// Opens the engine in a directory of its own, which it makes unless it is `existing`.
    ///
    /// `synced` is what is known to have been on disk; see [`journal`].
    pub(crate) fn open(
        directory: &Path,
        cache_bytes: u64,
        existing: bool,
        synced: Option<Synced>,
    ) -> Result<Self> {
        let missing = || {
            let message = "the store's tables are missing; restore the store from a backup";
            Error::new(ErrorKind::Corruption, message)
        };
        if existing {
            if !directory.join("keyspaces").exists() {
                return Err(missing());
            }
            manifest::check(directory)?;
            journal::check(directory, synced)?;
        }
        let floor = Arc::new(AtomicU64::new(0));
        let history = Arc::new(History { floor: Arc::clone(&floor) });
        let open = || {
            let database = Database::builder(directory)
                .cache_size(cache_bytes)
                // The check of the journal reads them as they are.
                .journal_compression(CompressionType::None)
                .max_journaling_size(JOURNAL_BYTES)
                .worker_threads(2)
                .with_compaction_filter_factories(Arc::new(move |keyspace| {
                    (keyspace == SYSTEM).then(|| Arc::clone(&history) as Arc<dyn Factory>)
                }))
                .open()?;
            // The engine would make a table anew that its catalogue has lost.
            if existing && !["entries", SYSTEM].into_iter().all(|name| database.keyspace_exists(name)) {
                return Ok(None);
            }
            let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
            let entries = database.keyspace("entries", || options().expect_point_read_hits(true))?;
            let system = database.keyspace(SYSTEM, options)?;
            Ok(Some((database, entries, system)))
        };
        let opened = open().map_err(|error| read_error("open the store", error))?;
        let (database, entries, system) = opened.ok_or_else(missing)?;
        if system.id() != SYSTEM_KEYSPACE {
            return Err(missing());
        }
        let directory = directory.to_owned();
        Ok(Self { directory, database, entries, system, floor, broken: Mutex::default() })
    }

    fn keyspace(&self, table: Table) -> &Keyspace {
        match table {
            Table::Entries => &self.entries,
            Table::System => &self.system,
        }
    }

    fn broken(&self) -> Result<()> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// The error of a write that may have left traces: the engine takes no further ones, and neither do we.
    fn break_with(&self, error: fjall::Error) -> Error {
        let error = match error {
            fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => {
                io_error("the write failed", error)
            }
            // fjall says only that something failed before, on a thread of its own. A full disk is the usual
            // reason, and it can be asked.
            other => match self.probe() {
                Err(full) => io_error("the write failed", full),
                Ok(()) => Error::new(ErrorKind::Unavailable, "the storage engine failed").caused_by(other),
            },
        };
        let kind = error.kind();
        let cause = error.message().to_owned();
        let after = Error::new(
            kind,
            format!("the store takes no writes since one failed ({cause}); it still answers reads. Set right what is wrong and open it again"),
        )
        .caused_by(error.clone());
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(after);
        error.with(FieldName::Outcome, "unknown")
    }

    /// Tries to write a little.
    fn probe(&self) -> std::io::Result<()> {
        let path = self.directory.join("probe.tmp");
        let result = fs::write(&path, [0xa5; 65_536]).and_then(|()| fs::File::open(&path)?.sync_all());
        let _ = fs::remove_file(path);
        result
    }
}

impl Engine for FjallEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>> {
        let value = self.keyspace(table).get(key).map_err(|error| read_error("read", error))?;
        // The engine's slice is a part of a block; kept, it would keep the block.
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, table: Table, bounds: Bounds<'_>, order: Order, visit: &mut Visit<'_>) -> Result<()> {
        if crate::range::is_empty(&bounds) {
            return Ok(());
        }
        let owned = |bound: Bound<&[u8]>| bound.map(<[u8]>::to_vec);
        let mut rows = self.keyspace(table).range::<Vec<u8>, _>((owned(bounds.0), owned(bounds.1)));
        loop {
            let row = match order {
                Order::Ascending => rows.next(),
                Order::Descending => rows.next_back(),
            };
            let Some(row) = row else { return Ok(()) };
            let (key, value) = row.into_inner().map_err(|error| read_error("scan", error))?;
            if visit(Cell::Borrowed(&key), Cell::Borrowed(&value)).is_break() {
                return Ok(());
            }
        }
    }

    fn commit(&self, batch: Vec<Op>, durable: bool) -> Result<()> {
        self.broken()?;
        let mode = if durable { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut write =
            fjall::OwnedWriteBatch::with_capacity(self.database.clone(), batch.len()).durability(Some(mode));
        for op in batch {
            let keyspace = self.keyspace(op.table);
            match op.value {
                Some(value) => write.insert(keyspace, op.key, value),
                None => write.remove(keyspace, op.key),
            }
        }
        write.commit().map_err(|error| self.break_with(error))
    }

    fn sync(&self) -> Result<()> {
        self.broken()?;
        self.database.persist(PersistMode::SyncData).map_err(|error| self.break_with(error))
    }

    fn forget_history(&self, floor: u64) -> bool {
        self.floor.fetch_max(floor, Ordering::Relaxed);
        true
    }

    fn reclaim(&self) -> Result<()> {
        let work = || {
            self.system.rotate_memtable_and_wait()?;
            self.system.major_compact()
        };
        work().map_err(|error| read_error("give space back", error))
    }

    fn table_bytes(&self) -> u64 {
        self.entries.disk_space() + self.system.disk_space()
    }

    fn disk_bytes(&self) -> u64 {
        used_bytes(&self.directory)
    }

    fn in_memory(&self) -> bool {
        false
    }
}

/// Drops the rows of the history that nobody can read any more, when the engine rewrites them anyway. They are
/// never written twice, so nothing older can come up from under them.
struct History {
    floor: Arc<AtomicU64>,
}

impl Factory for History {
    fn name(&self) -> &str {
        "history"
    }

    fn make_filter(&self, _context: &Context) -> Box<dyn CompactionFilter> {
        Box::new(HistoryFilter { floor: self.floor.load(Ordering::Relaxed) })
    }
}

struct HistoryFilter {
    floor: u64,
}

impl CompactionFilter for HistoryFilter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _context: &Context) -> CompactionFilterResult {
        let row = item.key();
        let last = match row.first() {
            Some(&keys::UNDO) => keys::undo_revision(row),
            Some(&keys::LOG) => {
                let value = item.value()?;
                crate::log::Part::parse(row, &value).ok().map(|part| part.last)
            }
            _ => None,
        };
        Ok(if last.is_some_and(|last| last < self.floor) { Verdict::Destroy } else { Verdict::Keep })
    }
}

/// The bytes that the files under a directory take. Files that are only promised to the file system, as
/// journals are, count with what is in them.
fn used_bytes(directory: &Path) -> u64 {
    let Ok(files) = fs::read_dir(directory) else { return 0 };
    let size = |file: fs::DirEntry| match file.metadata() {
        Ok(metadata) if metadata.is_dir() => used_bytes(&file.path()),
        Ok(metadata) => allocated(&metadata),
        Err(_) => 0,
    };
    files.flatten().map(size).sum()
}

#[cfg(unix)]
fn allocated(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn allocated(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

fn read_error(what: &str, error: fjall::Error) -> Error {
    use std::io::ErrorKind as Io;

    match error {
        // A file of the engine that is not there, or is shorter than it should be, is damage like any other.
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error))
            if !matches!(error.kind(), Io::NotFound | Io::UnexpectedEof | Io::InvalidData) =>
        {
            io_error(&format!("could not {what}"), error)
        }
        fjall::Error::Poisoned | fjall::Error::Locked => {
            Error::new(ErrorKind::Unavailable, format!("could not {what}")).caused_by(error)
        }
        error => {
            let found = error.to_string();
            Error::new(
                ErrorKind::Corruption,
                format!(
                    "could not {what}: the data on disk is damaged ({found}); restore the store from a backup"
                ),
            )
            .caused_by(error)
        }
    }
}

/// The error of an input or output operation.
pub(crate) fn io_error(what: &str, error: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    /// Out of descriptors, in this process or in the system (`EMFILE`, `ENFILE`).
    const NO_DESCRIPTORS: [i32; 2] = [24, 23];

    let kind = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge | Io::OutOfMemory => {
            ErrorKind::ResourceExhausted
        }
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        _ if cfg!(unix) && error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code)) => {
            ErrorKind::ResourceExhausted
        }
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what}: {error}")).caused_by(error)
}
