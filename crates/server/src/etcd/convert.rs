//! etcd's keys, ranges, revisions and leases as ours, and back.

use bytes::Bytes;
use etcd_client::proto::PbKeyValue;
use norikv_core::{Entry, KeyRange, LeaseId, MAX_KEY_BYTES, Version};

use super::errors::{EMPTY_KEY, Known};

/// The keys of a request: one, or from `key` up to `end`, or, where that is a zero byte, to the end of all keys. `None` where
/// no key can be among them.
pub(crate) fn keys(key: Vec<u8>, end: &[u8]) -> Result<Option<KeyRange>, Known> {
    Ok(match (key.as_slice(), end) {
        ([], _) => return Err(EMPTY_KEY),
        (key, []) if key.len() > MAX_KEY_BYTES => None,
        (_, []) => Some(KeyRange::single(&Bytes::from(key))),
        // There is no empty key, so everything begins with a zero byte.
        ([0], [0]) => Some(KeyRange::all()),
        (_, [0]) => Some(KeyRange { start: bound(key), end: None }),
        (key, end) if key >= end => None,
        (_, end) => Some(KeyRange { start: bound(key), end: Some(bound(end.to_vec())) }),
    })
}

/// Whether the keys of a request are a single one.
pub(crate) fn is_single(key: &[u8], end: &[u8]) -> bool {
    end.is_empty() || end.split_last() == Some((&0, key)) && !key.is_empty()
}

/// A bound that is longer than any key: the keys behind it are those behind its beginning.
fn bound(mut key: Vec<u8>) -> Bytes {
    if key.len() > MAX_KEY_BYTES + 1 || key.len() == MAX_KEY_BYTES + 1 && key.last() != Some(&0) {
        key.truncate(MAX_KEY_BYTES);
        key.push(0);
    }
    key.into()
}

/// An entry as etcd has it.
pub(crate) fn key_value(entry: Entry) -> PbKeyValue {
    PbKeyValue {
        key: entry.key.into(),
        create_revision: revision(entry.create_version),
        mod_revision: revision(entry.version),
        version: number(entry.generation),
        value: entry.value.into(),
        lease: entry.lease.map_or(0, lease_number),
    }
}

/// The revision of a version.
pub(crate) fn revision(version: Version) -> i64 {
    number(version.index)
}

/// A count, as etcd writes it.
pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A lease by its number, which may be below zero in etcd; `None` is no lease.
pub(crate) const fn lease_id(number: i64) -> Option<LeaseId> {
    LeaseId::new(number.cast_unsigned())
}

/// The number of a lease.
pub(crate) const fn lease_number(id: LeaseId) -> i64 {
    id.get().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &[u8], end: &[u8]) -> Option<KeyRange> {
        keys(key.to_vec(), end).unwrap()
    }

    #[test]
    fn ranges_are_as_etcd_writes_them() {
        assert!(keys(Vec::new(), b"").is_err());
        assert_eq!(range(b"a", b""), Some(KeyRange::single(&Bytes::from_static(b"a"))));
        assert_eq!(range(b"a", b"b"), Some(KeyRange::prefix("a")));
        assert_eq!(range(b"a", b"\0"), Some(KeyRange { start: "a".into(), end: None }));
        assert_eq!(range(b"\0", b"\0"), Some(KeyRange::all()));
        assert_eq!(range(b"b", b"a"), None);
        assert_eq!(range(b"b", b"b"), None);
    }

    #[test]
    fn keys_and_bounds_that_are_longer_than_keys_are_no_error_of_a_reader() {
        assert_eq!(range(&[b'a'; 1_025], b""), None);
        let long = range(&[b'a'; 3_000], &[b'b'; 3_000]).unwrap();
        assert!(long.check().is_ok());
        assert!(!long.contains(&[b'a'; 1_024]) && long.contains(b"ab") && long.contains(&[b'b'; 1_024]));
        let after = range(&[&[b'a'; 1_024][..], b"\0"].concat(), b"\0").unwrap();
        assert!(!after.contains(&[b'a'; 1_024]));
    }

    #[test]
    fn a_range_of_one_key_is_that_key() {
        assert!(is_single(b"a", b"") && is_single(b"a", b"a\0"));
        assert!(!is_single(b"a", b"b") && !is_single(b"", b"\0"));
    }

    #[test]
    fn numbers_of_leases_below_zero_survive() {
        for number in [1, -1, i64::MIN, i64::MAX] {
            assert_eq!(lease_id(number).map(lease_number), Some(number));
        }
        assert!(lease_id(0).is_none());
    }
}
