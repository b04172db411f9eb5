//! The HNSW graph of an index, by the library `usearch`.
//!
//! Its nodes are the rows of the index by their numbers, and the library keeps a code of 8 bits for each dimension beside them,
//! whatever precision the index has: walking through a graph is waiting for memory, and codes are a quarter of it. What
//! the walk finds is ranked again by the rows, which the index has. Where codes do not tell vectors apart, the library has
//! the rows themselves.

use norikv_core::{Error, ErrorKind, Result};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind, VectorType as _};

use crate::coder::Coder;

/// How many neighbours a node has on the upper layers; twice as many on the lowest. With 14 the lowest are two lines of
/// a processor's cache.
const CONNECTIVITY: usize = 14;
/// How many candidates are looked at for the neighbours of a new node.
const EXPANSION_ADD: usize = 128;
/// The fewest nodes that room is made for.
const LEAST_CAPACITY: usize = 1_024;

/// A graph of the codes of vectors.
pub(crate) struct Graph {
    /// How its codes are written.
    codes: Coder,
    index: Index,
    capacity: usize,
    threads: usize,
}

impl Graph {
    /// A graph without a node, which that many threads may use at a time.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn new(codes: Coder, threads: usize) -> Result<Self> {
        Self::of(Self::empty(codes)?, codes, LEAST_CAPACITY, threads)
    }

    /// The graph of bytes that [`save`](Self::save) made.
    ///
    /// # Errors
    /// `Corruption`, `ResourceExhausted`.
    pub(crate) fn load(bytes: &[u8], codes: Coder, threads: usize) -> Result<Self> {
        let index = Self::empty(codes)?;
        index.load_from_buffer(bytes).map_err(|error| {
            Error::new(ErrorKind::Corruption, "the saved graph of a vector index cannot be read")
                .caused_by(error)
        })?;
        if index.dimensions() != codes.stride() || index.scalar_kind() != ScalarKind::I8 {
            let message = "the saved graph of a vector index is of another kind";
            return Err(Error::new(ErrorKind::Corruption, message));
        }
        let capacity = index.size().max(LEAST_CAPACITY);
        Self::of(index, codes, capacity, threads)
    }

    fn empty(codes: Coder) -> Result<Index> {
        let options = IndexOptions {
            dimensions: codes.stride(),
            // A placeholder for the metric that is set below.
            metric: MetricKind::IP,
            quantization: ScalarKind::I8,
            connectivity: CONNECTIVITY,
            expansion_add: EXPANSION_ADD,
            // A search looks at as many candidates as it is asked for.
            expansion_search: 1,
            multi: false,
        };
        Index::new(&options).map_err(exhausted)
    }

    fn of(mut index: Index, codes: Coder, capacity: usize, threads: usize) -> Result<Self> {
        let length = codes.stride();
        i8::change_metric(
            &mut index,
            Box::new(move |a: *const i8, b: *const i8| {
                // SAFETY: the library calls its metric with two pointers to vectors of as many bytes as the index has
                // dimensions, which are `length`: its own copies, which it does not change while a call goes on that may read
                // them, or the one that `add` or `search` gave it and holds borrowed for the time of the call. An i8 and a u8
                // have the same size and need no alignment.
                let (a, b) = unsafe {
                    (
                        std::slice::from_raw_parts(a.cast::<u8>(), length),
                        std::slice::from_raw_parts(b.cast::<u8>(), length),
                    )
                };
                codes.rank(a, b)
            }),
        )
        .map_err(exhausted)?;
        index.reserve_capacity_and_threads(capacity, threads).map_err(exhausted)?;
        Ok(Self { codes, index, capacity, threads })
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

    /// Adds a row that there is room for. No search may go on: the library's take no locks.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn add(&self, row: u32, code: &[u8]) -> Result<()> {
        self.index.add(u64::from(row), bytemuck::cast_slice::<u8, i8>(code)).map_err(exhausted)
    }

    /// The rows nearest to a query among those allowed, as far as `ef` candidates tell, in no order.
    ///
    /// # Errors
    /// `ResourceExhausted`.
    pub(crate) fn search(
        &self,
        code: &[u8],
        ef: usize,
        allowed: Option<&dyn Fn(u32) -> bool>,
    ) -> Result<Vec<u32>> {
        let code = bytemuck::cast_slice::<u8, i8>(code);
        // Keys are row numbers, so nothing is cut.
        #[allow(clippy::cast_possible_truncation)]
        let matches = match allowed {
            Some(allowed) => self.index.filtered_search(code, ef, |key| allowed(key as u32)),
            None => self.index.search(code, ef),
        };
        #[allow(clippy::cast_possible_truncation)]
        Ok(matches.map_err(exhausted)?.keys.into_iter().map(|key| key as u32).collect())
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

    /// How its codes are written.
    pub(crate) fn codes(&self) -> Coder {
        self.codes
    }

    /// How many bytes of memory it takes, near enough: nodes and codes in whole lines of a cache, and the library's tables.
    /// The library can count, but looks at every node for it.
    pub(crate) fn bytes(&self) -> usize {
        const LINE: usize = 64;
        const NODE: usize = (2 * CONNECTIVITY * size_of::<u32>() + 14).next_multiple_of(LINE);
        const TABLES: usize = 56;
        self.index.size() * (NODE + self.codes.stride().next_multiple_of(LINE) + TABLES)
    }
}

fn exhausted(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::ResourceExhausted, "the graph of a vector index could not be worked with")
        .caused_by(error)
}
