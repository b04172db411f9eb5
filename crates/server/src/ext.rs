use std::time::Duration;

use async_trait::async_trait;
use norikv_core::{Count, Entry, Error, ErrorKind, Feature, GetMany, Scan, StoreRef, Version};
use norikv_proto::{
    consistency_from_wire, delete_range_from_wire, entry_to_wire,
    ext::{self, range_request::What, store_server::Store},
    range_from_wire, scan_from_wire, status_to_wire, txn_from_wire, txn_result_to_wire,
};
use tonic::{Request, Response, Status};

use crate::{batch::Batch, deadline::call_of, status::status_of};

/// How many keys are read from one snapshot: the answer is gathered whole, and keys may repeat.
const MAX_KEYS: usize = 10_000;

/// `norikv.ext.v1.Store`: what `norikv.v1` lacks.
pub(crate) struct ExtService {
    pub(crate) store: StoreRef,
    /// How long a call may take that brings no deadline.
    pub(crate) bound: Duration,
    pub(crate) max_batch_ops: usize,
}

#[async_trait]
impl Store for ExtService {
    type BatchStream = Batch;

    async fn batch(&self, request: Request<ext::BatchRequest>) -> Result<Response<Batch>, Status> {
        let whole = call_of(request.metadata().as_ref(), self.bound);
        let ops = request.into_inner().ops;
        let batch = Batch::new(self.store.clone(), ops, whole, self.max_batch_ops);
        Ok(Response::new(batch.map_err(status_of)?))
    }

    async fn range(
        &self,
        request: Request<ext::RangeRequest>,
    ) -> Result<Response<ext::RangeResponse>, Status> {
        let call = call_of(request.metadata().as_ref(), self.bound);
        let request = request.into_inner();
        let consistency = consistency_from_wire(&request.consistency).map_err(status_of)?;
        let version = request.version.map(Version::from);
        let response = match request.what {
            Some(What::Scan(scan)) => {
                let scan = Scan { version, consistency, ..scan_from_wire(scan).map_err(status_of)? };
                let page = self.store.scan(scan, call).await.map_err(status_of)?;
                ext::RangeResponse {
                    entries: page.entries.into_iter().map(Some).map(maybe_entry).collect(),
                    version: Some(page.version.into()),
                    more: page.more,
                    count: 0,
                }
            }
            Some(What::Count(count)) => {
                let count =
                    Count { range: range_from_wire(count.range).map_err(status_of)?, version, consistency };
                let result = self.store.count(count, call).await.map_err(status_of)?;
                ext::RangeResponse {
                    version: Some(result.version.into()),
                    count: result.count,
                    ..Default::default()
                }
            }
            Some(What::Keys(_)) if version.is_some() => {
                return Err(status_of(Error::new(
                    ErrorKind::Unsupported,
                    "many keys are read at the newest version; leave the version out",
                )));
            }
            Some(What::Keys(keys)) if keys.keys.len() > MAX_KEYS => {
                return Err(status_of(Error::invalid_argument(format!(
                    "{} keys are to be read at once; this server takes at most {MAX_KEYS}, so ask for fewer",
                    keys.keys.len()
                ))));
            }
            Some(What::Keys(keys)) => {
                let request = GetMany { keys: keys.keys, consistency };
                let entries = self.store.get_many(request, call).await.map_err(status_of)?;
                ext::RangeResponse {
                    entries: entries.into_iter().map(keyless).map(maybe_entry).collect(),
                    ..Default::default()
                }
            }
            None => {
                return Err(status_of(Error::invalid_argument("the request names no scan, count or keys")));
            }
        };
        Ok(Response::new(response))
    }

    async fn delete_range(
        &self,
        request: Request<ext::DeleteRangeRequest>,
    ) -> Result<Response<ext::DeleteRangeResponse>, Status> {
        let call = call_of(request.metadata().as_ref(), self.bound);
        let delete = delete_range_from_wire(request.into_inner()).map_err(status_of)?;
        let result = self.store.delete_range(delete, call).await.map_err(status_of)?;
        Ok(Response::new(ext::DeleteRangeResponse {
            deleted: result.deleted,
            version: Some(result.version.into()),
        }))
    }

    async fn txn(&self, request: Request<ext::TxnRequest>) -> Result<Response<ext::TxnResponse>, Status> {
        let call = call_of(request.metadata().as_ref(), self.bound);
        let txn = txn_from_wire(request.into_inner()).map_err(status_of)?;
        let result = self.store.txn(txn, call).await.map_err(status_of)?;
        Ok(Response::new(txn_result_to_wire(result)))
    }

    async fn compact(
        &self,
        request: Request<ext::CompactRequest>,
    ) -> Result<Response<ext::CompactResponse>, Status> {
        let call = call_of(request.metadata().as_ref(), self.bound);
        let Some(version) = request.into_inner().version else {
            return Err(status_of(Error::invalid_argument("the request names no version to compact to")));
        };
        self.store.compact(version.into(), call).await.map_err(status_of)?;
        Ok(Response::new(ext::CompactResponse {}))
    }

    async fn status(
        &self,
        request: Request<ext::StatusRequest>,
    ) -> Result<Response<ext::StatusResponse>, Status> {
        let call = call_of(request.metadata().as_ref(), self.bound);
        let mut status = self.store.status(call).await.map_err(status_of)?;
        if !status.has(Feature::Batch) {
            status.features.push(Feature::Batch.as_str().to_owned());
        }
        status.limits.max_batch_ops = self.max_batch_ops;
        env!("CARGO_PKG_VERSION").clone_into(&mut status.software);
        Ok(Response::new(status_to_wire(status)))
    }
}

fn maybe_entry(entry: Option<Entry>) -> ext::MaybeEntry {
    ext::MaybeEntry { entry: entry.map(entry_to_wire) }
}

/// The request says which key it is, so the answer does not.
pub(crate) fn keyless(entry: Option<Entry>) -> Option<Entry> {
    entry.map(|entry| Entry { key: Default::default(), ..entry })
}
