//! The file of a graph, so that opening a store does not mean building its graphs again.
//!
//! It has the graph, and of each of its rows which vector it was, by id and revision. The vectors themselves come from the
//! store: what the file says of one counts only if the store has that very revision of it. So a file that is old is caught up
//! with, and one that is missing, damaged or of another version costs time and nothing else.
//!
//! Little-endian: magic (8); incarnation, term u64; the bytes of a code, number of rows u32; for each row its number u32, its
//! revision u64, the xxh3 of its bytes u64, the length of its id u16 (0 for one that is no vector any more) and the id; the
//! length of the graph u64, and the graph; the xxh3 of all of this u64. The sum of a row tells it from another of the same
//! revision: a store that acknowledges from memory may lose revisions in a power failure that a graph has seen.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use bytes::{Buf as _, BufMut as _};
use norikv_core::{Error, Result};
use xxhash_rust::xxh3::xxh3_64;

use crate::{graph::Graph, index::Index};

const MAGIC: &[u8; 8] = b"norivec2";
const EXTENSION: &str = "graph";

/// A graph that was saved, and what its rows were.
pub(crate) struct Saved {
    pub(crate) graph: Graph,
    /// Every row of the graph.
    pub(crate) linked: Vec<u32>,
    /// What each id was.
    pub(crate) vectors: HashMap<String, SavedRow>,
}

/// A vector when it was saved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SavedRow {
    pub(crate) row: u32,
    pub(crate) revision: u64,
    /// The xxh3 of the row's bytes.
    pub(crate) sum: u64,
}

/// The directory of the graph files of a store.
pub(crate) struct GraphFiles {
    directory: PathBuf,
    term: u64,
}

impl GraphFiles {
    pub(crate) fn new(directory: PathBuf, term: u64) -> Self {
        Self { directory, term }
    }

    fn path(&self, incarnation: u64) -> PathBuf {
        self.directory.join(format!("{incarnation:016x}")).with_extension(EXTENSION)
    }

    /// Saves the graph of an index, if it has one: whole, or not at all.
    ///
    /// # Errors
    /// Those of the disk; the file that was there stays.
    pub(crate) fn save(&self, index: &Index) -> Result<()> {
        let changes = index.unsaved();
        let Some(bytes) = self.encode(index)? else {
            self.remove(index.incarnation);
            index.saved(changes);
            return Ok(());
        };
        let path = self.path(index.incarnation);
        write(&path, &bytes)
            .map_err(|error| Error::internal(format!("cannot write {}", path.display())).caused_by(error))?;
        index.saved(changes);
        Ok(())
    }

    fn encode(&self, index: &Index) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        {
            let rows = index.rows();
            let graph = index.graph();
            // While rows are being linked, the graph has not all that it is said to have.
            let Some(graph) = graph.as_ref().filter(|_| rows.linking().next().is_none()) else {
                return Ok(None);
            };
            let linked: Vec<u32> = rows.linked_rows().collect();
            out.put_slice(MAGIC);
            out.put_u64_le(index.incarnation);
            out.put_u64_le(self.term);
            out.put_u32_le(to_u32(graph.codes().stride())?);
            out.put_u32_le(to_u32(linked.len())?);
            for row in linked {
                out.put_u32_le(row);
                out.put_u64_le(rows.revision(row));
                out.put_u64_le(xxh3_64(rows.arena.row(row)));
                let id = if rows.is_live(row) { rows.id(row) } else { "" };
                out.put_u16_le(
                    u16::try_from(id.len()).map_err(|_| Error::internal("an id is longer than ids are"))?,
                );
                out.put_slice(id.as_bytes());
            }
        }
        // Nobody but the thread that saves changes the graph; what changes the rows need not wait.
        let graph = match &*index.graph() {
            Some(graph) => graph.save()?,
            None => return Ok(None),
        };
        out.reserve_exact(graph.len() + 16);
        out.put_u64_le(graph.len() as u64);
        out.put_slice(&graph);
        drop(graph);
        out.put_u64_le(xxh3_64(&out));
        Ok(Some(out))
    }

    /// The graph of an index that was saved; nothing, if there is none that is of use.
    pub(crate) fn load(&self, index: &Index, threads: usize) -> Option<Saved> {
        let path = self.path(index.incarnation);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the graph of a vector index cannot be read; it is built again");
                return None;
            }
        };
        let saved = self.decode(&bytes, index, threads);
        if saved.is_none() {
            tracing::warn!(path = %path.display(), "the graph of a vector index is damaged or of another version; it is built again");
        }
        saved
    }

    fn decode(&self, bytes: &[u8], index: &Index, threads: usize) -> Option<Saved> {
        let (content, sum) = bytes.split_last_chunk::<8>()?;
        if u64::from_le_bytes(*sum) != xxh3_64(content) {
            return None;
        }
        let mut rest = content.strip_prefix(MAGIC)?;
        let coder = index.rows().coder;
        let of_this =
            rest.try_get_u64_le().ok()? == index.incarnation && rest.try_get_u64_le().ok()? == self.term;
        if !of_this {
            return None;
        }
        let stride = rest.try_get_u32_le().ok()? as usize;
        let codes = [coder.narrow(), coder].into_iter().find(|codes| codes.stride() == stride)?;
        let count = rest.try_get_u32_le().ok()? as usize;
        let (mut linked, mut vectors) = (Vec::new(), HashMap::new());
        for _ in 0..count {
            let row = rest.try_get_u32_le().ok()?;
            let revision = rest.try_get_u64_le().ok()?;
            let sum = rest.try_get_u64_le().ok()?;
            let length = usize::from(rest.try_get_u16_le().ok()?);
            let (id, tail) = rest.split_at_checked(length)?;
            rest = tail;
            linked.push(row);
            if length > 0 {
                vectors.insert(std::str::from_utf8(id).ok()?.to_owned(), SavedRow { row, revision, sum });
            }
        }
        let length = rest.try_get_u64_le().ok()?;
        let graph = Some(rest).filter(|rest| rest.len() as u64 == length)?;
        let graph = Graph::load(graph, codes, threads).ok().filter(|graph| graph.len() == linked.len())?;
        Some(Saved { graph, linked, vectors })
    }

    /// Removes the file of an index, if there is one.
    pub(crate) fn remove(&self, incarnation: u64) {
        // It may not be there; and one that stays is removed when the store is opened.
        let _ = fs::remove_file(self.path(incarnation));
    }

    /// Removes the files of indexes that are no more, and those of savings that were broken off.
    pub(crate) fn remove_others(&self, keep: impl Fn(u64) -> bool) {
        let Ok(files) = fs::read_dir(&self.directory) else { return };
        for path in files.filter_map(|file| Some(file.ok()?.path())) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let incarnation = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok());
            let is_graph = path.extension().is_some_and(|extension| extension == EXTENSION);
            if !(is_graph && incarnation.is_some_and(&keep)) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn to_u32(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::internal("a graph has more rows than there are numbers for"))
}

/// Writes a file so that a crash leaves the old one or the new one.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(directory) = path.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    fs::create_dir_all(directory)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    Ok(())
}
