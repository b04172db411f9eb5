use std::{str::FromStr, time::Duration};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    Entry, Error, KeyRange, LeaseId, Result, Version,
    limits::{MAX_TTL, check_idempotency_key, check_key, check_value},
};

/// How fresh a read must be.
///
/// ```
/// use norikv_core::Consistency;
/// assert_eq!("stale_ok".parse::<Consistency>()?, Consistency::StaleOk);
/// # Ok::<(), norikv_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// As fresh as a leader that holds its lease.
    #[default]
    Lease,
    /// Never older than any write acknowledged before the call.
    Linearizable,
    /// From any replica; may be old.
    StaleOk,
}

impl FromStr for Consistency {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "lease" => Ok(Self::Lease),
            "linearizable" => Ok(Self::Linearizable),
            "stale_ok" => Ok(Self::StaleOk),
            _ => Err(Error::invalid_argument(format!(
                "consistency is one of \"lease\", \"linearizable\" and \"stale_ok\"; got {word:?}"
            ))),
        }
    }
}

/// How long an entry lives: 1 ms to ten years, checked when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ttl(u64);

impl Ttl {
    /// A time to live of that many milliseconds.
    ///
    /// # Errors
    /// `InvalidArgument` for 0 and for more than ten years.
    pub fn from_millis(millis: u64) -> Result<Self> {
        let max = MAX_TTL.as_millis();
        if millis == 0 || u128::from(millis) > max {
            return Err(Error::invalid_argument(format!(
                "ttlMs is a whole number of milliseconds from 1 to {max} (10 years); got {millis}"
            )));
        }
        Ok(Self(millis))
    }

    /// The time to live in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time to live as a duration.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// What must hold of a key for a write to happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// The key is not there; otherwise `AlreadyExists`.
    NotExists,
    /// The key's current version is this one; otherwise `VersionMismatch`.
    Version(Version),
}

impl Precondition {
    /// The precondition of a caller's two options.
    ///
    /// # Errors
    /// `InvalidArgument` if both are given: no key is both missing and at a version.
    pub fn from_options(if_not_exists: bool, if_match_version: Option<Version>) -> Result<Self> {
        match (if_not_exists, if_match_version) {
            (false, None) => Ok(Self::None),
            (true, None) => Ok(Self::NotExists),
            (false, Some(version)) => Ok(Self::Version(version)),
            (true, Some(_)) => Err(Error::invalid_argument(
                "ifNotExists and ifMatchVersion exclude each other: give one of them",
            )),
        }
    }

    /// Refuses the version that no entry has: on the wire it stands for "not there", so that a store behind a
    /// server would take it for the opposite of what it says.
    fn check(self) -> Result<()> {
        match self {
            Self::Version(Version::ZERO) => Err(Error::invalid_argument(
                "no key is ever at version 0.0; use ifNotExists to write only if the key is missing",
            )),
            _ => Ok(()),
        }
    }
}

/// Reads one key.
#[derive(Clone, Debug)]
pub struct Get {
    /// The key.
    pub key: Bytes,
    /// How fresh the answer must be.
    pub consistency: Consistency,
}

/// Reads many keys from one snapshot.
#[derive(Clone, Debug)]
pub struct GetMany {
    /// The keys, in the order of the answer; a key may stand twice.
    pub keys: Vec<Bytes>,
    /// How fresh the answer must be.
    pub consistency: Consistency,
}

/// Writes one key.
#[derive(Clone, Debug, Default)]
pub struct Put {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// How long the entry lives; without one it stays, and an earlier one is cleared.
    pub ttl: Option<Ttl>,
    /// The lease it belongs to: the entry goes when that ends. Without one, an earlier one is left.
    pub lease: Option<LeaseId>,
    /// What must hold for the write to happen.
    pub precondition: Precondition,
    /// Makes the write happen once, however often it is sent.
    pub idempotency_key: Option<String>,
    /// Whether to answer the entry that was there before.
    pub prev_entry: bool,
}

impl Put {
    /// A plain put.
    #[must_use]
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: value.into(), ..Self::default() }
    }

    /// Refuses what no store may write.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self, max_value_bytes: usize) -> Result<()> {
        check_key(&self.key)?;
        check_value(&self.value, max_value_bytes)?;
        if self.ttl.is_some() && self.lease.is_some() {
            return Err(Error::invalid_argument(
                "ttlMs and lease exclude each other: the entry goes at its own time, or with its lease; give one of them",
            ));
        }
        self.precondition.check()?;
        self.idempotency_key.as_deref().map_or(Ok(()), check_idempotency_key)
    }

    /// What tells this write from any other under the same idempotency key.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        let mut hash = fingerprint_of("put", &self.key, self.precondition);
        hash.update(&self.ttl.map_or(0, Ttl::as_millis).to_le_bytes());
        // Records of puts without a lease are read by versions that knew of none.
        if let Some(lease) = self.lease {
            hash.update(b"lease");
            hash.update(&lease.get().to_le_bytes());
        }
        hash.update(&self.value);
        hash.digest128()
    }

    /// Whether sending it twice does the same as sending it once.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        is_repeatable(self.idempotency_key.as_deref(), self.precondition)
    }
}

/// Deletes one key.
#[derive(Clone, Debug, Default)]
pub struct Delete {
    /// The key.
    pub key: Bytes,
    /// Delete only at this version; a missing key is then a `VersionMismatch`.
    pub if_match: Option<Version>,
    /// Makes the delete happen once, however often it is sent.
    pub idempotency_key: Option<String>,
}

impl Delete {
    /// A plain delete.
    #[must_use]
    pub fn new(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// Refuses what no store may write.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        check_key(&self.key)?;
        self.precondition().check()?;
        self.idempotency_key.as_deref().map_or(Ok(()), check_idempotency_key)
    }

    /// The delete's condition as a precondition.
    #[must_use]
    pub fn precondition(&self) -> Precondition {
        self.if_match.map_or(Precondition::None, Precondition::Version)
    }

    /// What tells this write from any other under the same idempotency key.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        fingerprint_of("delete", &self.key, self.precondition()).digest128()
    }

    /// Whether sending it twice does the same as sending it once.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        is_repeatable(self.idempotency_key.as_deref(), self.precondition())
    }
}

fn is_repeatable(idempotency_key: Option<&str>, precondition: Precondition) -> bool {
    // A repeat of a conditional write whose first reply was lost fails its own condition. That changes
    // nothing, so it is safe; `retry` reports the doubt instead of the mismatch.
    idempotency_key.is_some() || precondition != Precondition::None
}

fn fingerprint_of(operation: &str, key: &Bytes, precondition: Precondition) -> Xxh3 {
    let mut hash = Xxh3::new();
    hash.update(operation.as_bytes());
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    let (tag, version) = match precondition {
        Precondition::None => (0, Version::ZERO),
        Precondition::NotExists => (1, Version::ZERO),
        Precondition::Version(version) => (2, version),
    };
    hash.update(&[tag]);
    hash.update(&version.term.to_le_bytes());
    hash.update(&version.index.to_le_bytes());
    hash
}

/// What a put answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutResult {
    /// The version of the write.
    pub version: Version,
    /// The entry before the write, if it was asked for and there was one.
    pub prev_entry: Option<Entry>,
}

/// What a delete answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteResult {
    /// Whether the key was there.
    pub deleted: bool,
    /// The version of the delete; of the store, if the key was not there.
    pub version: Version,
}

/// Deletes every key of a range in one revision.
#[derive(Clone, Debug)]
pub struct DeleteRange {
    /// The keys.
    pub range: KeyRange,
}

/// What a range delete answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteRangeResult {
    /// How many keys were deleted.
    pub deleted: u64,
    /// The version of the delete; of the store, if nothing was there.
    pub version: Version,
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// From the first key to the last.
    #[default]
    Ascending,
    /// From the last key to the first.
    Descending,
}

/// Reads one page of a range, from a snapshot.
///
/// The pages of one scan are read by asking again with [`Scan::next`], which keeps the first page's version.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The keys.
    pub range: KeyRange,
    /// The most entries wanted from this page on; 0 is no limit.
    pub limit: u64,
    /// Which way to go.
    pub order: Order,
    /// Whether to leave the values out.
    pub keys_only: bool,
    /// The version to read at; `None` is the newest.
    pub version: Option<Version>,
    /// How fresh the answer must be, when no version is given.
    pub consistency: Consistency,
}

impl Scan {
    /// A scan of everything in a range.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self { range, ..Self::default() }
    }

    /// The request for the page after `page`, or `None` if that was the last.
    #[must_use]
    pub fn next(&self, page: &Page) -> Option<Self> {
        let last = page.entries.last().filter(|_| page.more)?;
        let read = page.entries.len() as u64;
        if self.limit != 0 && read >= self.limit {
            return None;
        }
        Some(Self {
            range: match self.order {
                Order::Ascending => self.range.after(&last.key),
                Order::Descending => self.range.before(&last.key),
            },
            limit: self.limit.saturating_sub(read),
            version: Some(page.version),
            ..self.clone()
        })
    }
}

/// One page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in the order that was asked for. Never empty while `more` is true.
    pub entries: Vec<Entry>,
    /// The version that was read at.
    pub version: Version,
    /// Whether the range has more entries after these.
    pub more: bool,
}

/// Counts the keys of a range.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// The keys.
    pub range: KeyRange,
    /// The version to read at; `None` is the newest.
    pub version: Option<Version>,
    /// How fresh the answer must be, when no version is given.
    pub consistency: Consistency,
}

/// What a count answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountResult {
    /// How many keys the range has.
    pub count: u64,
    /// The version that was read at.
    pub version: Version,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_with_a_lease_is_refused() {
        let put = Put { ttl: Ttl::from_millis(1).ok(), lease: LeaseId::new(1), ..Put::new("a", "b") };
        assert!(put.check(10).is_err());
    }

    #[test]
    fn both_conditions_together_are_refused() {
        assert!(Precondition::from_options(true, Some(Version::new(1, 2))).is_err());
    }

    #[test]
    fn a_fingerprint_tells_key_value_operation_ttl_and_condition_apart() {
        let put = Put::new("ab", "c");
        let others = [
            Put::new("a", "bc").fingerprint(),
            Put::new("ab", "d").fingerprint(),
            Delete::new("ab").fingerprint(),
            Put { ttl: Ttl::from_millis(1).ok(), ..put.clone() }.fingerprint(),
            Put { lease: LeaseId::new(1), ..put.clone() }.fingerprint(),
            Put { precondition: Precondition::NotExists, ..put.clone() }.fingerprint(),
        ];
        for other in others {
            assert_ne!(put.fingerprint(), other);
        }
        assert_eq!(put.fingerprint(), put.clone().fingerprint());
    }

    #[test]
    fn the_next_page_begins_after_the_last_key_at_the_same_version() {
        let entry = |key: &'static str| Entry {
            key: key.into(),
            value: Bytes::new(),
            version: Version::new(1, 2),
            create_version: Version::new(1, 2),
            generation: 1,
            lease: None,
            expires_at: None,
        };
        let page = Page { entries: vec![entry("a"), entry("b")], version: Version::new(1, 9), more: true };
        let scan = Scan { limit: 3, ..Scan::new(KeyRange::all()) };
        let next = scan.next(&page).unwrap();
        assert_eq!(next.range.start.as_ref(), b"b\0");
        assert_eq!((next.limit, next.version), (1, Some(Version::new(1, 9))));
        assert!(Scan { limit: 2, ..scan }.next(&page).is_none());
    }
}
