//! What a storage engine must do for the store, and no more.

mod fjall;
mod journal;
mod manifest;
mod memory;

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use norikv_core::{Order, Result};

pub(crate) use self::{
    fjall::{FjallEngine, io_error},
    memory::MemoryEngine,
};

/// Two ordered maps of bytes. What else the store keeps has a tag byte in [`System`](Self::System).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// The newest record of every key, under the key itself.
    Entries,
    /// Everything else, under the keys of `keys.rs`.
    System,
}

/// One change of a batch: a value to store, or `None` to remove the key.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) table: Table,
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
}

/// The bounds of a scan.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Rows from this size on are shared, not copied. Below it a copy costs less than to count a reference in
/// memory that is not at hand.
pub(crate) const SHARE_FROM: usize = 2_048;

/// A value that a scan shows: shared where the engine holds it in a buffer of its own, borrowed where the
/// buffer holds more than the value, which a shared slice would keep alive.
#[derive(Clone, Copy)]
pub(crate) enum Cell<'a> {
    Shared(&'a Bytes),
    Borrowed(&'a [u8]),
}

impl Cell<'_> {
    pub(crate) fn to_bytes(self) -> Bytes {
        match self {
            Self::Shared(bytes) if bytes.len() > SHARE_FROM => bytes.clone(),
            bytes => Bytes::copy_from_slice(&bytes),
        }
    }
}

impl std::ops::Deref for Cell<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Borrowed(bytes) => bytes,
        }
    }
}

/// What was noted of the newest revision on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Synced {
    /// The revision. There may be later ones that are on disk, too.
    pub(crate) revision: u64,
    /// Whether writes were acknowledged before they were on disk.
    pub(crate) relaxed: bool,
}

/// What a scan calls with each row.
pub(crate) type Visit<'a> = dyn FnMut(Cell<'_>, Cell<'_>) -> ControlFlow<()> + 'a;

/// A storage engine.
///
/// Readers may see a batch while it is applied, row by row in the order of the batch, and before it is durable.
/// The store's reads are made so that this does not matter (see `read.rs`); they need no snapshots.
pub(crate) trait Engine: Send + Sync {
    /// Reads one row.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>>;

    /// Shows the rows within the bounds until `visit` breaks.
    fn scan(&self, table: Table, bounds: Bounds<'_>, order: Order, visit: &mut Visit<'_>) -> Result<()>;

    /// Writes all or nothing of a batch. With `durable`, it is on disk when this returns.
    ///
    /// After a failure the engine may refuse further batches; it goes on reading.
    fn commit(&self, batch: Vec<Op>, durable: bool) -> Result<()>;

    /// Puts everything committed on disk.
    fn sync(&self) -> Result<()>;

    /// Rows of history below the floor are not needed any more. Answers whether the engine sees to
    /// their removal; otherwise the store removes them itself.
    fn forget_history(&self, floor: u64) -> bool;

    /// Gives the space of forgotten history back, where that takes work of its own.
    fn reclaim(&self) -> Result<()>;

    /// The bytes of the rows on disk; 0 when there is no disk.
    fn table_bytes(&self) -> u64;

    /// The bytes that the engine takes on disk, all told.
    fn disk_bytes(&self) -> u64;

    /// Whether no read ever waits for a disk.
    fn in_memory(&self) -> bool;
}
