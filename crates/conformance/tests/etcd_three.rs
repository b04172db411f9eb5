//! The model, on three members of a real etcd, directly and through our server.
//!
//! Each rule has members of its own, so most of it is left to `NORIKV_LONG`.
#![cfg(unix)]
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::panic)] // they are tests

mod etcd_cluster;
mod worlds;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use etcd_cluster::long;
use norikv_conformance::{EtcdCluster, EtcdOptions, Fixture, Setup, World, conformance};
use norikv_core::{Durability, Result, StoreRef};
use norikv_etcd::{EtcdSettings, EtcdStore};
use worlds::Served;

/// Three members, all of which the store knows.
struct Three;

#[async_trait]
impl World for Three {
    async fn open(&self, setup: Setup) -> Result<Fixture> {
        // Nothing is done to them, and rules are not to wait for their first leader.
        let options = EtcdOptions {
            heartbeat: Duration::from_millis(50),
            election: Duration::from_millis(300),
            ..EtcdOptions::default()
        };
        let cluster = EtcdCluster::start(options).await?;
        let mut settings = EtcdSettings::parse(&cluster.address())?;
        if let Some(most) = setup.max_value_bytes {
            settings.max_value_bytes = most;
        }
        if let Some(window) = setup.idempotency_window {
            settings.idempotency_window = window;
        }
        let store: StoreRef = Arc::new(EtcdStore::new(settings)?);
        Ok(Fixture::new(store, Durability::Fsync, cluster))
    }

    async fn reopen(&self, _: Fixture) -> Result<Fixture> {
        unreachable!("an etcd is not opened again")
    }
}

/// A world that only the long runs have.
struct Long<W>(W);

#[async_trait]
impl<W: World> World for Long<W> {
    fn runs(&self) -> bool {
        long()
    }

    async fn open(&self, setup: Setup) -> Result<Fixture> {
        self.0.open(setup).await
    }

    async fn reopen(&self, fixture: Fixture) -> Result<Fixture> {
        self.0.reopen(fixture).await
    }
}

conformance!(etcd_three, Three, [plain]);
conformance!(etcd_three_long, Long(Three), [full, seconds]);
conformance!(etcd_three_served, Served::new(Three), [seconds]);
conformance!(etcd_three_served_long, Long(Served::new(Three)), [plain, full]);
