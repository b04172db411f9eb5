//! The model in memory, exact and slow, and random calls to hold a store against it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use fastrand::Rng;
use norikv_core::{
    Count, Delete, DeleteRange, Entry, Error, ErrorKind, FieldName, GetMany, KeyRange, Order, Precondition,
    Put, Scan, Store, Version,
};

use crate::ask::{call, get, scan, within};

/// One call.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Get(Bytes),
    GetMany(Vec<Bytes>),
    Put(Put),
    Delete(Delete),
    DeleteRange(KeyRange),
    Scan(Scan),
    Count(Count),
}

/// What matters of an answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Entries(Vec<Option<Entry>>, Option<Version>),
    Written { version: Version, prev_entry: Option<Entry> },
    Deleted(u64, Version),
    Counted(u64, Version),
    Refused { kind: ErrorKind, actual: Option<Version> },
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self::Refused { kind: error.kind(), actual: error.version(FieldName::Actual) }
    }
}

impl Ask {
    /// What a store answers.
    pub(crate) async fn ask(&self, store: &dyn Store) -> Answer {
        self.try_ask(store).await.unwrap_or_else(Answer::from)
    }

    async fn try_ask(&self, store: &dyn Store) -> norikv_core::Result<Answer> {
        Ok(match self.clone() {
            Self::Get(key) => Answer::Entries(vec![get(store, key).await?], None),
            Self::GetMany(keys) => {
                let request = GetMany { keys, consistency: Default::default() };
                Answer::Entries(within(call(), store.get_many(request, call())).await?, None)
            }
            Self::Put(put) => {
                let done = within(call(), store.put(put, call())).await?;
                Answer::Written { version: done.version, prev_entry: done.prev_entry }
            }
            Self::Delete(delete) => {
                let done = within(call(), store.delete(delete, call())).await?;
                Answer::Deleted(done.deleted.into(), done.version)
            }
            Self::DeleteRange(range) => {
                let done = within(call(), store.delete_range(DeleteRange { range }, call())).await?;
                Answer::Deleted(done.deleted, done.version)
            }
            Self::Scan(request) => {
                let (entries, version) = scan(store, request).await?;
                Answer::Entries(entries.into_iter().map(Some).collect(), Some(version))
            }
            Self::Count(count) => {
                let done = within(call(), store.count(count, call())).await?;
                Answer::Counted(done.count, done.version)
            }
        })
    }
}

type Entries = BTreeMap<Bytes, Entry>;

/// Every revision of a store, whole.
pub(crate) struct Reference {
    /// The entries at each revision from the first on.
    revisions: Vec<Entries>,
    first: u64,
    /// The answers of writes with an idempotency key, and what they were answers to.
    recorded: HashMap<String, (u128, u64, Version)>,
}

impl Reference {
    pub(crate) fn new(first: u64) -> Self {
        Self { revisions: vec![Entries::new()], first, recorded: HashMap::new() }
    }

    fn version(&self) -> Version {
        Version::new(1, self.first + self.revisions.len() as u64 - 1)
    }

    fn now(&self) -> &Entries {
        &self.revisions[self.revisions.len() - 1]
    }

    fn at(&self, version: Option<Version>) -> Option<(&Entries, Version)> {
        let version = version.unwrap_or_else(|| self.version());
        let at = usize::try_from(version.index.checked_sub(self.first)?).ok()?;
        self.revisions.get(at).map(|entries| (entries, version))
    }

    /// What a store has to answer to the call, next.
    pub(crate) fn answer(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Get(key) => Answer::Entries(vec![self.now().get(key).cloned()], None),
            Ask::GetMany(keys) => {
                Answer::Entries(keys.iter().map(|key| self.now().get(key).cloned()).collect(), None)
            }
            Ask::Put(put) => self.put(put),
            Ask::Delete(delete) => self.delete(delete),
            Ask::DeleteRange(range) => {
                let mut next = self.now().clone();
                next.retain(|key, _| !range.contains(key));
                let deleted = (self.now().len() - next.len()) as u64;
                if deleted > 0 {
                    self.revisions.push(next);
                }
                Answer::Deleted(deleted, self.version())
            }
            Ask::Scan(scan) => {
                let Some((entries, version)) = self.at(scan.version) else { return in_the_future() };
                let mut found: Vec<_> =
                    entries.values().filter(|entry| scan.range.contains(&entry.key)).cloned().collect();
                if scan.order == Order::Descending {
                    found.reverse();
                }
                if scan.limit > 0 {
                    found.truncate(usize::try_from(scan.limit).unwrap_or(usize::MAX));
                }
                if scan.keys_only {
                    found.iter_mut().for_each(|entry| entry.value = Bytes::new());
                }
                Answer::Entries(found.into_iter().map(Some).collect(), Some(version))
            }
            Ask::Count(count) => {
                let Some((entries, version)) = self.at(count.version) else { return in_the_future() };
                let counted = entries.keys().filter(|key| count.range.contains(key)).count();
                Answer::Counted(counted as u64, version)
            }
        }
    }

    fn put(&mut self, put: &Put) -> Answer {
        if let Some(recorded) = self.recorded(put.idempotency_key.as_ref(), put.fingerprint()) {
            return recorded
                .map_or_else(Answer::from, |(_, version)| Answer::Written { version, prev_entry: None });
        }
        let found = self.now().get(&put.key).cloned();
        if let Some(refused) = refusal(put.precondition, found.as_ref()) {
            return refused;
        }
        let mut next = self.now().clone();
        let version = Version::new(1, self.version().index + 1);
        let entry = Entry {
            key: put.key.clone(),
            value: put.value.clone(),
            version,
            create_version: found.as_ref().map_or(version, |entry| entry.create_version),
            generation: found.as_ref().map_or(1, |entry| entry.generation + 1),
            lease: None,
            expires_at: None,
        };
        next.insert(put.key.clone(), entry);
        self.revisions.push(next);
        self.record(put.idempotency_key.as_ref(), put.fingerprint(), 1);
        Answer::Written { version, prev_entry: found.filter(|_| put.prev_entry) }
    }

    fn delete(&mut self, delete: &Delete) -> Answer {
        if let Some(recorded) = self.recorded(delete.idempotency_key.as_ref(), delete.fingerprint()) {
            return recorded
                .map_or_else(Answer::from, |(deleted, version)| Answer::Deleted(deleted, version));
        }
        let mut next = self.now().clone();
        let found = next.remove(&delete.key);
        if let Some(refused) = refusal(delete.precondition(), found.as_ref()) {
            return refused;
        }
        let deleted = u64::from(found.is_some());
        if deleted > 0 {
            self.revisions.push(next);
        }
        self.record(delete.idempotency_key.as_ref(), delete.fingerprint(), deleted);
        Answer::Deleted(deleted, self.version())
    }

    fn recorded(&self, key: Option<&String>, fingerprint: u128) -> Option<Result<(u64, Version), Error>> {
        let (of, deleted, version) = *self.recorded.get(key?)?;
        let same = of == fingerprint;
        Some(if same { Ok((deleted, version)) } else { Err(Error::invalid_argument("another write")) })
    }

    fn record(&mut self, key: Option<&String>, fingerprint: u128, deleted: u64) {
        if let Some(key) = key {
            self.recorded.insert(key.clone(), (fingerprint, deleted, self.version()));
        }
    }
}

fn in_the_future() -> Answer {
    Answer::Refused { kind: ErrorKind::InvalidArgument, actual: None }
}

fn refusal(precondition: Precondition, found: Option<&Entry>) -> Option<Answer> {
    let actual = found.map(|entry| entry.version);
    let kind = match precondition {
        Precondition::Version(expected) if actual != Some(expected) => ErrorKind::VersionMismatch,
        Precondition::NotExists if actual.is_some() => ErrorKind::AlreadyExists,
        _ => return None,
    };
    Some(Answer::Refused { kind, actual })
}

/// Random calls.
pub(crate) struct Calls(Rng);

impl Calls {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    pub(crate) fn next(&mut self, reference: &Reference) -> Ask {
        match self.0.u32(..100) {
            0..40 => Ask::Put(self.put(reference)),
            40..55 => Ask::Delete(self.delete(reference)),
            55..58 => Ask::DeleteRange(self.range()),
            58..66 => Ask::Get(self.key()),
            66..74 => {
                let keys = self.0.usize(..6);
                Ask::GetMany((0..keys).map(|_| self.key()).collect())
            }
            74..92 => Ask::Scan(Scan {
                range: self.range(),
                limit: self.0.u64(..6),
                order: if self.0.bool() { Order::Ascending } else { Order::Descending },
                keys_only: self.0.u32(..4) == 0,
                version: self.version(reference),
                consistency: Default::default(),
            }),
            _ => {
                let (range, version) = (self.range(), self.version(reference));
                Ask::Count(Count { range, version, consistency: Default::default() })
            }
        }
    }

    /// One of few keys, so that they meet, of bytes at which encodings break.
    fn key(&mut self) -> Bytes {
        let bytes = [0, 1, b'a', 0xfe, 0xff];
        (0..self.0.usize(1..4)).map(|_| bytes[self.0.usize(..bytes.len())]).collect()
    }

    fn range(&mut self) -> KeyRange {
        match self.0.u32(..4) {
            0 => KeyRange::all(),
            1 => KeyRange::prefix(self.key()),
            2 => KeyRange { start: self.key(), end: None },
            _ => {
                let (a, b) = (self.key(), self.key());
                KeyRange { start: a.clone().min(b.clone()), end: Some(a.max(b)) }
            }
        }
    }

    /// Often none, often an old one, now and then one in the future.
    fn version(&mut self, reference: &Reference) -> Option<Version> {
        let newest = reference.version().index;
        match self.0.u32(..10) {
            0..5 => None,
            9 => Some(Version::new(1, newest + 1)),
            _ => Some(Version::new(1, self.0.u64(reference.first..=newest))),
        }
    }

    fn matching(&mut self, reference: &Reference, key: &Bytes) -> Version {
        let wrong = Version::new(1, self.0.u64(1..=reference.version().index));
        let right = reference.now().get(key).map_or(wrong, |entry| entry.version);
        if self.0.u32(..4) == 0 { wrong } else { right }
    }

    fn id(&mut self) -> Option<String> {
        (self.0.u32(..4) == 0).then(|| self.0.u32(..20).to_string())
    }

    fn put(&mut self, reference: &Reference) -> Put {
        let key = self.key();
        let precondition = match self.0.u32(..4) {
            0 => Precondition::NotExists,
            1 => Precondition::Version(self.matching(reference, &key)),
            _ => Precondition::None,
        };
        Put {
            value: self.0.u32(..5).to_string().into(),
            precondition,
            idempotency_key: self.id(),
            prev_entry: self.0.u32(..4) == 0,
            ..Put::new(key, "")
        }
    }

    fn delete(&mut self, reference: &Reference) -> Delete {
        let key = self.key();
        let if_match = (self.0.u32(..3) == 0).then(|| self.matching(reference, &key));
        Delete { if_match, idempotency_key: self.id(), ..Delete::new(key) }
    }
}
