//! Transactions on the wire, both ways.

use norikv_core::{
    Compare, CompareOp, CompareTarget, Consistency, Delete, DeleteRange, DeleteRangeResult, DeleteResult,
    Error, ErrorKind, Get, LeaseId, Order, Page, Put, PutResult, Result, Scan, Ttl, Txn, TxnOp, TxnOpResult,
    TxnResult, Version,
};

use crate::{
    convert::{
        entry_from_wire, entry_to_wire, precondition_from_wire, precondition_to_wire, range_from_wire,
    },
    ext::{self, compare::Target, txn_op::Op, txn_op_result},
    v1,
};

/// The put of a request.
///
/// # Errors
/// `InvalidArgument` if it has no key and value, or a time to live that no entry can have.
pub fn put_from_wire(put: ext::Put) -> Result<Put> {
    let Some(request) = put.put else {
        return Err(Error::invalid_argument("a put of the request has no key and value"));
    };
    Ok(Put {
        ttl: if request.ttl_ms == 0 { None } else { Some(Ttl::from_millis(request.ttl_ms)?) },
        lease: LeaseId::new(put.lease),
        precondition: precondition_from_wire(request.if_match),
        idempotency_key: given(request.idempotency_key),
        key: request.key,
        value: request.value,
        prev_entry: put.prev_entry,
    })
}

/// A put for the wire.
#[must_use]
pub fn put_to_wire(put: Put) -> ext::Put {
    ext::Put {
        put: Some(v1::PutRequest {
            key: put.key,
            value: put.value,
            ttl_ms: put.ttl.map_or(0, Ttl::as_millis),
            idempotency_key: put.idempotency_key.unwrap_or_default(),
            if_match: precondition_to_wire(put.precondition),
        }),
        prev_entry: put.prev_entry,
        lease: put.lease.map_or(0, LeaseId::get),
    }
}

/// The delete of a request.
#[must_use]
pub fn delete_from_wire(request: v1::DeleteRequest) -> Delete {
    Delete {
        key: request.key,
        if_match: request.if_match.map(Version::from),
        idempotency_key: given(request.idempotency_key),
    }
}

/// A delete for the wire.
#[must_use]
pub fn delete_to_wire(delete: Delete) -> v1::DeleteRequest {
    v1::DeleteRequest {
        if_match: precondition_to_wire(delete.precondition()),
        key: delete.key,
        idempotency_key: delete.idempotency_key.unwrap_or_default(),
    }
}

/// On the wire an absent text is an empty one.
pub(crate) fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The range delete of a request. A range that was left out means every key where something is read. Where
/// something is deleted, it is a client's mistake that must not empty the store.
///
/// # Errors
/// `InvalidArgument` if it names no range, or one that ends before it starts.
pub fn delete_range_from_wire(request: ext::DeleteRangeRequest) -> Result<DeleteRange> {
    if request.range.is_none() {
        return Err(Error::invalid_argument("the request names no range to delete"));
    }
    Ok(DeleteRange { range: range_from_wire(request.range)? })
}

/// The transaction of a request.
///
/// # Errors
/// `InvalidArgument` for a compare or an op that is none.
pub fn txn_from_wire(request: ext::TxnRequest) -> Result<Txn> {
    let ops = |ops: Vec<ext::TxnOp>| ops.into_iter().map(op_from_wire).collect::<Result<_>>();
    Ok(Txn {
        compares: request.compares.into_iter().map(compare_from_wire).collect::<Result<_>>()?,
        then: ops(request.then)?,
        otherwise: ops(request.otherwise)?,
    })
}

/// A transaction for the wire.
#[must_use]
pub fn txn_to_wire(txn: Txn) -> ext::TxnRequest {
    let ops = |ops: Vec<TxnOp>| ops.into_iter().map(op_to_wire).collect();
    ext::TxnRequest {
        compares: txn.compares.into_iter().map(compare_to_wire).collect(),
        then: ops(txn.then),
        otherwise: ops(txn.otherwise),
    }
}

fn compare_from_wire(compare: ext::Compare) -> Result<Compare> {
    let op = match compare.op() {
        ext::CompareOp::Equal => CompareOp::Equal,
        ext::CompareOp::NotEqual => CompareOp::NotEqual,
        ext::CompareOp::Less => CompareOp::Less,
        ext::CompareOp::LessOrEqual => CompareOp::LessOrEqual,
        ext::CompareOp::Greater => CompareOp::Greater,
        ext::CompareOp::GreaterOrEqual => CompareOp::GreaterOrEqual,
        ext::CompareOp::Unspecified => {
            return Err(Error::invalid_argument("a compare of the transaction has no relation"));
        }
    };
    let target = match compare.target {
        Some(Target::Value(value)) => CompareTarget::Value(value),
        Some(Target::Version(version)) => CompareTarget::Version(version.into()),
        Some(Target::CreateVersion(version)) => CompareTarget::CreateVersion(version.into()),
        Some(Target::Generation(generation)) => CompareTarget::Generation(generation),
        Some(Target::Lease(lease)) => CompareTarget::Lease(lease),
        Some(Target::Exists(exists)) => CompareTarget::Exists(exists),
        None => {
            return Err(Error::invalid_argument("a compare of the transaction has nothing to compare with"));
        }
    };
    Ok(Compare { key: compare.key, op, target })
}

fn compare_to_wire(compare: Compare) -> ext::Compare {
    let op = match compare.op {
        CompareOp::Equal => ext::CompareOp::Equal,
        CompareOp::NotEqual => ext::CompareOp::NotEqual,
        CompareOp::Less => ext::CompareOp::Less,
        CompareOp::LessOrEqual => ext::CompareOp::LessOrEqual,
        CompareOp::Greater => ext::CompareOp::Greater,
        CompareOp::GreaterOrEqual => ext::CompareOp::GreaterOrEqual,
    };
    let target = match compare.target {
        CompareTarget::Value(value) => Target::Value(value),
        CompareTarget::Version(version) => Target::Version(version.into()),
        CompareTarget::CreateVersion(version) => Target::CreateVersion(version.into()),
        CompareTarget::Generation(generation) => Target::Generation(generation),
        CompareTarget::Lease(lease) => Target::Lease(lease),
        CompareTarget::Exists(exists) => Target::Exists(exists),
    };
    ext::Compare { key: compare.key, op: op.into(), target: Some(target) }
}

fn op_from_wire(op: ext::TxnOp) -> Result<TxnOp> {
    Ok(match op.op {
        Some(Op::Put(put)) => TxnOp::Put(put_from_wire(put)?),
        Some(Op::Delete(delete)) => TxnOp::Delete(delete_from_wire(delete)),
        Some(Op::DeleteRange(delete)) => TxnOp::DeleteRange(delete_range_from_wire(delete)?),
        Some(Op::Get(key)) => TxnOp::Get(Get { key, consistency: Consistency::default() }),
        Some(Op::Scan(scan)) => TxnOp::Scan(scan_from_wire(scan)?),
        None => return Err(Error::invalid_argument("an op of the transaction is none")),
    })
}

fn op_to_wire(op: TxnOp) -> ext::TxnOp {
    let op = match op {
        TxnOp::Put(put) => Op::Put(put_to_wire(put)),
        TxnOp::Delete(delete) => Op::Delete(delete_to_wire(delete)),
        TxnOp::DeleteRange(delete) => {
            Op::DeleteRange(ext::DeleteRangeRequest { range: Some(delete.range.into()) })
        }
        TxnOp::Get(get) => Op::Get(get.key),
        TxnOp::Scan(scan) => Op::Scan(scan_to_wire(scan)),
    };
    ext::TxnOp { op: Some(op) }
}

/// The scan of a request, at the newest version.
///
/// # Errors
/// `InvalidArgument` for a range that ends before it starts.
pub fn scan_from_wire(scan: ext::Scan) -> Result<Scan> {
    Ok(Scan {
        range: range_from_wire(scan.range)?,
        limit: scan.limit,
        order: if scan.reverse { Order::Descending } else { Order::Ascending },
        keys_only: scan.keys_only,
        ..Scan::default()
    })
}

/// A scan for the wire, without its version and consistency.
#[must_use]
pub fn scan_to_wire(scan: Scan) -> ext::Scan {
    ext::Scan {
        range: Some(scan.range.into()),
        limit: scan.limit,
        reverse: scan.order == Order::Descending,
        keys_only: scan.keys_only,
    }
}

/// A transaction's result for the wire.
#[must_use]
pub fn txn_result_to_wire(result: TxnResult) -> ext::TxnResponse {
    let results = result.results.into_iter().map(|result| {
        let result = match result {
            TxnOpResult::Put(put) => txn_op_result::Result::Put(ext::PutResult {
                version: Some(put.version.into()),
                prev_entry: put.prev_entry.map(entry_to_wire),
            }),
            TxnOpResult::Delete(delete) => txn_op_result::Result::Delete(v1::DeleteResponse {
                tombstoned: delete.deleted,
                version: Some(delete.version.into()),
            }),
            TxnOpResult::DeleteRange(delete) => {
                txn_op_result::Result::DeleteRange(ext::DeleteRangeResponse {
                    deleted: delete.deleted,
                    version: Some(delete.version.into()),
                })
            }
            TxnOpResult::Get(entry) => {
                txn_op_result::Result::Get(ext::GetResult { entry: entry.map(entry_to_wire) })
            }
            TxnOpResult::Scan(page) => txn_op_result::Result::Scan(ext::Page {
                entries: page.entries.into_iter().map(entry_to_wire).collect(),
                version: Some(page.version.into()),
                more: page.more,
            }),
        };
        ext::TxnOpResult { result: Some(result) }
    });
    ext::TxnResponse {
        succeeded: result.succeeded,
        results: results.collect(),
        version: Some(result.version.into()),
    }
}

/// A transaction's result from the wire.
///
/// # Errors
/// `Internal` for a result that is none.
pub fn txn_result_from_wire(response: ext::TxnResponse) -> Result<TxnResult> {
    let version = |version: Option<v1::Version>| version.map_or(Version::ZERO, Version::from);
    let entry = |entry| entry_from_wire(entry, None);
    let results = response.results.into_iter().map(|result| {
        Ok(match result.result {
            Some(txn_op_result::Result::Put(put)) => TxnOpResult::Put(PutResult {
                version: version(put.version),
                prev_entry: put.prev_entry.map(entry),
            }),
            Some(txn_op_result::Result::Delete(delete)) => TxnOpResult::Delete(DeleteResult {
                deleted: delete.tombstoned,
                version: version(delete.version),
            }),
            Some(txn_op_result::Result::DeleteRange(delete)) => TxnOpResult::DeleteRange(DeleteRangeResult {
                deleted: delete.deleted,
                version: version(delete.version),
            }),
            Some(txn_op_result::Result::Get(get)) => TxnOpResult::Get(get.entry.map(entry)),
            Some(txn_op_result::Result::Scan(page)) => TxnOpResult::Scan(Page {
                entries: page.entries.into_iter().map(entry).collect(),
                version: version(page.version),
                more: page.more,
            }),
            None => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "a result of the transaction is none; do client and server fit together?",
                ));
            }
        })
    });
    Ok(TxnResult {
        succeeded: response.succeeded,
        results: results.collect::<Result<_>>()?,
        version: version(response.version),
    })
}

#[cfg(test)]
mod tests {
    use norikv_core::{Entry, KeyRange, Precondition};

    use super::*;

    #[test]
    fn a_transaction_survives_the_wire() {
        let targets = [
            CompareTarget::Value("v".into()),
            CompareTarget::Version(Version::new(1, 2)),
            CompareTarget::CreateVersion(Version::ZERO),
            CompareTarget::Generation(3),
            CompareTarget::Lease(0),
            CompareTarget::Exists(false),
        ];
        let ops = [
            CompareOp::Equal,
            CompareOp::NotEqual,
            CompareOp::Less,
            CompareOp::LessOrEqual,
            CompareOp::Greater,
            CompareOp::GreaterOrEqual,
        ];
        let compares =
            targets.into_iter().zip(ops).map(|(target, op)| Compare { key: "k".into(), op, target });
        let txn = Txn {
            compares: compares.collect(),
            then: vec![
                TxnOp::Put(Put {
                    lease: LeaseId::new(7),
                    precondition: Precondition::NotExists,
                    idempotency_key: Some("once".into()),
                    prev_entry: true,
                    ..Put::new("a", "1")
                }),
                TxnOp::Put(Put { ttl: Ttl::from_millis(5).ok(), ..Put::new("b", "") }),
            ],
            otherwise: vec![
                TxnOp::Delete(Delete { if_match: Some(Version::new(1, 9)), ..Delete::new("c") }),
                TxnOp::DeleteRange(DeleteRange { range: KeyRange::prefix("d") }),
                TxnOp::Get(Get { key: "e".into(), consistency: Consistency::default() }),
                TxnOp::Scan(Scan {
                    limit: 3,
                    order: Order::Descending,
                    keys_only: true,
                    ..Scan::new(KeyRange::all())
                }),
            ],
        };
        let back = txn_from_wire(txn_to_wire(txn.clone())).unwrap();
        assert_eq!(format!("{back:?}"), format!("{txn:?}"));
    }

    #[test]
    fn a_result_survives_the_wire() {
        let version = Version::new(1, 8);
        let entry = Entry {
            key: "k".into(),
            value: "v".into(),
            version,
            create_version: version,
            generation: 1,
            lease: LeaseId::new(4),
            expires_at: None,
        };
        let result = TxnResult {
            succeeded: true,
            version,
            results: vec![
                TxnOpResult::Put(PutResult { version, prev_entry: Some(entry.clone()) }),
                TxnOpResult::Delete(DeleteResult { deleted: true, version }),
                TxnOpResult::DeleteRange(DeleteRangeResult { deleted: 3, version }),
                TxnOpResult::Get(Some(entry.clone())),
                TxnOpResult::Get(None),
                TxnOpResult::Scan(Page { entries: vec![entry], version, more: true }),
            ],
        };
        assert_eq!(txn_result_from_wire(txn_result_to_wire(result.clone())).unwrap(), result);
    }

    #[test]
    fn what_is_no_compare_and_no_op_is_refused() {
        let compare = ext::Compare { key: "k".into(), op: 1, target: None };
        assert!(txn_from_wire(ext::TxnRequest { compares: vec![compare], ..Default::default() }).is_err());
        let compare = ext::Compare { key: "k".into(), op: 99, target: Some(Target::Exists(true)) };
        assert!(txn_from_wire(ext::TxnRequest { compares: vec![compare], ..Default::default() }).is_err());
        let op = ext::TxnOp { op: None };
        assert!(txn_from_wire(ext::TxnRequest { then: vec![op], ..Default::default() }).is_err());
        let op = ext::TxnOp { op: Some(Op::DeleteRange(ext::DeleteRangeRequest { range: None })) };
        assert!(txn_from_wire(ext::TxnRequest { then: vec![op], ..Default::default() }).is_err());
    }
}
