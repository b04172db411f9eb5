//! The model, on a real etcd.
#![cfg(unix)]
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::panic)] // they are tests

mod etcd_api;

use std::sync::Arc;

use async_trait::async_trait;
use etcd_api::Etcd;
use norikv_conformance::{Fixture, Setup, World, conformance};
use norikv_core::{Durability, Result, StoreRef};
use norikv_etcd::{EtcdSettings, EtcdStore};

/// An etcd of one member, which the store is a client of.
struct Member;

#[async_trait]
impl World for Member {
    async fn open(&self, setup: Setup) -> Result<Fixture> {
        let etcd = Etcd::start().await;
        let mut settings = EtcdSettings::parse(&format!("etcd://{}", etcd.endpoint))?;
        if let Some(most) = setup.max_value_bytes {
            settings.max_value_bytes = most;
        }
        if let Some(window) = setup.idempotency_window {
            settings.idempotency_window = window;
        }
        let store: StoreRef = Arc::new(EtcdStore::new(settings)?);
        Ok(Fixture::new(store, Durability::Fsync, etcd))
    }

    async fn reopen(&self, _: Fixture) -> Result<Fixture> {
        unreachable!("an etcd is not opened again")
    }
}

conformance!(etcd, Member, [plain, full, seconds]);
