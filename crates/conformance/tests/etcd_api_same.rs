//! The same requests to a real etcd and to our server, in etcd's own protocol: the same answers, the same errors in the same
//! words, the same events.
//!
//! What is left out, because it differs on purpose or says nothing: conditions on ranges in transactions that write (which our
//! server refuses), the shortest time to live, the headers of answers within a transaction, the ids of cluster and member, and
//! the order of what ends with one lease.
//!
//! Run with `NORIKV_LONG=1`. `NORIKV_ETCD_SEQUENCES` says how many sequences are run, and `NORIKV_SEED` repeats one.
#![cfg(unix)]
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // they are tests

mod etcd_api;
mod worlds;

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use etcd_api::Etcd;
use etcd_client::{
    CompareOp, SortOrder, SortTarget,
    proto::{
        PbCompactionRequest, PbCompactionResponse, PbCompare, PbCompareTarget, PbDeleteRequest,
        PbDeleteResponse, PbEvent, PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseLeasesRequest,
        PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbLeaseTimeToLiveRequest,
        PbLeaseTimeToLiveResponse, PbPutRequest, PbPutResponse, PbRangeRequest, PbRangeResponse,
        PbResponseHeader, PbResponseOp, PbTargetUnion, PbTxnOpRequest, PbTxnOpResponse, PbTxnRequest,
        PbTxnRequestOp, PbTxnResponse, PbWatchRequest, PbWatchRequestUnion, PbWatchResponse,
    },
};
use fastrand::Rng;
use norikv_conformance::{Setup, World};
use norikv_core::StoreRef;
use norikv_server::{Server, ServerSettings};
use tokio::{sync::mpsc, time::timeout};
use tonic::{
    IntoRequest as _, Request, Status, Streaming,
    client::Grpc,
    codegen::{http::uri::PathAndQuery, tokio_stream::wrappers::UnboundedReceiverStream},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use worlds::{File, Memory};

const REQUESTS: usize = 400;
const SOON: Duration = Duration::from_secs(30);
const KEYS: [&[u8]; 6] = [b"a", b"ab", b"b", b"b\0", b"c", b"\xff"];
const ENDS: [&[u8]; 6] = [b"\0", b"b", b"c", b"a", b"\xff", b"ab\0"];
const VALUES: [&[u8]; 4] = [b"", b"1", b"2", b"\0"];
const LEASES: [i64; 4] = [7, 8, -9, i64::MAX];
/// Nobody is granted it.
const NO_LEASE: i64 = 0x7777;

#[derive(Clone, Debug)]
enum Ask {
    Range(PbRangeRequest),
    Put(PbPutRequest),
    Delete(PbDeleteRequest),
    Txn(PbTxnRequest),
    Compact(PbCompactionRequest),
    Grant(PbLeaseGrantRequest),
    Revoke(PbLeaseRevokeRequest),
    TimeToLive(PbLeaseTimeToLiveRequest),
    Leases,
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Range(PbRangeResponse),
    Put(PbPutResponse),
    Delete(PbDeleteResponse),
    Txn(PbTxnResponse),
    Compact(PbCompactionResponse),
    Grant(PbLeaseGrantResponse),
    Revoke(PbLeaseRevokeResponse),
    TimeToLive(PbLeaseTimeToLiveResponse),
    Leases(PbLeaseLeasesResponse),
    Failed(i32, String),
}

/// A server of etcd's protocol, whoever it is.
struct Side(Channel);

impl Side {
    fn new(endpoint: &str) -> Self {
        Self(Endpoint::from_shared(format!("http://{endpoint}")).unwrap().connect_lazy())
    }

    async fn unary<Q, R>(&self, path: &'static str, request: Q) -> Result<R, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        R: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<Q, R>::default();
        Ok(grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await?.into_inner())
    }

    async fn ask(&self, ask: Ask) -> Answer {
        let answer = match ask {
            Ask::Range(range) => self.unary("/etcdserverpb.KV/Range", range).await.map(Answer::Range),
            Ask::Put(put) => self.unary("/etcdserverpb.KV/Put", put).await.map(Answer::Put),
            Ask::Delete(delete) => {
                self.unary("/etcdserverpb.KV/DeleteRange", delete).await.map(Answer::Delete)
            }
            Ask::Txn(txn) => self.unary("/etcdserverpb.KV/Txn", txn).await.map(Answer::Txn),
            Ask::Compact(compact) => {
                self.unary("/etcdserverpb.KV/Compact", compact).await.map(Answer::Compact)
            }
            Ask::Grant(grant) => self.unary("/etcdserverpb.Lease/LeaseGrant", grant).await.map(Answer::Grant),
            Ask::Revoke(revoke) => {
                self.unary("/etcdserverpb.Lease/LeaseRevoke", revoke).await.map(Answer::Revoke)
            }
            Ask::TimeToLive(ask) => {
                self.unary("/etcdserverpb.Lease/LeaseTimeToLive", ask).await.map(Answer::TimeToLive)
            }
            Ask::Leases => self
                .unary("/etcdserverpb.Lease/LeaseLeases", PbLeaseLeasesRequest {})
                .await
                .map(Answer::Leases),
        };
        match answer {
            Ok(answer) => comparable(answer),
            Err(status) => Answer::Failed(status.code() as i32, status.message().to_owned()),
        }
    }

    /// A watch of every key. One from a revision on would lag in etcd, and be overtaken by a compaction.
    async fn watch(&self) -> Watch {
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut request = PbWatchRequestUnion::CreateRequest(Default::default());
        if let PbWatchRequestUnion::CreateRequest(create) = &mut request {
            create.key = vec![0];
            create.range_end = vec![0];
        }
        requests.send(PbWatchRequest { request_union: Some(request) }).unwrap();
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<PbWatchRequest, PbWatchResponse>::default();
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let stream = UnboundedReceiverStream::new(receiver).into_request();
        let mut responses = grpc.streaming(stream, path, codec).await.unwrap().into_inner();
        assert!(responses.message().await.unwrap().unwrap().created);
        Watch { responses, _requests: requests }
    }
}

struct Watch {
    responses: Streaming<PbWatchResponse>,
    _requests: mpsc::UnboundedSender<PbWatchRequest>,
}

impl Watch {
    /// The events up to a revision, those of one revision in the order of their keys.
    async fn up_to(&mut self, revision: i64) -> Vec<PbEvent> {
        let at = |event: &PbEvent| event.kv.as_ref().unwrap().mod_revision;
        let mut events: Vec<PbEvent> = Vec::new();
        while events.last().map_or(1, at) < revision {
            let next = timeout(SOON, self.responses.message()).await;
            let response = next.unwrap_or_else(|_| panic!("events up to {revision}: {:?}", events.last()));
            let response = response.unwrap().unwrap();
            assert!(!response.canceled, "{response:?}");
            events.extend(response.events);
        }
        events.sort_by_key(|event| (at(event), event.kv.as_ref().unwrap().key.clone()));
        events
    }
}

fn header(header: &mut Option<PbResponseHeader>) {
    let revision = header.as_ref().map_or(0, |header| header.revision);
    *header = Some(PbResponseHeader { revision, ..Default::default() });
}

/// An answer without what says nothing.
fn comparable(mut answer: Answer) -> Answer {
    match &mut answer {
        Answer::Range(range) => header(&mut range.header),
        Answer::Put(put) => header(&mut put.header),
        Answer::Delete(delete) => header(&mut delete.header),
        Answer::Txn(txn) => {
            header(&mut txn.header);
            txn.responses.iter_mut().for_each(headerless);
        }
        Answer::Compact(compact) => header(&mut compact.header),
        Answer::Grant(grant) => header(&mut grant.header),
        Answer::Revoke(revoke) => header(&mut revoke.header),
        Answer::TimeToLive(left) => {
            header(&mut left.header);
            left.ttl = left.ttl.min(0);
            left.keys.sort_unstable();
        }
        Answer::Leases(leases) => {
            header(&mut leases.header);
            leases.leases.sort_unstable_by_key(|lease| lease.id);
        }
        Answer::Failed(..) => {}
    }
    answer
}

fn headerless(op: &mut PbResponseOp) {
    match op.response.as_mut().unwrap() {
        PbTxnOpResponse::ResponseRange(range) => range.header = None,
        PbTxnOpResponse::ResponsePut(put) => put.header = None,
        PbTxnOpResponse::ResponseDeleteRange(delete) => delete.header = None,
        PbTxnOpResponse::ResponseTxn(txn) => {
            txn.header = None;
            txn.responses.iter_mut().for_each(headerless);
        }
    }
}

struct Asking<'a> {
    rng: &'a mut Rng,
    revision: i64,
}

impl Asking<'_> {
    fn one_in(&mut self, many: u32) -> bool {
        self.rng.u32(..many) == 0
    }

    fn key(&mut self) -> Vec<u8> {
        let at = self.rng.usize(..KEYS.len());
        // Nobody may leave the key out.
        if self.one_in(60) { Vec::new() } else { KEYS[at].to_vec() }
    }

    fn end(&mut self) -> Vec<u8> {
        let at = self.rng.usize(..ENDS.len());
        if self.rng.bool() { Vec::new() } else { ENDS[at].to_vec() }
    }

    fn value(&mut self) -> Vec<u8> {
        VALUES[self.rng.usize(..VALUES.len())].to_vec()
    }

    fn lease(&mut self) -> i64 {
        LEASES[self.rng.usize(..LEASES.len())]
    }

    fn some_revision(&mut self) -> i64 {
        self.rng.i64((self.revision - 30).max(1)..=self.revision + 1)
    }

    fn range(&mut self) -> PbRangeRequest {
        let target =
            if self.rng.bool() { SortTarget::Key } else { SortTarget::try_from(self.rng.i32(0..5)).unwrap() };
        let order = match self.rng.i32(0..3) {
            // Sorted by anything but the key and in no order, etcd sorts what the limit left.
            0 if target != SortTarget::Key => SortOrder::Ascend,
            order => SortOrder::try_from(order).unwrap(),
        };
        let bound = |asking: &mut Self| if asking.one_in(5) { asking.some_revision() } else { 0 };
        PbRangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: if self.rng.bool() { 0 } else { self.rng.i64(-1..4) },
            revision: if self.one_in(4) { self.some_revision() } else { 0 },
            sort_order: order as i32,
            sort_target: target as i32,
            serializable: self.rng.bool(),
            keys_only: self.one_in(3),
            count_only: self.one_in(6),
            min_mod_revision: bound(self),
            max_mod_revision: bound(self),
            min_create_revision: bound(self),
            max_create_revision: bound(self),
        }
    }

    /// `alone`: not in a transaction, where several ops may be wrong, and only one of them is said to be.
    fn put(&mut self, alone: bool) -> PbPutRequest {
        let (ignore_value, ignore_lease) = (self.one_in(8), self.one_in(8));
        let lease = match self.rng.u32(..8) {
            0 if alone && !ignore_value && !ignore_lease => NO_LEASE,
            0 | 1 if !ignore_lease || self.one_in(8) => self.lease(),
            _ => 0,
        };
        let value = if ignore_value && !self.one_in(8) { Vec::new() } else { self.value() };
        PbPutRequest { key: self.key(), value, lease, prev_kv: self.rng.bool(), ignore_value, ignore_lease }
    }

    fn delete(&mut self) -> PbDeleteRequest {
        PbDeleteRequest { key: self.key(), range_end: self.end(), prev_kv: self.rng.bool() }
    }

    /// etcd does not see that a delete to the end of all keys overlaps a put; ours does.
    fn delete_in_txn(&mut self) -> PbDeleteRequest {
        let delete = self.delete();
        let range_end = if delete.range_end == [0] { Vec::new() } else { delete.range_end };
        PbDeleteRequest { range_end, ..delete }
    }

    fn compare(&mut self, ranges: bool) -> PbCompare {
        let number = |asking: &mut Self| asking.rng.i64(-1..4);
        let (target, union) = match self.rng.u32(..6) {
            0 => (PbCompareTarget::Version, PbTargetUnion::Version(number(self))),
            1 => (PbCompareTarget::Create, PbTargetUnion::CreateRevision(self.some_revision())),
            2 => (PbCompareTarget::Create, PbTargetUnion::CreateRevision(number(self).min(0))),
            3 => (PbCompareTarget::Mod, PbTargetUnion::ModRevision(self.some_revision())),
            4 => (PbCompareTarget::Value, PbTargetUnion::Value(self.value())),
            _ => {
                let lease = if self.rng.bool() { 0 } else { self.lease() };
                (PbCompareTarget::Lease, PbTargetUnion::Lease(lease))
            }
        };
        PbCompare {
            result: CompareOp::try_from(self.rng.i32(0..4)).unwrap() as i32,
            target: target as i32,
            key: self.key(),
            range_end: if ranges { self.end() } else { Vec::new() },
            target_union: (!self.one_in(20)).then_some(union),
        }
    }

    fn txn(&mut self, depth: u32, writes: bool) -> PbTxnRequest {
        let compare = (0..self.rng.u32(..3)).map(|_| self.compare(!writes)).collect();
        let mut branch = || {
            let mut ops: Vec<PbTxnOpRequest> = (0..self.rng.u32(..4))
                .map(|_| match self.rng.u32(..4) {
                    0 | 1 if writes => PbTxnOpRequest::RequestPut(self.put(false)),
                    2 if writes => PbTxnOpRequest::RequestDeleteRange(self.delete_in_txn()),
                    _ => PbTxnOpRequest::RequestRange(self.range()),
                })
                .collect();
            if depth > 0 && self.one_in(3) {
                let at = self.rng.usize(..=ops.len());
                ops.insert(at, PbTxnOpRequest::RequestTxn(self.txn(depth - 1, writes)));
            }
            ops.into_iter().map(|op| PbTxnRequestOp { request: Some(op) }).collect()
        };
        PbTxnRequest { compare, success: branch(), failure: branch() }
    }

    fn ask(&mut self) -> Ask {
        match self.rng.u32(..100) {
            0..30 => Ask::Put(self.put(true)),
            30..55 => Ask::Range(self.range()),
            55..63 => Ask::Delete(self.delete()),
            63..83 => Ask::Txn(self.txn(2, true)),
            83..88 => Ask::Txn(self.txn(2, false)),
            88..91 => Ask::Grant(PbLeaseGrantRequest { ttl: self.rng.i64(60..90), id: self.lease() }),
            91..93 => Ask::Revoke(PbLeaseRevokeRequest { id: self.lease() }),
            93..96 => Ask::TimeToLive(PbLeaseTimeToLiveRequest { id: self.lease(), keys: self.rng.bool() }),
            96..98 => Ask::Leases,
            _ => Ask::Compact(PbCompactionRequest { revision: self.some_revision().max(2), physical: false }),
        }
    }
}

async fn same<W: World>(world: W) {
    if env::var_os("NORIKV_LONG").is_none() {
        return;
    }
    let sequences = env::var("NORIKV_ETCD_SEQUENCES").map_or(2, |text| text.parse().unwrap());
    let repeated = env::var("NORIKV_SEED").ok().map(|text| text.parse::<u64>().unwrap());
    for _ in 0..if repeated.is_some() { 1 } else { sequences } {
        let seed = repeated.unwrap_or_else(|| fastrand::u64(..));
        eprintln!("NORIKV_SEED={seed}");
        let etcd = Etcd::start().await;
        let inner = world.open(Setup::default()).await.unwrap();
        let settings = ServerSettings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            etcd_api: true,
            ..ServerSettings::default()
        };
        let server = Server::start(StoreRef::clone(&inner.store), settings).await.unwrap();
        let theirs = Side::new(&etcd.endpoint);
        let ours = Side::new(&server.local_addr().to_string());
        let (mut their_watch, mut our_watch) = (theirs.watch().await, ours.watch().await);
        let mut rng = Rng::with_seed(seed);
        let (mut revision, mut failed) = (1, 0);
        for _ in 0..REQUESTS {
            let ask = Asking { rng: &mut rng, revision }.ask();
            let (expected, got) = tokio::join!(theirs.ask(ask.clone()), ours.ask(ask.clone()));
            match (&ask, &expected, &got) {
                // Which of several mistakes is said first is nobody's business.
                (
                    Ask::Txn(_) | Ask::Put(PbPutRequest { ignore_value: true, .. }),
                    Answer::Failed(..),
                    Answer::Failed(..),
                ) => {
                    failed += 1;
                }
                _ => {
                    failed += usize::from(matches!(expected, Answer::Failed(..)));
                    assert_eq!(got, expected, "{ask:?}, at revision {revision}, NORIKV_SEED={seed}");
                }
            }
            revision = match &expected {
                Answer::Put(PbPutResponse { header, .. })
                | Answer::Delete(PbDeleteResponse { header, .. })
                | Answer::Txn(PbTxnResponse { header, .. })
                | Answer::Revoke(PbLeaseRevokeResponse { header, .. }) => header.as_ref().unwrap().revision,
                _ => revision,
            };
        }
        assert!(revision > 50 && failed < REQUESTS / 3, "{revision} revisions, {failed} refusals");
        let (expected, got) = (their_watch.up_to(revision).await, our_watch.up_to(revision).await);
        assert_eq!(got, expected, "events, NORIKV_SEED={seed}");
        server.shutdown(SOON).await.unwrap();
        inner.owner.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_memory_answers_as_etcd_does() {
    same(Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_on_disk_answers_as_etcd_does() {
    same(File::RELAXED).await;
}
