//! One watch of JavaScript: how far it is, and how far it may go.

use futures_util::future::AbortHandle;
use norikv_core::{Call, Version};

use crate::upstream::Ring;

/// How much JavaScript takes that it has not read: a number of batches, and of bytes. One batch more may go over
/// the bytes, so that a large one always fits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    batches: i64,
    bytes: i64,
}

impl Credit {
    pub(crate) fn new(batches: u32, bytes: u32) -> Self {
        Self { batches: batches.into(), bytes: bytes.into() }
    }

    pub(crate) const fn is_open(self) -> bool {
        self.batches > 0 && self.bytes > 0
    }

    const fn spend(&mut self, bytes: usize) {
        self.batches -= 1;
        self.bytes = self.bytes.saturating_sub_unsigned(bytes as u64);
    }

    pub(crate) const fn add(&mut self, more: Self) {
        self.batches = self.batches.saturating_add(more.batches);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

/// One watch of JavaScript.
pub(crate) struct Subscriber {
    pub(crate) upstream: u64,
    /// Tells it from an earlier one of the same number.
    pub(crate) serial: u64,
    pub(crate) progress: bool,
    pub(crate) credit: Credit,
    pub(crate) call: Call,
    pub(crate) newest: Newest,
    /// Whether it was told where it starts.
    pub(crate) told: bool,
    /// What it starts after, where it joined an upstream that may lag behind that.
    pub(crate) floor: Version,
    /// The version of the last batch it went past.
    pub(crate) last: Version,
    /// The number of the batch it takes next.
    pub(crate) cursor: u64,
}

/// The newest version of the store when a watch joined an upstream that was there before.
pub(crate) enum Newest {
    /// It began with its upstream.
    NotAsked,
    Asked(AbortHandle),
    Known(Version),
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Newest::Asked(handle) = &self.newest {
            handle.abort();
        }
    }
}

impl Subscriber {
    /// Goes as far as the credit does, and answers from where to where; `None` if there is nothing for it.
    pub(crate) fn take(&mut self, ring: &Ring) -> Option<(u64, u64)> {
        let mut first = None;
        while let Some(batch) = ring.get(self.cursor) {
            // What it starts after is not for it; how far the store is may be as far as that.
            let is_old = batch.version < self.floor || (batch.version == self.floor && !batch.is_progress);
            if !is_old && (self.progress || !batch.is_progress) {
                if !self.credit.is_open() {
                    break;
                }
                self.credit.spend(batch.bytes.len());
                first.get_or_insert(self.cursor);
            }
            self.last = self.last.max(batch.version);
            self.cursor += 1;
        }
        first.map(|first| (first, self.cursor))
    }
}
