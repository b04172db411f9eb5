//! Scans and counts over all clusters: each reads its own part at its own revision, and the parts are merged.

use std::{cmp::Ordering, iter::Peekable, vec};

use futures_util::future::try_join_all;
use norikv_core::{
    Call, Count, CountResult, Entry, Error, ErrorKind, FieldName, Order, Page, Result, Scan, Store as _,
    Version,
};

use crate::{clusters::store::Clusters, entries::version, reads::PAGE};

/// How many entries each cluster is asked for beyond its share: keys do not lie as evenly as shards do.
const SLACK: u64 = 64;

impl Clusters {
    /// One page of all clusters. Each is asked for a share of it, so that a page is no larger than that of one cluster; it goes as
    /// far as the first that has more than its share.
    pub(crate) async fn scan(&self, request: Scan, call: Call) -> Result<Page> {
        let at = self.readable(request.version, call).await?;
        let wanted = if request.limit == 0 { PAGE } else { request.limit.min(PAGE) };
        let limit = wanted.min(wanted / self.count() as u64 + SLACK);
        let reads = self.each().enumerate().map(|(cluster, store)| {
            let version = at.as_ref().map(|at| version_of(at, cluster));
            store.scan(Scan { limit, version, ..request.clone() }, call)
        });
        let pages = try_join_all(reads).await;
        let pages = match pages {
            Ok(pages) => pages,
            Err(error) => return Err(self.history(error, request.version, call).await),
        };
        let version = match request.version {
            Some(version) => version,
            None => self.moment(pages.iter().map(|page| page.version), call).await?,
        };
        let (entries, more) = merge(pages, request.order, wanted);
        Ok(Page { entries, version, more })
    }

    pub(crate) async fn count_all(&self, request: Count, call: Call) -> Result<CountResult> {
        let at = self.readable(request.version, call).await?;
        let reads = self.each().enumerate().map(|(cluster, store)| {
            let version = at.as_ref().map(|at| version_of(at, cluster));
            store.count(Count { version, ..request.clone() }, call)
        });
        let counts = match try_join_all(reads).await {
            Ok(counts) => counts,
            Err(error) => return Err(self.history(error, request.version, call).await),
        };
        let version = match request.version {
            Some(version) => version,
            None => self.moment(counts.iter().map(|count| count.version), call).await?,
        };
        Ok(CountResult { count: counts.iter().map(|count| count.count).sum(), version })
    }

    /// The revisions to read at.
    async fn readable(&self, asked: Option<Version>, call: Call) -> Result<Option<Vec<u64>>> {
        let Some(asked) = asked else { return Ok(None) };
        match self.moments.read(asked, call).await? {
            Some(moment) => Ok(Some(moment.revisions)),
            None => Err(no_moment(asked, "read")),
        }
    }

    /// The error of a read at a moment that one of the clusters has forgotten.
    pub(crate) async fn history(&self, error: Error, asked: Option<Version>, call: Call) -> Error {
        let (ErrorKind::Compacted, Some(asked)) = (error.kind(), asked) else { return error };
        let text = format!("the moment {asked} has been compacted in one of the clusters: {error}");
        let better = Error::new(ErrorKind::Compacted, text);
        // The field is a version of this store, or it is not there.
        match self.floor(call).await {
            Some(floor) => better.with(FieldName::CompactVersion, floor),
            None => better,
        }
        .caused_by(error)
    }
}

/// That something over all clusters was asked for at the version of one of them.
pub(crate) fn no_moment(asked: Version, what: &str) -> Error {
    Error::invalid_argument(format!(
        "version {asked} is that of one cluster, and {what} are several; give the version of a scan, count, watch or status over all of them, which is a moment of each, or a range within one hash tag, like the prefix \"{{user:1}}\""
    ))
}

fn version_of(at: &[u64], cluster: usize) -> Version {
    version(at.get(cluster).and_then(|at| i64::try_from(*at).ok()).unwrap_or(i64::MAX))
}

/// The first `wanted` entries of pages that are each in order, as far as they are known to have no other between them; and whether
/// there are more.
fn merge(pages: Vec<Page>, order: Order, wanted: u64) -> (Vec<Entry>, bool) {
    let mut parts: Vec<(Peekable<vec::IntoIter<Entry>>, bool)> =
        pages.into_iter().map(|page| (page.entries.into_iter().peekable(), page.more)).collect();
    let mut entries = Vec::new();
    loop {
        let mut first: Option<(usize, bytes::Bytes)> = None;
        for (at, (part, more)) in parts.iter_mut().enumerate() {
            match (part.peek(), &first) {
                // What comes next from there is not known.
                (None, _) if *more => return (entries, true),
                (None, _) => {}
                (Some(entry), Some((_, least))) if !is_before(&entry.key, least, order) => {}
                (Some(entry), _) => first = Some((at, entry.key.clone())),
            }
        }
        let Some((at, _)) = first else { return (entries, false) };
        if entries.len() as u64 >= wanted {
            return (entries, true);
        }
        entries.extend(parts.get_mut(at).and_then(|(part, _)| part.next()));
    }
}

fn is_before(key: &[u8], other: &[u8], order: Order) -> bool {
    match order {
        Order::Ascending => key.cmp(other) == Ordering::Less,
        Order::Descending => key.cmp(other) == Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn page(keys: &str, more: bool) -> Page {
        let entry = |key: char| Entry {
            key: key.to_string().into(),
            value: bytes::Bytes::new(),
            version: Version::new(1, 2),
            create_version: Version::new(1, 2),
            generation: 1,
            lease: None,
            expires_at: None,
        };
        Page { entries: keys.chars().map(entry).collect(), version: Version::new(1, 2), more }
    }

    fn merged(pages: [(&str, bool); 2], order: Order, wanted: u64) -> (String, bool) {
        let (entries, more) = merge(pages.map(|(keys, more)| page(keys, more)).into(), order, wanted);
        (entries.iter().map(|entry| std::str::from_utf8(&entry.key).unwrap()).collect(), more)
    }

    #[test]
    fn pages_are_merged_as_far_as_is_known_what_comes_next() {
        let up = Order::Ascending;
        assert_eq!(merged([("ace", false), ("bd", false)], up, 9), ("abcde".into(), false));
        assert_eq!(merged([("ace", false), ("bd", true)], up, 9), ("abcd".into(), true));
        assert_eq!(merged([("ac", true), ("xy", true)], up, 9), ("ac".into(), true));
        assert_eq!(merged([("ace", false), ("bd", true)], up, 3), ("abc".into(), true));
        assert_eq!(merged([("ace", false), ("bd", false)], up, 5), ("abcde".into(), false));
        assert_eq!(merged([("", false), ("", false)], up, 5), (String::new(), false));
        assert_eq!(merged([("eca", false), ("db", true)], Order::Descending, 9), ("edcb".into(), true));
    }

    #[test]
    fn a_page_that_is_full_says_so_also_when_what_follows_is_not_known() {
        assert_eq!(merged([("a", true), ("b", false)], Order::Ascending, 1), ("a".into(), true));
        assert_eq!(merged([("a", false), ("", false)], Order::Ascending, 1), ("a".into(), false));
    }
}
