use std::{
    collections,
    ops::{Bound, ControlFlow},
};

use bytes::Bytes;
use hashbrown::HashMap;
use norikv_core::{
    Delete, DeleteRange, DeleteRangeResult, DeleteResult, Entry, Error, KeyRange, LeaseId, Order,
    Precondition, Put, PutResult, Result, Ttl, Version,
};

use crate::{
    clock::millis,
    engine::{Cell, Engine, Op, Table},
    hash::{self, Xxh3Build},
    hub::Changed,
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
    /// The changes for those who watch; `None` if nobody did when the group began.
    changes: Option<Vec<Changed>>,
    pub(crate) leases: StagedLeases,
}

/// What a group does to leases.
#[derive(Default)]
pub(crate) struct StagedLeases {
    /// Those that it grants.
    pub(crate) granted: collections::HashMap<LeaseId, Ttl>,
    /// Those that it ends.
    pub(crate) ended: collections::HashSet<LeaseId>,
    /// Keys that it puts with a lease, before they are in the engine.
    pub(crate) keys: collections::HashMap<LeaseId, Vec<Bytes>>,
}

/// What becomes of a key.
pub(crate) enum Fate {
    Put { record: Record, value: Bytes },
    Gone(Change),
}

/// A record as it is stored, and its bytes.
pub(crate) type Found = Option<(Record, Bytes)>;

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
    /// Its changes for those who watch, if they were asked for.
    pub(crate) changes: Option<Vec<Changed>>,
    pub(crate) leases: StagedLeases,
}

impl<'a> Group<'a> {
    pub(crate) fn new(shared: &'a Shared, revision: u64) -> Self {
        let now = shared.clock.now();
        let changes = shared.hub.is_watched().then(Vec::new);
        Self {
            shared,
            now,
            revision,
            entries: HashMap::default(),
            rows: HashMap::default(),
            undo: Vec::new(),
            log: LogWriter::new(now),
            deadline: None,
            changes,
            leases: StagedLeases::default(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// The revision as the group stands.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn shared(&self) -> &'a Shared {
        self.shared
    }

    pub(crate) fn version(&self, index: u64) -> Version {
        Version::new(self.shared.term, index)
    }

    /// The newest record of a key. One that has expired is deleted first, in a revision of its own.
    pub(crate) fn touch(&mut self, key: &[u8]) -> Result<Found> {
        let found = self.stored(key)?;
        if !found.as_ref().is_some_and(|(record, _)| record.expired(self.now)) {
            return Ok(found);
        }
        self.revision += 1;
        self.make(key, found, Fate::Gone(Change::Expire));
        Ok(None)
    }

    pub(crate) fn stored(&self, key: &[u8]) -> Result<Found> {
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

    /// Makes a change at the group's current revision. Nothing about it can fail.
    pub(crate) fn make(&mut self, key: &[u8], found: Found, fate: Fate) {
        if let Some((old, bytes)) = &found {
            self.keep(key, old, bytes.clone());
        }
        let (change, new) = match fate {
            Fate::Gone(change) => (change, None),
            Fate::Put { record, value } => {
                if let Some(at) = record.expires_at {
                    self.set_deadline(at, DeadlineKind::Entry, key);
                }
                if let Some(lease) = record.lease {
                    self.rows.insert(keys::lease_key(lease, key), Some(Bytes::new()));
                    self.leases.keys.entry(lease).or_default().push(Bytes::copy_from_slice(key));
                }
                (Change::Put, Some((record, record.encode(&value, key))))
            }
        };
        self.log.add(self.revision, change, key);
        if self.changes.is_some() {
            self.note(key, change, new.as_ref(), found);
        }
        let stored = new.map(|(_, bytes)| bytes);
        match self.entries.get_mut(key) {
            Some(entry) => *entry = stored,
            None => drop(self.entries.insert(Bytes::copy_from_slice(key), stored)),
        }
    }

    /// Notes a change for those who watch.
    fn note(&mut self, key: &[u8], change: Change, new: Option<&(Record, Bytes)>, found: Found) {
        let Some(changes) = &mut self.changes else { return };
        let key = Bytes::copy_from_slice(key);
        let term = self.shared.term;
        let entry = new.map(|(record, bytes)| {
            let record = record.stored();
            record.entry(key.clone(), record.value_within(bytes, bytes.len() - key.len()), term)
        });
        let prev_entry = found.map(|(record, bytes)| record.entry(key.clone(), record.value(&bytes), term));
        changes.push(Changed { revision: self.revision, change, key, entry, prev_entry });
    }

    /// Keeps the record that the current revision replaces, for readers of older ones.
    fn keep(&mut self, key: &[u8], record: &Record, bytes: Bytes) {
        let undo = keys::undo(key, self.revision);
        self.undo.push(Op { table: Table::System, key: undo.into(), value: Some(bytes) });
        if let Some(at) = record.expires_at {
            self.rows.insert(keys::deadline(at, DeadlineKind::Entry, key), None);
        }
        if let Some(lease) = record.lease {
            self.rows.insert(keys::lease_key(lease, key), None);
        }
    }

    fn set_deadline(&mut self, at: u64, kind: DeadlineKind, key: &[u8]) {
        self.rows.insert(keys::deadline(at, kind, key), Some(Bytes::new()));
        self.deadline = Some(self.deadline.map_or(at, |first| first.min(at)));
    }

    /// What a write with this idempotency key answered, if it happened.
    pub(crate) fn recorded(
        &self,
        key: Option<&str>,
        fingerprint: impl FnOnce() -> u128,
    ) -> Result<Option<Outcome>> {
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

    pub(crate) fn record(&mut self, key: Option<&str>, fingerprint: impl FnOnce() -> u128, deleted: bool) {
        let Some(key) = key else { return };
        let expires_at = self.now.saturating_add(millis(self.shared.settings.idempotency_window));
        let version = self.version(self.revision);
        let outcome = Outcome { fingerprint: fingerprint(), version, deleted, expires_at };
        self.rows.insert(keys::idempotency(key.as_bytes()), Some(outcome.encode().into()));
        self.set_deadline(expires_at, DeadlineKind::Idempotency, key.as_bytes());
    }

    pub(crate) fn check(
        &self,
        key: &Bytes,
        precondition: Precondition,
        found: Option<&Record>,
    ) -> Result<()> {
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
        self.check_put(put, found.as_ref())?;
        let prev_entry = self.prev_entry(put, found.as_ref());
        self.revision += 1;
        let record = self.record_of(put, found.as_ref(), self.revision);
        self.make(&put.key, found, Fate::Put { record, value: put.value.clone() });
        self.record(idempotency_key, || put.fingerprint(), true);
        Ok(PutResult { version: self.version(self.revision), prev_entry })
    }

    /// Refuses a put whose condition does not hold, or whose lease is not there.
    pub(crate) fn check_put(&self, put: &Put, found: Option<&(Record, Bytes)>) -> Result<()> {
        self.check(&put.key, put.precondition, found.map(|(record, _)| record))?;
        put.lease.map_or(Ok(()), |lease| self.check_lease(lease))
    }

    /// What a put answers of the entry before it.
    pub(crate) fn prev_entry(&self, put: &Put, found: Option<&(Record, Bytes)>) -> Option<Entry> {
        let (record, bytes) = found.filter(|_| put.prev_entry)?;
        Some(record.entry(Bytes::copy_from_slice(&put.key), record.value(bytes), self.shared.term))
    }

    /// The record that a put makes at a revision.
    pub(crate) fn record_of(&self, put: &Put, found: Option<&(Record, Bytes)>, revision: u64) -> Record {
        let expires_at = put.ttl.map(|ttl: Ttl| self.now.saturating_add(ttl.as_millis()));
        let (create_index, generation) =
            found.map_or((revision, 1), |(old, _)| (old.create_index, old.generation + 1));
        Record::new(revision, create_index, generation, expires_at).with_lease(put.lease)
    }

    pub(crate) fn delete(&mut self, delete: &Delete) -> Result<DeleteResult> {
        let idempotency_key = delete.idempotency_key.as_deref();
        if let Some(outcome) = self.recorded(idempotency_key, || delete.fingerprint())? {
            return Ok(DeleteResult { deleted: outcome.deleted, version: outcome.version });
        }
        let found = self.touch(&delete.key)?;
        self.check(&delete.key, delete.precondition(), found.as_ref().map(|(record, _)| record))?;
        let deleted = found.is_some();
        if deleted {
            self.revision += 1;
            self.make(&delete.key, found, Fate::Gone(Change::Delete));
        }
        self.record(idempotency_key, || delete.fingerprint(), deleted);
        Ok(DeleteResult { deleted, version: self.version(self.revision) })
    }

    pub(crate) fn delete_range(&mut self, delete: &DeleteRange) -> Result<DeleteRangeResult> {
        // What has expired goes first: every expiry has its revision, and the delete has one for all the rest.
        let found = self.touch_range(&delete.range)?;
        let deleted = found.len() as u64;
        if deleted > 0 {
            self.revision += 1;
            for (key, record) in found {
                self.make(&key, Some(record), Fate::Gone(Change::Delete));
            }
        }
        Ok(DeleteRangeResult { deleted, version: self.version(self.revision) })
    }

    /// The records of a range, in the order of their keys. Those that have expired are deleted first.
    pub(crate) fn touch_range(&mut self, range: &KeyRange) -> Result<Vec<(Bytes, (Record, Bytes))>> {
        let mut keys = Vec::new();
        let entries = &self.entries;
        if !range.is_empty() {
            self.shared.engine.scan(Table::Entries, range.bounds(), Order::Ascending, &mut |key, _| {
                if !entries.contains_key(&*key) {
                    keys.push(key.to_bytes());
                }
                ControlFlow::Continue(())
            })?;
        }
        let staged = entries.iter().filter(|(key, record)| record.is_some() && range.contains(key));
        keys.extend(staged.map(|(key, _)| key.clone()));
        keys.sort_unstable();
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(record) = self.touch(&key)? {
                found.push((key, record));
            }
        }
        Ok(found)
    }

    /// The keys that the group changed, with their records as it left them.
    pub(crate) fn staged(&self) -> impl Iterator<Item = (&Bytes, Option<Bytes>)> {
        self.entries
            .iter()
            .map(|(key, record)| (key, record.as_ref().map(|bytes| bytes.slice(..bytes.len() - key.len()))))
    }

    /// The next change has a revision of its own.
    pub(crate) fn advance(&mut self) {
        self.revision += 1;
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
        let Self { now, revision, entries, rows, undo: mut batch, log, deadline, changes, leases, .. } = self;
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
        Staged { revision, time: now, batch, entries, deadline, changes, leases }
    }
}
