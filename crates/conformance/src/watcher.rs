use std::time::Duration;

use futures_util::StreamExt as _;
use norikv_core::{
    Call, Error, ErrorKind, Event, KeyRange, Result, Store, Version, Watch, WatchBatch, WatchBatches,
    Watching,
};
use tokio::time::timeout;

use crate::{
    Check,
    ask::{call, within},
    refused,
};

/// Longer than any batch takes that is on its way.
const SOON: Duration = Duration::from_secs(20);

/// A watch that is read batch by batch, each within a bounded time.
pub struct Watcher {
    /// The version that it starts after.
    pub start: Version,
    batches: WatchBatches,
}

impl Watcher {
    /// Begins a watch.
    ///
    /// # Errors
    /// The store's.
    pub async fn begin(store: &dyn Store, watch: Watch) -> Result<Self> {
        let Watching { start, batches } = within(call(), store.watch(watch, call())).await?;
        Ok(Self { start, batches })
    }

    /// Begins a watch of every key, from a version on.
    ///
    /// # Errors
    /// The store's.
    pub async fn from(store: &dyn Store, from: Version) -> Result<Self> {
        Self::begin(store, Watch { from: Some(from), ..Watch::new(KeyRange::all()) }).await
    }

    /// The next batch, or what the watch ends with.
    ///
    /// # Errors
    /// The store's, or `DeadlineExceeded`.
    pub async fn next(&mut self) -> Result<WatchBatch> {
        match timeout(SOON, self.batches.next()).await {
            Ok(Some(batch)) => batch,
            Ok(None) => Err(Error::internal("the watch is over without an error")),
            Err(_) => Err(Call::with_timeout(SOON).deadline_exceeded()),
        }
    }

    /// The only event of the next batch.
    ///
    /// # Errors
    /// If there is no next batch, or it has not one event.
    pub async fn event(&mut self) -> Check<Event> {
        let mut batch = self.next().await?;
        assert_eq!(batch.events.len(), 1, "{batch:?}");
        let event = batch.events.pop().ok_or("a batch without an event")?;
        assert_eq!(event.entry.version, batch.version, "an event of another version than its batch");
        Ok(event)
    }
}

/// The error of a watch that must be refused in this way, when it begins or as the first thing that it tells.
///
/// # Errors
/// If it goes on, or is refused in another way.
pub async fn refused_watch(store: &dyn Store, watch: Watch, kind: ErrorKind) -> Check<Error> {
    match Watcher::begin(store, watch).await {
        Ok(mut watcher) => refused(watcher.next().await, kind),
        Err(error) => refused(Err::<(), _>(error), kind),
    }
}
