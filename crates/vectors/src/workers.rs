use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use norikv_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// Threads that search, so that no task has to. They start when they are needed first.
#[derive(Clone)]
pub(crate) struct Workers {
    pool: Arc<Pool>,
    most: usize,
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    something: Condvar,
}

#[derive(Default)]
struct State {
    work: VecDeque<Work>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.state();
        loop {
            if let Some(work) = state.work.pop_front() {
                drop(state);
                // Work that panics has no answer, but the thread is there for what waits behind it.
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    tracing::error!("a vector search panicked");
                }
                state = self.state();
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                state = self.something.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

impl Workers {
    /// At most that many threads.
    pub(crate) fn new(most: usize) -> Self {
        Self { pool: Arc::default(), most }
    }

    /// How many threads there are at most.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Has work done on one of the threads, unless nobody waits for its answer any more when its turn comes.
    ///
    /// # Errors
    /// `Closed`; `ResourceExhausted`: the process can have no thread.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.pool.state();
        if state.closed {
            return Err(Error::closed("the store"));
        }
        if state.idle <= state.work.len() && state.threads < self.most {
            let pool = Arc::clone(&self.pool);
            match thread::Builder::new().name("norikv-vector".into()).spawn(move || pool.run()) {
                Ok(_) => state.threads += 1,
                Err(_) if state.threads > 0 => {}
                Err(error) => {
                    let message = "no thread to search vectors with; the process has too many";
                    return Err(Error::new(ErrorKind::ResourceExhausted, message).caused_by(error));
                }
            }
        }
        state.work.push_back(Box::new(move || {
            if !reply.is_closed() {
                drop(reply.send(work()));
            }
        }));
        drop(state);
        self.pool.something.notify_one();
        Ok(answer)
    }

    /// Ends the threads once they have done what waits.
    pub(crate) fn close(&self) {
        self.pool.state().closed = true;
        self.pool.something.notify_all();
    }
}
