//! The small surface every candidate has to offer, plus the three adapters' common types.
use std::path::Path;

pub type Res<T> = Result<T, String>;
pub const TABLES: [&str; 5] = ["entries", "undo", "log", "deadlines", "meta"];
pub const ENTRIES: usize = 0;
pub const UNDO: usize = 1;
pub const LOG: usize = 2;
pub const DEADLINES: usize = 3;

/// One row change: `None` deletes.
pub struct Op {
    pub table: usize,
    pub key: Vec<u8>,
    pub val: Option<Vec<u8>>,
}

pub trait Store: Send + Sync {
    fn open(dir: &Path) -> Res<Self>
    where
        Self: Sized;
    /// All operations atomically; with `sync`, on disk before it returns.
    fn commit(&self, ops: Vec<Op>, sync: bool) -> Res<()>;
    fn get(&self, table: usize, key: &[u8]) -> Res<Option<Vec<u8>>>;
    /// Point reads of `entries`; `held`: one snapshot for all reads, else one per read.
    /// Returns how many keys were found.
    fn reads(&self, keys: &[Vec<u8>], held: bool) -> Res<usize>;
    /// Reads up to `n` rows of a table from `start`; calls `f` for each.
    fn scan(&self, table: usize, start: &[u8], n: usize, f: &mut dyn FnMut(&[u8], &[u8])) -> Res<usize>;
    /// Whatever the engine offers to give space back.
    fn compact(&mut self) -> Res<()>;
    /// The engine's own integrity check, where it has one.
    fn check(&mut self) -> Res<()> {
        Ok(())
    }
    /// Pushes what is only in memory or the journal into the tables (fjall).
    fn settle(&self) -> Res<()> {
        Ok(())
    }
}

pub fn e<E: std::fmt::Debug>(x: E) -> String {
    let mut s = format!("{x:?}");
    s.truncate(160);
    s
}
