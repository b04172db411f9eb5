//! What of an entry travels.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use norikv_core::{Entry, MAX_TTL, Put, Result, Ttl};

/// Within what time of its end an entry may be gone at one store and not at the other: stores count in whole seconds and tidy up
/// now and then.
const ENDING: Duration = Duration::from_secs(3);
/// How much earlier the target's entry may end than the source's, by the clocks of different machines.
const EARLY: Duration = Duration::from_secs(1);
/// How much later: by a rounding to whole seconds, and the time that a write took.
const LATE: Duration = Duration::from_secs(5);

/// What stores keep for themselves among their entries, and what a copy notes. None of it travels: records of idempotency keys of
/// vectors, marks for their views, notes of copies.
const OWN: [&[u8]; 3] = [b"\0norikv/a", b"\0norikv/m", super::note::PREFIX];

/// Whether a key is one that does not travel.
pub(crate) fn is_own(key: &[u8]) -> bool {
    OWN.iter().any(|prefix| key.starts_with(prefix))
}

/// What the target is to have under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) value: Bytes,
    pub(crate) expires_at: Option<u64>,
}

/// What is to become of an entry of the source.
pub(crate) enum Fate {
    /// It is to be in the target.
    Copied(Wanted),
    /// It belongs to somebody's lease, and is left out.
    Leased,
    /// Its time has run out.
    Expired,
}

/// The time of day in milliseconds.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// What is to become of an entry of the source.
pub(crate) fn fate(entry: &Entry, now: u64) -> Fate {
    if entry.lease.is_some() {
        return Fate::Leased;
    }
    if entry.expires_at.is_some_and(|at| at <= now) {
        return Fate::Expired;
    }
    Fate::Copied(Wanted { value: entry.value.clone(), expires_at: entry.expires_at })
}

impl Wanted {
    /// The put that makes it so; nothing, if its time has run out meanwhile.
    pub(crate) fn put(&self, key: &Bytes) -> Result<Option<Put>> {
        let mut put = Put::new(key.clone(), self.value.clone());
        if let Some(at) = self.expires_at {
            let most = u64::try_from(MAX_TTL.as_millis()).unwrap_or(u64::MAX);
            let left = at.saturating_sub(now()).min(most);
            if left == 0 {
                return Ok(None);
            }
            put.ttl = Some(Ttl::from_millis(left)?);
        }
        Ok(Some(put))
    }

    /// Whether an entry of the target is what is wanted.
    pub(crate) fn is(&self, entry: &Entry) -> bool {
        entry.value == self.value
            && entry.lease.is_none()
            && match (self.expires_at, entry.expires_at) {
                (None, None) => true,
                (Some(wanted), Some(found)) => {
                    found.saturating_add(millis(EARLY)) >= wanted
                        && found <= wanted.saturating_add(millis(LATE))
                }
                _ => false,
            }
    }
}

/// Whether something that expires then may be gone by now.
pub(crate) fn is_ending(expires_at: Option<u64>, now: u64) -> bool {
    expires_at.is_some_and(|at| at <= now.saturating_add(millis(ENDING)))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use norikv_core::{LeaseId, Version};

    use super::*;

    fn entry(value: &'static str, expires_at: Option<u64>) -> Entry {
        Entry {
            key: "k".into(),
            value: value.into(),
            version: Version::new(1, 2),
            create_version: Version::new(1, 2),
            generation: 1,
            lease: None,
            expires_at,
        }
    }

    #[test]
    fn an_entry_with_a_lease_is_left_out_and_one_whose_time_is_over_is_gone() {
        let leased = Entry { lease: LeaseId::new(1), ..entry("v", None) };
        assert!(matches!(fate(&leased, 5), Fate::Leased));
        assert!(matches!(fate(&entry("v", Some(5)), 5), Fate::Expired));
        assert!(matches!(fate(&entry("v", Some(6)), 5), Fate::Copied(_)));
    }

    #[test]
    fn a_put_has_what_is_left_of_the_time() {
        let wanted = Wanted { value: "v".into(), expires_at: Some(now() + 60_000) };
        let ttl = wanted.put(&"k".into()).unwrap().unwrap().ttl.unwrap().as_millis();
        assert!((55_000..=60_000).contains(&ttl));
        assert!(Wanted { expires_at: Some(now()), ..wanted }.put(&"k".into()).unwrap().is_none());
    }

    #[test]
    fn times_to_live_differ_by_what_rounding_and_clocks_make_and_no_more() {
        let wanted = Wanted { value: "v".into(), expires_at: Some(100_000) };
        for (found, same) in [
            (Some(99_000), true),
            (Some(105_000), true),
            (Some(98_999), false),
            (Some(105_001), false),
            (None, false),
        ] {
            assert_eq!(wanted.is(&entry("v", found)), same, "{found:?}");
        }
        assert!(!wanted.is(&entry("w", Some(100_000))));
        assert!(!Wanted { expires_at: None, ..wanted }.is(&entry("v", Some(100_000))));
    }

    #[test]
    fn what_stores_keep_for_themselves_does_not_travel() {
        for key in [&b"\0norikv/a\x01"[..], b"\0norikv/m", b"\0norikv/copy/"] {
            assert!(is_own(key));
        }
        for key in [&b"\0norikv/dindex"[..], b"\0norikv/v\0\0", b"user"] {
            assert!(!is_own(key));
        }
    }
}
