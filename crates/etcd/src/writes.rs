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
    Call, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Error, ErrorKind, LeaseId, Precondition, Put,
    PutResult, Result, Version,
};

use crate::{
    connection::{Answer, Ask, Unanswered, unknown},
    entries::{entry, expiry_second, header_version, now, revision, ttl_lease, version},
    reads::unexpected,
    store::Inner,
};

/// How large a request etcd takes by default, and how much more the messages may have that bring it.
const REQUEST_BYTES: usize = 3 * 512 * 1024;
const MESSAGE_BYTES: usize = 512 * 1024;
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
        let result = self.put_once(&request, key.clone(), call).await;
        match result {
            Err((error, lease))
                if error.kind() == ErrorKind::NotFound
                    && (request.lease.is_none() || request.idempotency_key.is_some()) =>
            {
                // A lease of ours is gone before its time, and the put was refused: it has another one.
                self.forget_leases([lease]).await;
                let again = self.put_once(&request, key, call).await;
                again.map_err(|(error, _)| lease_error(error, request.lease))
            }
            result => result.map_err(|(error, _)| lease_error(error, request.lease)),
        }
    }

    /// No further write gets one of these leases, nor that of records.
    pub(crate) async fn forget_leases(&self, leases: impl IntoIterator<Item = i64>) {
        for lease in leases {
            self.expiring.forget(lease);
        }
        self.records.lock().await.take();
    }

    async fn put_once(&self, request: &Put, key: Vec<u8>, call: Call) -> Result<PutResult, (Error, i64)> {
        let lease = self.lease_of(request, call).await.map_err(|error| (error, 0))?;
        let bytes = key.len() + request.value.len();
        let put = self.put_with(request, key, lease, call).await;
        put.map_err(|error| (too_large(error, bytes), lease))
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
        // With a record it would be known if an attempt before this one had been carried out.
        let doubt = doubt && request.idempotency_key.is_none();
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
        match self.delete_once(&request, key.clone(), call).await {
            Err(error) if error.kind() == ErrorKind::NotFound && request.idempotency_key.is_some() => {
                // The lease of records is gone before its time, and the delete was refused: it has another one.
                self.forget_leases([]).await;
                self.delete_once(&request, key, call).await
            }
            result => result,
        }
    }

    async fn delete_once(&self, request: &Delete, key: Vec<u8>, call: Call) -> Result<DeleteResult> {
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
        let doubt = doubt && request.idempotency_key.is_none();
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

    /// Grants a lease with a number of ours.
    pub(crate) async fn grant(
        &self,
        number: impl Fn() -> i64,
        ttl: Duration,
        call: Call,
    ) -> Result<(i64, Duration)> {
        let mut taken = 0;
        loop {
            match self.grant_as(number(), ttl, false, call).await {
                // The number is taken by another's lease.
                Err(error) if error.kind() == ErrorKind::InvalidArgument && taken < NUMBERS => taken += 1,
                granted => return granted,
            }
        }
    }

    /// Grants a lease with this number, which somebody chose, or which nobody else can have.
    pub(crate) async fn grant_as(
        &self,
        id: i64,
        ttl: Duration,
        chosen: bool,
        call: Call,
    ) -> Result<(i64, Duration)> {
        let granted = self
            .connection
            .ask_in_doubt(Ask::Repeatable, call, |client| async move {
                let options = LeaseGrantOptions::new().with_id(id);
                client.lease_client().grant(seconds_of(ttl), Some(options)).await
            })
            .await;
        match granted {
            Ok(Answer { value, .. }) => Ok((value.id(), Duration::from_secs(value.ttl().unsigned_abs()))),
            // The number is taken, by an attempt before this one.
            Err(Unanswered { error, doubt: true })
                if error.kind() == ErrorKind::InvalidArgument && !chosen =>
            {
                Ok((id, self.granted(id, call).await?))
            }
            Err(Unanswered { error, doubt }) => Err(if doubt { unknown(error) } else { error }),
        }
    }

    /// How long a lease was granted for.
    async fn granted(&self, id: i64, call: Call) -> Result<Duration> {
        let answer = self
            .connection
            .ask(Ask::Read, call, |client| async move { client.lease_client().time_to_live(id, None).await })
            .await?;
        Ok(Duration::from_secs(answer.value.granted_ttl().unsigned_abs()))
    }

    pub(crate) async fn revoke(&self, id: i64, call: Call) -> Result<Version> {
        let revoked =
            self.connection
                .ask_in_doubt(Ask::Repeatable, call, |client| async move {
                    client.lease_client().revoke(id).await
                })
                .await;
        match revoked {
            Ok(Answer { value, .. }) => header_version(value.header()),
            // An attempt before this one ended it. When that was, nobody says: not later than now.
            Err(Unanswered { error, doubt: true }) if error.kind() == ErrorKind::NotFound => {
                self.current(call).await
            }
            Err(Unanswered { error, doubt }) => Err(if doubt { unknown(error) } else { error }),
        }
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
        let (id, _) = self.grant(|| ttl_lease(expiry_second(ttl, now())), ttl, call).await?;
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
pub(crate) fn seconds_of(time: Duration) -> i64 {
    i64::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX).max(1)
}

/// etcd says of a request that is too large what it says of others that it does not take, and does not tell what it takes.
pub(crate) fn too_large(error: Error, bytes: usize) -> Error {
    let refused = match error.kind() {
        ErrorKind::InvalidArgument => bytes + REQUEST_BYTES / 16 > REQUEST_BYTES,
        // What is larger still does not reach etcd, but what receives its messages.
        ErrorKind::ResourceExhausted => bytes > REQUEST_BYTES + MESSAGE_BYTES,
        _ => false,
    };
    if !refused {
        return error;
    }
    Error::invalid_argument(format!(
        "the keys and values of this write have {bytes} bytes, more than the etcd cluster takes in one request: {REQUEST_BYTES} where its members were not started with another --max-request-bytes; write less at a time"
    ))
    .caused_by(error)
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
