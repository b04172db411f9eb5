use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use hashbrown::HashTable;

use crate::hash;

const SHARDS: usize = 64;
/// What a row takes beside its bytes: the slot, its place in the table, and two allocations.
const ROW_OVERHEAD: usize = 160;
/// Writes are told apart by this many counters per shard, so that a read is rarely refused for a write to
/// another key.
const EPOCHS: usize = 64;

/// The newest records of the keys in use, in memory, up to a number of bytes.
///
/// The writer puts every record here after its commit; readers add what they read. A reader must not put back
/// what the writer replaced meanwhile, so it takes a [`Ticket`] before it reads, and a write voids it. What is
/// least used goes first, by the clock algorithm.
pub(crate) struct Rows {
    shards: Box<[RwLock<Shard>]>,
    shard_bytes: usize,
}

/// The right to add a row that is read now.
pub(crate) struct Ticket {
    hash: u64,
    epoch: u32,
}

/// A record that is in memory.
pub(crate) struct Row {
    pub(crate) key: Bytes,
    pub(crate) record: Bytes,
}

struct Slot {
    hash: u64,
    row: Option<Row>,
    used: AtomicBool,
}

struct Shard {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    hand: usize,
    bytes: usize,
    epochs: [u32; EPOCHS],
}

const fn epoch_of(hash: u64) -> usize {
    (hash >> 16) as usize % EPOCHS
}

fn size(row: &Row) -> usize {
    row.key.len() + row.record.len() + ROW_OVERHEAD
}

impl Rows {
    /// Room for that many bytes of rows.
    pub(crate) fn new(bytes: u64) -> Self {
        let shard = || Shard {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            bytes: 0,
            epochs: [0; EPOCHS],
        };
        Self {
            shards: std::iter::repeat_with(|| RwLock::new(shard())).take(SHARDS).collect(),
            shard_bytes: usize::try_from(bytes / SHARDS as u64).unwrap_or(usize::MAX),
        }
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        &self.shards[(hash % SHARDS as u64) as usize]
    }

    /// The row of a key, if it is in memory.
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<Row> {
        let shard = self.shard(hash).read().unwrap_or_else(PoisonError::into_inner);
        let slot = &shard.slots[shard.find(hash, key)? as usize];
        let row = slot.row.as_ref()?;
        // Written only when it changes: a store to a shared line costs every core that reads it.
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        Some(Row { key: row.key.clone(), record: row.record.clone() })
    }

    /// To be taken before a row is read that will be added.
    pub(crate) fn ticket(&self, hash: u64) -> Ticket {
        let shard = self.shard(hash).read().unwrap_or_else(PoisonError::into_inner);
        Ticket { hash, epoch: shard.epochs[epoch_of(hash)] }
    }

    /// Adds a row that a reader read, unless the key may have been written since the ticket.
    pub(crate) fn add(&self, ticket: &Ticket, row: Row) {
        let mut shard = self.shard(ticket.hash).write().unwrap_or_else(PoisonError::into_inner);
        if shard.epochs[epoch_of(ticket.hash)] == ticket.epoch {
            shard.put(ticket.hash, row, self.shard_bytes);
        }
    }

    /// What the writer committed: the new record of a key, or `None` if it is gone.
    pub(crate) fn write(&self, key: &Bytes, record: Option<&Bytes>) {
        let hash = hash::of(key);
        let mut shard = self.shard(hash).write().unwrap_or_else(PoisonError::into_inner);
        let epoch = &mut shard.epochs[epoch_of(hash)];
        *epoch = epoch.wrapping_add(1);
        match record {
            Some(record) => {
                let row = Row { key: key.clone(), record: record.clone() };
                shard.put(hash, row, self.shard_bytes);
            }
            None => shard.remove(hash, key),
        }
    }
}

impl Shard {
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |at: &u32| self.slots[*at as usize].row.as_ref().is_some_and(|row| row.key == key);
        self.table.find(hash, same).copied()
    }

    fn put(&mut self, hash: u64, row: Row, room: usize) {
        let size_of_row = size(&row);
        // A row that would push out much of its shard is not worth it.
        if size_of_row > room / 4 {
            return self.remove(hash, &row.key);
        }
        self.bytes += size_of_row;
        if let Some(at) = self.find(hash, &row.key) {
            let slot = &mut self.slots[at as usize];
            self.bytes -= slot.row.as_ref().map_or(0, size);
            slot.row = Some(row);
            *slot.used.get_mut() = true;
        } else {
            let slot = Slot { hash, row: Some(row), used: AtomicBool::new(false) };
            let at = match self.free.pop() {
                Some(at) => {
                    self.slots[at as usize] = slot;
                    at
                }
                None => {
                    // A shard of 2^32 rows would need terabytes.
                    let Ok(at) = u32::try_from(self.slots.len()) else { return };
                    self.slots.push(slot);
                    at
                }
            };
            let slots = &self.slots;
            self.table.insert_unique(hash, at, |at| slots[*at as usize].hash);
        }
        while self.bytes > room {
            self.evict();
        }
    }

    fn remove(&mut self, hash: u64, key: &[u8]) {
        if let Some(at) = self.find(hash, key) {
            self.clear(at);
        }
    }

    fn clear(&mut self, at: u32) {
        let hash = self.slots[at as usize].hash;
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == at) {
            entry.remove();
        }
        if let Some(row) = self.slots[at as usize].row.take() {
            self.bytes -= size(&row);
            self.free.push(at);
        }
    }

    /// Turns the clock's hand to the first row that was not used since it came by.
    fn evict(&mut self) {
        // Twice around at most: the first turn clears every mark.
        for _ in 0..=2 * self.slots.len() {
            self.hand = (self.hand + 1) % self.slots.len().max(1);
            let Some(slot) = self.slots.get_mut(self.hand) else { return };
            if slot.row.is_some() && !std::mem::take(slot.used.get_mut()) {
                #[allow(clippy::cast_possible_truncation)] // Slots are numbered with u32, see `put`.
                return self.clear(self.hand as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, record: &str) -> Row {
        Row { key: Bytes::copy_from_slice(key.as_bytes()), record: Bytes::copy_from_slice(record.as_bytes()) }
    }

    fn get(rows: &Rows, key: &str) -> Option<Bytes> {
        rows.get(hash::of(key.as_bytes()), key.as_bytes()).map(|row| row.record)
    }

    #[test]
    fn a_reader_cannot_put_back_what_the_writer_replaced_meanwhile() {
        let rows = Rows::new(1 << 20);
        let ticket = rows.ticket(hash::of(b"k"));
        rows.write(&"k".into(), Some(&"new".into()));
        rows.add(&ticket, row("k", "old"));
        assert_eq!(get(&rows, "k").unwrap(), "new");

        let ticket = rows.ticket(hash::of(b"k"));
        rows.write(&"k".into(), None);
        rows.add(&ticket, row("k", "new"));
        assert!(get(&rows, "k").is_none());
    }

    #[test]
    fn memory_stays_within_its_bound_and_what_is_used_stays() {
        let rows = Rows::new(1 << 20);
        rows.write(&"hot".into(), Some(&"hot".into()));
        for n in 0..100_000 {
            rows.write(&n.to_string().into(), Some(&"value".into()));
            assert!(get(&rows, "hot").is_some(), "the row in use was pushed out after {n} others");
        }
        let bytes: usize = rows.shards.iter().map(|shard| shard.read().unwrap().bytes).sum();
        assert!(bytes <= 1 << 20);
        let kept = (0..100_000).filter(|n| get(&rows, &n.to_string()).is_some()).count();
        assert!(kept > 3_000, "kept {kept}");
    }

    #[test]
    fn no_memory_means_no_rows() {
        let rows = Rows::new(0);
        rows.write(&"k".into(), Some(&"v".into()));
        assert!(get(&rows, "k").is_none());
    }
}
