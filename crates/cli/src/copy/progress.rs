use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line tells how far it is, where nobody looks at a bar.
const EVERY: Duration = Duration::from_secs(5);
/// The longest part of a key that is shown.
const SHOWN: usize = 100;

/// Tells on stderr how far it is: with a bar if that is a terminal, and with lines if not. What scripts may read goes to stdout.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    lines: Mutex<Lines>,
}

struct Lines {
    phase: &'static str,
    done: u64,
    total: Option<u64>,
    told: Instant,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(ProgressBar::no_length);
        let lines = Lines { phase: "", done: 0, total: None, told: Instant::now() };
        Self { bar, quiet, lines: Mutex::new(lines) }
    }

    /// A new phase begins, of so many keys if that is known.
    pub(crate) fn phase(&self, phase: &'static str, total: Option<u64>) {
        if let Some(bar) = &self.bar {
            let template = if total.is_some() {
                "{msg} [{bar:30}] {human_pos} of {human_len} keys, {per_sec}, {eta} left"
            } else {
                "{spinner} {msg}: {human_pos} changes, {elapsed}"
            };
            // The templates are right: a wrong one would be seen by whoever wrote it.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.reset();
            match total {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
            bar.set_message(phase);
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        (lines.phase, lines.done, lines.total) = (phase, 0, total);
    }

    /// So many more keys are done.
    pub(crate) fn step(&self, keys: u64) {
        if let Some(bar) = &self.bar {
            // There may be more by now than there were when they were counted.
            bar.inc(keys);
            if bar.length().is_some_and(|length| length < bar.position()) {
                bar.set_length(bar.position());
            }
            return;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.done += keys;
        if self.quiet || lines.told.elapsed() < EVERY {
            return;
        }
        lines.told = Instant::now();
        let line = match lines.total {
            Some(total) => format!("{}: {} of about {} keys", lines.phase, lines.done, total.max(lines.done)),
            None => format!("{}: {} changes", lines.phase, lines.done),
        };
        drop(lines);
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// A line for people.
    pub(crate) fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| writeln!(io::stderr(), "{line}")).unwrap_or_default(),
            None if self.quiet => {}
            None => {
                let _ = writeln!(io::stderr(), "{line}");
            }
        }
    }

    /// A line that is a result.
    pub(crate) fn say(&self, line: &str) {
        let write = || {
            let mut out = io::stdout().lock();
            // Nobody may be reading.
            let _ = writeln!(out, "{line}");
            let _ = out.flush();
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A key for people: what is no printable character is escaped, and a long one is cut.
pub(crate) fn shown(key: &[u8]) -> String {
    let cut = key.get(..SHOWN).unwrap_or(key);
    let mut text = format!("\"{}\"", cut.escape_ascii());
    if cut.len() < key.len() {
        let _ = write!(text, "… ({} bytes)", key.len());
    }
    text
}

/// A number with its thousands apart.
pub(crate) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", indicatif::HumanCount(number))
}

/// A number of bytes for people.
pub(crate) fn bytes(number: u64) -> String {
    indicatif::HumanBytes(number).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_as_text_and_cut() {
        assert_eq!(shown(b"a\0\xff\""), r#""a\x00\xff\"""#);
        assert!(shown(&[b'k'; 1_024]).ends_with("… (1024 bytes)"));
        assert_eq!((count(1, "key"), count(1_234, "key")), ("1 key".to_owned(), "1,234 keys".to_owned()));
    }
}
