//! What the tests of the server share: a store small enough to be obviously right, and a client that is nothing
//! but gRPC.
#![allow(dead_code, missing_docs, unreachable_pub)] // every test file uses its part

pub mod client;
pub mod map_store;

use std::{sync::Arc, time::Duration};

use norikv_server::{Server, ServerSettings};

#[allow(unused_imports)]
pub use client::Client;
pub use map_store::MapStore;

/// Long enough for anything that works.
pub const SOON: Duration = Duration::from_secs(10);

pub fn settings() -> ServerSettings {
    ServerSettings { listen: "127.0.0.1:0".parse().unwrap(), ..ServerSettings::default() }
}

pub async fn serve(settings: ServerSettings) -> (Server, Arc<MapStore>) {
    let store = Arc::new(MapStore::default());
    let server = Server::start(store.clone(), settings).await.unwrap();
    (server, store)
}
