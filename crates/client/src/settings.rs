use std::time::Duration;

use norikv_core::{DEFAULT_TOTAL_SHARDS, Error, NodeAddress, Result, RetryPolicy};

/// How a [`RemoteStore`](crate::RemoteStore) reaches its servers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers to begin with; more are learnt from them.
    pub nodes: Vec<NodeAddress>,
    /// How many shards the cluster has.
    pub total_shards: u32,
    /// How often, and after what waits, a call is tried.
    pub retry: RetryPolicy,
    /// Whether to follow the cluster's nodes and leaders. Without it, only `nodes` are used.
    pub watch_cluster: bool,
    /// The most connections to one node.
    pub max_connections_per_node: usize,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// Sent as `authorization: Bearer …`.
    pub token: Option<String>,
    /// What TLS is spoken with at `https://` addresses, if not with what the system trusts.
    #[cfg(feature = "http2")]
    pub tls: Option<norikv_tls::ClientTls>,
    /// What bounds the batches.
    pub batch: BatchLimits,
}

/// What bounds the messages that calls travel in, and the queue in which they gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The most calls in one message; a server's own limit counts where it is lower.
    pub max_ops: usize,
    /// A message takes no further call once it has this many bytes.
    pub max_bytes: usize,
    /// The most calls that wait; further ones are refused with `ResourceExhausted`.
    pub max_queued_ops: usize,
    /// The most bytes that wait; further calls are refused with `ResourceExhausted`.
    pub max_queued_bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            max_ops: 1_024,
            max_bytes: 1024 * 1024,
            max_queued_ops: 100_000,
            max_queued_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            total_shards: DEFAULT_TOTAL_SHARDS,
            retry: RetryPolicy::default(),
            watch_cluster: true,
            max_connections_per_node: 1,
            connect_timeout: Duration::from_secs(2),
            token: None,
            #[cfg(feature = "http2")]
            tls: None,
            batch: BatchLimits::default(),
        }
    }
}

impl Settings {
    /// The default settings for some servers.
    #[must_use]
    pub fn for_nodes(nodes: Vec<NodeAddress>) -> Self {
        Self { nodes, ..Self::default() }
    }

    /// Whether TLS is spoken. It is with all servers, or with none: a call may go to any of them.
    #[cfg(feature = "http2")]
    pub(crate) fn speaks_tls(&self) -> Result<bool> {
        let encrypted = self.nodes.iter().filter(|node| node.tls()).count();
        if encrypted == 0 && self.tls.is_some() {
            return Err(Error::invalid_argument(
                "tls is given, and the addresses say plain text; write https://host:port, or leave tls away",
            ));
        }
        if encrypted > 0 && encrypted < self.nodes.len() {
            return Err(Error::invalid_argument(
                "some of the nodes are reached with https:// and some without; a client speaks TLS with all of them or with none",
            ));
        }
        Ok(encrypted > 0)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::invalid_argument(what));
        if self.nodes.is_empty() {
            return wrong("no node is given; name at least one server as host:port");
        }
        if self.total_shards == 0 {
            return wrong("totalShards is 0; it is the number of shards the cluster has, 1024 by default");
        }
        if self.max_connections_per_node == 0 || self.batch.max_ops == 0 || self.batch.max_queued_ops == 0 {
            return wrong("maxConnectionsPerNode and the batch limits are at least 1");
        }
        if self.token.as_ref().is_some_and(|token| !token.bytes().all(|byte| (0x21..0x7f).contains(&byte))) {
            return wrong("the token has a character that a header cannot carry; use visible ASCII");
        }
        Ok(())
    }
}
