use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use norikv_core::Call;
use web_time::Instant;

use crate::driver::Running;

/// When calls are due. Those of one timeout are due in the order they came, so each timeout has a queue, and
/// nothing is searched; finished calls leave a queue when they come to its front.
#[derive(Default)]
pub(crate) struct Deadlines(Vec<(Duration, VecDeque<(Instant, u32)>)>);

impl Deadlines {
    pub(crate) fn push(&mut self, timeout: Duration, call: Call, id: u32, calls: &HashMap<u32, Running>) {
        let due = (call.deadline(), id);
        match self.0.iter_mut().find(|(queued, _)| *queued == timeout) {
            Some((_, queue)) => {
                // One slow call at the front must not make the finished ones behind it pile up.
                if queue.len() > 1_024 + 2 * calls.len() {
                    queue.retain(|(due, id)| waiting(calls, *due, *id));
                }
                queue.push_back(due);
            }
            None => self.0.push((timeout, VecDeque::from([due]))),
        }
    }

    /// The call that is due first, once those that are finished are let go of.
    pub(crate) fn first(&mut self, calls: &HashMap<u32, Running>) -> Option<(Instant, u32)> {
        self.0.retain_mut(|(_, queue)| {
            while queue.front().is_some_and(|(due, id)| !waiting(calls, *due, *id)) {
                queue.pop_front();
            }
            !queue.is_empty()
        });
        self.0.iter().filter_map(|(_, queue)| queue.front().copied()).min()
    }

    pub(crate) fn pop(&mut self, due: Instant) {
        let queue =
            self.0.iter_mut().find(|(_, queue)| queue.front().is_some_and(|(first, _)| *first == due));
        if let Some((_, queue)) = queue {
            queue.pop_front();
        }
    }
}

/// Whether a call with that deadline is still to be answered.
fn waiting(calls: &HashMap<u32, Running>, due: Instant, id: u32) -> bool {
    calls.get(&id).is_some_and(|running| running.call.deadline() == due && running.end.is_none())
}
