//! How calls cross between JavaScript and Rust.
//!
//! A crossing costs far more than the work of most calls, so the calls of one turn of the event loop cross
//! together, packed into one *frame* of bytes ([`frame`]); a [`Session`] decodes them, runs each on the store,
//! and packs whatever is finished into one frame of *replies* ([`reply`]). Reads that the store can answer at
//! once are answered in the call itself ([`Session::get_now`]).
//!
//! A binding only carries the frames: it has no decision to make, and Node and the browser cannot differ.

#[cfg(not(target_family = "wasm"))]
mod access;
mod alarm;
mod call;
mod config;
mod driver;
pub mod frame;
mod keeper;
mod lease;
pub mod reply;
mod session;
mod subscriber;
mod txn;
mod upstream;
mod vector;
mod watch;
mod work;

#[cfg(not(target_family = "wasm"))]
pub use access::{Access, Tls};
pub use config::{ClientConfig, Target};
pub use session::{Deliver, Environment, OpenStore, Session, Sleep};
