//! Gets that are made while others are under way go to the cluster together, as one read-only transaction, which costs a member
//! and us little more than one get. A lone get goes at once, as itself.
//!
//! Each is still a read that begins after its call did: what waits is sent later than it was asked for, never earlier. A
//! transaction that only reads is linearizable if one of its reads is, so gets of the two kinds do not mix.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use etcd_client::{GetOptions, Txn, TxnOp, TxnOpResponse};
use norikv_core::{Call, Consistency, Entry, Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::{
    connection::Ask,
    reads::{unexpected, with_consistency},
    store::Inner,
};

/// The most gets in one transaction: half of what etcd allows by default.
const MOST: usize = 64;
/// How many transactions are under way at a time: with one alone, the connection would idle between them.
const LANES: usize = 2;
/// About how large an answer may be.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Gets that wait.
#[derive(Default)]
pub(crate) struct Gather {
    fresh: Lane,
    stale: Lane,
}

type Lane = Arc<Mutex<Waiting>>;

#[derive(Default)]
struct Waiting {
    under_way: usize,
    gets: Vec<One>,
}

struct One {
    key: Vec<u8>,
    call: Call,
    answer: oneshot::Sender<Result<Option<Entry>>>,
}

impl Inner {
    /// One get, by itself or with others.
    pub(crate) async fn get_gathered(
        self: &Arc<Self>,
        key: Vec<u8>,
        consistency: Consistency,
        call: Call,
    ) -> Result<Option<Entry>> {
        let stale = consistency == Consistency::StaleOk;
        let lane = if stale { &self.gather.stale } else { &self.gather.fresh };
        let (answer, answered) = oneshot::channel();
        let begin = {
            let mut waiting = lane.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.gets.push(One { key, call, answer });
            let begin = waiting.under_way < LANES;
            waiting.under_way += usize::from(begin);
            begin
        };
        if begin {
            tokio::spawn(Arc::clone(self).carry(Arc::clone(lane), consistency));
        }
        match tokio::time::timeout(call.remaining(), answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::internal("a read from etcd was interrupted")),
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable,
                "etcd did not answer within the time of the call, which waited for others that it did not answer, either",
            )),
        }
    }

    /// Makes the gets that wait until none does.
    async fn carry(self: Arc<Self>, lane: Lane, consistency: Consistency) {
        loop {
            let batch = {
                let mut waiting = lane.lock().unwrap_or_else(PoisonError::into_inner);
                // Nobody waits any more for those whose calls were cancelled.
                waiting.gets.retain(|one| !one.answer.is_closed());
                if waiting.gets.is_empty() {
                    waiting.under_way -= 1;
                    return;
                }
                let most = waiting.gets.len().min(self.most_in_one());
                let rest = waiting.gets.split_off(most);
                mem::replace(&mut waiting.gets, rest)
            };
            self.get_together(batch, consistency).await;
        }
    }

    /// As many as their answers are small enough for, as far as their size is known.
    fn most_in_one(&self) -> usize {
        let largest = self.value_bytes.load(std::sync::atomic::Ordering::Relaxed).max(1);
        (ANSWER_BYTES / largest).clamp(1, MOST)
    }

    async fn get_together(&self, batch: Vec<One>, consistency: Consistency) {
        if batch.len() > 1 {
            match self.get_in_txn(&batch, consistency).await {
                Ok(found) => {
                    for (one, found) in batch.into_iter().zip(found) {
                        let _ = one.answer.send(Ok(found)); // who cancelled does not wait for it
                    }
                    return;
                }
                // What is refused to one of them, or to so many at a time, is not refused to each.
                Err(error) if !is_of_the_cluster(error.kind()) => {}
                Err(error) => {
                    for one in batch {
                        let _ = one.answer.send(Err(error.clone()));
                    }
                    return;
                }
            }
        }
        for one in batch {
            let found = self.get_alone(one.key, consistency, one.call).await;
            let _ = one.answer.send(found);
        }
    }

    async fn get_in_txn(&self, batch: &[One], consistency: Consistency) -> Result<Vec<Option<Entry>>> {
        let gets: Vec<TxnOp> = batch
            .iter()
            .map(|one| TxnOp::get(one.key.clone(), Some(with_consistency(GetOptions::new(), consistency))))
            .collect();
        let txn = Txn::new().and_then(gets);
        // As long as the most patient of them; each of the others stops waiting when its own time is over.
        let Some(call) = batch.iter().map(|one| one.call).max_by_key(Call::deadline) else {
            return Ok(Vec::new());
        };
        let answer = self
            .connection
            .ask_kv(Ask::Read, call, |mut kv| {
                let txn = txn.clone();
                async move { kv.txn(txn).await }
            })
            .await?;
        let mut found = Vec::with_capacity(batch.len());
        for response in answer.value.op_responses() {
            let TxnOpResponse::Get(mut response) = response else { return Err(unexpected()) };
            found.push(response.take_kvs().pop().map(|found| self.seen(found)));
        }
        if found.len() == batch.len() { Ok(found) } else { Err(unexpected()) }
    }
}

/// Whether all calls would have failed so.
fn is_of_the_cluster(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable
            | ErrorKind::NoNodesAvailable
            | ErrorKind::Connection
            | ErrorKind::Closed
            | ErrorKind::DeadlineExceeded
            | ErrorKind::Unauthenticated
    )
}
