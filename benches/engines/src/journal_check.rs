//! Read-only check of fjall 3.1 journal files, to run BEFORE `Database::open`: fjall cuts a journal
//! at the first entry it cannot parse, without an error, and the acknowledged batches behind it
//! are gone. Layout of a batch: Start = 1, count u32, seqno u64; items; End = 3, xxh3 u64, "FJL\x03".
//! Valid as long as every commit is one batch with a sync (so only the last batch may be torn) and
//! the journal is uncompressed, or values stay below the compression threshold.
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"FJL\x03";

/// One batch at the start of `b`: its length and sequence number.
fn batch(b: &[u8]) -> Option<(usize, u64)> {
    let u = |at: usize, n: usize| -> Option<u64> {
        let s = b.get(at..at + n)?;
        Some(s.iter().rev().fold(0, |a, x| a << 8 | *x as u64))
    };
    if u(0, 1)? != 1 {
        return None;
    }
    let (count, seqno) = (u(1, 4)?, u(5, 8)?);
    let mut p = 13;
    for _ in 0..count {
        p += match u(p, 1)? {
            // tag, value type, compression, keyspace u64, key len u16, value len u32, on-disk len u32
            2 => 21 + u(p + 11, 2)? as usize + u(p + 17, 4)? as usize,
            4 => 9,
            _ => return None,
        };
    }
    let items = b.get(13..p)?;
    let sum = xxhash_rust::xxh3::xxh3_64(items);
    let ok = u(p, 1)? == 3 && u(p + 1, 8)? == sum && b.get(p + 9..p + 13)? == MAGIC;
    ok.then_some((p + 13, seqno))
}

/// All journals of a store, oldest first. `Err`: acknowledged batches are damaged.
/// `Ok(Some((file, length)))`: the last batch is torn, as after a power cut; cut the file there
/// before fjall opens it, which may otherwise refuse. The caller must hold the store's lock.
pub fn check(dir: &Path) -> Result<Option<(PathBuf, u64)>, String> {
    let mut js: Vec<(u64, PathBuf)> = vec![];
    for x in std::fs::read_dir(dir).map_err(|x| x.to_string())?.flatten() {
        let n = x.file_name().to_string_lossy().into_owned();
        if let Some(id) = n.strip_suffix(".jnl").and_then(|s| s.parse().ok()) {
            js.push((id, x.path()));
        }
    }
    js.sort();
    let (mut last, mut torn) = (None, None);
    let n = js.len();
    for (i, (id, path)) in js.into_iter().enumerate() {
        let b = std::fs::read(&path).map_err(|x| x.to_string())?;
        let used = b.iter().rposition(|x| *x != 0).map_or(0, |x| x + 1);
        let b = &b[..used];
        let mut p = 0;
        while p < b.len() {
            let Some((len, seqno)) = batch(&b[p..]) else {
                // Ends of batches behind the bad place: a torn write has at most its own.
                let rest = &b[p..];
                let ends = (9..rest.len().saturating_sub(3))
                    .filter(|j| &rest[*j..*j + 4] == MAGIC && rest[*j - 9] == 3)
                    .filter(|j| matches!(rest.get(*j + 4), None | Some(1)))
                    .count();
                if ends > 1 || i + 1 < n {
                    return Err(format!("journal {id} damaged at {p}, {ends} batches behind it"));
                }
                torn = Some((path.clone(), p as u64));
                break;
            };
            if last.is_some_and(|l| seqno <= l) {
                return Err(format!("journal {id}: sequence number goes back at {p}"));
            }
            last = Some(seqno);
            p += len;
        }
    }
    Ok(torn)
}
