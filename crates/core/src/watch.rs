use std::pin::Pin;

use futures_util::Stream;

use crate::{Entry, KeyRange, Result, Version};

/// Follows the changes of a range.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The keys.
    pub range: KeyRange,
    /// The first version that is wanted; `None` begins after the newest.
    pub from: Option<Version>,
    /// Whether events tell the entry that was there before.
    pub prev_entry: bool,
    /// Whether to send an empty batch now and then, at least every [`PROGRESS_INTERVAL`](crate::PROGRESS_INTERVAL),
    /// with the version up to which nothing is missing.
    pub progress: bool,
    /// Whether puts are wanted.
    pub puts: bool,
    /// Whether deletes are wanted.
    pub deletes: bool,
}

impl Watch {
    /// A watch of every change of a range, from now on.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self { range, from: None, prev_entry: false, progress: false, puts: true, deletes: true }
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It was put.
    Put,
    /// It is gone.
    Delete,
}

/// Why it happened, where the store knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EventReason {
    /// A call did it, or the store does not know.
    #[default]
    Write,
    /// Its time to live ran out.
    Expired,
    /// Its lease ran out or was revoked.
    Lease,
}

impl EventReason {
    /// The word for it on the wire and in JavaScript.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Expired => "expired",
            Self::Lease => "lease",
        }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Why.
    pub reason: EventReason,
    /// The entry as the change left it. Of a delete: the key and the version of the delete, everything else empty.
    pub entry: Entry,
    /// The entry before, if it was asked for and there was one.
    pub prev_entry: Option<Entry>,
}

/// All the changes of one revision that a watch asked for; none, where it only tells how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// Their version: nothing up to it is missing.
    pub version: Version,
    /// The changes, in the order in which they were made.
    pub events: Vec<Event>,
}

/// The batches of a watch. It ends with an error, and is never over otherwise. Dropping it ends the watch.
#[cfg(not(target_family = "wasm"))]
pub type WatchBatches = Pin<Box<dyn Stream<Item = Result<WatchBatch>> + Send>>;
/// The batches of a watch. It ends with an error, and is never over otherwise. Dropping it ends the watch.
#[cfg(target_family = "wasm")]
pub type WatchBatches = Pin<Box<dyn Stream<Item = Result<WatchBatch>>>>;

/// A watch that has begun.
pub struct Watching {
    /// The version that it starts after.
    pub start: Version,
    /// What happens from then on. Who does not poll it holds back nobody else.
    pub batches: WatchBatches,
}

impl std::fmt::Debug for Watching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watching").field("start", &self.start).finish_non_exhaustive()
    }
}
