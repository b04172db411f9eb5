//! Vector indexes over any store.
//!
//! [`VectorStore`] gives vectors to a store that has scans, transactions and watches: the vectors are entries of that store,
//! written in its transactions, and the indexes are views of them in memory. From a call to the numbers:
//!
//! | file | what it does |
//! |---|---|
//! | `store.rs` | the calls: everything that is not about vectors goes to the store as it is |
//! | `writes.rs`, `keys.rs` | what is written into the store: definitions, vectors, records of idempotency keys |
//! | `view.rs` | all indexes: made of a scan, kept fresh by a watch from the scan's version on |
//! | `index.rs` | one index: how it is searched, and when its graph is built |
//! | `rows.rs`, `arena.rs`, `coder.rs`, `kernel.rs` | its vectors in memory, and how far they are from each other |
//! | `graph.rs` | its graph, by the library `usearch` |
//! | `linker.rs`, `saved.rs` | who links vectors into graphs, and the files of graphs |
//! | `workers.rs` | who searches |

mod arena;
mod coder;
mod graph;
mod index;
mod kernel;
mod keys;
mod linker;
mod rows;
mod saved;
mod store;
mod view;
mod workers;
mod writes;

pub use store::{Settings, VectorStore};
