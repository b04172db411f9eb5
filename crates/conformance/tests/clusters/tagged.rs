//! A part of the store whose keys carry one hash tag: it keeps every promise of the model.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use norikv_conformance::{Fixture, Setup, World};
use norikv_core::{
    Call, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Durability, Entry, Get,
    GetMany, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus, LeaseTimeToLive, MAX_KEY_BYTES, Namespaced,
    Page, Put, PutResult, Result, Scan, Status, Store, StoreRef, Txn, TxnResult, Version, Watch, Watching,
};
use norikv_etcd::{EtcdSettings, EtcdStore};

use super::Clusters;

/// Each store has two clusters of its own; stores are in the first and in the second by turns.
pub(crate) struct Tagged;

static TURN: AtomicUsize = AtomicUsize::new(0);

#[async_trait]
impl World for Tagged {
    async fn open(&self, setup: Setup) -> Result<Fixture> {
        let clusters = Clusters::two().await;
        let turn = TURN.fetch_add(1, Ordering::Relaxed) % 2;
        let mut settings = EtcdSettings::parse_all(&clusters.address())?;
        for settings in &mut settings {
            settings.max_value_bytes = setup.max_value_bytes.unwrap_or(settings.max_value_bytes);
            settings.idempotency_window = setup.idempotency_window.unwrap_or(settings.idempotency_window);
        }
        let home: StoreRef = Arc::new(EtcdStore::new(settings[turn].clone())?);
        let whole = norikv_etcd::open(settings, Call::default()).await?;
        let tag = clusters.tag_of(turn);
        let part = Namespaced::new(StoreRef::clone(&whole), tag.clone())?;
        let store: StoreRef = Arc::new(OneTag { part, whole: StoreRef::clone(&whole), home });
        Ok(Fixture {
            owner: whole,
            // The map of clusters took one.
            revision: 2,
            max_key_bytes: MAX_KEY_BYTES - tag.len(),
            ..Fixture::new(store, Durability::Fsync, clusters)
        })
    }

    async fn reopen(&self, _: Fixture) -> Result<Fixture> {
        unreachable!("an etcd is not opened again")
    }
}

/// What is said of a whole store, and not of keys, is asked of the cluster that the tag is in: over all of them it has no one
/// version.
struct OneTag {
    part: Namespaced,
    whole: StoreRef,
    home: StoreRef,
}

#[async_trait]
impl Store for OneTag {
    async fn lease_revoke(&self, id: LeaseId, call: Call) -> Result<Version> {
        self.part.lease_revoke(id, call).await?;
        Ok(self.home.status(call).await?.version)
    }

    async fn compact(&self, version: Version, call: Call) -> Result<()> {
        self.whole.status(call).await?;
        self.home.compact(version, call).await
    }

    async fn status(&self, call: Call) -> Result<Status> {
        let part = self.part.status(call).await?;
        let home = self.home.status(call).await?;
        Ok(Status { version: home.version, sizes: home.sizes, ..part })
    }

    async fn get(&self, request: Get, call: Call) -> Result<Option<Entry>> {
        self.part.get(request, call).await
    }

    async fn get_many(&self, request: GetMany, call: Call) -> Result<Vec<Option<Entry>>> {
        self.part.get_many(request, call).await
    }

    async fn put(&self, request: Put, call: Call) -> Result<PutResult> {
        self.part.put(request, call).await
    }

    async fn delete(&self, request: Delete, call: Call) -> Result<DeleteResult> {
        self.part.delete(request, call).await
    }

    async fn delete_range(&self, request: DeleteRange, call: Call) -> Result<DeleteRangeResult> {
        self.part.delete_range(request, call).await
    }

    async fn scan(&self, request: Scan, call: Call) -> Result<Page> {
        self.part.scan(request, call).await
    }

    async fn count(&self, request: Count, call: Call) -> Result<CountResult> {
        self.part.count(request, call).await
    }

    async fn txn(&self, request: Txn, call: Call) -> Result<TxnResult> {
        let result = self.part.txn(request, call).await?;
        if !result.version.is_moment() {
            return Ok(result);
        }
        // One that names no key.
        let version = self.home.status(call).await?.version;
        Ok(TxnResult { version, ..result })
    }

    async fn lease_grant(&self, request: LeaseGrant, call: Call) -> Result<LeaseGranted> {
        self.part.lease_grant(request, call).await
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>, call: Call) -> Result<Vec<Option<Duration>>> {
        self.part.lease_keep_alive(ids, call).await
    }

    async fn lease_time_to_live(&self, request: LeaseTimeToLive, call: Call) -> Result<LeaseStatus> {
        self.part.lease_time_to_live(request, call).await
    }

    async fn leases(&self, call: Call) -> Result<Vec<LeaseId>> {
        self.part.leases(call).await
    }

    async fn watch(&self, request: Watch, call: Call) -> Result<Watching> {
        self.part.watch(request, call).await
    }

    async fn close(&self) -> Result<()> {
        self.part.close().await
    }
}
