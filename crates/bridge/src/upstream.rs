//! What watches follow: one watch of the store, and the batches of it that not every one of them has taken.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use futures_util::{future::AbortHandle, stream::ReadyChunks};
use norikv_core::{Error, Version, Watch, WatchBatch, WatchBatches};

use crate::{frame::Writer, reply::write_batch};

/// How many batches, and bytes of them, wait for the slowest of several watches before it goes its own way.
const MAX_BATCHES: usize = 1_024;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The most batches that are taken from the store at once.
pub(crate) const MAX_CHUNK: usize = 16;

/// The batches of the store, as many at a time as are ready.
pub(crate) type Chunks = ReadyChunks<WatchBatches>;

/// What watches have in common that follow the same changes, whatever else they differ in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    prefix: Bytes,
    start: Bytes,
    end: Option<Bytes>,
    prev_entry: bool,
    puts: bool,
    deletes: bool,
}

impl Subject {
    /// The subject of a watch, if others may share it: of one that begins now.
    pub(crate) fn of(prefix: &Bytes, watch: &Watch) -> Option<Self> {
        watch.from.is_none().then(|| Self {
            prefix: prefix.clone(),
            start: watch.range.start.clone(),
            end: watch.range.end.clone(),
            prev_entry: watch.prev_entry,
            puts: watch.puts,
            deletes: watch.deletes,
        })
    }
}

/// One watch of the store.
pub(crate) struct Upstream {
    pub(crate) prefix: Bytes,
    pub(crate) watch: Watch,
    /// `None` if it belongs to one watch alone.
    pub(crate) subject: Option<Subject>,
    /// The turn in which it was asked for: a watch that came in the same turn began with it.
    pub(crate) turn: u64,
    /// The version it starts after, once it has begun.
    pub(crate) start: Option<Version>,
    pub(crate) subscribers: BTreeSet<u32>,
    pub(crate) ring: Ring,
    /// Where batches come from; away while it is opened or polled.
    pub(crate) chunks: Option<Chunks>,
    /// Ends what is away.
    pub(crate) away: Option<AbortHandle>,
    /// Why it ended. What came before is delivered first.
    pub(crate) failed: Option<Error>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(away) = &self.away {
            away.abort();
        }
    }
}

/// A batch in the bytes that JavaScript reads.
pub(crate) struct Encoded {
    pub(crate) version: Version,
    /// Whether it only tells how far the watch is.
    pub(crate) is_progress: bool,
    pub(crate) bytes: Bytes,
}

/// The newest batches of an upstream, numbered from its first.
#[derive(Default)]
pub(crate) struct Ring {
    batches: VecDeque<Encoded>,
    base: u64,
    bytes: usize,
}

impl Ring {
    /// The number of the batch that comes next.
    pub(crate) fn head(&self) -> u64 {
        self.base + self.batches.len() as u64
    }

    pub(crate) fn push(&mut self, batch: &WatchBatch) {
        let mut out = Writer::<BytesMut>::default();
        write_batch(&mut out, batch);
        let bytes = out.0.freeze();
        self.bytes += bytes.len();
        self.batches.push_back(Encoded {
            version: batch.version,
            is_progress: batch.events.is_empty(),
            bytes,
        });
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Encoded> {
        self.batches.get(usize::try_from(number.checked_sub(self.base)?).ok()?)
    }

    /// Lets go of the batches before a number.
    pub(crate) fn trim(&mut self, to: u64) {
        while self.base < to
            && let Some(batch) = self.batches.pop_front()
        {
            self.bytes -= batch.bytes.len();
            self.base += 1;
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.batches.len() > MAX_BATCHES || self.bytes > MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use norikv_core::KeyRange;

    #[test]
    fn batches_keep_their_numbers_when_earlier_ones_go() {
        let mut ring = Ring::default();
        for index in 1..=3 {
            ring.push(&WatchBatch { version: Version::new(1, index), events: Vec::new() });
        }
        ring.trim(2);
        assert_eq!(ring.head(), 3);
        assert!(ring.get(1).is_none());
        assert_eq!(ring.get(2).map(|batch| batch.version), Some(Version::new(1, 3)));
        ring.trim(3);
        assert_eq!((ring.head(), ring.bytes), (3, 0));
    }

    #[test]
    fn only_watches_from_now_on_share() {
        let watch = Watch::new(KeyRange::prefix("a"));
        let subject = Subject::of(&Bytes::new(), &watch);
        assert!(subject.is_some());
        assert!(subject == Subject::of(&Bytes::new(), &Watch { progress: true, ..watch.clone() }));
        assert!(subject != Subject::of(&Bytes::from_static(b"ns/"), &watch));
        assert!(subject != Subject::of(&Bytes::new(), &Watch { prev_entry: true, ..watch.clone() }));
        assert!(Subject::of(&Bytes::new(), &Watch { from: Some(Version::new(1, 2)), ..watch }).is_none());
    }
}
