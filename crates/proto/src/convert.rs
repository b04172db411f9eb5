use bytes::Bytes;
use norikv_core::{
    ClusterNode, ClusterView, Consistency, Durability, Entry, Error, KeyRange, LeaseId, Limits, Precondition,
    Result, ShardInfo, ShardReplica, Sizes, Status, VectorStatus, Version,
};

use crate::{ext, v1};

impl From<Version> for v1::Version {
    fn from(version: Version) -> Self {
        Self { term: version.term, index: version.index }
    }
}

impl From<v1::Version> for Version {
    fn from(version: v1::Version) -> Self {
        Self::new(version.term, version.index)
    }
}

/// An entry for the wire, with its key.
#[must_use]
pub fn entry_to_wire(entry: Entry) -> ext::Entry {
    ext::Entry {
        key: entry.key,
        value: entry.value,
        version: Some(entry.version.into()),
        create_version: Some(entry.create_version.into()),
        generation: entry.generation,
        lease: entry.lease.map_or(0, LeaseId::get),
        expires_at_ms: entry.expires_at.unwrap_or(0),
    }
}

/// An entry from the wire. `key` is the key that was asked for, where the answer does not repeat it.
#[must_use]
pub fn entry_from_wire(entry: ext::Entry, key: Option<&Bytes>) -> Entry {
    let version = entry.version.map_or(Version::ZERO, Version::from);
    Entry {
        key: match key {
            Some(key) => key.clone(),
            None => entry.key,
        },
        value: entry.value,
        version,
        create_version: entry.create_version.map_or(version, Version::from),
        generation: entry.generation,
        lease: LeaseId::new(entry.lease),
        expires_at: (entry.expires_at_ms != 0).then_some(entry.expires_at_ms),
    }
}

/// The word that every server of the protocol takes.
#[must_use]
pub const fn consistency_to_wire(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Lease => "",
        Consistency::Linearizable => "strong",
        Consistency::StaleOk => "eventual",
    }
}

/// The consistency of a word of either set in use.
///
/// # Errors
/// `InvalidArgument` for any other word.
pub fn consistency_from_wire(word: &str) -> Result<Consistency> {
    match word {
        "" | "lease" => Ok(Consistency::Lease),
        "strong" | "linearizable" => Ok(Consistency::Linearizable),
        "eventual" | "bounded_staleness" | "stale_ok" => Ok(Consistency::StaleOk),
        _ => Err(Error::invalid_argument(format!(
            "consistency is \"\", \"strong\", \"eventual\", \"bounded_staleness\", \"lease\", \"linearizable\" or \"stale_ok\"; got {word:?}"
        ))),
    }
}

/// The precondition of `if_match`: term 0 and index 0 is "must not exist".
#[must_use]
pub fn precondition_from_wire(if_match: Option<v1::Version>) -> Precondition {
    match if_match.map(Version::from) {
        None => Precondition::None,
        Some(Version::ZERO) => Precondition::NotExists,
        Some(version) => Precondition::Version(version),
    }
}

/// The `if_match` of a precondition.
#[must_use]
pub fn precondition_to_wire(precondition: Precondition) -> Option<v1::Version> {
    match precondition {
        Precondition::None => None,
        Precondition::NotExists => Some(Version::ZERO.into()),
        Precondition::Version(version) => Some(version.into()),
    }
}

impl From<KeyRange> for ext::Range {
    fn from(range: KeyRange) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// The range of a request; an absent one is every key.
///
/// # Errors
/// `InvalidArgument` if it ends before it starts.
pub fn range_from_wire(range: Option<ext::Range>) -> Result<KeyRange> {
    let range = range.unwrap_or_default();
    KeyRange::new(range.start, range.end)
}

impl From<ClusterView> for v1::ClusterView {
    fn from(view: ClusterView) -> Self {
        let node = |node: ClusterNode| v1::ClusterNode { id: node.id, addr: node.addr, role: node.role };
        let replica =
            |replica: ShardReplica| v1::ShardReplica { node_id: replica.node_id, leader: replica.leader };
        let shard = |shard: ShardInfo| v1::ShardInfo {
            id: shard.id,
            replicas: shard.replicas.into_iter().map(replica).collect(),
        };
        Self {
            epoch: view.epoch,
            nodes: view.nodes.into_iter().map(node).collect(),
            shards: view.shards.into_iter().map(shard).collect(),
        }
    }
}

impl From<v1::ClusterView> for ClusterView {
    fn from(view: v1::ClusterView) -> Self {
        let node = |node: v1::ClusterNode| ClusterNode { id: node.id, addr: node.addr, role: node.role };
        let replica =
            |replica: v1::ShardReplica| ShardReplica { node_id: replica.node_id, leader: replica.leader };
        let shard = |shard: v1::ShardInfo| ShardInfo {
            id: shard.id,
            replicas: shard.replicas.into_iter().map(replica).collect(),
        };
        Self {
            epoch: view.epoch,
            nodes: view.nodes.into_iter().map(node).collect(),
            shards: view.shards.into_iter().map(shard).collect(),
        }
    }
}

/// A status for the wire.
#[must_use]
pub fn status_to_wire(status: Status) -> ext::StatusResponse {
    ext::StatusResponse {
        store: status.store,
        features: status.features,
        limits: Some(ext::Limits {
            max_key_bytes: status.limits.max_key_bytes as u64,
            max_value_bytes: status.limits.max_value_bytes as u64,
            max_batch_ops: status.limits.max_batch_ops as u64,
            max_page_entries: status.limits.max_page_entries as u64,
        }),
        version: Some(status.version.into()),
        sizes: Some(ext::Sizes {
            disk_bytes: status.sizes.disk_bytes,
            compact_version: Some(status.sizes.compact_version.into()),
        }),
        durability: status.durability.as_str().to_owned(),
        software: status.software,
        vectors: status.vectors.map(|vectors| ext::VectorStatus {
            indexes: vectors.indexes,
            vectors: vectors.vectors,
            indexed: vectors.indexed,
        }),
    }
}

/// A status from the wire. What an older server does not say is its default.
#[must_use]
pub fn status_from_wire(status: ext::StatusResponse) -> Status {
    let defaults = Limits::default();
    let size = |bytes: u64, default: usize| match usize::try_from(bytes) {
        Ok(0) | Err(_) => default,
        Ok(bytes) => bytes,
    };
    let limits = status.limits.map_or(defaults, |limits| Limits {
        max_key_bytes: size(limits.max_key_bytes, defaults.max_key_bytes),
        max_value_bytes: size(limits.max_value_bytes, defaults.max_value_bytes),
        max_batch_ops: size(limits.max_batch_ops, defaults.max_batch_ops),
        max_page_entries: size(limits.max_page_entries, defaults.max_page_entries),
    });
    let sizes = status.sizes.unwrap_or_default();
    Status {
        store: status.store,
        features: status.features,
        limits,
        version: status.version.map_or(Version::ZERO, Version::from),
        sizes: Sizes {
            disk_bytes: sizes.disk_bytes,
            compact_version: sizes.compact_version.map_or(Version::ZERO, Version::from),
        },
        durability: Durability::from_word(&status.durability).unwrap_or_default(),
        vectors: status.vectors.map(|vectors| VectorStatus {
            indexes: vectors.indexes,
            vectors: vectors.vectors,
            indexed: vectors.indexed,
        }),
        software: status.software,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use norikv_core::Feature;

    #[test]
    fn both_sets_of_consistency_words_are_understood_and_others_are_not() {
        for (word, expected) in [
            ("", Consistency::Lease),
            ("lease", Consistency::Lease),
            ("strong", Consistency::Linearizable),
            ("linearizable", Consistency::Linearizable),
            ("eventual", Consistency::StaleOk),
            ("bounded_staleness", Consistency::StaleOk),
            ("stale_ok", Consistency::StaleOk),
        ] {
            assert_eq!(consistency_from_wire(word).unwrap(), expected);
        }
        assert!(consistency_from_wire("STRONG").is_err());
    }

    #[test]
    fn preconditions_survive_the_wire() {
        for precondition in
            [Precondition::None, Precondition::NotExists, Precondition::Version(Version::new(1, 7))]
        {
            assert_eq!(precondition_from_wire(precondition_to_wire(precondition)), precondition);
        }
    }

    #[test]
    fn a_status_survives_the_wire() {
        for vectors in [None, Some(VectorStatus { indexes: 2, vectors: 30, indexed: 20 })] {
            let status = Status {
                store: "file".into(),
                features: vec![Feature::Batch.as_str().into(), "new".into()],
                limits: Limits::default(),
                version: Version::new(1, 42),
                sizes: Sizes { disk_bytes: 7, compact_version: Version::new(1, 3) },
                durability: Durability::Relaxed,
                vectors,
                software: "0.1.0".into(),
            };
            assert_eq!(status_from_wire(status_to_wire(status.clone())), status);
        }
    }

    #[test]
    fn an_entry_survives_the_wire_with_and_without_its_key() {
        let entry = Entry {
            key: "k".into(),
            value: "v".into(),
            version: Version::new(1, 7),
            create_version: Version::new(1, 5),
            generation: 2,
            lease: None,
            expires_at: Some(9),
        };
        let mut wire = entry_to_wire(entry.clone());
        assert_eq!(entry_from_wire(wire.clone(), None), entry);
        wire.key = Bytes::new();
        assert_eq!(entry_from_wire(wire, Some(&"k".into())), entry);
    }
}
