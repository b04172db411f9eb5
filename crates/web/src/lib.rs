//! The browser binding: carries frames between JavaScript and `norikv-bridge`, and opens the stores that a browser can
//! have. `src/binding.ts` says what each function is for; `src/entry.web.ts` loads the result.
//!
//! It is empty for any other target.
#![cfg(target_family = "wasm")]
// What `#[wasm_bindgen]` exports is reached from JavaScript, which the compiler cannot see.
#![allow(missing_docs, unreachable_pub)]
// What JavaScript passes arrives by value.
#![allow(clippy::needless_pass_by_value)]

use wasm_bindgen::prelude::wasm_bindgen;

/// The version of the build. JavaScript of another version speaks other frames.
#[wasm_bindgen]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

pub mod client;
mod open;
pub mod placement;
