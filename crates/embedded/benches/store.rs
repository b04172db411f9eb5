//! How fast the store is by itself, without a binding or a server: `cargo bench -p norikv-embedded`.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use norikv_core::{Call, Consistency, Durability, KeyRange, Put, Scan, Store};
use norikv_embedded::{EmbeddedStore, Settings};

const VALUE: [u8; 100] = [b'v'; 100];

fn key(n: u64) -> String {
    format!("key{:013}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 10_000_000_000_000)
}

fn call() -> Call {
    Call::with_timeout(Duration::from_secs(600))
}

/// The processor time of the process so far. On a busy machine it says more than the clock.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Puts keys `from..to` with so many in flight; answers puts per second.
async fn puts(store: &Arc<EmbeddedStore>, from: u64, to: u64, in_flight: u64) -> f64 {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let tasks = (0..in_flight).map(|lane| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut n = from + lane;
            while n < to {
                store.put(Put::new(key(n), &VALUE[..]), call()).await.unwrap();
                n += in_flight;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let count = (to - from) as f64;
    print!("[{:.1} us of processor each] ", (cpu_seconds() - cpu) / count * 1e6);
    count / started.elapsed().as_secs_f64()
}

fn gets(store: &EmbeddedStore, keys: u64) -> (f64, u64) {
    let wanted: Vec<_> = (0..200_000).map(|_| key(fastrand::u64(..keys))).collect();
    let started = Instant::now();
    let mut missed = 0;
    for key in &wanted {
        match store.get_now(key.as_bytes(), Consistency::Lease) {
            Some(entry) => assert!(entry.unwrap().is_some()),
            None => missed += 1,
        }
    }
    (started.elapsed().as_nanos() as f64 / wanted.len() as f64, missed)
}

async fn scans(store: &EmbeddedStore) -> f64 {
    let started = Instant::now();
    let rounds = 2_000;
    for _ in 0..rounds {
        let start = key(fastrand::u64(..)).into();
        let scan = Scan { limit: 100, ..Scan::new(KeyRange { start, end: None }) };
        store.scan(scan, call()).await.unwrap();
    }
    started.elapsed().as_nanos() as f64 / 1e3 / f64::from(rounds)
}

async fn bench(name: &str, store: EmbeddedStore, durable: bool) {
    let store = Arc::new(store);
    if durable {
        println!("{name}: put, 1 in flight: {:.0}/s", puts(&store, 0, 1_000, 1).await);
        for in_flight in [64, 256] {
            let rate = puts(&store, 0, 30_000, in_flight).await;
            println!("{name}: put, {in_flight} in flight: {rate:.0}/s");
        }
        return store.close().await.unwrap();
    }
    for keys in [1_000, 100_000, 1_000_000] {
        let load = puts(&store, 0, keys, 1_024).await;
        let again = puts(&store, 0, keys.min(300_000), 64).await;
        let lone = puts(&store, 0, 10_000.min(keys), 1).await;
        let (get, missed) = gets(&store, keys);
        println!(
            "{name}, {keys} keys: load (1,024 in flight) {load:.0}/s; overwrite (64) {again:.0}/s, (1) {lone:.0}/s; get_now {get:.0} ns ({missed} missed); scan of 100 {:.0} us",
            scans(&store).await
        );
    }
    store.close().await.unwrap();
}

fn main() {
    let threads = std::env::var("BENCH_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    let run = |name: &str| only.is_empty() || only == name;
    if run("memory") {
        let store = EmbeddedStore::memory(Settings::default()).unwrap();
        runtime.block_on(async { tokio::spawn(bench("memory", store, false)).await.unwrap() });
    }
    for durability in [Durability::Relaxed, Durability::Fsync] {
        if run(durability.as_str()) {
            let directory = tempfile::tempdir_in(".").unwrap();
            let started = Instant::now();
            let settings = Settings { durability, ..Settings::default() };
            let store = EmbeddedStore::open(directory.path(), settings).unwrap();
            println!("create: {:?}", started.elapsed());
            let durable = durability == Durability::Fsync;
            runtime
                .block_on(async { tokio::spawn(bench(durability.as_str(), store, durable)).await.unwrap() });
            let started = Instant::now();
            let store = EmbeddedStore::open(directory.path(), Settings::default()).unwrap();
            println!("open again: {:?}", started.elapsed());
            drop(store);
        }
    }
}
