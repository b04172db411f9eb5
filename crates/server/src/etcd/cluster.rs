//! `etcdserverpb.Cluster`: a cluster of this one member.

use std::sync::Arc;

use async_trait::async_trait;
use etcd_client::proto::{
    PbClusterService, PbMember, PbMemberAddRequest, PbMemberAddResponse, PbMemberListRequest,
    PbMemberListResponse, PbMemberPromoteRequest, PbMemberPromoteResponse, PbMemberRemoveRequest,
    PbMemberRemoveResponse, PbMemberUpdateRequest, PbMemberUpdateResponse,
};
use tonic::{Request, Response, Status};

use crate::meta::CameBy;

use super::{
    errors::Failed,
    member::{Member, not_here},
};

/// The members, as etcd's clients call for them.
pub(crate) struct ClusterService {
    pub(crate) member: Arc<Member>,
}

macro_rules! lacks {
    ($what:literal) => {
        Err(Failed::from(not_here(concat!("Cluster.", $what))).into())
    };
}

#[async_trait]
impl PbClusterService for ClusterService {
    async fn member_list(
        &self,
        request: Request<PbMemberListRequest>,
    ) -> Result<Response<PbMemberListResponse>, Status> {
        let call = self.member.call(request.metadata().as_ref());
        let url = self.member.url(request.extensions().get::<CameBy>());
        let version = self.member.newest(call).await.map_err(Failed::from)?;
        let member = PbMember {
            id: self.member.id,
            name: self.member.name.clone(),
            client_ur_ls: vec![url],
            ..Default::default()
        };
        Ok(Response::new(PbMemberListResponse {
            header: Some(self.member.header(version)),
            members: vec![member],
        }))
    }

    async fn member_add(
        &self,
        _: Request<PbMemberAddRequest>,
    ) -> Result<Response<PbMemberAddResponse>, Status> {
        lacks!("MemberAdd")
    }

    async fn member_remove(
        &self,
        _: Request<PbMemberRemoveRequest>,
    ) -> Result<Response<PbMemberRemoveResponse>, Status> {
        lacks!("MemberRemove")
    }

    async fn member_update(
        &self,
        _: Request<PbMemberUpdateRequest>,
    ) -> Result<Response<PbMemberUpdateResponse>, Status> {
        lacks!("MemberUpdate")
    }

    async fn member_promote(
        &self,
        _: Request<PbMemberPromoteRequest>,
    ) -> Result<Response<PbMemberPromoteResponse>, Status> {
        lacks!("MemberPromote")
    }
}
