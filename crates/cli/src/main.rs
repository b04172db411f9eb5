//! The `norikv` command.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    // An argument that is not Unicode cannot be one of ours; it is shown in the message that refuses it.
    let args = env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    ExitCode::from(u8::try_from(norikv_cli::main_with(args)).unwrap_or(1))
}
