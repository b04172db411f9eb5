//! Serves any [`Store`](norikv_core::Store) over gRPC and gRPC-Web, on one port: `norikv.v1` for every client of the protocol,
//! `norikv.ext.v1` for ours, `grpc.health.v1`, and, where it is turned on, etcd's own protocol.
//!
//! A request goes `accept` → `connection` → `web` → `dispatch` → one of the services (`kv`, `meta`, `vector`, `ext`,
//! `batch`, `lease`, `watch`, `streams`, `health`, `etcd`) → the store, and back as an answer or through `status`.

mod accept;
mod batch;
mod connection;
mod deadline;
mod descriptors;
mod dispatch;
mod etcd;
mod ext;
mod health;
mod kv;
mod lease;
mod meta;
mod peer;
mod phase;
mod preface;
mod server;
mod settings;
mod status;
mod streams;
mod tls;
mod vector;
mod watch;
mod web;

pub use server::Server;
pub use settings::ServerSettings;
pub use status::status_of;
