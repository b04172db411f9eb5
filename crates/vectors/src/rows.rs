use std::collections::VecDeque;

use hashbrown::HashTable;
use norikv_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_64;

use crate::{arena::Arena, coder::Coder, saved::SavedRow};

/// How many bytes of ids that nobody uses are let be.
const UNUSED_ID_BYTES: usize = 64 * 1024;

/// What is known of a row.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// The revision of its vector.
    revision: u64,
    /// Where its id begins, from bit 12 on; how long it is, in the lowest 10; and between them the two below.
    id: u64,
}

/// Whether a row is the vector of its id now.
const LIVE: u64 = 1 << 11;
/// Whether a graph has a row, so that nothing else may be written there.
const LINKED: u64 = 1 << 10;

impl Row {
    fn new(revision: u64, id_at: usize, id_length: usize) -> Self {
        Self { revision, id: (id_at as u64) << 12 | id_length as u64 }
    }

    fn is(self, what: u64) -> bool {
        self.id & what != 0
    }

    fn set(&mut self, what: u64, whether: bool) {
        self.id = if whether { self.id | what } else { self.id & !what };
    }
}

/// The vectors of an index, in memory, by the numbers of their rows.
///
/// A vector is never written over: one that replaces another has a row of its own, since a graph knows the old one by what
/// it was. A row is used again once no graph has it.
pub(crate) struct Rows {
    pub(crate) coder: Coder,
    pub(crate) arena: Arena,
    rows: Vec<Row>,
    ids: String,
    unused_id_bytes: usize,
    by_id: HashTable<u32>,
    free: Vec<u32>,
    /// Whether there may be a graph.
    graphs: bool,
    /// Whether a new graph is being built, which may have any row: none is used again until it is there.
    building: bool,
    /// Rows that no graph has, the oldest first; some have died meanwhile.
    unlinked: VecDeque<u32>,
    dead_unlinked: usize,
    /// Rows that a graph takes now. They count as linked, and are looked at one by one until it has them.
    linking: Vec<u32>,
    live: usize,
    live_linked: usize,
    linked: usize,
}

fn hash_of(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

impl Rows {
    pub(crate) fn new(coder: Coder, graphs: bool) -> Self {
        Self {
            coder,
            arena: Arena::new(coder.stride()),
            rows: Vec::new(),
            ids: String::new(),
            unused_id_bytes: 0,
            by_id: HashTable::new(),
            free: Vec::new(),
            graphs,
            building: false,
            unlinked: VecDeque::new(),
            dead_unlinked: 0,
            linking: Vec::new(),
            live: 0,
            live_linked: 0,
            linked: 0,
        }
    }

    /// How many vectors there are.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// How many of them a graph has.
    pub(crate) fn live_linked(&self) -> usize {
        self.live_linked
    }

    /// How many rows a graph has that are no vectors any more.
    pub(crate) fn dead_linked(&self) -> usize {
        self.linked - self.live_linked
    }

    /// How many rows there are, used or not.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn is_live(&self, row: u32) -> bool {
        self.rows.get(row as usize).is_some_and(|row| row.is(LIVE))
    }

    pub(crate) fn is_linked(&self, row: u32) -> bool {
        self.rows.get(row as usize).is_some_and(|row| row.is(LINKED))
    }

    pub(crate) fn revision(&self, row: u32) -> u64 {
        self.rows.get(row as usize).map_or(0, |row| row.revision)
    }

    /// The id of a row; of one that died it may be gone.
    pub(crate) fn id(&self, row: u32) -> &str {
        self.rows.get(row as usize).map_or("", |row| id_of(&self.ids, *row))
    }

    /// The row of an id.
    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.by_id.find(hash_of(id), |row| self.id(*row) == id).copied()
    }

    pub(crate) fn live_rows(&self) -> impl Iterator<Item = u32> {
        (0..self.len()).filter(|row| self.is_live(*row))
    }

    /// The live rows that no graph has yet, nor takes now.
    pub(crate) fn unlinked(&self) -> impl Iterator<Item = u32> {
        self.unlinked.iter().copied().filter(|row| self.is_live(*row) && !self.is_linked(*row))
    }

    /// The live rows that the graph takes now: it may have them, or not yet.
    pub(crate) fn linking(&self) -> impl Iterator<Item = u32> {
        self.linking.iter().copied().filter(|row| self.is_live(*row))
    }

    /// Writes the vector of an id as of a revision. One that is known to be newer stays.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn put(&mut self, id: &str, revision: u64, vector: &[f32]) -> Result<()> {
        let old = self.find(id);
        if old.is_some_and(|row| self.revision(row) >= revision) {
            return Ok(());
        }
        let row = match self.free.pop() {
            Some(row) => row,
            None => self.push()?,
        };
        let coder = self.coder;
        match self.arena.row_mut(row) {
            Ok(bytes) => coder.encode(vector, bytes),
            Err(error) => {
                self.free.push(row);
                return Err(error);
            }
        }
        if let Some(old) = old {
            self.kill(old);
        }
        self.own(row, id, revision, false);
        if self.graphs {
            self.unlinked.push_back(row);
        }
        Ok(())
    }

    /// Makes a row the vector of an id.
    fn own(&mut self, row: u32, id: &str, revision: u64, linked: bool) {
        let at = self.ids.len();
        self.ids.push_str(id);
        if let Some(found) = self.rows.get_mut(row as usize) {
            *found = Row::new(revision, at, id.len());
            found.set(LIVE, true);
            found.set(LINKED, linked);
        }
        let (rows, ids) = (&self.rows, &self.ids);
        let hash = |row: &u32| rows.get(*row as usize).map_or(0, |row| hash_of(id_of(ids, *row)));
        self.by_id.insert_unique(hash_of(id), row, hash);
        self.live += 1;
    }

    fn push(&mut self) -> Result<u32> {
        let row = self.len();
        if row == u32::MAX {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "a vector index has room for 4 billion vectors",
            ));
        }
        self.rows.push(Row::default());
        Ok(row)
    }

    /// Deletes the vector of an id as of a revision.
    pub(crate) fn delete(&mut self, id: &str, revision: u64) {
        if let Some(row) = self.find(id).filter(|row| self.revision(*row) < revision) {
            self.kill(row);
        }
    }

    fn kill(&mut self, row: u32) {
        let id = self.id(row);
        let (hash, length) = (hash_of(id), id.len());
        if let Ok(entry) = self.by_id.find_entry(hash, |other| *other == row) {
            entry.remove();
        }
        self.unused_id_bytes += length;
        let Some(found) = self.rows.get_mut(row as usize) else { return };
        found.set(LIVE, false);
        self.live -= 1;
        if found.is(LINKED) {
            self.live_linked -= 1;
        } else if self.graphs {
            self.dead_unlinked += 1;
            if self.dead_unlinked > self.unlinked.len() / 2 + 64 {
                self.drop_dead_unlinked();
            }
        } else {
            self.free.push(row);
        }
        self.drop_unused_ids();
    }

    /// Lets rows be used again that died before a graph had them.
    fn drop_dead_unlinked(&mut self) {
        if self.building {
            return;
        }
        let (rows, free) = (&self.rows, &mut self.free);
        self.unlinked.retain(|row| {
            let live = rows.get(*row as usize).is_some_and(|row| row.is(LIVE));
            if !live {
                free.push(*row);
            }
            live
        });
        self.dead_unlinked = 0;
    }

    fn drop_unused_ids(&mut self) {
        if self.unused_id_bytes < UNUSED_ID_BYTES.max(self.ids.len() / 2) {
            return;
        }
        let mut ids = String::with_capacity(self.ids.len() - self.unused_id_bytes);
        for row in &mut self.rows {
            let at = ids.len();
            let id = if row.is(LIVE) { id_of(&self.ids, *row) } else { "" };
            ids.push_str(id);
            row.id = Row::new(0, at, id.len()).id | row.id & (LIVE | LINKED);
        }
        self.ids = ids;
        self.unused_id_bytes = 0;
    }

    /// Takes the next rows for the graph, up to a number, and begins to link them.
    pub(crate) fn begin_linking(&mut self, most: usize) -> Vec<u32> {
        let mut taken = Vec::with_capacity(most);
        while taken.len() < most
            && let Some(row) = self.unlinked.pop_front()
        {
            match self.rows.get_mut(row as usize) {
                Some(found) if found.is(LIVE) => {
                    found.set(LINKED, true);
                    taken.push(row);
                }
                _ => {
                    self.dead_unlinked = self.dead_unlinked.saturating_sub(1);
                    self.free.push(row);
                }
            }
        }
        self.linked += taken.len();
        self.live_linked += taken.len();
        self.linking.clone_from(&taken);
        taken
    }

    /// The graph has the rows that it took.
    pub(crate) fn end_linking(&mut self) {
        self.linking = Vec::new();
    }

    /// Takes all vectors for a new graph.
    pub(crate) fn begin_building(&mut self) -> Vec<u32> {
        self.building = true;
        self.live_rows().collect()
    }

    /// The new graph is there, and has these rows, and no other; the old one is no more.
    pub(crate) fn end_building(&mut self, linked: &[u32]) {
        self.building = false;
        self.linking = Vec::new();
        for row in &mut self.rows {
            row.set(LINKED, false);
        }
        for row in linked {
            if let Some(found) = self.rows.get_mut(*row as usize) {
                found.set(LINKED, true);
            }
        }
        self.linked = linked.len();
        self.live_linked = self.live_rows().filter(|row| self.is_linked(*row)).count();
        self.unlinked = self.live_rows().filter(|row| !self.is_linked(*row)).collect();
        self.dead_unlinked = 0;
        self.free = (0..self.len()).filter(|row| !self.is_live(*row) && !self.is_linked(*row)).collect();
    }

    /// Makes room for the rows of a graph that was saved. They are dead until they are adopted.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn restore(&mut self, linked: &[u32]) -> Result<()> {
        for row in linked {
            while self.len() <= *row {
                self.push()?;
            }
        }
        self.end_building(linked);
        Ok(())
    }

    /// Makes a row that a saved graph has the vector of an id, if that is what it was when it was saved. Answers whether.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn adopt(&mut self, saved: SavedRow, id: &str, vector: &[f32]) -> Result<bool> {
        if !self.is_linked(saved.row) || self.is_live(saved.row) {
            return Ok(false);
        }
        let coder = self.coder;
        let bytes = self.arena.row_mut(saved.row)?;
        coder.encode(vector, bytes);
        if xxh3_64(bytes) != saved.sum {
            return Ok(false);
        }
        self.own(saved.row, id, saved.revision, true);
        self.live_linked += 1;
        Ok(true)
    }

    /// The rows that the graph has, in no order.
    pub(crate) fn linked_rows(&self) -> impl Iterator<Item = u32> {
        (0..self.len()).filter(|row| self.is_linked(*row))
    }

    /// How many bytes of memory they take.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.bytes(self.rows.len())
            + self.rows.capacity() * size_of::<Row>()
            + self.ids.capacity()
            + self.by_id.allocation_size()
    }
}

fn id_of(ids: &str, row: Row) -> &str {
    let at = usize::try_from(row.id >> 12).unwrap_or(usize::MAX);
    let length = (row.id & 0x3ff) as usize;
    ids.get(at..at.saturating_add(length)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use norikv_core::VectorIndex;

    use super::*;

    fn rows(graphs: bool) -> Rows {
        let index = VectorIndex { namespace: "n".into(), dimensions: 1, ..VectorIndex::default() };
        Rows::new(Coder::new(&index), graphs)
    }

    fn number(rows: &Rows, row: u32) -> f32 {
        f32::from_ne_bytes(rows.arena.row(row).try_into().unwrap())
    }

    /// A few thousand random steps, against a map: what is live is what the map has, once, and what the graph took has not
    /// changed under it.
    #[test]
    fn rows_are_what_was_put_and_a_graphs_rows_never_change() {
        for (seed, graphs) in [(1, true), (2, true), (3, false)] {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut rows = rows(graphs);
            let mut model: HashMap<String, f32> = HashMap::new();
            let mut graph: HashMap<u32, f32> = HashMap::new();
            let mut building: Option<HashMap<u32, f32>> = None;
            for revision in 1..5_000u64 {
                let id = format!("id:{}", random.u32(..200));
                let value = random.f32();
                match random.u32(..20) {
                    0..12 => {
                        rows.put(&id, revision, &[value]).unwrap();
                        model.insert(id, value);
                    }
                    12..16 => {
                        rows.delete(&id, revision);
                        model.remove(&id);
                    }
                    16..18 if graphs && building.is_none() => {
                        for row in rows.begin_linking(random.usize(..50)) {
                            graph.insert(row, number(&rows, row));
                        }
                        rows.end_linking();
                    }
                    18 if graphs && building.is_none() => {
                        let taken = rows.begin_building();
                        building = Some(taken.into_iter().map(|row| (row, number(&rows, row))).collect());
                    }
                    19 => {
                        if let Some(built) = building.take() {
                            rows.end_building(&built.keys().copied().collect::<Vec<_>>());
                            graph = built;
                        }
                    }
                    _ => {}
                }
                assert_eq!(rows.live(), model.len());
            }
            for (row, value) in graph.iter().chain(building.iter().flatten()) {
                assert!((number(&rows, *row) - value).abs() < f32::EPSILON, "a graph's row was written over");
            }
            let live: HashMap<String, f32> =
                rows.live_rows().map(|row| (rows.id(row).to_owned(), number(&rows, row))).collect();
            assert_eq!(live, model);
            assert_eq!(rows.live_linked(), rows.live_rows().filter(|row| rows.is_linked(*row)).count());
            if graphs {
                let one_by_one = rows.unlinked().count();
                assert_eq!(one_by_one + rows.live_linked(), rows.live());
            }
            assert!(rows.len() < 2_000, "rows are used again: {}", rows.len());
            assert!(rows.ids.len() < 2 * UNUSED_ID_BYTES);
        }
    }

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut rows = rows(true);
        rows.put("a", 5, &[1.0]).unwrap();
        rows.put("a", 4, &[2.0]).unwrap();
        rows.delete("a", 5);
        let row = rows.find("a").unwrap();
        assert!((number(&rows, row) - 1.0).abs() < f32::EPSILON);
        rows.delete("a", 6);
        assert_eq!(rows.find("a"), None);
    }
}
