//! The same calls to a real etcd and to ours: the same answers, the same revisions, the same watches.
//!
//! etcd's revision is our version's index, its `version` our generation. Where the two differ on purpose:
//! - a range delete in one branch with another that overlaps it: etcd takes it, ours refuses two writes to one key;
//! - compaction to the floor itself: etcd says compacted, ours is done already;
//! - a watch from the floor itself: etcd before 3.4.36 has lost a delete there, so watches here begin above it;
//! - a read at an old version tells the newest revision in etcd, and the one that was read at in ours;
//! - etcd may have the keys of a lease, and the deletes of its end, in any order.
//!
//! Ours alone has, and so the rules of this crate test: times to live and leases in milliseconds, a time to live for a
//! key, `<=` and `>=`, compares of `exists`, preconditions within ops, the reason of an event.
//!
//! `NORIKV_ETCD_SEQUENCES` says how many sequences are run, and `NORIKV_SEED` repeats one.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // they are tests

mod etcd_api;
mod worlds;

use std::{collections::HashMap, env};

use bytes::Bytes;
use etcd_api::{
    Api, CompactionRequest, DeleteRangeRequest, Etcd, EtcdWatch, KeyValue, LeaseGrantRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader,
    TxnRequest, WatchCreateRequest, compare, request_op, response_op,
};
use fastrand::Rng;
use norikv_conformance::{Fixture, Setup, Watcher, World, call, txn, within};
use norikv_core::{
    Compare, CompareOp, CompareTarget, Delete, DeleteRange, Entry, Error, ErrorKind, EventKind, Get,
    KeyRange, LeaseGrant, LeaseId, LeaseTimeToLive, Order, Put, Scan, StoreRef, Ttl, Txn, TxnOp, TxnOpResult,
    Version, Watch,
};
use tonic::Status;
use worlds::{File, Memory, Served};

const CALLS: usize = 60;
/// The number of a lease that nobody was granted.
const NO_LEASE: u64 = 0x7777_7777;

/// A call, in words that both understand. A lease is named by its place among those granted.
#[derive(Clone, Debug)]
enum Ask {
    Op(Op),
    /// With the version that it reads at.
    Range(Range, Option<u64>),
    Txn {
        compares: Vec<When>,
        then: Vec<Op>,
        otherwise: Vec<Op>,
    },
    Grant,
    Revoke(usize),
    LeaseKeys(usize),
    Compact(u64),
}

#[derive(Clone, Debug)]
enum Op {
    Put { key: Bytes, value: Bytes, lease: Option<usize>, prev: bool },
    Delete(Bytes),
    DeleteRange(KeyRange),
    Get(Bytes),
    Range(Range),
}

#[derive(Clone, Debug)]
struct Range {
    range: KeyRange,
    limit: u64,
    descending: bool,
    keys_only: bool,
}

#[derive(Clone, Debug)]
struct When {
    key: Bytes,
    op: CompareOp,
    target: Target,
}

#[derive(Clone, Debug)]
enum Target {
    Value(Bytes),
    Version(u64),
    CreateVersion(u64),
    Generation(u64),
    /// `None`: no lease.
    Lease(Option<usize>),
}

#[derive(Clone, Debug)]
struct Look {
    range: KeyRange,
    from: Option<u64>,
    prev: bool,
    puts: bool,
    deletes: bool,
}

/// An entry, in words that both understand.
#[derive(Clone, Debug, PartialEq)]
struct Kv {
    key: Bytes,
    value: Bytes,
    version: u64,
    create_version: u64,
    generation: u64,
    lease: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Put { revision: u64, prev: Option<Kv> },
    Deleted { revision: u64, count: u64 },
    Get(Option<Kv>),
    Page { kvs: Vec<Kv>, more: bool, revision: Option<u64> },
    Txn { succeeded: bool, revision: u64, results: Vec<Answer> },
    Revision(u64),
    Keys(Vec<Bytes>),
    Done,
    Compacted,
    InTheFuture,
    LeaseNotFound,
}

/// What happened to one key: `true` for a put, the entry, and the one before.
type Told = (bool, Kv, Option<Kv>);
/// The events of each revision.
type Stream = Vec<(u64, Vec<Told>)>;

/// The leases of one side: by place, and by number.
#[derive(Default)]
struct Leases {
    granted: Vec<u64>,
    places: HashMap<u64, usize>,
}

impl Leases {
    fn add(&mut self, id: u64) {
        self.places.insert(id, self.granted.len());
        self.granted.push(id);
    }

    fn number(&self, place: usize) -> u64 {
        self.granted.get(place).copied().unwrap_or(NO_LEASE)
    }

    fn place(&self, id: u64) -> Option<usize> {
        (id != 0).then(|| *self.places.get(&id).unwrap_or_else(|| panic!("an unknown lease {id}")))
    }
}

struct Theirs {
    api: Api,
    leases: Leases,
}

fn revision(header: Option<ResponseHeader>) -> u64 {
    header.unwrap().revision.try_into().unwrap()
}

/// etcd tells these apart by their text alone.
fn their_refusal(status: &Status) -> Answer {
    let message = status.message();
    if message.contains("has been compacted") {
        Answer::Compacted
    } else if message.contains("future revision") {
        Answer::InTheFuture
    } else if message.contains("lease not found") {
        Answer::LeaseNotFound
    } else {
        panic!("etcd failed: {status:?}")
    }
}

/// A range as etcd has it: the key `\0` is the first there can be, and the end `\0` is the end of the store.
fn bounds(range: &KeyRange) -> (Bytes, Bytes) {
    let first = |bytes: &Bytes| if bytes.is_empty() { Bytes::from_static(b"\0") } else { bytes.clone() };
    (first(&range.start), range.end.clone().unwrap_or_else(|| Bytes::from_static(b"\0")))
}

impl Theirs {
    fn kv(&self, kv: KeyValue) -> Kv {
        Kv {
            key: kv.key,
            value: kv.value,
            version: kv.mod_revision.try_into().unwrap(),
            create_version: kv.create_revision.try_into().unwrap(),
            generation: kv.version.try_into().unwrap(),
            lease: self.leases.place(kv.lease.cast_unsigned()),
        }
    }

    fn lease(&self, place: Option<usize>) -> i64 {
        place.map_or(0, |place| self.leases.number(place).cast_signed())
    }

    fn range(range: &Range, revision: Option<u64>) -> RangeRequest {
        let (key, range_end) = bounds(&range.range);
        RangeRequest {
            key,
            range_end,
            limit: range.limit.cast_signed(),
            revision: revision.unwrap_or(0).cast_signed(),
            sort_order: if range.descending { 2 } else { 1 },
            keys_only: range.keys_only,
        }
    }

    fn op(&self, op: &Op) -> request_op::Request {
        match op.clone() {
            Op::Put { key, value, lease, prev } => {
                request_op::Request::Put(PutRequest { key, value, lease: self.lease(lease), prev_kv: prev })
            }
            Op::Delete(key) => {
                request_op::Request::DeleteRange(DeleteRangeRequest { key, range_end: Bytes::new() })
            }
            Op::DeleteRange(range) => {
                let (key, range_end) = bounds(&range);
                request_op::Request::DeleteRange(DeleteRangeRequest { key, range_end })
            }
            Op::Get(key) => request_op::Request::Range(RangeRequest { key, ..RangeRequest::default() }),
            Op::Range(range) => request_op::Request::Range(Self::range(&range, None)),
        }
    }

    /// The answer of an op; within a transaction, its revision is that of the transaction.
    fn result(&self, op: &Op, response: response_op::Response, of_txn: Option<u64>) -> Answer {
        let at = |header| of_txn.unwrap_or_else(|| revision(header));
        match (op, response) {
            (Op::Put { .. }, response_op::Response::Put(put)) => {
                Answer::Put { revision: at(put.header), prev: put.prev_kv.map(|kv| self.kv(kv)) }
            }
            (Op::Delete(_) | Op::DeleteRange(_), response_op::Response::DeleteRange(done)) => {
                Answer::Deleted { revision: at(done.header), count: done.deleted.try_into().unwrap() }
            }
            (Op::Get(_), response_op::Response::Range(found)) => {
                Answer::Get(found.kvs.into_iter().next().map(|kv| self.kv(kv)))
            }
            (Op::Range(_), response_op::Response::Range(found)) => Answer::Page {
                more: found.more,
                kvs: found.kvs.into_iter().map(|kv| self.kv(kv)).collect(),
                revision: of_txn.is_none().then(|| revision(found.header)),
            },
            (op, response) => panic!("{response:?} to {op:?}"),
        }
    }

    fn compare(&self, when: &When) -> etcd_api::Compare {
        let result = match when.op {
            CompareOp::Equal => 0,
            CompareOp::Greater => 1,
            CompareOp::Less => 2,
            CompareOp::NotEqual => 3,
            op => panic!("etcd has no {op:?}"),
        };
        let (target, asked) = match when.target.clone() {
            Target::Generation(asked) => (0, compare::Target::Version(asked.cast_signed())),
            Target::CreateVersion(asked) => (1, compare::Target::CreateRevision(asked.cast_signed())),
            Target::Version(asked) => (2, compare::Target::ModRevision(asked.cast_signed())),
            Target::Value(asked) => (3, compare::Target::Value(asked)),
            Target::Lease(asked) => (4, compare::Target::Lease(self.lease(asked))),
        };
        etcd_api::Compare { result, target, key: when.key.clone(), asked: Some(asked) }
    }

    async fn ask(&mut self, ask: &Ask) -> Answer {
        self.try_ask(ask).await.unwrap_or_else(|status| their_refusal(&status))
    }

    async fn try_ask(&mut self, ask: &Ask) -> Result<Answer, Status> {
        Ok(match ask {
            Ask::Op(op) => {
                let response = match self.op(op) {
                    request_op::Request::Put(put) => response_op::Response::Put(self.api.put(put).await?),
                    request_op::Request::DeleteRange(delete) => {
                        response_op::Response::DeleteRange(self.api.delete_range(delete).await?)
                    }
                    request_op::Request::Range(range) => {
                        response_op::Response::Range(self.api.range(range).await?)
                    }
                };
                self.result(op, response, None)
            }
            Ask::Range(range, at) => {
                let found = self.api.range(Self::range(range, *at)).await?;
                let answer =
                    self.result(&Op::Range(range.clone()), response_op::Response::Range(found), None);
                match (answer, at) {
                    (Answer::Page { kvs, more, .. }, Some(_)) => Answer::Page { kvs, more, revision: None },
                    (answer, _) => answer,
                }
            }
            Ask::Txn { compares, then, otherwise } => {
                let ops = |ops: &[Op]| {
                    ops.iter().map(|op| RequestOp { request: Some(self.op(op)) }).collect::<Vec<_>>()
                };
                let request = TxnRequest {
                    compare: compares.iter().map(|when| self.compare(when)).collect(),
                    success: ops(then),
                    failure: ops(otherwise),
                };
                let done = self.api.txn(request).await?;
                let revision = revision(done.header);
                let asked = if done.succeeded { then } else { otherwise };
                assert_eq!(asked.len(), done.responses.len());
                let results = asked.iter().zip(done.responses);
                let results = results
                    .map(|(op, done)| self.result(op, done.response.unwrap(), Some(revision)))
                    .collect();
                Answer::Txn { succeeded: done.succeeded, revision, results }
            }
            Ask::Grant => {
                let granted = self.api.lease_grant(LeaseGrantRequest { ttl: 3_600 }).await?;
                self.leases.add(granted.id.cast_unsigned());
                Answer::Done
            }
            Ask::Revoke(place) => {
                let id = self.leases.number(*place).cast_signed();
                Answer::Revision(revision(self.api.lease_revoke(LeaseRevokeRequest { id }).await?.header))
            }
            Ask::LeaseKeys(place) => {
                let id = self.leases.number(*place).cast_signed();
                let mut status =
                    self.api.lease_time_to_live(LeaseTimeToLiveRequest { id, keys: true }).await?;
                status.keys.sort_unstable();
                if status.ttl < 0 { Answer::LeaseNotFound } else { Answer::Keys(status.keys) }
            }
            Ask::Compact(to) => {
                self.api.compact(CompactionRequest { revision: to.cast_signed() }).await?;
                Answer::Done
            }
        })
    }

    async fn watch(&self, look: &Look) -> EtcdWatch {
        let (key, range_end) = bounds(&look.range);
        let mut filters = Vec::new();
        if !look.puts {
            filters.push(0);
        }
        if !look.deletes {
            filters.push(1);
        }
        let start_revision = look.from.unwrap_or(0).cast_signed();
        self.api
            .watch(WatchCreateRequest { key, range_end, start_revision, filters, prev_kv: look.prev })
            .await
    }

    /// Everything that a watch tells up to a revision that it tells.
    async fn told(&self, mut watch: EtcdWatch, last: u64) -> Stream {
        let mut stream = Stream::new();
        while stream.last().is_none_or(|(revision, _)| *revision < last) {
            let response = within_time(watch.responses.message()).await.unwrap().unwrap();
            assert!(!response.canceled, "{response:?}");
            for event in response.events {
                let kv = self.kv(event.kv.unwrap());
                let revision = kv.version;
                let told = (event.kind == 0, kv, event.prev_kv.map(|kv| self.kv(kv)));
                match stream.last_mut() {
                    Some((last, events)) if *last == revision => events.push(told),
                    _ => stream.push((revision, vec![told])),
                }
            }
        }
        stream
    }
}

async fn within_time<T>(made: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(30), made)
        .await
        .unwrap_or_else(|_| panic!("a watch is silent"))
}

struct Ours {
    name: &'static str,
    store: StoreRef,
    leases: Leases,
    fixture: Fixture,
}

fn our_refusal(error: &Error) -> Answer {
    match error.kind() {
        ErrorKind::Compacted => Answer::Compacted,
        ErrorKind::InvalidArgument => Answer::InTheFuture,
        ErrorKind::LeaseNotFound => Answer::LeaseNotFound,
        _ => panic!("the store failed: {error:?}"),
    }
}

const fn version(index: u64) -> Version {
    if index == 0 { Version::ZERO } else { Version::new(1, index) }
}

impl Ours {
    async fn of(name: &'static str, world: impl World) -> Self {
        let fixture = world.open(Setup::default()).await.unwrap();
        Self { name, store: StoreRef::clone(&fixture.store), leases: Leases::default(), fixture }
    }

    fn kv(&self, entry: Entry) -> Kv {
        assert!(entry.version.term == 1 && entry.expires_at.is_none(), "{entry:?}");
        Kv {
            key: entry.key,
            value: entry.value,
            version: entry.version.index,
            create_version: entry.create_version.index,
            generation: entry.generation,
            lease: entry.lease.and_then(|id| self.leases.place(id.get())),
        }
    }

    fn lease(&self, place: usize) -> LeaseId {
        LeaseId::new(self.leases.number(place)).unwrap()
    }

    fn scan(range: &Range, at: Option<u64>) -> Scan {
        Scan {
            range: range.range.clone(),
            limit: range.limit,
            order: if range.descending { Order::Descending } else { Order::Ascending },
            keys_only: range.keys_only,
            version: at.map(version),
            ..Scan::default()
        }
    }

    fn op(&self, op: &Op) -> TxnOp {
        match op.clone() {
            Op::Put { key, value, lease, prev } => TxnOp::Put(Put {
                lease: lease.map(|place| self.lease(place)),
                prev_entry: prev,
                ..Put::new(key, value)
            }),
            Op::Delete(key) => TxnOp::Delete(Delete::new(key)),
            Op::DeleteRange(range) => TxnOp::DeleteRange(DeleteRange { range }),
            Op::Get(key) => TxnOp::Get(Get { key, consistency: Default::default() }),
            Op::Range(range) => TxnOp::Scan(Self::scan(&range, None)),
        }
    }

    fn result(&self, result: TxnOpResult, of_txn: Option<u64>) -> Answer {
        let at = |version: Version| of_txn.unwrap_or(version.index);
        match result {
            TxnOpResult::Put(put) => {
                Answer::Put { revision: at(put.version), prev: put.prev_entry.map(|entry| self.kv(entry)) }
            }
            TxnOpResult::Delete(done) => {
                Answer::Deleted { revision: at(done.version), count: done.deleted.into() }
            }
            TxnOpResult::DeleteRange(done) => {
                Answer::Deleted { revision: at(done.version), count: done.deleted }
            }
            TxnOpResult::Get(entry) => Answer::Get(entry.map(|entry| self.kv(entry))),
            TxnOpResult::Scan(page) => Answer::Page {
                kvs: page.entries.into_iter().map(|entry| self.kv(entry)).collect(),
                more: page.more,
                revision: of_txn.is_none().then_some(page.version.index),
            },
        }
    }

    fn compare(&self, when: &When) -> Compare {
        let target = match when.target.clone() {
            Target::Value(asked) => CompareTarget::Value(asked),
            Target::Version(asked) => CompareTarget::Version(version(asked)),
            Target::CreateVersion(asked) => CompareTarget::CreateVersion(version(asked)),
            Target::Generation(asked) => CompareTarget::Generation(asked),
            Target::Lease(asked) => CompareTarget::Lease(asked.map_or(0, |place| self.leases.number(place))),
        };
        Compare { key: when.key.clone(), op: when.op, target }
    }

    async fn ask(&mut self, ask: &Ask) -> Answer {
        self.try_ask(ask).await.unwrap_or_else(|error| our_refusal(&error))
    }

    async fn try_ask(&mut self, ask: &Ask) -> Result<Answer, Error> {
        let store = &*self.store;
        Ok(match ask {
            Ask::Op(op) => {
                let result = match self.op(op) {
                    TxnOp::Put(put) => TxnOpResult::Put(within(call(), store.put(put, call())).await?),
                    TxnOp::Delete(delete) => {
                        TxnOpResult::Delete(within(call(), store.delete(delete, call())).await?)
                    }
                    TxnOp::DeleteRange(delete) => {
                        TxnOpResult::DeleteRange(within(call(), store.delete_range(delete, call())).await?)
                    }
                    TxnOp::Get(get) => TxnOpResult::Get(within(call(), store.get(get, call())).await?),
                    TxnOp::Scan(scan) => TxnOpResult::Scan(within(call(), store.scan(scan, call())).await?),
                };
                self.result(result, None)
            }
            Ask::Range(range, at) => {
                let page = within(call(), store.scan(Self::scan(range, *at), call())).await?;
                assert!(at.is_none_or(|at| page.version == version(at)), "{page:?}");
                match (self.result(TxnOpResult::Scan(page), None), at) {
                    (Answer::Page { kvs, more, .. }, Some(_)) => Answer::Page { kvs, more, revision: None },
                    (answer, _) => answer,
                }
            }
            Ask::Txn { compares, then, otherwise } => {
                let request = Txn {
                    compares: compares.iter().map(|when| self.compare(when)).collect(),
                    then: then.iter().map(|op| self.op(op)).collect(),
                    otherwise: otherwise.iter().map(|op| self.op(op)).collect(),
                };
                let done = txn(store, request).await?;
                let revision = done.version.index;
                let results = done.results.into_iter().map(|result| self.result(result, Some(revision)));
                Answer::Txn { succeeded: done.succeeded, revision, results: results.collect() }
            }
            Ask::Grant => {
                let ttl = Ttl::from_millis(3_600_000)?;
                let granted = within(call(), store.lease_grant(LeaseGrant::new(ttl), call())).await?;
                self.leases.add(granted.id.get());
                Answer::Done
            }
            Ask::Revoke(place) => {
                let ended = store.lease_revoke(self.lease(*place), call());
                Answer::Revision(within(call(), ended).await?.index)
            }
            Ask::LeaseKeys(place) => {
                let request = LeaseTimeToLive { id: self.lease(*place), keys: true };
                Answer::Keys(within(call(), store.lease_time_to_live(request, call())).await?.keys)
            }
            Ask::Compact(to) => {
                within(call(), store.compact(version(*to), call())).await?;
                Answer::Done
            }
        })
    }

    async fn watch(&self, look: &Look) -> Watcher {
        let watch = Watch {
            from: look.from.map(version),
            prev_entry: look.prev,
            puts: look.puts,
            deletes: look.deletes,
            ..Watch::new(look.range.clone())
        };
        Watcher::begin(&*self.store, watch).await.unwrap()
    }

    async fn told(&self, mut watcher: Watcher, last: u64) -> Stream {
        let mut stream = Stream::new();
        while stream.last().is_none_or(|(revision, _)| *revision < last) {
            let batch = watcher.next().await.unwrap();
            let events = batch.events.into_iter().map(|event| {
                assert_eq!(event.entry.version, batch.version);
                let prev = event.prev_entry.map(|entry| self.kv(entry));
                (event.kind == EventKind::Put, self.kv(event.entry), prev)
            });
            stream.push((batch.version.index, events.collect()));
        }
        stream
    }
}

/// Random calls, of few keys, so that they meet.
struct Calls {
    random: Rng,
    newest: u64,
    floor: u64,
    leases: usize,
}

impl Calls {
    fn key(&mut self) -> Bytes {
        let bytes = [0, b'a', b'b', 0xff];
        (0..self.random.usize(1..3)).map(|_| bytes[self.random.usize(..bytes.len())]).collect()
    }

    /// Never one without a key: etcd refuses it, or takes it for a single key.
    fn keys(&mut self) -> KeyRange {
        match self.random.u8(..4) {
            0 => KeyRange::all(),
            1 => KeyRange::prefix(self.key()),
            2 => KeyRange { start: self.key(), end: None },
            _ => loop {
                let (a, b) = (self.key(), self.key());
                if a != b {
                    return KeyRange { start: a.clone().min(b.clone()), end: Some(a.max(b)) };
                }
            },
        }
    }

    fn range(&mut self) -> Range {
        Range {
            range: self.keys(),
            limit: self.random.u64(..5),
            descending: self.random.bool(),
            keys_only: self.random.u8(..4) == 0,
        }
    }

    /// Mostly one that was granted, alive or not; now and then none that ever was.
    fn lease(&mut self) -> usize {
        let latest = self.leases.saturating_sub(5);
        self.random.usize(latest..=self.leases)
    }

    /// A revision from somewhat below the floor to somewhat beyond the newest.
    fn revision(&mut self) -> u64 {
        let lowest = self.floor.saturating_sub(3).max(1);
        self.random.u64(lowest..=self.newest + 2)
    }

    fn put(&mut self, key: Bytes) -> Op {
        let lease = (self.random.u8(..3) == 0).then(|| self.lease());
        let value = self.random.u8(..4).to_string().into();
        Op::Put { key, value, lease, prev: self.random.bool() }
    }

    fn when(&mut self) -> When {
        let key = self.key();
        let op = [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Less, CompareOp::Greater]
            [self.random.usize(..4)];
        let low = self.newest.saturating_sub(20);
        let target = match self.random.u8(..5) {
            0 => Target::Value(self.random.u8(..4).to_string().into()),
            1 => Target::Version(if self.random.bool() { 0 } else { self.random.u64(low..=self.newest + 1) }),
            2 => Target::CreateVersion(if self.random.bool() {
                0
            } else {
                self.random.u64(low..=self.newest + 1)
            }),
            3 => Target::Generation(self.random.u64(..4)),
            _ => Target::Lease(self.random.bool().then(|| self.lease())),
        };
        When { key, op, target }
    }

    /// Ops of which no two write to one key.
    fn ops(&mut self) -> Vec<Op> {
        let mut written: Vec<KeyRange> = Vec::new();
        let mut ops = Vec::new();
        for _ in 0..self.random.usize(..6) {
            let op = match self.random.u8(..10) {
                0..5 => {
                    let key = self.key();
                    self.put(key)
                }
                5..7 => Op::Delete(self.key()),
                7 => Op::DeleteRange(self.keys()),
                8 => Op::Get(self.key()),
                _ => Op::Range(self.range()),
            };
            let range = match &op {
                Op::Put { key, .. } | Op::Delete(key) => KeyRange::single(key),
                Op::DeleteRange(range) => range.clone(),
                Op::Get(_) | Op::Range(_) => {
                    ops.push(op);
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

    fn next(&mut self) -> Ask {
        match self.random.u8(..100) {
            0..30 => {
                let key = self.key();
                Ask::Op(self.put(key))
            }
            30..38 => Ask::Op(Op::Delete(self.key())),
            38..41 => Ask::Op(Op::DeleteRange(self.keys())),
            41..46 => Ask::Op(Op::Get(self.key())),
            46..60 => {
                let at = self.random.bool().then(|| self.revision());
                Ask::Range(self.range(), at)
            }
            60..86 => Ask::Txn {
                compares: (0..self.random.usize(..4)).map(|_| self.when()).collect(),
                then: self.ops(),
                otherwise: self.ops(),
            },
            86..90 => Ask::Grant,
            90..93 => Ask::Revoke(self.lease()),
            93..98 => Ask::LeaseKeys(self.lease()),
            _ => {
                // To the floor itself is one of the differences.
                let to = self.revision();
                if to == self.floor { Ask::Grant } else { Ask::Compact(to) }
            }
        }
    }

    fn look(&mut self) -> Look {
        let kind = self.random.u8(..4);
        Look {
            range: self.keys(),
            from: self.random.bool().then(|| self.random.u64(self.floor + 1..=self.newest + 1)),
            prev: self.random.bool(),
            puts: kind != 0,
            deletes: kind != 1,
        }
    }

    /// Learns what it has to know from an answer.
    fn learn(&mut self, ask: &Ask, answer: &Answer) {
        match answer {
            Answer::Put { revision, .. }
            | Answer::Deleted { revision, .. }
            | Answer::Txn { revision, .. }
            | Answer::Revision(revision) => {
                assert!(*revision == self.newest || *revision == self.newest + 1, "{ask:?}: {answer:?}");
                self.newest = *revision;
            }
            Answer::Done => match ask {
                Ask::Compact(to) => self.floor = *to,
                Ask::Grant => self.leases += 1,
                _ => {}
            },
            _ => {}
        }
    }
}

/// Tells the seed of a run that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("NORIKV_SEED={} repeats it", self.0);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|number| number.parse().ok())
}

struct Both {
    theirs: Theirs,
    ours: Vec<Ours>,
}

impl Both {
    /// Asks both, and holds one answer against the other.
    async fn ask(&mut self, ask: &Ask) -> Answer {
        let theirs = self.theirs.ask(ask).await;
        for ours in &mut self.ours {
            let answer = ours.ask(ask).await;
            assert_eq!(answer, theirs, "{} (left) differs from etcd (right) in {ask:?}", ours.name);
        }
        theirs
    }
}

async fn sequence(both: &mut Both, calls: &mut Calls) {
    let mut watches = Vec::new();
    for _ in 0..CALLS {
        let mut ask = calls.next();
        // Which of two leases has the larger number is not the same here and there: one that is compared so is the
        // one that the key has.
        if let Ask::Txn { compares, .. } = &mut ask {
            for When { key, op, target } in compares {
                if matches!(target, Target::Lease(_)) && matches!(op, CompareOp::Less | CompareOp::Greater) {
                    let found = both.ask(&Ask::Op(Op::Get(key.clone()))).await;
                    let Answer::Get(found) = found else { panic!("{found:?} to a get") };
                    *target = Target::Lease(found.and_then(|kv| kv.lease));
                }
            }
        }
        // One that is not read yet may lose what is compacted, here and there.
        if matches!(ask, Ask::Compact(_)) {
            end(both, calls, std::mem::take(&mut watches)).await;
        }
        let answer = both.ask(&ask).await;
        calls.learn(&ask, &answer);
        if calls.random.u8(..12) == 0 {
            let look = calls.look();
            let mut ours = Vec::new();
            for side in &both.ours {
                ours.push(side.watch(&look).await);
            }
            watches.push((both.theirs.watch(&look).await, ours, look));
        }
    }
    end(both, calls, watches).await;
}

/// Reads watches to their end, and holds what one tells against the other.
async fn end(both: &mut Both, calls: &mut Calls, watches: Vec<(EtcdWatch, Vec<Watcher>, Look)>) {
    for (theirs, ours, look) in watches {
        // Something at the end that the watch tells, whatever it wants.
        let key = if look.range.start.is_empty() { "a".into() } else { look.range.start.clone() };
        let put = Ask::Op(Op::Put { key: key.clone(), value: "end".into(), lease: None, prev: false });
        let mut last = 0;
        for ask in [put, Ask::Op(Op::Delete(key))] {
            let answer = both.ask(&ask).await;
            calls.learn(&ask, &answer);
            if if matches!(answer, Answer::Put { .. }) { look.puts } else { look.deletes } {
                last = calls.newest;
            }
        }
        let mut expected = both.theirs.told(theirs, last).await;
        in_one_order(&mut expected);
        for (side, watcher) in both.ours.iter().zip(ours) {
            let mut told = side.told(watcher, last).await;
            in_one_order(&mut told);
            assert_eq!(told, expected, "{} (left) differs from etcd (right) in {look:?}", side.name);
        }
    }
}

/// Puts the deletes of a lease that ended, which are in no order, in one: those of keys with the same lease, where a
/// revision has nothing else.
fn in_one_order(stream: &mut Stream) {
    for (_, events) in stream {
        if events.iter().all(|(put, ..)| !put) {
            events.sort_by(|(_, a, _), (_, b, _)| a.key.cmp(&b.key));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_sequences_are_answered_as_etcd_answers_them() {
    let etcd = Etcd::start().await;
    let mut both = Both {
        theirs: Theirs { api: etcd.api(), leases: Leases::default() },
        ours: vec![
            Ours::of("memory:", Memory).await,
            Ours::of("file:", File::RELAXED).await,
            Ours::of("behind the server", Served::new(Memory)).await,
        ],
    };
    let seed = Seed(number("NORIKV_SEED").unwrap_or_else(|| fastrand::u64(..)));
    let mut calls = Calls { random: Rng::with_seed(seed.0), newest: 1, floor: 1, leases: 0 };
    for _ in 0..number("NORIKV_ETCD_SEQUENCES").unwrap_or(60) {
        sequence(&mut both, &mut calls).await;
    }
    for ours in both.ours {
        ours.fixture.owner.close().await.unwrap();
    }
    drop(seed);
}
