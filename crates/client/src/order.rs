//! Which call on a key goes when: in the order in which the calls were made.
//!
//! Calls on different keys know nothing of each other. Writes of one key that take the same way (one batch after
//! another, in the order of each batch) may follow each other closely; everything else waits its turn.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

/// The lane of a node's batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Reads, also beside each other.
    Read,
    /// Writes, and reads that come after a write of their key.
    Write,
}

/// How a call would travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In the batches of a node, which keep their order.
    Batch(usize),
    /// By itself, beside all others.
    Alone,
}

/// A call's place among the calls on its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) hash: u64,
    /// Calls made earlier have lower numbers.
    number: u64,
    pub(crate) write: bool,
}

/// The calls on every key that has any. Keys are known by their 64-bit hash: two that share one merely wait for
/// each other.
#[derive(Debug)]
pub(crate) struct KeyOrder<P> {
    keys: HashMap<u64, Key<P>, BuildHasherDefault<Identity>>,
    next: u64,
    held: usize,
    /// Calls that were let go and have not ended.
    going: usize,
    /// Calls that no call on any key may pass, earliest first.
    fences: VecDeque<u64>,
}

#[derive(Debug)]
struct Key<P> {
    reads: u32,
    writes: u32,
    /// How the calls counted in `writes` travel.
    way: Way,
    waiting: Option<Box<Waiting<P>>>,
}

#[derive(Debug)]
struct Waiting<P> {
    /// Calls that failed and may be made again; later ones wait for them.
    held: Vec<u64>,
    /// Calls that wait, earliest first.
    parked: VecDeque<(Ticket, P)>,
}

impl<P> Default for KeyOrder<P> {
    fn default() -> Self {
        Self { keys: HashMap::default(), next: 0, held: 0, going: 0, fences: VecDeque::new() }
    }
}

impl<P> KeyOrder<P> {
    /// A place behind every call made so far.
    pub(crate) fn ticket(&mut self, hash: u64, write: bool) -> Ticket {
        self.next += 1;
        Ticket { hash, number: self.next, write }
    }

    /// A place behind every call made so far, on whatever key, and before every later one.
    pub(crate) fn fence(&mut self) -> u64 {
        self.next += 1;
        self.fences.push_back(self.next);
        self.next
    }

    /// The fence before which no call is left.
    pub(crate) fn open_fence(&self) -> Option<u64> {
        // What was let go or is held was let go before the first fence; and what is parked before it has its
        // turn when these end.
        self.fences.front().filter(|_| self.going == 0 && self.held == 0).copied()
    }

    /// Takes a fence away. Answers the keys whose parked calls may have their turn now.
    pub(crate) fn lift(&mut self, fence: u64) -> Vec<u64> {
        self.fences.retain(|other| *other != fence);
        let parked = self.keys.iter().filter(|(_, key)| key.has_parked());
        parked.map(|(hash, _)| *hash).collect()
    }

    /// Lets the call go, and says in which lane; `None` if it has to wait.
    pub(crate) fn admit(&mut self, ticket: Ticket, way: Way) -> Option<Lane> {
        if self.fences.front().is_some_and(|fence| *fence < ticket.number) {
            return None;
        }
        let key = self.keys.entry(ticket.hash).or_insert(Key { reads: 0, writes: 0, way, waiting: None });
        if key.waiting.as_ref().is_some_and(|waiting| waiting.has_before(ticket.number)) {
            return None;
        }
        let lane = match (ticket.write, key.writes > 0) {
            (false, false) => Lane::Read,
            // What is under way goes another way, or keeps no order.
            (_, true) if key.way != way || way == Way::Alone => return None,
            (true, _) if key.reads > 0 => return None,
            _ => Lane::Write,
        };
        match lane {
            Lane::Read => key.reads += 1,
            Lane::Write => {
                key.writes += 1;
                key.way = way;
            }
        }
        self.going += 1;
        Some(lane)
    }

    /// Keeps a call until its turn.
    pub(crate) fn park(&mut self, ticket: Ticket, call: P) {
        let waiting = self.waiting(ticket.hash);
        let at = waiting.parked.partition_point(|(other, _)| other.number < ticket.number);
        waiting.parked.insert(at, (ticket, call));
    }

    /// A call that was let go has ended. True if a parked call may have its turn now.
    pub(crate) fn finish(&mut self, ticket: Ticket, lane: Lane) -> bool {
        let Some(key) = self.keys.get_mut(&ticket.hash) else { return false };
        match lane {
            Lane::Read => key.reads = key.reads.saturating_sub(1),
            Lane::Write => key.writes = key.writes.saturating_sub(1),
        }
        self.going = self.going.saturating_sub(1);
        self.tidy(ticket.hash)
    }

    /// A call that was let go has failed and may be made again: it keeps its place.
    pub(crate) fn hold(&mut self, ticket: Ticket, lane: Lane) {
        self.held += 1;
        self.waiting(ticket.hash).held.push(ticket.number);
        self.finish(ticket, lane);
    }

    /// The held call is made again, or given up. True if a parked call may have its turn now.
    pub(crate) fn release(&mut self, ticket: Ticket) -> bool {
        let Some(waiting) = self.keys.get_mut(&ticket.hash).and_then(|key| key.waiting.as_mut()) else {
            return false;
        };
        if let Some(at) = waiting.held.iter().position(|number| *number == ticket.number) {
            waiting.held.swap_remove(at);
            self.held -= 1;
        }
        self.tidy(ticket.hash)
    }

    /// Whether the call, though let go, has not left and must let an earlier one pass that is made again.
    pub(crate) fn must_yield(&self, ticket: Ticket) -> bool {
        self.held > 0
            && self
                .keys
                .get(&ticket.hash)
                .and_then(|key| key.waiting.as_ref())
                .is_some_and(|waiting| waiting.held.iter().any(|number| *number < ticket.number))
    }

    /// Takes back a call that was let go.
    pub(crate) fn recall(&mut self, ticket: Ticket, lane: Lane, call: P) {
        self.park(ticket, call);
        self.finish(ticket, lane);
    }

    /// The parked call of a key whose turn would be next.
    pub(crate) fn next_parked(&self, hash: u64) -> Option<Ticket> {
        self.keys.get(&hash)?.waiting.as_ref()?.parked.front().map(|(ticket, _)| *ticket)
    }

    /// Takes out the parked call whose turn is next.
    pub(crate) fn unpark(&mut self, hash: u64) -> Option<P> {
        let (_, call) = self.keys.get_mut(&hash)?.waiting.as_mut()?.parked.pop_front()?;
        self.tidy(hash);
        Some(call)
    }

    /// Takes out every parked call.
    pub(crate) fn drain_parked(&mut self) -> Vec<P> {
        let parked = self
            .keys
            .values_mut()
            .filter_map(|key| key.waiting.as_mut())
            .flat_map(|waiting| waiting.parked.drain(..))
            .map(|(_, call)| call)
            .collect();
        self.keys.retain(|_, key| !key.is_idle());
        parked
    }

    fn waiting(&mut self, hash: u64) -> &mut Waiting<P> {
        let key =
            self.keys.entry(hash).or_insert(Key { reads: 0, writes: 0, way: Way::Alone, waiting: None });
        key.waiting.get_or_insert_with(|| Box::new(Waiting { held: Vec::new(), parked: VecDeque::new() }))
    }

    /// Forgets what is empty; says whether calls are parked.
    fn tidy(&mut self, hash: u64) -> bool {
        let Some(key) = self.keys.get_mut(&hash) else { return false };
        if key.waiting.as_ref().is_some_and(|waiting| waiting.held.is_empty() && waiting.parked.is_empty()) {
            key.waiting = None;
        }
        if key.is_idle() {
            self.keys.remove(&hash);
            return false;
        }
        key.has_parked()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.held == 0 && self.going == 0
    }
}

impl<P> Key<P> {
    fn is_idle(&self) -> bool {
        self.reads == 0 && self.writes == 0 && self.waiting.is_none()
    }

    fn has_parked(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| !waiting.parked.is_empty())
    }
}

impl<P> Waiting<P> {
    fn has_before(&self, number: u64) -> bool {
        self.held.iter().any(|held| *held < number)
            || self.parked.front().is_some_and(|(ticket, _)| ticket.number < number)
    }
}

/// The keys of the table are hashes already.
#[derive(Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: Way = Way::Batch(0);

    #[test]
    fn a_read_goes_behind_a_pending_write_of_its_key_and_beside_any_other() {
        let mut order = KeyOrder::<()>::default();
        let (write, read, other) = (order.ticket(1, true), order.ticket(1, false), order.ticket(2, false));
        assert_eq!(order.admit(write, BATCH), Some(Lane::Write));
        assert_eq!(order.admit(read, BATCH), Some(Lane::Write));
        assert_eq!(order.admit(other, BATCH), Some(Lane::Read));
        for (ticket, lane) in [(write, Lane::Write), (read, Lane::Write), (other, Lane::Read)] {
            assert!(!order.finish(ticket, lane));
        }
        assert!(order.is_empty());
    }

    #[test]
    fn a_write_waits_for_the_reads_before_it_and_later_calls_wait_behind_it() {
        let mut order = KeyOrder::default();
        let (read, write, later) = (order.ticket(1, false), order.ticket(1, true), order.ticket(1, false));
        assert_eq!(order.admit(read, BATCH), Some(Lane::Read));
        assert_eq!(order.admit(write, BATCH), None);
        order.park(write, "write");
        assert_eq!(order.admit(later, BATCH), None);
        order.park(later, "later");
        assert!(order.finish(read, Lane::Read));
        assert_eq!(order.next_parked(1), Some(write));
        assert_eq!(order.admit(write, BATCH), Some(Lane::Write));
        assert_eq!(order.unpark(1), Some("write"));
        assert_eq!(order.admit(later, BATCH), Some(Lane::Write));
        assert_eq!(order.unpark(1), Some("later"));
    }

    #[test]
    fn a_held_call_keeps_its_place_before_calls_made_later() {
        let mut order = KeyOrder::default();
        let (first, second, third) = (order.ticket(1, true), order.ticket(1, true), order.ticket(1, true));
        assert_eq!(order.admit(first, BATCH), Some(Lane::Write));
        assert_eq!(order.admit(second, BATCH), Some(Lane::Write));
        order.hold(first, Lane::Write);
        assert!(order.must_yield(second));
        order.recall(second, Lane::Write, "second");
        assert_eq!(order.admit(third, BATCH), None);
        order.park(third, "third");
        order.release(first);
        assert_eq!(order.admit(first, BATCH), Some(Lane::Write));
        assert_eq!(order.admit(second, BATCH), Some(Lane::Write));
        assert_eq!(order.unpark(1), Some("second"));
        assert_eq!(order.unpark(1), Some("third"));
    }

    #[test]
    fn a_fence_waits_for_every_call_before_it_and_holds_back_every_call_after_it() {
        let mut order = KeyOrder::default();
        let (first, second) = (order.ticket(1, true), order.ticket(1, true));
        assert_eq!(order.admit(first, BATCH), Some(Lane::Write));
        let fence = order.fence();
        let later = order.ticket(2, true);
        assert_eq!(order.admit(later, BATCH), None);
        order.park(later, "later");
        order.hold(first, Lane::Write);
        assert_eq!(order.open_fence(), None, "a call that is made again is before it still");
        order.release(first);
        assert_eq!(order.admit(second, BATCH), Some(Lane::Write));
        assert_eq!(order.open_fence(), None);
        order.finish(second, Lane::Write);
        assert_eq!(order.open_fence(), Some(fence));
        assert_eq!(order.lift(fence), [2]);
        assert_eq!(order.unpark(2), Some("later"));
        assert_eq!(order.admit(later, BATCH), Some(Lane::Write));
    }

    #[test]
    fn alone_calls_on_a_key_go_one_after_the_other_unless_both_read() {
        let mut order = KeyOrder::<()>::default();
        let (a, b, c) = (order.ticket(1, false), order.ticket(1, false), order.ticket(1, true));
        assert_eq!(order.admit(a, Way::Alone), Some(Lane::Read));
        assert_eq!(order.admit(b, Way::Alone), Some(Lane::Read));
        assert_eq!(order.admit(c, Way::Alone), None);
        order.finish(a, Lane::Read);
        order.finish(b, Lane::Read);
        assert_eq!(order.admit(c, Way::Alone), Some(Lane::Write));
        let d = order.ticket(1, false);
        assert_eq!(order.admit(d, Way::Alone), None);
        assert_eq!(order.admit(d, BATCH), None);
    }

    #[test]
    fn writes_of_a_key_that_go_to_different_nodes_wait_for_each_other() {
        let mut order = KeyOrder::<()>::default();
        let (a, b) = (order.ticket(1, true), order.ticket(1, true));
        assert_eq!(order.admit(a, Way::Batch(0)), Some(Lane::Write));
        assert_eq!(order.admit(b, Way::Batch(1)), None);
        order.finish(a, Lane::Write);
        assert_eq!(order.admit(b, Way::Batch(1)), Some(Lane::Write));
    }
}
