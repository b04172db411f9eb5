//! The Node binding: carries frames between JavaScript and `norikv-bridge`, and opens the stores that Node can
//! have. `src/binding.ts` says what each function is for; `src/entry.node.ts` loads the result.

// What `#[napi]` exports is reached from JavaScript, which the compiler cannot see, and the items that the macro
// generates have no documentation.
#![allow(missing_docs, unreachable_pub)]
// What JavaScript passes arrives by value.
#![allow(clippy::needless_pass_by_value)]

/// The system's allocator is a seventh of the time of a read in the process; see `docs/decisions/`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The version of the addon. One of another version speaks other frames.
#[napi_derive::napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

pub mod client;
mod open;
pub mod placement;
mod runtime;
pub mod server;
