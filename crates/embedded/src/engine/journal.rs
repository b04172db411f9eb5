//! A check of fjall's journals before fjall opens them.
//!
//! fjall 3.1 ends a journal at the first batch it cannot parse, without an error, as if it were the last write
//! of a crash. A damaged byte in the middle would so take every acknowledged batch behind it. This check tells
//! the two apart: behind a torn last write there is no further batch.
//!
//! A batch is: 1, the number of items u32, the sequence number u64; the items; 3, xxh3 of the items u64,
//! "FJL\x03". An item is: 2, type u8, compression u8, keyspace u64, key length u16, value length u32, stored
//! length u32, key, value; or: 4, keyspace u64. Little-endian. Journals are not compressed (see `fjall.rs`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use norikv_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_64;

use super::fjall::io_error;

const MAGIC: &[u8] = b"FJL\x03";
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const END_BYTES: usize = 13;

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The length of the batch that the bytes begin with, and its sequence number.
fn batch(bytes: &[u8]) -> Option<(usize, u64)> {
    if *bytes.first()? != START {
        return None;
    }
    let (items, sequence) = (number(bytes, 1, 4)?, number(bytes, 5, 8)?);
    let mut at = 13_usize;
    for _ in 0..items {
        let length = match *bytes.get(at)? {
            ITEM => 21 + number(bytes, at + 11, 2)? + number(bytes, at + 17, 4)?,
            CLEAR => 9,
            _ => return None,
        };
        at = at.checked_add(usize::try_from(length).ok()?)?;
    }
    let sum = xxh3_64(bytes.get(13..at)?);
    let end = bytes.get(at..at + END_BYTES)?;
    let whole = end[0] == END && number(end, 1, 8)? == sum && end.ends_with(MAGIC);
    whole.then_some((at + END_BYTES, sequence))
}

/// Whether a whole batch begins anywhere in the bytes after the first.
fn has_batch_behind(bytes: &[u8]) -> bool {
    (1..bytes.len())
        .any(|at| bytes[at] == START && batch(&bytes[at..]).is_some_and(|(length, _)| length > 26))
}

fn journals(directory: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jnl"));
        if let Some(id) = id.and_then(|id| id.parse().ok()) {
            journals.push((id, path));
        }
    }
    journals.sort_unstable();
    Ok(journals)
}

/// Refuses journals in which acknowledged batches are damaged.
pub(super) fn check(directory: &Path) -> Result<()> {
    let io = |error| io_error("the journal cannot be read", error);
    let journals = journals(directory).map_err(io)?;
    let count = journals.len();
    let mut last_sequence = None;
    for (nth, (id, path)) in journals.into_iter().enumerate() {
        let bytes = fs::read(path).map_err(io)?;
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        // The checksum and the magic end a batch, so no batch ends in the zeros that are cut off here.
        let mut rest = &bytes[..used];
        while !rest.is_empty() {
            let Some((length, sequence)) = batch(rest) else {
                if nth + 1 < count || has_batch_behind(rest) {
                    let at = used - rest.len();
                    return Err(damaged(format!("journal {id} is damaged at byte {at}")));
                }
                // A torn last write: it was never acknowledged. fjall cuts it off.
                break;
            };
            if last_sequence.is_some_and(|last| sequence <= last) {
                return Err(damaged(format!("journal {id} repeats sequence number {sequence}")));
            }
            last_sequence = Some(sequence);
            rest = &rest[length..];
        }
    }
    Ok(())
}

fn damaged(what: String) -> Error {
    Error::new(
        ErrorKind::Corruption,
        format!("{what}, and there are acknowledged writes behind it; restore the store from a backup"),
    )
}
