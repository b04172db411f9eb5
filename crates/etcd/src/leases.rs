//! Leases that somebody holds.

use std::time::Duration;

use etcd_client::LeaseTimeToLiveOptions;
use futures_util::future::try_join_all;
use norikv_core::{
    Call, Error, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus, LeaseTimeToLive, MAX_KEEP_ALIVES, Result,
    Version,
};

use crate::{
    connection::Ask,
    entries::user_lease,
    store::Inner,
    writes::{lease_error, lease_number},
};

/// How many leases are kept alive beside each other.
const BESIDE: usize = 64;

impl Inner {
    pub(crate) async fn lease_grant(&self, request: LeaseGrant, call: Call) -> Result<LeaseGranted> {
        let ttl = request.ttl.as_duration();
        let (id, ttl) = match request.id {
            None => self.grant(user_lease, ttl, call).await?,
            Some(id) => {
                let number = i64::try_from(id.get()).map_err(|_| {
                    Error::invalid_argument(format!(
                        "lease {id} cannot be had: on etcd, the ids of leases are below 2^63"
                    ))
                })?;
                self.grant_as(number, ttl, true, call).await?
            }
        };
        let id = LeaseId::new(id.unsigned_abs()).ok_or_else(|| Error::internal("etcd granted lease 0"))?;
        Ok(LeaseGranted { id, ttl })
    }

    pub(crate) async fn lease_keep_alive(
        &self,
        ids: Vec<LeaseId>,
        call: Call,
    ) -> Result<Vec<Option<Duration>>> {
        if ids.len() > MAX_KEEP_ALIVES {
            return Err(Error::invalid_argument(format!(
                "at most {MAX_KEEP_ALIVES} leases are kept alive at once; got {}",
                ids.len()
            )));
        }
        let mut times = Vec::with_capacity(ids.len());
        for part in ids.chunks(BESIDE) {
            times.extend(try_join_all(part.iter().map(|id| self.keep_alive(*id, call))).await?);
        }
        Ok(times)
    }

    async fn keep_alive(&self, id: LeaseId, call: Call) -> Result<Option<Duration>> {
        let Ok(number) = lease_number(id) else { return Ok(None) };
        let answer = self
            .connection
            .ask(Ask::Repeatable, call, |client| async move {
                let kept = client.lease_client().keep_alive(number).await;
                match kept {
                    // The first reply of the stream was awaited; it says nothing but that the lease lives.
                    Ok((mut keeper, mut replies)) => {
                        keeper.keep_alive().await?;
                        Ok(replies.message().await?.map_or(0, |reply| reply.ttl()))
                    }
                    // Of a lease that is not there, the client has no other error.
                    Err(etcd_client::Error::LeaseKeepAliveError(_)) => Ok(0),
                    Err(error) => Err(error),
                }
            })
            .await?;
        Ok((answer.value > 0).then(|| Duration::from_secs(answer.value.unsigned_abs())))
    }

    pub(crate) async fn lease_revoke(&self, id: LeaseId, call: Call) -> Result<Version> {
        self.revoke(lease_number(id)?, call).await.map_err(|error| lease_error(error, Some(id)))
    }

    pub(crate) async fn lease_time_to_live(
        &self,
        request: LeaseTimeToLive,
        call: Call,
    ) -> Result<LeaseStatus> {
        let number = lease_number(request.id)?;
        let mut options = LeaseTimeToLiveOptions::new();
        if request.keys {
            options = options.with_keys();
        }
        let answer = self
            .connection
            .ask(Ask::Read, call, |client| {
                let options = options.clone();
                async move { client.lease_client().time_to_live(number, Some(options)).await }
            })
            .await
            .map_err(|error| lease_error(error, Some(request.id)))?;
        let status = answer.value;
        // etcd answers -1 for a lease that is not there.
        if status.ttl() < 0 {
            return Err(Error::lease_not_found(request.id));
        }
        let mut keys: Vec<_> = status
            .keys()
            .iter()
            .filter(|key| self.keys.holds(key) && !self.keys.is_record(key))
            .map(|key| self.keys.inner(key.clone()))
            .collect();
        keys.sort_unstable();
        Ok(LeaseStatus {
            id: request.id,
            granted: Duration::from_secs(status.granted_ttl().unsigned_abs()),
            remaining: Duration::from_secs(status.ttl().unsigned_abs()),
            keys,
        })
    }

    pub(crate) async fn leases(&self, call: Call) -> Result<Vec<LeaseId>> {
        let answer = self
            .connection
            .ask(Ask::Read, call, |client| async move { client.lease_client().leases().await })
            .await?;
        let mut ids: Vec<LeaseId> = answer
            .value
            .leases()
            .iter()
            .filter_map(|status| u64::try_from(status.id()).ok().and_then(LeaseId::new))
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }
}
