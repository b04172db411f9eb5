use std::{fmt, str::FromStr};

use crate::{Error, ErrorKind};

/// The version of a change: which incarnation of the store made it, and at which revision.
///
/// `index` is the store's revision. `term` is 1 at first and one more each time the store is restored, so a
/// version from before a restore never matches by accident. Versions order by term, then index.
///
/// ```
/// use norikv_core::Version;
/// let version: Version = "1.42".parse()?;
/// assert_eq!(version, Version::new(1, 42));
/// assert_eq!(version.to_string(), "1.42");
/// # Ok::<(), norikv_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The incarnation of the store (a NoriKV cluster sends its Raft term).
    pub term: u64,
    /// The store's revision.
    pub index: u64,
}

impl Version {
    /// The version that stands for "no entry" on the wire: term 0, index 0.
    pub const ZERO: Self = Self { term: 0, index: 0 };

    /// The bit of the term that moments have, and nothing else.
    pub const MOMENT: u64 = 1 << 63;

    /// Whether it is a moment: what several clusters, each with revisions of its own, were at together. A moment is greater than
    /// those that led to it in one watch or scan. Of two others the lesser need not be the earlier, and with the version of a
    /// single write it does not compare at all.
    #[must_use]
    pub const fn is_moment(self) -> bool {
        self.term & Self::MOMENT != 0
    }

    /// A version of the given term and index.
    #[must_use]
    pub const fn new(term: u64, index: u64) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.split_once('.')
            .and_then(|(term, index)| Some(Self::new(term.parse().ok()?, index.parse().ok()?)))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    format!("a version is written \"term.index\", like \"1.42\"; got {text:?}"),
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_term_then_index() {
        assert!(Version::new(1, 9) < Version::new(2, 1));
        assert!(Version::new(2, 1) < Version::new(2, 2));
    }

    #[test]
    fn text_survives_the_round_trip_at_both_ends_of_the_range() {
        for version in [Version::ZERO, Version::new(u64::MAX, u64::MAX)] {
            assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        }
    }

    #[test]
    fn refuses_what_is_not_a_version() {
        for text in ["", "1", "1.", ".1", "1.2.3", "-1.2", "1.18446744073709551616"] {
            assert_eq!(text.parse::<Version>().unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}
