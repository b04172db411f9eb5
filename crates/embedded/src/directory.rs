use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind as Io, Write as _},
    path::{Path, PathBuf},
};

use norikv_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::{Synced, io_error};

/// The newest format that this software reads and writes.
const FORMAT: u32 = 1;
const MAGIC: &str = "NoriKV store, format ";

const FORMAT_FILE: &str = "norikv.format";
const FORMAT_DRAFT: &str = "norikv.format.new";
const LOCK_FILE: &str = "norikv.lock";
const CREATING_FILE: &str = "norikv.creating";
const SYNCED_FILE: &str = "norikv.synced";
const DATA: &str = "data";
/// The note of what is on disk: a revision u64, whether writes are relaxed u8, xxh3 of both u64.
const NOTE_BYTES: usize = 17;

/// The directory of a store on disk, locked for as long as this lives.
///
/// | name | what it is |
/// |---|---|
/// | `norikv.format` | says that it is a store, and in which format |
/// | `norikv.lock` | locked while the store is open |
/// | `norikv.creating` | there while a store is being made: nothing in it has been acknowledged |
/// | `norikv.synced` | the newest revision that is known to be on disk |
/// | `data/` | the storage engine's |
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
    synced: File,
    created: bool,
}

impl Directory {
    /// Locks the directory of a store. One that is missing or empty becomes a store once
    /// [`finish_creation`](Self::finish_creation) is called.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let show = path.display();
        let io = |error| io_error(&format!("cannot open a store in {show}"), error);
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(Error::invalid_argument(format!(
                    "{show} is a file; a store is a directory: name one that is empty, or does not exist yet"
                )));
            }
            Ok(_) => {}
            Err(error) if error.kind() == Io::NotFound => fs::create_dir_all(path).map_err(io)?,
            Err(error) if error.kind() == Io::NotADirectory => {
                return Err(Error::invalid_argument(format!(
                    "{show} lies under a file, not under a directory"
                )));
            }
            Err(error) => return Err(io(error)),
        }
        refuse_others(path)?;

        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::ResourceExhausted,
                    format!(
                        "the store in {show} is open already, in this process or in another; close it there, or share it through a server (norikv serve)"
                    ),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }

        // Looked at again: until the lock was held, another process may have been making it.
        let created = match fs::read_to_string(path.join(FORMAT_FILE)) {
            Ok(text) => {
                check_format(path, &text)?;
                true
            }
            Err(error) if error.kind() == Io::NotFound => {
                begin_creation(path).map_err(io)?;
                false
            }
            Err(error) if error.kind() == Io::InvalidData => return Err(damaged(path)),
            Err(error) => return Err(io(error)),
        };
        let synced = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join(SYNCED_FILE))
            .map_err(io)?;
        Ok(Self { path: path.to_owned(), lock, synced, created })
    }

    /// Where the storage engine lives.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Whether it was a store already.
    pub(crate) fn is_created(&self) -> bool {
        self.created
    }

    /// Makes the directory a store, now that everything that belongs to an empty one is on disk.
    pub(crate) fn finish_creation(&mut self) -> Result<()> {
        if !self.created {
            self.write_format().map_err(|error| {
                io_error(&format!("cannot make a store in {}", self.path.display()), error)
            })?;
            self.created = true;
        }
        // Left over when a crash came between the two.
        let _ = fs::remove_file(self.path.join(CREATING_FILE));
        Ok(())
    }

    fn write_format(&self) -> std::io::Result<()> {
        let draft = self.path.join(FORMAT_DRAFT);
        let mut file = File::create(&draft)?;
        file.write_all(format!("{MAGIC}{FORMAT}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(draft, self.path.join(FORMAT_FILE))?;
        sync_directory(&self.path)
    }

    /// Notes the newest revision that is on disk.
    ///
    /// The note is not synced itself, so it may be older than the truth, never newer. After a crash of the
    /// process it is exact, which is how a journal that lost its end is found out.
    pub(crate) fn note_synced(&self, synced: Synced) -> std::io::Result<()> {
        let mut note = [0; NOTE_BYTES];
        note[..8].copy_from_slice(&synced.revision.to_le_bytes());
        note[8] = u8::from(synced.relaxed);
        let sum = xxh3_64(&note[..9]);
        note[9..].copy_from_slice(&sum.to_le_bytes());
        write_at_start(&self.synced, &note)
    }

    /// The same, and on disk before this returns.
    pub(crate) fn note_synced_durably(&self, synced: Synced) -> std::io::Result<()> {
        self.note_synced(synced)?;
        self.synced.sync_all()
    }

    /// What was noted, if the note is whole.
    pub(crate) fn synced(&self) -> Option<Synced> {
        let mut note = [0; NOTE_BYTES];
        read_at_start(&self.synced, &mut note).ok()?;
        let (noted, sum) = note.split_last_chunk::<8>()?;
        let (revision, relaxed) = noted.split_first_chunk::<8>()?;
        let whole = xxh3_64(noted).to_le_bytes() == *sum;
        whole.then_some(Synced { revision: u64::from_le_bytes(*revision), relaxed: relaxed == [1] })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing the file unlocks it too, but not while a child process holds a copy of the descriptor.
        let _ = self.lock.unlock();
    }
}

#[cfg(unix)]
fn write_at_start(file: &File, bytes: &[u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, 0)
}

#[cfg(unix)]
fn read_at_start(file: &File, bytes: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, 0)
}

#[cfg(windows)]
fn write_at_start(file: &File, bytes: &[u8]) -> std::io::Result<()> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, 0).map(|_| ())
}

#[cfg(windows)]
fn read_at_start(file: &File, bytes: &mut [u8]) -> std::io::Result<()> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, 0).map(|_| ())
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

/// A directory cannot be synced there, and need not be.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Refuses a directory that has something in it and is no store, before anything is written into it.
fn refuse_others(path: &Path) -> Result<()> {
    let io = |error| io_error(&format!("cannot open a store in {}", path.display()), error);
    let mut found = None;
    let mut engine_data = false;
    for file in fs::read_dir(path).map_err(io)? {
        match file.map_err(io)?.file_name().to_str() {
            Some(FORMAT_FILE | CREATING_FILE) => return Ok(()),
            Some(LOCK_FILE) => {}
            Some(DATA) => engine_data = true,
            name => found = Some(name.unwrap_or("a name that is no text").to_owned()),
        }
    }
    let lock = path.join(LOCK_FILE).exists();
    match found {
        None if !engine_data => Ok(()),
        _ if engine_data && lock => Err(damaged(path)),
        found => Err(Error::invalid_argument(format!(
            "{} is not empty (it has {:?}) and is no NoriKV store; name a directory that is empty, or does not exist yet",
            path.display(),
            found.as_deref().unwrap_or(DATA)
        ))),
    }
}

/// Begins to make a store, and clears away what a crash left of the last attempt.
fn begin_creation(path: &Path) -> std::io::Result<()> {
    let data = path.join(DATA);
    File::create(path.join(CREATING_FILE))?;
    match fs::remove_dir_all(&data) {
        Err(error) if error.kind() != Io::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn check_format(path: &Path, text: &str) -> Result<()> {
    let number = text.strip_prefix(MAGIC).and_then(|rest| rest.strip_suffix('\n')?.parse::<u32>().ok());
    match number {
        Some(FORMAT) => Ok(()),
        Some(newer) if newer > FORMAT => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the store in {} has format {newer}; this software reads formats up to {FORMAT}: use a newer version of it",
                path.display()
            ),
        )),
        _ => Err(damaged(path)),
    }
}

fn damaged(path: &Path) -> Error {
    Error::new(
        ErrorKind::Corruption,
        format!(
            "the file {FORMAT_FILE} of the store in {} is missing or damaged; restore the store from a backup",
            path.display()
        ),
    )
}
