//! The model in memory, exact and slow, and random calls to hold a store against it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use norikv_core::{
    Compare, CompareOp, CompareTarget, Count, Delete, DeleteRange, Entry, Error, ErrorKind, FieldName,
    GetMany, KeyRange, LeaseId, Order, Precondition, Put, Scan, Store, Txn, TxnOp, TxnOpResult, Version,
};

use crate::ask::{
    call, compact, get, grant, keep_alive, leases, revoke, scan, time_to_live, to_delete_range, to_get, txn,
    within,
};

/// Longer than any run goes on.
const LEASE_MILLIS: u64 = 600_000;
/// One that nobody is granted.
const NO_LEASE: u64 = 0x7777_7777_7777;

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
    Txn(Txn),
    Grant,
    Revoke(LeaseId),
    KeepAlive(Vec<LeaseId>),
    LeaseKeys(LeaseId),
    Leases,
    Compact(Version),
}

/// What matters of an answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Entries(Vec<Option<Entry>>, Option<Version>),
    Written { version: Version, prev_entry: Option<Entry> },
    Deleted(u64, Version),
    Counted(u64, Version),
    Txn { succeeded: bool, version: Version, results: Vec<OpAnswer> },
    Granted(LeaseId),
    Revoked(Version),
    KeptAlive(Vec<Option<Duration>>),
    LeaseKeys(Vec<Bytes>),
    Leases(Vec<LeaseId>),
    Compacted,
    Refused(Refusal),
}

/// Why a call is refused; with the version that is there, where it is about one.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    kind: ErrorKind,
    actual: Option<Version>,
}

/// What matters of an answer within a transaction.
#[derive(Debug, PartialEq)]
pub(crate) enum OpAnswer {
    Put { version: Version, prev_entry: Option<Entry> },
    Deleted(u64),
    Get(Option<Entry>),
    Scan { entries: Vec<Entry>, more: bool },
}

impl From<TxnOpResult> for OpAnswer {
    fn from(result: TxnOpResult) -> Self {
        match result {
            TxnOpResult::Put(put) => Self::Put { version: put.version, prev_entry: put.prev_entry },
            TxnOpResult::Delete(done) => Self::Deleted(done.deleted.into()),
            TxnOpResult::DeleteRange(done) => Self::Deleted(done.deleted),
            TxnOpResult::Get(entry) => Self::Get(entry),
            TxnOpResult::Scan(page) => Self::Scan { entries: page.entries, more: page.more },
        }
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self::Refused(Refusal { kind: error.kind(), actual: error.version(FieldName::Actual) })
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
            Self::Txn(request) => {
                let done = txn(store, request).await?;
                let results = done.results.into_iter().map(OpAnswer::from).collect();
                Answer::Txn { succeeded: done.succeeded, version: done.version, results }
            }
            Self::Grant => Answer::Granted(grant(store, LEASE_MILLIS).await?),
            Self::Revoke(id) => Answer::Revoked(revoke(store, id).await?),
            Self::KeepAlive(ids) => Answer::KeptAlive(keep_alive(store, ids).await?),
            Self::LeaseKeys(id) => Answer::LeaseKeys(time_to_live(store, id).await?.keys),
            Self::Leases => Answer::Leases(leases(store).await?),
            Self::Compact(version) => {
                compact(store, version).await?;
                Answer::Compacted
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
    /// The oldest revision that can be read.
    floor: u64,
    /// The leases there are.
    leases: BTreeSet<LeaseId>,
    /// Every lease there was, in the order in which they were granted.
    granted: Vec<LeaseId>,
}

impl Reference {
    pub(crate) fn new(first: u64) -> Self {
        Self {
            revisions: vec![Entries::new()],
            first,
            recorded: HashMap::new(),
            floor: 0,
            leases: BTreeSet::new(),
            granted: Vec::new(),
        }
    }

    fn version(&self) -> Version {
        Version::new(1, self.first + self.revisions.len() as u64 - 1)
    }

    fn now(&self) -> &Entries {
        &self.revisions[self.revisions.len() - 1]
    }

    fn at(&self, version: Option<Version>) -> Result<(&Entries, Version), Refusal> {
        let version = version.unwrap_or_else(|| self.version());
        if version.index < self.floor {
            return Err(refused(ErrorKind::Compacted));
        }
        let at = version.index.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let entries = at.and_then(|at| self.revisions.get(at));
        entries.map(|entries| (entries, version)).ok_or_else(|| refused(ErrorKind::InvalidArgument))
    }

    /// Learns what only the store can say: the number of a lease.
    pub(crate) fn learn(&mut self, answer: &Answer) {
        if let Answer::Granted(id) = answer {
            assert!(self.leases.insert(*id), "lease {id} is granted twice");
            self.granted.push(*id);
        }
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
                let (entries, version) = match self.at(scan.version) {
                    Ok(found) => found,
                    Err(refused) => return Answer::Refused(refused),
                };
                let (found, _) = scanned(entries, scan);
                Answer::Entries(found.into_iter().map(Some).collect(), Some(version))
            }
            Ask::Count(count) => {
                let (entries, version) = match self.at(count.version) {
                    Ok(found) => found,
                    Err(refused) => return Answer::Refused(refused),
                };
                let counted = entries.keys().filter(|key| count.range.contains(key)).count();
                Answer::Counted(counted as u64, version)
            }
            Ask::Txn(txn) => self.txn(txn).unwrap_or_else(Answer::Refused),
            Ask::Grant => self.granted.last().copied().map_or(Answer::Compacted, Answer::Granted),
            Ask::Revoke(id) => {
                if !self.leases.remove(id) {
                    return Answer::Refused(refused(ErrorKind::LeaseNotFound));
                }
                let mut next = self.now().clone();
                next.retain(|_, entry| entry.lease != Some(*id));
                if next.len() < self.now().len() {
                    self.revisions.push(next);
                }
                Answer::Revoked(self.version())
            }
            Ask::KeepAlive(ids) => {
                let ttl = Duration::from_millis(LEASE_MILLIS);
                Answer::KeptAlive(ids.iter().map(|id| self.leases.contains(id).then_some(ttl)).collect())
            }
            Ask::LeaseKeys(id) => {
                if !self.leases.contains(id) {
                    return Answer::Refused(refused(ErrorKind::LeaseNotFound));
                }
                let keys = self.now().values().filter(|entry| entry.lease == Some(*id));
                Answer::LeaseKeys(keys.map(|entry| entry.key.clone()).collect())
            }
            Ask::Leases => Answer::Leases(self.leases.iter().copied().collect()),
            Ask::Compact(version) => {
                if *version > self.version() {
                    return Answer::Refused(refused(ErrorKind::InvalidArgument));
                }
                if version.index < self.floor {
                    return Answer::Refused(refused(ErrorKind::Compacted));
                }
                self.floor = version.index;
                Answer::Compacted
            }
        }
    }

    fn txn(&mut self, txn: &Txn) -> Result<Answer, Refusal> {
        let succeeded = txn.compares.iter().all(|compare| compare.holds(self.now().get(&compare.key)));
        let version = Version::new(1, self.version().index + 1);
        let mut next = self.now().clone();
        let (mut changed, mut results) = (false, Vec::new());
        for op in if succeeded { &txn.then } else { &txn.otherwise } {
            results.push(match op {
                TxnOp::Put(put) => {
                    let prev_entry = self.put_into(&mut next, put, version)?.filter(|_| put.prev_entry);
                    changed = true;
                    OpAnswer::Put { version, prev_entry }
                }
                TxnOp::Delete(delete) => {
                    let found = next.remove(&delete.key);
                    refusal(delete.precondition(), found.as_ref()).map_or(Ok(()), Err)?;
                    changed |= found.is_some();
                    OpAnswer::Deleted(found.is_some().into())
                }
                TxnOp::DeleteRange(delete) => {
                    let before = next.len();
                    next.retain(|key, _| !delete.range.contains(key));
                    changed |= next.len() < before;
                    OpAnswer::Deleted((before - next.len()) as u64)
                }
                TxnOp::Get(get) => OpAnswer::Get(next.get(&get.key).cloned()),
                TxnOp::Scan(scan) => {
                    let (entries, more) = scanned(&next, scan);
                    OpAnswer::Scan { entries, more }
                }
            });
        }
        if changed {
            self.revisions.push(next);
        }
        Ok(Answer::Txn { succeeded, version: self.version(), results })
    }

    /// Puts, and answers what was there before.
    fn put_into(&self, entries: &mut Entries, put: &Put, version: Version) -> Result<Option<Entry>, Refusal> {
        let found = entries.get(&put.key).cloned();
        refusal(put.precondition, found.as_ref()).map_or(Ok(()), Err)?;
        if put.lease.is_some_and(|id| !self.leases.contains(&id)) {
            return Err(refused(ErrorKind::LeaseNotFound));
        }
        let entry = Entry {
            key: put.key.clone(),
            value: put.value.clone(),
            version,
            create_version: found.as_ref().map_or(version, |entry| entry.create_version),
            generation: found.as_ref().map_or(1, |entry| entry.generation + 1),
            lease: put.lease,
            expires_at: None,
        };
        entries.insert(put.key.clone(), entry);
        Ok(found)
    }

    fn put(&mut self, put: &Put) -> Answer {
        if let Some(recorded) = self.recorded(put.idempotency_key.as_ref(), put.fingerprint()) {
            return recorded
                .map_or_else(Answer::from, |(_, version)| Answer::Written { version, prev_entry: None });
        }
        let mut next = self.now().clone();
        let version = Version::new(1, self.version().index + 1);
        let found = match self.put_into(&mut next, put, version) {
            Ok(found) => found,
            Err(refused) => return Answer::Refused(refused),
        };
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
            return Answer::Refused(refused);
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

const fn refused(kind: ErrorKind) -> Refusal {
    Refusal { kind, actual: None }
}

/// What a scan answers of these, and whether its limit left some out.
fn scanned(entries: &Entries, scan: &Scan) -> (Vec<Entry>, bool) {
    let mut found: Vec<_> =
        entries.values().filter(|entry| scan.range.contains(&entry.key)).cloned().collect();
    if scan.order == Order::Descending {
        found.reverse();
    }
    let all = found.len();
    if scan.limit > 0 {
        found.truncate(usize::try_from(scan.limit).unwrap_or(usize::MAX));
    }
    if scan.keys_only {
        found.iter_mut().for_each(|entry| entry.value = Bytes::new());
    }
    let more = found.len() < all;
    (found, more)
}

fn refusal(precondition: Precondition, found: Option<&Entry>) -> Option<Refusal> {
    let actual = found.map(|entry| entry.version);
    let kind = match precondition {
        Precondition::Version(expected) if actual != Some(expected) => ErrorKind::VersionMismatch,
        Precondition::NotExists if actual.is_some() => ErrorKind::AlreadyExists,
        _ => return None,
    };
    Some(Refusal { kind, actual })
}

/// Random calls.
pub(crate) struct Calls(Rng);

impl Calls {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    pub(crate) fn next(&mut self, reference: &Reference) -> Ask {
        match self.0.u32(..100) {
            0..27 => Ask::Put(self.put(reference)),
            27..35 => Ask::Delete(self.delete(reference)),
            35..38 => Ask::DeleteRange(self.range()),
            38..58 => Ask::Txn(self.txn(reference)),
            58..61 => Ask::Grant,
            61..63 => Ask::Revoke(self.lease(reference)),
            63..65 => Ask::LeaseKeys(self.lease(reference)),
            65 => Ask::KeepAlive((0..self.0.usize(..4)).map(|_| self.lease(reference)).collect()),
            66 => Ask::Leases,
            67 => {
                let newest = reference.version().index;
                let low = reference.first.max(newest.saturating_sub(40));
                Ask::Compact(Version::new(1, self.0.u64(low..=newest + 1)))
            }
            68..71 => Ask::Get(self.key()),
            71..74 => {
                let keys = self.0.usize(..6);
                Ask::GetMany((0..keys).map(|_| self.key()).collect())
            }
            74..92 => {
                let version = self.version(reference);
                Ask::Scan(Scan { version, ..self.scan() })
            }
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

    fn scan(&mut self) -> Scan {
        Scan {
            range: self.range(),
            limit: self.0.u64(..6),
            order: if self.0.bool() { Order::Ascending } else { Order::Descending },
            keys_only: self.0.u32(..4) == 0,
            ..Scan::default()
        }
    }

    /// One of the last that were granted, whether it is still there or not, or none that ever was.
    fn lease(&mut self, reference: &Reference) -> LeaseId {
        let ever = &reference.granted;
        let place = self.0.usize(ever.len().saturating_sub(4)..=ever.len());
        ever.get(place)
            .copied()
            .or_else(|| LeaseId::new(NO_LEASE))
            .unwrap_or_else(|| unreachable!("it is not 0"))
    }

    fn compare(&mut self, reference: &Reference) -> Compare {
        let key = self.key();
        let found = reference.now().get(&key);
        let near = |random: &mut Rng, version: Option<Version>| match version {
            Some(Version { term, index }) => Version::new(term, index + random.u64(..3) - 1),
            None => Version::new(random.u64(..2), random.u64(..2)),
        };
        let target = match self.0.u32(..6) {
            0 => CompareTarget::Value(self.0.u32(..5).to_string().into()),
            1 => CompareTarget::Version(near(&mut self.0, found.map(|entry| entry.version))),
            2 => CompareTarget::CreateVersion(near(&mut self.0, found.map(|entry| entry.create_version))),
            3 => CompareTarget::Generation(self.0.u64(..4)),
            4 => CompareTarget::Lease(if self.0.bool() { 0 } else { self.lease(reference).get() }),
            _ => CompareTarget::Exists(self.0.bool()),
        };
        let ops = [
            CompareOp::Equal,
            CompareOp::NotEqual,
            CompareOp::Less,
            CompareOp::LessOrEqual,
            CompareOp::Greater,
            CompareOp::GreaterOrEqual,
        ];
        // Whether a key is there has no order.
        let known = if matches!(target, CompareTarget::Exists(_)) { 2 } else { ops.len() };
        Compare { key, op: ops[self.0.usize(..known)], target }
    }

    /// Ops of which no two write to one key, and of which one may be refused: which of several is told is left open.
    fn ops(&mut self, reference: &Reference) -> Vec<TxnOp> {
        let mut written: Vec<KeyRange> = Vec::new();
        let mut ops = Vec::new();
        let mut may_be_refused = true;
        for _ in 0..self.0.usize(..7) {
            let (op, range) = match self.0.u32(..10) {
                0..4 => {
                    let mut put = Put { idempotency_key: None, ..self.put(reference) };
                    if put.lease.is_some_and(|id| !reference.leases.contains(&id)) {
                        put.precondition = Precondition::None;
                    }
                    let refusable = put.precondition != Precondition::None || put.lease.is_some();
                    if refusable && !std::mem::take(&mut may_be_refused) {
                        put = Put { precondition: Precondition::None, lease: None, ..put };
                    }
                    let range = KeyRange::single(&put.key);
                    (TxnOp::Put(put), range)
                }
                4..6 => {
                    let mut delete = Delete { idempotency_key: None, ..self.delete(reference) };
                    if delete.if_match.is_some() && !std::mem::take(&mut may_be_refused) {
                        delete.if_match = None;
                    }
                    let range = KeyRange::single(&delete.key);
                    (TxnOp::Delete(delete), range)
                }
                6 => {
                    let range = self.range();
                    (to_delete_range(range.clone()), range)
                }
                7..9 => {
                    ops.push(to_get(self.key()));
                    continue;
                }
                _ => {
                    ops.push(TxnOp::Scan(self.scan()));
                    continue;
                }
            };
            if !written.iter().any(|other| other.overlaps(&range)) {
                written.push(range);
                ops.push(op);
            }
        }
        ops
    }

    fn txn(&mut self, reference: &Reference) -> Txn {
        Txn {
            compares: (0..self.0.usize(..4)).map(|_| self.compare(reference)).collect(),
            then: self.ops(reference),
            otherwise: self.ops(reference),
        }
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
        // With both, which refusal is told is left open.
        let lease =
            (precondition == Precondition::None && self.0.u32(..3) == 0).then(|| self.lease(reference));
        Put {
            lease,
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
