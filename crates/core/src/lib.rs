//! The NoriKV model, once, for every store and every language that binds to it.
//!
//! [`Store`] is the trait of everything a store does. Each place that can hold data implements it
//! (`norikv-embedded`, `norikv-client`); whatever can be said about any store is a wrapper that implements
//! it again ([`Namespaced`]); a server serves one; a binding exposes one.
//!
//! This crate does no I/O and builds for `wasm32-unknown-unknown`.

mod address;
mod backoff;
mod call;
mod cluster;
mod entry;
mod error;
mod lease;
mod limits;
mod meter;
mod namespaced;
mod placement;
mod range;
mod request;
mod retry;
mod status;
mod steady;
mod store;
mod txn;
mod vector;
mod vector_call;
mod version;
mod watch;

pub use address::{Address, NodeAddress, without_password};
pub use backoff::Backoff;
pub use call::Call;
pub use cluster::{ClusterNode, ClusterView, ShardInfo, ShardReplica};
pub use entry::Entry;
pub use error::{Error, ErrorKind, Field, FieldName, Result, show_key};
pub use lease::{LeaseGrant, LeaseGranted, LeaseId, LeaseStatus, LeaseTimeToLive};
pub use limits::{
    DEFAULT_MAX_VALUE_BYTES, DEFAULT_TIMEOUT, Limits, MAX_IDEMPOTENCY_KEY_BYTES, MAX_KEEP_ALIVES,
    MAX_KEY_BYTES, MAX_TTL, MAX_TXN_BYTES, MAX_TXN_OPS, PROGRESS_INTERVAL, check_idempotency_key, check_key,
    check_value, number_text, ttl_from_millis,
};
pub use meter::{LatencySummary, Meter, RequestStats};
pub use namespaced::Namespaced;
pub use placement::{DEFAULT_TOTAL_SHARDS, jump_consistent_hash, shard_for_key, xxhash64};
pub use range::KeyRange;
pub use request::{
    Consistency, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Get, GetMany,
    Order, Page, Precondition, Put, PutResult, Scan, Ttl,
};
pub use retry::{Retry, RetryPolicy};
pub use status::{Durability, Feature, Sizes, Stats, Status};
pub use steady::Steady;
pub use store::{MaybeSend, MaybeSync, Store, StoreRef};
pub use txn::{Compare, CompareOp, CompareTarget, Txn, TxnOp, TxnOpResult, TxnResult};
pub use vector::{
    DistanceFunction, MAX_VECTOR_BATCH, MAX_VECTOR_DIMENSIONS, MAX_VECTOR_EF, MAX_VECTOR_ID_BYTES,
    MAX_VECTOR_K, MAX_VECTOR_NAMESPACE_BYTES, MAX_VECTOR_QUERIES, Quantization, VECTOR_KEY_PREFIX,
    VectorIndex, VectorIndexInfo, VectorIndexType, VectorStatus, check_vector, check_vector_namespace,
    vector_count,
};
pub use vector_call::{
    VectorCreateIndex, VectorDelete, VectorDropIndex, VectorGet, VectorInsert, VectorItem, VectorMatch,
    VectorSearch, VectorSearchResult,
};
pub use version::Version;
pub use watch::{Event, EventKind, EventReason, Watch, WatchBatch, WatchBatches, Watching};
