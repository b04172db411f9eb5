//! A running `norikv copy`, an etcd, and stores to look into.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use norikv_client::RemoteStore;
use norikv_core::{Call, KeyRange, Scan, Store, StoreRef, Version};
use norikv_embedded::{EmbeddedStore, Settings};
use norikv_etcd::{EtcdSettings, EtcdStore};
use rustix::process::{Pid, Signal, kill_process};

/// Long enough for anything that works.
const SOON: Duration = Duration::from_secs(60);

/// How often what takes its time is repeated: the first number, or the second with `NORIKV_LONG=1`.
pub(crate) fn times(short: u32, long: u32) -> u32 {
    if std::env::var_os("NORIKV_LONG").is_some_and(|value| value == "1") { long } else { short }
}

/// A `norikv copy` under way. Killed when it is dropped.
pub(crate) struct Copying {
    child: Child,
    lines: mpsc::Receiver<String>,
    stdout: Vec<String>,
    stderr: Option<JoinHandle<String>>,
}

/// How a copy ended.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Copied {
    pub(crate) fn assert_equal(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert!(self.stdout.contains("equal at version ") && !self.stdout.contains("not equal"), "{self:?}");
        self
    }

    pub(crate) fn assert_failed(&self, code: i32, about: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for about in about {
            assert!(self.stderr.contains(about) || self.stdout.contains(about), "{about}: {self:?}");
        }
        self
    }
}

impl Copying {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_norikv"))
            .arg("copy")
            .args(args)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if told.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self { child, lines, stdout: Vec::new(), stderr: Some(stderr) }
    }

    /// Waits for a line that begins so, and answers what is behind.
    pub(crate) fn line(&mut self, begins: &str) -> String {
        let by = Instant::now() + SOON;
        loop {
            let Ok(line) = self.lines.recv_timeout(by.saturating_duration_since(Instant::now())) else {
                let _ = self.child.kill();
                panic!(
                    "it did not say {begins:?} but {:?} {:?}",
                    self.stdout,
                    self.stderr.take().unwrap().join()
                );
            };
            self.stdout.push(line.clone());
            if let Some(rest) = line.strip_prefix(begins) {
                return rest.to_owned();
            }
        }
    }

    /// Waits until the target has everything up to a version.
    pub(crate) fn caught_up(&mut self, version: Version) {
        loop {
            let at: Version = self.line("caught up at version ").parse().unwrap();
            if at >= version {
                return;
            }
        }
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it, as a crash does. Answers whether it was still at work.
    pub(crate) fn kill(mut self) -> bool {
        let working = self.child.try_wait().unwrap().is_none();
        let _ = self.child.kill();
        self.child.wait().unwrap();
        working
    }

    pub(crate) fn end(mut self) -> Copied {
        let begun = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(begun.elapsed() < SOON, "the copy did not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        self.stdout.extend(self.lines.iter());
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Copied { code, stdout: self.stdout.join("\n"), stderr }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies to the end.
pub(crate) fn copy(args: &[&str]) -> Copied {
    Copying::start(args).end()
}

/// An etcd of one member in a directory of its own. Killed when it is dropped.
pub(crate) struct Etcd {
    child: Child,
    pub(crate) address: String,
    _directory: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Etcd {
    /// Starts one, and waits until it answers.
    pub(crate) async fn start() -> Self {
        // Between asking for a free port and etcd taking it, another may.
        for _ in 0..5 {
            let (client, peer) = (free_port(), free_port());
            let peer = format!("http://127.0.0.1:{peer}");
            if let Some(etcd) = Self::try_start(client, &peer, &peer).await {
                return etcd;
            }
        }
        panic!("etcd does not begin to serve");
    }

    /// Starts one whose id is that of any other that is started so, as with etcd's own defaults.
    pub(crate) async fn start_by_default() -> Self {
        for _ in 0..5 {
            let (client, peer) = (free_port(), free_port());
            let listens = format!("http://127.0.0.1:{peer}");
            if let Some(etcd) = Self::try_start(client, &listens, "http://localhost:2380").await {
                return etcd;
            }
        }
        panic!("etcd does not begin to serve");
    }

    /// Its address under another name.
    pub(crate) fn by_name(&self) -> String {
        self.address.replace("127.0.0.1", "localhost")
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    async fn try_start(client: u16, listens: &str, peer: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("http://127.0.0.1:{client}");
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(directory.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", listens, "--initial-advertise-peer-urls", peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("this test needs etcd on the PATH (Debian, Ubuntu: apt-get install -y etcd-server): {error}")
            });
        let mut etcd = Self { child, address: format!("etcd://127.0.0.1:{client}"), _directory: directory };
        let begun = Instant::now();
        let store = etcd.store();
        while etcd.child.try_wait().unwrap().is_none() {
            if store.connect(Call::with_timeout(Duration::from_secs(1))).await.is_ok() {
                return Some(etcd);
            }
            assert!(begun.elapsed() < SOON, "etcd does not answer");
        }
        None
    }

    pub(crate) fn store(&self) -> StoreRef {
        Arc::new(EtcdStore::new(EtcdSettings::parse(&self.address).unwrap()).unwrap())
    }
}

/// The store of a server.
pub(crate) fn served(address: &str) -> StoreRef {
    let settings = norikv_client::Settings::for_nodes(vec![address.parse().unwrap()]);
    Arc::new(RemoteStore::http2(settings).unwrap())
}

/// The store in a directory.
pub(crate) fn opened(directory: &Path) -> EmbeddedStore {
    EmbeddedStore::open(directory, Settings::default()).unwrap()
}

/// What a store has: each key with its value, and whether it expires. Without what belongs to leases.
pub(crate) async fn contents(store: &dyn Store) -> BTreeMap<Bytes, (Bytes, bool)> {
    let mut all = BTreeMap::new();
    let mut next = Some(Scan::new(KeyRange::all()));
    while let Some(scan) = next {
        let page = store.scan(scan.clone(), Call::default()).await.unwrap();
        next = scan.next(&page);
        let entries = page.entries.into_iter().filter(|entry| entry.lease.is_none());
        all.extend(entries.map(|entry| (entry.key, (entry.value, entry.expires_at.is_some()))));
    }
    all
}

/// Whether two stores have the same, said so that a difference can be read.
pub(crate) async fn assert_same(from: &dyn Store, to: &dyn Store) {
    let (from, to) = (contents(from).await, contents(to).await);
    let missing: Vec<_> = from.iter().filter(|(key, value)| to.get(*key) != Some(*value)).take(5).collect();
    let extra: Vec<_> = to.iter().filter(|(key, _)| !from.contains_key(*key)).take(5).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}; extra {extra:?}");
    assert_eq!(from.len(), to.len());
}
