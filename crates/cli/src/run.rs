use std::{
    io::{self, Write},
    time::Duration,
};

use clap::{
    Parser,
    error::{ContextValue, ErrorKind},
};
use norikv_core::{Error, Result, without_password};

use crate::{
    args::{Cli, Command},
    copy::copy,
    log,
    serve::serve,
};

/// The exit code of a command that failed.
const FAILED: i32 = 1;
/// The exit code of a command that was not understood.
const MISUSED: i32 = 2;
/// How long what still runs in the background may take once the command is done.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// Runs the command with its arguments, the first of which is its own name, and answers its exit code: 0 done,
/// 1 failed, 2 not understood; of a copy also 3 the stores differ, 4 the source is still written to.
///
/// It blocks until the command is done, on a runtime of its own, and neither panics nor ends the process.
#[must_use]
pub fn main_with(args: Vec<String>) -> i32 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            complain(error.message());
            FAILED
        }
    }
}

fn run(cli: &Cli) -> Result<i32> {
    log::start(match &cli.command {
        Command::Serve(args) => args.log,
        Command::Copy(args) => args.log,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("norikv")
        .enable_all()
        .build()
        .map_err(|error| Error::internal(format!("cannot start threads: {error}")).caused_by(error))?;
    let done = runtime.block_on(async {
        match &cli.command {
            Command::Serve(args) => serve(args).await.map(|()| 0),
            Command::Copy(args) => copy(args).await,
        }
    });
    // After a second signal something may still hang; the caller's exit is not to wait for it.
    runtime.shutdown_timeout(RUNTIME_GRACE);
    done
}

fn refuse(error: &clap::Error) -> i32 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = write!(io::stdout(), "{error}");
            0
        }
        _ => {
            // The first paragraph says what is wrong; the rest is a tutorial.
            let text = shown(error);
            let first = text.split("\n\n").next().unwrap_or(&text);
            let line = first.trim_start_matches("error:").split_whitespace().collect::<Vec<_>>().join(" ");
            complain(&format!("{line}; see norikv --help, norikv serve --help and norikv copy --help"));
            MISUSED
        }
    }
}

/// What is wrong, without the passwords that addresses may have. An address may also stand where none belongs: as one argument too
/// many, or as the command.
fn shown(error: &clap::Error) -> String {
    let mut text = error.to_string();
    let mut mask = |said: &str| text = text.replace(said, &without_password(said));
    for (_, said) in error.context() {
        match said {
            ContextValue::String(said) => mask(said),
            ContextValue::Strings(said) => said.iter().for_each(|said| mask(said)),
            _ => {}
        }
    }
    text
}

/// One line to stderr. If that is closed, there is nobody to tell.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "norikv: {message}");
}
