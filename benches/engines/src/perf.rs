//! Speed, size and open times.
use crate::load::*;
use crate::store::*;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const M: u64 = 1_000_000;

pub fn run<S: Store + 'static>(name: &str, root: &Path) -> Res<()> {
    let d = root.join(format!("perf-{name}"));
    let out = |m: &str, v: String| println!("{name}|{m}|{v}");

    // create an empty store
    let mut v = vec![];
    for _ in 0..5 {
        rm(&d);
        let t = Instant::now();
        let s = S::open(&d)?;
        v.push(t.elapsed().as_secs_f64() * 1e3);
        drop(s);
    }
    out("create empty ms", format!("{:.1}", med(v)));

    // reads at 100 k
    rm(&d);
    let s = S::open(&d)?;
    fill(&s, 100_000)?;
    reads(name, &s, 100_000, "100k")?;
    drop(s);

    // load 1 M
    rm(&d);
    let s = S::open(&d)?;
    let t = Instant::now();
    fill(&s, M)?;
    out("load 1M s (batches of 1000)", format!("{:.1}", t.elapsed().as_secs_f64()));
    std::thread::sleep(Duration::from_secs(3));
    out("disk MB after load", format!("{}", disk(&d) >> 20));
    copy(&d, &root.join(format!("loaded-{name}")));
    reads(name, &s, M, "1M")?;

    let mut v = vec![];
    for r in 0..3u64 {
        let t = Instant::now();
        let mut n = 0;
        for j in 0..3000 {
            n += s.scan(ENTRIES, &key(mix(j + r) % M), 100, &mut |_, _| {})?;
        }
        v.push(n as f64 / t.elapsed().as_secs_f64());
    }
    out("scan100 rows/s", format!("{:.0}", med(v)));

    // reads while writing
    let stop = AtomicBool::new(false);
    let mut rev = M + 1;
    let first = rev;
    std::thread::scope(|sc| -> Res<()> {
        let w = sc.spawn(|| -> Res<u64> {
            let mut r = 0;
            let t = Instant::now();
            while !stop.load(Relaxed) {
                write(&s, first + r, 64, 64, false, true, |x| mix(r + x) % M)?;
                r += 64;
                if r % 6400 == 0 {
                    write(&s, first + r, 1, 1, true, true, |x| mix(r + x) % M)?;
                    r += 1;
                    r = r.next_multiple_of(64);
                }
            }
            println!("{name}|writer during reads puts/s|{:.0}", r as f64 / t.elapsed().as_secs_f64());
            Ok(r)
        });
        let x = reads(name, &s, M, "1M+writer");
        stop.store(true, Relaxed);
        rev += w.join().unwrap()?;
        x
    })?;

    // non-fsync batches of 64, overwriting
    let mut v = vec![];
    for _ in 0..3 {
        let t = Instant::now();
        let mut n = 0;
        while t.elapsed() < Duration::from_secs(2) {
            write(&s, rev, 64, 64, false, true, |x| mix(rev + x) % M)?;
            rev += 64;
            n += 64;
        }
        write(&s, rev, 1, 1, true, true, |x| mix(rev + x) % M)?;
        rev += 1;
        v.push(n as f64 / t.elapsed().as_secs_f64());
    }
    out("nosync batch64 puts/s", format!("{:.0}", med(v)));

    // durable
    for per in [1u64, 64] {
        let mut v = vec![];
        for _ in 0..3 {
            let t = Instant::now();
            let mut n = 0;
            while t.elapsed() < Duration::from_secs(2) {
                write(&s, rev, per, per, true, true, |x| mix(rev + x) % M)?;
                rev += per;
                n += per;
            }
            v.push(n as f64 / t.elapsed().as_secs_f64());
        }
        out(&format!("durable batch{per} puts/s"), format!("{:.0}", med(v)));
    }
    drop(s);
    rm(&d);
    Ok(())
}

fn reads<S: Store>(name: &str, s: &S, n: u64, tag: &str) -> Res<()> {
    for held in [false, true] {
        let mut v = vec![];
        for r in 0..3u64 {
            let keys: Vec<_> = (0..100_000u64).map(|j| key(mix(j * 3 + r) % n)).collect();
            let t = Instant::now();
            let f = s.reads(&keys, held)?;
            v.push(t.elapsed().as_nanos() as f64 / keys.len() as f64);
            if f != keys.len() {
                return Err(format!("lost keys: {f}"));
            }
        }
        let h = if held { "one snapshot" } else { "snapshot per read" };
        println!("{name}|get {tag} ns ({h})|{:.0}", med(v));
    }
    Ok(())
}

/// Overwrite all keys 5 times, then delete undo and log in revision order; watch the disk.
pub fn space<S: Store + 'static>(name: &str, root: &Path) -> Res<()> {
    let d = root.join(format!("space-{name}"));
    // number of keys: 1 M starts from the load of `perf`
    let m: u64 = std::env::var("SPACE_KEYS").ok().and_then(|x| x.parse().ok()).unwrap_or(M);
    rm(&d);
    if m == M {
        copy(&root.join(format!("loaded-{name}")), &d);
    }
    let mut s = S::open(&d)?;
    if m != M {
        fill(&s, m)?;
        s.settle()?;
    }
    println!("{name}|space: loaded MB|{}", disk(&d) >> 20);
    let t = Instant::now();
    for round in 0..5u64 {
        let mut j = 0;
        while j < m {
            let rev = (round + 1) * m + 1 + j;
            write(&s, rev, 4999, 1000, false, true, |x| j + x)?;
            write(&s, rev + 4999, 1, 1, true, true, |_| j + 4999)?;
            j += 5000;
        }
    }
    println!("{name}|space: overwrite 5x s|{:.0}", t.elapsed().as_secs_f64());
    println!("{name}|space: after 5x MB|{}", disk(&d) >> 20);
    let t = Instant::now();
    for rev in (1..=6 * m).step_by(5000) {
        let mut ops = vec![];
        for r in rev..rev + 5000 {
            ops.push(Op { table: LOG, key: log_key(r), val: None });
            if r > m {
                let k = key((r - 1) % m);
                ops.push(Op { table: UNDO, key: undo_key(&k, r), val: None });
            }
        }
        s.commit(ops, true)?;
    }
    println!("{name}|space: delete history s|{:.0}", t.elapsed().as_secs_f64());
    println!("{name}|space: right after deletes MB|{}", disk(&d) >> 20);
    std::thread::sleep(Duration::from_secs(10));
    println!("{name}|space: +10 s MB|{}", disk(&d) >> 20);
    let t = Instant::now();
    let r = s.compact();
    println!("{name}|space: explicit compaction|{r:?} {:.1} s", t.elapsed().as_secs_f64());
    std::thread::sleep(Duration::from_secs(1));
    println!("{name}|space: after compaction MB|{}", disk(&d) >> 20);
    // a little more traffic, as a living store has
    for i in 0..3 {
        for x in 0..20_000 {
            let rev = 6 * m + 1 + i * 20_000 + x;
            write(&s, rev, 1, 1, false, true, |x| x)?;
        }
        s.settle()?;
        std::thread::sleep(Duration::from_secs(2));
        println!("{name}|space: after 20 k more puts MB|{}", disk(&d) >> 20);
    }
    drop(s);
    let t = Instant::now();
    let s = S::open(&d)?;
    println!("{name}|space: clean reopen ms|{:.0}", t.elapsed().as_secs_f64() * 1e3);
    std::thread::sleep(Duration::from_secs(1));
    println!("{name}|space: after reopen MB|{}", disk(&d) >> 20);
    drop(s);
    rm(&d);
    Ok(())
}

/// Child: writes durably forever and prints the last acknowledged revision.
pub fn crash_child<S: Store>(dir: &Path) -> Res<()> {
    let s = S::open(dir)?;
    let mut rev = M + 1;
    loop {
        write(&s, rev, 64, 64, true, true, |x| mix(rev + x) % M)?;
        rev += 64;
        println!("{}", rev - 1);
    }
}

pub fn crash<S: Store>(name: &str, root: &Path) -> Res<()> {
    use std::io::BufRead;
    let d = root.join(format!("crash-{name}"));
    let mut v = vec![];
    for _ in 0..3 {
        copy(&root.join(format!("loaded-{name}")), &d);
        let mut c = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["crash-child", name])
            .arg(&d)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .map_err(e)?;
        let o = std::io::BufReader::new(c.stdout.take().unwrap());
        let h = std::thread::spawn(move || o.lines().map_while(Result::ok).last());
        std::thread::sleep(Duration::from_secs(4));
        c.kill().map_err(e)?;
        c.wait().map_err(e)?;
        let last: u64 = h.join().unwrap().ok_or("no writes")?.parse().map_err(e)?;
        let t = Instant::now();
        let s = S::open(&d)?;
        v.push(t.elapsed().as_secs_f64() * 1e3);
        for r in M + 1..=last {
            if s.get(LOG, &log_key(r))?.is_none() {
                return Err(format!("acknowledged revision {r} lost"));
            }
        }
        println!("{name}|crash: acknowledged revisions kept|{}", last - M);
    }
    println!("{name}|open after kill -9, 1M keys, ms|{:.0}", med(v));
    rm(&d);
    Ok(())
}

/// Durable puts on a small store (100 k keys, settled), without other work in the background.
pub fn durable<S: Store>(name: &str, root: &Path) -> Res<()> {
    let d = root.join(format!("durable-{name}"));
    rm(&d);
    let s = S::open(&d)?;
    fill(&s, 100_000)?;
    s.settle()?;
    std::thread::sleep(Duration::from_secs(2));
    let mut rev = 100_001;
    for per in [1u64, 64] {
        let mut v = vec![];
        for _ in 0..3 {
            let (t, mut n) = (Instant::now(), 0);
            while t.elapsed() < Duration::from_secs(1) {
                write(&s, rev, per, per, true, true, |x| mix(rev + x) % 100_000)?;
                rev += per;
                n += per;
            }
            v.push(n as f64 / t.elapsed().as_secs_f64());
        }
        println!("{name}|durable, small store, batch{per} puts/s|{:.0}", med(v));
    }
    drop(s);
    rm(&d);
    Ok(())
}
