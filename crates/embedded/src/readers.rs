use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use norikv_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::{read::Wanted, shared::Shared};

/// How many reads wait for the disk at a time.
const THREADS: usize = 4;

type Read = Box<dyn FnOnce(&Shared) + Send>;

/// Threads that wait for the disk, so that no task has to. They start when they are needed first.
#[derive(Clone, Default)]
pub(crate) struct Readers(Arc<Pool>);

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    something: Condvar,
}

#[derive(Default)]
struct State {
    reads: VecDeque<Read>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, shared: &Shared) {
        let mut state = self.state();
        loop {
            if let Some(read) = state.reads.pop_front() {
                drop(state);
                // A read that panics has no answer, but the thread is there for those that wait behind it.
                if catch_unwind(AssertUnwindSafe(|| read(shared))).is_err() {
                    tracing::error!("a read panicked");
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

impl Readers {
    /// Has a read done on one of the threads.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        shared: &Arc<Shared>,
        read: impl FnOnce(&Shared, Wanted<'_>) -> Result<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.0.state();
        if state.closed {
            return Err(Error::closed("the store"));
        }
        if state.idle <= state.reads.len() && state.threads < THREADS {
            let (pool, shared) = (Arc::clone(&self.0), Arc::clone(shared));
            match thread::Builder::new().name("norikv-read".into()).spawn(move || pool.work(&shared)) {
                Ok(_) => state.threads += 1,
                Err(_) if state.threads > 0 => {}
                Err(error) => {
                    let message = "no thread to read from the disk with; the process has too many";
                    return Err(Error::new(ErrorKind::ResourceExhausted, message).caused_by(error));
                }
            }
        }
        state.reads.push_back(Box::new(move |shared| {
            if !reply.is_closed() {
                let answer = read(shared, &|| !reply.is_closed());
                drop(reply.send(answer));
            }
        }));
        drop(state);
        self.0.something.notify_one();
        Ok(answer)
    }

    /// Ends the threads once they have done what waits.
    pub(crate) fn close(&self) {
        self.0.state().closed = true;
        self.0.something.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{EmbeddedStore, Settings};

    #[tokio::test]
    async fn reads_that_panic_take_no_thread_with_them() {
        let store = EmbeddedStore::memory(Settings::default()).unwrap();
        let shared = store.shared().unwrap();
        let readers = Readers::default();
        for _ in 0..THREADS * 2 {
            let answer = readers.run::<()>(&shared, |_, _| panic!("for the test")).unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
            assert!(answer.expect("the read is done").is_err());
        }
        let answer = readers.run(&shared, |_, _| Ok(7)).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
        assert_eq!(answer.expect("there is a thread left").unwrap().unwrap(), 7);
        readers.close();
    }
}
