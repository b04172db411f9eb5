use std::ops::ControlFlow;

use bytes::Bytes;
use norikv_core::{Count, CountResult, Entry, ErrorKind, Order, Page, Result, Scan, Version};

use crate::{hash, read::Walk, record::Record, shared::Shared};

/// The most bytes of keys and values in a page, if it has more than one entry.
const PAGE_BYTES: usize = 1024 * 1024;

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
pub(crate) fn scan(shared: &Shared, request: &Scan, most: usize) -> Result<Page> {
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let most = if limit == 0 { most } else { most.min(limit) };
    at(shared, request.version, |at| {
        let walk = Walk { shared, revision: at.revision, order: request.order, values: !request.keys_only };
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
pub(crate) fn count(shared: &Shared, request: &Count) -> Result<CountResult> {
    at(shared, request.version, |at| {
        let walk = Walk { shared, revision: at.revision, order: Order::Ascending, values: false };
        let mut count = 0;
        walk.run(&request.range, u64::MAX, &mut |_, record: &Record, _: &Bytes| {
            count += u64::from(!at.hides(record));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(CountResult { count, version: shared.version(at.revision) })
    })
}

/// The entries of many keys at one revision.
pub(crate) fn get_many(shared: &Shared, keys: &[Bytes], revision: Option<u64>) -> Result<Vec<Option<Entry>>> {
    let mut revision = revision.unwrap_or_else(|| shared.published());
    loop {
        let get = |key: &Bytes| match shared.get_in_memory_at(hash::of(key), key, revision) {
            Some(entry) => entry,
            None => shared.get_at(key, revision),
        };
        let entries: Result<Vec<_>> = keys.iter().map(get).collect();
        match entries {
            Err(error) if error.kind() == ErrorKind::Compacted => revision = shared.published(),
            entries => return entries,
        }
    }
}
