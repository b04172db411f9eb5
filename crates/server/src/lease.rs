use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use norikv_core::{
    Call, Error, LeaseGrant, LeaseId, LeaseTimeToLive, MAX_KEEP_ALIVES, Result, StoreRef, Ttl,
};
use norikv_proto::ext::{self, lease_server::Lease};
use tonic::{Request, Response, Status};

use crate::{deadline::call_of, peer::Peer, status::status_of};

/// `norikv.ext.v1.Lease`.
pub(crate) struct LeaseService {
    pub(crate) store: StoreRef,
    /// How long a call may take that brings no deadline.
    pub(crate) bound: Duration,
}

impl LeaseService {
    fn call<R>(&self, request: &Request<R>) -> Call {
        call_of(request.metadata().as_ref(), self.bound)
    }

    async fn granted(
        &self,
        peer: Option<Arc<Peer>>,
        grant: LeaseGrant,
        call: Call,
    ) -> Result<ext::LeaseGrantResponse> {
        let room = match &peer {
            Some(peer) => Some(peer.new_lease(&*self.store, call).await?),
            None => None,
        };
        let granted = self.store.lease_grant(grant, call).await?;
        if let Some(room) = room {
            room.granted(granted.id);
        }
        Ok(ext::LeaseGrantResponse { id: granted.id.get(), ttl_ms: millis(granted.ttl) })
    }
}

#[async_trait]
impl Lease for LeaseService {
    async fn grant(
        &self,
        request: Request<ext::LeaseGrantRequest>,
    ) -> Result<Response<ext::LeaseGrantResponse>, Status> {
        let call = self.call(&request);
        let peer = request.extensions().get::<Arc<Peer>>().cloned();
        let request = request.into_inner();
        let ttl = Ttl::from_millis(request.ttl_ms).map_err(status_of)?;
        self.granted(peer, LeaseGrant { ttl, id: LeaseId::new(request.id) }, call)
            .await
            .map(Response::new)
            .map_err(status_of)
    }

    async fn keep_alive(
        &self,
        request: Request<ext::LeaseKeepAliveRequest>,
    ) -> Result<Response<ext::LeaseKeepAliveResponse>, Status> {
        let call = self.call(&request);
        let ids = request.into_inner().ids;
        if ids.len() > MAX_KEEP_ALIVES {
            return Err(status_of(Error::invalid_argument(format!(
                "a keep-alive names at most {MAX_KEEP_ALIVES} leases; this one names {}",
                ids.len()
            ))));
        }
        let ids = ids.into_iter().map(lease_id).collect::<Result<_>>().map_err(status_of)?;
        let left = self.store.lease_keep_alive(ids, call).await.map_err(status_of)?;
        // 0 says that there is no such lease, so what is alive has 1 ms at least.
        let ttl_ms = left.into_iter().map(|left| left.map_or(0, |left| millis(left).max(1)));
        Ok(Response::new(ext::LeaseKeepAliveResponse { ttl_ms: ttl_ms.collect() }))
    }

    async fn revoke(
        &self,
        request: Request<ext::LeaseRevokeRequest>,
    ) -> Result<Response<ext::LeaseRevokeResponse>, Status> {
        let call = self.call(&request);
        let peer = request.extensions().get::<Arc<Peer>>().cloned();
        let id = lease_id(request.into_inner().id).map_err(status_of)?;
        let version = self.store.lease_revoke(id, call).await.map_err(status_of)?;
        if let Some(peer) = peer {
            peer.revoked(id);
        }
        Ok(Response::new(ext::LeaseRevokeResponse { version: Some(version.into()) }))
    }

    async fn time_to_live(
        &self,
        request: Request<ext::LeaseTimeToLiveRequest>,
    ) -> Result<Response<ext::LeaseTimeToLiveResponse>, Status> {
        let call = self.call(&request);
        let request = request.into_inner();
        let ask = LeaseTimeToLive { id: lease_id(request.id).map_err(status_of)?, keys: request.keys };
        let status = self.store.lease_time_to_live(ask, call).await.map_err(status_of)?;
        Ok(Response::new(ext::LeaseTimeToLiveResponse {
            granted_ms: millis(status.granted),
            remaining_ms: millis(status.remaining),
            keys: status.keys,
        }))
    }

    async fn list(
        &self,
        request: Request<ext::LeaseListRequest>,
    ) -> Result<Response<ext::LeaseListResponse>, Status> {
        let leases = self.store.leases(self.call(&request)).await.map_err(status_of)?;
        Ok(Response::new(ext::LeaseListResponse { ids: leases.into_iter().map(LeaseId::get).collect() }))
    }
}

fn lease_id(id: u64) -> Result<LeaseId> {
    LeaseId::new(id).ok_or_else(|| Error::invalid_argument("a lease's id is a number from 1; got 0"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
