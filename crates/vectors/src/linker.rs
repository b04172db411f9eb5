use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{index::Index, view::View};

/// How many changes a graph has at least before it is saved, and which part of its vectors.
const SAVE_FROM: (u64, u64) = (1_000, 10);

/// The one who links vectors into graphs and saves graphs, on a thread of its own.
pub(crate) struct Linker {
    save_every: Duration,
    pub(crate) stopped: AtomicBool,
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Linker {
    pub(crate) fn new(save_every: Duration) -> Self {
        Self { save_every, stopped: AtomicBool::new(false), woken: Mutex::new(false), wake: Condvar::new() }
    }

    /// There may be something to do.
    pub(crate) fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_one();
    }

    /// Ends it.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn wait(&self) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(woken, self.save_every, |woken| !*woken);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Links and saves until it is stopped, and saves once more.
    pub(crate) fn run(&self, view: &View) {
        let mut saved = Instant::now();
        while !self.stopped.load(Ordering::Relaxed) {
            let indexes = view.all();
            // Every index has its turn, so that a large one holds up no small one.
            let worked = indexes.iter().filter(|index| self.link(index)).count();
            if saved.elapsed() >= self.save_every {
                save(view, &indexes, |index| {
                    index.unsaved() > SAVE_FROM.0.max(index.rows().live() as u64 / SAVE_FROM.1)
                });
                saved = Instant::now();
            }
            if worked == 0 {
                self.wait();
            }
        }
        save(view, &view.all(), |index| index.unsaved() > 0);
    }

    fn link(&self, index: &Arc<Index>) -> bool {
        catch_unwind(AssertUnwindSafe(|| index.link(&self.stopped))).unwrap_or_else(|_| {
            tracing::error!(
                index = index.definition.namespace,
                "linking vectors panicked; the index goes without its graph"
            );
            index.give_up();
            true
        })
    }
}

fn save(view: &View, indexes: &[Arc<Index>], due: impl Fn(&Index) -> bool) {
    let Some(files) = view.files() else { return };
    for index in indexes.iter().filter(|index| due(index)) {
        if let Err(error) = files.save(index) {
            tracing::warn!(index = index.definition.namespace, %error, "the graph of a vector index was not saved");
        }
    }
}
