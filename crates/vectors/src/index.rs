use std::{
    cmp::Ordering as Order,
    collections::BinaryHeap,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use norikv_core::{Result, VectorIndex, VectorIndexInfo, VectorIndexType, Version};

use crate::{coder::Coder, graph::Graph, rows::Rows};

/// An index with fewer vectors has no graph: looking at each is as fast, exact, and takes no memory.
const GRAPH_FROM: usize = 1_000;
/// How many candidates a search looks at, unless it says otherwise.
const DEFAULT_EF: usize = 128;
/// A search that can match so few bytes of rows looks at each of them.
const EXACT_BYTES: usize = 1024 * 1024;
/// How many rows a graph takes while searches wait.
const LINKED_AT_ONCE: usize = 16;
/// How many rows a new graph takes while changes wait.
const BUILT_AT_ONCE: usize = 256;
/// How long the linking gives way to searches that wait.
const POLITENESS: Duration = Duration::from_micros(100);

/// What a search wants of an index.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) k: usize,
    pub(crate) ef: Option<usize>,
    pub(crate) id_prefix: String,
    pub(crate) max_distance: Option<f32>,
    /// Whether what is found is ranked again by what the store has.
    pub(crate) ranked_again: bool,
}

/// A vector that was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) revision: u64,
    pub(crate) distance: f32,
}

/// A row on its way into an answer: ordered by how far it is, and by its id where that is the same. By its distance and not
/// by its rank: several ranks may be one distance.
struct Candidate<'a> {
    distance: f32,
    row: u32,
    rows: &'a Rows,
}

impl Ord for Candidate<'_> {
    fn cmp(&self, other: &Self) -> Order {
        let by_id = || self.rows.id(self.row).cmp(other.rows.id(other.row));
        self.distance.total_cmp(&other.distance).then_with(by_id)
    }
}

impl PartialOrd for Candidate<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate<'_> {}

/// The nearest of the rows that it was shown, up to a number.
struct Nearest<'a> {
    rows: &'a Rows,
    most: usize,
    heap: BinaryHeap<Candidate<'a>>,
}

impl<'a> Nearest<'a> {
    fn new(rows: &'a Rows, most: usize) -> Self {
        Self { rows, most, heap: BinaryHeap::new() }
    }

    fn show(&mut self, rank: f32, row: u32) {
        let candidate = Candidate { distance: self.rows.coder.distance_of(rank), row, rows: self.rows };
        if self.heap.len() < self.most {
            self.heap.push(candidate);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    fn show_all(&mut self, query: &[u8], rows: impl Iterator<Item = u32>) {
        for row in rows {
            self.show(self.rows.coder.rank(query, self.rows.arena.row(row)), row);
        }
    }
}

/// A vector index in memory: a view of the vectors that the store has.
///
/// Locks are taken in this order: `rows`, `graph`. A search has both shared. What changes vectors has `rows` alone; what
/// links has `rows` shared and `graph` alone.
pub(crate) struct Index {
    pub(crate) definition: VectorIndex,
    /// What tells it from an index that had the name before.
    pub(crate) incarnation: u64,
    pub(crate) created: Version,
    rows: RwLock<Rows>,
    graph: RwLock<Option<Graph>>,
    /// How many rows a graph has that is being built and not used yet.
    built: AtomicUsize,
    /// How many changes the graph file does not have.
    unsaved: AtomicU64,
    /// Searches that are under way or wait.
    searches: AtomicUsize,
    /// Whether there can be no graph, after one failed.
    given_up: AtomicBool,
    /// How many vectors there are, for those who must not wait for `rows`.
    live: AtomicUsize,
    /// How many threads search, and how many link.
    threads: usize,
}

impl Index {
    pub(crate) fn new(definition: VectorIndex, incarnation: u64, created: Version, threads: usize) -> Self {
        let coder = Coder::new(&definition);
        let graphs = definition.index_type == VectorIndexType::Hnsw;
        Self {
            definition,
            incarnation,
            created,
            rows: RwLock::new(Rows::new(coder, graphs)),
            graph: RwLock::new(None),
            built: AtomicUsize::new(0),
            unsaved: AtomicU64::new(0),
            searches: AtomicUsize::new(0),
            given_up: AtomicBool::new(!graphs),
            live: AtomicUsize::new(0),
            threads,
        }
    }

    pub(crate) fn rows(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn rows_mut(&self) -> RwLockWriteGuard<'_, Rows> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn graph(&self) -> RwLockReadGuard<'_, Option<Graph>> {
        self.graph.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn graph_mut(&self) -> RwLockWriteGuard<'_, Option<Graph>> {
        self.graph.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many changes were made, to these rows.
    pub(crate) fn changed(&self, changes: usize, rows: &Rows) {
        self.unsaved.fetch_add(changes as u64, Ordering::Relaxed);
        self.live.store(rows.live(), Ordering::Relaxed);
    }

    /// How many vectors there are, near enough.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// The vectors nearest to a query, nearest first, those that are equally far by their ids. More than `k` where they are
    /// ranked again.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn search(&self, query: &[f32], wanted: &Wanted) -> Result<Vec<Found>> {
        self.searches.fetch_add(1, Ordering::Relaxed);
        let found = self.find(query, wanted);
        self.searches.fetch_sub(1, Ordering::Relaxed);
        found
    }

    fn find(&self, query: &[f32], wanted: &Wanted) -> Result<Vec<Found>> {
        let rows = self.rows();
        let coder = rows.coder;
        let mut row = vec![0u32; coder.stride() / size_of::<u32>()];
        coder.encode(query, bytemuck::cast_slice_mut(&mut row));
        let query: &[u8] = bytemuck::cast_slice(&row);
        // What a code cannot tell apart is told apart by who ranks again.
        let spare = if coder.is_lossy() { wanted.k / 2 + 8 } else { 8 };
        let most = wanted.k.saturating_add(if wanted.ranked_again { spare } else { 0 }).min(rows.live());
        let mut nearest = Nearest::new(&rows, most);
        let ef = wanted.ef.unwrap_or(DEFAULT_EF).max(wanted.k);
        let matching: Option<Vec<u32>> = (!wanted.id_prefix.is_empty())
            .then(|| rows.live_rows().filter(|row| rows.id(*row).starts_with(&wanted.id_prefix)).collect());
        let matches = matching.as_ref().map_or(rows.live(), Vec::len);
        // As many candidates as there are half of the rows: a graph saves nothing.
        let few = matches * coder.stride() <= EXACT_BYTES && matching.is_some() || ef * 2 > matches;
        let graph = self.graph();
        match (&*graph, matching) {
            (Some(graph), matching) if !few => {
                let prefix = &wanted.id_prefix;
                let all = matching.is_none() && rows.dead_linked() == 0;
                let allowed = |row| rows.is_live(row) && rows.id(row).starts_with(prefix);
                let allowed: Option<&dyn Fn(u32) -> bool> = if all { None } else { Some(&allowed) };
                let linked = graph.search(&coder.code(query), ef, allowed)?;
                let linking = rows.linking().filter(|row| !linked.contains(row));
                let one_by_one =
                    rows.unlinked().chain(linking).filter(|row| rows.id(*row).starts_with(prefix));
                nearest.show_all(query, one_by_one);
                nearest.show_all(query, linked.into_iter());
            }
            (_, Some(matching)) => nearest.show_all(query, matching.into_iter()),
            (_, None) => nearest.show_all(query, rows.live_rows()),
        }
        let found = nearest.heap.into_sorted_vec().into_iter().map(|candidate| Found {
            id: rows.id(candidate.row).to_owned(),
            revision: rows.revision(candidate.row),
            distance: candidate.distance,
        });
        let near = |found: &Found| {
            wanted.ranked_again || wanted.max_distance.is_none_or(|most| found.distance <= most)
        };
        Ok(found.filter(near).collect())
    }

    /// The index as it is now.
    pub(crate) fn info(&self) -> VectorIndexInfo {
        let rows = self.rows();
        let graph = self.graph();
        let indexed = match &*graph {
            Some(_) => rows.live_linked(),
            None if self.given_up.load(Ordering::Relaxed) || rows.live() < GRAPH_FROM => rows.live(),
            None => self.built.load(Ordering::Relaxed).min(rows.live().saturating_sub(1)),
        };
        VectorIndexInfo {
            index: self.definition.clone(),
            created: self.created,
            vectors: rows.live() as u64,
            indexed: indexed as u64,
            memory_bytes: (rows.bytes() + graph.as_ref().map_or(0, Graph::bytes)) as u64,
        }
    }

    /// Does a piece of the work that the graph needs. Answers whether there was any.
    pub(crate) fn link(&self, stopped: &AtomicBool) -> bool {
        if self.given_up.load(Ordering::Relaxed) {
            return false;
        }
        let (has_graph, live, dead, unlinked) = {
            let rows = self.rows();
            let has_graph = self.graph().is_some();
            (has_graph, rows.live(), rows.dead_linked(), rows.live() - rows.live_linked())
        };
        let worked = match has_graph {
            true if live < GRAPH_FROM / 2 => self.replace_graph(None, &[]),
            true if dead > live / 2 + GRAPH_FROM => self.build(stopped),
            true if unlinked > 0 => self.link_some(),
            false if live >= GRAPH_FROM => self.build(stopped),
            _ => return false,
        };
        if let Err(error) = worked {
            // Searches are exact from now on: slower, and right.
            tracing::error!(index = self.definition.namespace, %error, "a vector index goes without its graph");
            self.given_up.store(true, Ordering::Relaxed);
            let _ = self.replace_graph(None, &[]);
        }
        true
    }

    /// Links the next rows.
    fn link_some(&self) -> Result<()> {
        if self.searches.load(Ordering::Relaxed) > 0 {
            thread::sleep(POLITENESS);
        }
        let taken = self.rows_mut().begin_linking(LINKED_AT_ONCE);
        let codes = self.codes(&taken);
        if let Some(graph) = &mut *self.graph_mut() {
            graph.reserve(codes.len())?;
            self.add(graph, &codes)?;
        }
        self.rows_mut().end_linking();
        self.unsaved.fetch_add(taken.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Builds a graph of all vectors anew, while searches and changes go on.
    fn build(&self, stopped: &AtomicBool) -> Result<()> {
        let all = self.rows_mut().begin_building();
        self.built.store(0, Ordering::Relaxed);
        let mut graph = Graph::new(self.rows().coder, 2 * self.threads)?;
        graph.reserve(all.len())?;
        for part in all.chunks(BUILT_AT_ONCE) {
            if stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.add(&graph, &self.codes(part))?;
            self.built.fetch_add(part.len(), Ordering::Relaxed);
        }
        self.replace_graph(Some(graph), &all)
    }

    /// Rows on their way into a graph. They do not change any more, so that nobody need hold them.
    fn codes(&self, taken: &[u32]) -> Vec<(u32, Vec<u8>)> {
        let rows = self.rows();
        taken.iter().map(|row| (*row, rows.coder.code(rows.arena.row(*row)))).collect()
    }

    /// Adds rows to a graph, on as many threads as may.
    fn add(&self, graph: &Graph, codes: &[(u32, Vec<u8>)]) -> Result<()> {
        let add = |part: &[(u32, Vec<u8>)]| part.iter().try_for_each(|(row, code)| graph.add(*row, code));
        // The first nodes of a graph find each other only one after the other.
        let threads = if graph.len() < LINKED_AT_ONCE { 1 } else { self.threads };
        let share = codes.len().div_ceil(threads).max(4);
        thread::scope(|scope| {
            let mut parts = codes.chunks(share);
            let first = parts.next();
            let others: Vec<_> = parts
                .map(|part| {
                    thread::Builder::new()
                        .name("norikv-vector-add".into())
                        .spawn_scoped(scope, move || add(part))
                        .map_err(|_| part)
                })
                .collect();
            let mut done = first.map_or(Ok(()), add);
            for other in others {
                let other = match other {
                    Ok(thread) => thread
                        .join()
                        .unwrap_or_else(|_| Err(norikv_core::Error::internal("linking a vector panicked"))),
                    // No further thread is to be had.
                    Err(part) => add(part),
                };
                done = done.and(other);
            }
            done
        })
    }

    /// Puts a graph of these rows in the place of the one there is.
    #[allow(clippy::unnecessary_wraps)] // as its siblings
    pub(crate) fn replace_graph(&self, graph: Option<Graph>, linked: &[u32]) -> Result<()> {
        let mut rows = self.rows_mut();
        let mut place = self.graph_mut();
        rows.end_building(linked);
        let old = std::mem::replace(&mut *place, graph);
        self.unsaved.fetch_add(1, Ordering::Relaxed);
        drop((rows, place));
        drop(old);
        Ok(())
    }

    /// How many changes were made since the graph was saved, and how many vectors there are.
    pub(crate) fn unsaved(&self) -> u64 {
        self.unsaved.load(Ordering::Relaxed)
    }

    /// Some changes are saved now.
    pub(crate) fn saved(&self, changes: u64) {
        self.unsaved.fetch_sub(changes, Ordering::Relaxed);
    }
}
