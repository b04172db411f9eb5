//! A network and its servers, without either: every message goes through a script that the test gives.
#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use norikv_client::{Failed, Link, MessageStream, RemoteStore, Settings, Transport};
use norikv_core::{
    Call, Delete, DeleteRange, Entry, Error, ErrorKind, FieldName, Get, GetMany, LeaseGrant, LeaseId,
    NodeAddress, Put, StoreRef, Ttl, Version,
};
use norikv_embedded::EmbeddedStore;
use norikv_proto::{
    consistency_from_wire, entry_to_wire,
    ext::{self, BatchOp, batch_op::Op, batch_result::Result as Answer, range_request::What},
    failure_from_error, precondition_from_wire, txn_from_wire, txn_result_to_wire, v1,
};
use prost::Message;
use tokio::sync::mpsc;

pub const BATCH: &str = "/norikv.ext.v1.Store/Batch";
pub const RANGE: &str = "/norikv.ext.v1.Store/Range";
pub const DELETE_RANGE: &str = "/norikv.ext.v1.Store/DeleteRange";
pub const TXN: &str = "/norikv.ext.v1.Store/Txn";
pub const GRANT: &str = "/norikv.ext.v1.Lease/Grant";
pub const REVOKE: &str = "/norikv.ext.v1.Lease/Revoke";
pub const STATUS: &str = "/norikv.ext.v1.Store/Status";
pub const WATCH: &str = "/norikv.v1.Meta/WatchCluster";
pub const PUT: &str = "/norikv.v1.Kv/Put";
pub const GET: &str = "/norikv.v1.Kv/Get";

/// What a script answers: messages as they come, or a failure.
pub type Replies = mpsc::UnboundedReceiver<Result<Bytes, Failed>>;
type Answering = Pin<Box<dyn Future<Output = Result<Replies, Failed>> + Send>>;
type Script = dyn Fn(String, &'static str, Bytes) -> Answering + Send + Sync;

/// A message that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub node: String,
    pub method: &'static str,
    pub ops: Vec<BatchOp>,
}

pub struct Fake {
    script: Arc<Script>,
    sent: Arc<Mutex<Vec<Sent>>>,
    open: Arc<AtomicUsize>,
}

/// A store over a script, and the record of what it sent.
pub struct World {
    pub store: Arc<RemoteStore<Fake>>,
    sent: Arc<Mutex<Vec<Sent>>>,
    /// Calls and streams that are under way.
    pub open: Arc<AtomicUsize>,
}

impl World {
    pub fn new<F>(
        settings: Settings,
        script: impl Fn(String, &'static str, Bytes) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Replies, Failed>> + Send + 'static,
    {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(AtomicUsize::new(0));
        let script: Arc<Script> =
            Arc::new(move |node, method, message| Box::pin(script(node, method, message)));
        let fake = Fake { script, sent: Arc::clone(&sent), open: Arc::clone(&open) };
        Self { store: Arc::new(RemoteStore::new(settings, fake).unwrap()), sent, open }
    }

    /// Every message.
    pub fn all_sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// The messages to a method.
    pub fn sent(&self, method: &str) -> Vec<Sent> {
        self.sent.lock().unwrap().iter().filter(|sent| sent.method == method).cloned().collect()
    }
}

pub fn nodes(names: &[&str]) -> Settings {
    let nodes = names.iter().map(|name| name.parse().unwrap()).collect();
    Settings { watch_cluster: false, ..Settings::for_nodes(nodes) }
}

impl Transport for Fake {
    type Link = FakeLink;

    fn link(&self, address: &NodeAddress) -> norikv_core::Result<FakeLink> {
        let (script, sent, open) = (Arc::clone(&self.script), Arc::clone(&self.sent), Arc::clone(&self.open));
        Ok(FakeLink { node: address.to_string(), script, sent, open })
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(duration)
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }

    async fn close(&self) {}
}

pub struct FakeLink {
    node: String,
    script: Arc<Script>,
    sent: Arc<Mutex<Vec<Sent>>>,
    open: Arc<AtomicUsize>,
}

/// Counts what is under way while it lives.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub struct FakeStream {
    replies: Replies,
    _under_way: UnderWay,
}

impl MessageStream for FakeStream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failed>> {
        self.replies.poll_recv(cx).map(Option::transpose)
    }
}

impl Link for FakeLink {
    type Stream = FakeStream;

    async fn unary(
        &self,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Bytes, Failed> {
        let mut stream = self.stream(method, message, timeout).await?;
        std::future::poll_fn(|cx| stream.poll_next(cx)).await?.ok_or_else(lost)
    }

    async fn stream(
        &self,
        method: &'static str,
        message: Bytes,
        _: Option<Duration>,
    ) -> Result<FakeStream, Failed> {
        self.open.fetch_add(1, Ordering::SeqCst);
        let under_way = UnderWay(Arc::clone(&self.open));
        let ops = match method {
            BATCH => ext::BatchRequest::decode(message.clone()).unwrap().ops,
            _ => Vec::new(),
        };
        self.sent.lock().unwrap().push(Sent { node: self.node.clone(), method, ops });
        let replies = (self.script)(self.node.clone(), method, message).await?;
        Ok(FakeStream { replies, _under_way: under_way })
    }

    fn generation(&self) -> u64 {
        1
    }

    fn connections(&self) -> usize {
        1
    }
}

pub fn lost() -> Failed {
    Failed::Lost(Error::new(ErrorKind::Unavailable, "the reply was lost"))
}

pub fn refused(node: &str) -> Failed {
    let message = format!("no connection to {node}");
    Failed::NotSent(Error::new(ErrorKind::Connection, message).with(FieldName::Address, node))
}

pub fn bare(code: i32, message: &str) -> Failed {
    Failed::Answered(ext::Failure { code, message: message.into(), ..Default::default() })
}

pub fn not_leader(hint: &str) -> Failed {
    let metadata = HashMap::from([("leaderHint".to_owned(), hint.to_owned())]);
    Failed::Answered(ext::Failure { code: 14, message: "NOT_LEADER".into(), metadata, ..Default::default() })
}

pub fn all(messages: impl IntoIterator<Item = Bytes>) -> Replies {
    let (sender, replies) = mpsc::unbounded_channel();
    for message in messages {
        sender.send(Ok(message)).unwrap();
    }
    replies
}

pub fn reply(message: &impl Message) -> Replies {
    all([message.encode_to_vec().into()])
}

pub fn memory() -> StoreRef {
    Arc::new(EmbeddedStore::memory(norikv_embedded::Settings::default()).unwrap())
}

/// A faultless server over a store.
pub async fn serve(store: StoreRef, method: &'static str, message: Bytes) -> Result<Replies, Failed> {
    match method {
        BATCH => {
            let mut results = Vec::new();
            for (index, op) in ext::BatchRequest::decode(message).unwrap().ops.into_iter().enumerate() {
                let result = apply(&store, op).await;
                let result = result.unwrap_or_else(|error| Answer::Failure(failure_from_error(&error)));
                results.push(ext::BatchResult { index: u32::try_from(index).unwrap(), result: Some(result) });
            }
            Ok(reply(&ext::BatchResponse { results }))
        }
        RANGE => {
            let request = ext::RangeRequest::decode(message).unwrap();
            let version = request.version.map(Version::from);
            let entries = match request.what {
                // Like our server, which does not read many keys at an old version.
                Some(What::Keys(keys)) if version.is_none() => store
                    .get_many(GetMany { keys: keys.keys, consistency: Default::default() }, Call::default())
                    .await
                    .unwrap(),
                Some(What::Scan(scan)) => {
                    let range = norikv_proto::range_from_wire(scan.range).unwrap();
                    let scan =
                        norikv_core::Scan { version, limit: scan.limit, ..norikv_core::Scan::new(range) };
                    let page = store.scan(scan, Call::default()).await;
                    let page = page.map_err(|error| Failed::Answered(failure_from_error(&error)))?;
                    page.entries.into_iter().map(Some).collect()
                }
                _ => return Err(bare(12, "")),
            };
            let wrap = |entry: Option<Entry>| ext::MaybeEntry { entry: entry.map(entry_to_wire) };
            Ok(reply(&ext::RangeResponse {
                entries: entries.into_iter().map(wrap).collect(),
                ..Default::default()
            }))
        }
        DELETE_RANGE => {
            let range = ext::DeleteRangeRequest::decode(message).unwrap().range;
            let range = norikv_proto::range_from_wire(range).unwrap();
            let result = store.delete_range(DeleteRange { range }, Call::default()).await.unwrap();
            Ok(reply(&ext::DeleteRangeResponse { deleted: result.deleted, ..Default::default() }))
        }
        TXN => {
            let txn = txn_from_wire(ext::TxnRequest::decode(message).unwrap()).unwrap();
            let result = store.txn(txn, Call::default()).await;
            let result = result.map_err(|error| Failed::Answered(failure_from_error(&error)))?;
            Ok(reply(&txn_result_to_wire(result)))
        }
        GRANT => {
            let ttl = Ttl::from_millis(ext::LeaseGrantRequest::decode(message).unwrap().ttl_ms).unwrap();
            let granted = store.lease_grant(LeaseGrant::new(ttl), Call::default()).await.unwrap();
            let ttl_ms = u64::try_from(granted.ttl.as_millis()).unwrap();
            Ok(reply(&ext::LeaseGrantResponse { id: granted.id.get(), ttl_ms }))
        }
        REVOKE => {
            let id = ext::LeaseRevokeRequest::decode(message).unwrap().id;
            let version = store.lease_revoke(LeaseId::new(id).unwrap(), Call::default()).await;
            let version = version.map_err(|error| Failed::Answered(failure_from_error(&error)))?;
            Ok(reply(&ext::LeaseRevokeResponse { version: Some(version.into()) }))
        }
        _ => Err(bare(12, "unimplemented")),
    }
}

async fn apply(store: &StoreRef, op: BatchOp) -> norikv_core::Result<Answer> {
    let call = Call::default();
    match op.op.unwrap() {
        Op::Get(get) => {
            let consistency = consistency_from_wire(&get.consistency)?;
            let entry = store.get(Get { key: get.key, consistency }, call).await?;
            Ok(Answer::Get(ext::GetResult { entry: entry.map(entry_to_wire) }))
        }
        Op::Put(put) => {
            let prev_entry = put.prev_entry;
            let lease = LeaseId::new(put.lease);
            let put = put.put.unwrap();
            let put = Put {
                lease,
                key: put.key,
                value: put.value,
                ttl: Ttl::from_millis(put.ttl_ms).ok(),
                precondition: precondition_from_wire(put.if_match),
                idempotency_key: Some(put.idempotency_key).filter(|key| !key.is_empty()),
                prev_entry,
            };
            let result = store.put(put, call).await?;
            let prev_entry = result.prev_entry.map(entry_to_wire);
            Ok(Answer::Put(ext::PutResult { version: Some(result.version.into()), prev_entry }))
        }
        Op::Delete(delete) => {
            let delete = Delete {
                key: delete.key,
                if_match: delete.if_match.map(Version::from),
                idempotency_key: Some(delete.idempotency_key).filter(|key| !key.is_empty()),
            };
            let result = store.delete(delete, call).await?;
            let version = Some(result.version.into());
            Ok(Answer::Delete(v1::DeleteResponse { tombstoned: result.deleted, version }))
        }
    }
}

/// Waits until something holds; everything that can run runs meanwhile.
pub async fn until(what: impl Fn() -> bool) {
    let holds = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), holds).await.unwrap();
}

/// The keys and kinds of a batch, for comparison.
pub fn show(sent: &Sent) -> Vec<String> {
    sent.ops
        .iter()
        .map(|op| match op.op.as_ref().unwrap() {
            Op::Get(get) => format!("get {}", String::from_utf8_lossy(&get.key)),
            Op::Put(put) => {
                let put = put.put.as_ref().unwrap();
                format!("put {}={}", String::from_utf8_lossy(&put.key), String::from_utf8_lossy(&put.value))
            }
            Op::Delete(delete) => format!("delete {}", String::from_utf8_lossy(&delete.key)),
        })
        .collect()
}
