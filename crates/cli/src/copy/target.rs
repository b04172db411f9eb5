use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use norikv_core::{Delete, Error, FieldName, Result, StoreRef};
use tokio::time::Instant;

use super::{patience::Patience, progress::shown, wanted::Wanted};

/// One write: what a key is to have, or that it is to go.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) key: Bytes,
    pub(crate) wanted: Option<Wanted>,
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) puts: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) deletes: AtomicU64,
}

/// The target, and how it is written into.
pub(crate) struct Target {
    pub(crate) store: StoreRef,
    pub(crate) patience: Patience,
    pub(crate) written: Written,
    /// How many writes are under way at a time.
    concurrency: usize,
    pace: Option<Pace>,
}

/// How fast is written at most.
struct Pace {
    /// How long one write takes at least, on average.
    each: Duration,
    /// When the next may begin.
    next: Instant,
}

impl Target {
    pub(crate) fn new(
        store: &StoreRef,
        patience: Patience,
        concurrency: usize,
        most_per_second: Option<u32>,
    ) -> Self {
        let pace = most_per_second
            .map(|most| Pace { each: Duration::from_secs(1) / most.max(1), next: Instant::now() });
        Self { store: Arc::clone(store), patience, written: Written::default(), concurrency, pace }
    }

    /// Writes, each key once, in no order. What fails is written again, for some time.
    pub(crate) async fn write(&mut self, ops: Vec<Op>) -> Result<()> {
        // With a pace, no more begin at a time than fit into a tenth of a second.
        let most = self.pace.as_ref().map_or(usize::MAX, |pace| {
            usize::try_from(100_000_000 / pace.each.as_nanos().max(1)).unwrap_or(usize::MAX).max(1)
        });
        let mut rest = ops.into_iter();
        loop {
            let part: Vec<_> = rest.by_ref().take(most).collect();
            if part.is_empty() {
                return Ok(());
            }
            if let Some(pace) = &mut self.pace {
                tokio::time::sleep_until(pace.next).await;
                let count = u32::try_from(part.len()).unwrap_or(u32::MAX);
                pace.next = pace.next.max(Instant::now()) + pace.each.saturating_mul(count);
            }
            let this = &*self;
            let mut writes = stream::iter(part).map(|op| this.apply(op)).buffer_unordered(this.concurrency);
            while let Some(done) = writes.next().await {
                done?;
            }
        }
    }

    async fn apply(&self, op: Op) -> Result<()> {
        let key = op.key.clone();
        self.try_apply(op).await.map_err(|error| {
            let message = format!("cannot write key {} into the target: {}", shown(&key), error.message());
            Error::new(error.kind(), message).with(FieldName::Key, key).caused_by(error)
        })
    }

    async fn try_apply(&self, op: Op) -> Result<()> {
        let put = match &op.wanted {
            Some(wanted) => wanted.put(&op.key)?,
            None => None,
        };
        let Some(put) = put else {
            let delete = Delete::new(op.key);
            let done = self.patience.ask(|call| self.store.delete(delete.clone(), call)).await?;
            self.written.deletes.fetch_add(done.deleted.into(), Ordering::Relaxed);
            return Ok(());
        };
        self.patience.ask(|call| self.store.put(put.clone(), call)).await?;
        self.written.puts.fetch_add(1, Ordering::Relaxed);
        self.written.bytes.fetch_add((put.key.len() + put.value.len()) as u64, Ordering::Relaxed);
        Ok(())
    }
}
