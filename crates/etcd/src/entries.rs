//! What etcd says of a key, as an [`Entry`].
//!
//! etcd has no time to live but that of leases, so an entry with one has a lease that it shares with what expires in the same
//! second. Which that is, is in the number of the lease, which a client of etcd chooses: readers learn it without asking for each.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use etcd_client::{KeyValue, ResponseHeader};
use norikv_core::{Entry, Error, LeaseId, Result, Version};

use crate::keys::Keys;

/// An etcd cluster has no incarnation.
pub(crate) const TERM: u64 = 1;

/// How many bits of the number of a lease of entries are drawn at random, below the second in which it expires.
const RANDOM_BITS: u32 = 30;

/// The version of a revision.
pub(crate) fn version(revision: i64) -> Version {
    Version::new(TERM, revision.unsigned_abs())
}

/// The version of a reply.
pub(crate) fn header_version(header: Option<&ResponseHeader>) -> Result<Version> {
    header
        .map(|header| version(header.revision()))
        .ok_or_else(|| Error::internal("etcd answered without a header"))
}

/// The revision of a version; `None` for a version that no etcd cluster has.
pub(crate) fn revision(version: Version) -> Option<i64> {
    (version.term == TERM).then(|| i64::try_from(version.index).ok()).flatten()
}

/// The second since the epoch in which something has lived for `ttl`, rounded up.
pub(crate) fn expiry_second(ttl: Duration, now: Duration) -> u64 {
    u64::try_from((now + ttl).as_millis().div_ceil(1_000)).unwrap_or(u64::MAX >> (RANDOM_BITS + 1))
}

/// A lease of entries that expire in a second: its number is below zero, which no other lease's is.
pub(crate) fn ttl_lease(second: u64) -> i64 {
    let second = i64::try_from(second).unwrap_or(i64::MAX).min(i64::MAX >> RANDOM_BITS);
    -((second << RANDOM_BITS) | i64::from(fastrand::u32(0..1 << RANDOM_BITS)))
}

/// The lease of something that somebody holds.
pub(crate) fn user_lease() -> i64 {
    fastrand::i64(1..i64::MAX)
}

/// Whether a lease is one of entries that expire.
pub(crate) fn is_ttl_lease(lease: i64) -> bool {
    lease < 0
}

/// When a lease of entries ends, in milliseconds since the epoch.
fn expires_at(lease: i64) -> u64 {
    (lease.unsigned_abs() >> RANDOM_BITS) * 1_000
}

/// The time of day.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The entry of what etcd has.
pub(crate) fn entry(keys: &Keys, found: KeyValue) -> Entry {
    let (modified, created) = (version(found.mod_revision()), version(found.create_revision()));
    let (generation, lease) = (found.version().unsigned_abs(), found.lease());
    let (key, value) = found.into_key_value();
    Entry {
        key: keys.inner(key),
        value: Bytes::from(value),
        version: modified,
        create_version: created,
        generation,
        lease: u64::try_from(lease).ok().and_then(LeaseId::new),
        expires_at: is_ttl_lease(lease).then(|| expires_at(lease)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_of_an_entry_says_when_it_expires() {
        let now = Duration::from_millis(1_790_000_000_500);
        let lease = ttl_lease(expiry_second(Duration::from_millis(1_200), now));
        assert!(is_ttl_lease(lease));
        assert_eq!(expires_at(lease), 1_790_000_002_000);
        let latest = ttl_lease(expiry_second(Duration::from_secs(10 * 365 * 24 * 3600), now));
        assert_eq!(expires_at(latest), 1_790_000_000_000 + 10 * 365 * 24 * 3600 * 1_000 + 1_000);
    }

    #[test]
    fn a_lease_that_somebody_holds_is_no_entry_s() {
        for _ in 0..1_000 {
            let lease = user_lease();
            assert!(lease > 0 && !is_ttl_lease(lease));
        }
    }
}
