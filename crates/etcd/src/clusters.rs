//! Several clusters as one store.
//!
//! | file | what it does |
//! |---|---|
//! | `store.rs` | opens one cluster or several; gives each call to the cluster of its keys, or refuses it |
//! | `placement.rs` | which shard a key is in, and a range |
//! | `map.rs` | which cluster a shard is in, as the clusters themselves say |
//! | `moments.rs` | what all clusters were at, as one version |
//! | `scans.rs`, `watches.rs`, `leases.rs` | what goes over all clusters |

mod leases;
mod map;
mod moments;
mod placement;
mod scans;
mod store;
mod watches;

pub use store::{ClustersStore, open};
