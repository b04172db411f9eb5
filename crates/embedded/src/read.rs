//! Reading at a revision, while the writer goes on.
//!
//! The entries hold the newest record of every key. A revision that overwrites or deletes a key writes the
//! record it replaces as an undo row, and that row is there before the entry changes. So the record of a key at
//! revision `v` is the entry, if it is not newer than `v`; otherwise it is in the first undo row of the key
//! after `v`; and if there is none, the key was not there.
//!
//! The order matters: entries are read first. What changes after that has left its undo row by the time undo
//! rows are read.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
};

use bytes::Bytes;
use norikv_core::{Error, ErrorKind, KeyRange, Order, Result};

use crate::{
    engine::{Cell, Engine, Table},
    keys,
    record::Record,
    shared::Shared,
};

/// How many bytes of rows are read in one go.
const CHUNK_BYTES: usize = 1024 * 1024;
/// The most rows that are read in one go.
const CHUNK_ROWS: usize = 1_024;
/// How many undo rows of one key are walked over before it is cheaper to seek past them.
const STEPS: usize = 8;

/// The record of a key at a revision, for a key whose entry is newer than that or gone.
pub(crate) fn undone(engine: &dyn Engine, key: &[u8], revision: u64) -> Result<Option<(Record, Bytes)>> {
    let (first, last) = (keys::undo(key, revision.saturating_add(1)), keys::undo(key, u64::MAX));
    let mut found = None;
    let bounds = (Bound::Included(&*first), Bound::Included(&*last));
    engine.scan(Table::System, bounds, Order::Ascending, &mut |_, value: Cell<'_>| {
        found = Some(value.to_bytes());
        ControlFlow::Break(())
    })?;
    let Some(bytes) = found else { return Ok(None) };
    let record = Record::decode(&bytes)?;
    Ok((record.index <= revision).then_some((record, bytes)))
}

/// Why a walk over undo rows stopped.
enum Stop {
    /// There are no more.
    End,
    /// One key has so many that it is better to seek past them.
    Seek,
    /// There are so many keys that the chunk must be smaller.
    Full,
    /// A row is not what it should be.
    Damaged,
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corruption, "a row of the history cannot be read; restore the store from a backup")
}

/// A walk over the keys of a range at a revision.
pub(crate) struct Walk<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) revision: u64,
    pub(crate) order: Order,
    /// Whether values are wanted; without, they may be missing from the bytes.
    pub(crate) values: bool,
    /// Whether somebody still waits for the answer.
    pub(crate) wanted: Wanted<'a>,
}

/// Tells whether somebody still waits for the answer of a read.
pub(crate) type Wanted<'a> = &'a dyn Fn() -> bool;

/// What a walk calls with each key, its record, and the record's bytes.
type Show<'a> = dyn FnMut(Bytes, &Record, &Bytes) -> Result<ControlFlow<()>> + 'a;

struct Chunk {
    entries: Vec<(Bytes, Bytes)>,
    /// The part of the range that it does not cover.
    rest: Option<KeyRange>,
    /// The part that it covers.
    covered: KeyRange,
}

impl Walk<'_> {
    /// Shows up to `at_most` keys of the range, and maybe more, until `show` breaks. Ends with an error, between
    /// two chunks, when nobody waits for the answer any more.
    pub(crate) fn run(&self, range: &KeyRange, at_most: u64, show: &mut Show<'_>) -> Result<()> {
        let mut left = Some(range.clone());
        // One more than wanted tells whether there is more.
        let mut rows = usize::try_from(at_most).unwrap_or(CHUNK_ROWS).saturating_add(1).min(CHUNK_ROWS);
        while let Some(range) = left.take().filter(|range| !range.is_empty()) {
            if !(self.wanted)() {
                return Err(Error::new(ErrorKind::Cancelled, "nobody waits for the answer of this read"));
            }
            let mut chunk = self.chunk(&range, rows)?;
            let undone = self.undone_in(&mut chunk)?;
            if self.show(chunk.entries, undone, show)?.is_break() {
                return Ok(());
            }
            left = chunk.rest;
            rows = CHUNK_ROWS;
        }
        Ok(())
    }

    /// The first entries of a range, in the order of the walk.
    fn chunk(&self, range: &KeyRange, rows: usize) -> Result<Chunk> {
        let mut entries: Vec<(Bytes, Bytes)> = Vec::with_capacity(rows.min(128));
        let (mut bytes, mut full) = (0, false);
        let engine = &self.shared.engine;
        engine.scan(Table::Entries, range.bounds(), self.order, &mut |key: Cell<'_>, value: Cell<'_>| {
            let value = match value {
                Cell::Borrowed(all) if !self.values => {
                    Bytes::copy_from_slice(&all[..all.len().min(Record::LONGEST_HEADER)])
                }
                value => value.to_bytes(),
            };
            bytes += key.len() + value.len();
            entries.push((key.to_bytes(), value));
            full = entries.len() >= rows || bytes >= CHUNK_BYTES;
            if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let last = entries.last().filter(|_| full).map(|(key, _)| key.clone());
        Ok(match last {
            None => Chunk { entries, rest: None, covered: range.clone() },
            Some(last) => {
                let (covered, rest) = split(range, self.order, &last);
                Chunk { entries, rest: Some(rest), covered }
            }
        })
    }

    /// The records, at the walk's revision, of the chunk's keys that have changed since; `None` where a key
    /// was not there. Makes the chunk smaller where too many have.
    fn undone_in(&self, chunk: &mut Chunk) -> Result<BTreeMap<Bytes, Option<Bytes>>> {
        let mut found = BTreeMap::new();
        // Nothing newer had been begun when the chunk was read, so it is the revision itself.
        if self.shared.begun() == self.revision {
            return Ok(found);
        }
        let engine = &*self.shared.engine;
        let covered = &chunk.covered;
        let mut lower = keys::undo_before(&covered.start);
        let mut upper = covered.end.as_ref().map_or(keys::UNDO_END.to_vec(), |end| keys::undo_before(end));
        // The key whose rows are passed, and how many of them were.
        let mut passed: Option<(Vec<u8>, usize)> = None;
        let full = loop {
            let mut stop = Stop::End;
            let bounds = (Bound::Included(&*lower), Bound::Excluded(&*upper));
            engine.scan(Table::System, bounds, self.order, &mut |row: Cell<'_>, value: Cell<'_>| {
                let Some((key, revision)) = keys::parse_undo(&row) else {
                    stop = Stop::Damaged;
                    return ControlFlow::Break(());
                };
                match &mut passed {
                    Some((same, steps)) if *same == key => {
                        *steps += 1;
                        if *steps > STEPS {
                            stop = Stop::Seek;
                            return ControlFlow::Break(());
                        }
                    }
                    _ if found.len() >= CHUNK_ROWS => {
                        stop = Stop::Full;
                        return ControlFlow::Break(());
                    }
                    _ => passed = Some((key.clone(), 0)),
                }
                // The first row after the revision counts: going up, it comes first; going down, last.
                if revision > self.revision {
                    let key = Bytes::from(key);
                    if self.order == Order::Descending || !found.contains_key(&key) {
                        found.insert(key, Some(value.to_bytes()));
                    }
                }
                ControlFlow::Continue(())
            })?;
            match (stop, &passed) {
                (Stop::Damaged, _) => return Err(damaged()),
                (Stop::Seek, Some((key, _))) => {
                    // `None` is known, too: the key was not there.
                    let record = undone(engine, key, self.revision)?.map(|(_, bytes)| bytes);
                    found.insert(Bytes::copy_from_slice(key), record);
                    match self.order {
                        Order::Ascending => lower = keys::undo(key, u64::MAX),
                        Order::Descending => upper = keys::undo_before(key),
                    }
                }
                (Stop::Full, _) => break true,
                _ => break false,
            }
        };
        if let Some((last, _)) = passed.filter(|_| full) {
            let (covered, rest) = split(&self.whole(chunk), self.order, &last);
            chunk.entries.retain(|(key, _)| covered.contains(key));
            chunk.rest = Some(rest);
            chunk.covered = covered;
        }
        for record in found.values_mut() {
            let newer = match record.as_ref() {
                Some(bytes) => Record::decode(bytes)?.index > self.revision,
                None => false,
            };
            if newer {
                *record = None;
            }
        }
        Ok(found)
    }

    /// The range that a chunk was read from.
    fn whole(&self, chunk: &Chunk) -> KeyRange {
        match (&chunk.rest, self.order) {
            (None, _) => chunk.covered.clone(),
            (Some(rest), Order::Ascending) => {
                KeyRange { start: chunk.covered.start.clone(), end: rest.end.clone() }
            }
            (Some(rest), Order::Descending) => {
                KeyRange { start: rest.start.clone(), end: chunk.covered.end.clone() }
            }
        }
    }

    /// Shows entries and undone records, merged in the order of the walk.
    fn show(
        &self,
        entries: Vec<(Bytes, Bytes)>,
        mut undone: BTreeMap<Bytes, Option<Bytes>>,
        show: &mut Show<'_>,
    ) -> Result<ControlFlow<()>> {
        let before = |a: &Bytes, b: &Bytes| match self.order {
            Order::Ascending => a < b,
            Order::Descending => a > b,
        };
        let mut next_undone = |limit: Option<&Bytes>| {
            let first = match self.order {
                Order::Ascending => undone.first_entry(),
                Order::Descending => undone.last_entry(),
            }?;
            let due = limit.is_none_or(|limit| first.key() == limit || before(first.key(), limit));
            due.then(|| first.remove_entry())
        };
        let mut emit = |key: Bytes, bytes: &Bytes| show(key, &Record::decode(bytes)?, bytes);
        for (key, bytes) in entries {
            let mut old = None;
            while let Some((undone_key, undone_bytes)) = next_undone(Some(&key)) {
                if undone_key == key {
                    old = undone_bytes;
                } else if let Some(undone_bytes) = undone_bytes
                    && emit(undone_key, &undone_bytes)?.is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
            let record = Record::decode(&bytes)?;
            let bytes = if record.index <= self.revision { Some(bytes) } else { old };
            if let Some(bytes) = bytes
                && emit(key, &bytes)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        while let Some((key, bytes)) = next_undone(None) {
            if let Some(bytes) = bytes
                && emit(key, &bytes)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// A range as what a walk has covered once it has passed `last`, and the rest.
fn split(range: &KeyRange, order: Order, last: &[u8]) -> (KeyRange, KeyRange) {
    match order {
        Order::Ascending => {
            let rest = range.after(last);
            (KeyRange { start: range.start.clone(), end: Some(rest.start.clone()) }, rest)
        }
        Order::Descending => {
            let start = Bytes::copy_from_slice(last);
            (KeyRange { start, end: range.end.clone() }, range.before(last))
        }
    }
}
