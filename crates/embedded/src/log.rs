//! The log of changes: which keys each revision changed, when, and how.
//!
//! A row holds up to [`PART_EVENTS`] changes of consecutive revisions, since one row for each would cost the
//! write path as much as the entries themselves. A revision with many changes continues over several rows.

use bytes::Bytes;
use norikv_core::{Error, ErrorKind, Order, Result};

use crate::{
    engine::{Cell, Engine, Table},
    keys,
};

const PART_EVENTS: usize = 256;
const PART_BYTES: usize = 32 * 1024;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was put.
    Put,
    /// It was deleted by a call.
    Delete,
    /// Its time to live ran out.
    Expire,
    /// Its lease ended.
    LeaseEnd,
}

impl Change {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Put => 0,
            Self::Delete => 1,
            Self::Expire => 2,
            Self::LeaseEnd => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Put),
            1 => Some(Self::Delete),
            2 => Some(Self::Expire),
            3 => Some(Self::LeaseEnd),
            _ => None,
        }
    }
}

/// Collects the changes of a group of writes into rows.
///
/// The value of a row: the time u64, the last revision u64, then for each change the revision less the first
/// one u32, what happened u8, the key's length u16, the key. Little-endian.
pub(crate) struct LogWriter {
    time: u64,
    rows: Vec<([u8; 13], Bytes)>,
    first: u64,
    last: u64,
    part: u32,
    events: usize,
    buffer: Vec<u8>,
}

impl LogWriter {
    pub(crate) fn new(time: u64) -> Self {
        Self { time, rows: Vec::new(), first: 0, last: 0, part: 0, events: 0, buffer: Vec::new() }
    }

    pub(crate) fn add(&mut self, revision: u64, change: Change, key: &[u8]) {
        if self.events >= PART_EVENTS || self.buffer.len() >= PART_BYTES {
            self.end_part();
        }
        if self.events == 0 {
            // A revision that began in the row before this one: its rows differ by the part.
            self.part = if self.last == revision { self.part + 1 } else { 0 };
            self.first = revision;
            self.buffer.extend_from_slice(&self.time.to_le_bytes());
            self.buffer.extend_from_slice(&[0; 8]);
        }
        self.events += 1;
        self.last = revision;
        // A row holds few revisions and a key is short, so nothing is cut here.
        #[allow(clippy::cast_possible_truncation)]
        {
            self.buffer.extend_from_slice(&((revision - self.first) as u32).to_le_bytes());
            self.buffer.push(change.to_byte());
            self.buffer.extend_from_slice(&(key.len() as u16).to_le_bytes());
        }
        self.buffer.extend_from_slice(key);
    }

    fn end_part(&mut self) {
        if self.events == 0 {
            return;
        }
        let mut row = std::mem::take(&mut self.buffer);
        row[8..16].copy_from_slice(&self.last.to_le_bytes());
        self.rows.push((keys::log(self.first, self.part), row.into()));
        self.events = 0;
    }

    /// The rows to store.
    pub(crate) fn finish(mut self) -> Vec<([u8; 13], Bytes)> {
        self.end_part();
        self.rows
    }
}

/// One row of the log.
pub(crate) struct Part<'a> {
    /// When its changes were made, in milliseconds since the Unix epoch.
    pub(crate) time: u64,
    /// Its last revision.
    pub(crate) last: u64,
    first: u64,
    events: &'a [u8],
}

/// A change in the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) revision: u64,
    pub(crate) change: Change,
    pub(crate) key: &'a [u8],
}

impl<'a> Part<'a> {
    pub(crate) fn parse(row: &[u8], value: &'a [u8]) -> Result<Self> {
        let parsed = (|| {
            let first = row.get(1..9)?.try_into().ok()?;
            let (time, rest) = value.split_first_chunk::<8>()?;
            let (last, events) = rest.split_first_chunk::<8>()?;
            Some(Self {
                time: u64::from_le_bytes(*time),
                last: u64::from_le_bytes(*last),
                first: u64::from_be_bytes(first),
                events,
            })
        })();
        parsed.ok_or_else(damaged)
    }

    /// The changes, in the order of their revisions.
    pub(crate) fn events(&self) -> impl Iterator<Item = Result<Event<'a>>> {
        let (first, mut rest) = (self.first, self.events);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let event = (|| {
                let (delta, tail) = rest.split_first_chunk::<4>()?;
                let (change, tail) = tail.split_first()?;
                let (length, tail) = tail.split_first_chunk::<2>()?;
                let (key, tail) = tail.split_at_checked(u16::from_le_bytes(*length).into())?;
                rest = tail;
                let revision = first + u64::from(u32::from_le_bytes(*delta));
                Some(Event { revision, change: Change::from_byte(*change)?, key })
            })();
            if event.is_none() {
                rest = &[];
            }
            Some(event.ok_or_else(damaged))
        })
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corruption, "a row of the log cannot be read; restore the store from a backup")
}

/// The last revision in the log and when it was made.
pub(crate) fn newest(engine: &dyn Engine) -> Result<Option<(u64, u64)>> {
    first_in(engine, &[keys::LOG], keys::LOG_END, Order::Descending)
}

/// The last revision of the oldest row in the log that reaches beyond `floor`, and when it was made.
pub(crate) fn oldest_after(engine: &dyn Engine, floor: u64) -> Result<Option<(u64, u64)>> {
    let start = keys::log(floor.saturating_add(1), 0);
    // The floor may lie amid a row.
    let around = first_in(engine, &[keys::LOG], &start, Order::Descending)?;
    match around.filter(|(last, _)| *last > floor) {
        Some(row) => Ok(Some(row)),
        None => first_in(engine, &start, keys::LOG_END, Order::Ascending),
    }
}

fn first_in(engine: &dyn Engine, start: &[u8], end: &[u8], order: Order) -> Result<Option<(u64, u64)>> {
    use std::ops::{Bound, ControlFlow};

    let mut found = None;
    let bounds = (Bound::Included(start), Bound::Excluded(end));
    engine.scan(Table::System, bounds, order, &mut |row: Cell<'_>, value: Cell<'_>| {
        found = Some(Part::parse(&row, &value).map(|part| (part.last, part.time)));
        ControlFlow::Break(())
    })?;
    found.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_in_order_over_as_many_rows_as_they_need() {
        let mut log = LogWriter::new(77);
        let mut expected = Vec::new();
        for n in 0..1_000u64 {
            // Revisions 2 to 501, then one revision with 500 changes.
            let revision = (n + 2).min(502);
            log.add(revision, Change::Put, &n.to_be_bytes());
            expected.push((revision, n.to_be_bytes().to_vec()));
        }
        let rows = log.finish();
        assert!(rows.len() >= 4);
        assert!(rows.is_sorted_by(|a, b| a.0 < b.0));
        let mut seen = Vec::new();
        for (row, value) in &rows {
            let part = Part::parse(row, value).unwrap();
            assert_eq!(part.time, 77);
            for event in part.events() {
                let event = event.unwrap();
                seen.push((event.revision, event.key.to_vec()));
            }
            assert_eq!(part.last, seen.last().unwrap().0);
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn damaged_rows_are_corruption() {
        let mut log = LogWriter::new(1);
        log.add(2, Change::Expire, b"key");
        let (row, value) = log.finish().remove(0);
        assert!(Part::parse(&row, &value[..15]).is_err());
        let part = Part::parse(&row, &value[..value.len() - 1]).unwrap();
        assert!(part.events().next().unwrap().is_err());
        assert_eq!(part.events().count(), 1);
    }
}
