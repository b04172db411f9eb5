use std::{net::SocketAddr, time::Duration};

use norikv_proto::{
    ext::{self, BatchOp, BatchResult, batch_op::Op, batch_result},
    v1,
};
use tonic::{
    Request, Response, Status, Streaming,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// One connection, and every method by its path.
#[derive(Clone)]
pub struct Client(pub Channel);

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    pub async fn try_connect(address: SocketAddr) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Ok(Self(endpoint.connect_timeout(Duration::from_secs(5)).connect().await?))
    }

    pub async fn unary<Q, A>(&self, path: &'static str, request: Request<Q>) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::default();
        grpc.unary(request, PathAndQuery::from_static(path), codec).await.map(Response::into_inner)
    }

    pub async fn stream<Q, A>(&self, path: &'static str, request: Request<Q>) -> Result<Streaming<A>, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::default();
        grpc.server_streaming(request, PathAndQuery::from_static(path), codec).await.map(Response::into_inner)
    }

    pub async fn put(&self, request: v1::PutRequest) -> Result<v1::PutResponse, Status> {
        self.unary("/norikv.v1.Kv/Put", Request::new(request)).await
    }

    pub async fn get(&self, request: v1::GetRequest) -> Result<v1::GetResponse, Status> {
        self.unary("/norikv.v1.Kv/Get", Request::new(request)).await
    }

    pub async fn delete(&self, request: v1::DeleteRequest) -> Result<v1::DeleteResponse, Status> {
        self.unary("/norikv.v1.Kv/Delete", Request::new(request)).await
    }

    pub async fn batch(&self, ops: Vec<BatchOp>) -> Result<Streaming<ext::BatchResponse>, Status> {
        self.stream("/norikv.ext.v1.Store/Batch", Request::new(ext::BatchRequest { ops })).await
    }

    /// The results of a batch in the order of its calls, and in how many messages they came.
    pub async fn batch_all(&self, ops: Vec<BatchOp>) -> Result<(Vec<batch_result::Result>, usize), Status> {
        let mut stream = self.batch(ops).await?;
        let (mut results, mut messages): (Vec<BatchResult>, usize) = (Vec::new(), 0);
        while let Some(message) = stream.message().await? {
            results.extend(message.results);
            messages += 1;
        }
        results.sort_by_key(|result| result.index);
        Ok((results.into_iter().map(|result| result.result.unwrap()).collect(), messages))
    }

    pub async fn range(&self, what: ext::range_request::What) -> Result<ext::RangeResponse, Status> {
        let request = ext::RangeRequest { what: Some(what), ..Default::default() };
        self.unary("/norikv.ext.v1.Store/Range", Request::new(request)).await
    }

    pub async fn status(&self) -> Result<ext::StatusResponse, Status> {
        self.unary("/norikv.ext.v1.Store/Status", Request::new(ext::StatusRequest {})).await
    }

    pub async fn watch_cluster(&self) -> Result<Streaming<v1::ClusterView>, Status> {
        self.stream("/norikv.v1.Meta/WatchCluster", Request::new(v1::ClusterView::default())).await
    }

    pub async fn watch(&self, request: ext::WatchRequest) -> Result<Streaming<ext::WatchResponse>, Status> {
        self.stream("/norikv.ext.v1.Watch/Watch", Request::new(request)).await
    }

    pub async fn txn(&self, request: ext::TxnRequest) -> Result<ext::TxnResponse, Status> {
        self.unary("/norikv.ext.v1.Store/Txn", Request::new(request)).await
    }

    pub async fn grant(&self, ttl_ms: u64) -> Result<ext::LeaseGrantResponse, Status> {
        self.unary("/norikv.ext.v1.Lease/Grant", Request::new(ext::LeaseGrantRequest { ttl_ms, id: 0 })).await
    }

    pub async fn keep_alive(&self, ids: Vec<u64>) -> Result<ext::LeaseKeepAliveResponse, Status> {
        self.unary("/norikv.ext.v1.Lease/KeepAlive", Request::new(ext::LeaseKeepAliveRequest { ids })).await
    }

    pub async fn revoke(&self, id: u64) -> Result<ext::LeaseRevokeResponse, Status> {
        self.unary("/norikv.ext.v1.Lease/Revoke", Request::new(ext::LeaseRevokeRequest { id })).await
    }

    pub async fn time_to_live(&self, id: u64, keys: bool) -> Result<ext::LeaseTimeToLiveResponse, Status> {
        let request = ext::LeaseTimeToLiveRequest { id, keys };
        self.unary("/norikv.ext.v1.Lease/TimeToLive", Request::new(request)).await
    }

    pub async fn leases(&self) -> Result<ext::LeaseListResponse, Status> {
        self.unary("/norikv.ext.v1.Lease/List", Request::new(ext::LeaseListRequest {})).await
    }
}

pub fn put(key: &'static str, value: &'static str) -> v1::PutRequest {
    v1::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

pub fn get(key: &'static str) -> v1::GetRequest {
    v1::GetRequest { key: key.into(), ..Default::default() }
}

pub fn delete(key: &'static str) -> v1::DeleteRequest {
    v1::DeleteRequest { key: key.into(), ..Default::default() }
}

pub fn put_op(key: &'static str, value: &'static str) -> BatchOp {
    let put = ext::Put { put: Some(put(key, value)), ..Default::default() };
    BatchOp { op: Some(Op::Put(put)), timeout_ms: 0 }
}

pub fn get_op(key: &'static str) -> BatchOp {
    BatchOp { op: Some(Op::Get(get(key))), timeout_ms: 0 }
}

pub fn delete_op(key: &'static str) -> BatchOp {
    BatchOp { op: Some(Op::Delete(delete(key))), timeout_ms: 0 }
}

/// The value that a get of a batch found.
pub fn found(result: &batch_result::Result) -> Option<bytes::Bytes> {
    match result {
        batch_result::Result::Get(get) => get.entry.as_ref().map(|entry| entry.value.clone()),
        other => panic!("not a get: {other:?}"),
    }
}

pub fn failure(result: &batch_result::Result) -> &ext::Failure {
    match result {
        batch_result::Result::Failure(failure) => failure,
        other => panic!("not a failure: {other:?}"),
    }
}
