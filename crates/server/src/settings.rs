use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use norikv_core::{Error, Limits, NodeAddress, Result};
use norikv_tls::ServerTls;

/// How a server serves. Every bound has a default that suits one machine.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address that clients are told to come to, `host:port`. Without one a client is told the address by
    /// which it came, which is right behind port mappings and proxies too.
    pub advertise: Option<String>,
    /// The name of this node in the cluster view.
    pub node_id: String,
    /// The most connections at a time; those above are refused.
    pub max_connections: usize,
    /// The most calls under way at a time on one connection; a client holds back those above.
    pub max_concurrent_streams: u32,
    /// The most watches open at a time on one connection. Each is a call under way, too.
    pub max_watches_per_connection: usize,
    /// The most leases alive at a time that were granted over one connection.
    pub max_leases_per_connection: usize,
    /// How long a call may take that brings no deadline of its own.
    pub request_timeout: Duration,
    /// The most calls in one batch.
    pub max_batch_ops: usize,
    /// How long a new connection may take until it has said what it speaks: HTTP/2, or HTTP/1.1 for gRPC-Web. With
    /// TLS, its handshake included.
    pub handshake_timeout: Duration,
    /// How long a connection may be silent before it is asked for a sign of life.
    pub keepalive_interval: Duration,
    /// How long the sign of life may take before the connection is closed.
    pub keepalive_timeout: Duration,
    /// How long an HTTP/1.1 connection may be idle between two requests.
    pub idle_timeout: Duration,
    /// The origins of the web pages that may call over gRPC-Web, as browsers write them, like
    /// `https://app.example.com`; `*` is any. Pages that come from the server's own address always may.
    pub cors_origins: Vec<String>,
    /// What TLS is spoken with. Without it, the port speaks plain text.
    pub tls: Option<ServerTls>,
    /// Serve `norikv.v1` and health alone, as existing servers of the protocol do.
    pub norikv_v1_only: bool,
    /// Serve etcd's protocol, too: what its clients call of `KV`, `Watch`, `Lease`, `Maintenance` and `Cluster`.
    pub etcd_api: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7447)),
            advertise: None,
            node_id: "node-1".to_owned(),
            max_connections: 4_096,
            max_concurrent_streams: 256,
            max_watches_per_connection: 256,
            max_leases_per_connection: 100_000,
            request_timeout: Duration::from_secs(30),
            max_batch_ops: Limits::default().max_batch_ops,
            handshake_timeout: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
            cors_origins: Vec::new(),
            tls: None,
            norikv_v1_only: false,
            etcd_api: false,
        }
    }
}

impl ServerSettings {
    /// Refuses what could not serve anybody.
    pub(crate) fn check(&self) -> Result<()> {
        let counts = [
            ("max_connections", self.max_connections as u64),
            ("max_concurrent_streams", u64::from(self.max_concurrent_streams)),
            ("max_watches_per_connection", self.max_watches_per_connection as u64),
            ("max_leases_per_connection", self.max_leases_per_connection as u64),
            ("max_batch_ops", self.max_batch_ops as u64),
        ];
        for (name, count) in counts {
            if count == 0 {
                return Err(Error::invalid_argument(format!("{name} is at least 1; got 0")));
            }
        }
        if self.request_timeout.is_zero() {
            return Err(Error::invalid_argument("request_timeout is more than 0; got 0"));
        }
        if self.node_id.is_empty() {
            return Err(Error::invalid_argument("node_id has at least one character"));
        }
        self.advertise.as_deref().map_or(Ok(()), |address| address.parse::<NodeAddress>().map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_could_not_serve_anybody_are_refused() {
        assert!(ServerSettings::default().check().is_ok());
        let wrong = [
            ServerSettings { max_connections: 0, ..ServerSettings::default() },
            ServerSettings { max_concurrent_streams: 0, ..ServerSettings::default() },
            ServerSettings { max_watches_per_connection: 0, ..ServerSettings::default() },
            ServerSettings { max_leases_per_connection: 0, ..ServerSettings::default() },
            ServerSettings { max_batch_ops: 0, ..ServerSettings::default() },
            ServerSettings { request_timeout: Duration::ZERO, ..ServerSettings::default() },
            ServerSettings { node_id: String::new(), ..ServerSettings::default() },
            ServerSettings { advertise: Some("nowhere".into()), ..ServerSettings::default() },
        ];
        for settings in wrong {
            assert!(settings.check().is_err(), "{settings:?}");
        }
    }
}
