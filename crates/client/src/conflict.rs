//! Conditional writes that were refused: which refusal it is, and whether it can be believed.
//!
//! Two things make that a question. A server of `norikv.v1` alone says `FAILED_PRECONDITION` and nothing else. And
//! when the reply to a first attempt was lost, the refusal of the repeat may be the doing of the first: the write
//! won, and then stood in its own way.
//!
//! The second is settled by reading back, and only where what is read proves that the first attempt did not win.
//! That the entry holds the value that was to be written proves nothing: of two callers who both count from 5 to
//! 6, one won, and both would claim it. So a lost reply never becomes a success here; it becomes the refusal where
//! that is certain, and otherwise `Unavailable` with the outcome unknown.

use std::sync::Arc;

use bytes::Bytes;
use norikv_core::{
    Call, Consistency, Entry, Error, ErrorKind, FieldName, KeyRange, Precondition, Result, Version, xxhash64,
};
use norikv_proto::{
    consistency_to_wire, entry_from_wire,
    ext::{self, BatchOp, batch_op::Op, batch_result::Result as Answer},
    v1,
};

use crate::{
    calls::{AnyCall, KeyCall, on_any, on_key},
    core::Core,
    transport::Transport,
};

pub(crate) const RANGE: &str = "/norikv.ext.v1.Store/Range";

/// A conditional write that was refused.
pub(crate) struct Refused<'a> {
    pub(crate) key: &'a Bytes,
    /// The value of a put; `None` for a delete.
    pub(crate) value: Option<&'a Bytes>,
    pub(crate) precondition: Precondition,
    /// An earlier attempt may have done the write.
    pub(crate) doubt: bool,
}

impl Refused<'_> {
    /// The error that the caller gets for the server's.
    pub(crate) async fn settle<T: Transport>(&self, core: &Arc<Core<T>>, error: Error, call: Call) -> Error {
        match (error.kind(), self.precondition) {
            (ErrorKind::VersionMismatch, Precondition::Version(expected)) => {
                self.not_that_version(core, error, expected, call).await
            }
            (ErrorKind::VersionMismatch | ErrorKind::AlreadyExists, Precondition::NotExists) => {
                self.exists(core, error, call).await
            }
            _ => error,
        }
    }

    async fn not_that_version<T: Transport>(
        &self,
        core: &Arc<Core<T>>,
        error: Error,
        expected: Version,
        call: Call,
    ) -> Error {
        // Our own servers say what they expected; without it, there is nothing but the code.
        let told = error.version(FieldName::Expected).is_some();
        if told && !self.doubt {
            return error;
        }
        let current = match read(core, self.key, call).await {
            Ok(current) => current,
            Err(why) if self.doubt => return self.unknown(&error, Some(why)),
            Err(why) => {
                return error
                    .with(FieldName::Key, self.key.clone())
                    .with(FieldName::Expected, expected)
                    .caused_by(why);
            }
        };
        if self.doubt && !self.did_not_win(core, expected, current.as_ref(), call).await {
            return self.unknown(&error, None);
        }
        Error::version_mismatch(self.key, expected, current.map(|entry| entry.version))
    }

    /// Whether it is certain that the first attempt did not do the write.
    async fn did_not_win<T: Transport>(
        &self,
        core: &Arc<Core<T>>,
        expected: Version,
        current: Option<&Entry>,
        call: Call,
    ) -> bool {
        let Some(current) = current else { return false };
        // A server that does not tell generations does not tell when the entry was created either.
        if current.generation == 0 {
            return false;
        }
        let Some(value) = self.value else {
            // The entry has lived since before the delete was made, so it was not deleted.
            return current.create_version <= expected;
        };
        if current.value == *value || current.create_version > expected {
            return false;
        }
        // Exactly one put since the version that was expected, and it is not ours.
        match read_at(core, self.key, expected, call).await {
            Ok(Some(before)) => {
                before.version == expected
                    && before.create_version == current.create_version
                    && before.generation + 1 == current.generation
            }
            _ => false,
        }
    }

    async fn exists<T: Transport>(&self, core: &Arc<Core<T>>, error: Error, call: Call) -> Error {
        let told = error.kind() == ErrorKind::AlreadyExists;
        if told {
            // Whoever created it: that it is there says nothing of what happened between the two attempts.
            return if self.doubt {
                self.unknown(&error, None)
            } else {
                error.with(FieldName::Key, self.key.clone())
            };
        }
        match read(core, self.key, call).await {
            Ok(Some(_)) if self.doubt => self.unknown(&error, None),
            Ok(Some(entry)) => Error::already_exists(self.key, Some(entry.version)),
            Ok(None) => {
                let server = error.field(FieldName::Address).map(norikv_core::Field::to_text);
                let server = server.as_deref().unwrap_or("that was asked");
                let unsupported = Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the server {server} does not have ifNotExists, and wrote nothing; it needs a server with norikv.ext.v1"
                    ),
                );
                match error.field(FieldName::Address) {
                    Some(address) => unsupported.with(FieldName::Address, address.clone()),
                    None => unsupported,
                }
            }
            Err(why) => self.unread(why),
        }
    }

    /// The write did not happen, and why cannot be told.
    fn unread(&self, why: Error) -> Error {
        let error = Error::new(
            ErrorKind::Unavailable,
            "the server refused a write that is to happen only if the key is missing, and the key could not be read to see why; try again",
        )
        .with(FieldName::Key, self.key.clone());
        let error = if self.doubt { error.with(FieldName::Outcome, "unknown") } else { error };
        error.caused_by(why)
    }

    fn unknown(&self, refusal: &Error, why: Option<Error>) -> Error {
        let error = Error::new(
            ErrorKind::Unavailable,
            format!(
                "the reply to a conditional write was lost, and its repeat was refused ({}): the first may have done it; read the key before deciding again, or write with an idempotencyKey, which makes a repeat safe",
                refusal.message()
            ),
        )
        .with(FieldName::Key, self.key.clone())
        .with(FieldName::Outcome, "unknown");
        let error = match refusal.field(FieldName::Address) {
            Some(address) => error.with(FieldName::Address, address.clone()),
            None => error,
        };
        error.caused_by(why.unwrap_or_else(|| refusal.clone()))
    }
}

/// Reads a key as it is now.
async fn read<T: Transport>(core: &Arc<Core<T>>, key: &Bytes, call: Call) -> Result<Option<Entry>> {
    let get = v1::GetRequest {
        key: key.clone(),
        consistency: consistency_to_wire(Consistency::Linearizable).to_owned(),
    };
    let of = KeyCall { hash: xxhash64(key), write: false, repeatable: true };
    let ended = on_key(core, BatchOp { op: Some(Op::Get(get)), timeout_ms: 0 }, of, call).await;
    match ended.result? {
        Answer::Get(got) => Ok(got.entry.map(|entry| entry_from_wire(entry, Some(key)))),
        _ => Err(Error::internal("the answer to a get is none")),
    }
}

/// Reads a key as it was. A server reads many keys at the newest version alone; a scan takes one that is older.
async fn read_at<T: Transport>(
    core: &Arc<Core<T>>,
    key: &Bytes,
    version: Version,
    call: Call,
) -> Result<Option<Entry>> {
    let after = [&key[..], b"\0"].concat();
    let only = KeyRange { start: key.clone(), end: Some(after.into()) };
    let scan = ext::Scan { range: Some(only.into()), limit: 1, ..Default::default() };
    let request = ext::RangeRequest {
        what: Some(ext::range_request::What::Scan(scan)),
        version: Some(version.into()),
        consistency: String::new(),
    };
    let ask = AnyCall { hash: xxhash64(key), ..AnyCall::read(RANGE, &request, "read at an old version") };
    let answer: ext::RangeResponse = on_any(core, ask, call).await?;
    let entry = answer.entries.into_iter().next().and_then(|entry| entry.entry);
    Ok(entry.map(|entry| entry_from_wire(entry, Some(key))))
}
