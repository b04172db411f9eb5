//! What a call does, and what it has to say when it is done.

use std::sync::Arc;

use bytes::Bytes;
use norikv_core::{
    Call, ClusterView, CountResult, DeleteRangeResult, DeleteResult, Entry, Namespaced, Page, PutResult,
    Result, Status, Store,
};
use tokio::sync::watch;

use crate::{call::Operation, frame::Writer, reply, session::Shared};

/// What a finished call has to say.
pub(crate) enum Reply {
    Done,
    MaybeEntry(Option<Entry>),
    Put(PutResult, bool),
    Delete(DeleteResult),
    Entries(Vec<Option<Entry>>),
    Page(Page),
    Count(CountResult),
    DeleteRange(DeleteRangeResult),
    Status(Box<Status>),
    /// A view, and where the next one comes from.
    Cluster(watch::Receiver<ClusterView>),
}

/// Carries out a call.
pub(crate) async fn run(
    shared: Arc<Shared>,
    prefix: Bytes,
    operation: Operation,
    call: Call,
) -> Result<Reply> {
    if let Operation::Close = operation {
        shared.close().await?;
        return Ok(Reply::Done);
    }
    let store = shared.store().await?;
    if prefix.is_empty() {
        return run_on(store.as_ref(), operation, call).await;
    }
    run_on(&Namespaced::new(store, prefix)?, operation, call).await
}

async fn run_on(store: &dyn Store, operation: Operation, call: Call) -> Result<Reply> {
    Ok(match operation {
        Operation::Get(get) => Reply::MaybeEntry(store.get(get, call).await?),
        Operation::Put(put) => {
            let prev_entry = put.prev_entry;
            Reply::Put(store.put(put, call).await?, prev_entry)
        }
        Operation::Delete(delete) => Reply::Delete(store.delete(delete, call).await?),
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
        // Both are handled before a store is needed.
        Operation::Close | Operation::Cancel => Reply::Done,
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
        Ok(Reply::Put(put, false)) => {
            out.u8(reply::VERSION);
            out.version(put.version);
        }
        Ok(Reply::Put(put, true)) => {
            out.u8(reply::VERSION_AND_ENTRY);
            out.version(put.version);
            match &put.prev_entry {
                Some(entry) => reply::write_maybe_entry(out, Some(entry)),
                None => out.u8(reply::MISSING),
            }
        }
        Ok(Reply::Delete(delete)) => {
            out.u8(reply::BOOLEAN);
            out.u8(delete.deleted.into());
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
            out.u8(reply::JSON);
            out.bytes(reply::status_to_json(status).to_string().as_bytes());
        }
        Ok(Reply::Cluster(views)) => {
            out.u8(reply::JSON);
            let json = reply::cluster_to_json(&views.borrow()).to_string();
            out.bytes(json.as_bytes());
        }
    }
}
