//! Leases. Who keeps one alive is above the store.

use std::{sync::Arc, time::Duration};

use norikv_core::{
    Call, Error, ErrorKind, FieldName, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus, LeaseTimeToLive,
    MAX_KEEP_ALIVES, Result, Version,
};
use norikv_proto::ext;

use crate::{
    calls::{AnyCall, on_any},
    core::Core,
    remote::confused,
    transport::Transport,
};

const WHAT: &str = "keep leases";

pub(crate) async fn grant<T: Transport>(
    core: &Arc<Core<T>>,
    request: LeaseGrant,
    call: Call,
) -> Result<LeaseGranted> {
    let chosen = request.id.map_or(0, LeaseId::get);
    let message = ext::LeaseGrantRequest { ttl_ms: request.ttl.as_millis(), id: chosen };
    // One whose reply was lost runs out unused; only where its id was chosen does it stand in its own way.
    let ask = AnyCall {
        write: request.id.is_some(),
        ..AnyCall::read("/norikv.ext.v1.Lease/Grant", &message, WHAT)
    };
    let granted: ext::LeaseGrantResponse = on_any(core, ask, call).await?;
    let id = LeaseId::new(granted.id).ok_or_else(|| confused("lease's grant"))?;
    if request.id.is_some_and(|chosen| chosen != id) {
        revoke(core, id, call).await?;
        return Err(Error::new(ErrorKind::Unsupported, "this server chooses the ids of leases itself"));
    }
    Ok(LeaseGranted { id, ttl: Duration::from_millis(granted.ttl_ms) })
}

pub(crate) async fn keep_alive<T: Transport>(
    core: &Arc<Core<T>>,
    ids: Vec<LeaseId>,
    call: Call,
) -> Result<Vec<Option<Duration>>> {
    if ids.len() > MAX_KEEP_ALIVES {
        return Err(Error::invalid_argument(format!(
            "a keep-alive names at most {MAX_KEEP_ALIVES} leases; this one names {}",
            ids.len()
        )));
    }
    let count = ids.len();
    let message = ext::LeaseKeepAliveRequest { ids: ids.into_iter().map(LeaseId::get).collect() };
    let ask = AnyCall::read("/norikv.ext.v1.Lease/KeepAlive", &message, WHAT);
    let kept: ext::LeaseKeepAliveResponse = on_any(core, ask, call).await?;
    if kept.ttl_ms.len() != count {
        return Err(confused("keep-alive"));
    }
    Ok(kept.ttl_ms.into_iter().map(|millis| (millis > 0).then(|| Duration::from_millis(millis))).collect())
}

pub(crate) async fn revoke<T: Transport>(core: &Arc<Core<T>>, id: LeaseId, call: Call) -> Result<Version> {
    let message = ext::LeaseRevokeRequest { id: id.get() };
    let ask = AnyCall { write: true, ..AnyCall::read("/norikv.ext.v1.Lease/Revoke", &message, WHAT) };
    match on_any::<_, ext::LeaseRevokeResponse>(core, ask, call).await {
        Ok(revoked) => Ok(revoked.version.map_or(Version::ZERO, Version::from)),
        // An attempt before may have done it; either way the lease is gone, as was asked.
        Err(error)
            if error.kind() == ErrorKind::LeaseNotFound && error.field(FieldName::Outcome).is_some() =>
        {
            Ok(Version::ZERO)
        }
        Err(error) => Err(error),
    }
}

pub(crate) async fn time_to_live<T: Transport>(
    core: &Arc<Core<T>>,
    request: LeaseTimeToLive,
    call: Call,
) -> Result<LeaseStatus> {
    let message = ext::LeaseTimeToLiveRequest { id: request.id.get(), keys: request.keys };
    let ask = AnyCall::read("/norikv.ext.v1.Lease/TimeToLive", &message, WHAT);
    let left: ext::LeaseTimeToLiveResponse = on_any(core, ask, call).await?;
    Ok(LeaseStatus {
        id: request.id,
        granted: Duration::from_millis(left.granted_ms),
        remaining: Duration::from_millis(left.remaining_ms),
        keys: left.keys,
    })
}

pub(crate) async fn list<T: Transport>(core: &Arc<Core<T>>, call: Call) -> Result<Vec<LeaseId>> {
    let ask = AnyCall::read("/norikv.ext.v1.Lease/List", &ext::LeaseListRequest {}, WHAT);
    let list: ext::LeaseListResponse = on_any(core, ask, call).await?;
    Ok(list.ids.into_iter().filter_map(LeaseId::new).collect())
}
