//! A call of the model as one of a store.

use std::time::Duration;

use bytes::Bytes;
use norikv_conformance::{to_get, to_put, when, within};
use norikv_core::{
    Call, CompareOp, CompareTarget, Consistency, Delete, Entry, Error, ErrorKind, Field, FieldName, Get,
    Precondition, Put, Result, Store, Txn, TxnOpResult, Version,
};

use super::model::{Key, Op, Ret};

pub(crate) const KEYS: [&str; 3] = ["a", "b", "c"];

/// What is known of a call that came to an end.
pub(crate) enum Answer {
    Is(Ret),
    /// Nobody knows whether it happened.
    Unknown,
    /// It failed, and did nothing.
    Never,
}

/// Makes a call.
pub(crate) async fn make(store: &dyn Store, op: &Op, most: Duration) -> Answer {
    let failed = |error: &Error| match error.kind() {
        ErrorKind::VersionMismatch | ErrorKind::AlreadyExists => {
            Answer::Is(Ret::Refused(error.version(FieldName::Actual).map(|version| version.index)))
        }
        ErrorKind::DeadlineExceeded => Answer::Unknown,
        _ if matches!(error.field(FieldName::Outcome), Some(Field::Text(text)) if &**text == "unknown") => {
            Answer::Unknown
        }
        // Not answered at all, because the server is gone.
        ErrorKind::Unavailable
        | ErrorKind::Connection
        | ErrorKind::NoNodesAvailable
        | ErrorKind::RetryExhausted => Answer::Never,
        _ => panic!("{op:?} failed: {error:?}"),
    };
    try_make(store, op, Call::with_timeout(most)).await.map_or_else(|error| failed(&error), Answer::Is)
}

async fn try_make(store: &dyn Store, op: &Op, call: Call) -> Result<Ret> {
    let key = |key: Key| Bytes::from(KEYS[key]);
    let put = async |put: Put| Ok(Ret::Written(within(call, store.put(put, call)).await?.version.index));
    match op.clone() {
        Op::Begin(_) | Op::End => Ok(Ret::Nothing),
        Op::Get(of) => {
            let request = Get { key: key(of), consistency: Consistency::default() };
            Ok(Ret::Found(within(call, store.get(request, call)).await?.as_ref().map(found)))
        }
        Op::Put(of, value) => put(Put::new(key(of), value)).await,
        Op::Delete(of) => {
            let done = within(call, store.delete(Delete::new(key(of)), call)).await?;
            Ok(Ret::Deleted(done.deleted, done.version.index))
        }
        Op::Cas(of, at, value) => {
            let precondition = Precondition::Version(Version::new(1, at));
            put(Put { precondition, ..Put::new(key(of), value) }).await
        }
        Op::Create(of, value) => {
            put(Put { precondition: Precondition::NotExists, ..Put::new(key(of), value) }).await
        }
        Op::Revision => Ok(Ret::Revision(within(call, store.status(call)).await?.version.index)),
        Op::Txn { keys: [a, b], at, value } => {
            let at = if at == 0 { Version::ZERO } else { Version::new(1, at) };
            let request = Txn {
                compares: vec![when(key(a), CompareOp::Equal, CompareTarget::Version(at))],
                then: vec![
                    to_get(key(a)),
                    to_get(key(b)),
                    to_put(key(a), value.clone()),
                    to_put(key(b), value),
                ],
                otherwise: vec![to_get(key(a)), to_get(key(b))],
            };
            let done = within(call, store.txn(request, call)).await?;
            let read = |at: usize| match &done.results[at] {
                TxnOpResult::Get(entry) => entry.as_ref().map(found),
                result => panic!("{result:?} to a get"),
            };
            Ok(Ret::Txn {
                succeeded: done.succeeded,
                revision: done.version.index,
                found: [read(0), read(1)],
            })
        }
    }
}

pub(crate) fn found(entry: &Entry) -> (String, u64) {
    (String::from_utf8(entry.value.to_vec()).unwrap(), entry.version.index)
}
