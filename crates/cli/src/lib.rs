//! The `norikv` command as a library, so that a Node process can run it as well as the binary.
//!
//! [`main_with`] takes the arguments and answers the exit code; it never ends the process itself.

mod args;
mod copy;
mod log;
mod open;
mod run;
mod serve;
mod signals;
mod tls;

pub use run::main_with;
