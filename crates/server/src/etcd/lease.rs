//! `etcdserverpb.Lease`.

use std::{pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseLeasesRequest, PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbLeaseService,
    PbLeaseStatus, PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use futures_util::{FutureExt, Stream, future::BoxFuture, stream};
use norikv_core::{Call, ErrorKind, LeaseGrant, LeaseTimeToLive, MAX_TTL, Ttl};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    peer::{OpenStream, Peer},
    phase::{Phase, reached},
};

use super::{
    convert::{lease_id, lease_number, number},
    errors::{Failed, LEASE_EXISTS, LEASE_NOT_FOUND, STOPPED, TTL_TOO_LARGE},
    member::Member,
};

/// Leases, as etcd's clients call for them.
pub(crate) struct LeaseService {
    pub(crate) member: Arc<Member>,
}

#[async_trait]
impl PbLeaseService for LeaseService {
    type LeaseKeepAliveStream = Pin<Box<dyn Stream<Item = Result<PbLeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let call = self.member.call(request.metadata().as_ref());
        let peer = request.extensions().get::<Arc<Peer>>().cloned();
        Ok(Response::new(self.grant(request.into_inner(), peer, call).await?))
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let call = self.member.call(request.metadata().as_ref());
        let peer = request.extensions().get::<Arc<Peer>>().cloned();
        let id = lease_id(request.into_inner().id).ok_or(LEASE_NOT_FOUND)?;
        let version = self.member.store.lease_revoke(id, call).await.map_err(Failed::from)?;
        if let Some(peer) = peer {
            peer.revoked(id);
        }
        Ok(Response::new(PbLeaseRevokeResponse { header: Some(self.member.header(version)) }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let keeper = Keeper {
            member: Arc::clone(&self.member),
            _open: request.extensions().get::<Arc<Peer>>().map(Peer::open_stream),
            draining: reached(self.member.phase.clone(), Phase::Draining).boxed(),
            requests: request.into_inner(),
        };
        let kept = stream::unfold(Some(keeper), |keeper| async {
            let mut keeper = keeper?;
            let kept = keeper.next().await?;
            let ends = kept.is_err();
            Some((kept, (!ends).then_some(keeper)))
        });
        Ok(Response::new(Box::pin(kept)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        let call = self.member.call(request.metadata().as_ref());
        Ok(Response::new(self.time_to_live(request.into_inner(), call).await?))
    }

    async fn lease_leases(
        &self,
        request: Request<PbLeaseLeasesRequest>,
    ) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        let call = self.member.call(request.metadata().as_ref());
        let leases = self.member.store.leases(call).await.map_err(Failed::from)?;
        let version = self.member.newest(call).await.map_err(Failed::from)?;
        Ok(Response::new(PbLeaseLeasesResponse {
            header: Some(self.member.header(version)),
            leases: leases.into_iter().map(|id| PbLeaseStatus { id: lease_number(id) }).collect(),
        }))
    }
}

impl LeaseService {
    async fn grant(
        &self,
        request: PbLeaseGrantRequest,
        peer: Option<Arc<Peer>>,
        call: Call,
    ) -> Result<PbLeaseGrantResponse, Failed> {
        let store = &self.member.store;
        // etcd, too, grants its shortest time for what is shorter.
        let seconds = u64::try_from(request.ttl).unwrap_or(0).max(1);
        if seconds > MAX_TTL.as_secs() {
            return Err(TTL_TOO_LARGE.into());
        }
        let ttl = Ttl::from_millis(seconds * 1_000)?;
        let room = match &peer {
            Some(peer) => Some(peer.new_lease(&**store, call).await?),
            None => None,
        };
        let grant = LeaseGrant { ttl, id: lease_id(request.id) };
        let granted = store.lease_grant(grant, call).await.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Failed::from(LEASE_EXISTS),
            _ => error.into(),
        })?;
        if let Some(room) = room {
            room.granted(granted.id);
        }
        Ok(PbLeaseGrantResponse {
            header: Some(self.member.header(self.member.newest(call).await?)),
            id: lease_number(granted.id),
            ttl: whole_seconds(granted.ttl),
            error: String::new(),
        })
    }

    async fn time_to_live(
        &self,
        request: PbLeaseTimeToLiveRequest,
        call: Call,
    ) -> Result<PbLeaseTimeToLiveResponse, Failed> {
        let response = PbLeaseTimeToLiveResponse {
            header: Some(self.member.header(self.member.newest(call).await?)),
            id: request.id,
            // As etcd says that there is no such lease.
            ttl: -1,
            ..Default::default()
        };
        let Some(id) = lease_id(request.id) else { return Ok(response) };
        match self.member.store.lease_time_to_live(LeaseTimeToLive { id, keys: request.keys }, call).await {
            Ok(status) => Ok(PbLeaseTimeToLiveResponse {
                ttl: number(status.remaining.as_secs()),
                granted_ttl: whole_seconds(status.granted),
                keys: status.keys.into_iter().map(Into::into).collect(),
                ..response
            }),
            Err(error) if error.kind() == ErrorKind::LeaseNotFound => Ok(response),
            Err(error) => Err(error.into()),
        }
    }
}

/// A stream of keep-alives: each request is answered in its turn.
struct Keeper {
    member: Arc<Member>,
    requests: Streaming<PbLeaseKeepAliveRequest>,
    draining: BoxFuture<'static, ()>,
    _open: Option<OpenStream>,
}

impl Keeper {
    async fn next(&mut self) -> Option<Result<PbLeaseKeepAliveResponse, Status>> {
        let request = tokio::select! {
            () = &mut self.draining => return Some(Err(STOPPED.into())),
            request = self.requests.message() => request.transpose()?,
        };
        let kept = match request {
            Ok(request) => kept(&self.member, request.id).await.map_err(Status::from),
            Err(status) => Err(status),
        };
        Some(kept)
    }
}

async fn kept(member: &Member, lease: i64) -> Result<PbLeaseKeepAliveResponse, Failed> {
    let call = member.call_within();
    let left = match lease_id(lease) {
        Some(id) => member.store.lease_keep_alive(vec![id], call).await?.pop().flatten(),
        None => None,
    };
    Ok(PbLeaseKeepAliveResponse {
        header: Some(member.header(member.newest(call).await?)),
        id: lease,
        // 0 says that there is no such lease.
        ttl: left.map_or(0, whole_seconds),
    })
}

/// The seconds of a lease that lives, which are never none.
fn whole_seconds(ttl: Duration) -> i64 {
    number(ttl.as_secs().max(1))
}
