use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;
use hashbrown::HashMap;
use norikv_core::{Order, Result};

use super::{Bounds, Cell, Engine, Op, Table, Visit};
use crate::hash::Xxh3Build;

/// How many rows a commit writes before it lets readers in again.
const ROWS_PER_LOCK: usize = 64;

/// Rows in ordered maps, gone with the process.
#[derive(Default)]
pub(crate) struct MemoryEngine {
    entries: RwLock<Entries>,
    system: RwLock<BTreeMap<Bytes, Bytes>>,
}

/// The entries twice, by order and by hash, sharing their bytes: a point read is the hot path, and in an
/// ordered map of a million keys it costs some twenty cache misses.
#[derive(Default)]
struct Entries {
    ordered: BTreeMap<Bytes, Bytes>,
    hashed: HashMap<Bytes, Bytes, Xxh3Build>,
}

impl Entries {
    fn apply(&mut self, key: Bytes, value: Option<Bytes>) {
        match value {
            Some(value) => {
                self.hashed.insert(key.clone(), value.clone());
                self.ordered.insert(key, value);
            }
            None => {
                self.hashed.remove(&key);
                self.ordered.remove(&key);
                // A map that was large once would keep its room for ever.
                if self.hashed.capacity() > 1_024 && self.hashed.len() < self.hashed.capacity() / 8 {
                    self.hashed.shrink_to(self.hashed.len() * 2);
                }
            }
        }
    }
}

impl MemoryEngine {
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn visit_all(rows: &BTreeMap<Bytes, Bytes>, bounds: Bounds<'_>, order: Order, visit: &mut Visit<'_>) {
    let range = rows.range::<[u8], _>(bounds);
    let mut show = |(key, value): (&Bytes, &Bytes)| {
        visit(Cell::Shared(key), Cell::Shared(value)) == ControlFlow::Break(())
    };
    let _ = match order {
        Order::Ascending => range.into_iter().any(&mut show),
        Order::Descending => range.into_iter().rev().any(&mut show),
    };
}

impl Engine for MemoryEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(match table {
            Table::Entries => read(&self.entries).hashed.get(key).cloned(),
            Table::System => read(&self.system).get(key).cloned(),
        })
    }

    fn scan(&self, table: Table, bounds: Bounds<'_>, order: Order, visit: &mut Visit<'_>) -> Result<()> {
        // An ordered map panics on bounds that are the wrong way round.
        if crate::range::is_empty(&bounds) {
            return Ok(());
        }
        match table {
            Table::Entries => visit_all(&read(&self.entries).ordered, bounds, order, visit),
            Table::System => visit_all(&read(&self.system), bounds, order, visit),
        }
        Ok(())
    }

    fn commit(&self, batch: Vec<Op>, _durable: bool) -> Result<()> {
        let mut batch = batch.into_iter().peekable();
        while let Some(table) = batch.peek().map(|op| op.table) {
            // Short locks: a reader on a busy event loop waits for one slice, not for the batch.
            let slice = std::iter::from_fn(|| batch.next_if(|op| op.table == table)).take(ROWS_PER_LOCK);
            match table {
                Table::Entries => {
                    let mut entries = write(&self.entries);
                    slice.for_each(|op| entries.apply(op.key, op.value));
                }
                Table::System => {
                    let mut system = write(&self.system);
                    for op in slice {
                        match op.value {
                            Some(value) => drop(system.insert(op.key, value)),
                            None => drop(system.remove(&op.key)),
                        }
                    }
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
