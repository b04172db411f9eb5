//! Damaged files, torn tails and full disks. Every trial opens the damaged copy in a child process.
use crate::load::*;
use crate::store::*;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KEYS: u64 = 20_000;
const REVS: u64 = 45_000;

/// Two thirds settled in the tables, the rest written as small durable commits on top.
fn dataset<S: Store>(d: &Path) -> Res<()> {
    rm(d);
    let s = S::open(d)?;
    write(&s, 1, KEYS, 1000, true, false, |x| x)?;
    write(&s, KEYS + 1, 20_000, 1000, true, true, |x| (x * 7) % KEYS)?;
    s.settle()?;
    std::thread::sleep(Duration::from_millis(500));
    write(&s, KEYS + 20_001, REVS - 40_000, 10, true, true, |x| (x * 11) % KEYS)?;
    copy(d, &d.with_extension("live")); // as after kill -9: no clean shutdown
    drop(s);
    Ok(())
}

/// Opens, reads everything, compares. Prints one line: the outcome.
pub fn verify_child<S: Store>(d: &Path) -> Res<()> {
    std::panic::set_hook(Box::new(|_| {}));
    let d = d.to_path_buf();
    let r = std::panic::catch_unwind(move || verify::<S>(&d));
    match r {
        Ok(Ok(x)) => println!("{x}"),
        Ok(Err(x)) => println!("ERR {x}"),
        Err(_) => println!("PANIC"),
    }
    let _ = std::io::stdout().flush();
    std::process::exit(0); // no clean-up: the outcome is known
}

fn verify<S: Store>(d: &Path) -> Res<String> {
    let mut s = S::open(d).map_err(|x| format!("open: {x}"))?;
    if std::env::var_os("ENGINE_CHECK").is_some() {
        s.check().map_err(|x| format!("check: {x}"))?;
    }
    let mut top = 0;
    let mut gap = false;
    let mut bad = 0;
    let mut latest: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let idx: std::collections::HashMap<_, _> = (0..KEYS).map(|i| (key(i), i)).collect();
    s.scan(LOG, b"", usize::MAX, &mut |k, v| {
        let rev = u64::from_be_bytes(k[..8].try_into().unwrap());
        gap |= rev != top + 1;
        top = rev;
        let i = match rev {
            r if r <= KEYS => r - 1,
            r if r <= KEYS + 20_000 => ((r - KEYS - 1) * 7) % KEYS,
            r => ((r - KEYS - 20_001) * 11) % KEYS,
        };
        if v != [&key(i)[..], &[7u8; 12]].concat() {
            bad += 1;
        }
        latest.insert(key(i), rev);
    })
    .map_err(|x| format!("read: {x}"))?;
    let mut seen = 0;
    s.scan(ENTRIES, b"", usize::MAX, &mut |k, v| {
        seen += 1;
        match (idx.get(k), latest.get(k)) {
            (Some(i), Some(r)) if v == value(*i, *r) => {}
            _ => bad += 1,
        }
    })
    .map_err(|x| format!("read: {x}"))?;
    for (k, r) in &latest {
        let v = s.get(ENTRIES, k).map_err(|x| format!("read: {x}"))?;
        if v != Some(value(idx[k], *r)) {
            bad += 1;
        }
    }
    let mut undo = 0;
    s.scan(UNDO, b"", usize::MAX, &mut |k, v| {
        undo += 1;
        let rev = u64::from_be_bytes(v[..8].try_into().unwrap());
        match idx.get(&k[..16]) {
            Some(i) if v == value(*i, rev) => {}
            _ => bad += 1,
        }
    })
    .map_err(|x| format!("read: {x}"))?;
    if gap || bad > 0 || seen != latest.len() || undo + KEYS < top {
        return Ok(format!("WRONG data (rev gap {gap})"));
    }
    if top != REVS {
        return Ok("LOST acknowledged tail, no error".into());
    }
    Ok("fine".into())
}

fn trial(name: &str, d: &Path) -> String {
    let mut c = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["verify-child", name])
        .arg(d)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let t = Instant::now();
    let mut hang = false;
    let st = loop {
        if let Some(s) = c.try_wait().unwrap() {
            break s;
        }
        if t.elapsed() > Duration::from_secs(20) {
            hang = true;
            c.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut o = String::new();
    c.stdout.take().unwrap().read_to_string(&mut o).unwrap();
    if hang {
        return "HANG".into();
    }
    if o.trim().is_empty() {
        return format!("KILLED {st}");
    }
    // numbers out of messages, so that equal kinds count together
    o.trim().chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect::<String>().replace("##", "#").replace("##", "#").replace("##", "#")
}

fn files(d: &Path, base: &Path, out: &mut Vec<PathBuf>) {
    for x in std::fs::read_dir(d).unwrap().flatten() {
        if x.path().is_dir() {
            files(&x.path(), base, out);
        } else {
            out.push(x.path().strip_prefix(base).unwrap().to_path_buf());
        }
    }
    out.sort();
}

/// Length without the trailing zeros (journals and maps are preallocated).
fn used(p: &Path) -> u64 {
    let b = std::fs::read(p).unwrap();
    b.iter().rposition(|x| *x != 0).map_or(0, |x| x as u64 + 1)
}

fn class(f: &Path) -> String {
    let s = f.to_string_lossy();
    match () {
        _ if s.ends_with(".jnl") => "journal".into(),
        _ if s.contains("tables") && s.contains("keyspaces/0/") => "meta tables".into(),
        _ if s.contains("tables") => "tables".into(),
        _ if s.contains("keyspaces") => "manifests".into(),
        _ => s.into_owned(),
    }
}

pub fn flip<S: Store>(name: &str, root: &Path) -> Res<()> {
    let base = root.join(format!("flip-{name}"));
    dataset::<S>(&base)?;
    let clean = std::env::var_os("FLIP_CLEAN").is_some();
    let src = if clean { base.clone() } else { base.with_extension("live") };
    let work = base.with_extension("work");
    copy(&src, &work);
    println!("{name}|flip: untouched copy|{}", trial(name, &work));
    let mut fs = vec![];
    files(&src, &src, &mut fs);
    let mut groups: BTreeMap<String, Vec<(PathBuf, u64)>> = BTreeMap::new();
    for f in fs {
        let n = used(&src.join(&f));
        if n > 0 && !f.ends_with("lock.mdb") {
            groups.entry(class(&f)).or_default().push((f, n));
        }
    }
    let only = std::env::var("FLIP_ONLY").ok();
    for (g, fs) in groups {
        if only.as_ref().is_some_and(|o| *o != g) {
            continue;
        }
        let total: u64 = fs.iter().map(|x| x.1).sum();
        let mut res: BTreeMap<String, u32> = BTreeMap::new();
        for t in 0..100u64 {
            let mut at = mix(t ^ 0xABCD) % total;
            let (f, _) = fs.iter().find(|x| { let hit = at < x.1; if !hit { at -= x.1 } hit }).unwrap();
            copy(&src, &work);
            let mut h = std::fs::OpenOptions::new().read(true).write(true).open(work.join(f)).map_err(e)?;
            let mut b = [0u8];
            h.seek(SeekFrom::Start(at)).map_err(e)?;
            h.read_exact(&mut b).map_err(e)?;
            b[0] ^= 1 << (mix(t) % 8);
            h.seek(SeekFrom::Start(at)).map_err(e)?;
            h.write_all(&b).map_err(e)?;
            drop(h);
            *res.entry(trial(name, &work)).or_default() += 1;
        }
        let mut v: Vec<_> = res.into_iter().collect();
        v.sort_by_key(|x| std::cmp::Reverse(x.1));
        for (k, n) in v {
            println!("{name}|flip {g} ({} KB)|{n} x {k}", total >> 10);
        }
    }
    Ok(())
}

/// Cuts the end of the newest data file at 20 places.
pub fn tail<S: Store>(name: &str, root: &Path) -> Res<()> {
    let base = root.join(format!("tail-{name}"));
    dataset::<S>(&base)?;
    let src = base.with_extension("live");
    let work = base.with_extension("work");
    let f = match name {
        "fjall" => "0.jnl",
        "redb" => "db.redb",
        _ => "data.mdb",
    };
    let n = used(&src.join(f));
    for (what, zero) in [("truncated", false), ("end overwritten with zeros", true)] {
        let mut res: BTreeMap<String, u32> = BTreeMap::new();
        for t in 0..20u64 {
            copy(&src, &work);
            let h = std::fs::OpenOptions::new().write(true).open(work.join(f)).map_err(e)?;
            let full = h.metadata().map_err(e)?.len();
            h.set_len(n - 1 - mix(t) % 4000).map_err(e)?;
            if zero {
                h.set_len(full).map_err(e)?;
            }
            drop(h);
            *res.entry(trial(name, &work)).or_default() += 1;
        }
        for (k, c) in res {
            println!("{name}|tail {what}|{c} x {k}");
        }
    }
    Ok(())
}

/// `root` is a small file system: fill it, look at the error, read, reopen.
pub fn full<S: Store>(name: &str, root: &Path) -> Res<()> {
    let d = root.join(name);
    exhaust::<S>(name, &d)
}

/// The same with the file size limit of the process.
pub fn limit<S: Store>(name: &str, root: &Path) -> Res<()> {
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let mut l = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_FSIZE, &mut l);
        l.rlim_cur = 65 << 20;
        libc::setrlimit(libc::RLIMIT_FSIZE, &l);
    }
    exhaust::<S>(name, &root.join(format!("limit-{name}")))
}

fn exhaust<S: Store>(name: &str, d: &Path) -> Res<()> {
    rm(d);
    let s = S::open(d)?;
    let mut rev = 1;
    let t = Instant::now();
    let err = loop {
        if t.elapsed() > Duration::from_secs(90) {
            break "no error within 90 s (writer stalled or never full)".into();
        }
        match write(&s, rev, 64, 64, true, false, |x| rev + x) {
            Ok(()) => rev += 64,
            Err(x) => break x,
        }
    };
    println!("{name}|full: first error after {} k puts|{err}", rev / 1000);
    let again = write(&s, rev, 64, 64, true, false, |x| rev + x);
    println!("{name}|full: next write|{again:?}");
    let mut ok = 0;
    let mut bad = String::new();
    for r in (1..rev).step_by(97) {
        match s.get(ENTRIES, &key(r)) {
            Ok(Some(v)) if v == value(r, r) => ok += 1,
            Ok(_) => bad = "missing".into(),
            Err(x) => bad = x,
        }
    }
    println!("{name}|full: reads on the same handle|{ok} of {} fine {bad}", (rev - 1).div_ceil(97));
    let t = Instant::now();
    drop(s);
    println!("{name}|full: close ms|{}", t.elapsed().as_millis());
    match S::open(d) {
        Err(x) => println!("{name}|full: reopen while still full|{x}"),
        Ok(s) => {
            let miss = (1..rev).filter(|r| !matches!(s.get(LOG, &log_key(*r)), Ok(Some(_)))).count();
            let unacked = (rev..rev + 200).filter(|r| matches!(s.get(LOG, &log_key(*r)), Ok(Some(_)))).count();
            println!("{name}|full: reopen while still full|fine, missing acknowledged {miss}, surviving unacknowledged {unacked}");
        }
    }
    Ok(())
}
