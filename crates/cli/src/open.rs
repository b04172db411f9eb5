use std::{path::Path, sync::Arc};

use norikv_core::{Address, Error, ErrorKind, Result, StoreRef};
use norikv_embedded::{EmbeddedStore, Settings};
use norikv_vectors::VectorStore;

use crate::args::Serve;

/// Opens the store that is to be served.
///
/// # Errors
/// `Unsupported` for a store that is not in this process, and whatever the store answers.
pub(crate) async fn open(serve: &Serve) -> Result<StoreRef> {
    let (store, directory) = match &serve.store.address {
        Address::Memory => (EmbeddedStore::memory(settings(serve))?, None),
        Address::File(directory) => {
            let directory = Path::new(directory);
            (EmbeddedStore::open(directory, settings(serve))?, Some(directory))
        }
        Address::Etcd(_) | Address::Node(_) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "this version cannot serve the store {:?}; it serves memory: and file:<directory>",
                    serve.store.text
                ),
            ));
        }
    };
    let vectors = norikv_vectors::Settings::beside(directory, settings(serve).idempotency_window);
    Ok(Arc::new(VectorStore::open(Arc::new(store), vectors).await?))
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
