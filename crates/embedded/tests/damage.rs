//! Damaged files: an error that says so, or no harm. Never wrong data, never an acknowledged write lost unsaid.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, clippy::panic, clippy::print_stdout)]

mod common;

use std::{
    fs,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
};

use common::{call, copy_directory};
use norikv_core::{Delete, ErrorKind, KeyRange, Put, Scan, Store};
use norikv_embedded::{EmbeddedStore, Settings};

const KEYS: u64 = 2_000;

fn settings() -> Settings {
    Settings { cache_bytes: 0, ..Settings::default() }
}

fn value(key: u64, round: u64) -> Vec<u8> {
    let mut value = format!("value {key} of round {round} ").into_bytes();
    value.resize(200, (key % 251) as u8);
    value
}

/// A store of which half lies in tables and half in the journal, as a killed process leaves it.
async fn killed_store() -> tempfile::TempDir {
    let original = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(original.path(), settings()).unwrap();
    for round in 0..2 {
        let puts =
            (0..KEYS).map(|key| store.put(Put::new(key.to_be_bytes().to_vec(), value(key, round)), call()));
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
        if round == 0 {
            // More than the engine keeps in memory, so that some of it goes into tables.
            for _ in 0..40 {
                store.put(Put::new("~", vec![7; 1 << 20]), call()).await.unwrap();
            }
            store.delete(Delete::new("~"), call()).await.unwrap();
        }
    }
    copy_directory(original.path(), killed.path());
    store.close().await.unwrap();
    killed
}

enum Found {
    AllRight,
    Refused(ErrorKind),
    /// So many entries could be read, and the rest was said to be damaged.
    Some(usize),
}

/// Opens the store and reads everything. Panics over wrong data.
async fn read_all(directory: &Path) -> Found {
    let store = match EmbeddedStore::open(directory, settings()) {
        Ok(store) => store,
        Err(error) => return Found::Refused(error.kind()),
    };
    let read = async {
        let mut scan = Scan::new(KeyRange::all());
        let mut key = 0_u64;
        loop {
            let page = store.scan(scan.clone(), call()).await?;
            for entry in &page.entries {
                assert_eq!(entry.key, key.to_be_bytes().to_vec());
                assert_eq!(entry.value, value(key, 1), "wrong data for key {key}");
                key += 1;
            }
            match scan.next(&page) {
                Some(next) => scan = next,
                None => break,
            }
        }
        assert_eq!(key, KEYS, "entries are missing");
        assert_eq!(store.status(call()).await?.version.index, 1 + 2 * KEYS + 41);
        Ok::<(), norikv_core::Error>(())
    };
    let found = match read.await {
        Ok(()) => Found::AllRight,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            let mut readable = 0;
            for key in 0..KEYS {
                let get = norikv_core::Get {
                    key: key.to_be_bytes().to_vec().into(),
                    consistency: Default::default(),
                };
                match store.get(get, call()).await {
                    Ok(entry) => {
                        assert_eq!(entry.unwrap().value, value(key, 1));
                        readable += 1;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption),
                }
            }
            Found::Some(readable)
        }
    };
    store.close().await.unwrap();
    found
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn rounds() -> usize {
    std::env::var("NORIKV_FLIP_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4)
}

fn seed() -> u64 {
    std::env::var("NORIKV_FLIP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

/// The last byte that is not zero: files are made longer than what is in them.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_any_file_is_corruption_or_harmless() {
    let killed = killed_store().await;
    assert!(matches!(read_all(&copy(&killed)).await, Found::AllRight));
    let mut random = fastrand::Rng::with_seed(seed());
    let (mut silent, mut said, mut partly) = (0, 0, 0);
    for file in files(killed.path()) {
        let relative = file.strip_prefix(killed.path()).unwrap();
        let bytes = fs::read(&file).unwrap();
        let used = used(&bytes);
        for _ in 0..if used == 0 { 0 } else { rounds() } {
            let (at, bit) = (random.usize(..used), random.u8(..8));
            let damaged = copy(&killed);
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            fs::write(damaged.join(relative), &bytes).unwrap();
            let name = format!("bit {bit} of byte {at} of {}", relative.display());
            match AssertUnwindSafe(read_all(&damaged)).catch(&name).await {
                Found::AllRight => silent += 1,
                // A flip may also make a format newer than any there is.
                Found::Refused(ErrorKind::Corruption | ErrorKind::Unsupported) => said += 1,
                Found::Refused(kind) => panic!("{name}: {kind:?}"),
                Found::Some(readable) => {
                    partly += 1;
                    assert!(readable > 0, "{name}: nothing could be read");
                }
            }
            fs::remove_dir_all(damaged).unwrap();
        }
    }
    println!("{silent} harmless, {said} refused, {partly} partly readable");
    assert!(said + partly > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_lost_acknowledged_writes_at_its_end_is_corruption() {
    let killed = killed_store().await;
    let journal = |directory: &Path| {
        let journals = files(&directory.join("data"));
        journals.into_iter().rfind(|path| path.extension().is_some_and(|ext| ext == "jnl")).unwrap()
    };
    let bytes = fs::read(journal(killed.path())).unwrap();
    let used = used(&bytes);
    for cut in [1, 5, 100, 3_000] {
        for zeros in [true, false] {
            let damaged = copy(&killed);
            let mut bytes = bytes.clone();
            if zeros {
                bytes[used - cut..].fill(0);
            } else {
                bytes.truncate(used - cut);
            }
            fs::write(journal(&damaged), bytes).unwrap();
            match read_all(&damaged).await {
                Found::Refused(ErrorKind::Corruption) => {}
                _ => panic!("{cut} bytes lost (zeros: {zeros}), and nothing said"),
            }
            fs::remove_dir_all(damaged).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_write_that_was_not_acknowledged_is_cut_off() {
    let killed = killed_store().await;
    let journals = files(&killed.path().join("data"));
    let journal =
        journals.into_iter().rfind(|path| path.extension().is_some_and(|ext| ext == "jnl")).unwrap();
    let bytes = fs::read(&journal).unwrap();
    let used = used(&bytes);
    // The beginning of a batch, as far as it came: 1, two items, a sequence number, and a part of the first.
    let mut torn = bytes[..used].to_vec();
    torn.extend([1, 2, 0, 0, 0]);
    torn.extend(u64::MAX.to_le_bytes());
    torn.extend([2, 0, 0, 1, 0, 0]);
    // … and one with a hole in it.
    let mut hole = torn.clone();
    hole.extend([0; 5_000]);
    hole.extend([7; 100]);
    for torn in [torn, hole] {
        fs::write(&journal, torn).unwrap();
        assert!(matches!(read_all(killed.path()).await, Found::AllRight));
    }
}

/// A whole batch of one row.
fn batch(sequence: u64) -> Vec<u8> {
    let mut row = vec![2, 0, 0];
    row.extend(1_u64.to_le_bytes());
    row.extend(3_u16.to_le_bytes());
    row.extend([5_u32.to_le_bytes(); 2].concat());
    row.extend(b"keyvalue");
    let mut batch = vec![1, 1, 0, 0, 0];
    batch.extend(sequence.to_le_bytes());
    batch.extend(&row);
    batch.push(3);
    batch.extend(xxhash_rust::xxh3::xxh3_64(&row).to_le_bytes());
    batch.extend(b"FJL\x03");
    batch
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_value_that_holds_a_batch_is_cut_off_all_the_same() {
    let killed = killed_store().await;
    let journals = files(&killed.path().join("data"));
    let journal =
        journals.into_iter().rfind(|path| path.extension().is_some_and(|ext| ext == "jnl")).unwrap();
    let bytes = fs::read(&journal).unwrap();
    let used = used(&bytes);
    // A batch of which the value did not come to its end, and in the value what looks like a batch.
    for sequence in [1, 1 << 40, u64::MAX] {
        let mut torn = bytes[..used].to_vec();
        torn.extend([1, 1, 0, 0, 0]);
        torn.extend(u64::MAX.to_le_bytes());
        torn.extend([2, 0, 0]);
        torn.extend(1_u64.to_le_bytes());
        torn.extend(1_u16.to_le_bytes());
        torn.extend([100_000_u32.to_le_bytes(); 2].concat());
        torn.extend(b"k");
        torn.extend(batch(sequence));
        torn.extend(b"and more of the value");
        fs::write(&journal, torn).unwrap();
        assert!(matches!(read_all(killed.path()).await, Found::AllRight), "sequence {sequence}");
    }
}

fn copy(directory: &tempfile::TempDir) -> PathBuf {
    let to = tempfile::tempdir().unwrap().keep();
    copy_directory(directory.path(), &to);
    to
}

/// Says which damage it was when an assertion fails.
trait Catch {
    async fn catch(self, name: &str) -> Found;
}

impl<F: Future<Output = Found>> Catch for AssertUnwindSafe<F> {
    async fn catch(self, name: &str) -> Found {
        use futures_util::FutureExt as _;
        let patience = std::time::Duration::from_secs(60);
        match tokio::time::timeout(patience, self.catch_unwind()).await {
            Err(_) => panic!("{name}: the store hangs"),
            Ok(Ok(found)) => found,
            Ok(Err(panic)) => {
                println!("the damage was: {name}");
                std::panic::resume_unwind(panic)
            }
        }
    }
}
