//! The workload: what one put writes, and helpers.
use crate::store::*;
use std::path::Path;

pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D049BB133111EB);
    x ^ (x >> 31)
}
/// 16-byte key number `i`, in scattered order.
pub fn key(i: u64) -> Vec<u8> {
    format!("{:016x}", mix(i)).into_bytes()
}
/// 140 bytes that depend on the key number and the revision.
pub fn value(i: u64, rev: u64) -> Vec<u8> {
    let mut v = Vec::with_capacity(144);
    v.extend_from_slice(&rev.to_be_bytes());
    let mut s = mix(i ^ rev.rotate_left(32));
    while v.len() < 140 {
        s = mix(s);
        v.extend_from_slice(&s.to_be_bytes());
    }
    v.truncate(140);
    v
}
pub fn log_key(rev: u64) -> Vec<u8> {
    let mut k = rev.to_be_bytes().to_vec();
    k.extend_from_slice(&0u32.to_be_bytes());
    k
}
pub fn undo_key(k: &[u8], rev: u64) -> Vec<u8> {
    [k, &rev.to_be_bytes()].concat()
}
/// One put: entries + log (+ undo when overwriting, + deadlines sometimes).
pub fn put(ops: &mut Vec<Op>, i: u64, rev: u64, prev: Option<Vec<u8>>) {
    let k = key(i);
    if let Some(p) = prev {
        ops.push(Op { table: UNDO, key: undo_key(&k, rev), val: Some(p) });
    }
    let log = [&k[..], &[7u8; 12]].concat();
    ops.push(Op { table: LOG, key: log_key(rev), val: Some(log) });
    if rev % 10 == 0 {
        let dl = [&mix(rev).to_be_bytes()[..], &[0; 8], &k].concat();
        ops.push(Op { table: DEADLINES, key: dl, val: Some(vec![]) });
    }
    ops.push(Op { table: ENTRIES, key: k, val: Some(value(i, rev)) });
}
/// Writes `n` puts for key numbers given by `f(j)`, `per` puts per commit. Reads the previous
/// value first, as the real writer does.
pub fn write<S: Store>(s: &S, rev0: u64, n: u64, per: u64, sync: bool, over: bool, f: impl Fn(u64) -> u64) -> Res<()> {
    let mut j = 0;
    while j < n {
        let m = per.min(n - j);
        let mut ops = Vec::with_capacity(m as usize * 4);
        for x in j..j + m {
            let i = f(x);
            let prev = if over { s.get(ENTRIES, &key(i))? } else { None };
            put(&mut ops, i, rev0 + x, prev);
        }
        s.commit(ops, sync)?;
        j += m;
    }
    Ok(())
}
/// Loads keys 0..n as revisions 1..=n.
pub fn fill<S: Store>(s: &S, n: u64) -> Res<()> {
    let step = 50_000;
    let mut d = 0;
    while d < n {
        let m = step.min(n - d);
        write(s, d + 1, m - 1, 1000, false, false, |x| d + x)?;
        write(s, d + m, 1, 1, true, false, |_| d + m - 1)?;
        d += m;
    }
    Ok(())
}
pub fn rm(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir);
}
/// Bytes really allocated on disk.
pub fn disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut t = 0;
    if let Ok(rd) = std::fs::read_dir(dir) {
        for x in rd.flatten() {
            match x.metadata() {
                Ok(m) if m.is_dir() => t += disk(&x.path()),
                Ok(m) => t += m.blocks() * 512,
                _ => {}
            }
        }
    }
    t
}
pub fn copy(a: &Path, b: &Path) {
    rm(b);
    let ok = std::process::Command::new("cp").arg("-r").arg("--sparse=always").arg(a).arg(b).status();
    assert!(ok.unwrap().success());
}
pub fn med(mut v: Vec<f64>) -> f64 {
    v.sort_by(|a, b| a.total_cmp(b));
    v[v.len() / 2]
}
