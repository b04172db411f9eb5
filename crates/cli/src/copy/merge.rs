use std::collections::VecDeque;

use bytes::Bytes;
use norikv_core::{Entry, KeyRange, Result, Scan, StoreRef};

use super::{
    patience::Patience,
    source::page,
    target::Op,
    wanted::{Fate, Wanted, fate, is_ending, is_own, now},
};

/// What a merge is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To write into a target that has nothing: it is not read.
    Fill,
    /// To mend the differences.
    Mend,
    /// To tell the differences, without those that are over in a moment because an entry comes to its end.
    Tell,
}

/// How the target differs from the source in one key.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    pub(crate) key: Bytes,
    pub(crate) kind: Kind,
    /// What it is to have.
    wanted: Option<Wanted>,
}

/// In which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The target has no such key.
    Missing,
    /// It has another value there, or another time to live.
    Different,
    /// It has the key, and the source has not.
    Extra,
}

impl Difference {
    /// What makes the target equal.
    pub(crate) fn mend(self) -> Op {
        Op { key: self.key, wanted: self.wanted }
    }
}

/// What was seen of a page of the source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
    pub(crate) leased: u64,
}

/// The differences between a page of the source and the same part of the target, piece by piece.
pub(crate) struct Merge<'a> {
    target: &'a StoreRef,
    patience: &'a Patience,
    purpose: Purpose,
    source: VecDeque<(Bytes, Wanted)>,
    /// What of the target is not read yet.
    rest: Option<KeyRange>,
    pub(crate) seen: Seen,
}

impl<'a> Merge<'a> {
    /// Merges the entries of a part of the source with what the target has in that part.
    pub(crate) fn new(
        target: &'a StoreRef,
        patience: &'a Patience,
        entries: Vec<Entry>,
        part: KeyRange,
        purpose: Purpose,
    ) -> Self {
        let (mut seen, now) = (Seen::default(), now());
        let mut source = VecDeque::with_capacity(entries.len());
        for entry in entries.into_iter().filter(|entry| !is_own(&entry.key)) {
            match fate(&entry, now) {
                Fate::Copied(wanted) => {
                    seen.keys += 1;
                    seen.bytes += (entry.key.len() + entry.value.len()) as u64;
                    source.push_back((entry.key, wanted));
                }
                Fate::Leased => seen.leased += 1,
                Fate::Expired => {}
            }
        }
        Self { target, patience, purpose, source, rest: (purpose != Purpose::Fill).then_some(part), seen }
    }

    /// The next piece of the differences; nothing after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Difference>>> {
        let Some(part) = self.rest.take() else {
            let left: Vec<_> = self.source.drain(..).collect();
            if left.is_empty() {
                return Ok(None);
            }
            let (now, tell) = (now(), self.purpose == Purpose::Tell);
            let told = left.into_iter().filter(|(_, wanted)| !(tell && is_ending(wanted.expires_at, now)));
            return Ok(Some(told.map(missing).collect()));
        };
        let (found, more) = page(self.target, &Scan::new(part.clone()), self.patience).await?;
        let last = found.last().map(|entry| entry.key.clone());
        let differences = self.piece(found);
        self.rest = last.filter(|_| more).map(|last| part.after(&last));
        Ok(Some(differences))
    }

    fn piece(&mut self, found: Vec<Entry>) -> Vec<Difference> {
        let (now, tell) = (now(), self.purpose == Purpose::Tell);
        let mut differences = Vec::new();
        let mut add = |difference: Difference, found: Option<u64>| {
            let wanted = difference.wanted.as_ref().and_then(|wanted| wanted.expires_at);
            if !(tell && (is_ending(wanted, now) || is_ending(found, now))) {
                differences.push(difference);
            }
        };
        for entry in found.into_iter().filter(|entry| !is_own(&entry.key)) {
            while let Some(before) = self.source.pop_front_if(|(key, _)| *key < entry.key) {
                add(missing(before), None);
            }
            match self.source.pop_front_if(|(key, _)| *key == entry.key) {
                Some((_, wanted)) if wanted.is(&entry) => {}
                Some((key, wanted)) => {
                    add(Difference { key, kind: Kind::Different, wanted: Some(wanted) }, entry.expires_at);
                }
                None => add(Difference { key: entry.key, kind: Kind::Extra, wanted: None }, entry.expires_at),
            }
        }
        differences
    }
}

fn missing((key, wanted): (Bytes, Wanted)) -> Difference {
    Difference { key, kind: Kind::Missing, wanted: Some(wanted) }
}
