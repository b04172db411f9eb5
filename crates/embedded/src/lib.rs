//! The store in this process.
//!
//! [`EmbeddedStore`] implements [`norikv_core::Store`] in memory or in a directory on disk. From a call to the
//! bytes:
//!
//! | file | what it does |
//! |---|---|
//! | `store.rs` | the calls: checks them, sends writes to the queue, answers reads |
//! | `queue.rs`, `job.rs`, `pending.rs` | writes on their way, in order, bounded |
//! | `writer.rs`, `stage.rs` | the one writer: stages a group of writes, commits it at once, publishes, answers |
//! | `txn.rs`, `stage_lease.rs` | how it stages transactions, and what it does to leases |
//! | `sweep.rs`, `history.rs` | what is due: expiry, leases, old history |
//! | `lease.rs` | which leases there are, and until when |
//! | `hub.rs`, `watch.rs` | who watches, the changes of late, and those of the history |
//! | `shared.rs`, `read.rs`, `page.rs`, `rows.rs`, `readers.rs` | reading at a revision while the writer goes on |
//! | `record.rs`, `keys.rs`, `log.rs`, `idempotency.rs`, `meta.rs` | what is stored, as bytes |
//! | `engine.rs`, `directory.rs` | where it is stored |

mod clock;
mod directory;
mod done;
mod engine;
mod hash;
mod history;
mod hub;
mod idempotency;
mod job;
mod keys;
mod lease;
mod log;
mod meta;
mod page;
mod pending;
mod queue;
mod range;
mod read;
mod readers;
mod record;
mod rows;
mod settings;
mod shared;
mod stage;
mod stage_lease;
mod store;
mod sweep;
mod txn;
mod watch;
mod writer;

pub use settings::Settings;
pub use store::EmbeddedStore;
