//! The keys of the system table: a tag byte, then what the tag says.
//!
//! | tag | then | value |
//! |---|---|---|
//! | `d` | time u64, kind u8, key | nothing: a deadline |
//! | `g` | lease u64 | the lease's time to live (`lease.rs`) |
//! | `i` | idempotency key | the outcome of a write (`idempotency.rs`) |
//! | `k` | lease u64, key | nothing: the key may belong to the lease; its record says whether it does |
//! | `l` | first revision u64, part u32 | changes in the order of their revisions (`log.rs`) |
//! | `m` | name | a setting of the store itself (`meta.rs`) |
//! | `u` | escaped key, revision u64 | the record that the revision replaced |
//!
//! Numbers are big-endian, so that they sort.

use bytes::Bytes;
use norikv_core::LeaseId;

pub(crate) const DEADLINE: u8 = b'd';
pub(crate) const LEASE: u8 = b'g';
pub(crate) const IDEMPOTENCY: u8 = b'i';
pub(crate) const LEASE_KEY: u8 = b'k';
pub(crate) const LOG: u8 = b'l';
pub(crate) const META: u8 = b'm';
pub(crate) const UNDO: u8 = b'u';

/// Appends a key so that (key, revision) sorts by key first, whatever bytes the key has: a zero byte becomes
/// `00 ff`, and `00 00` ends the key.
fn escape(key: &[u8], into: &mut Vec<u8>) {
    for part in key.split_inclusive(|byte| *byte == 0) {
        into.extend_from_slice(part);
        if part.last() == Some(&0) {
            into.push(0xff);
        }
    }
}

/// The undo row of a key at a revision.
pub(crate) fn undo(key: &[u8], revision: u64) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 16);
    row.push(UNDO);
    escape(key, &mut row);
    row.extend_from_slice(&[0, 0]);
    row.extend_from_slice(&revision.to_be_bytes());
    row
}

/// A bound of undo rows: before every row of `key` and of the keys after it.
pub(crate) fn undo_before(key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 8);
    row.push(UNDO);
    escape(key, &mut row);
    row
}

/// A bound of undo rows: after every row there is.
pub(crate) const UNDO_END: &[u8] = &[UNDO + 1];

/// The key and the revision of an undo row.
pub(crate) fn parse_undo(row: &[u8]) -> Option<(Vec<u8>, u64)> {
    let (tag, rest) = row.split_first()?;
    let (escaped, revision) = rest.split_last_chunk::<8>()?;
    let escaped = escaped.strip_suffix(&[0, 0])?;
    if *tag != UNDO {
        return None;
    }
    let mut key = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter().copied();
    while let Some(byte) = bytes.next() {
        key.push(byte);
        if byte == 0 && bytes.next() != Some(0xff) {
            return None;
        }
    }
    Some((key, u64::from_be_bytes(*revision)))
}

/// The revision of an undo row, without its key.
pub(crate) fn undo_revision(row: &[u8]) -> Option<u64> {
    row.last_chunk::<8>().map(|revision| u64::from_be_bytes(*revision))
}

/// The row of a part of the log.
pub(crate) fn log(first: u64, part: u32) -> [u8; 13] {
    let mut row = [LOG; 13];
    row[1..9].copy_from_slice(&first.to_be_bytes());
    row[9..].copy_from_slice(&part.to_be_bytes());
    row
}

/// A bound of log rows: after every row there is.
pub(crate) const LOG_END: &[u8] = &[LOG + 1];

/// What a deadline is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeadlineKind {
    /// An entry with a time to live.
    Entry = 1,
    /// An idempotency record.
    Idempotency = 2,
}

/// The row of a deadline.
pub(crate) fn deadline(at: u64, kind: DeadlineKind, key: &[u8]) -> Bytes {
    let mut row = Vec::with_capacity(key.len() + 10);
    row.push(DEADLINE);
    row.extend_from_slice(&at.to_be_bytes());
    row.push(kind as u8);
    row.extend_from_slice(key);
    row.into()
}

/// The time, the kind and the key of a deadline. An unknown kind is `None`.
pub(crate) fn parse_deadline(row: &[u8]) -> Option<(u64, DeadlineKind, &[u8])> {
    let (at, rest) = row.strip_prefix(&[DEADLINE])?.split_first_chunk::<8>()?;
    let (kind, key) = rest.split_first()?;
    let kind = match *kind {
        1 => DeadlineKind::Entry,
        2 => DeadlineKind::Idempotency,
        _ => return None,
    };
    Some((u64::from_be_bytes(*at), kind, key))
}

/// The time of a deadline, whatever it is of.
pub(crate) fn deadline_time(row: &[u8]) -> Option<u64> {
    row.strip_prefix(&[DEADLINE])?.first_chunk::<8>().map(|at| u64::from_be_bytes(*at))
}

/// The row of an idempotency record.
pub(crate) fn idempotency(key: &[u8]) -> Bytes {
    [&[IDEMPOTENCY], key].concat().into()
}

/// The row of a lease.
pub(crate) fn lease(id: LeaseId) -> Bytes {
    [&[LEASE][..], &id.get().to_be_bytes()].concat().into()
}

/// The lease of its row.
pub(crate) fn parse_lease(row: &[u8]) -> Option<LeaseId> {
    let id = row.strip_prefix(&[LEASE])?.try_into().ok()?;
    LeaseId::new(u64::from_be_bytes(id))
}

/// The row of a lease's key; before all of them, for no key.
pub(crate) fn lease_key(id: LeaseId, key: &[u8]) -> Bytes {
    [&[LEASE_KEY][..], &id.get().to_be_bytes(), key].concat().into()
}

/// A bound of the rows of a lease's keys: after every one of them.
pub(crate) fn lease_keys_end(id: LeaseId) -> Bytes {
    match LeaseId::new(id.get().wrapping_add(1)) {
        Some(next) => lease_key(next, b""),
        None => Bytes::from_static(&[LEASE_KEY + 1]),
    }
}

/// The key of a row of a lease's key.
pub(crate) fn parse_lease_key(row: &[u8]) -> Option<&[u8]> {
    row.strip_prefix(&[LEASE_KEY])?.split_first_chunk::<8>().map(|(_, key)| key)
}

/// The row of a setting.
pub(crate) fn meta(name: &str) -> Vec<u8> {
    [&[META], name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn undo_rows_sort_by_key_then_revision_and_lead_back_to_them(
            a in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..6),
            b in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..6),
            at in any::<(u64, u64)>(),
        ) {
            prop_assert_eq!(undo(&a, at.0).cmp(&undo(&b, at.1)), (&a, at.0).cmp(&(&b, at.1)));
            prop_assert_eq!(parse_undo(&undo(&a, at.0)), Some((a.clone(), at.0)));
            prop_assert_eq!(undo_revision(&undo(&a, at.0)), Some(at.0));
            if a < b {
                prop_assert!(undo(&a, at.0) < undo_before(&b));
            } else {
                prop_assert!(undo_before(&b) < undo(&a, at.0));
            }
        }
    }

    #[test]
    fn the_keys_of_a_lease_lie_between_its_bounds_and_lead_back() {
        for id in [1, 255, 256, u64::MAX].map(|id| LeaseId::new(id).unwrap()) {
            assert_eq!(parse_lease(&lease(id)), Some(id));
            for key in [&b"\0"[..], b"k", b"\xff\xff"] {
                let row = lease_key(id, key);
                assert!(row > lease_key(id, b"") && row < lease_keys_end(id));
                assert_eq!(parse_lease_key(&row), Some(key));
            }
        }
    }

    #[test]
    fn deadlines_sort_by_time_and_lead_back_to_their_key() {
        let early = deadline(255, DeadlineKind::Idempotency, b"z");
        let late = deadline(256, DeadlineKind::Entry, b"a");
        assert!(early < late);
        assert_eq!(parse_deadline(&late), Some((256, DeadlineKind::Entry, &b"a"[..])));
        assert_eq!(parse_deadline(b"d123"), None);
    }
}
