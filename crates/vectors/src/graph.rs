//! The HNSW graph of an index, by the library `usearch`.
//!
//! The library keeps a vector of one f32 for each node, whose bits are the number of the node's row. The rows themselves are
//! in the index's [`Arena`], once, for the graph as for exact searches, in whatever precision the index has: the metric
//! that the library is given looks them up there.

use std::cell::Cell;

use norikv_core::{Error, ErrorKind, Result};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind, VectorType as _};

use crate::{arena::Arena, coder::Coder};

/// How many neighbours a node has on the upper layers; twice as many on the lowest. The library's and the paper's usual.
const CONNECTIVITY: usize = 16;
/// How many candidates are looked at for the neighbours of a new node.
const EXPANSION_ADD: usize = 128;
/// The row number that stands for the query of a search.
const QUERY: u32 = u32::MAX;
/// The fewest nodes that room is made for.
const LEAST_CAPACITY: usize = 1_024;

/// What rows are compared in a call of the library.
#[derive(Clone, Copy)]
struct Scene<'a> {
    arena: &'a Arena,
    coder: Coder,
    /// The row of the query.
    query: &'a [u8],
}

thread_local! {
    /// The scene of the call of the library that this thread is in; null outside of one.
    static SCENE: Cell<*const Scene<'static>> = const { Cell::new(std::ptr::null()) };
}

/// Does something with the library while its metric compares the rows of a scene.
fn within<T>(scene: &Scene<'_>, call: impl FnOnce() -> T) -> T {
    /// Ends the scene also where the call panics.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            SCENE.set(std::ptr::null());
        }
    }
    let _end = End;
    SCENE.set(std::ptr::from_ref(scene).cast());
    call()
}

/// How far two nodes are from each other, each given by the bits of its one number.
fn metric(a: u32, b: u32) -> f32 {
    let scene = SCENE.get();
    // SAFETY: `within` is the only one to set the pointer. It points to a `Scene` that its caller holds borrowed until `within`
    // has returned, and is null again by then. The library calls its metric only from within its own calls and on
    // the same thread, so that the scene lives. It is only read.
    let Some(scene) = (unsafe { scene.as_ref() }) else { return f32::INFINITY };
    let row = |node| if node == QUERY { scene.query } else { scene.arena.row(node) };
    let (a, b) = (row(a), row(b));
    // A node without a row is nowhere near.
    if a.is_empty() || b.is_empty() { f32::INFINITY } else { scene.coder.rank(a, b) }
}

/// A graph over the rows of an arena.
pub(crate) struct Graph {
    index: Index,
    capacity: usize,
    threads: usize,
}

impl Graph {
    /// A graph without a node, which that many threads may use at a time.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        Self::of(Self::empty()?, LEAST_CAPACITY, threads)
    }

    /// The graph of bytes that [`save`](Self::save) made.
    ///
    /// # Errors
    /// `Corruption`, `ResourceExhausted`.
    pub(crate) fn load(bytes: &[u8], threads: usize) -> Result<Self> {
        let index = Self::empty()?;
        index.load_from_buffer(bytes).map_err(|error| {
            Error::new(ErrorKind::Corruption, "the saved graph of a vector index cannot be read")
                .caused_by(error)
        })?;
        let capacity = index.size().max(LEAST_CAPACITY);
        Self::of(index, capacity, threads)
    }

    fn empty() -> Result<Index> {
        let options = IndexOptions {
            dimensions: 1,
            metric: MetricKind::L2sq,
            quantization: ScalarKind::F32,
            connectivity: CONNECTIVITY,
            expansion_add: EXPANSION_ADD,
            // A search looks at as many candidates as it is asked for.
            expansion_search: 1,
            multi: false,
        };
        Index::new(&options).map_err(exhausted)
    }

    fn of(mut index: Index, capacity: usize, threads: usize) -> Result<Self> {
        f32::change_metric(
            &mut index,
            Box::new(|a: *const f32, b: *const f32| {
                // SAFETY: the library calls its metric with two pointers to vectors of the index's one dimension, its own or
                // those of the call it is in, for the time of the call.
                let (a, b) = unsafe { (a.read_unaligned(), b.read_unaligned()) };
                metric(a.to_bits(), b.to_bits())
            }),
        )
        .map_err(exhausted)?;
        index.reserve_capacity_and_threads(capacity, threads).map_err(exhausted)?;
        Ok(Self { index, capacity, threads })
    }

    /// Makes room for further nodes.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn reserve(&mut self, further: usize) -> Result<()> {
        let needed = self.index.size() + further;
        if needed > self.capacity {
            let capacity = needed.max(self.capacity + self.capacity / 2);
            self.index.reserve_capacity_and_threads(capacity, self.threads).map_err(exhausted)?;
            self.capacity = capacity;
        }
        Ok(())
    }

    /// Adds a row that there is room for. Several threads may at a time, while no search goes on: the library's
    /// searches take no locks.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn add(&self, row: u32, arena: &Arena, coder: Coder) -> Result<()> {
        let scene = Scene { arena, coder, query: &[] };
        within(&scene, || self.index.add(u64::from(row), &[f32::from_bits(row)])).map_err(exhausted)
    }

    /// The rows nearest to the row of a query among those allowed, as far as `ef` candidates tell: nearest first, with
    /// their ranks.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn search(
        &self,
        query: &[u8],
        arena: &Arena,
        coder: Coder,
        ef: usize,
        allowed: Option<&dyn Fn(u32) -> bool>,
    ) -> Result<Vec<(f32, u32)>> {
        let scene = Scene { arena, coder, query };
        let node = [f32::from_bits(QUERY)];
        // Keys are row numbers, so nothing is cut.
        #[allow(clippy::cast_possible_truncation)]
        let matches = within(&scene, || match allowed {
            Some(allowed) => self.index.filtered_search(&node, ef, |key| allowed(key as u32)),
            None => self.index.search(&node, ef),
        })
        .map_err(exhausted)?;
        #[allow(clippy::cast_possible_truncation)]
        let rows = matches.keys.into_iter().map(|key| key as u32);
        Ok(matches.distances.into_iter().zip(rows).collect())
    }

    /// How many nodes it has.
    pub(crate) fn len(&self) -> usize {
        self.index.size()
    }

    /// The graph as bytes.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn save(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.index.serialized_length()];
        self.index.save_to_buffer(&mut bytes).map_err(exhausted)?;
        Ok(bytes)
    }

    /// How many bytes of memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.index.memory_usage()
    }
}

fn exhausted(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::ResourceExhausted, "the graph of a vector index could not be worked with")
        .caused_by(error)
}
