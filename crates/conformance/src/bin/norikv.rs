//! The `norikv` command, for the tests of this crate to start and to kill.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    ExitCode::from(u8::try_from(norikv_cli::main_with(env::args().collect())).unwrap_or(1))
}
