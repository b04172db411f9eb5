//! One watch: the changes of a range, from the hub, and from the history where the hub has them no more.

use std::{
    collections::VecDeque,
    ops::{Bound, ControlFlow},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::Stream;
use norikv_core::{
    Entry, Error, ErrorKind, Event, EventKind, EventReason, Order, Result, Version, Watch, WatchBatch,
};
use tokio::sync::oneshot;

use crate::{
    engine::{Cell, Table},
    hub::{Changed, Hub, Next, WatcherId},
    keys,
    log::{Change, Part},
    read::{self, Wanted},
    readers::Readers,
    record::Record,
    shared::Shared,
};

/// How much of the history is read at a time: as many changes for the watcher, as many bytes, or as many rows of
/// the log without any. The changes of one revision are never parted.
const CHANGES: usize = 512;
const BYTES: usize = 1024 * 1024;
const ROWS: usize = 64;

/// What a watch wants, as long as it lives.
pub(crate) struct Wish {
    pub(crate) watch: Watch,
    pub(crate) term: u64,
}

impl Wish {
    fn wants(&self, change: Change, key: &[u8]) -> bool {
        let kind = if change == Change::Put { self.watch.puts } else { self.watch.deletes };
        kind && self.watch.range.contains(key)
    }

    fn event(
        &self,
        revision: u64,
        change: Change,
        key: &Bytes,
        new: Option<Entry>,
        old: Option<Entry>,
    ) -> Event {
        let version = Version::new(self.term, revision);
        let gone = || Entry {
            key: key.clone(),
            value: Bytes::new(),
            version,
            create_version: Version::ZERO,
            generation: 0,
            lease: None,
            expires_at: None,
        };
        let (kind, reason) = match change {
            Change::Put => (EventKind::Put, EventReason::Write),
            Change::Delete => (EventKind::Delete, EventReason::Write),
            Change::Expire => (EventKind::Delete, EventReason::Expired),
            Change::LeaseEnd => (EventKind::Delete, EventReason::Lease),
        };
        let prev_entry = old.filter(|_| self.watch.prev_entry);
        Event { kind, reason, entry: new.unwrap_or_else(gone), prev_entry }
    }

    /// What the changes of a revision are to this watch.
    fn batch(&self, changes: &[Changed]) -> Option<WatchBatch> {
        let wanted = changes.iter().filter(|changed| self.wants(changed.change, &changed.key));
        let events: Vec<_> = wanted
            .map(|changed| {
                let old = changed.prev_entry.as_ref().filter(|_| self.watch.prev_entry).cloned();
                self.event(changed.revision, changed.change, &changed.key, changed.entry.clone(), old)
            })
            .collect();
        let revision = changes.first()?.revision;
        (!events.is_empty()).then(|| WatchBatch { version: Version::new(self.term, revision), events })
    }
}

/// A piece of the history, as a watch wants it.
struct Piece {
    batches: Vec<WatchBatch>,
    /// The first revision that was not read.
    next: u64,
}

/// The batches of a watch.
pub(crate) struct Batches {
    hub: Arc<Hub>,
    id: WatcherId,
    /// Weak, so that a watch that nobody reads does not keep a closed store open.
    shared: Weak<Shared>,
    readers: Readers,
    wish: Arc<Wish>,
    ready: VecDeque<WatchBatch>,
    reading: Option<oneshot::Receiver<Result<Piece>>>,
    over: bool,
}

impl Batches {
    pub(crate) fn new(
        hub: Arc<Hub>,
        id: WatcherId,
        shared: Weak<Shared>,
        readers: Readers,
        wish: Wish,
    ) -> Self {
        let wish = Arc::new(wish);
        Self { hub, id, shared, readers, wish, ready: VecDeque::new(), reading: None, over: false }
    }

    /// Begins to read the history, or reads it at once where that takes no disk.
    fn read(&mut self, from: u64) -> Result<()> {
        let shared = self.shared.upgrade().ok_or_else(|| Error::closed("the store"))?;
        let wish = Arc::clone(&self.wish);
        if shared.engine.in_memory() {
            let piece = read_history(&shared, &wish, from, &|| true)?;
            self.take(piece);
        } else {
            let read = move |shared: &Shared, wanted: Wanted<'_>| read_history(shared, &wish, from, wanted);
            self.reading = Some(self.readers.run(&shared, read)?);
        }
        Ok(())
    }

    fn take(&mut self, piece: Piece) {
        self.ready.extend(piece.batches);
        self.hub.has_read(self.id, piece.next);
    }

    /// Nothing to do for now: what was allocated for a burst goes.
    fn rest(&mut self) {
        if self.ready.capacity() > 0 {
            self.ready = VecDeque::new();
        }
    }
}

impl Stream for Batches {
    type Item = Result<WatchBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.over {
                return Poll::Ready(None);
            }
            if let Some(batch) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(batch)));
            }
            let result = if let Some(reading) = &mut this.reading {
                let piece = ready!(Pin::new(reading).poll(cx));
                this.reading = None;
                piece.unwrap_or_else(|_| Err(Error::closed("the store"))).map(|piece| this.take(piece))
            } else {
                match this.hub.poll(this.id, cx) {
                    Poll::Pending => {
                        this.rest();
                        return Poll::Pending;
                    }
                    Poll::Ready(Next::Changes(revisions)) => {
                        this.ready.extend(revisions.iter().filter_map(|revision| this.wish.batch(revision)));
                        Ok(())
                    }
                    Poll::Ready(Next::History(from)) => {
                        let result = this.read(from);
                        // A long history without anything for this watch is read piece by piece: others have
                        // their turn on this thread between two of them.
                        if result.is_ok() && this.reading.is_none() && this.ready.is_empty() {
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        result
                    }
                    Poll::Ready(Next::Progress(revision)) => {
                        let version = Version::new(this.wish.term, revision);
                        this.ready.push_back(WatchBatch { version, events: Vec::new() });
                        Ok(())
                    }
                    Poll::Ready(Next::Closed) => Err(Error::closed("the store")),
                }
            };
            if let Err(error) = result {
                this.over = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.hub.remove(self.id);
    }
}

/// A change that the log tells of, for a watch.
struct Logged {
    revision: u64,
    change: Change,
    key: Bytes,
}

/// Reads a piece of the history.
fn read_history(shared: &Shared, wish: &Wish, from: u64, wanted: Wanted<'_>) -> Result<Piece> {
    if !wanted() {
        return Err(Error::new(ErrorKind::Cancelled, "nobody waits for the answer of this read"));
    }
    shared.check_floor(from)?;
    let to = shared.published();
    let (logged, next) = read_log(shared, wish, from, to)?;
    let mut batches: Vec<WatchBatch> = Vec::new();
    let (mut bytes, mut next) = (0, next);
    for Logged { revision, change, key } in logged {
        let version = Version::new(wish.term, revision);
        let same = batches.last().is_some_and(|batch| batch.version == version);
        if !same && bytes > BYTES {
            next = revision;
            break;
        }
        let new = if change == Change::Put { Some(entry_of(shared, wish, &key, revision)?) } else { None };
        let old = if wish.watch.prev_entry { replaced(shared, wish, &key, revision)? } else { None };
        let value = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.value.len());
        bytes += key.len() + value(&new) + value(&old);
        let event = wish.event(revision, change, &key, new, old);
        match batches.last_mut().filter(|_| same) {
            Some(batch) => batch.events.push(event),
            None => batches.push(WatchBatch { version, events: vec![event] }),
        }
    }
    // What was read may have gone from under the read.
    shared.check_floor(from)?;
    Ok(Piece { batches, next })
}

/// The changes for a watch that the log tells of, from a revision on; and the first revision that was not read.
fn read_log(shared: &Shared, wish: &Wish, from: u64, to: u64) -> Result<(Vec<Logged>, u64)> {
    let engine = &*shared.engine;
    // A revision begins in the last row that begins at or before it, and may go on in the rows after that.
    let mut start = keys::log(from, 0);
    let before = (Bound::Included(&[keys::LOG][..]), Bound::Included(&start[..]));
    let mut first = None;
    engine.scan(Table::System, before, Order::Descending, &mut |row: Cell<'_>, _| {
        first = <[u8; 13]>::try_from(&*row).ok();
        ControlFlow::Break(())
    })?;
    start = first.unwrap_or(start);
    let bounds = (Bound::Included(&start[..]), Bound::Excluded(keys::LOG_END));
    let (mut logged, mut rows, mut seen, mut next, mut result) = (Vec::new(), 0, from, to + 1, Ok(()));
    engine.scan(Table::System, bounds, Order::Ascending, &mut |row: Cell<'_>, value: Cell<'_>| {
        rows += 1;
        let part = match Part::parse(&row, &value) {
            Ok(part) => part,
            Err(error) => {
                result = Err(error);
                return ControlFlow::Break(());
            }
        };
        for event in part.events() {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    result = Err(error);
                    return ControlFlow::Break(());
                }
            };
            if event.revision > to {
                return ControlFlow::Break(());
            }
            if event.revision < from {
                continue;
            }
            if event.revision != seen && (logged.len() >= CHANGES || rows > ROWS) {
                next = event.revision;
                return ControlFlow::Break(());
            }
            seen = event.revision;
            if wish.wants(event.change, event.key) {
                let key = Bytes::copy_from_slice(event.key);
                logged.push(Logged { revision: event.revision, change: event.change, key });
            }
        }
        ControlFlow::Continue(())
    })?;
    result.map(|()| (logged, next))
}

/// The entry that a put at a revision made.
fn entry_of(shared: &Shared, wish: &Wish, key: &Bytes, revision: u64) -> Result<Entry> {
    let stored = shared.engine.get(Table::Entries, key)?;
    let stored = stored.map(|bytes| Record::decode(&bytes).map(|record| (record, bytes))).transpose()?;
    let found = match stored.filter(|(record, _)| record.index == revision) {
        Some(found) => Some(found),
        None => read::undone(&*shared.engine, key, revision)?,
    };
    match found.filter(|(record, _)| record.index == revision) {
        Some((record, bytes)) => Ok(record.entry(key.clone(), record.value(&bytes), wish.term)),
        None => {
            // It went with the history, or should be there.
            shared.check_floor(revision)?;
            Err(Error::new(
                ErrorKind::Corruption,
                format!(
                    "the history lacks what was written at revision {revision}; restore the store from a backup"
                ),
            ))
        }
    }
}

/// The entry that a revision replaced.
fn replaced(shared: &Shared, wish: &Wish, key: &Bytes, revision: u64) -> Result<Option<Entry>> {
    let Some(bytes) = shared.engine.get(Table::System, &keys::undo(key, revision))? else { return Ok(None) };
    let record = Record::decode(&bytes)?;
    Ok(Some(record.entry(key.clone(), record.value(&bytes), wish.term)))
}
