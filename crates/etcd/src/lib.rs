//! [`EtcdStore`]: every method of [`Store`](norikv_core::Store) on an etcd cluster.
//!
//! Our model is etcd's, so most of it is the same thing said in another way: a revision is a revision, a generation is etcd's
//! version of a key, a lease is a lease. Keys and values are the user's own bytes, readable by any client of etcd. What has to
//! be kept beside them, the records of idempotency keys, lies under one reserved prefix, which is neither read, watched nor
//! written by users.

mod address;
mod channel;
mod clusters;
mod connection;
mod entries;
mod error;
mod expiry;
mod gather;
mod keys;
mod leases;
mod order;
mod reads;
mod settings;
mod store;
mod transactions;
mod watching;
mod writes;

pub use clusters::{ClustersStore, open};
pub use settings::{EtcdOptions, EtcdSettings};
pub use store::EtcdStore;
