use std::{path::Path, sync::Arc};

use norikv_core::{Address, Error, ErrorKind, Result, StoreRef};
use norikv_embedded::{EmbeddedStore, Settings};

use crate::args::Serve;

/// Opens the store that is to be served.
///
/// # Errors
/// `Unsupported` for a store that is not in this process, and whatever the store answers.
pub(crate) fn open(serve: &Serve) -> Result<StoreRef> {
    let store = match &serve.store.address {
        Address::Memory => EmbeddedStore::memory(settings(serve))?,
        Address::File(directory) => EmbeddedStore::open(Path::new(directory), settings(serve))?,
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
    Ok(Arc::new(store))
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
