//! Every way to have a store.
#![allow(dead_code)] // Each test file is a crate of its own and uses some of it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use norikv_client::{RemoteStore, Settings as ClientSettings};
use norikv_conformance::{Fixture, Setup, World, put};
use norikv_core::{Durability, MAX_KEY_BYTES, Namespaced, Result, StoreRef};
use norikv_embedded::{EmbeddedStore, Settings};
use norikv_server::{Server, ServerSettings};
use norikv_vectors::{Settings as VectorSettings, VectorStore};
use tempfile::TempDir;

/// The store in memory, in this process.
pub(crate) struct Memory;

/// The store in a directory, in this process.
pub(crate) struct File {
    pub(crate) durability: Durability,
    /// Whether it keeps entries in memory beside those on disk.
    pub(crate) cached: bool,
}

impl File {
    /// As it is by default.
    pub(crate) const FSYNC: Self = Self { durability: Durability::Fsync, cached: true };
    /// Acknowledged from memory.
    pub(crate) const RELAXED: Self = Self { durability: Durability::Relaxed, cached: true };
    /// Every read from disk.
    pub(crate) const UNCACHED: Self = Self { durability: Durability::Relaxed, cached: false };
}

fn settings(setup: &Setup) -> Settings {
    let defaults = Settings::default();
    Settings {
        max_value_bytes: setup.max_value_bytes.unwrap_or(defaults.max_value_bytes),
        idempotency_window: setup.idempotency_window.unwrap_or(defaults.idempotency_window),
        history_revisions: setup.history_revisions.unwrap_or(defaults.history_revisions),
        ..defaults
    }
}

/// What users get: vectors over the store.
async fn with_vectors(store: EmbeddedStore, directory: Option<&Path>, window: Duration) -> Result<StoreRef> {
    Ok(Arc::new(VectorStore::open(Arc::new(store), VectorSettings::beside(directory, window)).await?))
}

#[async_trait]
impl World for Memory {
    async fn open(&self, setup: Setup) -> Result<Fixture> {
        let settings = settings(&setup);
        let window = settings.idempotency_window;
        let store = with_vectors(EmbeddedStore::memory(settings)?, None, window).await?;
        Ok(Fixture::new(store, Durability::Memory, ()))
    }

    async fn reopen(&self, _: Fixture) -> Result<Fixture> {
        unreachable!("a store in memory is gone when it closes")
    }
}

/// What opens a directory again.
struct Directory {
    directory: TempDir,
    setup: Setup,
}

impl File {
    async fn open_at(&self, directory: Directory) -> Result<Fixture> {
        let settings = Settings { durability: self.durability, ..settings(&directory.setup) };
        let cache_bytes = if self.cached { settings.cache_bytes } else { 0 };
        let path: PathBuf = directory.directory.path().join("data");
        let window = settings.idempotency_window;
        let store = EmbeddedStore::open(&path, Settings { cache_bytes, ..settings })?;
        Ok(Fixture::new(with_vectors(store, Some(&path), window).await?, self.durability, directory))
    }
}

#[async_trait]
impl World for File {
    async fn open(&self, setup: Setup) -> Result<Fixture> {
        self.open_at(Directory { directory: tempfile::tempdir().unwrap(), setup }).await
    }

    async fn reopen(&self, fixture: Fixture) -> Result<Fixture> {
        fixture.owner.close().await?;
        self.open_at(*fixture.keep.downcast().unwrap()).await
    }
}

/// A store behind our server, reached by our client.
pub(crate) struct Served<W> {
    pub(crate) world: W,
    /// Whether the server has `norikv.v1` alone.
    pub(crate) plain: bool,
}

impl<W> Served<W> {
    pub(crate) const fn new(world: W) -> Self {
        Self { world, plain: false }
    }
}

/// What lives behind a remote store.
struct Behind {
    server: Server,
    inner: Fixture,
}

pub(crate) async fn serve(store: StoreRef, plain: bool) -> Result<Server> {
    serve_at(store, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), plain).await
}

pub(crate) async fn serve_at(store: StoreRef, listen: SocketAddr, plain: bool) -> Result<Server> {
    Server::start(store, ServerSettings { listen, norikv_v1_only: plain, ..ServerSettings::default() }).await
}

/// A client of a server.
pub(crate) fn remote(address: SocketAddr) -> Result<StoreRef> {
    Ok(Arc::new(RemoteStore::http2(ClientSettings::for_nodes(vec![address.to_string().parse()?]))?))
}

impl<W: World> Served<W> {
    async fn before(&self, inner: Fixture) -> Result<Fixture> {
        let server = serve(StoreRef::clone(&inner.store), self.plain).await?;
        let (durability, revision, max_key_bytes) = (inner.durability, inner.revision, inner.max_key_bytes);
        let store = remote(server.local_addr())?;
        let fixture = Fixture::new(store, durability, Behind { server, inner });
        Ok(Fixture { revision, max_key_bytes, ..fixture })
    }
}

#[async_trait]
impl<W: World> World for Served<W> {
    fn runs(&self) -> bool {
        self.world.runs()
    }

    async fn open(&self, setup: Setup) -> Result<Fixture> {
        self.before(self.world.open(setup).await?).await
    }

    async fn reopen(&self, fixture: Fixture) -> Result<Fixture> {
        fixture.owner.close().await?;
        let behind: Behind = *fixture.keep.downcast().unwrap();
        behind.server.shutdown(Duration::from_secs(5)).await?;
        self.before(self.world.reopen(behind.inner).await?).await
    }
}

/// A part of a store, between keys that are not its own.
pub(crate) struct Namespace<W>(pub(crate) W);

/// A part of a store whose prefix is text, so that it has vector indexes.
pub(crate) struct TextNamespace<W>(pub(crate) W);

const PREFIX: &[u8] = b"t\xff";
const TEXT_PREFIX: &[u8] = b"t/";
/// Just before, at, and just after the namespaces.
const NEIGHBOURS: [&[u8]; 5] = [b"t", PREFIX, TEXT_PREFIX, b"u", b"\xff\xff\xff"];

fn part(whole: Fixture, prefix: &'static [u8]) -> Result<Fixture> {
    Ok(Fixture {
        store: Arc::new(Namespaced::new(StoreRef::clone(&whole.store), prefix)?),
        owner: StoreRef::clone(&whole.owner),
        revision: whole.revision,
        durability: whole.durability,
        max_key_bytes: MAX_KEY_BYTES - prefix.len(),
        keep: Box::new(whole),
    })
}

async fn new_part(whole: Fixture, prefix: &'static [u8]) -> Result<Fixture> {
    for key in NEIGHBOURS {
        put(&*whole.store, key, "not in the namespace").await?;
    }
    let revision = whole.revision + NEIGHBOURS.len() as u64;
    Ok(Fixture { revision, ..part(whole, prefix)? })
}

#[async_trait]
impl<W: World> World for Namespace<W> {
    async fn open(&self, setup: Setup) -> Result<Fixture> {
        new_part(self.0.open(setup).await?, PREFIX).await
    }

    async fn reopen(&self, fixture: Fixture) -> Result<Fixture> {
        let whole: Fixture = *fixture.keep.downcast().unwrap();
        part(self.0.reopen(whole).await?, PREFIX)
    }
}

#[async_trait]
impl<W: World> World for TextNamespace<W> {
    async fn open(&self, setup: Setup) -> Result<Fixture> {
        new_part(self.0.open(setup).await?, TEXT_PREFIX).await
    }

    async fn reopen(&self, fixture: Fixture) -> Result<Fixture> {
        let whole: Fixture = *fixture.keep.downcast().unwrap();
        part(self.0.reopen(whole).await?, TEXT_PREFIX)
    }
}
