use std::time::Duration;

use bytes::Bytes;
use norikv_core::{
    Consistency, Count, Delete, DeleteRange, Error, Get, GetMany, KeyRange, Order, Precondition, Put, Result,
    Scan, ttl_from_millis,
};

use crate::frame::Reader;

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
}

// The first byte of a call. `src/frame.ts` has the same table.
const GET: u8 = 1;
const PUT: u8 = 2;
const DELETE: u8 = 3;
const GET_MANY: u8 = 4;
const SCAN: u8 = 5;
const COUNT: u8 = 6;
const DELETE_RANGE: u8 = 7;
const STATUS: u8 = 8;
const CONNECT: u8 = 9;
const CLOSE: u8 = 10;
const WATCH_CLUSTER: u8 = 11;
const CANCEL: u8 = 12;

// Flag of every call.
const HAS_PREFIX: u8 = 2;

// Flags of writes.
const HAS_TTL: u8 = 1;
const IF_NOT_EXISTS: u8 = 2;
const HAS_IF_MATCH: u8 = 4;
const HAS_IDEMPOTENCY_KEY: u8 = 8;
const PREV_ENTRY: u8 = 16;

// Flags of ranges.
const HAS_END: u8 = 1;
const IS_PREFIX: u8 = 2;
const REVERSE: u8 = 4;
const KEYS_ONLY: u8 = 8;
const HAS_VERSION: u8 = 16;
const HAS_AFTER: u8 = 32;

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
    fn read(op: u8, frame: &mut Reader) -> Result<Result<Self>> {
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
    Ok((|| {
        Ok(Operation::Put(Put {
            key,
            value,
            ttl: ttl.map(ttl_from_millis).transpose()?,
            precondition: Precondition::from_options(flags & IF_NOT_EXISTS != 0, if_match)?,
            idempotency_key,
            lease: None,
            prev_entry: flags & PREV_ENTRY != 0,
        }))
    })())
}

fn read_consistency(frame: &mut Reader) -> Result<Consistency> {
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
    let range = if flags & IS_PREFIX == 0 {
        KeyRange::new(start, end)
    } else {
        let range = KeyRange::prefix(start);
        range.check().map(|()| range)
    };
    Ok((flags, range))
}

fn optional<T>(present: bool, read: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    present.then(read).transpose()
}
