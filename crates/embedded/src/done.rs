use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

/// Tells, to tasks and to threads, that something is over.
#[derive(Clone, Default)]
pub(crate) struct Done(Arc<Inner>);

#[derive(Default)]
struct Inner {
    done: Mutex<bool>,
    threads: Condvar,
    tasks: Notify,
}

/// Says so when it is dropped.
pub(crate) struct DoneOnDrop(Done);

impl Done {
    pub(crate) fn on_drop(&self) -> DoneOnDrop {
        DoneOnDrop(self.clone())
    }

    fn is_done(&self) -> bool {
        *self.0.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn wait(&self) {
        let told = self.0.tasks.notified();
        let mut told = std::pin::pin!(told);
        // In line before the look, so that what happens in between is not missed.
        told.as_mut().enable();
        if !self.is_done() {
            told.await;
        }
    }

    pub(crate) fn wait_blocking(&self, at_most: Duration) {
        let done = self.0.done.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.threads.wait_timeout_while(done, at_most, |done| !*done));
    }
}

impl Drop for DoneOnDrop {
    fn drop(&mut self) {
        let inner = &self.0.0;
        *inner.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        inner.threads.notify_all();
        inner.tasks.notify_waiters();
    }
}
