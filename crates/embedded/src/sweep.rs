use std::{ops::Bound, ops::ControlFlow, time::Duration};

use norikv_core::{Order, Result};

use crate::{
    clock::Clock,
    engine::{Cell, Engine, Table},
    keys,
    lease::Leases,
    stage::Group,
};

/// How many deadlines one group of writes carries out at most.
const MOST: usize = 1_024;

/// Knows when the next deadline is, and has it carried out.
pub(crate) struct Sweeper {
    next: Option<u64>,
    stopped: bool,
}

impl Sweeper {
    pub(crate) fn new(engine: &dyn Engine) -> Result<Self> {
        Ok(Self { next: first_deadline(engine, 0)?, stopped: false })
    }

    /// How long until the next deadline, or the end of a lease; `None` if there is none.
    pub(crate) fn due_in(&self, clock: &Clock, leases: &Leases) -> Option<Duration> {
        if self.stopped {
            return None;
        }
        [self.next.map(|at| clock.until(at)), leases.due_in()].into_iter().flatten().min()
    }

    /// A deadline was set.
    pub(crate) fn set(&mut self, deadline: Option<u64>) {
        if !self.stopped {
            self.next = [self.next, deadline].into_iter().flatten().min();
        }
    }

    /// Adds to the group what is due.
    pub(crate) fn sweep(&mut self, group: &mut Group<'_>) {
        self.sweep_entries(group);
        if !self.stopped
            && let Err(error) = group.sweep_leases(MOST)
        {
            tracing::error!(%error, "leases that ran out could not be ended; no more are tried");
            self.stop();
        }
    }

    fn sweep_entries(&mut self, group: &mut Group<'_>) {
        if self.next.is_none_or(|at| at > group.now()) {
            return;
        }
        let swept = group.sweep(MOST).and_then(|all| {
            // What was due goes with this group, if all goes well: what comes after it is next.
            let from = if all { group.now().saturating_add(1) } else { group.now() };
            Ok(if all { first_deadline(group.engine(), from)? } else { Some(from) })
        });
        match swept {
            Ok(next) => self.next = next,
            Err(error) => {
                // Readers do not see expired entries either way; only their delete events are missing.
                tracing::error!(%error, "expired entries could not be removed; no more are tried");
                self.stop();
            }
        }
    }

    /// Carries nothing out any more.
    pub(crate) fn stop(&mut self) {
        self.next = None;
        self.stopped = true;
    }
}

/// The first deadline from a time on.
fn first_deadline(engine: &dyn Engine, from: u64) -> Result<Option<u64>> {
    let start = [&[keys::DEADLINE][..], &from.to_be_bytes()].concat();
    let bounds = (Bound::Included(&*start), Bound::Excluded(&[keys::DEADLINE + 1][..]));
    let mut first = None;
    engine.scan(Table::System, bounds, Order::Ascending, &mut |row: Cell<'_>, _| {
        first = keys::deadline_time(&row);
        ControlFlow::Break(())
    })?;
    Ok(first)
}
