use std::ops::ControlFlow;

use bytes::Bytes;
use norikv_core::{Count, CountResult, Entry, Error, ErrorKind, Order, Page, Result, Scan, Version};

use crate::{
    hash,
    read::{Walk, Wanted},
    record::Record,
    shared::Shared,
};

/// The most bytes of keys and values in a page, if it has more than one entry.
pub(crate) const PAGE_BYTES: usize = 1024 * 1024;

/// The most keys that are asked for at once.
pub(crate) const MANY_KEYS: usize = 10_000;
/// The most bytes of keys and values in the answer to them.
pub(crate) const MANY_BYTES: usize = 64 * 1024 * 1024;

/// What a read happens at.
#[derive(Clone, Copy)]
struct At {
    revision: u64,
    /// The time by which entries have expired. An expired entry is gone for every reader, so this is the time of
    /// the read at an old revision, too: what was alive at that revision and has expired since is not shown.
    now: u64,
}

impl At {
    fn hides(self, record: &Record) -> bool {
        record.expired(self.now)
    }
}

/// Reads at a version, or at the newest one: again, should its history go while it is read. Either way what has
/// expired by now is hidden, so that later pages of a scan do not show what its first page would not.
fn at<T>(shared: &Shared, version: Option<Version>, read: impl Fn(At) -> Result<T>) -> Result<T> {
    if let Some(version) = version {
        let revision = shared.revision_of(version)?;
        let result = read(At { revision, now: shared.clock.now() })?;
        return shared.check_floor(revision).map(|()| result);
    }
    loop {
        let revision = shared.published();
        let result = read(At { revision, now: shared.clock.now() });
        if shared.check_floor(revision).is_ok() {
            return result;
        }
    }
}

/// One page of a scan.
pub(crate) fn scan(shared: &Shared, request: &Scan, most: usize, wanted: Wanted<'_>) -> Result<Page> {
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let most = if limit == 0 { most } else { most.min(limit) };
    at(shared, request.version, |at| {
        let walk =
            Walk { shared, revision: at.revision, order: request.order, values: !request.keys_only, wanted };
        let (mut entries, mut bytes, mut more) = (Vec::with_capacity(most.min(128)), 0, false);
        walk.run(&request.range, most as u64, &mut |key: Bytes, record: &Record, stored: &Bytes| {
            if at.hides(record) {
                return Ok(ControlFlow::Continue(()));
            }
            let value = if request.keys_only { Bytes::new() } else { record.value(stored) };
            bytes += key.len() + value.len();
            if entries.len() >= most || (bytes > PAGE_BYTES && !entries.is_empty()) {
                more = true;
                return Ok(ControlFlow::Break(()));
            }
            entries.push(record.entry(key, value, shared.term));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Page { entries, version: shared.version(at.revision), more })
    })
}

/// How many keys a range has.
pub(crate) fn count(shared: &Shared, request: &Count, wanted: Wanted<'_>) -> Result<CountResult> {
    at(shared, request.version, |at| {
        let walk = Walk { shared, revision: at.revision, order: Order::Ascending, values: false, wanted };
        let mut count = 0;
        walk.run(&request.range, u64::MAX, &mut |_, record: &Record, _: &Bytes| {
            count += u64::from(!at.hides(record));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(CountResult { count, version: shared.version(at.revision) })
    })
}

/// The entries of many keys at one revision. No more of them are read once they are too many bytes.
pub(crate) fn get_many(shared: &Shared, keys: &[Bytes], revision: Option<u64>) -> Result<Vec<Option<Entry>>> {
    let mut revision = revision.unwrap_or_else(|| shared.published());
    loop {
        let mut bytes = 0;
        let get = |key: &Bytes| {
            let entry = match shared.get_in_memory_at(hash::of(key), key, revision) {
                Some(entry) => entry?,
                None => shared.get_at(key, revision)?,
            };
            bytes += entry.as_ref().map_or(0, |entry| entry.key.len() + entry.value.len());
            if bytes > MANY_BYTES { Err(too_large()) } else { Ok(entry) }
        };
        let entries: Result<Vec<_>> = keys.iter().map(get).collect();
        match entries {
            Err(error) if error.kind() == ErrorKind::Compacted => revision = shared.published(),
            entries => return entries,
        }
    }
}

/// Refuses more keys than are read at once.
pub(crate) fn check_many(keys: &[Bytes]) -> Result<()> {
    if keys.len() <= MANY_KEYS {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "{} keys are asked for at once; the most is {MANY_KEYS}: ask for fewer at a time",
        keys.len()
    )))
}

fn too_large() -> Error {
    let message = format!(
        "the entries of these keys have more than {MANY_BYTES} bytes, the most in one answer; ask for fewer at a time"
    );
    Error::new(ErrorKind::ResourceExhausted, message)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use norikv_core::{Call, Put, Store};

    use super::*;
    use crate::{EmbeddedStore, Settings};

    #[tokio::test]
    async fn a_walk_that_nobody_waits_for_ends_with_its_chunk() {
        let store = EmbeddedStore::memory(Settings::default()).unwrap();
        let puts = (0..5_000).map(|n| store.put(Put::new(format!("{n}"), "v"), Call::default()));
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
        let shared = store.shared().unwrap();
        let asked = Cell::new(0);
        let for_two_chunks = || {
            asked.set(asked.get() + 1);
            asked.get() <= 2
        };
        let error = count(&shared, &Count::default(), &for_two_chunks).unwrap_err();
        assert_eq!((error.kind(), asked.get()), (ErrorKind::Cancelled, 3));
        let error = scan(&shared, &Scan::default(), 5_000, &|| false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(count(&shared, &Count::default(), &|| true).unwrap().count, 5_000);
    }
}
