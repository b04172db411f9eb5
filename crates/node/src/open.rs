use std::{path::PathBuf, sync::Arc, time::Duration};

use norikv_bridge::{Access, ClientConfig, Environment, OpenStore, Sleep, Target, Tls};
use norikv_client::RemoteStore;
use norikv_core::{Address, Call, Error, NodeAddress, Result, StoreRef};
use norikv_embedded::{EmbeddedStore, Settings};
use norikv_etcd::{EtcdOptions, EtcdSettings};
use norikv_tls::{ClientTls, Identity, Pem};
use norikv_vectors::VectorStore;

/// Opens the stores that Node can have.
pub(crate) struct NodeEnvironment(pub(crate) ClientConfig);

impl Environment for NodeEnvironment {
    fn open(&self) -> OpenStore {
        let config = self.0.clone();
        Box::pin(async move {
            let settings = settings(&config);
            match config.target.clone() {
                Target::Address(Address::Memory) => embedded(None, settings).await,
                Target::Address(Address::File(path)) => embedded(Some(path.into()), settings).await,
                Target::Address(Address::Node(node)) => remote(vec![node], &config),
                Target::Address(Address::Etcd(address)) => {
                    let (retry, options) = (config.retry, etcd_options(&config.access));
                    let clusters = etcd(&address, &options, &settings, |etcd| etcd.retry = retry)?;
                    norikv_etcd::open(clusters, Call::with_timeout(config.timeout)).await
                }
                Target::Nodes(nodes) => remote(nodes, &config),
            }
        })
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

fn settings(config: &ClientConfig) -> Settings {
    let defaults = Settings::default();
    Settings {
        durability: config.durability,
        max_value_bytes: config.max_value_bytes.unwrap_or(defaults.max_value_bytes),
        history: config.history.unwrap_or(defaults.history),
        history_revisions: config.history_revisions.unwrap_or(defaults.history_revisions),
        idempotency_window: config.idempotency_window.unwrap_or(defaults.idempotency_window),
        ..defaults
    }
}

/// Opens an embedded store, in memory or in a directory, away from the threads that must not block.
pub(crate) async fn embedded(directory: Option<PathBuf>, settings: Settings) -> Result<StoreRef> {
    let vectors = norikv_vectors::Settings::beside(directory.as_deref(), settings.idempotency_window);
    let open = move || match directory {
        Some(directory) => EmbeddedStore::open(&directory, settings),
        None => EmbeddedStore::memory(settings),
    };
    let store = tokio::task::spawn_blocking(open)
        .await
        .map_err(|error| Error::internal("opening the store was interrupted").caused_by(error))??;
    Ok(Arc::new(VectorStore::open(Arc::new(store), vectors).await?))
}

/// The etcd clusters of an address.
fn etcd(
    address: &str,
    options: &EtcdOptions,
    settings: &Settings,
    more: impl Fn(&mut EtcdSettings),
) -> Result<Vec<EtcdSettings>> {
    let with = |etcd: EtcdSettings| etcd.with(options.clone());
    let mut clusters = EtcdSettings::parse_all(address)?.into_iter().map(with).collect::<Result<Vec<_>>>()?;
    for etcd in &mut clusters {
        etcd.max_value_bytes = settings.max_value_bytes;
        etcd.idempotency_window = settings.idempotency_window;
        more(etcd);
    }
    Ok(clusters)
}

/// An etcd cluster as a server has it, which keeps its vectors, too.
pub(crate) async fn etcd_with_vectors(address: &str, settings: &Settings) -> Result<StoreRef> {
    let clusters = etcd(address, &EtcdOptions::default(), settings, |_| ())?;
    let store = norikv_etcd::open(clusters, Call::default()).await?;
    let vectors = norikv_vectors::Settings::beside(None, settings.idempotency_window);
    Ok(Arc::new(VectorStore::open(store, vectors).await?))
}

/// What TLS is spoken with, as it was given.
fn client_tls(tls: &Tls) -> ClientTls {
    let identity = tls.identity.as_ref().map(|(certificate, key)| Identity {
        certificate: Pem::new("the cert of tls", &certificate[..]),
        key: Pem::new("the key of tls", &key[..]),
    });
    ClientTls {
        ca: tls.ca.as_ref().map(|ca| Pem::new("the ca of tls", &ca[..])),
        identity,
        server_name: tls.server_name.clone(),
    }
}

fn etcd_options(access: &Access) -> EtcdOptions {
    EtcdOptions {
        user: access.user.clone(),
        password: access.password.clone(),
        prefix: access.prefix.as_ref().map(|prefix| prefix.to_vec()),
        tls: access.tls.as_ref().map(client_tls),
    }
}

fn remote(nodes: Vec<NodeAddress>, config: &ClientConfig) -> Result<StoreRef> {
    let store = RemoteStore::http2(norikv_client::Settings {
        total_shards: config.total_shards,
        retry: config.retry,
        watch_cluster: config.watch_cluster,
        max_connections_per_node: config.max_connections_per_node,
        token: config.token.clone(),
        tls: config.access.tls.as_ref().map(client_tls),
        ..norikv_client::Settings::for_nodes(nodes)
    })?;
    Ok(Arc::new(store))
}
