//! The one member of the cluster that etcd's clients see.

use std::{net::SocketAddr, time::Duration};

use etcd_client::proto::PbResponseHeader;
use http::HeaderMap;
use norikv_core::{
    Call, Consistency, Error, KeyRange, NodeAddress, Result, Scan, StoreRef, Version, xxhash64,
};

use crate::{ServerSettings, deadline::call_of, meta::CameBy, phase::PhaseWatch};

use super::convert::revision;

/// What the services have in common.
pub(crate) struct Member {
    pub(crate) store: StoreRef,
    pub(crate) phase: PhaseWatch,
    pub(crate) max_value_bytes: usize,
    pub(crate) name: String,
    pub(crate) id: u64,
    cluster_id: u64,
    advertise: Option<String>,
    local: SocketAddr,
    scheme: &'static str,
    /// How long a call may take that brings no deadline.
    bound: Duration,
}

impl Member {
    pub(crate) fn new(
        store: StoreRef,
        max_value_bytes: usize,
        settings: &ServerSettings,
        local: SocketAddr,
        phase: PhaseWatch,
    ) -> Self {
        Self {
            store,
            phase,
            max_value_bytes,
            // The same after a restart, and different for each node.
            id: xxhash64(settings.node_id.as_bytes()),
            cluster_id: xxhash64(b"norikv"),
            name: settings.node_id.clone(),
            advertise: settings.advertise.clone(),
            local,
            scheme: if settings.tls.is_some() { "https" } else { "http" },
            bound: settings.request_timeout,
        }
    }

    pub(crate) fn call(&self, headers: &HeaderMap) -> Call {
        call_of(headers, self.bound)
    }

    /// The call of something within a stream.
    pub(crate) fn call_within(&self) -> Call {
        Call::with_timeout(self.bound)
    }

    pub(crate) fn header(&self, version: Version) -> PbResponseHeader {
        PbResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.id,
            revision: revision(version),
            raft_term: version.term,
        }
    }

    /// The header of an answer within another: etcd's says the revision and nothing else.
    pub(crate) fn header_within(version: Version) -> PbResponseHeader {
        PbResponseHeader { revision: revision(version), ..Default::default() }
    }

    /// The version that the store is at.
    pub(crate) async fn newest(&self, call: Call) -> Result<Version> {
        self.readable(None, call).await
    }

    /// The version that a read of that version reads at; of the newest, for `None`.
    pub(crate) async fn readable(&self, version: Option<Version>, call: Call) -> Result<Version> {
        let range = KeyRange::single(&bytes::Bytes::from_static(b"\0"));
        let consistency = Consistency::Linearizable;
        let scan = Scan { keys_only: true, version, consistency, ..Scan::new(range) };
        Ok(self.store.scan(scan, call).await?.version)
    }

    /// Where clients reach the member: as it was set up, or as they came.
    pub(crate) fn url(&self, came_by: Option<&CameBy>) -> String {
        let came_by = || {
            let address = came_by?.0.as_str().parse::<NodeAddress>().ok()?;
            Some(address.to_string())
        };
        let address = self.advertise.clone().or_else(came_by).unwrap_or_else(|| self.local.to_string());
        format!("{}://{address}", self.scheme)
    }
}

/// The refusal of what etcd has and this server does not.
pub(crate) fn not_here(what: &str) -> Error {
    Error::new(
        norikv_core::ErrorKind::Unsupported,
        format!(
            "{what} is not among what this NoriKV server answers of etcd's API: keys, transactions, watches, leases, Maintenance.Status and Cluster.MemberList"
        ),
    )
}
