use std::{
    collections::BTreeSet,
    task::{Context, Poll},
};

use futures_util::FutureExt as _;
use web_time::Instant;

use crate::session::{Environment, Sleep};

/// When things, known by their numbers, are due, in order, with one timer for the first of them.
pub(crate) struct Alarm {
    due: BTreeSet<(Instant, u64)>,
    timer: Option<(Instant, Sleep)>,
}

impl Alarm {
    pub(crate) const fn new() -> Self {
        Self { due: BTreeSet::new(), timer: None }
    }

    pub(crate) fn insert(&mut self, at: Instant, what: u64) {
        self.due.insert((at, what));
    }

    pub(crate) fn remove(&mut self, at: Instant, what: u64) {
        self.due.remove(&(at, what));
    }

    pub(crate) fn clear(&mut self) {
        self.due.clear();
    }

    /// What is due up to a moment, the first first.
    pub(crate) fn until(&self, moment: Instant) -> impl Iterator<Item = (Instant, u64)> + '_ {
        self.due.iter().copied().take_while(move |(at, _)| *at <= moment)
    }

    /// Takes what is due first, if that is now.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<u64> {
        let (_, what) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.due.pop_first();
        Some(what)
    }

    /// Ready once the first is due; pending, with the timer armed, until then.
    pub(crate) fn poll(&mut self, environment: &dyn Environment, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some((due, _)) = self.due.first() else {
                self.timer = None;
                return Poll::Pending;
            };
            let (due, now) = (*due, Instant::now());
            if due <= now {
                return Poll::Ready(());
            }
            let timer = match &mut self.timer {
                // A timer that fires early costs one look; one that fires late would be a promise broken.
                Some((at, timer)) if *at <= due => timer,
                _ => &mut self.timer.insert((due, environment.sleep(due - now))).1,
            };
            if timer.poll_unpin(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
        }
    }
}
