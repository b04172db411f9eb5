//! `etcdserverpb.KV`.

use std::sync::Arc;

use async_trait::async_trait;
use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService, PbPutRequest,
    PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse, PbTxnOpResponse, PbTxnRequest,
    PbTxnResponse,
};
use futures_util::stream;
use norikv_core::{Call, DeleteRange, Error, Version};
use tonic::{Request, Response, Status};

use super::{
    convert::key_value,
    errors::{COMPACTED, FUTURE_REVISION, Failed},
    member::{Member, not_here},
    plan::{Plan, PutStep, Step},
    range::{Wanted, range},
    steps::deletion,
    txn,
};

/// Keys and values, as etcd's clients call for them.
pub(crate) struct KvService {
    pub(crate) member: Arc<Member>,
}

#[async_trait]
impl PbKvService for KvService {
    type RangeStreamStream = stream::Empty<Result<PbRangeStreamResponse, Status>>;

    async fn range(&self, request: Request<PbRangeRequest>) -> Result<Response<PbRangeResponse>, Status> {
        let call = self.member.call(request.metadata().as_ref());
        let wanted = Wanted::of(request.into_inner())?;
        Ok(Response::new(range(&self.member, &wanted, None, call).await?))
    }

    async fn range_stream(
        &self,
        _: Request<PbRangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Failed::from(not_here("KV.RangeStream")).into())
    }

    async fn put(&self, request: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        let call = self.member.call(request.metadata().as_ref());
        let step = PutStep::of(request.into_inner(), self.member.max_value_bytes)?;
        Ok(Response::new(self.put(step, call).await?))
    }

    async fn delete_range(
        &self,
        request: Request<PbDeleteRequest>,
    ) -> Result<Response<PbDeleteResponse>, Status> {
        let call = self.member.call(request.metadata().as_ref());
        Ok(Response::new(self.delete(Step::delete(request.into_inner())?, call).await?))
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        let call = self.member.call(request.metadata().as_ref());
        Ok(Response::new(txn::txn(&self.member, request.into_inner(), call).await?))
    }

    async fn compact(
        &self,
        request: Request<PbCompactionRequest>,
    ) -> Result<Response<PbCompactionResponse>, Status> {
        let call = self.member.call(request.metadata().as_ref());
        Ok(Response::new(self.compact(request.into_inner().revision, call).await?))
    }
}

impl KvService {
    async fn put(&self, step: PutStep, call: Call) -> Result<PbPutResponse, Failed> {
        if step.keep_value || step.keep_lease {
            let response = self.alone(Step::Put(step), call).await?;
            return match response {
                (PbTxnOpResponse::ResponsePut(put), header) => Ok(PbPutResponse { header, ..put }),
                _ => Err(unexpected()),
            };
        }
        let result = self.member.store.put(step.put, call).await?;
        Ok(PbPutResponse {
            header: Some(self.member.header(result.version)),
            prev_kv: result.prev_entry.map(key_value),
        })
    }

    async fn delete(&self, step: Step, call: Call) -> Result<PbDeleteResponse, Failed> {
        let Step::Delete { range: Some(range), prev } = &step else {
            let header = Some(self.member.header(self.member.newest(call).await?));
            return Ok(PbDeleteResponse { header, ..Default::default() });
        };
        if *prev {
            return match self.alone(step, call).await {
                Ok((PbTxnOpResponse::ResponseDeleteRange(delete), header)) => {
                    Ok(PbDeleteResponse { header, ..delete })
                }
                Ok(_) => Err(unexpected()),
                Err(error) => Err(error),
            };
        }
        let result = self.member.store.delete_range(DeleteRange { range: range.clone() }, call).await?;
        Ok(deletion(result.deleted, Vec::new(), Some(self.member.header(result.version))))
    }

    /// One step as a transaction of its own.
    async fn alone(
        &self,
        step: Step,
        call: Call,
    ) -> Result<(PbTxnOpResponse, Option<etcd_client::proto::PbResponseHeader>), Failed> {
        let plan = Plan { conditions: Vec::new(), then: vec![step], otherwise: Vec::new() };
        let PbTxnResponse { header, responses, .. } = txn::run(&self.member, &plan, call).await?;
        let response = responses.into_iter().next().and_then(|response| response.response);
        Ok((response.ok_or_else(unexpected)?, header))
    }

    async fn compact(&self, revision: i64, call: Call) -> Result<PbCompactionResponse, Failed> {
        let status = self.member.store.status(call).await?;
        let newest = status.version;
        let revision = u64::try_from(revision).unwrap_or(0);
        if revision > newest.index {
            return Err(FUTURE_REVISION.into());
        }
        // The oldest revision that can be read is the one that was compacted to last; before the first time, it is the first.
        let floor = status.sizes.compact_version.index;
        if revision < floor.max(1) || revision == floor && floor > 1 {
            return Err(COMPACTED.into());
        }
        self.member.store.compact(Version::new(newest.term, revision), call).await?;
        Ok(PbCompactionResponse { header: Some(self.member.header(newest)) })
    }
}

fn unexpected() -> Failed {
    Error::internal("a step of a transaction was answered with something else").into()
}
