use std::{env, io};

use tracing_subscriber::filter::LevelFilter;

/// From which level on to log.
pub(crate) type Level = LevelFilter;

/// The level of a word.
pub(crate) fn parse_level(word: &str) -> Result<Level, String> {
    word.parse().map_err(|_| "it is one of error, warn, info, debug, trace and off".to_owned())
}

/// Logs to stderr, if that was asked for by the flag or by `RUST_LOG`.
pub(crate) fn start(level: Option<Level>) {
    let from_environment = || env::var("RUST_LOG").ok().and_then(|word| parse_level(&word).ok());
    let Some(level) = level.or_else(from_environment) else { return };
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_ansi(false).finish();
    // In a process that logs already, it is that process's log which is wanted.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
