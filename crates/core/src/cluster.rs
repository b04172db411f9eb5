/// What a store knows of its nodes and of who leads which shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// Grows with every change of the view.
    pub epoch: u64,
    /// The nodes.
    pub nodes: Vec<ClusterNode>,
    /// The shards; empty when every node serves every key.
    pub shards: Vec<ShardInfo>,
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// The node's id.
    pub id: String,
    /// Its address, `host:port`.
    pub addr: String,
    /// Its role, as the server names it: `leader`, `follower`, …
    pub role: String,
}

/// A shard and where its copies are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// The shard's number.
    pub id: u32,
    /// Its copies.
    pub replicas: Vec<ShardReplica>,
}

/// One copy of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardReplica {
    /// The node that holds it.
    pub node_id: String,
    /// Whether that node leads the shard.
    pub leader: bool,
}
