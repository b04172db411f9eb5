use std::{
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// A program that ends with whoever started it, also if that is killed: a shell between both reads from it, and kills
/// the program when there is nothing to read any more.
pub(crate) struct Process {
    shell: Child,
    /// What the shell reads from.
    held: Option<ChildStdin>,
    pid: Pid,
    paused: bool,
}

const SHELL: &str =
    r#""$0" "$@" </dev/null >>"$LOG" 2>&1 & echo $!; read held; kill -9 $! 2>/dev/null; wait"#;

impl Process {
    /// Starts it. What it says is added to a file.
    pub(crate) fn start(program: &str, arguments: &[String], log: &Path) -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SHELL, program])
            .args(arguments)
            .env("LOG", log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let held = shell.stdin.take();
        let mut line = String::new();
        if let Some(said) = shell.stdout.take() {
            BufReader::new(said).read_line(&mut line)?;
        }
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the shell did not say what it started"))?;
        Ok(Self { shell, held, pid, paused: false })
    }

    pub(crate) const fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub(crate) fn pause(&mut self) {
        self.paused = kill_process(self.pid, Signal::STOP).is_ok();
    }

    pub(crate) fn resume(&mut self) {
        let _ = kill_process(self.pid, Signal::CONT);
        self.paused = false;
    }

    pub(crate) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether the program is no more.
    pub(crate) fn has_ended(&self) -> bool {
        test_kill_process(self.pid).is_err()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
        // The shell reaps it, and ends.
        self.held.take();
        let _ = self.shell.wait();
    }
}
