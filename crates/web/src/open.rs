use std::{sync::Arc, time::Duration};

use norikv_bridge::{ClientConfig, Environment, OpenStore, Sleep, Target};
use norikv_client::{RemoteStore, Settings, sleep};
use norikv_core::{Address, Error, ErrorKind, NodeAddress, Result, StoreRef};

/// Opens the stores that a browser can have.
pub(crate) struct WebEnvironment(pub(crate) ClientConfig);

impl Environment for WebEnvironment {
    fn open(&self) -> OpenStore {
        let config = self.0.clone();
        Box::pin(async move {
            match config.target.clone() {
                Target::Address(Address::Node(node)) => remote(vec![node], &config),
                Target::Nodes(nodes) => remote(nodes, &config),
                Target::Address(Address::Memory) => Err(lacking("memory: stores")),
                Target::Address(Address::File(_)) => Err(lacking("file: stores")),
                Target::Address(Address::Etcd(_)) => Err(lacking("connections to etcd")),
            }
        })
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(sleep(duration))
    }
}

fn lacking(what: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "a browser has no {what}: start a server (norikv serve) and give its address, like https://host:7447"
        ),
    )
}

fn remote(nodes: Vec<NodeAddress>, config: &ClientConfig) -> Result<StoreRef> {
    let store = RemoteStore::fetch(Settings {
        total_shards: config.total_shards,
        retry: config.retry,
        watch_cluster: config.watch_cluster,
        token: config.token.clone(),
        ..Settings::for_nodes(nodes)
    })?;
    // A browser has one thread: what is shared is shared with nobody else.
    #[allow(clippy::arc_with_non_send_sync)]
    Ok(Arc::new(store))
}
