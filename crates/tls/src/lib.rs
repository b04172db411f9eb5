//! TLS for NoriKV's clients and servers, with rustls: certificates and keys as they are given ([`Pem`]), what is made of
//! them ([`ClientTls`], [`ServerTls`]), and why a connection did not come about ([`Fault`]).
//!
//! Everything that is wrong with what was given is found before the first connection, and named.

mod client;
mod fault;
mod pem;
mod server;
mod stream;
mod verifier;
mod wire;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
pub use tokio_rustls::TlsAcceptor;

pub use client::{ClientTls, Connector};
pub use fault::Fault;
pub use pem::{Identity, Pem};
pub use server::ServerTls;
pub use stream::Stream;
pub use wire::{Sense, Unmade, Wire, speaks_tls};

/// The names of protocols that are agreed on while a connection is made.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// The cryptography, named wherever it is used: a process-wide choice would be the whole program's.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
