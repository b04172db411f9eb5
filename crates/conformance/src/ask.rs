//! The calls of a store as rules make them: short, and each with its time.

use std::time::Duration;

use bytes::Bytes;
use norikv_core::{
    Call, Compare, CompareOp, CompareTarget, Consistency, Count, Delete, DeleteRange, DeleteResult, Entry,
    Get, GetMany, KeyRange, LeaseGrant, LeaseId, LeaseStatus, LeaseTimeToLive, Page, Put, Result, Scan,
    Store, Ttl, Txn, TxnOp, TxnResult, Version,
};
use tokio::time::timeout_at;

/// Longer than any call of a rule takes.
#[must_use]
pub fn call() -> Call {
    Call::with_timeout(Duration::from_secs(20))
}

/// Makes a call, and keeps its time as whoever drives a store does.
///
/// # Errors
/// The call's own, or `DeadlineExceeded`.
pub async fn within<T>(call: Call, made: impl Future<Output = Result<T>>) -> Result<T> {
    timeout_at(call.deadline().into(), made).await.unwrap_or_else(|_| Err(call.deadline_exceeded()))
}

/// The get of a key.
pub(crate) fn of(key: impl Into<Bytes>) -> Get {
    Get { key: key.into(), consistency: Consistency::default() }
}

/// Reads a key.
///
/// # Errors
/// The store's.
pub async fn get(store: &dyn Store, key: impl Into<Bytes>) -> Result<Option<Entry>> {
    within(call(), store.get(of(key), call())).await
}

/// The value of a key.
pub(crate) async fn value(store: &dyn Store, key: impl Into<Bytes>) -> Result<Option<Bytes>> {
    Ok(get(store, key).await?.map(|entry| entry.value))
}

/// Writes a key.
///
/// # Errors
/// The store's.
pub async fn put(store: &dyn Store, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Version> {
    write(store, Put::new(key, value)).await
}

pub(crate) async fn write(store: &dyn Store, put: Put) -> Result<Version> {
    Ok(within(call(), store.put(put, call())).await?.version)
}

pub(crate) async fn remove(store: &dyn Store, delete: Delete) -> Result<DeleteResult> {
    within(call(), store.delete(delete, call())).await
}

pub(crate) async fn delete(store: &dyn Store, key: impl Into<Bytes>) -> Result<DeleteResult> {
    remove(store, Delete::new(key)).await
}

pub(crate) async fn get_many(store: &dyn Store, keys: Vec<Bytes>) -> Result<Vec<Option<Entry>>> {
    let request = GetMany { keys, consistency: Consistency::default() };
    within(call(), store.get_many(request, call())).await
}

pub(crate) async fn page(store: &dyn Store, scan: Scan) -> Result<Page> {
    within(call(), store.scan(scan, call())).await
}

/// Everything that a scan answers, over all its pages, and the version it was read at.
pub(crate) async fn scan(store: &dyn Store, scan: Scan) -> Result<(Vec<Entry>, Version)> {
    let mut next = Some(scan);
    let (mut all, mut version) = (Vec::new(), Version::ZERO);
    while let Some(scan) = next {
        let page = page(store, scan.clone()).await?;
        assert!(!page.entries.is_empty() || !page.more, "an empty page that says that there is more");
        next = scan.next(&page);
        version = page.version;
        all.extend(page.entries);
    }
    Ok((all, version))
}

/// The keys that a scan answers.
pub(crate) async fn keys(store: &dyn Store, request: Scan) -> Result<Vec<Bytes>> {
    Ok(scan(store, request).await?.0.into_iter().map(|entry| entry.key).collect())
}

pub(crate) async fn count(store: &dyn Store, range: KeyRange, version: Option<Version>) -> Result<u64> {
    let request = Count { range, version, consistency: Consistency::default() };
    Ok(within(call(), store.count(request, call())).await?.count)
}

/// The store's newest version, by its own word.
pub(crate) async fn newest(store: &dyn Store) -> Result<Version> {
    Ok(within(call(), store.status(call())).await?.version)
}

/// The version so many revisions later.
pub(crate) fn later(version: Version, revisions: u64) -> Version {
    Version::new(version.term, version.index + revisions)
}

/// Carries out a transaction.
///
/// # Errors
/// The store's.
pub async fn txn(store: &dyn Store, txn: Txn) -> Result<TxnResult> {
    within(call(), store.txn(txn, call())).await
}

/// A compare.
pub fn when(key: impl Into<Bytes>, op: CompareOp, target: CompareTarget) -> Compare {
    Compare { key: key.into(), op, target }
}

/// The compare that a key is there, or is not.
pub fn when_exists(key: impl Into<Bytes>, exists: bool) -> Compare {
    when(key, CompareOp::Equal, CompareTarget::Exists(exists))
}

/// A step that puts.
pub fn to_put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> TxnOp {
    TxnOp::Put(Put::new(key, value))
}

/// A step that deletes.
pub fn to_delete(key: impl Into<Bytes>) -> TxnOp {
    TxnOp::Delete(Delete::new(key))
}

/// A step that deletes a range.
pub fn to_delete_range(range: KeyRange) -> TxnOp {
    TxnOp::DeleteRange(DeleteRange { range })
}

/// A step that reads a key.
pub fn to_get(key: impl Into<Bytes>) -> TxnOp {
    TxnOp::Get(of(key))
}

/// A step that reads a range.
pub fn to_scan(range: KeyRange) -> TxnOp {
    TxnOp::Scan(Scan::new(range))
}

/// Grants a lease of so many milliseconds.
///
/// # Errors
/// The store's.
pub async fn grant(store: &dyn Store, millis: u64) -> Result<LeaseId> {
    let ttl = Ttl::from_millis(millis)?;
    Ok(within(call(), store.lease_grant(LeaseGrant::new(ttl), call())).await?.id)
}

/// Ends a lease.
///
/// # Errors
/// The store's.
pub async fn revoke(store: &dyn Store, id: LeaseId) -> Result<Version> {
    within(call(), store.lease_revoke(id, call())).await
}

/// A put with a lease.
pub fn with_lease(key: impl Into<Bytes>, value: impl Into<Bytes>, id: LeaseId) -> Put {
    Put { lease: Some(id), ..Put::new(key, value) }
}

pub(crate) async fn keep_alive(store: &dyn Store, ids: Vec<LeaseId>) -> Result<Vec<Option<Duration>>> {
    within(call(), store.lease_keep_alive(ids, call())).await
}

pub(crate) async fn time_to_live(store: &dyn Store, id: LeaseId) -> Result<LeaseStatus> {
    within(call(), store.lease_time_to_live(LeaseTimeToLive { id, keys: true }, call())).await
}

pub(crate) async fn leases(store: &dyn Store) -> Result<Vec<LeaseId>> {
    within(call(), store.leases(call())).await
}

pub(crate) async fn compact(store: &dyn Store, version: Version) -> Result<()> {
    within(call(), store.compact(version, call())).await
}

/// The oldest version that can be read, by the store's own word.
pub(crate) async fn floor(store: &dyn Store) -> Result<Version> {
    Ok(within(call(), store.status(call())).await?.sizes.compact_version)
}
