use std::{
    cell::RefCell,
    sync::{Arc, Weak},
    thread,
};

use norikv_core::{Error, Result};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// The core's own thread, with a runtime of its own, so that a busy event loop holds up nothing but itself.
///
/// One per JavaScript thread, shared by its clients and servers. It starts with the first of them and ends with
/// the last, so that a script that closed everything leaves no thread behind.
pub(crate) struct Runtime {
    handle: Handle,
    /// Dropped with the last owner, which ends the thread.
    _stop: oneshot::Sender<()>,
}

thread_local! {
    static CURRENT: RefCell<Weak<Runtime>> = const { RefCell::new(Weak::new()) };
}

impl Runtime {
    /// The runtime of this JavaScript thread.
    pub(crate) fn current() -> Result<Arc<Self>> {
        CURRENT.with_borrow_mut(|current| {
            if let Some(runtime) = current.upgrade() {
                return Ok(runtime);
            }
            let runtime = Arc::new(Self::start()?);
            *current = Arc::downgrade(&runtime);
            Ok(runtime)
        })
    }

    fn start() -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            // Opening a store on disk blocks; it is rare.
            .max_blocking_threads(4)
            .build()
            .map_err(|error| Error::internal("the core's runtime did not start").caused_by(error))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("norikv".to_owned())
            .spawn(move || {
                // Ends when the sender is dropped, which is its only message.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })
            .map_err(|error| Error::internal("the core's thread did not start").caused_by(error))?;
        Ok(Self { handle, _stop: stop })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}
