//! Leases over all clusters: one id, granted, kept alive and ended in each of them.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use norikv_core::{
    Call, Error, ErrorKind, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus, LeaseTimeToLive, Result,
    Store as _, Version,
};

use crate::{
    clusters::store::Clusters,
    entries::user_lease,
    writes::{NUMBERS, lease_number},
};

impl Clusters {
    /// Grants a lease in all clusters, or in none as far as can be: what is granted in one that cannot be reached runs out by itself.
    pub(crate) async fn lease_grant(&self, request: LeaseGrant, call: Call) -> Result<LeaseGranted> {
        let mut taken = 0;
        loop {
            // What is chosen for one is chosen for all.
            let id = request.id.or_else(|| LeaseId::new(user_lease().unsigned_abs()));
            let grants = self.each().map(|store| store.lease_grant(LeaseGrant { id, ..request }, call));
            let granted = join_all(grants).await;
            let Some(error) = granted.iter().find_map(|granted| granted.as_ref().err()).cloned() else {
                // Each counts for itself; whoever holds it counts with the least.
                let least = granted.into_iter().flatten().min_by_key(|granted| granted.ttl);
                return least.ok_or_else(|| Error::internal("there is no cluster"));
            };
            let mine =
                self.each().zip(granted).filter_map(|(store, granted)| Some((store, granted.ok()?.id)));
            // Only what was granted here: of an id that is taken, the lease is somebody's.
            join_all(mine.map(|(store, id)| store.lease_revoke(id, call))).await;
            if request.id.is_some() || error.kind() != ErrorKind::InvalidArgument || taken >= NUMBERS {
                return Err(error);
            }
            taken += 1;
        }
    }

    /// A lease that any cluster has lost is lost, and is ended in the others.
    pub(crate) async fn lease_keep_alive(
        &self,
        ids: Vec<LeaseId>,
        call: Call,
    ) -> Result<Vec<Option<Duration>>> {
        let mut times: Vec<Option<Duration>> = vec![Some(Duration::MAX); ids.len()];
        let mut somewhere = vec![false; ids.len()];
        for told in try_join_all(self.each().map(|store| store.lease_keep_alive(ids.clone(), call))).await? {
            for ((time, somewhere), told) in times.iter_mut().zip(&mut somewhere).zip(told) {
                *somewhere |= told.is_some();
                *time = time.zip(told).map(|(one, other)| one.min(other));
            }
        }
        let lost = ids.iter().zip(&times).zip(somewhere);
        let lost = lost.filter(|((_, time), somewhere)| time.is_none() && *somewhere);
        let numbers: Vec<i64> = lost.filter_map(|((id, _), _)| lease_number(*id).ok()).collect();
        let revokes =
            numbers.iter().flat_map(|number| self.each().map(|store| store.inner().revoke(*number, call)));
        // Whether that succeeds changes nothing for whoever asked: nobody keeps what is left of it alive.
        join_all(revokes).await;
        Ok(times)
    }

    /// The keys go in one revision of each cluster. Its moment is answered.
    pub(crate) async fn lease_revoke(&self, id: LeaseId, call: Call) -> Result<Version> {
        let revoked = join_all(self.each().map(|store| store.lease_revoke(id, call))).await;
        let mut versions = Vec::with_capacity(revoked.len());
        let (mut done, mut missing) = (false, None);
        for (store, revoked) in self.each().zip(revoked) {
            match revoked {
                Ok(version) => {
                    done = true;
                    versions.push(version);
                }
                // A revoke whose reply was lost, or one that did not reach all, has been here.
                Err(error) if error.kind() == ErrorKind::LeaseNotFound => {
                    missing = Some(error);
                    versions.push(store.inner().current(call).await?);
                }
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if !done => Err(error),
            _ => self.moment(versions, call).await,
        }
    }

    pub(crate) async fn lease_time_to_live(
        &self,
        request: LeaseTimeToLive,
        call: Call,
    ) -> Result<LeaseStatus> {
        let all = try_join_all(self.each().map(|store| store.lease_time_to_live(request, call))).await?;
        let mut keys: Vec<_> = all.iter().flat_map(|status| status.keys.iter().cloned()).collect();
        keys.sort_unstable();
        let least = |time: fn(&LeaseStatus) -> Duration| all.iter().map(time).min().unwrap_or_default();
        Ok(LeaseStatus {
            id: request.id,
            granted: least(|status| status.granted),
            remaining: least(|status| status.remaining),
            keys,
        })
    }

    /// The leases that all clusters have.
    pub(crate) async fn leases(&self, call: Call) -> Result<Vec<LeaseId>> {
        let mut all = try_join_all(self.each().map(|store| store.leases(call))).await?;
        let mut ids = all.pop().unwrap_or_default();
        ids.retain(|id| all.iter().all(|others| others.binary_search(id).is_ok()));
        Ok(ids)
    }
}
