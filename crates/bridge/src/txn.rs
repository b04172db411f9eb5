//! A transaction's bytes: in its compares and ops, out what its ops answered.

use norikv_core::{
    Compare, CompareOp, CompareTarget, Entry, Error, Result, Txn, TxnOp, TxnOpResult, TxnResult,
};

use crate::{
    call::{DELETE, DELETE_RANGE, GET, Operation, PUT, SCAN},
    frame::{Reader, Writer},
    reply,
};

// What a compare looks at. `src/txn.ts` has the same table, and that of the relations.
const VALUE: u8 = 0;
const VERSION: u8 = 1;
const CREATE_VERSION: u8 = 2;
const GENERATION: u8 = 3;
const LEASE: u8 = 4;
const EXISTS: u8 = 5;

/// Reads a transaction: the outer error is a broken frame, the inner one bad input.
pub(crate) fn read_txn(frame: &mut Reader) -> Result<Result<Txn>> {
    let count = frame.u32()?;
    // Each compare has bytes of its own, so that a count that lies ends with the frame.
    let compares = (0..count).map(|_| read_compare(frame)).collect::<Result<Vec<_>>>()?;
    let then = read_branch(frame)?;
    let otherwise = read_branch(frame)?;
    Ok(then.and_then(|then| Ok(Txn { compares, then, otherwise: otherwise? })))
}

fn read_compare(frame: &mut Reader) -> Result<Compare> {
    let key = frame.bytes()?;
    let op = match frame.u8()? {
        0 => CompareOp::Equal,
        1 => CompareOp::NotEqual,
        2 => CompareOp::Less,
        3 => CompareOp::LessOrEqual,
        4 => CompareOp::Greater,
        5 => CompareOp::GreaterOrEqual,
        other => return Err(Error::internal(format!("a frame has an unknown relation, {other}"))),
    };
    let target = match frame.u8()? {
        VALUE => CompareTarget::Value(frame.bytes()?),
        VERSION => CompareTarget::Version(frame.version()?),
        CREATE_VERSION => CompareTarget::CreateVersion(frame.version()?),
        GENERATION => CompareTarget::Generation(frame.u64()?),
        LEASE => CompareTarget::Lease(frame.u64()?),
        EXISTS => CompareTarget::Exists(frame.u8()? != 0),
        other => return Err(Error::internal(format!("a frame has an unknown compare, {other}"))),
    };
    Ok(Compare { key, op, target })
}

fn read_branch(frame: &mut Reader) -> Result<Result<Vec<TxnOp>>> {
    let count = frame.u32()?;
    let ops = (0..count).map(|_| read_op(frame)).collect::<Result<Vec<_>>>()?;
    Ok(ops.into_iter().collect())
}

/// An op has the bytes of the call of the same name.
fn read_op(frame: &mut Reader) -> Result<Result<TxnOp>> {
    let op = frame.u8()?;
    if ![GET, PUT, DELETE, DELETE_RANGE, SCAN].contains(&op) {
        return Err(unknown_op(op));
    }
    Ok(match Operation::read(op, frame)? {
        Ok(Operation::Get(get)) => Ok(TxnOp::Get(get)),
        Ok(Operation::Put(put)) => Ok(TxnOp::Put(put)),
        Ok(Operation::Delete(delete)) => Ok(TxnOp::Delete(delete)),
        Ok(Operation::DeleteRange(delete)) => Ok(TxnOp::DeleteRange(delete)),
        Ok(Operation::Scan(scan)) => Ok(TxnOp::Scan(scan)),
        Ok(_) => return Err(unknown_op(op)),
        Err(error) => Err(error),
    })
}

fn unknown_op(op: u8) -> Error {
    Error::internal(format!("a frame has an unknown op of a transaction, {op}"))
}

/// Which ops of a branch are puts that asked for the entry before.
pub(crate) fn asked_prev(ops: &[TxnOp]) -> Vec<bool> {
    ops.iter().map(|op| matches!(op, TxnOp::Put(put) if put.prev_entry)).collect()
}

/// Writes what a transaction answered. Entries carry their keys.
pub(crate) fn write_txn(out: &mut Writer, result: &TxnResult, asked_prev: &[bool]) {
    out.u8(result.succeeded.into());
    out.version(result.version);
    out.u32(u32::try_from(result.results.len()).unwrap_or(u32::MAX));
    for (at, op) in result.results.iter().enumerate() {
        match op {
            TxnOpResult::Put(put) if asked_prev.get(at) == Some(&true) => {
                out.u8(reply::VERSION_AND_ENTRY);
                out.version(put.version);
                write_keyed(out, put.prev_entry.as_ref());
            }
            TxnOpResult::Put(put) => {
                out.u8(reply::VERSION);
                out.version(put.version);
            }
            TxnOpResult::Delete(delete) => {
                out.u8(reply::BOOLEAN);
                out.u8(delete.deleted.into());
            }
            TxnOpResult::DeleteRange(delete) => {
                out.u8(reply::NUMBER);
                out.u64(delete.deleted);
            }
            TxnOpResult::Get(entry) => write_keyed(out, entry.as_ref()),
            TxnOpResult::Scan(page) => {
                out.u8(reply::PAGE);
                reply::write_page(out, page);
            }
        }
    }
}

fn write_keyed(out: &mut Writer, entry: Option<&Entry>) {
    match entry {
        Some(entry) => {
            out.u8(reply::ENTRY);
            out.bytes(&entry.key);
            reply::write_entry(out, entry);
        }
        None => out.u8(reply::MISSING),
    }
}
