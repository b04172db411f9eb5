//! Transactions, as the writer carries them out.

use std::{collections::BTreeMap, ops::ControlFlow};

use bytes::Bytes;
use norikv_core::{
    Delete, DeleteRangeResult, DeleteResult, Entry, Error, ErrorKind, Order, Page, Put, PutResult, Result,
    Scan, Txn, TxnOp, TxnOpResult, TxnResult, Version,
};

use crate::{
    engine::{Cell, Table},
    log::Change,
    page::{MANY_BYTES, PAGE_BYTES},
    record::Record,
    stage::{Fate, Found, Group},
};

/// What a branch is going to do. Making it cannot fail; so a transaction happens as a whole, or its error is all
/// that does.
#[derive(Default)]
struct Plan {
    /// In the order of the ops.
    changes: Vec<(Bytes, Found, Fate)>,
    /// The entries as the changes leave them, for the reads among the ops.
    entries: BTreeMap<Bytes, Option<Entry>>,
    /// Writes with an idempotency key, that happen now.
    once: Vec<Once>,
    results: Vec<TxnOpResult>,
}

enum Once {
    Put(Put),
    Delete(Delete, bool),
}

impl Group<'_> {
    pub(crate) fn txn(&mut self, txn: &Txn, most_entries: usize) -> Result<TxnResult> {
        let mut succeeded = true;
        for compare in &txn.compares {
            let found = self.touch(&compare.key)?;
            succeeded &= compare.holds(self.entry(&compare.key, &found).as_ref());
        }
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        // What has expired goes first, each in a revision of its own: the transaction's comes after.
        for op in ops {
            match op {
                TxnOp::Put(Put { key, .. }) | TxnOp::Delete(Delete { key, .. }) => drop(self.touch(key)?),
                TxnOp::DeleteRange(delete) => drop(self.touch_range(&delete.range)?),
                TxnOp::Get(_) | TxnOp::Scan(_) => {}
            }
        }
        let revision = self.revision() + 1;
        let mut plan = Plan::default();
        let mut bytes = 0;
        for op in ops {
            let result = self.plan(&mut plan, op, revision, most_entries)?;
            bytes += bytes_of(&result);
            if bytes > MANY_BYTES {
                return Err(too_much());
            }
            plan.results.push(result);
        }
        if !plan.changes.is_empty() {
            self.advance();
        }
        let version = self.version(self.revision());
        for (key, found, fate) in plan.changes {
            self.make(&key, found, fate);
        }
        for once in plan.once {
            match once {
                Once::Put(put) => self.record(put.idempotency_key.as_deref(), || put.fingerprint(), true),
                Once::Delete(delete, deleted) => {
                    self.record(delete.idempotency_key.as_deref(), || delete.fingerprint(), deleted);
                }
            }
        }
        let mut results = plan.results;
        if version.index != revision {
            // Nothing changed, so what the steps answer is the version that the store has.
            results.iter_mut().for_each(|result| at_most(result, version));
        }
        Ok(TxnResult { succeeded, version, results })
    }

    fn entry(&self, key: &Bytes, found: &Found) -> Option<Entry> {
        let (record, bytes) = found.as_ref()?;
        Some(record.entry(Bytes::copy_from_slice(key), record.value(bytes), self.shared().term))
    }

    fn plan(&mut self, plan: &mut Plan, op: &TxnOp, revision: u64, most: usize) -> Result<TxnOpResult> {
        let version = self.version(revision);
        Ok(match op {
            TxnOp::Put(put) => {
                let recorded = self.recorded(put.idempotency_key.as_deref(), || put.fingerprint())?;
                if let Some(outcome) = recorded {
                    return Ok(TxnOpResult::Put(PutResult { version: outcome.version, prev_entry: None }));
                }
                let found = self.stored(&put.key)?;
                self.check_put(put, found.as_ref())?;
                let prev_entry = self.prev_entry(put, found.as_ref());
                let record = self.record_of(put, found.as_ref(), revision);
                let key = Bytes::copy_from_slice(&put.key);
                let entry = record.entry(key.clone(), put.value.clone(), self.shared().term);
                plan.entries.insert(key.clone(), Some(entry));
                plan.changes.push((key, found, Fate::Put { record, value: put.value.clone() }));
                if put.idempotency_key.is_some() {
                    plan.once.push(Once::Put(put.clone()));
                }
                TxnOpResult::Put(PutResult { version, prev_entry })
            }
            TxnOp::Delete(delete) => {
                let recorded = self.recorded(delete.idempotency_key.as_deref(), || delete.fingerprint())?;
                if let Some(outcome) = recorded {
                    let (deleted, version) = (outcome.deleted, outcome.version);
                    return Ok(TxnOpResult::Delete(DeleteResult { deleted, version }));
                }
                let found = self.stored(&delete.key)?;
                self.check(&delete.key, delete.precondition(), found.as_ref().map(|(record, _)| record))?;
                let deleted = found.is_some();
                if deleted {
                    let key = Bytes::copy_from_slice(&delete.key);
                    plan.entries.insert(key.clone(), None);
                    plan.changes.push((key, found, Fate::Gone(Change::Delete)));
                }
                if delete.idempotency_key.is_some() {
                    plan.once.push(Once::Delete(delete.clone(), deleted));
                }
                TxnOpResult::Delete(DeleteResult { deleted, version })
            }
            TxnOp::DeleteRange(delete) => {
                let found = self.touch_range(&delete.range)?;
                let deleted = found.len() as u64;
                for (key, record) in found {
                    plan.entries.insert(key.clone(), None);
                    plan.changes.push((key, Some(record), Fate::Gone(Change::Delete)));
                }
                TxnOpResult::DeleteRange(DeleteRangeResult { deleted, version })
            }
            TxnOp::Get(get) => TxnOpResult::Get(match plan.entries.get(&get.key) {
                Some(entry) => entry.clone(),
                None => {
                    let found = self.stored(&get.key)?.filter(|(record, _)| !record.expired(self.now()));
                    self.entry(&get.key, &found)
                }
            }),
            TxnOp::Scan(scan) => TxnOpResult::Scan(self.plan_scan(plan, scan, revision, most)?),
        })
    }

    /// Reads a range as the changes so far leave it.
    fn plan_scan(&self, plan: &Plan, scan: &Scan, revision: u64, most: usize) -> Result<Page> {
        let limit = usize::try_from(scan.limit).unwrap_or(usize::MAX);
        let wanted = if limit == 0 { most } else { limit.min(most) };
        let value = |value: Bytes| if scan.keys_only { Bytes::new() } else { value };
        let live = |key: &Bytes, bytes: &Bytes| {
            let record = Record::decode(bytes)?;
            let entry = || record.entry(key.clone(), value(record.value(bytes)), self.shared().term);
            Ok::<_, Error>((!record.expired(self.now())).then(entry))
        };
        // What the group and the transaction changed is not what the engine has.
        let mut changed: BTreeMap<Bytes, Option<Entry>> = BTreeMap::new();
        for (key, bytes) in self.staged().filter(|(key, _)| scan.range.contains(key)) {
            let entry = bytes.map_or(Ok(None), |bytes| live(key, &bytes))?;
            changed.insert(key.clone(), entry);
        }
        let planned = plan.entries.iter().filter(|(key, _)| scan.range.contains(key));
        let planned_entry = |entry: &Entry| Entry { value: value(entry.value.clone()), ..entry.clone() };
        changed.extend(planned.map(|(key, entry)| (key.clone(), entry.as_ref().map(planned_entry))));

        // Counted in one way for what is read and for what is answered: who stops to read for the bytes alone has
        // more of them than are answered.
        let size = |entry: &Entry| entry.key.len() + entry.value.len();
        let (mut stored, mut bytes, mut result) = (Vec::new(), 0, Ok(()));
        if !scan.range.is_empty() {
            let mut show = |key: Cell<'_>, value: Cell<'_>| {
                if changed.contains_key(&*key) {
                    return ControlFlow::Continue(());
                }
                match live(&key.to_bytes(), &value.to_bytes()) {
                    Ok(entry) => {
                        bytes += entry.as_ref().map_or(0, size);
                        stored.extend(entry);
                    }
                    Err(error) => result = Err(error),
                }
                let full = stored.len() > wanted || (stored.len() > 1 && bytes > PAGE_BYTES);
                if full || result.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            self.engine().scan(Table::Entries, scan.range.bounds(), scan.order, &mut show)?;
        }
        result?;
        let mut entries: Vec<Entry> = changed.into_values().flatten().chain(stored).collect();
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        if scan.order == Order::Descending {
            entries.reverse();
        }
        let more = entries.len() > wanted;
        entries.truncate(wanted);
        let bytes: usize = entries.iter().map(size).sum();
        if (more && wanted != limit) || (bytes > PAGE_BYTES && entries.len() > 1) {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "a scan within a transaction answers at most {most} entries and {PAGE_BYTES} bytes, and this one finds more; give it a limit or a smaller range"
                ),
            ));
        }
        Ok(Page { entries, version: self.version(revision), more })
    }
}

/// The bytes of the entries in a step's answer.
fn bytes_of(result: &TxnOpResult) -> usize {
    let bytes = |entry: &Entry| entry.key.len() + entry.value.len();
    match result {
        TxnOpResult::Put(put) => put.prev_entry.as_ref().map_or(0, bytes),
        TxnOpResult::Get(entry) => entry.as_ref().map_or(0, bytes),
        TxnOpResult::Scan(page) => page.entries.iter().map(bytes).sum(),
        TxnOpResult::Delete(_) | TxnOpResult::DeleteRange(_) => 0,
    }
}

fn too_much() -> Error {
    Error::new(
        ErrorKind::ResourceExhausted,
        format!(
            "the answers of this transaction have more than {MANY_BYTES} bytes, the most of one; read less in it"
        ),
    )
}

/// The answer of a step that changed nothing, in a transaction that changed nothing.
fn at_most(result: &mut TxnOpResult, newest: Version) {
    let version = match result {
        TxnOpResult::Put(put) => &mut put.version,
        TxnOpResult::Delete(delete) => &mut delete.version,
        TxnOpResult::DeleteRange(delete) => &mut delete.version,
        TxnOpResult::Scan(page) => &mut page.version,
        TxnOpResult::Get(_) => return,
    };
    *version = (*version).min(newest);
}
