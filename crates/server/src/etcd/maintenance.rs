//! `etcdserverpb.Maintenance`: what the member says of itself.

use std::sync::Arc;

use async_trait::async_trait;
use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse,
    PbMaintenanceService, PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest, PbSnapshotResponse,
    PbStatusRequest, PbStatusResponse,
};
use futures_util::stream;
use tonic::{Request, Response, Status};

use super::{
    convert::number,
    errors::Failed,
    member::{Member, not_here},
};

/// The version of etcd whose API this is, for clients that look at it before they use what came late.
const VERSION: &str = "3.4.0";

/// The status, as etcd's clients call for it.
pub(crate) struct MaintenanceService {
    pub(crate) member: Arc<Member>,
}

macro_rules! lacks {
    ($what:literal) => {
        Err(Failed::from(not_here(concat!("Maintenance.", $what))).into())
    };
}

#[async_trait]
impl PbMaintenanceService for MaintenanceService {
    type SnapshotStream = stream::Empty<Result<PbSnapshotResponse, Status>>;

    async fn status(&self, request: Request<PbStatusRequest>) -> Result<Response<PbStatusResponse>, Status> {
        let call = self.member.call(request.metadata().as_ref());
        let status = self.member.store.status(call).await.map_err(Failed::from)?;
        let bytes = number(status.sizes.disk_bytes);
        Ok(Response::new(PbStatusResponse {
            header: Some(self.member.header(status.version)),
            version: VERSION.to_owned(),
            db_size: bytes,
            db_size_in_use: bytes,
            leader: self.member.id,
            raft_index: status.version.index,
            raft_applied_index: status.version.index,
            raft_term: status.version.term,
            ..Default::default()
        }))
    }

    async fn alarm(&self, _: Request<PbAlarmRequest>) -> Result<Response<PbAlarmResponse>, Status> {
        lacks!("Alarm")
    }

    async fn defragment(
        &self,
        _: Request<PbDefragmentRequest>,
    ) -> Result<Response<PbDefragmentResponse>, Status> {
        lacks!("Defragment")
    }

    async fn hash(&self, _: Request<PbHashRequest>) -> Result<Response<PbHashResponse>, Status> {
        lacks!("Hash")
    }

    async fn hash_kv(&self, _: Request<PbHashKvRequest>) -> Result<Response<PbHashKvResponse>, Status> {
        lacks!("HashKV")
    }

    async fn snapshot(
        &self,
        _: Request<PbSnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        lacks!("Snapshot")
    }

    async fn move_leader(
        &self,
        _: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        lacks!("MoveLeader")
    }

    async fn downgrade(
        &self,
        _: Request<PbDowngradeRequest>,
    ) -> Result<Response<PbDowngradeResponse>, Status> {
        lacks!("Downgrade")
    }
}
