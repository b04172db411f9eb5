use std::{path::Path, sync::Arc};

use norikv_core::{Address, Call, Error, ErrorKind, Result, StoreRef};
use norikv_embedded::{EmbeddedStore, Settings};
use norikv_etcd::EtcdSettings;
use norikv_vectors::VectorStore;

use crate::args::Serve;

/// Opens the store that is to be served.
///
/// # Errors
/// `Unsupported` for a server, and whatever the store answers.
pub(crate) async fn open(serve: &Serve) -> Result<StoreRef> {
    if serve.access.is_given() && !matches!(serve.store.address, Address::Etcd(_)) {
        return Err(Error::invalid_argument(format!(
            "--store-tls-…, --store-user, --store-password-file and --store-prefix are for a store on etcd; got --store {}",
            serve.store.shown()
        )));
    }
    let window = settings(serve).idempotency_window;
    let (store, directory): (StoreRef, _) = match &serve.store.address {
        Address::Memory => (Arc::new(EmbeddedStore::memory(settings(serve))?), None),
        Address::File(directory) => {
            let directory = Path::new(directory);
            (Arc::new(EmbeddedStore::open(directory, settings(serve))?), Some(directory))
        }
        Address::Etcd(address) => {
            let options = serve.access.options()?;
            let with = |settings: EtcdSettings| settings.with(options.clone());
            let mut clusters =
                EtcdSettings::parse_all(address)?.into_iter().map(with).collect::<Result<Vec<_>>>()?;
            for settings in &mut clusters {
                settings.idempotency_window = window;
                settings.max_value_bytes = serve.max_value_bytes.unwrap_or(settings.max_value_bytes);
            }
            (norikv_etcd::open(clusters, Call::default()).await?, None)
        }
        Address::Node(_) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{:?} is a server already; a server serves memory:, file:<directory> or etcd://host:port,…",
                    serve.store.shown()
                ),
            ));
        }
    };
    let vectors = norikv_vectors::Settings::beside(directory, window);
    Ok(Arc::new(VectorStore::open(store, vectors).await?))
}

fn settings(serve: &Serve) -> Settings {
    let mut settings = Settings { durability: serve.durability.into(), ..Settings::default() };
    if let Some(bytes) = serve.max_value_bytes {
        settings.max_value_bytes = bytes;
    }
    if let Some(bytes) = serve.cache_bytes {
        settings.cache_bytes = bytes;
    }
    if let Some(window) = serve.idempotency_window_ms {
        settings.idempotency_window = window;
    }
    if let Some(history) = serve.history_ms {
        settings.history = history;
    }
    if let Some(revisions) = serve.history_revisions {
        settings.history_revisions = revisions;
    }
    settings
}
