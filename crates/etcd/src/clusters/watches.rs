//! Watches over all clusters: what each tells is told as it comes, with the moment that it makes.

use std::{sync::Arc, time::Duration};

use futures_util::{
    StreamExt as _,
    future::try_join_all,
    stream::{self, BoxStream, SelectAll},
};
use norikv_core::{
    Backoff, Call, Error, ErrorKind, FieldName, Result, Store as _, Version, Watch, WatchBatch, Watching,
};
use tokio::time::sleep;

use crate::{
    clusters::{scans::no_moment, store::Clusters},
    entries::version,
};

/// How long it may take to write the base of a moment before it is tried again.
const BASE: Duration = Duration::from_secs(5);

impl Clusters {
    /// Follows a range in all clusters. The order is that of each of them; between two there is none.
    pub(crate) async fn watch_all(self: Arc<Self>, request: Watch, call: Call) -> Result<Watching> {
        let from = match request.from {
            None => None,
            Some(asked) => {
                Some(self.moments.read(asked, call).await?.ok_or_else(|| no_moment(asked, "watched"))?)
            }
        };
        let begin = self.each().enumerate().map(|(cluster, store)| {
            let from =
                from.as_ref().map(|from| version(i64::try_from(from.from(cluster)).unwrap_or(i64::MAX)));
            store.watch(Watch { from, ..request.clone() }, call)
        });
        let watchings = match try_join_all(begin).await {
            Ok(watchings) => watchings,
            Err(error) => return Err(self.history(error, request.from, call).await),
        };
        let revisions: Vec<u64> = watchings.iter().map(|watching| watching.start.index).collect();
        let start = self.moments.version(&revisions, None, Version::ZERO, call).await?;
        let streams = watchings
            .into_iter()
            .enumerate()
            .map(|(cluster, watching)| watching.batches.map(move |batch| (cluster, batch)).boxed());
        let merged = Merged {
            streams: stream::select_all(streams),
            clusters: self,
            revisions,
            least: request.from.map_or(start, |from| from.max(start)),
            last: start,
            ended: false,
        };
        let batches = stream::unfold(merged, |mut merged| async move {
            if merged.ended {
                return None;
            }
            let batch = merged.next().await;
            merged.ended = batch.is_err();
            Some((batch, merged))
        });
        Ok(Watching { start, batches: Box::pin(batches) })
    }
}

/// A watch under way. Of each cluster it holds no more than what that has ready.
struct Merged {
    clusters: Arc<Clusters>,
    streams: SelectAll<BoxStream<'static, (usize, Result<WatchBatch>)>>,
    revisions: Vec<u64>,
    /// What no batch is less than: whoever took the watch up counts from there.
    least: Version,
    /// Of what was told last.
    last: Version,
    ended: bool,
}

impl Merged {
    async fn next(&mut self) -> Result<WatchBatch> {
        let Some((cluster, batch)) = self.streams.next().await else {
            return Err(Error::internal("the watches of all clusters are over"));
        };
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Err(self.ended_with(error).await),
        };
        let mut is_further = false;
        if let Some(revision) = self.revisions.get_mut(cluster) {
            is_further = batch.version.index > *revision;
            *revision = batch.version.index.max(*revision);
        }
        let of = (!batch.events.is_empty()).then_some(cluster);
        // What tells that there is nothing new is of the version that there was.
        if of.is_some() || is_further {
            self.last = self.moment(of).await?;
        }
        Ok(WatchBatch { version: self.last, events: batch.events })
    }

    /// The moment of what was told.
    async fn moment(&mut self, of: Option<usize>) -> Result<Version> {
        let mut failures = 0;
        loop {
            let call = Call::with_timeout(BASE);
            match self.clusters.moments.version(&self.revisions, of, self.last.max(self.least), call).await {
                // As a watch outlives the loss of its cluster, it waits for that of the bases.
                Err(error) if error.retryable() => {
                    failures += 1;
                    sleep(Backoff::default().delay(failures)).await;
                }
                result => return result,
            }
        }
    }

    async fn ended_with(&mut self, error: Error) -> Error {
        if error.kind() != ErrorKind::Compacted {
            return error;
        }
        let text = format!("one of the clusters has forgotten what this watch has not told: {error}");
        let better = Error::new(ErrorKind::Compacted, text);
        match self.clusters.floor(Call::default()).await {
            Some(floor) => better.with(FieldName::CompactVersion, floor),
            None => better,
        }
        .caused_by(error)
    }
}
