//! What every NoriKV store must do, as tests, and the tools to break what carries one.
//!
//! A store passes when [`conformance!`] does, which makes a test of every rule in [`rules`]. The rules see a store
//! through [`norikv_core::Store`] alone; a [`World`] knows how to make one, and how to close it and open it again.
//!
//! ```ignore
//! norikv_conformance::conformance!(memory, Memory, [plain, full]);
//! ```
//!
//! [`Proxy`] stands between a client and a server and cuts, delays or swallows what passes. `EtcdCluster` is a cluster of
//! real etcd members with such proxies between all of them.

mod ask;
mod ask_vectors;
mod check;
#[cfg(unix)]
mod etcd;
mod proxy;
mod reference;
pub mod rules;
mod run;
mod table;
mod watcher;
mod world;

pub use ask::{
    call, get, grant, put, revoke, to_delete, to_delete_range, to_get, to_put, to_scan, txn, when,
    when_exists, with_lease, within,
};
pub use check::{Check, Failure, refused};
#[cfg(unix)]
pub use etcd::{EtcdCluster, EtcdOptions};
pub use proxy::{Proxy, Way};
pub use run::{run_on_store, run_on_world};
pub use watcher::{Watcher, refused_watch};
pub use world::{Fixture, Setup, World};
