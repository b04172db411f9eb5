use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use hashbrown::HashTable;

use crate::hash;

const SHARDS: usize = 64;
/// What a row takes beside its bytes: the slot, its place in the table, and its allocation.
const ROW_OVERHEAD: usize = 112;
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

/// A record and its key, one behind the other: one place in memory to look at for both.
struct Row {
    buffer: Bytes,
    key_at: usize,
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

impl Row {
    fn key(&self) -> &[u8] {
        &self.buffer[self.key_at..]
    }

    fn size(&self) -> usize {
        self.buffer.len() + ROW_OVERHEAD
    }
}

impl Rows {
    /// Room for that many bytes of rows; `None` is room for all.
    pub(crate) fn new(bytes: Option<u64>) -> Self {
        let shard = || Shard {
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            bytes: 0,
            epochs: [0; EPOCHS],
        };
        let shard_bytes = bytes.and_then(|bytes| usize::try_from(bytes / SHARDS as u64).ok());
        Self {
            shards: std::iter::repeat_with(|| RwLock::new(shard())).take(SHARDS).collect(),
            shard_bytes: shard_bytes.unwrap_or(usize::MAX),
        }
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        &self.shards[(hash % SHARDS as u64) as usize]
    }

    /// Looks at the record of a key, if it is in memory. The bytes may hold more behind the record's own
    /// length, which is given.
    pub(crate) fn look<T>(&self, hash: u64, key: &[u8], look: impl FnOnce(&Bytes, usize) -> T) -> Option<T> {
        let shard = self.shard(hash).read().unwrap_or_else(PoisonError::into_inner);
        let slot = &shard.slots[shard.find(hash, key)? as usize];
        let row = slot.row.as_ref()?;
        // Written only when it changes: a store to a shared line costs every core that reads it.
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        Some(look(&row.buffer, row.key_at))
    }

    /// The record of a key, if it is in memory.
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<Bytes> {
        self.look(hash, key, |buffer, length| buffer.slice(..length))
    }

    /// To be taken before a row is read that will be added.
    pub(crate) fn ticket(&self, hash: u64) -> Ticket {
        let shard = self.shard(hash).read().unwrap_or_else(PoisonError::into_inner);
        Ticket { hash, epoch: shard.epochs[epoch_of(hash)] }
    }

    /// Adds a record that a reader read, unless the key may have been written since the ticket.
    pub(crate) fn add(&self, ticket: &Ticket, key: &[u8], record: &[u8]) {
        if self.shard_bytes == 0 {
            return;
        }
        let row = Row { buffer: [record, key].concat().into(), key_at: record.len() };
        let mut shard = self.shard(ticket.hash).write().unwrap_or_else(PoisonError::into_inner);
        if shard.epochs[epoch_of(ticket.hash)] == ticket.epoch {
            shard.put(ticket.hash, row, self.shard_bytes);
        }
    }

    /// What the writer committed: the new record of a key with the key behind it, or `None` if it is gone.
    pub(crate) fn write(&self, key: &[u8], record: Option<Bytes>) {
        let hash = hash::of(key);
        let mut shard = self.shard(hash).write().unwrap_or_else(PoisonError::into_inner);
        let epoch = &mut shard.epochs[epoch_of(hash)];
        *epoch = epoch.wrapping_add(1);
        match record {
            Some(buffer) => {
                let key_at = buffer.len() - key.len();
                shard.put(hash, Row { buffer, key_at }, self.shard_bytes);
            }
            None => shard.remove(hash, key),
        }
    }
}

impl Shard {
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |at: &u32| {
            let slot = &self.slots[*at as usize];
            slot.hash == hash && slot.row.as_ref().is_some_and(|row| row.key() == key)
        };
        self.table.find(hash, same).copied()
    }

    fn put(&mut self, hash: u64, row: Row, room: usize) {
        let size_of_row = row.size();
        // A row that would push out much of its shard is not worth it.
        if size_of_row > room / 4 {
            return self.remove(hash, row.key());
        }
        self.bytes += size_of_row;
        if let Some(at) = self.find(hash, row.key()) {
            let slot = &mut self.slots[at as usize];
            self.bytes -= slot.row.as_ref().map_or(0, Row::size);
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
            self.bytes -= row.size();
            self.free.push(at);
        }
        // A shard that was large once would keep its room for ever.
        if self.table.is_empty() && self.slots.len() > 1_024 {
            (self.table, self.slots, self.free) = (HashTable::new(), Vec::new(), Vec::new());
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

    fn write(rows: &Rows, key: &str, record: Option<&str>) {
        rows.write(key.as_bytes(), record.map(|record| format!("{record}{key}").into()));
    }

    fn get(rows: &Rows, key: &str) -> Option<Bytes> {
        rows.get(hash::of(key.as_bytes()), key.as_bytes())
    }

    #[test]
    fn a_reader_cannot_put_back_what_the_writer_replaced_meanwhile() {
        let rows = Rows::new(Some(1 << 20));
        let ticket = rows.ticket(hash::of(b"k"));
        write(&rows, "k", Some("new"));
        rows.add(&ticket, b"k", b"old");
        assert_eq!(get(&rows, "k").unwrap(), "new");

        let ticket = rows.ticket(hash::of(b"k"));
        write(&rows, "k", None);
        rows.add(&ticket, b"k", b"new");
        assert!(get(&rows, "k").is_none());
    }

    #[test]
    fn memory_stays_within_its_bound_and_what_is_used_stays() {
        let rows = Rows::new(Some(1 << 20));
        write(&rows, "hot", Some("hot"));
        for n in 0..100_000 {
            write(&rows, &n.to_string(), Some("value"));
            assert!(get(&rows, "hot").is_some(), "the row in use was pushed out after {n} others");
        }
        let bytes: usize = rows.shards.iter().map(|shard| shard.read().unwrap().bytes).sum();
        assert!(bytes <= 1 << 20);
        let kept = (0..100_000).filter(|n| get(&rows, &n.to_string()).is_some()).count();
        assert!(kept > 3_000, "kept {kept}");
    }

    #[test]
    fn without_a_bound_all_is_kept_and_what_is_gone_takes_no_room() {
        let rows = Rows::new(None);
        for n in 0..200_000 {
            write(&rows, &n.to_string(), Some("value"));
        }
        assert!((0..200_000).all(|n| get(&rows, &n.to_string()).is_some()));
        for n in 0..200_000 {
            write(&rows, &n.to_string(), None);
        }
        assert!(rows.shards.iter().all(|shard| shard.read().unwrap().slots.capacity() <= 1_024));
    }

    #[test]
    fn no_memory_means_no_rows() {
        let rows = Rows::new(Some(0));
        write(&rows, "k", Some("v"));
        assert!(get(&rows, "k").is_none());
    }
}
