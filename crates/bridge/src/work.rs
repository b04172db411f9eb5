//! What a call does, and what it has to say when it is done.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, future::select, stream::iter};
use norikv_core::{
    Call, ClusterView, CountResult, DeleteRangeResult, Entry, Error, ErrorKind, Field, FieldName,
    LeaseGranted, LeaseId, LeaseStatus, Page, PutResult, Result, Status, Steady, Store, TxnOp, TxnResult,
    VectorIndexInfo, VectorSearchResult, Version,
};
use tokio::sync::watch;

use crate::{
    call::Operation,
    frame::Writer,
    lease::REVOKED,
    reply,
    session::Shared,
    txn::{asked_prev, write_txn},
    vector::{write_indexes, write_results, write_vector},
};

/// How long the leases of a client that is closed are revoked for; what is left runs out by itself.
const FAREWELL: Duration = Duration::from_secs(1);
/// How many of them at a time.
const FAREWELLS: usize = 64;

/// What a finished call has to say.
pub(crate) enum Reply {
    Done,
    MaybeEntry(Option<Entry>),
    Put(PutResult),
    Boolean(bool),
    Version(Version),
    Entries(Vec<Option<Entry>>),
    Page(Page),
    Count(CountResult),
    DeleteRange(DeleteRangeResult),
    Status(Box<Status>),
    /// A view, and where the next one comes from.
    Cluster(watch::Receiver<ClusterView>),
    /// What a transaction answered, and which ops of its branch asked for the entry before.
    Txn(TxnResult, Vec<bool>),
    /// A lease, and when it was asked for.
    Lease(LeaseGranted, Steady),
    LeaseStatus(LeaseStatus),
    MaybeVector(Option<Vec<f32>>),
    VectorResults(Vec<VectorSearchResult>),
    VectorIndexes(Vec<VectorIndexInfo>),
}

/// Carries out a call.
pub(crate) async fn run(
    shared: Arc<Shared>,
    prefix: Bytes,
    operation: Operation,
    call: Call,
) -> Result<Reply> {
    if let Operation::Close = operation {
        end_leases(&shared).await;
        shared.close().await?;
        return Ok(Reply::Done);
    }
    let leases = leases_of(&operation);
    leases.iter().try_for_each(|id| shared.leases.check(*id))?;
    if let Operation::LeaseRevoke(id) = operation {
        // Not kept any more before it is not there any more.
        shared.leases.lose(id, REVOKED);
    }
    let counted = !matches!(operation, Operation::Connect | Operation::WatchCluster);
    let work = async {
        let store = shared.part(prefix).await?;
        let work = run_on(store.as_ref(), operation, call);
        if counted { shared.meter.timed(work).await } else { work.await }
    };
    work.await.map_err(|error| judged(&shared, &leases, error))
}

/// The leases that a call uses.
fn leases_of(operation: &Operation) -> Vec<LeaseId> {
    match operation {
        Operation::Put(put) => put.lease.into_iter().collect(),
        Operation::Txn(txn) => {
            let lease = |op: &TxnOp| match op {
                TxnOp::Put(put) => put.lease,
                _ => None,
            };
            txn.then.iter().chain(&txn.otherwise).filter_map(lease).collect()
        }
        Operation::LeaseRevoke(id) => vec![*id],
        Operation::LeaseTimeToLive(asked) => vec![asked.id],
        _ => Vec::new(),
    }
}

/// That the store does not have a lease that this session holds is the loss of it.
fn judged(shared: &Shared, leases: &[LeaseId], error: Error) -> Error {
    if error.kind() != ErrorKind::LeaseNotFound {
        return error;
    }
    let named = match error.field(FieldName::Lease) {
        Some(Field::Number(id)) => LeaseId::new(*id),
        _ => None,
    };
    match (named, leases) {
        (Some(id), _) => shared.leases.judge(id, error),
        (None, [id]) => shared.leases.judge(*id, error),
        _ => error,
    }
}

/// Gives the session's leases back, as many as there is time for.
async fn end_leases(shared: &Arc<Shared>) {
    let ids = shared.leases.close();
    if ids.is_empty() {
        return;
    }
    let Ok(store) = shared.store().await else { return };
    let revoked = iter(ids).for_each_concurrent(FAREWELLS, |id| {
        let store = store.clone();
        async move { drop(store.lease_revoke(id, Call::with_timeout(FAREWELL)).await) }
    });
    select(Box::pin(revoked), shared.environment.sleep(FAREWELL)).await;
}

async fn run_on(store: &dyn Store, operation: Operation, call: Call) -> Result<Reply> {
    Ok(match operation {
        Operation::Get(get) => Reply::MaybeEntry(store.get(get, call).await?),
        Operation::Put(put) => {
            let prev_entry = put.prev_entry;
            let put = store.put(put, call).await?;
            if prev_entry { Reply::Put(put) } else { Reply::Version(put.version) }
        }
        Operation::Delete(delete) => Reply::Boolean(store.delete(delete, call).await?.deleted),
        Operation::GetMany(many) => Reply::Entries(store.get_many(many, call).await?),
        Operation::Scan(scan) => Reply::Page(store.scan(scan, call).await?),
        Operation::Count(count) => Reply::Count(store.count(count, call).await?),
        Operation::DeleteRange(range) => Reply::DeleteRange(store.delete_range(range, call).await?),
        Operation::Status => Reply::Status(Box::new(store.status(call).await?)),
        Operation::Connect => {
            store.connect(call).await?;
            Reply::Done
        }
        Operation::WatchCluster => match store.cluster() {
            Some(mut views) => {
                views.mark_unchanged();
                if *views.borrow() == ClusterView::default() {
                    let _ = views.changed().await;
                }
                Reply::Cluster(views)
            }
            None => Reply::Done,
        },
        Operation::Txn(txn) => {
            let (then, otherwise) = (asked_prev(&txn.then), asked_prev(&txn.otherwise));
            let result = store.txn(txn, call).await?;
            let asked = if result.succeeded { then } else { otherwise };
            Reply::Txn(result, asked)
        }
        Operation::Lease(grant) => {
            // The store counts from when it grants it, so that this never believes in it for longer.
            let sent = Steady::now();
            Reply::Lease(store.lease_grant(grant, call).await?, sent)
        }
        Operation::LeaseRevoke(id) => match store.lease_revoke(id, call).await {
            Ok(_) => Reply::Done,
            // It is gone, which is what was asked for.
            Err(error) if error.kind() == ErrorKind::LeaseNotFound => Reply::Done,
            Err(error) => return Err(error),
        },
        Operation::LeaseTimeToLive(asked) => Reply::LeaseStatus(store.lease_time_to_live(asked, call).await?),
        Operation::Compact(version) => {
            store.compact(version, call).await?;
            Reply::Done
        }
        Operation::Vector(vector) => vector.run_on(store, call).await?,
        // These are handled before a store is needed.
        Operation::Close | Operation::Cancel | Operation::Watch(..) | Operation::WatchMore(_) => Reply::Done,
    })
}

/// Writes the reply to a call.
pub(crate) fn write(out: &mut Writer, id: u32, result: &Result<Reply>) {
    out.u32(id);
    match result {
        Err(error) => {
            out.u8(reply::ERROR);
            reply::write_error(out, error);
        }
        Ok(Reply::Done) => out.u8(reply::DONE),
        Ok(Reply::MaybeEntry(entry)) => reply::write_maybe_entry(out, entry.as_ref()),
        Ok(Reply::Version(version)) => {
            out.u8(reply::VERSION);
            out.version(*version);
        }
        Ok(Reply::Put(put)) => {
            out.u8(reply::VERSION_AND_ENTRY);
            out.version(put.version);
            match &put.prev_entry {
                Some(entry) => reply::write_maybe_entry(out, Some(entry)),
                None => out.u8(reply::MISSING),
            }
        }
        Ok(Reply::Boolean(answer)) => {
            out.u8(reply::BOOLEAN);
            out.u8((*answer).into());
        }
        Ok(Reply::Entries(entries)) => {
            out.u8(reply::ENTRIES);
            out.u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            for entry in entries {
                reply::write_maybe_entry(out, entry.as_ref());
            }
        }
        Ok(Reply::Page(page)) => {
            out.u8(reply::PAGE);
            reply::write_page(out, page);
        }
        Ok(Reply::Count(CountResult { count: number, .. }))
        | Ok(Reply::DeleteRange(DeleteRangeResult { deleted: number, .. })) => {
            out.u8(reply::NUMBER);
            out.u64(*number);
        }
        Ok(Reply::Status(status)) => {
            out.u8(reply::STATUS);
            reply::write_status(out, status);
        }
        Ok(Reply::Cluster(views)) => {
            out.u8(reply::CLUSTER_VIEW);
            reply::write_cluster_view(out, &views.borrow());
        }
        Ok(Reply::Txn(result, asked)) => {
            out.u8(reply::TXN);
            write_txn(out, result, asked);
        }
        Ok(Reply::Lease(granted, _)) => {
            out.u8(reply::LEASE);
            out.u64(granted.id.get());
            out.u64(reply::millis(granted.ttl));
        }
        Ok(Reply::LeaseStatus(status)) => {
            out.u8(reply::LEASE_STATUS);
            reply::write_lease_status(out, status);
        }
        Ok(Reply::MaybeVector(None)) => out.u8(reply::MISSING),
        Ok(Reply::MaybeVector(Some(vector))) => {
            out.u8(reply::VECTOR);
            write_vector(out, vector);
        }
        Ok(Reply::VectorResults(results)) => {
            out.u8(reply::VECTOR_RESULTS);
            write_results(out, results);
        }
        Ok(Reply::VectorIndexes(indexes)) => {
            out.u8(reply::VECTOR_INDEXES);
            write_indexes(out, indexes);
        }
    }
}
