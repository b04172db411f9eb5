//! Writes: each is one transaction of etcd's, its condition and the record of its idempotency key included.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, KeyValue, LeaseGrantOptions, PutOptions, Txn, TxnOp,
    TxnOpResponse, TxnResponse,
};
use norikv_core::{
    Call, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Error, ErrorKind, FieldName, LeaseId,
    Precondition, Put, PutResult, Result, Ttl, Version,
};

use crate::{
    connection::{Answer, Ask, unknown},
    entries::{entry, header_version, now, revision, ttl_lease, version},
    reads::unexpected,
    store::Inner,
};

/// How many numbers are tried for a lease, when one is taken.
pub(crate) const NUMBERS: u32 = 8;

/// What is remembered of a write: which it was, and whether it deleted something.
pub(crate) struct Record {
    pub(crate) fingerprint: u128,
    pub(crate) deleted: bool,
    pub(crate) version: Version,
}

impl Record {
    /// The value of the record of a write.
    pub(crate) fn value(fingerprint: u128, deleted: bool) -> Vec<u8> {
        [&fingerprint.to_be_bytes()[..], &[u8::from(deleted)]].concat()
    }

    /// A record that was found. It was written with what it tells of, so that its revision is that write's; a delete of
    /// nothing has none, and answered the one before.
    pub(crate) fn of(found: &KeyValue) -> Result<Self> {
        let corrupt =
            || Error::new(ErrorKind::Corruption, "the record of an idempotency key is not what was written");
        let (fingerprint, deleted) = found.value().split_at_checked(16).ok_or_else(corrupt)?;
        let fingerprint = u128::from_be_bytes(fingerprint.try_into().map_err(|_| corrupt())?);
        let deleted = match deleted {
            [0] => false,
            [1] => true,
            _ => return Err(corrupt()),
        };
        let at = found.mod_revision() - i64::from(!deleted);
        Ok(Self { fingerprint, deleted, version: version(at) })
    }

    /// The same idempotency key must not stand for two writes.
    pub(crate) fn check(self, fingerprint: u128) -> Result<Self> {
        if self.fingerprint == fingerprint {
            return Ok(self);
        }
        Err(Error::invalid_argument(
            "this idempotency key was used for another write; use a new one for each write, and the same one only to repeat it",
        ))
    }
}

/// Whether a write that failed did not take place. The lease of one that may have must not be revoked: its entry would go with it.
pub(crate) fn is_refusal(error: &Error) -> bool {
    error.field(FieldName::Outcome).is_none()
}

/// The lease of records, of which many have one.
pub(crate) struct RecordLease {
    id: i64,
    until: Instant,
}

impl Inner {
    pub(crate) async fn put(self: &Arc<Self>, request: Put, call: Call) -> Result<PutResult> {
        request.check(self.connection.settings().max_value_bytes)?;
        let key = self.keys.outer(&request.key)?;
        let turn = self.order.write(&key).await;
        let inner = Arc::clone(self);
        to_its_end(turn, async move { inner.put_in_turn(request, key, call).await }).await
    }

    async fn put_in_turn(&self, request: Put, key: Vec<u8>, call: Call) -> Result<PutResult> {
        let lease = self.lease_of(&request, call).await?;
        let result = self.put_with(&request, key, lease, call).await;
        if request.ttl.is_some() && result.as_ref().is_err_and(is_refusal) {
            // Nobody else has it.
            let _ = self.revoke(lease, call).await;
        }
        result.map_err(|error| lease_error(error, request.lease))
    }

    async fn put_with(&self, request: &Put, key: Vec<u8>, lease: i64, call: Call) -> Result<PutResult> {
        let mut options = PutOptions::new().with_lease(lease);
        if request.prev_entry {
            options = options.with_prev_key();
        }
        if !request.is_repeatable() {
            let value = request.value.to_vec();
            let answer = self
                .connection
                .ask_kv(Ask::Once, call, |mut kv| {
                    let (key, value, options) = (key.clone(), value.clone(), options.clone());
                    async move { kv.put(key, value, Some(options)).await }
                })
                .await?;
            let mut response = answer.value;
            return Ok(PutResult {
                version: header_version(response.header())?,
                prev_entry: response.take_prev_key().map(|found| entry(&self.keys, found)),
            });
        }
        let mut then = vec![TxnOp::put(key.clone(), request.value.to_vec(), Some(options))];
        let mut compares: Vec<Compare> = condition(&key, request.precondition).into_iter().collect();
        let record = request.idempotency_key.as_deref().map(|id| self.keys.record(id));
        if let Some(record) = &record {
            let options = PutOptions::new().with_lease(self.record_lease(call).await?);
            let value = Record::value(request.fingerprint(), true);
            then.push(TxnOp::put(record.clone(), value, Some(options)));
            compares.push(Compare::create_revision(record.clone(), CompareOp::Equal, 0));
        }
        let Answer { value: response, doubt } =
            self.guarded(compares, then, &key, record.as_deref(), call).await?;
        if response.succeeded() {
            let Some(TxnOpResponse::Put(mut put)) = response.op_responses().into_iter().next() else {
                return Err(unexpected());
            };
            return Ok(PutResult {
                version: header_version(response.header())?,
                prev_entry: put.take_prev_key().map(|found| entry(&self.keys, found)),
            });
        }
        let (found, record) = found_instead(&response)?;
        if let Some(record) = record {
            let version = record.check(request.fingerprint())?.version;
            return Ok(PutResult { version, prev_entry: None });
        }
        Err(self.refusal(&request.key, request.precondition, found.as_ref(), doubt))
    }

    pub(crate) async fn delete(self: &Arc<Self>, request: Delete, call: Call) -> Result<DeleteResult> {
        request.check()?;
        let key = self.keys.outer(&request.key)?;
        let turn = self.order.write(&key).await;
        let inner = Arc::clone(self);
        to_its_end(turn, async move { inner.delete_in_turn(request, key, call).await }).await
    }

    async fn delete_in_turn(&self, request: Delete, key: Vec<u8>, call: Call) -> Result<DeleteResult> {
        if !request.is_repeatable() {
            let answer = self
                .connection
                .ask_kv(Ask::Once, call, |mut kv| {
                    let key = key.clone();
                    async move { kv.delete(key, None).await }
                })
                .await?;
            let version = header_version(answer.value.header())?;
            return Ok(DeleteResult { deleted: answer.value.deleted() > 0, version });
        }
        let mut compares: Vec<Compare> = condition(&key, request.precondition()).into_iter().collect();
        let record = request.idempotency_key.as_deref().map(|id| self.keys.record(id));
        let mut then = vec![TxnOp::delete(key.clone(), None)];
        if let Some(record) = &record {
            let lease = self.record_lease(call).await?;
            let write = |deleted| {
                let value = Record::value(request.fingerprint(), deleted);
                TxnOp::put(record.clone(), value, Some(PutOptions::new().with_lease(lease)))
            };
            compares.push(Compare::create_revision(record.clone(), CompareOp::Equal, 0));
            // What is remembered is whether there was something to delete.
            then = vec![TxnOp::txn(
                Txn::new()
                    .when(vec![Compare::create_revision(key.clone(), CompareOp::Greater, 0)])
                    .and_then(vec![TxnOp::delete(key.clone(), None), write(true)])
                    .or_else(vec![write(false)]),
            )];
        }
        let Answer { value: response, doubt } =
            self.guarded(compares, then, &key, record.as_deref(), call).await?;
        if response.succeeded() {
            let at = header_version(response.header())?;
            return match response.op_responses().into_iter().next() {
                Some(TxnOpResponse::Delete(delete)) => {
                    Ok(DeleteResult { deleted: delete.deleted() > 0, version: at })
                }
                Some(TxnOpResponse::Txn(inner)) if inner.succeeded() => {
                    Ok(DeleteResult { deleted: true, version: at })
                }
                // The record took a revision, and the delete of nothing none.
                Some(TxnOpResponse::Txn(_)) => {
                    Ok(DeleteResult { deleted: false, version: Version::new(at.term, at.index - 1) })
                }
                _ => Err(unexpected()),
            };
        }
        let (found, record) = found_instead(&response)?;
        if let Some(record) = record {
            let Record { deleted, version, .. } = record.check(request.fingerprint())?;
            return Ok(DeleteResult { deleted, version });
        }
        Err(self.refusal(&request.key, request.precondition(), found.as_ref(), doubt))
    }

    pub(crate) async fn delete_range(&self, request: DeleteRange, call: Call) -> Result<DeleteRangeResult> {
        request.range.check()?;
        let ops: Vec<TxnOp> = self
            .keys
            .visible(&request.range)
            .into_iter()
            .map(|part| TxnOp::delete(part.start, Some(DeleteOptions::new().with_range(part.end))))
            .collect();
        if ops.is_empty() {
            return Ok(DeleteRangeResult { deleted: 0, version: self.current(call).await? });
        }
        let txn = Txn::new().and_then(ops);
        let answer = self
            .connection
            .ask_kv(Ask::Once, call, |mut kv| {
                let txn = txn.clone();
                async move { kv.txn(txn).await }
            })
            .await?;
        let mut deleted = 0;
        for response in answer.value.op_responses() {
            let TxnOpResponse::Delete(response) = response else { return Err(unexpected()) };
            deleted += response.deleted().unsigned_abs();
        }
        Ok(DeleteRangeResult { deleted, version: header_version(answer.value.header())? })
    }

    /// A write with a condition; otherwise it answers what is there, and the record.
    async fn guarded(
        &self,
        compares: Vec<Compare>,
        then: Vec<TxnOp>,
        key: &[u8],
        record: Option<&[u8]>,
        call: Call,
    ) -> Result<Answer<TxnResponse>> {
        let mut otherwise = vec![TxnOp::get(key.to_vec(), Some(GetOptions::new()))];
        otherwise.extend(record.map(|record| TxnOp::get(record.to_vec(), Some(GetOptions::new()))));
        let txn = Txn::new().when(compares).and_then(then).or_else(otherwise);
        self.connection
            .ask_kv(Ask::Repeatable, call, |mut kv| {
                let txn = txn.clone();
                async move { kv.txn(txn).await }
            })
            .await
    }

    /// Why a conditional write did not take place.
    fn refusal(
        &self,
        key: &bytes::Bytes,
        asked: Precondition,
        found: Option<&KeyValue>,
        doubt: bool,
    ) -> Error {
        let actual = found.map(|found| version(found.mod_revision()));
        let error = match asked {
            Precondition::NotExists => Error::already_exists(key, actual),
            Precondition::Version(expected) => Error::version_mismatch(key, expected, actual),
            Precondition::None => Error::internal("etcd refused a write without a condition"),
        };
        // An attempt before this one may have been carried out, and stand in its own way.
        if doubt { unknown(error) } else { error }
    }

    /// The lease that an entry is written with: its own, or that of its caller; 0 for none.
    pub(crate) async fn lease_of(&self, request: &Put, call: Call) -> Result<i64> {
        match (request.ttl, request.lease) {
            (Some(ttl), _) => self.entry_lease(ttl, call).await,
            (None, Some(lease)) => lease_number(lease),
            (None, None) => Ok(0),
        }
    }

    /// A lease for one entry.
    pub(crate) async fn entry_lease(&self, ttl: Ttl, call: Call) -> Result<i64> {
        // A member may have a least time to live, which it tells with the first lease that asks for less.
        let least = self.least_ttl.load(std::sync::atomic::Ordering::Relaxed);
        let asked = ttl.as_duration().max(Duration::from_secs(least));
        let (id, granted) = self.grant(|| ttl_lease(asked, now()), asked, call).await?;
        if granted <= Duration::from_secs(seconds(asked).unsigned_abs()) {
            return Ok(id);
        }
        self.least_ttl.fetch_max(granted.as_secs(), std::sync::atomic::Ordering::Relaxed);
        self.revoke(id, call).await?;
        Ok(self.grant(|| ttl_lease(granted, now()), granted, call).await?.0)
    }

    /// Grants a lease with a number of ours.
    pub(crate) async fn grant(
        &self,
        number: impl Fn() -> i64,
        ttl: Duration,
        call: Call,
    ) -> Result<(i64, Duration)> {
        let mut taken = 0;
        loop {
            match self.grant_as(number(), ttl, call).await {
                // The number is taken: by another's lease, or by this one, whose reply was lost.
                Err(error) if error.kind() == ErrorKind::InvalidArgument && taken < NUMBERS => taken += 1,
                granted => return granted,
            }
        }
    }

    /// Grants a lease with this number.
    pub(crate) async fn grant_as(&self, id: i64, ttl: Duration, call: Call) -> Result<(i64, Duration)> {
        let answer = self
            .connection
            .ask(Ask::Repeatable, call, |client| async move {
                client.lease_client().grant(seconds(ttl), Some(LeaseGrantOptions::new().with_id(id))).await
            })
            .await?;
        Ok((answer.value.id(), Duration::from_secs(answer.value.ttl().unsigned_abs())))
    }

    pub(crate) async fn revoke(&self, id: i64, call: Call) -> Result<Version> {
        let answer = self
            .connection
            .ask(Ask::Repeatable, call, |client| async move { client.lease_client().revoke(id).await })
            .await?;
        header_version(answer.value.header())
    }

    /// The lease that records are written with now: one for all of an hour, or of a 24th of their time.
    pub(crate) async fn record_lease(&self, call: Call) -> Result<i64> {
        let mut current = self.records.lock().await;
        if let Some(lease) = &*current
            && Instant::now() < lease.until
        {
            return Ok(lease.id);
        }
        let window = self.connection.settings().idempotency_window;
        let shared = window / 24;
        let until = Instant::now() + shared;
        let ttl = window + shared;
        let (id, _) = self.grant(|| ttl_lease(ttl, now()), ttl, call).await?;
        *current = Some(RecordLease { id, until });
        Ok(id)
    }
}

/// Does what may have been sent to its end, also if nobody waits for it any more: until then it keeps its turn, so that nothing
/// made later takes effect before it.
pub(crate) async fn to_its_end<T: Send + 'static>(
    turn: impl Send + 'static,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let done = tokio::spawn(async move {
        let result = work.await;
        drop(turn);
        result
    });
    done.await.map_err(|error| Error::internal("a call to etcd was interrupted").caused_by(error))?
}

/// A time in whole seconds, rounded up.
pub(crate) fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX).max(1)
}

/// A lease as etcd numbers it.
pub(crate) fn lease_number(lease: LeaseId) -> Result<i64> {
    i64::try_from(lease.get()).map_err(|_| Error::lease_not_found(lease))
}

/// etcd says of a lease that is not there what it says of anything that is not.
pub(crate) fn lease_error(error: Error, lease: Option<LeaseId>) -> Error {
    match (error.kind(), lease) {
        (ErrorKind::NotFound, Some(lease)) => Error::lease_not_found(lease).caused_by(error),
        _ => error,
    }
}

/// The condition of a write, as etcd compares.
pub(crate) fn condition(key: &[u8], precondition: Precondition) -> Option<Compare> {
    match precondition {
        Precondition::None => None,
        Precondition::NotExists => Some(Compare::create_revision(key.to_vec(), CompareOp::Equal, 0)),
        // A version of another store is that of no key here.
        Precondition::Version(asked) => {
            Some(Compare::mod_revision(key.to_vec(), CompareOp::Equal, revision(asked).unwrap_or(i64::MAX)))
        }
    }
}

/// What is there instead of what a write asked for: the key, and the record of the write.
fn found_instead(response: &TxnResponse) -> Result<(Option<KeyValue>, Option<Record>)> {
    let mut found = response.op_responses().into_iter().map(|response| match response {
        TxnOpResponse::Get(mut get) => Ok(get.take_kvs().pop()),
        _ => Err(unexpected()),
    });
    let key = found.next().transpose()?.flatten();
    let record = found.next().transpose()?.flatten().as_ref().map(Record::of).transpose()?;
    Ok((key, record))
}
