use crate::{Error, Limits, RequestStats, Result, VectorStatus, Version};

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on disk (fsync), or held by the cluster's quorum.
    #[default]
    Fsync,
    /// Once it is in memory; it is on disk within 100 ms.
    Relaxed,
    /// Never on disk: the store is gone when it closes.
    Memory,
}

impl Durability {
    /// The word for it in settings and in `status()`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Relaxed => "relaxed",
            Self::Memory => "memory",
        }
    }

    /// The durability that a store on disk is set up with.
    ///
    /// # Errors
    /// `InvalidArgument` for any word but `fsync` and `relaxed`.
    pub fn for_disk(word: &str) -> Result<Self> {
        Self::from_word(word).filter(|durability| *durability != Self::Memory).ok_or_else(|| {
            Error::invalid_argument(format!("durability is \"fsync\" or \"relaxed\"; got {word:?}"))
        })
    }

    /// The durability of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Fsync, Self::Relaxed, Self::Memory].into_iter().find(|durability| durability.as_str() == word)
    }
}

/// Something that a store may or may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Scans, counts and many keys at once.
    Range,
    /// Range deletes.
    DeleteRange,
    /// Writes that happen only if the key is not there.
    IfNotExists,
    /// Many calls in one message.
    Batch,
    /// Reads at an old version.
    History,
    /// Transactions.
    Txn,
    /// Leases.
    Lease,
    /// Watches.
    Watch,
    /// Forgetting old history by hand.
    Compact,
    /// Vector indexes.
    Vectors,
}

impl Feature {
    /// Every feature there is.
    pub const ALL: &[Self] = &[
        Self::Range,
        Self::DeleteRange,
        Self::IfNotExists,
        Self::Batch,
        Self::History,
        Self::Txn,
        Self::Lease,
        Self::Watch,
        Self::Compact,
        Self::Vectors,
    ];

    /// The feature's name on the wire and in `status()`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::DeleteRange => "deleteRange",
            Self::IfNotExists => "ifNotExists",
            Self::Batch => "batch",
            Self::History => "history",
            Self::Txn => "txn",
            Self::Lease => "lease",
            Self::Watch => "watch",
            Self::Compact => "compact",
            Self::Vectors => "vectors",
        }
    }
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes on disk; 0 for a store in memory.
    pub disk_bytes: u64,
    /// The oldest version that can still be read.
    pub compact_version: Version,
}

/// What a store says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What holds the data: `memory`, `file`, `norikv.v1`, `etcd`.
    pub store: String,
    /// The names of its features ([`Feature::as_str`]), also those that this client does not know.
    pub features: Vec<String>,
    /// Its limits.
    pub limits: Limits,
    /// Its newest version.
    pub version: Version,
    /// How much it holds.
    pub sizes: Sizes,
    /// When it acknowledges a write.
    pub durability: Durability,
    /// Its vector indexes; `None` if it has no such thing.
    pub vectors: Option<VectorStatus>,
    /// The version of the software that answers.
    pub software: String,
}

impl Status {
    /// Whether the store has a feature.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self.features.iter().any(|name| name == feature.as_str())
    }
}

/// What a client counted of its own work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Nodes that calls can be sent to.
    pub total_nodes: usize,
    /// Connections that are open.
    pub active_connections: usize,
    /// The epoch of the cluster view.
    pub epoch: u64,
    /// Shards whose leader is known.
    pub cached_leaders: usize,
    /// Attempts beyond the first.
    pub retried: u64,
    /// The calls.
    pub requests: RequestStats,
}
