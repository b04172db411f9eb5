//! A real etcd, started for a test, and the part of its API that the tests use.
//!
//! The messages are written out here, and not taken from a client's crate, because those run `protoc` when they are
//! built; the names and numbers are those of etcd's `rpc.proto` and `kv.proto`.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::{Message, Oneof};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::{
    IntoRequest as _, Request, Status, Streaming,
    client::Grpc,
    codegen::{http::uri::PathAndQuery, tokio_stream::wrappers::UnboundedReceiverStream},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// Longer than etcd takes to begin.
const SOON: Duration = Duration::from_secs(30);

/// An etcd of one member in a directory of its own. Killed when it is dropped.
pub(crate) struct Etcd {
    child: Child,
    channel: Channel,
    /// `host:port`.
    #[allow(dead_code)] // Each test file is a crate of its own and uses some of it.
    pub(crate) endpoint: String,
    _directory: TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Etcd {
    /// Starts one, and waits until it answers.
    pub(crate) async fn start() -> Self {
        // Between asking for a free port and etcd taking it, another may.
        for _ in 0..5 {
            if let Some(etcd) = Self::try_start(free_port(), free_port()).await {
                return etcd;
            }
        }
        panic!("etcd does not begin to serve");
    }

    async fn try_start(client: u16, peer: u16) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let endpoint = format!("127.0.0.1:{client}");
        let client = format!("http://{endpoint}");
        let peer = format!("http://127.0.0.1:{peer}");
        let mut child = Command::new("etcd")
            .arg("--data-dir")
            .arg(directory.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("this test needs etcd on the PATH (Debian, Ubuntu: apt-get install -y etcd-server): {error}")
            });
        let channel = Endpoint::from_shared(client).unwrap().connect_lazy();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            let etcd = Api { channel: channel.clone() };
            let read = RangeRequest { key: "k".into(), ..RangeRequest::default() };
            if tokio::time::timeout(Duration::from_secs(1), etcd.range(read))
                .await
                .is_ok_and(|read| read.is_ok())
            {
                return Some(Self { child, channel, endpoint, _directory: directory });
            }
            assert!(begun.elapsed() < SOON, "etcd does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }

    pub(crate) fn api(&self) -> Api {
        Api { channel: self.channel.clone() }
    }
}

/// The calls of an etcd.
pub(crate) struct Api {
    channel: Channel,
}

macro_rules! calls {
    ($($name:ident: $path:literal, $request:ty => $response:ty;)+) => {
        impl Api {$(
            pub(crate) async fn $name(&self, request: $request) -> Result<$response, Status> {
                let mut grpc = Grpc::new(self.channel.clone());
                grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
                let path = PathAndQuery::from_static($path);
                let codec = ProstCodec::<$request, $response>::default();
                Ok(grpc.unary(Request::new(request), path, codec).await?.into_inner())
            }
        )+}
    };
}

calls! {
    range: "/etcdserverpb.KV/Range", RangeRequest => RangeResponse;
    put: "/etcdserverpb.KV/Put", PutRequest => PutResponse;
    delete_range: "/etcdserverpb.KV/DeleteRange", DeleteRangeRequest => DeleteRangeResponse;
    txn: "/etcdserverpb.KV/Txn", TxnRequest => TxnResponse;
    compact: "/etcdserverpb.KV/Compact", CompactionRequest => CompactionResponse;
    lease_grant: "/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest => LeaseGrantResponse;
    lease_revoke: "/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest => LeaseRevokeResponse;
    lease_time_to_live: "/etcdserverpb.Lease/LeaseTimeToLive", LeaseTimeToLiveRequest => LeaseTimeToLiveResponse;
}

/// A watch; it ends when this is dropped.
pub(crate) struct EtcdWatch {
    pub(crate) responses: Streaming<WatchResponse>,
    _requests: UnboundedSender<WatchRequest>,
}

impl Api {
    /// Begins a watch, and waits until it has begun.
    pub(crate) async fn watch(&self, request: WatchCreateRequest) -> EtcdWatch {
        let (requests, receiver) = unbounded_channel();
        requests.send(WatchRequest { request: Some(watch_request::Request::Create(request)) }).unwrap();
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
        let stream = UnboundedReceiverStream::new(receiver).into_request();
        let mut responses =
            grpc.streaming(stream.map(|stream| stream), path, codec).await.unwrap().into_inner();
        let created = responses.message().await.unwrap().unwrap();
        assert!(created.created, "{created:?}");
        EtcdWatch { responses, _requests: requests }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResponseHeader {
    #[prost(int64, tag = "3")]
    pub(crate) revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(int64, tag = "2")]
    pub(crate) create_revision: i64,
    #[prost(int64, tag = "3")]
    pub(crate) mod_revision: i64,
    #[prost(int64, tag = "4")]
    pub(crate) version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) value: Bytes,
    #[prost(int64, tag = "6")]
    pub(crate) lease: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) range_end: Bytes,
    #[prost(int64, tag = "3")]
    pub(crate) limit: i64,
    #[prost(int64, tag = "4")]
    pub(crate) revision: i64,
    /// 0 none, 1 ascending, 2 descending.
    #[prost(int32, tag = "5")]
    pub(crate) sort_order: i32,
    #[prost(bool, tag = "8")]
    pub(crate) keys_only: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    pub(crate) more: bool,
    #[prost(int64, tag = "4")]
    pub(crate) count: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
    #[prost(int64, tag = "3")]
    pub(crate) lease: i64,
    #[prost(bool, tag = "4")]
    pub(crate) prev_kv: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(message, optional, tag = "2")]
    pub(crate) prev_kv: Option<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeleteRangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) range_end: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeleteRangeResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(int64, tag = "2")]
    pub(crate) deleted: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestOp {
    #[prost(oneof = "request_op::Request", tags = "1, 2, 3")]
    pub(crate) request: Option<request_op::Request>,
}

pub(crate) mod request_op {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub(crate) enum Request {
        #[prost(message, tag = "1")]
        Range(super::RangeRequest),
        #[prost(message, tag = "2")]
        Put(super::PutRequest),
        #[prost(message, tag = "3")]
        DeleteRange(super::DeleteRangeRequest),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResponseOp {
    #[prost(oneof = "response_op::Response", tags = "1, 2, 3")]
    pub(crate) response: Option<response_op::Response>,
}

pub(crate) mod response_op {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub(crate) enum Response {
        #[prost(message, tag = "1")]
        Range(super::RangeResponse),
        #[prost(message, tag = "2")]
        Put(super::PutResponse),
        #[prost(message, tag = "3")]
        DeleteRange(super::DeleteRangeResponse),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Compare {
    /// 0 `=`, 1 `>`, 2 `<`, 3 `!=`.
    #[prost(int32, tag = "1")]
    pub(crate) result: i32,
    /// 0 version, 1 create, 2 mod, 3 value, 4 lease.
    #[prost(int32, tag = "2")]
    pub(crate) target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) key: Bytes,
    #[prost(oneof = "compare::Target", tags = "4, 5, 6, 7, 8")]
    pub(crate) asked: Option<compare::Target>,
}

pub(crate) mod compare {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub(crate) enum Target {
        #[prost(int64, tag = "4")]
        Version(i64),
        #[prost(int64, tag = "5")]
        CreateRevision(i64),
        #[prost(int64, tag = "6")]
        ModRevision(i64),
        #[prost(bytes = "bytes", tag = "7")]
        Value(super::Bytes),
        #[prost(int64, tag = "8")]
        Lease(i64),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(bool, tag = "2")]
    pub(crate) succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub(crate) responses: Vec<ResponseOp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CompactionRequest {
    #[prost(int64, tag = "1")]
    pub(crate) revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CompactionResponse {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseGrantRequest {
    #[prost(int64, tag = "1")]
    pub(crate) ttl: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseGrantResponse {
    #[prost(int64, tag = "2")]
    pub(crate) id: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseRevokeRequest {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseRevokeResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseTimeToLiveRequest {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    #[prost(bool, tag = "2")]
    pub(crate) keys: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseTimeToLiveResponse {
    /// -1: there is no such lease.
    #[prost(int64, tag = "3")]
    pub(crate) ttl: i64,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub(crate) keys: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchRequest {
    #[prost(oneof = "watch_request::Request", tags = "1")]
    pub(crate) request: Option<watch_request::Request>,
}

pub(crate) mod watch_request {
    #[derive(Clone, PartialEq, super::Oneof)]
    pub(crate) enum Request {
        #[prost(message, tag = "1")]
        Create(super::WatchCreateRequest),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchCreateRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) range_end: Bytes,
    #[prost(int64, tag = "3")]
    pub(crate) start_revision: i64,
    /// 0 no puts, 1 no deletes.
    #[prost(int32, repeated, tag = "5")]
    pub(crate) filters: Vec<i32>,
    #[prost(bool, tag = "6")]
    pub(crate) prev_kv: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchResponse {
    #[prost(bool, tag = "3")]
    pub(crate) created: bool,
    #[prost(bool, tag = "4")]
    pub(crate) canceled: bool,
    #[prost(int64, tag = "5")]
    pub(crate) compact_revision: i64,
    #[prost(message, repeated, tag = "11")]
    pub(crate) events: Vec<Event>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    /// 0 put, 1 delete.
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) kv: Option<KeyValue>,
    #[prost(message, optional, tag = "3")]
    pub(crate) prev_kv: Option<KeyValue>,
}
