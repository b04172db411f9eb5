use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use norikv_core::{
    Call, Consistency, Count, Entry, Error, ErrorKind, KeyRange, Result, Scan, StoreRef, Version, Watch,
    WatchBatch, WatchBatches,
};

use super::patience::Patience;

/// A watch that asked for progress and is silent for longer has lost its store.
const SILENCE: Duration = Duration::from_secs(40);

/// The source, read at the version that its watch has come to.
pub(crate) struct Source {
    store: StoreRef,
    range: KeyRange,
    patience: Patience,
    batches: WatchBatches,
    /// The version up to which the target has everything that was told, and at which pages are read.
    pub(crate) at: Version,
}

impl Source {
    /// Begins to watch, from now on.
    pub(crate) async fn begin(store: &StoreRef, range: &KeyRange, patience: &Patience) -> Result<Self> {
        let request = Watch { progress: true, ..Watch::new(range.clone()) };
        let watching = patience.ask(|call| store.watch(request.clone(), call)).await?;
        Ok(Self {
            store: Arc::clone(store),
            range: range.clone(),
            patience: patience.clone(),
            batches: watching.batches,
            at: watching.start,
        })
    }

    /// What happens next. May be dropped, and nothing is missed.
    pub(crate) async fn next(&mut self) -> Result<WatchBatch> {
        match tokio::time::timeout(SILENCE, self.batches.next()).await {
            Ok(Some(batch)) => batch,
            Ok(None) => Err(ended("it ended without a reason")),
            Err(_) => Err(ended(&format!("it was silent for {} s", SILENCE.as_secs()))),
        }
    }

    /// What has happened already and is here.
    pub(crate) fn pending(&mut self) -> Option<Result<WatchBatch>> {
        let batch = self.batches.next().now_or_never()?;
        Some(batch.unwrap_or_else(|| Err(ended("it ended without a reason"))))
    }

    /// The entries after a key, as they were at the version that the watch has come to, and whether there are more.
    pub(crate) async fn page(&self, after: Option<&Bytes>) -> Result<(Vec<Entry>, bool)> {
        let request = Scan { version: Some(self.at), ..Scan::new(rest(&self.range, after)) };
        page(&self.store, &request, &self.patience).await
    }

    /// The source's newest version.
    pub(crate) async fn newest(&self) -> Result<Version> {
        newest(&self.store, &self.range, &self.patience).await
    }
}

/// The newest version of a store; where it is several clusters and the range is in one, that one's.
pub(crate) async fn newest(store: &StoreRef, range: &KeyRange, patience: &Patience) -> Result<Version> {
    let first = KeyRange::single(&range.start);
    let request = Count { range: first, version: None, consistency: Consistency::Linearizable };
    Ok(patience.ask(|call: Call| store.count(request.clone(), call)).await?.version)
}

/// One page, and whether there is more of it.
pub(crate) async fn page(
    store: &StoreRef,
    request: &Scan,
    patience: &Patience,
) -> Result<(Vec<Entry>, bool)> {
    let request = Scan { consistency: Consistency::Linearizable, ..request.clone() };
    let page = patience.ask(|call| store.scan(request.clone(), call)).await?;
    Ok((page.entries, page.more))
}

/// What of a range is behind a key.
pub(crate) fn rest(range: &KeyRange, after: Option<&Bytes>) -> KeyRange {
    after.map_or_else(|| range.clone(), |key| range.after(key))
}

fn ended(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the watch at the source broke: {why}"))
}
