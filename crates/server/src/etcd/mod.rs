//! etcd's protocol, over any store: what `etcdctl` and the clients of every language speak.
//!
//! The names and numbers of its messages come from the crate `etcd-client`. A request goes from [`Etcd`] to one of the services
//! (`kv`, `watch`, `lease`, `maintenance`, `cluster`), which say in the store's words what etcd's say (`range`, `plan`, `steps`,
//! `txn`, `follower`, `convert`), and back, or through `errors`.

mod cluster;
mod convert;
mod errors;
mod follower;
mod kv;
mod lease;
mod maintenance;
mod member;
mod plan;
mod range;
mod steps;
mod txn;
mod watch;

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use etcd_client::proto::{PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer};
use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use norikv_core::StoreRef;
use tonic::{
    Status,
    body::Body,
    codegen::{Service as _, StdError},
};

use crate::{ServerSettings, meta::CameBy, peer::Peer, phase::PhaseWatch};

use self::{
    cluster::ClusterService,
    errors::{Failed, TIMEOUT, TOO_LARGE},
    kv::KvService,
    lease::LeaseService,
    maintenance::MaintenanceService,
    member::{Member, not_here},
    watch::WatchService,
};

/// What the paths of all of etcd's own services begin with.
const PACKAGE: &str = "etcdserverpb.";
/// The most bytes of a request that has no value.
const REQUEST_BYTES: usize = 16 * 1024;

/// The services that are there.
pub(crate) const SERVICES: [&str; 5] = [
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Cluster",
];

/// etcd's services.
pub(crate) struct Etcd {
    kv: PbKvServer<KvService>,
    watch: PbWatchServer<WatchService>,
    lease: PbLeaseServer<LeaseService>,
    maintenance: PbMaintenanceServer<MaintenanceService>,
    cluster: PbClusterServer<ClusterService>,
}

impl Etcd {
    /// `many`: the most bytes of a transaction.
    pub(crate) fn new(
        store: StoreRef,
        max_value_bytes: usize,
        many: usize,
        settings: &ServerSettings,
        local: SocketAddr,
        phase: PhaseWatch,
    ) -> Self {
        let member = Arc::new(Member::new(store, max_value_bytes, settings, local, phase));
        let of = || Arc::clone(&member);
        Self {
            kv: PbKvServer::new(KvService { member: of() }).max_decoding_message_size(many),
            watch: PbWatchServer::new(WatchService { member: of() }).max_decoding_message_size(REQUEST_BYTES),
            lease: PbLeaseServer::new(LeaseService { member: of() }).max_decoding_message_size(REQUEST_BYTES),
            maintenance: PbMaintenanceServer::new(MaintenanceService { member: of() })
                .max_decoding_message_size(REQUEST_BYTES),
            cluster: PbClusterServer::new(ClusterService { member: of() })
                .max_decoding_message_size(REQUEST_BYTES),
        }
    }

    /// Whether a service is one of etcd's.
    pub(crate) fn has(service: &str) -> bool {
        service.starts_with(PACKAGE)
    }

    /// Begins to answer a request to a service.
    pub(crate) fn call<B>(
        &self,
        service: &str,
        mut request: Request<B>,
        peer: &Arc<Peer>,
        came_by: Option<CameBy>,
    ) -> BoxFuture<'static, Result<Response<Body>, Infallible>>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send + 'static,
    {
        request.extensions_mut().insert(Arc::clone(peer));
        if let Some(came_by) = came_by {
            request.extensions_mut().insert(came_by);
        }
        match service.strip_prefix(PACKAGE) {
            Some("KV") => self.kv.clone().call(request),
            Some("Watch") => self.watch.clone().call(request),
            Some("Lease") => self.lease.clone().call(request),
            Some("Maintenance") => self.maintenance.clone().call(request),
            Some("Cluster") => self.cluster.clone().call(request),
            _ => {
                let status = Status::from(Failed::from(not_here(request.uri().path())));
                std::future::ready(Ok(status.into_http())).boxed()
            }
        }
    }
}

/// The status of a request whose time ran out.
pub(crate) fn timed_out() -> Status {
    TIMEOUT.into()
}

/// The status of a request that is too large to be read.
pub(crate) fn too_large() -> Status {
    TOO_LARGE.into()
}
