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
const LINKED_AT_ONCE: usize = 8;
/// How many rows a new graph takes before it is asked whether to go on.
const BUILT_AT_ONCE: usize = 256;
/// How many vectors are looked at to choose the codes of a graph, how many of them ask for their nearest, and for how many.
const SAMPLED: usize = 1_000;
const SAMPLED_QUERIES: usize = 25;
const SAMPLED_NEAREST: usize = 11;
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

/// The candidates of a graph for a query, and the rows that it does not have; nothing, if looking at every row that can match
/// is as fast, or the graph does not reach as many as there are.
fn walk(
    graph: &Graph,
    rows: &Rows,
    query: &[u8],
    ef: usize,
    prefix: &str,
    matching: Option<&[u32]>,
) -> Result<Option<Vec<u32>>> {
    let linked = matching
        .map_or(rows.live_linked(), |matching| matching.iter().filter(|row| rows.is_linked(**row)).count());
    // As many candidates as there are half of the rows: a graph saves nothing. Of rows that are few among many it finds one
    // only now and then, and is walked through for long.
    let few = ef * 2 > linked
        || matching.is_some_and(|matching| {
            matching.len() * rows.coder.stride() <= EXACT_BYTES || matching.len().pow(2) < ef * graph.len()
        });
    if few {
        return Ok(None);
    }
    let all = matching.is_none() && rows.dead_linked() == 0;
    let allowed = |row| rows.is_live(row) && rows.id(row).starts_with(prefix);
    let allowed: Option<&dyn Fn(u32) -> bool> = if all { None } else { Some(&allowed) };
    let mut found = graph.search(&rows.coder.recode(query, graph.codes()), ef, allowed)?;
    // Islands of equal vectors may keep it from the rest.
    if found.len() < ef.min(linked.saturating_sub(rows.linking().count())) {
        return Ok(None);
    }
    let linking: Vec<u32> = rows.linking().filter(|row| !found.contains(row)).collect();
    let one_by_one = rows.unlinked().chain(linking).filter(|row| rows.id(*row).starts_with(prefix));
    found.extend(one_by_one);
    Ok(Some(found))
}

/// A vector index in memory: a view of the vectors that the store has.
///
/// Locks are taken in this order: `rows`, `graph`. A search has both shared. What changes vectors has `rows` alone; what
/// links has `graph` alone, and `rows` only before and after.
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
    /// How many vectors there were when the codes of the graph were chosen.
    sampled_at: AtomicUsize,
    /// How many threads search.
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
            sampled_at: AtomicUsize::new(0),
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
        let ef = wanted.ef.unwrap_or(DEFAULT_EF).max(most);
        let matching: Option<Vec<u32>> = (!wanted.id_prefix.is_empty())
            .then(|| rows.live_rows().filter(|row| rows.id(*row).starts_with(&wanted.id_prefix)).collect());
        let graph = self.graph();
        let found = match &*graph {
            Some(graph) => walk(graph, &rows, query, ef, &wanted.id_prefix, matching.as_deref())?,
            None => None,
        };
        match (found, matching) {
            (Some(found), _) => nearest.show_all(query, found.into_iter()),
            (None, Some(matching)) => nearest.show_all(query, matching.into_iter()),
            (None, None) => nearest.show_all(query, rows.live_rows()),
        }
        let found = nearest
            .heap
            .into_sorted_vec()
            .into_iter()
            .map(|candidate| Found { id: rows.id(candidate.row).to_owned(), distance: candidate.distance });
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
            true if dead > live / 2 + GRAPH_FROM || self.has_outgrown_its_codes(live) => self.build(stopped),
            true if unlinked > 0 => self.link_some(),
            false if live >= GRAPH_FROM => self.build(stopped),
            _ => return false,
        };
        if let Err(error) = worked {
            tracing::error!(index = self.definition.namespace, %error, "a vector index goes without its graph");
            self.give_up();
        }
        true
    }

    /// Goes without a graph from now on: searches are exact, which is slower, and right.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        let _ = self.replace_graph(None, &[]);
    }

    /// Links the next rows.
    fn link_some(&self) -> Result<()> {
        if self.searches.load(Ordering::Relaxed) > 0 {
            thread::sleep(POLITENESS);
        }
        let taken = self.rows_mut().begin_linking(LINKED_AT_ONCE);
        let coder = self.graph().as_ref().map(Graph::codes);
        let codes = coder.map_or_else(Vec::new, |coder| self.codes(&taken, coder));
        if let Some(graph) = &mut *self.graph_mut() {
            graph.reserve(codes.len())?;
            Self::add(graph, &codes)?;
        }
        self.rows_mut().end_linking();
        self.unsaved.fetch_add(taken.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Builds a graph of all vectors anew, while searches and changes go on.
    fn build(&self, stopped: &AtomicBool) -> Result<()> {
        let all = self.rows_mut().begin_building();
        self.built.store(0, Ordering::Relaxed);
        let coder = self.rows().coder;
        let codes = if self.codes_suffice(all.len()) { coder.narrow() } else { coder };
        let mut graph = Graph::new(codes, self.threads + 1)?;
        graph.reserve(all.len())?;
        for part in all.chunks(BUILT_AT_ONCE) {
            if stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            Self::add(&graph, &self.codes(part, codes))?;
            self.built.fetch_add(part.len(), Ordering::Relaxed);
        }
        self.replace_graph(Some(graph), &all)
    }

    /// Rows on their way into a graph. They do not change any more, so that nobody need hold them.
    fn codes(&self, taken: &[u32], codes: Coder) -> Vec<(u32, Vec<u8>)> {
        let rows = self.rows();
        taken.iter().map(|row| (*row, rows.coder.recode(rows.arena.row(*row), codes))).collect()
    }

    /// Whether there are so many more vectors than when the codes of the graph were chosen that they are looked at again, and
    /// found not to suffice.
    fn has_outgrown_its_codes(&self, live: usize) -> bool {
        let narrow = self.graph().as_ref().is_some_and(|graph| graph.codes().is_narrow());
        narrow && live > 2 * self.sampled_at.load(Ordering::Relaxed) && !self.codes_suffice(live)
    }

    /// Whether codes of 8 bits tell the vectors apart nearly as well as the rows do, by a sample: they do not where vectors
    /// have much in common, or a few dimensions are far larger than the others.
    fn codes_suffice(&self, live: usize) -> bool {
        self.sampled_at.store(live, Ordering::Relaxed);
        let (coder, sample): (Coder, Vec<Vec<u8>>) = {
            let rows = self.rows();
            let step = (rows.live() / SAMPLED).max(1);
            let sample = rows.live_rows().step_by(step).take(SAMPLED);
            (rows.coder, sample.map(|row| rows.arena.row(row).to_vec()).collect())
        };
        let narrow = coder.narrow();
        let codes: Vec<Vec<u8>> = sample.iter().map(|row| coder.recode(row, narrow)).collect();
        let step = (sample.len() / SAMPLED_QUERIES).max(1);
        let (mut hits, mut asked) = (0usize, 0usize);
        for query in (0..sample.len()).step_by(step) {
            let ranks: Vec<f32> = sample.iter().map(|row| coder.rank(&sample[query], row)).collect();
            let mut by_code: Vec<(f32, usize)> =
                codes.iter().map(|code| narrow.rank(&codes[query], code)).zip(0..).collect();
            let nearest = SAMPLED_NEAREST.min(by_code.len());
            by_code.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            let mut sorted = ranks.clone();
            sorted.sort_unstable_by(f32::total_cmp);
            let Some(farthest) = nearest.checked_sub(1).and_then(|at| sorted.get(at)) else { continue };
            hits += by_code[..nearest].iter().filter(|(_, at)| ranks[*at] <= *farthest).count();
            asked += nearest;
        }
        // Of ten, nine.
        hits * 10 >= asked * 9
    }

    /// Adds rows to a graph, one after the other: of those that the library is given at the same time by several threads, one
    /// in a thousand is linked by nobody, and never found.
    fn add(graph: &Graph, codes: &[(u32, Vec<u8>)]) -> Result<()> {
        codes.iter().try_for_each(|(row, code)| graph.add(*row, code))
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
