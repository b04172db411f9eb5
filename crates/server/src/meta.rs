use std::{net::SocketAddr, pin::Pin};

use async_trait::async_trait;
use futures_util::{
    Stream, StreamExt,
    future::{self, Either},
    stream,
};
use norikv_core::{
    Call, ClusterNode, ClusterView, DEFAULT_TOTAL_SHARDS, NodeAddress, ShardInfo, ShardReplica,
};
use norikv_proto::v1::{self, meta_server::Meta};
use tonic::{Request, Response, Status};

use crate::{
    deadline::timeout_of,
    phase::{Phase, PhaseWatch, reached},
    status::status_of,
};

/// The address by which a client came: the `:authority` of its request.
#[derive(Clone)]
pub(crate) struct CameBy(pub(crate) http::uri::Authority);

/// `norikv.v1.Meta`: a cluster of this one node.
///
/// Existing clients send a key to the node that leads its shard, so every shard is there, and led by this node.
pub(crate) struct MetaService {
    pub(crate) node_id: String,
    pub(crate) advertise: Option<String>,
    pub(crate) local: SocketAddr,
    pub(crate) phase: PhaseWatch,
}

type Views = Pin<Box<dyn Stream<Item = Result<v1::ClusterView, Status>> + Send>>;

#[async_trait]
impl Meta for MetaService {
    type WatchClusterStream = Views;

    async fn watch_cluster(&self, request: Request<v1::ClusterView>) -> Result<Response<Views>, Status> {
        let view = self.view(request.extensions().get::<CameBy>());
        let timeout = timeout_of(request.metadata().as_ref());
        let phase = self.phase.clone();
        // The view of one node never changes: after it there is only the end, by shutdown or by the caller's
        // own deadline.
        let end = async move {
            let draining = std::pin::pin!(reached(phase, Phase::Draining));
            let Some(call) = timeout.map(Call::with_timeout) else {
                draining.await;
                return None;
            };
            let late = std::pin::pin!(tokio::time::sleep(call.remaining()));
            match future::select(draining, late).await {
                Either::Left(_) => None,
                Either::Right(_) => Some(Err(status_of(call.deadline_exceeded()))),
            }
        };
        let views =
            stream::once(future::ready(Ok(view.into()))).chain(stream::once(end).filter_map(future::ready));
        Ok(Response::new(Box::pin(views)))
    }
}

impl MetaService {
    fn view(&self, came_by: Option<&CameBy>) -> ClusterView {
        let replicas = || vec![ShardReplica { node_id: self.node_id.clone(), leader: true }];
        ClusterView {
            epoch: 1,
            nodes: vec![ClusterNode {
                id: self.node_id.clone(),
                addr: self.address(came_by),
                role: "leader".to_owned(),
            }],
            shards: (0..DEFAULT_TOTAL_SHARDS).map(|id| ShardInfo { id, replicas: replicas() }).collect(),
        }
    }

    /// The address that the client is to use: the one that was set up, or the one it used, which is known to
    /// reach us from where it is.
    fn address(&self, came_by: Option<&CameBy>) -> String {
        let came_by = || {
            let address = came_by?.0.as_str().parse::<NodeAddress>().ok()?;
            Some(address.to_string())
        };
        self.advertise.clone().or_else(came_by).unwrap_or_else(|| self.local.to_string())
    }
}
