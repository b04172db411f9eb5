//! The model, on our own server reached over etcd's protocol: the store that is a client of etcd does not tell the two apart.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::panic)] // they are tests

mod worlds;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use norikv_conformance::{Fixture, Setup, World, conformance};
use norikv_core::{Durability, Result, StoreRef};
use norikv_etcd::{EtcdSettings, EtcdStore};
use norikv_server::{Server, ServerSettings};
use worlds::{File, Memory};

/// A store behind our server, reached as if it were etcd.
struct EtcdApi<W>(W);

#[async_trait]
impl<W: World> World for EtcdApi<W> {
    async fn open(&self, setup: Setup) -> Result<Fixture> {
        // What a transaction is to etcd's clients may be more than it is to ours: a record beside each write, for one.
        let inner = self.0.open(Setup { max_value_bytes: None, ..setup.clone() }).await?;
        let server = ServerSettings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            etcd_api: true,
            ..ServerSettings::default()
        };
        let server = Server::start(StoreRef::clone(&inner.store), server).await?;
        let mut settings = EtcdSettings::parse(&format!("etcd://{}", server.local_addr()))?;
        if let Some(most) = setup.max_value_bytes {
            settings.max_value_bytes = most;
        }
        if let Some(window) = setup.idempotency_window {
            settings.idempotency_window = window;
        }
        let store: StoreRef = Arc::new(EtcdStore::new(settings)?);
        Ok(Fixture::new(store, Durability::Fsync, (server, inner)))
    }

    async fn reopen(&self, _: Fixture) -> Result<Fixture> {
        unreachable!("a client of etcd is not opened again")
    }
}

conformance!(memory, EtcdApi(Memory), [plain, full, seconds]);
conformance!(file, EtcdApi(File::RELAXED), [plain, full, seconds]);
