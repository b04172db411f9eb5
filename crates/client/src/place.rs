//! Places in the order of the calls: of one call on its key, of one on many keys, and between all calls.

use std::{collections::HashMap, hash::BuildHasherDefault, sync::Arc};

use bytes::Bytes;
use norikv_core::{Error, Result, xxhash64};
use norikv_proto::ext::BatchOp;
use tokio::sync::oneshot;
use web_time::Instant;

use crate::{
    core::{Core, End, Op, Reply},
    order::{Identity, Lane, Ticket},
    transport::Transport,
};

/// A call's place in the order of its key, given up when dropped.
pub(crate) struct Place<T: Transport> {
    core: Arc<Core<T>>,
    ticket: Ticket,
    /// The lane in which the call is under way; none while it is held for another try.
    lane: Option<Lane>,
    kept: bool,
}

impl<T: Transport> Core<T> {
    /// Waits for the turn of a call on many keys, each with whether it is written: until the earlier calls on them
    /// have ended that it must not overtake. Later ones that must not overtake it wait until the places are dropped.
    ///
    /// # Errors
    /// `Closed`, and `ResourceExhausted` if too many calls wait already.
    pub(crate) async fn places<'a>(
        self: &Arc<Self>,
        keys: impl IntoIterator<Item = (&'a Bytes, bool)>,
        deadline: Instant,
    ) -> Result<Vec<Place<T>>> {
        // One place for each key, the strongest: two would wait for each other.
        let mut wanted = HashMap::<u64, bool, BuildHasherDefault<Identity>>::default();
        for (key, write) in keys {
            *wanted.entry(xxhash64(key)).or_default() |= write;
        }
        // All under one lock: places that were taken one by one could wait for each other in a circle.
        let answers = self.with(|state| {
            self.check_open()?;
            self.check_room(state)?;
            let mut answers = Vec::with_capacity(wanted.len());
            for (hash, write) in wanted {
                let (reply, answer) = oneshot::channel();
                let ticket = state.order.ticket(hash, write);
                let lane = if write { Lane::Write } else { Lane::Read };
                let (body, size) = (BatchOp::default(), size_of::<Op<T>>());
                state.offer(self, Op { ticket, lane, deadline, reply, body, size, tries: 0, alone: true });
                answers.push(answer);
            }
            Ok::<_, Error>(answers)
        })?;
        let mut places = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer.await {
                Ok(Reply { end: End::Alone(_, place), .. }) => places.push(place),
                _ => return Err(Error::closed("the client")),
            }
        }
        Ok(places)
    }

    /// Waits until every earlier call on a key has ended. Later ones wait until the barrier is dropped.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) async fn barrier(self: &Arc<Self>) -> Result<Barrier<T>> {
        let (open, opened) = oneshot::channel();
        let number = self.with(|state| {
            self.check_open()?;
            let number = state.order.fence();
            state.barriers.push_back((number, open));
            Ok::<_, Error>(number)
        })?;
        let barrier = Barrier { core: Arc::clone(self), number };
        opened.await.map_err(|_| Error::closed("the client"))?;
        Ok(barrier)
    }
}

impl<T: Transport> Place<T> {
    pub(crate) fn held(core: &Arc<Core<T>>, ticket: Ticket) -> Self {
        Self { core: Arc::clone(core), ticket, lane: None, kept: false }
    }

    pub(crate) fn under_way(core: &Arc<Core<T>>, ticket: Ticket, lane: Lane) -> Self {
        Self { core: Arc::clone(core), ticket, lane: Some(lane), kept: false }
    }

    /// The call by itself failed: its place is held for another try.
    pub(crate) fn hold(&mut self) {
        if let Some(lane) = self.lane.take() {
            let ticket = self.ticket;
            let core = Arc::clone(&self.core);
            core.with(|state| state.order.hold(ticket, lane));
        }
    }

    /// The place goes on as its ticket.
    pub(crate) fn keep(mut self) -> Ticket {
        self.kept = true;
        self.ticket
    }
}

impl<T: Transport> Drop for Place<T> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (ticket, lane) = (self.ticket, self.lane);
        let core = Arc::clone(&self.core);
        core.with(|state| match lane {
            Some(lane) => state.ended(ticket, lane),
            None => {
                if state.order.release(ticket) {
                    state.turns.push(ticket.hash);
                }
            }
        });
    }
}

/// A place between all earlier calls on keys and all later ones, given up when dropped.
pub(crate) struct Barrier<T: Transport> {
    core: Arc<Core<T>>,
    number: u64,
}

impl<T: Transport> Drop for Barrier<T> {
    fn drop(&mut self) {
        let (core, number) = (Arc::clone(&self.core), self.number);
        core.with(|state| {
            state.barriers.retain(|(other, _)| *other != number);
            let keys = state.order.lift(number);
            state.turns.extend(keys);
        });
    }
}
