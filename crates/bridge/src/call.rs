use std::time::Duration;

use bytes::Bytes;
use norikv_core::{
    Consistency, Count, Delete, DeleteRange, Error, Get, GetMany, KeyRange, LeaseGrant, LeaseId,
    LeaseTimeToLive, Order, Precondition, Put, Result, Scan, Txn, Version, Watch, check_key, ttl_from_millis,
};

use crate::{
    frame::Reader,
    subscriber::Credit,
    txn::read_txn,
    vector::{self, VectorCall},
};

/// What JavaScript asks for, with the number that the answer goes to.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) id: u32,
    /// `None`: the client's own.
    pub(crate) timeout: Option<Duration>,
    /// The namespace; empty for the whole store.
    pub(crate) prefix: Bytes,
    /// Bad input is known as soon as it is decoded, and becomes the call's own error.
    pub(crate) operation: Result<Operation>,
}

#[derive(Debug)]
pub(crate) enum Operation {
    Get(Get),
    Put(Put),
    Delete(Delete),
    GetMany(GetMany),
    Scan(Scan),
    Count(Count),
    DeleteRange(DeleteRange),
    Status,
    Connect,
    Close,
    /// Answers now and with every change, until it is cancelled.
    WatchCluster,
    /// Ends the call with the same number.
    Cancel,
    Txn(Txn),
    /// Answers the lease, and at last why it ended. It is kept alive in between.
    Lease(LeaseGrant),
    LeaseRevoke(LeaseId),
    LeaseTimeToLive(LeaseTimeToLive),
    /// Answers the version it starts after, then batches as far as its credit goes.
    Watch(Watch, Credit),
    /// More credit for the watch with the same number. Has no answer.
    WatchMore(Credit),
    Compact(Version),
    Vector(VectorCall),
}

// The first byte of a call. `src/frame.ts` has the same table.
pub(crate) const GET: u8 = 1;
pub(crate) const PUT: u8 = 2;
pub(crate) const DELETE: u8 = 3;
const GET_MANY: u8 = 4;
pub(crate) const SCAN: u8 = 5;
const COUNT: u8 = 6;
pub(crate) const DELETE_RANGE: u8 = 7;
const STATUS: u8 = 8;
const CONNECT: u8 = 9;
const CLOSE: u8 = 10;
const WATCH_CLUSTER: u8 = 11;
const CANCEL: u8 = 12;
const TXN: u8 = 13;
const LEASE: u8 = 14;
const LEASE_REVOKE: u8 = 15;
const LEASE_TIME_TO_LIVE: u8 = 16;
const WATCH: u8 = 17;
const WATCH_MORE: u8 = 18;
const COMPACT: u8 = 19;
// And those of `vector.rs`.

// Flag of every call.
const HAS_PREFIX: u8 = 2;

// Flags of writes.
const HAS_TTL: u8 = 1;
const IF_NOT_EXISTS: u8 = 2;
const HAS_IF_MATCH: u8 = 4;
const HAS_IDEMPOTENCY_KEY: u8 = 8;
const PREV_ENTRY: u8 = 16;
const HAS_LEASE: u8 = 32;

// Flags of ranges.
const HAS_END: u8 = 1;
const IS_PREFIX: u8 = 2;
const REVERSE: u8 = 4;
const KEYS_ONLY: u8 = 8;
const HAS_VERSION: u8 = 16;
const HAS_AFTER: u8 = 32;
const IS_KEY: u8 = 64;

// Flags of watches, beside those of their range.
const WATCH_PREV_ENTRY: u8 = 1;
const WATCH_PROGRESS: u8 = 2;
const WATCH_PUTS: u8 = 4;
const WATCH_DELETES: u8 = 8;

impl Incoming {
    /// The next call of a frame: op, flags, id, timeout, prefix, and what the op takes.
    ///
    /// An error means that the frame is broken, and nothing after it can be read.
    pub(crate) fn read(frame: &mut Reader) -> Result<Self> {
        let op = frame.u8()?;
        let flags = frame.u8()?;
        let id = frame.u32()?;
        let timeout = match frame.u32()? {
            0 => None,
            millis => Some(Duration::from_millis(millis.into())),
        };
        let prefix = if flags & HAS_PREFIX == 0 { Bytes::new() } else { frame.bytes()? };
        Ok(Self { id, timeout, prefix, operation: Operation::read(op, frame)? })
    }
}

impl Operation {
    /// The outer error is a broken frame, the inner one bad input: all of it is read before it is judged, so
    /// that the next call is found.
    pub(crate) fn read(op: u8, frame: &mut Reader) -> Result<Result<Self>> {
        Ok(match op {
            GET => {
                let consistency = read_consistency(frame)?;
                Ok(Self::Get(Get { key: frame.bytes()?, consistency }))
            }
            PUT => return read_put(frame),
            DELETE => {
                let flags = frame.u8()?;
                Ok(Self::Delete(Delete {
                    key: frame.bytes()?,
                    if_match: optional(flags & HAS_IF_MATCH != 0, || frame.version())?,
                    idempotency_key: optional(flags & HAS_IDEMPOTENCY_KEY != 0, || frame.text())?,
                }))
            }
            GET_MANY => {
                let consistency = read_consistency(frame)?;
                let count = frame.u32()?;
                let keys = (0..count).map(|_| frame.bytes()).collect::<Result<_>>()?;
                Ok(Self::GetMany(GetMany { keys, consistency }))
            }
            SCAN => {
                let consistency = read_consistency(frame)?;
                let limit = frame.u64()?;
                let (flags, range) = read_range(frame)?;
                let version = optional(flags & HAS_VERSION != 0, || frame.version())?;
                let after = optional(flags & HAS_AFTER != 0, || frame.bytes())?;
                let order = if flags & REVERSE == 0 { Order::Ascending } else { Order::Descending };
                range.map(|range| {
                    Self::Scan(Scan {
                        range: match (after, order) {
                            (None, _) => range,
                            (Some(key), Order::Ascending) => range.after(&key),
                            (Some(key), Order::Descending) => range.before(&key),
                        },
                        limit,
                        order,
                        keys_only: flags & KEYS_ONLY != 0,
                        version,
                        consistency,
                    })
                })
            }
            COUNT => {
                let consistency = read_consistency(frame)?;
                let (flags, range) = read_range(frame)?;
                let version = optional(flags & HAS_VERSION != 0, || frame.version())?;
                range.map(|range| Self::Count(Count { range, version, consistency }))
            }
            DELETE_RANGE => {
                let (_, range) = read_range(frame)?;
                range.map(|range| Self::DeleteRange(DeleteRange { range }))
            }
            STATUS => Ok(Self::Status),
            CONNECT => Ok(Self::Connect),
            CLOSE => Ok(Self::Close),
            WATCH_CLUSTER => Ok(Self::WatchCluster),
            CANCEL => Ok(Self::Cancel),
            TXN => return Ok(read_txn(frame)?.map(Self::Txn)),
            LEASE => {
                let ttl = frame.f64()?;
                ttl_from_millis(ttl).map(|ttl| Self::Lease(LeaseGrant::new(ttl)))
            }
            LEASE_REVOKE => lease(frame.u64()?).map(Self::LeaseRevoke),
            LEASE_TIME_TO_LIVE => {
                let id = frame.u64()?;
                let keys = frame.u8()? != 0;
                lease(id).map(|id| Self::LeaseTimeToLive(LeaseTimeToLive { id, keys }))
            }
            WATCH => return read_watch(frame),
            WATCH_MORE => Ok(Self::WatchMore(read_credit(frame)?)),
            COMPACT => Ok(Self::Compact(frame.version()?)),
            vector::CREATE_INDEX..=vector::INDEXES => {
                return Ok(VectorCall::read(op, frame)?.map(Self::Vector));
            }
            other => return Err(Error::internal(format!("a frame has an unknown call, {other}"))),
        })
    }
}

fn read_put(frame: &mut Reader) -> Result<Result<Operation>> {
    let flags = frame.u8()?;
    let key = frame.bytes()?;
    let value = frame.bytes()?;
    let ttl = optional(flags & HAS_TTL != 0, || frame.f64())?;
    let if_match = optional(flags & HAS_IF_MATCH != 0, || frame.version())?;
    let idempotency_key = optional(flags & HAS_IDEMPOTENCY_KEY != 0, || frame.text())?;
    let lease_id = optional(flags & HAS_LEASE != 0, || frame.u64())?;
    Ok((|| {
        Ok(Operation::Put(Put {
            key,
            value,
            ttl: ttl.map(ttl_from_millis).transpose()?,
            precondition: Precondition::from_options(flags & IF_NOT_EXISTS != 0, if_match)?,
            idempotency_key,
            lease: lease_id.map(lease).transpose()?,
            prev_entry: flags & PREV_ENTRY != 0,
        }))
    })())
}

/// The lease of a number, which a caller may have made up.
fn lease(id: u64) -> Result<LeaseId> {
    LeaseId::new(id)
        .ok_or_else(|| Error::invalid_argument("0 is no lease: a lease's id is a number from 1 to 2^64 - 1"))
}

fn read_watch(frame: &mut Reader) -> Result<Result<Operation>> {
    let flags = frame.u8()?;
    let credit = read_credit(frame)?;
    let (range_flags, range) = read_range(frame)?;
    let from = optional(range_flags & HAS_VERSION != 0, || frame.version())?;
    let is = |flag| flags & flag != 0;
    Ok(range.map(|range| {
        let watch = Watch {
            range,
            from,
            prev_entry: is(WATCH_PREV_ENTRY),
            progress: is(WATCH_PROGRESS),
            puts: is(WATCH_PUTS),
            deletes: is(WATCH_DELETES),
        };
        Operation::Watch(watch, credit)
    }))
}

fn read_credit(frame: &mut Reader) -> Result<Credit> {
    Ok(Credit::new(frame.u32()?, frame.u32()?))
}

pub(crate) fn read_consistency(frame: &mut Reader) -> Result<Consistency> {
    match frame.u8()? {
        0 => Ok(Consistency::Lease),
        1 => Ok(Consistency::Linearizable),
        2 => Ok(Consistency::StaleOk),
        other => Err(Error::internal(format!("a frame has consistency {other}"))),
    }
}

/// A range's flags, and the range.
fn read_range(frame: &mut Reader) -> Result<(u8, Result<KeyRange>)> {
    let flags = frame.u8()?;
    let start = frame.bytes()?;
    let end = optional(flags & HAS_END != 0, || frame.bytes())?;
    let range = if flags & IS_KEY != 0 {
        check_key(&start).map(|()| KeyRange::single(&start))
    } else if flags & IS_PREFIX != 0 {
        let range = KeyRange::prefix(start);
        range.check().map(|()| range)
    } else {
        KeyRange::new(start, end)
    };
    Ok((flags, range))
}

pub(crate) fn optional<T>(present: bool, read: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    present.then(read).transpose()
}
