//! The leases that a session holds, as whoever uses one must see them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use norikv_core::{Error, LeaseId, Result, Steady};

/// How many leases are remembered as lost, so that a late use of their number is told so.
const MAX_LOST: usize = 4_096;

/// The leases of a session. Every look compares them with the clock: nobody believes in one longer than the store.
#[derive(Default)]
pub(crate) struct Leases(Mutex<Table>);

#[derive(Default)]
struct Table {
    held: HashMap<LeaseId, Held>,
    lost: HashMap<LeaseId, Error>,
    /// The lost ones, the longest lost first.
    order: VecDeque<LeaseId>,
    /// What JavaScript has not been told: the call of each lost lease, and why it is lost.
    news: Vec<Lost>,
    /// Set when the session closes: a lease that is granted later is not kept.
    closed: bool,
}

struct Held {
    /// The call that granted it, which is answered last with why it is lost.
    call: u32,
    ttl: Duration,
    /// When the last keep-alive that the store confirmed was sent.
    confirmed: Steady,
}

/// A lease that was lost.
pub(crate) struct Lost {
    pub(crate) id: LeaseId,
    pub(crate) call: u32,
    pub(crate) why: Error,
}

impl Leases {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a lease that was granted to a call which asked for it at `sent`.
    pub(crate) fn hold(&self, id: LeaseId, call: u32, ttl: Duration, sent: Steady) {
        let mut table = self.table();
        table.held.insert(id, Held { call, ttl, confirmed: sent });
        if table.closed {
            table.lose(id, CLOSED);
        }
    }

    /// How long a lease has left without a keep-alive: nothing if it is lost, `None` if it is none of ours.
    pub(crate) fn left(&self, id: LeaseId) -> Option<Duration> {
        self.table().left(id)
    }

    /// Refuses the use of a lease that is lost. One that is none of ours is left to the store to judge.
    pub(crate) fn check(&self, id: LeaseId) -> Result<()> {
        let mut table = self.table();
        table.left(id);
        table.lost.get(&id).map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Renews a lease from the moment the keep-alive was sent. False if it is not held any more, or was lost before
    /// the answer came: once lost, it stays lost.
    pub(crate) fn renew(&self, id: LeaseId, ttl: Duration, sent: Steady) -> bool {
        let mut table = self.table();
        // A clock that says so now says so of the answer, too.
        if table.left(id).is_none_or(|left| left.is_zero()) {
            return false;
        }
        if let Some(held) = table.held.get_mut(&id) {
            *held = Held { call: held.call, ttl, confirmed: sent };
        }
        true
    }

    /// Ends a lease that is held.
    pub(crate) fn lose(&self, id: LeaseId, why: &str) {
        self.table().lose(id, why);
    }

    /// What an error of the store says of a lease: that there is none is the loss of one that is held.
    pub(crate) fn judge(&self, id: LeaseId, error: Error) -> Error {
        let mut table = self.table();
        table.lose(id, GONE);
        table.lost.get(&id).cloned().unwrap_or(error)
    }

    /// Ends every lease that is held, and answers which. Later ones are not held.
    pub(crate) fn close(&self) -> Vec<LeaseId> {
        let mut table = self.table();
        table.closed = true;
        let ids: Vec<_> = table.held.keys().copied().collect();
        for id in &ids {
            table.lose(*id, CLOSED);
        }
        ids
    }

    /// The leases that were lost since the last time.
    pub(crate) fn take_news(&self) -> Vec<Lost> {
        std::mem::take(&mut self.table().news)
    }
}

impl Table {
    fn left(&mut self, id: LeaseId) -> Option<Duration> {
        let Some(held) = self.held.get(&id) else {
            return self.lost.contains_key(&id).then_some(Duration::ZERO);
        };
        let left = held.ttl.saturating_sub(held.confirmed.elapsed());
        if left.is_zero() {
            self.lose(id, EXPIRED);
        }
        Some(left)
    }

    fn lose(&mut self, id: LeaseId, why: &str) {
        let Some(held) = self.held.remove(&id) else {
            return;
        };
        let why = Error::lease_lost(id, why);
        self.news.push(Lost { id, call: held.call, why: why.clone() });
        if self.lost.insert(id, why).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > MAX_LOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.lost.remove(&oldest);
        }
    }
}

const EXPIRED: &str =
    "its time to live passed without a keep-alive that the store confirmed; its keys are gone or about to go";
const CLOSED: &str = "its client was closed";
/// Why a lease is lost that the store does not have.
pub(crate) const GONE: &str = "the store has no such lease any more, and its keys are gone";
/// Why a lease is lost that its holder gave back.
pub(crate) const REVOKED: &str = "its holder revoked it";

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> LeaseId {
        LeaseId::new(number).unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_lease_whose_time_passed_is_lost_at_the_next_look_and_stays_lost() {
        let leases = Leases::default();
        leases.hold(id(1), 7, Duration::ZERO, Steady::now());
        assert!(leases.check(id(1)).is_err());
        assert!(!leases.renew(id(1), LONG, Steady::now()));
        assert_eq!(leases.left(id(1)), Some(Duration::ZERO));
        let news = leases.take_news();
        assert_eq!(news.len(), 1);
        assert_eq!((news[0].call, news[0].id), (7, id(1)));
        assert!(leases.take_news().is_empty());
    }

    #[test]
    fn only_a_lease_that_is_held_is_judged() {
        let leases = Leases::default();
        leases.hold(id(1), 7, LONG, Steady::now());
        let error = || Error::lease_not_found(id(1));
        assert_eq!(leases.judge(id(2), error()).kind(), norikv_core::ErrorKind::LeaseNotFound);
        assert_eq!(leases.judge(id(1), error()).kind(), norikv_core::ErrorKind::LeaseLost);
        assert!(leases.left(id(2)).is_none());
    }

    #[test]
    fn what_is_granted_after_the_close_is_not_held() {
        let leases = Leases::default();
        leases.hold(id(1), 7, LONG, Steady::now());
        assert_eq!(leases.close(), [id(1)]);
        leases.hold(id(2), 8, LONG, Steady::now());
        assert!(leases.check(id(2)).is_err());
        assert_eq!(leases.take_news().len(), 2);
    }

    #[test]
    fn the_lost_that_are_remembered_are_bounded() {
        let leases = Leases::default();
        for number in 1..=10_000 {
            leases.hold(id(number), 1, LONG, Steady::now());
            leases.lose(id(number), GONE);
        }
        let table = leases.table();
        assert_eq!((table.lost.len(), table.order.len(), table.held.len()), (MAX_LOST, MAX_LOST, 0));
    }
}
