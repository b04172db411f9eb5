use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use hashbrown::HashMap;
use norikv_core::{
    Delete, DeleteRange, DeleteRangeResult, DeleteResult, Error, Order, Precondition, Put, PutResult, Result,
    Ttl, Version,
};

use crate::{
    clock::millis,
    engine::{Cell, Engine, Op, Table},
    hash::{self, Xxh3Build},
    idempotency::Outcome,
    keys::{self, DeadlineKind},
    log::{Change, LogWriter},
    record::Record,
    shared::Shared,
};

/// A group of writes on their way into one commit: each sees what those before it did.
pub(crate) struct Group<'a> {
    shared: &'a Shared,
    /// The time at which all of it happens.
    now: u64,
    revision: u64,
    /// The newest record of each key that the group changed, with the key behind it.
    entries: HashMap<Bytes, Option<Bytes>, Xxh3Build>,
    /// Rows of the system table that the group may change more than once.
    rows: HashMap<Bytes, Option<Bytes>, Xxh3Build>,
    /// Rows that are written once.
    undo: Vec<Op>,
    log: LogWriter,
    /// The first deadline that the group set.
    deadline: Option<u64>,
}

/// A group that is ready to be committed.
pub(crate) struct Staged {
    /// The revision after it.
    pub(crate) revision: u64,
    /// The time at which it happened.
    pub(crate) time: u64,
    /// Its rows, in an order that readers can bear to see one by one: what a reader of an older revision needs
    /// is there before the entries change.
    pub(crate) batch: Vec<Op>,
    /// The new records, each with its key behind it, for the rows in memory.
    pub(crate) entries: HashMap<Bytes, Option<Bytes>, Xxh3Build>,
    /// The first deadline that it set.
    pub(crate) deadline: Option<u64>,
}

impl<'a> Group<'a> {
    pub(crate) fn new(shared: &'a Shared, revision: u64) -> Self {
        let now = shared.clock.now();
        Self {
            shared,
            now,
            revision,
            entries: HashMap::default(),
            rows: HashMap::default(),
            undo: Vec::new(),
            log: LogWriter::new(now),
            deadline: None,
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// The revision as the group stands.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    fn version(&self, index: u64) -> Version {
        Version::new(self.shared.term, index)
    }

    /// The newest record of a key. One that has expired is deleted first, in a revision of its own.
    fn touch(&mut self, key: &[u8]) -> Result<Option<(Record, Bytes)>> {
        let Some((record, bytes)) = self.stored(key)? else { return Ok(None) };
        if record.expired(self.now) {
            self.revision += 1;
            let key = Bytes::copy_from_slice(key);
            self.remove(key, &record, bytes, Change::Expire);
            return Ok(None);
        }
        Ok(Some((record, bytes)))
    }

    fn stored(&self, key: &[u8]) -> Result<Option<(Record, Bytes)>> {
        let bytes = match self.entries.get(key) {
            Some(bytes) => bytes.as_ref().map(|bytes| bytes.slice(..bytes.len() - key.len())),
            None => match self.shared.rows.get(hash::of(key), key) {
                Some(record) => Some(record),
                // All there is, is in memory.
                None if self.shared.engine.in_memory() => None,
                None => self.shared.engine.get(Table::Entries, key)?,
            },
        };
        let Some(bytes) = bytes else { return Ok(None) };
        Ok(Some((Record::decode(&bytes)?, bytes)))
    }

    /// Deletes a key at the group's current revision.
    fn remove(&mut self, key: Bytes, record: &Record, bytes: Bytes, change: Change) {
        self.keep(&key, record, bytes);
        self.log.add(self.revision, change, &key);
        self.entries.insert(key, None);
    }

    /// Keeps the record that the current revision replaces, for readers of older ones.
    fn keep(&mut self, key: &[u8], record: &Record, bytes: Bytes) {
        let undo = keys::undo(key, self.revision);
        self.undo.push(Op { table: Table::System, key: undo.into(), value: Some(bytes) });
        if let Some(at) = record.expires_at {
            self.rows.insert(keys::deadline(at, DeadlineKind::Entry, key), None);
        }
    }

    fn set_deadline(&mut self, at: u64, kind: DeadlineKind, key: &[u8]) {
        self.rows.insert(keys::deadline(at, kind, key), Some(Bytes::new()));
        self.deadline = Some(self.deadline.map_or(at, |first| first.min(at)));
    }

    /// What a write with this idempotency key answered, if it happened.
    fn recorded(&self, key: Option<&str>, fingerprint: impl FnOnce() -> u128) -> Result<Option<Outcome>> {
        let Some(key) = key else { return Ok(None) };
        let row = keys::idempotency(key.as_bytes());
        let bytes = match self.rows.get(&row) {
            Some(bytes) => bytes.clone(),
            None => self.shared.engine.get(Table::System, &row)?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let outcome = Outcome::decode(&bytes)?;
        if outcome.expires_at <= self.now {
            return Ok(None);
        }
        outcome.check(fingerprint(), key)?;
        Ok(Some(outcome))
    }

    fn record(&mut self, key: Option<&str>, fingerprint: impl FnOnce() -> u128, deleted: bool) {
        let Some(key) = key else { return };
        let expires_at = self.now.saturating_add(millis(self.shared.settings.idempotency_window));
        let version = self.version(self.revision);
        let outcome = Outcome { fingerprint: fingerprint(), version, deleted, expires_at };
        self.rows.insert(keys::idempotency(key.as_bytes()), Some(outcome.encode().into()));
        self.set_deadline(expires_at, DeadlineKind::Idempotency, key.as_bytes());
    }

    fn check(&self, key: &Bytes, precondition: Precondition, found: Option<&Record>) -> Result<()> {
        let actual = found.map(|record| self.version(record.index));
        match precondition {
            Precondition::Version(expected) if actual != Some(expected) => {
                Err(Error::version_mismatch(key, expected, actual))
            }
            Precondition::NotExists if actual.is_some() => Err(Error::already_exists(key, actual)),
            _ => Ok(()),
        }
    }

    pub(crate) fn put(&mut self, put: &Put) -> Result<PutResult> {
        let idempotency_key = put.idempotency_key.as_deref();
        if let Some(outcome) = self.recorded(idempotency_key, || put.fingerprint())? {
            return Ok(PutResult { version: outcome.version, prev_entry: None });
        }
        let found = self.touch(&put.key)?;
        self.check(&put.key, put.precondition, found.as_ref().map(|(record, _)| record))?;
        let prev_entry = found.as_ref().filter(|_| put.prev_entry).map(|(record, bytes)| {
            let key = Bytes::copy_from_slice(&put.key);
            record.entry(key, record.value(bytes), self.shared.term)
        });

        self.revision += 1;
        let expires_at = put.ttl.map(|ttl: Ttl| self.now.saturating_add(ttl.as_millis()));
        let record = match &found {
            Some((old, _)) => Record::new(self.revision, old.create_index, old.generation + 1, expires_at),
            None => Record::new(self.revision, self.revision, 1, expires_at),
        };
        if let Some((old, bytes)) = found {
            self.keep(&put.key, &old, bytes);
        }
        if let Some(at) = expires_at {
            self.set_deadline(at, DeadlineKind::Entry, &put.key);
        }
        self.log.add(self.revision, Change::Put, &put.key);
        let bytes = record.encode(&put.value, &put.key);
        match self.entries.get_mut(&*put.key) {
            Some(entry) => *entry = Some(bytes),
            None => drop(self.entries.insert(Bytes::copy_from_slice(&put.key), Some(bytes))),
        }
        self.record(idempotency_key, || put.fingerprint(), true);
        Ok(PutResult { version: self.version(self.revision), prev_entry })
    }

    pub(crate) fn delete(&mut self, delete: &Delete) -> Result<DeleteResult> {
        let idempotency_key = delete.idempotency_key.as_deref();
        if let Some(outcome) = self.recorded(idempotency_key, || delete.fingerprint())? {
            return Ok(DeleteResult { deleted: outcome.deleted, version: outcome.version });
        }
        let found = self.touch(&delete.key)?;
        self.check(&delete.key, delete.precondition(), found.as_ref().map(|(record, _)| record))?;
        let deleted = found.is_some();
        if let Some((record, bytes)) = found {
            self.revision += 1;
            self.remove(Bytes::copy_from_slice(&delete.key), &record, bytes, Change::Delete);
        }
        self.record(idempotency_key, || delete.fingerprint(), deleted);
        Ok(DeleteResult { deleted, version: self.version(self.revision) })
    }

    pub(crate) fn delete_range(&mut self, delete: &DeleteRange) -> Result<DeleteRangeResult> {
        let mut keys = Vec::new();
        let entries = &self.entries;
        if !delete.range.is_empty() {
            let bounds = delete.range.bounds();
            self.shared.engine.scan(Table::Entries, bounds, Order::Ascending, &mut |key: Cell<'_>, _| {
                if !entries.contains_key(&*key) {
                    keys.push(key.to_bytes());
                }
                ControlFlow::Continue(())
            })?;
        }
        let staged = entries.iter().filter(|(key, record)| record.is_some() && delete.range.contains(key));
        keys.extend(staged.map(|(key, _)| key.clone()));
        keys.sort_unstable();

        // What has expired goes first: every expiry has its revision, and the delete has one for all the rest.
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some((record, bytes)) = self.touch(&key)? {
                found.push((key, record, bytes));
            }
        }
        let deleted = found.len() as u64;
        if deleted > 0 {
            self.revision += 1;
            for (key, record, bytes) in found {
                self.remove(key, &record, bytes, Change::Delete);
            }
        }
        Ok(DeleteRangeResult { deleted, version: self.version(self.revision) })
    }

    /// Carries out what was due by now, up to a number of deadlines. Answers whether that was all.
    pub(crate) fn sweep(&mut self, most: usize) -> Result<bool> {
        let mut due = Vec::new();
        let end = keys::deadline(self.now.saturating_add(1), DeadlineKind::Entry, b"");
        let bounds = (Bound::Included(&[keys::DEADLINE][..]), Bound::Excluded(&end[..end.len() - 1]));
        self.shared.engine.scan(Table::System, bounds, Order::Ascending, &mut |row: Cell<'_>, _| {
            due.push(Bytes::copy_from_slice(&row));
            if due.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let all = due.len() < most;
        for row in due {
            match keys::parse_deadline(&row) {
                Some((_, DeadlineKind::Entry, key)) => drop(self.touch(key)?),
                Some((_, DeadlineKind::Idempotency, key)) => self.forget(key)?,
                None => {}
            }
            self.rows.insert(row, None);
        }
        Ok(all)
    }

    /// Removes an idempotency record, unless the key has been used again since.
    fn forget(&mut self, key: &[u8]) -> Result<()> {
        let row = keys::idempotency(key);
        if let Some(bytes) = self.shared.engine.get(Table::System, &row)?
            && Outcome::decode(&bytes)?.expires_at <= self.now
        {
            self.rows.insert(row, None);
        }
        Ok(())
    }

    /// Stores or removes a row of the system table.
    pub(crate) fn set_row(&mut self, row: Bytes, value: Option<Bytes>) {
        self.rows.insert(row, value);
    }

    pub(crate) fn engine(&self) -> &'a dyn Engine {
        &*self.shared.engine
    }

    /// The group as one batch.
    pub(crate) fn finish(self) -> Staged {
        let Self { now, revision, entries, rows, undo: mut batch, log, deadline, .. } = self;
        let log = log.finish();
        batch.reserve(log.len() + rows.len() + entries.len());
        // Sorted rows go into an ordered map along paths that are still in the processor's cache. Undo rows of
        // one key stay in the order of their revisions.
        batch.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        for (row, value) in log {
            batch.push(Op { table: Table::System, key: Bytes::copy_from_slice(&row), value: Some(value) });
        }
        for (key, value) in rows {
            batch.push(Op { table: Table::System, key, value });
        }
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
        for (key, value) in sorted {
            let value = value.as_ref().map(|bytes| bytes.slice(..bytes.len() - key.len()));
            batch.push(Op { table: Table::Entries, key: key.clone(), value });
        }
        Staged { revision, time: now, batch, entries, deadline }
    }
}
