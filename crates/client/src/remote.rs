use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use norikv_core::{
    Call, ClusterView, Count, CountResult, DEFAULT_MAX_VALUE_BYTES, Delete, DeleteRange, DeleteRangeResult,
    DeleteResult, Entry, Error, ErrorKind, Get, GetMany, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus,
    LeaseTimeToLive, Page, Precondition, Put, PutResult, Result, Scan, Stats, Status, Store, Txn, TxnResult,
    VectorCreateIndex, VectorDelete, VectorDropIndex, VectorGet, VectorIndexInfo, VectorInsert, VectorSearch,
    VectorSearchResult, Version, Watch, Watching, check_key, xxhash64,
};
use norikv_proto::{
    consistency_to_wire, delete_to_wire, entry_from_wire,
    ext::{self, BatchOp, batch_op::Op, batch_result::Result as Answer, range_request::What},
    put_to_wire, scan_to_wire, status_from_wire, v1,
};
use prost::Message;
use tokio::sync::watch;

use crate::{
    Settings,
    calls::{AnyCall, Ended, KeyCall, on_any, on_key},
    conflict::{RANGE, Refused},
    core::Core,
    lease,
    topology::STATUS,
    transport::{Link, Transport},
    txn, vector, watch as follow,
};

const DELETE_RANGE: &str = "/norikv.ext.v1.Store/DeleteRange";

/// A NoriKV server or cluster as a [`Store`].
///
/// Calls go to the leader of their key's shard. Calls in flight together travel together; a lone call goes at
/// once. Nothing is sent before the first call.
pub struct RemoteStore<T: Transport> {
    core: Arc<Core<T>>,
}

impl<T: Transport> RemoteStore<T> {
    /// A store over a transport. Does no I/O.
    ///
    /// # Errors
    /// `InvalidArgument` for settings that cannot be, `Unsupported` for an address that the transport cannot
    /// reach.
    pub fn new(settings: Settings, transport: T) -> Result<Self> {
        Ok(Self { core: Core::new(settings, transport)? })
    }

    async fn range<M: Message + Default>(
        &self,
        what: What,
        version: Option<Version>,
        consistency: norikv_core::Consistency,
        does: &'static str,
        call: Call,
    ) -> Result<M> {
        let request = ext::RangeRequest {
            what: Some(what),
            version: version.map(v1::Version::from),
            consistency: consistency_to_wire(consistency).to_owned(),
        };
        on_any(&self.core, AnyCall::read(RANGE, &request, does), call).await
    }

    /// The refusal of a value that the server is known not to take. What is not over everybody's limit, or goes
    /// to a server whose limit is not known yet, is for the server to judge.
    fn check_put(&self, put: &Put, hash: u64) -> Result<()> {
        let most =
            if put.value.len() > DEFAULT_MAX_VALUE_BYTES { self.core.max_value(hash) } else { usize::MAX };
        put.check(most)
    }
}

impl<T: Transport> fmt::Debug for RemoteStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStore").field("nodes", &self.core.settings.nodes).finish_non_exhaustive()
    }
}

#[cfg_attr(not(target_family = "wasm"), async_trait)]
#[cfg_attr(target_family = "wasm", async_trait(?Send))]
impl<T: Transport> Store for RemoteStore<T> {
    /// Fails with `NoNodesAvailable`, naming each node and why it does not answer; with `Unauthenticated` or
    /// `PermissionDenied` if that is what a node answers.
    async fn connect(&self, call: Call) -> Result<()> {
        let core = &self.core;
        core.check_open()?;
        let nodes: Vec<_> =
            core.with(|state| state.router.nodes().map(|state| Arc::clone(&state.node)).collect());
        let message = ext::StatusRequest {}.encode_to_vec();
        let mut asked: FuturesUnordered<_> = nodes
            .iter()
            .map(|node| {
                let message = message.clone().into();
                async move { node.link.unary(STATUS, message, Some(call.remaining())).await.map(drop) }
            })
            .collect();
        let mut why = Vec::new();
        while let Some(answer) = asked.next().await {
            let Err(failed) = answer else { return Ok(()) };
            core.check_open()?;
            if failed.is_unimplemented() {
                return Ok(());
            }
            let error = failed.into_error();
            if matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::PermissionDenied) {
                return Err(error);
            }
            why.push(error);
        }
        let each: Vec<_> = why.iter().map(Error::message).collect();
        let message = format!("no node answers: {}", each.join(" · "));
        let error = Error::new(ErrorKind::NoNodesAvailable, message);
        Err(match why.into_iter().next() {
            Some(first) => error.caused_by(first),
            None => error,
        })
    }

    async fn get(&self, request: Get, call: Call) -> Result<Option<Entry>> {
        check_key(&request.key)?;
        let of = KeyCall { hash: xxhash64(&request.key), write: false, repeatable: true };
        let consistency = consistency_to_wire(request.consistency).to_owned();
        let body = op(Op::Get(v1::GetRequest { key: request.key, consistency }));
        let Ended { result, body, .. } = on_key(&self.core, body, of, call).await;
        match (result?, body.op) {
            (Answer::Get(got), Some(Op::Get(get))) => {
                Ok(got.entry.map(|entry| entry_from_wire(entry, Some(&get.key))))
            }
            _ => Err(confused("get")),
        }
    }

    async fn get_many(&self, request: GetMany, call: Call) -> Result<Vec<Option<Entry>>> {
        request.keys.iter().try_for_each(|key| check_key(key))?;
        if request.keys.is_empty() {
            return self.core.check_open().map(|()| Vec::new());
        }
        // Until the answer is here: a later write must not be in it.
        let places = request.keys.iter().map(|key| (key, false));
        let _places = self.core.places(places, call.deadline()).await?;
        let keys = request.keys.clone();
        let what = What::Keys(ext::Keys { keys: request.keys });
        let answer: ext::RangeResponse =
            self.range(what, None, request.consistency, "read many keys from one snapshot", call).await?;
        if answer.entries.len() != keys.len() {
            return Err(confused("getMany"));
        }
        let entries = keys.iter().zip(answer.entries);
        Ok(entries.map(|(key, found)| found.entry.map(|entry| entry_from_wire(entry, Some(key)))).collect())
    }

    async fn put(&self, request: Put, call: Call) -> Result<PutResult> {
        let hash = xxhash64(&request.key);
        self.check_put(&request, hash)?;
        let of = KeyCall { hash, write: true, repeatable: request.is_repeatable() };
        let precondition = request.precondition;
        let idempotent = request.idempotency_key.is_some();
        let body = op(Op::Put(put_to_wire(request)));
        let Ended { result, body, doubt } = on_key(&self.core, body, of, call).await;
        let Some(Op::Put(ext::Put { put: Some(put), .. })) = body.op else {
            return Err(result.err().unwrap_or_else(|| confused("put")));
        };
        match result {
            Ok(Answer::Put(answer)) => Ok(PutResult {
                version: answer.version.map_or(Version::ZERO, Version::from),
                prev_entry: answer.prev_entry.map(|entry| entry_from_wire(entry, Some(&put.key))),
            }),
            Ok(_) => Err(confused("put")),
            Err(error) if precondition == Precondition::None => Err(too_large(error, put.value.len())),
            Err(error) => {
                let doubt = doubt && !idempotent;
                let refused = Refused { key: &put.key, value: Some(&put.value), precondition, doubt };
                Err(too_large(refused.settle(&self.core, error, call).await, put.value.len()))
            }
        }
    }

    async fn delete(&self, request: Delete, call: Call) -> Result<DeleteResult> {
        request.check()?;
        let of = KeyCall { hash: xxhash64(&request.key), write: true, repeatable: request.is_repeatable() };
        let precondition = request.precondition();
        let idempotent = request.idempotency_key.is_some();
        let body = op(Op::Delete(delete_to_wire(request)));
        let Ended { result, body, doubt } = on_key(&self.core, body, of, call).await;
        let Some(Op::Delete(delete)) = body.op else {
            return Err(result.err().unwrap_or_else(|| confused("delete")));
        };
        match result {
            Ok(Answer::Delete(answer)) => Ok(DeleteResult {
                deleted: answer.tombstoned,
                version: answer.version.map_or(Version::ZERO, Version::from),
            }),
            Ok(_) => Err(confused("delete")),
            Err(error) if precondition == Precondition::None => Err(error),
            Err(error) => {
                let doubt = doubt && !idempotent;
                let refused = Refused { key: &delete.key, value: None, precondition, doubt };
                Err(refused.settle(&self.core, error, call).await)
            }
        }
    }

    async fn delete_range(&self, request: DeleteRange, call: Call) -> Result<DeleteRangeResult> {
        request.range.check()?;
        // Which keys it deletes is known to the server alone, so it keeps its place among the calls on any.
        let _barrier = self.core.barrier().await?;
        let message = ext::DeleteRangeRequest { range: Some(request.range.into()) };
        let ask = AnyCall {
            method: DELETE_RANGE,
            message: message.encode_to_vec().into(),
            hash: 0,
            what: "delete a range",
            write: true,
            repeatable: false,
        };
        let answer: ext::DeleteRangeResponse = on_any(&self.core, ask, call).await?;
        Ok(DeleteRangeResult {
            deleted: answer.deleted,
            version: answer.version.map_or(Version::ZERO, Version::from),
        })
    }

    async fn scan(&self, request: Scan, call: Call) -> Result<Page> {
        request.range.check()?;
        let (version, consistency) = (request.version, request.consistency);
        let what = What::Scan(scan_to_wire(request));
        let answer: ext::RangeResponse = self.range(what, version, consistency, "scan a range", call).await?;
        let entries = answer.entries.into_iter().filter_map(|found| found.entry);
        Ok(Page {
            entries: entries.map(|entry| entry_from_wire(entry, None)).collect(),
            version: answer.version.map_or(Version::ZERO, Version::from),
            more: answer.more,
        })
    }

    async fn count(&self, request: Count, call: Call) -> Result<CountResult> {
        request.range.check()?;
        let what = What::Count(ext::Count { range: Some(request.range.into()) });
        let answer: ext::RangeResponse =
            self.range(what, request.version, request.consistency, "count a range", call).await?;
        Ok(CountResult { count: answer.count, version: answer.version.map_or(Version::ZERO, Version::from) })
    }

    /// A transaction that writes is repeated only where it is known not to have been carried out.
    async fn txn(&self, request: Txn, call: Call) -> Result<TxnResult> {
        txn::txn(&self.core, request, call).await
    }

    /// A repeat after a lost reply leaves a lease that nobody knows of, which runs out by itself.
    async fn lease_grant(&self, request: LeaseGrant, call: Call) -> Result<LeaseGranted> {
        lease::grant(&self.core, request, call).await
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>, call: Call) -> Result<Vec<Option<Duration>>> {
        lease::keep_alive(&self.core, ids, call).await
    }

    /// The version is [`Version::ZERO`] where a reply was lost and the repeat finds the lease gone.
    async fn lease_revoke(&self, id: LeaseId, call: Call) -> Result<Version> {
        lease::revoke(&self.core, id, call).await
    }

    async fn lease_time_to_live(&self, request: LeaseTimeToLive, call: Call) -> Result<LeaseStatus> {
        lease::time_to_live(&self.core, request, call).await
    }

    async fn leases(&self, call: Call) -> Result<Vec<LeaseId>> {
        lease::list(&self.core, call).await
    }

    /// Goes on by itself when the connection is lost, at whatever node answers. It ends with `Closed` when the store
    /// is closed or dropped.
    async fn watch(&self, request: Watch, call: Call) -> Result<Watching> {
        follow::watch(&self.core, request, call).await
    }

    async fn compact(&self, version: Version, call: Call) -> Result<()> {
        let request = ext::CompactRequest { version: Some(version.into()) };
        // What is compacted already up to here is so again.
        let ask = AnyCall {
            write: true,
            ..AnyCall::read("/norikv.ext.v1.Store/Compact", &request, "forget its history by hand")
        };
        on_any::<_, ext::CompactResponse>(&self.core, ask, call).await.map(drop)
    }

    async fn vector_create_index(&self, request: VectorCreateIndex, call: Call) -> Result<bool> {
        vector::create_index(&self.core, request, call).await
    }

    async fn vector_drop_index(&self, request: VectorDropIndex, call: Call) -> Result<bool> {
        vector::drop_index(&self.core, request, call).await
    }

    async fn vector_insert(&self, request: VectorInsert, call: Call) -> Result<Version> {
        vector::insert(&self.core, request, call).await
    }

    async fn vector_delete(&self, request: VectorDelete, call: Call) -> Result<bool> {
        vector::delete(&self.core, request, call).await
    }

    async fn vector_get(&self, request: VectorGet, call: Call) -> Result<Option<Vec<f32>>> {
        vector::get(&self.core, request, call).await
    }

    async fn vector_search(&self, request: VectorSearch, call: Call) -> Result<Vec<VectorSearchResult>> {
        vector::search(&self.core, request, call).await
    }

    async fn vector_indexes(&self, call: Call) -> Result<Vec<VectorIndexInfo>> {
        vector::list(&self.core, call).await
    }

    async fn status(&self, call: Call) -> Result<Status> {
        let ask = AnyCall::read(STATUS, &ext::StatusRequest {}, "tell its status");
        let answer: ext::StatusResponse = on_any(&self.core, ask, call).await?;
        Ok(status_from_wire(answer))
    }

    fn cluster(&self) -> Option<watch::Receiver<ClusterView>> {
        Some(self.core.view.subscribe())
    }

    fn stats(&self) -> Stats {
        let epoch = self.core.view.borrow().epoch;
        let (total_nodes, active_connections, cached_leaders) = self.core.with(|state| {
            let open = state.router.nodes().map(|node| node.node.link.connections()).sum();
            (state.router.len(), open, state.router.cached_leaders())
        });
        Stats {
            total_nodes,
            active_connections,
            epoch,
            cached_leaders,
            retried: self.core.retried.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }

    async fn close(&self) -> Result<()> {
        self.core.close().await;
        Ok(())
    }
}

fn op(op: Op) -> BatchOp {
    BatchOp { op: Some(op), timeout_ms: 0 }
}

pub(crate) fn confused(what: &str) -> Error {
    Error::internal(format!("the server's answer to a {what} is not one; do client and server fit together?"))
}

/// gRPC's own refusal of a message that is too large is OUT_OF_RANGE, which no put has another use for.
fn too_large(error: Error, bytes: usize) -> Error {
    if error.kind() != ErrorKind::Compacted {
        return error;
    }
    Error::invalid_argument(format!("the server takes no value of {bytes} bytes: {}", error.message()))
        .caused_by(error)
}

impl<T: Transport> Drop for RemoteStore<T> {
    fn drop(&mut self) {
        // What runs beside the calls holds the core, so it would never end by itself.
        self.core.end_soon();
    }
}
