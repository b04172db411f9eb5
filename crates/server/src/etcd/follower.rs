//! One watch of a stream.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use etcd_client::{
    EventType, WatchFilterType,
    proto::{PbEvent, PbKeyValue},
};
use futures_util::{Stream, StreamExt, task::AtomicWaker};
use norikv_core::{
    Call, Error, Event, EventKind, Result, Version, Watch, WatchBatch, WatchBatches, Watching,
};
use prost::Message as _;

use crate::peer::OpenWatch;

use super::{
    convert::{key_value, keys, revision},
    errors::Failed,
    member::Member,
};

/// How many bytes of events travel in one response; more only where a single revision has more, or, for clients that take
/// fragments, a single event.
const RESPONSE_BYTES: usize = 1024 * 1024;

/// What a client asks to watch.
pub(crate) struct Asked {
    pub(crate) key: Vec<u8>,
    pub(crate) range_end: Vec<u8>,
    pub(crate) start_revision: i64,
    pub(crate) filters: Vec<i32>,
    pub(crate) prev_kv: bool,
}

impl Asked {
    /// The watch of it; `None` where no key can be in its range.
    pub(crate) fn range(&self) -> Option<Watch> {
        // A watch may leave out the key: the first that can be is meant.
        let key = if self.key.is_empty() { vec![0] } else { self.key.clone() };
        let without = |filter: WatchFilterType| self.filters.contains(&(filter as i32));
        Some(Watch {
            prev_entry: self.prev_kv,
            // Always: a client may ask how far its watches are.
            progress: true,
            puts: !without(WatchFilterType::NoPut),
            deletes: !without(WatchFilterType::NoDelete),
            ..Watch::new(keys(key, &self.range_end).ok()??)
        })
    }
}

/// A watch that has begun in the store.
pub(crate) struct Begun {
    pub(crate) start: Version,
    batches: WatchBatches,
    /// Events before this revision are not wanted.
    from: u64,
}

/// Begins a watch from a revision on, which may be one that is yet to come.
pub(crate) async fn begin(
    member: &Member,
    watch: Watch,
    start_revision: i64,
    newest: Version,
    call: Call,
) -> Result<Begun, Failed> {
    let from = u64::try_from(start_revision.max(0)).unwrap_or(0);
    let is_past = from > 0 && from <= newest.index + 1;
    let watch = Watch { from: is_past.then(|| Version::new(newest.term, from)), ..watch };
    let again = watch.clone();
    let Watching { start, batches } = member.store.watch(watch, call).await?;
    if !is_past && from > 0 && start.index >= from {
        // It came while the watch began.
        let watch = Watch { from: Some(Version::new(start.term, from)), ..again };
        let Watching { start, batches } = member.store.watch(watch, call).await?;
        return Ok(Begun { start, batches, from });
    }
    Ok(Begun { start, batches, from })
}

/// What a watch has to tell.
pub(crate) enum Told {
    /// Events up to a revision, in parts that a client takes which takes fragments.
    Events(Version, Vec<Vec<PbEvent>>),
    /// Nothing up to this revision is missing.
    Progress(Version),
    Failed(Error),
}

/// How its stream ends a watch.
pub(crate) struct Control {
    start: u64,
    ended: AtomicBool,
    waker: AtomicWaker,
}

impl Control {
    /// The revision that it begins after.
    pub(crate) fn through(&self) -> u64 {
        self.start
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// A watch, and its number.
pub(crate) struct Follower {
    id: i64,
    batches: WatchBatches,
    from: u64,
    control: Arc<Control>,
    failed: Option<Error>,
    over: bool,
    _room: Option<OpenWatch>,
}

impl Follower {
    pub(crate) fn new(id: i64, begun: Begun, room: Option<OpenWatch>) -> (Arc<Control>, Self) {
        let control = Arc::new(Control {
            start: begun.start.index,
            ended: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let follower = Self {
            id,
            batches: begun.batches,
            from: begun.from,
            control: Arc::clone(&control),
            failed: None,
            over: false,
            _room: room,
        };
        (control, follower)
    }

    /// The batches that are ready, as far as they fit one response.
    fn gather(&mut self, cx: &mut Context<'_>) -> Poll<Option<Told>> {
        if let Some(error) = self.failed.take() {
            self.over = true;
            return Poll::Ready(Some(Told::Failed(error)));
        }
        let (mut parts, mut part, mut all, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
        let mut version = None;
        while all < RESPONSE_BYTES {
            let WatchBatch { version: at, events } = match self.batches.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(batch))) => batch,
                Poll::Ready(ended) => {
                    let error = match ended {
                        Some(Err(error)) => error,
                        _ => Error::internal("the store ended the watch without a reason"),
                    };
                    self.failed = Some(error);
                    break;
                }
                Poll::Pending => break,
            };
            version = Some(at);
            if at.index < self.from {
                continue;
            }
            for event in events {
                let event = to_wire(event, at);
                let size = event.encoded_len();
                if bytes + size > RESPONSE_BYTES && !part.is_empty() {
                    parts.push(std::mem::take(&mut part));
                    bytes = 0;
                }
                bytes += size;
                all += size;
                part.push(event);
            }
        }
        if !part.is_empty() {
            parts.push(part);
        }
        match version {
            Some(version) if parts.is_empty() => Poll::Ready(Some(Told::Progress(version))),
            Some(version) => Poll::Ready(Some(Told::Events(version, parts))),
            None if self.failed.is_some() => self.gather(cx),
            None => Poll::Pending,
        }
    }
}

impl Stream for Follower {
    type Item = (i64, Told);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.control.waker.register(cx.waker());
        if self.over || self.control.ended.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        let id = self.id;
        self.gather(cx).map(|told| told.map(|told| (id, told)))
    }
}

fn to_wire(event: Event, at: Version) -> PbEvent {
    let (kind, found) = match event.kind {
        EventKind::Put => (EventType::Put, key_value(event.entry)),
        EventKind::Delete => {
            let found =
                PbKeyValue { key: event.entry.key.into(), mod_revision: revision(at), ..Default::default() };
            (EventType::Delete, found)
        }
    };
    PbEvent { r#type: kind as i32, kv: Some(found), prev_kv: event.prev_entry.map(key_value) }
}
