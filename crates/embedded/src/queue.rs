use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use norikv_core::{Error, Result};
use tokio::sync::{Notify, Semaphore, TryAcquireError};

use crate::job::Job;

/// The writes on their way to the writer, in the order in which they were called.
///
/// It is bounded in number and in bytes. Who finds it full waits at the door, in line, so that the order holds.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Tells the writer, when it sleeps, that there is something.
    something: Condvar,
    /// Held by whoever puts a job in. It is fair: nobody overtakes who waits for it.
    door: Semaphore,
    /// Tells the holder of the door that there is room.
    room: Notify,
    max_jobs: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    bytes: usize,
    closed: bool,
    /// The writer sleeps, and is to be woken when there are so many jobs.
    wake_writer_at: Option<usize>,
    someone_wants_room: bool,
    /// The writer is to think again about when it wants to be woken.
    nudged: bool,
}

/// Why the writer was given what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// There are jobs.
    Jobs,
    /// The time it asked to be woken at has come, or may be another one now.
    Timeout,
    /// The queue is closed and there are no more jobs.
    Closed,
}

impl Queue {
    pub(crate) fn new(max_jobs: usize, max_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            something: Condvar::new(),
            door: Semaphore::new(1),
            room: Notify::new(),
            max_jobs: max_jobs.max(1),
            max_bytes,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job in, when there is room for it.
    ///
    /// The job has its place in the order from the first poll on.
    pub(crate) async fn push(&self, job: Job) -> Result<()> {
        let closed = || Error::closed("the store");
        let _door = match self.door.try_acquire() {
            Ok(door) => door,
            Err(TryAcquireError::NoPermits) => self.door.acquire().await.map_err(|_| closed())?,
            Err(TryAcquireError::Closed) => return Err(closed()),
        };
        let bytes = job.bytes();
        let mut job = Some(job);
        loop {
            {
                let mut state = self.state();
                if state.closed {
                    return Err(closed());
                }
                let fits = state.jobs.len() < self.max_jobs && state.bytes + bytes <= self.max_bytes;
                if fits || state.jobs.is_empty() {
                    state.bytes += bytes;
                    state.jobs.extend(job.take());
                    if state.wake_writer_at.is_some_and(|enough| state.jobs.len() >= enough) {
                        state.wake_writer_at = None;
                        self.something.notify_one();
                    }
                    return Ok(());
                }
                state.someone_wants_room = true;
            }
            self.room.notified().await;
        }
    }

    /// For the writer: takes everything there is, or sleeps until there is something or the time has come.
    pub(crate) fn take(&self, into: &mut Vec<Job>, wake_at: Option<Instant>) -> Taken {
        let mut state = self.state();
        loop {
            if !state.jobs.is_empty() {
                std::mem::swap(&mut state.jobs, into);
                state.bytes = 0;
                if std::mem::take(&mut state.someone_wants_room) {
                    self.room.notify_one();
                }
                return Taken::Jobs;
            }
            if state.closed {
                return Taken::Closed;
            }
            if std::mem::take(&mut state.nudged) {
                return Taken::Timeout;
            }
            match self.sleep(state, 1, wake_at) {
                Some(woken) => state = woken,
                None => return Taken::Timeout,
            }
        }
    }

    /// Has the writer think again about when it wants to be woken.
    pub(crate) fn nudge(&self) {
        self.state().nudged = true;
        self.something.notify_one();
    }

    /// For the writer: waits until there are so many jobs, but not beyond a time.
    pub(crate) fn wait_for_company(&self, jobs: usize, until: Instant) {
        let jobs = jobs.min(self.max_jobs);
        let mut state = self.state();
        while state.jobs.len() < jobs && !state.closed && !state.someone_wants_room {
            match self.sleep(state, jobs, Some(until)) {
                Some(woken) => state = woken,
                None => return,
            }
        }
    }

    /// Sleeps until woken; `None` when it is past the time.
    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        jobs: usize,
        until: Option<Instant>,
    ) -> Option<MutexGuard<'a, State>> {
        state.wake_writer_at = Some(jobs);
        let mut state = match until {
            None => self.something.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    state.wake_writer_at = None;
                    return None;
                }
                self.something.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.wake_writer_at = None;
        Some(state)
    }

    /// Refuses further jobs. Those that are in stay in.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.door.close();
        self.room.notify_one();
        self.something.notify_one();
    }

    /// Closes, and lets go of what waits: there is no writer any more.
    pub(crate) fn abandon(&self) {
        self.close();
        let jobs = std::mem::take(&mut self.state().jobs);
        drop(jobs);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.door.is_closed()
    }
}
