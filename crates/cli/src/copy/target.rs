use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use norikv_core::{Delete, Error, ErrorKind, FieldName, Put, Result, StoreRef, Txn, TxnOp, TxnOpResult};
use tokio::time::Instant;

use super::{patience::Patience, progress::shown, wanted::Wanted};

/// What one transaction takes, where writes go in transactions: so many keys, or so many bytes. etcd takes requests of 1.5 MiB.
const TXN_KEYS: usize = 64;
const TXN_BYTES: usize = 256 * 1024;
/// A put with a time to live that took longer is made again with what is left then, but no more often than so.
const PROMPT: Duration = Duration::from_secs(2);
const SLOW_PUTS: u32 = 3;

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
    /// Whether writes go in transactions: where each write takes a round of its own through a cluster, many in one are faster.
    in_txns: AtomicBool,
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
        in_txns: bool,
    ) -> Self {
        let pace = most_per_second
            .map(|most| Pace { each: Duration::from_secs(1) / most.max(1), next: Instant::now() });
        Self {
            store: Arc::clone(store),
            patience,
            written: Written::default(),
            concurrency,
            pace,
            in_txns: AtomicBool::new(in_txns),
        }
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
            let groups = if this.in_txns.load(Ordering::Relaxed) { grouped(part) } else { alone(part) };
            let mut writes =
                stream::iter(groups).map(|group| this.apply_group(group)).buffer_unordered(this.concurrency);
            while let Some(done) = writes.next().await {
                done?;
            }
        }
    }

    /// Writes a group in one transaction; one by one where the target refuses that.
    async fn apply_group(&self, group: Vec<Op>) -> Result<()> {
        if group.len() > 1 {
            match self.apply_txn(&group).await {
                // One of the keys or values is not taken, and one by one it is told which; or keys that are in several clusters
                // are not written together.
                Err(error) if matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::Unsupported) => {
                    self.in_txns.store(false, Ordering::Relaxed);
                }
                done => return done,
            }
        }
        for op in group {
            self.apply(op).await?;
        }
        Ok(())
    }

    async fn apply_txn(&self, group: &[Op]) -> Result<()> {
        let mut txn = Txn::default();
        let (mut puts, mut bytes) = (0, 0);
        for Op { key, wanted } in group {
            txn.then.push(match wanted {
                Some(wanted) => {
                    puts += 1;
                    bytes += (key.len() + wanted.value.len()) as u64;
                    TxnOp::Put(Put::new(key.clone(), wanted.value.clone()))
                }
                None => TxnOp::Delete(Delete::new(key.clone())),
            });
        }
        let done = self.patience.ask(|call| self.store.txn(txn.clone(), call)).await?;
        let deleted =
            done.results.iter().filter(|result| matches!(result, TxnOpResult::Delete(done) if done.deleted));
        self.written.deletes.fetch_add(deleted.count() as u64, Ordering::Relaxed);
        self.written.puts.fetch_add(puts, Ordering::Relaxed);
        self.written.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    async fn apply(&self, op: Op) -> Result<()> {
        let key = op.key.clone();
        self.try_apply(op).await.map_err(|error| {
            let message = format!("cannot write key {} into the target: {}", shown(&key), error.message());
            Error::new(error.kind(), message).with(FieldName::Key, key).caused_by(error)
        })
    }

    async fn try_apply(&self, op: Op) -> Result<()> {
        if let Some(wanted) = &op.wanted
            && self.put(&op.key, wanted).await?
        {
            self.written.puts.fetch_add(1, Ordering::Relaxed);
            self.written.bytes.fetch_add((op.key.len() + wanted.value.len()) as u64, Ordering::Relaxed);
            return Ok(());
        }
        let delete = Delete::new(op.key);
        let done = self.patience.ask(|call| self.store.delete(delete.clone(), call)).await?;
        self.written.deletes.fetch_add(done.deleted.into(), Ordering::Relaxed);
        Ok(())
    }

    /// Puts what is wanted. Answers whether there was any time left for it to live.
    async fn put(&self, key: &Bytes, wanted: &Wanted) -> Result<bool> {
        for _ in 0..SLOW_PUTS {
            // What is left of its time is less with each attempt.
            let attempt = |call| async move {
                let begun = Instant::now();
                let Some(put) = wanted.put(key)? else { return Ok(None) };
                self.store.put(put, call).await.map(|_| Some(begun.elapsed()))
            };
            match self.patience.ask(attempt).await? {
                None => return Ok(false),
                // The store's own attempts, or the target itself, may have had it for as long: then it ends too late.
                Some(taken) if wanted.expires_at.is_some() && taken > PROMPT => {}
                Some(_) => return Ok(true),
            }
        }
        Ok(true)
    }
}

fn alone(ops: Vec<Op>) -> Vec<Vec<Op>> {
    ops.into_iter().map(|op| vec![op]).collect()
}

/// Groups that fit into a transaction each. What has a time to live goes alone: that is counted from when it is written.
fn grouped(ops: Vec<Op>) -> Vec<Vec<Op>> {
    let (mut groups, mut group, mut bytes) = (Vec::new(), Vec::new(), 0);
    for op in ops {
        if op.wanted.as_ref().is_some_and(|wanted| wanted.expires_at.is_some()) {
            groups.push(vec![op]);
            continue;
        }
        let size = op.key.len() + op.wanted.as_ref().map_or(0, |wanted| wanted.value.len());
        if group.len() == TXN_KEYS || (bytes + size > TXN_BYTES && !group.is_empty()) {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes += size;
        group.push(op);
    }
    if !group.is_empty() {
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(number: usize, size: usize, expires_at: Option<u64>) -> Op {
        let wanted = Wanted { value: vec![0; size].into(), expires_at };
        Op { key: format!("{number:04}").into(), wanted: Some(wanted) }
    }

    #[test]
    fn groups_are_as_large_as_a_transaction_may_be_and_times_to_live_go_alone() {
        let sizes = |ops: Vec<Op>| grouped(ops).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes((0..130).map(|number| op(number, 10, None)).collect()), [64, 64, 2]);
        assert_eq!(sizes((0..3).map(|number| op(number, 200_000, None)).collect()), [1, 1, 1]);
        assert_eq!(sizes((0..3).map(|number| op(number, 1, Some(number as u64))).collect()), [1, 1, 1]);
        assert_eq!(sizes(vec![op(0, 1, None), op(1, 1, Some(9)), op(2, 1, None)]), [1, 2]);
        assert!(grouped(Vec::new()).is_empty());
    }
}
