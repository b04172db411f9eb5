//! Transactions.

use std::sync::Arc;

use bytes::Bytes;
use norikv_core::{Call, DEFAULT_MAX_VALUE_BYTES, MAX_TXN_BYTES, Result, Txn, TxnOp, TxnResult, xxhash64};
use norikv_proto::{ext, txn_result_from_wire, txn_to_wire};
use prost::Message;

use crate::{
    calls::{AnyCall, on_any},
    core::Core,
    remote::confused,
    transport::Transport,
};

const TXN: &str = "/norikv.ext.v1.Store/Txn";

/// Carries out a transaction, in the order of the calls on every key that it names.
pub(crate) async fn txn<T: Transport>(core: &Arc<Core<T>>, request: Txn, call: Call) -> Result<TxnResult> {
    let hash = keys(&request).next().map_or(0, |(key, _)| xxhash64(key));
    request.check(max_value(core, &request, hash))?;
    let ops = || request.then.iter().chain(&request.otherwise);
    // Until the answer is here. Which keys a range delete deletes is known to the server alone.
    let (_barrier, _places) = if ops().any(|op| matches!(op, TxnOp::DeleteRange(_))) {
        (Some(core.barrier().await?), Vec::new())
    } else {
        (None, core.places(keys(&request), call.deadline()).await?)
    };
    let write = !request.is_read_only();
    let results = [request.otherwise.len(), request.then.len()];
    let ask = AnyCall {
        method: TXN,
        message: txn_to_wire(request).encode_to_vec().into(),
        hash,
        what: "carry out a transaction",
        write,
        repeatable: !write,
    };
    let answer: ext::TxnResponse = on_any(core, ask, call).await?;
    let result = txn_result_from_wire(answer)?;
    if result.results.len() != results[usize::from(result.succeeded)] {
        return Err(confused("transaction"));
    }
    Ok(result)
}

/// The keys that it names, and whether each is written. Scans keep no order, as outside of transactions.
fn keys(request: &Txn) -> impl Iterator<Item = (&Bytes, bool)> {
    let compares = request.compares.iter().map(|compare| (&compare.key, false));
    let ops = request.then.iter().chain(&request.otherwise).filter_map(|op| match op {
        TxnOp::Put(put) => Some((&put.key, true)),
        TxnOp::Delete(delete) => Some((&delete.key, true)),
        TxnOp::Get(get) => Some((&get.key, false)),
        TxnOp::DeleteRange(_) | TxnOp::Scan(_) => None,
    });
    compares.chain(ops)
}

/// The largest value that the server takes, where it matters and is known. Else it is the server's to judge.
fn max_value<T: Transport>(core: &Arc<Core<T>>, request: &Txn, hash: u64) -> usize {
    let large = |op: &TxnOp| matches!(op, TxnOp::Put(put) if put.value.len() > DEFAULT_MAX_VALUE_BYTES);
    let matters = request.bytes() > MAX_TXN_BYTES || request.then.iter().chain(&request.otherwise).any(large);
    if matters { core.max_value(hash) } else { usize::MAX }
}
