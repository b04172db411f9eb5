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

use super::{
    Synced,
    fjall::{SYSTEM_KEYSPACE, io_error},
};
use crate::{keys, log::Part};

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

/// A whole batch.
struct Batch {
    length: usize,
    sequence: u64,
    /// The newest revision of the store in it, if it has any.
    revision: u64,
}

/// The batch that the bytes begin with.
fn batch(bytes: &[u8]) -> Option<Batch> {
    if *bytes.first()? != START {
        return None;
    }
    let (items, sequence) = (number(bytes, 1, 4)?, number(bytes, 5, 8)?);
    let (mut at, mut revision) = (13_usize, 0);
    for _ in 0..items {
        let length = match *bytes.get(at)? {
            ITEM => {
                let key = usize::try_from(number(bytes, at + 11, 2)?).ok()?;
                let value = usize::try_from(number(bytes, at + 17, 4)?).ok()?;
                let in_system = number(bytes, at + 3, 8)? == SYSTEM_KEYSPACE;
                let stored = bytes.get(at + 21..)?.get(..key.checked_add(value)?)?;
                if in_system && stored.first() == Some(&keys::LOG) && value > 0 {
                    let part = Part::parse(&stored[..key], &stored[key..]).ok();
                    revision = part.map_or(revision, |part| revision.max(part.last));
                }
                21 + key + value
            }
            CLEAR => 9,
            _ => return None,
        };
        at = at.checked_add(length)?;
    }
    let sum = xxh3_64(bytes.get(13..at)?);
    let end = bytes.get(at..at + END_BYTES)?;
    let whole = end[0] == END && number(end, 1, 8)? == sum && end.ends_with(MAGIC);
    whole.then_some(Batch { length: at + END_BYTES, sequence, revision })
}

/// The fewest bytes of a batch: its start and its end.
const LEAST_BYTES: usize = 26;
/// How many sequence numbers may be missing between batches. The engine takes a few for itself.
const SEQUENCE_GAP: u64 = 1_024;

/// Whether a whole batch that was written after the one of that sequence number begins anywhere in the bytes
/// after the first.
///
/// A torn value may hold the bytes of a batch too: a copy of a journal, say. Its number hardly ever fits behind
/// the last one: every batch in between takes a number, and there is only so much room for batches.
fn has_batch_behind(bytes: &[u8], last: Option<u64>) -> bool {
    let fits = |at: usize, sequence: u64| {
        last.is_none_or(|last| {
            let most = last.saturating_add(SEQUENCE_GAP).saturating_add((at / LEAST_BYTES) as u64);
            sequence > last && sequence <= most
        })
    };
    (1..bytes.len()).any(|at| {
        bytes[at] == START
            && number(bytes, at + 5, 8).is_some_and(|sequence| fits(at, sequence))
            && batch(&bytes[at..]).is_some_and(|batch| batch.length > LEAST_BYTES)
    })
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

/// How many bytes there are before the zeros at the end, which journals are made with by the megabyte.
fn without_zeros(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4_096] = [0; 4_096];
    let mut pages = bytes.chunks(ZEROS.len());
    let Some(last) = pages.rposition(|page| *page != ZEROS[..page.len()]) else { return 0 };
    let start = last * ZEROS.len();
    let page = &bytes[start..bytes.len().min(start + ZEROS.len())];
    start + page.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}

/// Refuses journals in which acknowledged batches are damaged, and cuts off a torn last write.
///
/// What is cut off was not acknowledged: with every write synced, only the last one can be torn. Where writes
/// are acknowledged before they are on disk, a power cut may leave later ones whole behind a torn one; there,
/// what was noted as synced must be before the cut.
pub(super) fn check(directory: &Path, synced: Option<Synced>) -> Result<()> {
    let io = |error| io_error("the journal cannot be read", error);
    let journals = journals(directory).map_err(io)?;
    let count = journals.len();
    let (mut last_sequence, mut revision) = (None, 0);
    for (nth, (id, path)) in journals.into_iter().enumerate() {
        let bytes = fs::read(&path).map_err(io)?;
        // The magic ends a batch, so no batch ends in the zeros that are left out here.
        let used = without_zeros(&bytes);
        let mut rest = &bytes[..used];
        while !rest.is_empty() {
            let at = used - rest.len();
            let Some(batch) = batch(rest) else {
                let sealed = nth + 1 < count;
                let noted = synced.is_some_and(|synced| revision > 0 && synced.revision > revision);
                let strict = synced.is_none_or(|synced| !synced.relaxed);
                if sealed || noted || (strict && has_batch_behind(rest, last_sequence)) {
                    return Err(damaged(&format!("journal {id} is damaged at byte {at}")));
                }
                cut(&path, at).map_err(|error| io_error("the journal cannot be cut", error))?;
                break;
            };
            if last_sequence.is_some_and(|last| batch.sequence <= last) {
                return Err(damaged(&format!("journal {id} goes back in its sequence at byte {at}")));
            }
            last_sequence = Some(batch.sequence);
            revision = revision.max(batch.revision);
            rest = &rest[batch.length..];
        }
    }
    Ok(())
}

/// fjall would do it, too, but refuses a last write that has a hole in it instead of its end.
fn cut(path: &Path, at: usize) -> std::io::Result<()> {
    let file = fs::File::options().write(true).open(path)?;
    file.set_len(at as u64)?;
    file.sync_all()
}

fn damaged(what: &str) -> Error {
    Error::new(
        ErrorKind::Corruption,
        format!("{what}, and there are acknowledged writes from there on; restore the store from a backup"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out_only_at_the_end() {
        assert_eq!(without_zeros(&[]), 0);
        assert_eq!(without_zeros(&[0; 10_000]), 0);
        let mut bytes = vec![0; 10_000];
        for at in [0, 1, 4_095, 4_096, 9_999] {
            bytes[at] = 1;
            assert_eq!(without_zeros(&bytes), at + 1);
        }
    }
}
