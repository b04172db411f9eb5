//! What the tests of the store share.
#![allow(dead_code)] // Each test file is a crate of its own and uses some of it.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, clippy::panic)]

use std::path::Path;

use bytes::Bytes;
use norikv_core::Call;
use norikv_embedded::{EmbeddedStore, Settings};
use tempfile::TempDir;

pub(crate) fn call() -> Call {
    Call::with_timeout(std::time::Duration::from_secs(60))
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Relaxed, since most tests do not need the disk to be waited for.
pub(crate) fn settings() -> Settings {
    Settings { durability: norikv_core::Durability::Relaxed, ..Settings::default() }
}

/// A store in memory; one on disk; and one on disk that keeps nothing in memory.
pub(crate) fn both(settings: Settings) -> Vec<(EmbeddedStore, Option<TempDir>)> {
    let mut stores = vec![(EmbeddedStore::memory(settings.clone()).unwrap(), None)];
    for cache_bytes in [settings.cache_bytes, 0] {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings { cache_bytes, ..settings.clone() };
        stores.push((EmbeddedStore::open(directory.path(), settings).unwrap(), Some(directory)));
    }
    stores
}

/// Copies what is in a directory while it may be in use, as a crash would leave it: at a moment at which the
/// engine's own threads neither make nor remove a file.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    for _ in 0..1_000 {
        let before = files(from);
        let copied = try_copy(from, to);
        if copied.is_ok() && files(from) == before {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
    }
    panic!("{from:?} does not come to rest");
}

fn try_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for file in std::fs::read_dir(from)? {
        let path = file?.path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            try_copy(&path, &target)?;
        } else {
            std::fs::copy(&path, target)?;
        }
    }
    Ok(())
}

/// Every file below a directory, with its size.
fn files(below: &Path) -> std::collections::BTreeMap<std::path::PathBuf, u64> {
    let mut found = std::collections::BTreeMap::new();
    let mut directories = vec![below.to_owned()];
    while let Some(directory) = directories.pop() {
        for file in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match file.metadata() {
                Ok(metadata) if metadata.is_dir() => directories.push(file.path()),
                Ok(metadata) => drop(found.insert(file.path(), metadata.len())),
                Err(_) => {}
            }
        }
    }
    found
}
