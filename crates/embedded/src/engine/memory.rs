use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Bytes;
use norikv_core::{Order, Result};

use super::{Bounds, Cell, Engine, Op, Table, Visit};

/// How many rows a commit writes before it lets readers in again.
const ROWS_PER_LOCK: usize = 64;

type Rows = BTreeMap<Bytes, Bytes>;

/// Rows in ordered maps, gone with the process. Points are read from the rows in memory (`rows.rs`), which
/// hold everything here: in an ordered map of a million keys a point read costs some twenty cache misses.
#[derive(Default)]
pub(crate) struct MemoryEngine {
    entries: RwLock<Rows>,
    system: RwLock<Rows>,
}

impl MemoryEngine {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn rows(&self, table: Table) -> &RwLock<Rows> {
        match table {
            Table::Entries => &self.entries,
            Table::System => &self.system,
        }
    }

    fn read(&self, table: Table) -> RwLockReadGuard<'_, Rows> {
        self.rows(table).read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.read(table).get(key).cloned())
    }

    fn scan(&self, table: Table, bounds: Bounds<'_>, order: Order, visit: &mut Visit<'_>) -> Result<()> {
        // An ordered map panics on bounds that are the wrong way round.
        if crate::range::is_empty(&bounds) {
            return Ok(());
        }
        let rows = self.read(table);
        let mut range = rows.range::<[u8], _>(bounds);
        let mut stop = |(key, value)| visit(Cell::Shared(key), Cell::Shared(value)).is_break();
        let _ = match order {
            Order::Ascending => range.any(&mut stop),
            Order::Descending => range.rev().any(&mut stop),
        };
        Ok(())
    }

    fn commit(&self, batch: Vec<Op>, _durable: bool) -> Result<()> {
        let mut batch = batch.into_iter().peekable();
        while let Some(table) = batch.peek().map(|op| op.table) {
            // Short locks: a reader on a busy event loop waits for one slice, not for the batch.
            let slice = std::iter::from_fn(|| batch.next_if(|op| op.table == table)).take(ROWS_PER_LOCK);
            let mut rows = self.rows(table).write().unwrap_or_else(PoisonError::into_inner);
            for op in slice {
                match op.value {
                    Some(value) => drop(rows.insert(op.key, value)),
                    None => drop(rows.remove(&op.key)),
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn forget_history(&self, _floor: u64) -> bool {
        false
    }

    fn reclaim(&self) -> Result<()> {
        Ok(())
    }

    fn table_bytes(&self) -> u64 {
        0
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn in_memory(&self) -> bool {
        true
    }
}
