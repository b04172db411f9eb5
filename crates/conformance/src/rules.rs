//! The rules of the model, each a function that fails if a store breaks it.
//!
//! They come in groups, by what a store has: `plain` is what a server of `norikv.v1` alone can do, `full` is the
//! rest of the model, `disk` is for stores that can be opened again, `vectors` and `vectors_disk` are for those with
//! vectors, and `lacking` is for the server of `norikv.v1` alone: what it has to refuse.

pub mod closing;
pub mod compaction;
pub mod conditions;
pub mod deletes;
pub mod entries;
pub mod expiry;
pub mod history;
pub mod idempotency;
pub mod keys;
pub mod lacking;
pub mod leases;
pub mod many;
pub mod order;
pub mod ranges;
pub mod reading;
pub mod reopening;
pub mod scans;
pub mod seconds;
pub mod sequences;
pub mod status;
pub mod txn;
pub mod vector;
pub mod vector_search;
pub mod vector_writes;
pub mod versions;
pub mod watches;
