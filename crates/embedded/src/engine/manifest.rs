//! A check of fjall's manifests before fjall opens them.
//!
//! A manifest lists the files of a table. fjall 3.1 stores a checksum of it, and does not look at it: a damaged
//! one could leave files out, or take them in the wrong order, and nobody would know.
//!
//! In each table's directory, `current` is: the manifest's number u64, xxh3 of it u128, 0. Little-endian. The
//! manifest is the file `v` and that number.

use std::{fs, path::Path};

use norikv_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_128;

use super::fjall::io_error;

/// Refuses an engine's directory in which a manifest is damaged.
pub(super) fn check(directory: &Path) -> Result<()> {
    let io = |error| io_error("the manifests cannot be read", error);
    for table in fs::read_dir(directory.join("keyspaces")).map_err(io)? {
        let table = table.map_err(io)?.path();
        match fs::read(table.join("current")) {
            Ok(current) if is_whole(&table, &current) => {}
            Ok(_) => return Err(damaged()),
            // A table that a crash cut off while it was made or removed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
    }
    Ok(())
}

fn is_whole(table: &Path, current: &[u8]) -> bool {
    let Some((number, rest)) = current.split_first_chunk::<8>() else { return false };
    let Some((sum, [0])) = rest.split_first_chunk::<16>() else { return false };
    let manifest = fs::read(table.join(format!("v{}", u64::from_le_bytes(*number))));
    manifest.is_ok_and(|manifest| xxh3_128(&manifest) == u128::from_le_bytes(*sum))
}

fn damaged() -> Error {
    Error::new(
        ErrorKind::Corruption,
        "the list of the store's files is damaged; restore the store from a backup",
    )
}
