//! Where keys are in the cluster: under the prefix of the store, and none of them under the prefix that is ours.
//!
//! | key | value |
//! |---|---|
//! | `\0norikv.idempotency/` idempotency key | the record of a write |
//! | `\0norikv.clusters/map` | which clusters hold which shards, where several are one store |
//! | `\0norikv.clusters/moment/` token | the revisions that moments are told from, where those do not fit into them |

use bytes::Bytes;
use norikv_core::{Error, KeyRange, MAX_KEY_BYTES, Result, check_key};
use xxhash_rust::xxh3::xxh3_128;

/// What the keys begin with that are ours, within the store.
const RESERVED: &[u8] = b"\0norikv.";
const RECORDS: &[u8] = b"\0norikv.idempotency/";
const MAP: &[u8] = b"\0norikv.clusters/map";
const MOMENTS: &[u8] = b"\0norikv.clusters/moment/";

/// How many bytes of an idempotency key are in the key of its record as they are.
const RECORD_BYTES: usize = 512;

/// The keys of a store, as they are in the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: Bytes,
    reserved: KeyRange,
}

impl Keys {
    pub(crate) fn new(prefix: &[u8]) -> Self {
        let reserved = KeyRange::prefix([prefix, RESERVED].concat());
        Self { prefix: Bytes::copy_from_slice(prefix), reserved }
    }

    /// How many bytes of a key the prefix takes.
    pub(crate) fn prefix_len(&self) -> usize {
        self.prefix.len()
    }

    /// The first key that can be of the store: what is asked of a cluster is asked of it, for a user who may have nothing
    /// but what is under the prefix.
    pub(crate) fn first(&self) -> Vec<u8> {
        [&self.prefix[..], b"\0"].concat()
    }

    /// A key in the cluster.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no key, or ours.
    pub(crate) fn outer(&self, key: &[u8]) -> Result<Vec<u8>> {
        check_key(key)?;
        if key.starts_with(RESERVED) {
            return Err(Error::invalid_argument(
                "keys that begin with \"\\0norikv.\" hold what the store itself remembers; use another",
            ));
        }
        let outer = [&self.prefix, key].concat();
        if outer.len() > MAX_KEY_BYTES {
            return Err(Error::invalid_argument(format!(
                "a key has 1 to {MAX_KEY_BYTES} bytes, those of the store's prefix ({}) included; this one has {}",
                self.prefix.len(),
                outer.len()
            )));
        }
        Ok(outer)
    }

    /// A key of the cluster as its user knows it.
    pub(crate) fn inner(&self, key: Vec<u8>) -> Bytes {
        Bytes::from(key).slice(self.prefix.len()..)
    }

    /// The key of the record of an idempotency key.
    pub(crate) fn record(&self, idempotency_key: &str) -> Vec<u8> {
        let (beginning, rest) = idempotency_key.as_bytes().split_at(idempotency_key.len().min(RECORD_BYTES));
        if rest.is_empty() {
            return [&self.prefix, RECORDS, beginning].concat();
        }
        // A server of ours that is spoken to as etcd takes keys of 1,024 bytes; the hash says as much as the rest.
        let hash = xxh3_128(idempotency_key.as_bytes()).to_be_bytes();
        [&self.prefix, RECORDS, beginning, &hash].concat()
    }

    /// The key of the map of clusters.
    pub(crate) fn map(&self) -> Vec<u8> {
        [&self.prefix, MAP].concat()
    }

    /// The key of the revisions that moments are told from.
    pub(crate) fn moment(&self, token: u32) -> Vec<u8> {
        [&self.prefix, MOMENTS, format!("{token:08x}").as_bytes()].concat()
    }

    /// Whether a key of the cluster is one of the store's.
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        key.len() > self.prefix.len() && key.starts_with(&self.prefix)
    }

    /// Whether a key of the cluster is ours, and not a user's.
    pub(crate) fn is_record(&self, key: &[u8]) -> bool {
        self.reserved.contains(key)
    }

    /// A range in the cluster: what is before the records, and what is behind them. Either may be missing.
    pub(crate) fn visible(&self, range: &KeyRange) -> Vec<EtcdRange> {
        if range.is_empty() {
            return Vec::new();
        }
        let outer = if self.prefix.is_empty() { range.clone() } else { range.under(&self.prefix) };
        let parts = if outer.overlaps(&self.reserved) {
            vec![
                KeyRange { start: outer.start.clone(), end: Some(self.reserved.start.clone()) },
                KeyRange {
                    start: self.reserved.end.clone().unwrap_or_default().max(outer.start),
                    end: outer.end,
                },
            ]
        } else {
            vec![outer]
        };
        parts.into_iter().filter(|part| !part.is_empty()).map(EtcdRange::from).collect()
    }

    /// A range in the cluster, records included.
    pub(crate) fn whole(&self, range: &KeyRange) -> EtcdRange {
        let outer = if self.prefix.is_empty() { range.clone() } else { range.under(&self.prefix) };
        outer.into()
    }
}

/// A range as etcd writes it: to the end of all keys is to the key of one zero byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EtcdRange {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
}

impl From<KeyRange> for EtcdRange {
    fn from(range: KeyRange) -> Self {
        // No key is empty, so the first that can be is one zero byte.
        let start = if range.start.is_empty() { vec![0] } else { range.start.to_vec() };
        Self { start, end: range.end.map_or_else(|| vec![0], |end| end.to_vec()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_range_over_the_records_is_what_is_before_and_behind_them() {
        let keys = Keys::new(b"");
        let parts = keys.visible(&KeyRange::all());
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], EtcdRange { start: vec![0], end: RESERVED.to_vec() });
        assert_eq!((parts[1].start.as_slice(), parts[1].end.as_slice()), (&b"\0norikv/"[..], &[0][..]));
        assert_eq!(keys.visible(&KeyRange::prefix("a")).len(), 1);
        assert!(keys.visible(&KeyRange::prefix(RESERVED)).is_empty());
        assert!(keys.visible(&KeyRange::new("a".into(), Some("a".into())).unwrap()).is_empty());
    }

    #[test]
    fn records_are_refused_to_users() {
        let keys = Keys::new(b"app/");
        assert!(keys.outer(&keys.record("x")[4..]).is_err());
        assert_eq!(keys.outer(b"a").unwrap(), b"app/a");
        assert!(keys.outer(&[b'k'; MAX_KEY_BYTES - 4]).is_ok());
        assert!(keys.outer(&[b'k'; MAX_KEY_BYTES - 3]).is_err());
        for ours in [keys.record("x"), keys.map(), keys.moment(7)] {
            assert!(keys.is_record(&ours) && keys.outer(&ours[4..]).is_err());
        }
        assert!(keys.outer(norikv_core::VECTOR_KEY_PREFIX).is_ok());
        assert!(!keys.is_record(b"app/a"));
        let long = |last: &str| keys.record(&["x".repeat(1_023), last.to_owned()].concat());
        assert!(long("y") != long("z") && long("y").len() < 1_024 && keys.is_record(&long("y")));
    }
}
