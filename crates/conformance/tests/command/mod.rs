//! The `norikv` command as its users run it, and as a system may treat it.
#![allow(dead_code)] // Each test file is a crate of its own and uses some of it.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// `norikv serve` on a free port. Killed when it is dropped.
pub(crate) struct Norikv {
    child: Child,
    address: SocketAddr,
}

impl Norikv {
    /// Serves a store, and waits until it says that it does.
    pub(crate) fn serve(store: &str, args: &[&str]) -> Self {
        Self::try_serve_within("", store, args).unwrap()
    }

    /// The same in a shell that has set limits first. Answers what it said if it does not serve.
    pub(crate) fn try_serve_within(limits: &str, store: &str, args: &[&str]) -> Result<Self, String> {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limits} exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_norikv-under-test")])
            .args(["serve", "--listen", "127.0.0.1:0", "--store", store])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.trim_end().rsplit_once(" on ").and_then(|(_, address)| address.parse().ok()) {
            Some(address) => Ok(Self { child, address }),
            None => {
                let mut stderr = String::new();
                child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
                child.wait().unwrap();
                Err(stderr)
            }
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on no file may have more bytes. What was written beyond stays; the write that goes there fails in its
    /// middle, as on a disk that is full.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_files_to(&self, bytes: u64) {
        use rustix::process::{Resource, Rlimit, prlimit};
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    /// `kill -9`, whatever it does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and answers its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Norikv {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address of the store in a directory.
pub(crate) fn file(directory: &Path) -> String {
    format!("file:{}", directory.display())
}
