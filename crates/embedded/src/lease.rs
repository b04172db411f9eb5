//! The leases of a store: which there are, and when they run out.

use std::{
    collections::{BTreeSet, HashMap},
    ops::{Bound, ControlFlow},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use norikv_core::{Error, ErrorKind, LeaseId, Order, Result, Ttl};

use crate::{
    engine::{Cell, Engine, Table},
    keys,
    shared::Shared,
};

/// The most keys of a lease that are listed.
const MAX_KEYS: usize = 10_000;

/// The most leases of a store.
pub(crate) const MAX_LEASES: usize = 1_000_000;

/// The leases there are. Only the writer adds and removes them; callers keep them alive, which touches no disk:
/// after a restart every lease has its full time again.
#[derive(Default)]
pub(crate) struct Leases(Mutex<State>);

#[derive(Default)]
struct State {
    leases: HashMap<LeaseId, Lease>,
    due: BTreeSet<(Instant, LeaseId)>,
}

#[derive(Clone, Copy)]
struct Lease {
    ttl: Duration,
    /// By the monotonic clock: a lease that lived on while the machine slept has not been promised to anybody else.
    deadline: Instant,
}

/// How long a lease was granted for, and how long it has left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) granted: Duration,
    pub(crate) remaining: Duration,
}

impl Leases {
    /// The leases that the engine holds, each with its full time to live.
    pub(crate) fn load(engine: &dyn Engine) -> Result<Self> {
        let mut state = State::default();
        let now = Instant::now();
        let mut damaged = false;
        let bounds = (Bound::Included(&[keys::LEASE][..]), Bound::Excluded(&[keys::LEASE + 1][..]));
        engine.scan(Table::System, bounds, Order::Ascending, &mut |row: Cell<'_>, value: Cell<'_>| {
            match keys::parse_lease(&row).zip(decode_ttl(&value)) {
                Some((id, ttl)) => {
                    state.add(id, ttl, now);
                    ControlFlow::Continue(())
                }
                None => {
                    damaged = true;
                    ControlFlow::Break(())
                }
            }
        })?;
        if damaged {
            return Err(Error::new(
                ErrorKind::Corruption,
                "a stored lease cannot be read; restore the store from a backup",
            ));
        }
        Ok(Self(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is such a lease that has not run out.
    pub(crate) fn is_alive(&self, id: LeaseId) -> bool {
        self.left(id).is_some()
    }

    /// Whether the id is taken, be the lease alive or about to be ended.
    pub(crate) fn has(&self, id: LeaseId) -> bool {
        self.state().leases.contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.state().leases.len()
    }

    /// How long a lease has left; `None` if it has run out, even if its keys are still there.
    pub(crate) fn left(&self, id: LeaseId) -> Option<Left> {
        let lease = *self.state().leases.get(&id)?;
        let remaining =
            lease.deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(Left { granted: lease.ttl, remaining })
    }

    /// The leases that have not run out, in the order of their ids.
    pub(crate) fn ids(&self) -> Vec<LeaseId> {
        let now = Instant::now();
        let state = self.state();
        let alive = state.leases.iter().filter(|(_, lease)| lease.deadline > now);
        let mut ids: Vec<_> = alive.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Gives leases their full time to live again. One that has run out stays so.
    pub(crate) fn keep_alive(&self, ids: &[LeaseId]) -> Vec<Option<Duration>> {
        let mut guard = self.state();
        // The time at which they are looked at. One from before the wait for the lock could call a lease back that
        // the writer has begun to end meanwhile.
        let now = Instant::now();
        let State { leases, due } = &mut *guard;
        let keep = |id: &LeaseId| {
            let lease = leases.get_mut(id).filter(|lease| lease.deadline > now)?;
            due.remove(&(lease.deadline, *id));
            lease.deadline = after(now, lease.ttl);
            due.insert((lease.deadline, *id));
            Some(lease.ttl)
        };
        ids.iter().map(keep).collect()
    }

    /// A lease was granted.
    pub(crate) fn add(&self, id: LeaseId, ttl: Duration) {
        self.state().add(id, ttl, Instant::now());
    }

    /// A lease is over.
    pub(crate) fn remove(&self, id: LeaseId) {
        let mut state = self.state();
        if let Some(lease) = state.leases.remove(&id) {
            state.due.remove(&(lease.deadline, id));
        }
    }

    /// How long until the first lease runs out; `None` if there is none.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let (deadline, _) = *self.state().due.first()?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// The first leases that have run out.
    pub(crate) fn due(&self, most: usize) -> Vec<LeaseId> {
        let now = Instant::now();
        let state = self.state();
        state.due.iter().take_while(|(deadline, _)| *deadline <= now).take(most).map(|(_, id)| *id).collect()
    }
}

impl State {
    fn add(&mut self, id: LeaseId, ttl: Duration, now: Instant) {
        let deadline = after(now, ttl);
        self.leases.insert(id, Lease { ttl, deadline });
        self.due.insert((deadline, id));
    }
}

/// Times to live end at ten years, which no clock is that close to its end for.
fn after(now: Instant, ttl: Duration) -> Instant {
    now.checked_add(ttl).unwrap_or(now)
}

/// The keys of a lease, in their order.
pub(crate) fn keys_of(shared: &Shared, id: LeaseId) -> Result<Vec<Bytes>> {
    let mut keys = Vec::new();
    let (start, end) = (keys::lease_key(id, b""), keys::lease_keys_end(id));
    let bounds = (Bound::Included(&*start), Bound::Excluded(&*end));
    shared.engine.scan(Table::System, bounds, Order::Ascending, &mut |row: Cell<'_>, _| {
        keys.extend(keys::parse_lease_key(&row).map(Bytes::copy_from_slice));
        if keys.len() <= MAX_KEYS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if keys.len() > MAX_KEYS {
        return Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!("lease {id} has more than {MAX_KEYS} keys, the most that are listed; ask without keys"),
        ));
    }
    // A row may be of a group that is not published yet, or of one that failed.
    let mut result = Ok(());
    keys.retain(|key| match shared.get_newest(key, shared.published()) {
        Ok(entry) => entry.is_some_and(|entry| entry.lease == Some(id)),
        Err(error) => {
            result = Err(error);
            false
        }
    });
    result.map(|()| keys)
}

/// What the row of a lease holds: its time to live in milliseconds, u64, little-endian.
pub(crate) fn encode_ttl(ttl: Ttl) -> Bytes {
    Bytes::copy_from_slice(&ttl.as_millis().to_le_bytes())
}

fn decode_ttl(value: &[u8]) -> Option<Duration> {
    let millis = u64::from_le_bytes(value.try_into().ok()?);
    Ttl::from_millis(millis).ok().map(Ttl::as_duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{MemoryEngine, Op};

    fn id(id: u64) -> LeaseId {
        LeaseId::new(id).unwrap()
    }

    #[test]
    fn leases_run_out_in_the_order_of_their_deadlines_unless_they_are_kept_alive() {
        let leases = Leases::default();
        leases.add(id(1), Duration::ZERO);
        leases.add(id(2), Duration::from_secs(60));
        leases.add(id(3), Duration::ZERO);
        let mut due = leases.due(9);
        due.sort_unstable();
        assert_eq!(due, [id(1), id(3)]);
        assert_eq!(leases.due(1).len(), 1);
        // What has run out is not called back.
        let kept = leases.keep_alive(&[id(1), id(2), id(9)]);
        assert_eq!(kept, [None, Some(Duration::from_secs(60)), None]);
        assert_eq!(leases.ids(), [id(2)]);
        leases.remove(id(1));
        leases.remove(id(3));
        assert!(leases.due(9).is_empty());
        assert!(leases.due_in().unwrap() > Duration::from_secs(50));
        leases.remove(id(2));
        assert!(leases.due_in().is_none());
    }

    #[test]
    fn a_lease_that_runs_out_while_its_keep_alive_waits_is_not_called_back() {
        let leases = Leases::default();
        leases.add(id(1), Duration::from_millis(50));
        std::thread::scope(|scope| {
            let state = leases.state();
            let kept = scope.spawn(|| leases.keep_alive(&[id(1)]));
            std::thread::sleep(Duration::from_millis(100));
            drop(state);
            assert_eq!(kept.join().unwrap(), [None]);
        });
    }

    #[test]
    fn leases_are_read_back_with_their_full_time_and_damaged_ones_are_corruption() {
        let engine = MemoryEngine::new();
        let row = |id, value: Bytes| Op { table: Table::System, key: keys::lease(id), value: Some(value) };
        engine.commit(vec![row(id(7), encode_ttl(Ttl::from_millis(60_000).unwrap()))], false).unwrap();
        let leases = Leases::load(&engine).unwrap();
        assert!(leases.left(id(7)).unwrap().remaining > Duration::from_secs(50));
        engine.commit(vec![row(id(8), Bytes::from_static(b"?"))], false).unwrap();
        assert!(matches!(Leases::load(&engine), Err(error) if error.kind() == ErrorKind::Corruption));
    }
}
