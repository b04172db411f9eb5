use norikv_core::{
    Delete, DeleteRange, DeleteRangeResult, DeleteResult, Error, LeaseGrant, LeaseGranted, LeaseId, Put,
    PutResult, Result, Txn, TxnResult, Version,
};
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

macro_rules! jobs {
    ($($(#[$doc:meta])* $name:ident($request:ty) -> $answer:ty;)*) => {
        /// What the writer is to do.
        pub(crate) enum Work {
            $($(#[$doc])* $name($request, Reply<$answer>),)*
            /// Forget the history before a revision.
            Compact(u64, Reply<()>),
        }

        impl Work {
            /// Whether its caller has gone.
            fn is_abandoned(&self) -> bool {
                match self {
                    $(Self::$name(_, reply) => reply.is_closed(),)*
                    Self::Compact(_, reply) => reply.is_closed(),
                }
            }
        }

        /// The outcome of a job, to be sent once the group it belongs to is published.
        pub(crate) enum Answer {
            $($name(Reply<$answer>, Result<$answer>),)*
        }

        impl Answer {
            /// Sends it. A caller that has gone does not miss it.
            pub(crate) fn send(self) {
                match self {
                    $(Self::$name(reply, result) => drop(reply.send(result)),)*
                }
            }

            /// The same with an error in place of its result.
            pub(crate) fn failed(self, error: &Error) -> Self {
                match self {
                    $(Self::$name(reply, _) => Self::$name(reply, Err(error.clone())),)*
                }
            }
        }
    };
}

jobs! {
    Put(Put) -> PutResult;
    Delete(Delete) -> DeleteResult;
    DeleteRange(DeleteRange) -> DeleteRangeResult;
    Txn(Box<Txn>) -> TxnResult;
    Grant(LeaseGrant) -> LeaseGranted;
    Revoke(LeaseId) -> Version;
    /// Nothing: it answers the revision at its place in the order, once that is published.
    Barrier(()) -> u64;
}

impl Job {
    /// The bytes it holds in the queue.
    pub(crate) fn bytes(&self) -> usize {
        match &self.work {
            Work::Put(put, _) => put.key.len() + put.value.len(),
            Work::Delete(delete, _) => delete.key.len(),
            Work::Txn(txn, _) => txn.bytes(),
            _ => 0,
        }
    }

    /// Whether its caller has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.work.is_abandoned()
    }
}
