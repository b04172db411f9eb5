use std::ops::Bound;

use bytes::Bytes;

use crate::{Error, Result, limits::MAX_KEY_BYTES};

/// A half-open range of keys in byte order: from `start` up to, and without, `end`.
///
/// ```
/// use norikv_core::KeyRange;
/// let range = KeyRange::prefix("user:");
/// assert!(range.contains(b"user:1"));
/// assert!(!range.contains(b"user;"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key of the range; empty is the beginning of the store.
    pub start: Bytes,
    /// The first key after the range; `None` is the end of the store.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The keys that begin with `prefix`. An empty prefix is every key.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = successor_of_prefix(&start);
        Self { start, end }
    }

    /// One key.
    #[must_use]
    pub fn single(key: &Bytes) -> Self {
        let end = [key, &[0][..]].concat();
        Self { start: key.clone(), end: Some(end.into()) }
    }

    /// Whether a key can be in both ranges.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let begins_before_end = |a: &Self, b: &Self| b.end.as_ref().is_none_or(|end| a.start < *end);
        !self.is_empty()
            && !other.is_empty()
            && begins_before_end(self, other)
            && begins_before_end(other, self)
    }

    /// The keys from `start` up to, and without, `end`.
    ///
    /// # Errors
    /// `InvalidArgument` if the range ends before it starts, or a bound is longer than a key can be.
    pub fn new(start: Bytes, end: Option<Bytes>) -> Result<Self> {
        let range = Self { start, end };
        range.check()?;
        Ok(range)
    }

    /// Refuses a range that ends before it starts, or whose bounds are longer than a key can be.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        // One byte more than a key: "just after the longest key" is a bound a page may end on.
        let longest = self.start.len().max(self.end.as_ref().map_or(0, Bytes::len));
        if longest > MAX_KEY_BYTES + 1 {
            return Err(Error::invalid_argument(format!(
                "a range's bound has at most {MAX_KEY_BYTES} bytes, like a key; this one has {longest}"
            )));
        }
        match &self.end {
            Some(end) if *end < self.start => Err(Error::invalid_argument(format!(
                "the range ends before it starts: start {:?}, end {end:?}",
                self.start
            ))),
            _ => Ok(()),
        }
    }

    /// Whether the key is in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_ref() && self.end.as_ref().is_none_or(|end| key < end.as_ref())
    }

    /// Whether no key can be in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// The bounds, as ordered maps and storage engines take them.
    #[must_use]
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = self.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_ref()));
        (Bound::Included(self.start.as_ref()), end)
    }

    /// What is left of the range after `key`, going up.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> Self {
        let mut start = Vec::with_capacity(key.len() + 1);
        start.extend_from_slice(key);
        start.push(0);
        Self { start: start.into(), end: self.end.clone() }
    }

    /// What is left of the range before `key`, going down.
    #[must_use]
    pub fn before(&self, key: &[u8]) -> Self {
        Self { start: self.start.clone(), end: Some(Bytes::copy_from_slice(key)) }
    }

    /// The same range with `prefix` before every key.
    #[must_use]
    pub fn under(&self, prefix: &[u8]) -> Self {
        // A key has at least one byte, so the key that is the prefix alone is no key of the range.
        let first: &[u8] = if self.start.is_empty() && !self.is_empty() { &[0] } else { &self.start };
        Self {
            start: [prefix, first].concat().into(),
            end: match &self.end {
                Some(end) => Some([prefix, end].concat().into()),
                None => successor_of_prefix(prefix),
            },
        }
    }
}

/// The first key after all keys with that prefix; `None` if there is none (all bytes 0xff, or no byte).
fn successor_of_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_all_ff_reaches_to_the_end() {
        assert_eq!(KeyRange::prefix(vec![0xff, 0xff]).end, None);
        assert_eq!(KeyRange::prefix(vec![b'a', 0xff]).end.as_deref(), Some(&b"b"[..]));
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_refused_and_an_empty_one_is_not() {
        assert!(KeyRange::new("b".into(), Some("a".into())).is_err());
        assert!(KeyRange::new("a".into(), Some("a".into())).unwrap().is_empty());
    }

    #[test]
    fn an_open_range_under_a_prefix_stays_under_it() {
        let range = KeyRange::all().under(b"t:");
        assert!(range.contains(b"t:\xff\xff") && range.contains(b"t:\0"));
        assert!(!range.contains(b"t;") && !range.contains(b"t:"));
    }

    #[test]
    fn ranges_overlap_where_a_key_can_be_in_both() {
        let range =
            |start: &'static str, end: &'static str| KeyRange::new(start.into(), Some(end.into())).unwrap();
        assert!(range("a", "c").overlaps(&range("b", "d")));
        assert!(KeyRange::all().overlaps(&KeyRange::single(&"k".into())));
        assert!(!range("a", "b").overlaps(&range("b", "c")));
        assert!(!range("b", "b").overlaps(&range("a", "c")));
        assert!(!KeyRange::single(&"k".into()).overlaps(&KeyRange::single(&"k\0".into())));
    }

    #[test]
    fn an_empty_range_under_a_prefix_is_one() {
        let range = KeyRange::new(Bytes::new(), Some(Bytes::new())).unwrap().under(b"t:");
        assert!(range.is_empty() && range.check().is_ok());
    }
}
