use norikv_core::{Delete, DeleteRange, DeleteRangeResult, DeleteResult, Error, Put, PutResult, Result};
use tokio::sync::oneshot::Sender;

use crate::pending::Pending;

/// Where an answer goes.
pub(crate) type Reply<T> = Sender<Result<T>>;

/// A call on its way to the writer.
pub(crate) struct Job {
    pub(crate) work: Work,
    /// Counted as pending until it is answered.
    pub(crate) pending: Option<Pending>,
}

/// What the writer is to do.
pub(crate) enum Work {
    Put(Put, Reply<PutResult>),
    Delete(Delete, Reply<DeleteResult>),
    DeleteRange(DeleteRange, Reply<DeleteRangeResult>),
    /// Nothing: it answers the revision at its place in the order, once that is published.
    Barrier(Reply<u64>),
    /// Forget the history before a revision.
    Compact(u64, Reply<()>),
}

/// The outcome of a job, to be sent once the group it belongs to is published.
pub(crate) enum Answer {
    Put(Reply<PutResult>, Result<PutResult>),
    Delete(Reply<DeleteResult>, Result<DeleteResult>),
    DeleteRange(Reply<DeleteRangeResult>, Result<DeleteRangeResult>),
    Barrier(Reply<u64>, Result<u64>),
}

impl Job {
    /// The bytes it holds in the queue.
    pub(crate) fn bytes(&self) -> usize {
        match &self.work {
            Work::Put(put, _) => put.key.len() + put.value.len(),
            Work::Delete(delete, _) => delete.key.len(),
            Work::DeleteRange(..) | Work::Barrier(_) | Work::Compact(..) => 0,
        }
    }

    /// Whether its caller has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        match &self.work {
            Work::Put(_, reply) => reply.is_closed(),
            Work::Delete(_, reply) => reply.is_closed(),
            Work::DeleteRange(_, reply) => reply.is_closed(),
            Work::Barrier(reply) => reply.is_closed(),
            Work::Compact(_, reply) => reply.is_closed(),
        }
    }
}

impl Answer {
    /// Sends it. A caller that has gone does not miss it.
    pub(crate) fn send(self) {
        match self {
            Self::Put(reply, result) => drop(reply.send(result)),
            Self::Delete(reply, result) => drop(reply.send(result)),
            Self::DeleteRange(reply, result) => drop(reply.send(result)),
            Self::Barrier(reply, result) => drop(reply.send(result)),
        }
    }

    /// The same with an error in place of its result.
    pub(crate) fn failed(self, error: &Error) -> Self {
        match self {
            Self::Put(reply, _) => Self::Put(reply, Err(error.clone())),
            Self::Delete(reply, _) => Self::Delete(reply, Err(error.clone())),
            Self::DeleteRange(reply, _) => Self::DeleteRange(reply, Err(error.clone())),
            Self::Barrier(reply, _) => Self::Barrier(reply, Err(error.clone())),
        }
    }
}
