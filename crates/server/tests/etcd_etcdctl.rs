//! etcd's own command, on our server: what it does to an etcd, it does to a store in memory and to one on disk.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

use std::{
    net::SocketAddr,
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use norikv_core::StoreRef;
use norikv_embedded::{EmbeddedStore, Settings};
use norikv_server::{Server, ServerSettings};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

struct World {
    address: SocketAddr,
    server: Server,
    store: StoreRef,
    _directory: TempDir,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Memory,
    File,
}

impl World {
    async fn new(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store: StoreRef = match kind {
            Kind::Memory => Arc::new(EmbeddedStore::memory(Settings::default()).unwrap()),
            Kind::File => {
                Arc::new(EmbeddedStore::open(&directory.path().join("data"), Settings::default()).unwrap())
            }
        };
        let settings = ServerSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            etcd_api: true,
            ..ServerSettings::default()
        };
        let server = Server::start(store.clone(), settings).await.unwrap();
        Self { address: server.local_addr(), server, store, _directory: directory }
    }

    async fn close(self) {
        self.server.shutdown(SOON).await.unwrap();
        self.store.close().await.unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.address.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let output = timeout(SOON, self.command(arguments).output()).await;
        output
            .unwrap_or_else(|_| panic!("{arguments:?} does not end"))
            .expect("this test needs etcdctl on the PATH (Debian, Ubuntu: apt-get install -y etcd-client)")
    }

    /// What a command that succeeds writes, line by line.
    async fn lines(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.run(arguments).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Why a command failed.
    async fn failure(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    async fn with_input(&self, arguments: &[&str], input: &str) -> Vec<String> {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// A command that goes on.
    fn running(&self, arguments: &[&str]) -> Running {
        let mut child = self.command(arguments).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }
}

struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    async fn line(&mut self) -> String {
        timeout(SOON, self.lines.next_line()).await.expect("a line").unwrap().expect("not the end")
    }

    async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..count {
            lines.push(self.line().await);
        }
        lines
    }

    /// Ends it as Ctrl-C does.
    async fn interrupt(mut self) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        let process = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
        timeout(SOON, self.child.wait()).await.expect("it ends").unwrap();
    }
}

macro_rules! on_both {
    ($($name:ident)+) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::World::new(super::Kind::Memory).await).await;
            })+
        }
        mod file {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::World::new(super::Kind::File).await).await;
            })+
        }
    };
}

on_both! {
    put_get_and_del_do_what_they_say
    get_takes_prefixes_ranges_limits_orders_and_revisions
    txn_takes_the_branch_that_its_compares_choose
    watch_tells_every_change_also_from_a_revision_on
    a_watch_tells_how_far_it_is_when_it_is_asked
    leases_are_granted_kept_alive_listed_and_revoked
    a_lock_is_held_by_one_command_at_a_time
    an_election_has_one_leader_and_the_next_follows
    compaction_forgets_and_says_so
    the_member_says_how_it_is
    what_is_not_here_is_refused_and_says_so
    what_is_too_large_is_refused_in_etcds_words
}

async fn put_get_and_del_do_what_they_say(world: World) {
    assert_eq!(world.lines(&["put", "a", "1"]).await, ["OK"]);
    assert_eq!(world.lines(&["put", "a", "2", "--prev-kv"]).await, ["OK", "a", "1"]);
    assert_eq!(world.lines(&["get", "a"]).await, ["a", "2"]);
    assert_eq!(world.lines(&["get", "a", "--print-value-only"]).await, ["2"]);
    assert_eq!(world.lines(&["put", "a", "--ignore-value"]).await, ["OK"]);
    assert_eq!(world.lines(&["get", "a"]).await, ["a", "2"]);
    assert!(world.failure(&["put", "b", "--ignore-value"]).await.contains("etcdserver: key not found"));
    assert_eq!(world.lines(&["del", "a", "--prev-kv"]).await, ["1", "a", "2"]);
    assert_eq!(world.lines(&["del", "a"]).await, ["0"]);
    assert!(world.lines(&["get", "a"]).await.is_empty());
    for key in ["p/1", "p/2", "p/3", "q"] {
        world.lines(&["put", key, "v"]).await;
    }
    assert_eq!(world.lines(&["del", "p/", "--prefix"]).await, ["3"]);
    assert_eq!(world.lines(&["del", "", "--from-key"]).await, ["1"]);
    let json = world.lines(&["get", "q", "-w", "json"]).await.concat();
    assert!(json.contains("\"revision\":11") && json.contains("\"raft_term\":1"), "{json}");
    world.close().await;
}

async fn get_takes_prefixes_ranges_limits_orders_and_revisions(world: World) {
    for (key, value) in [("k/a", "3"), ("k/b", "1"), ("k/c", "2"), ("l", "9")] {
        world.lines(&["put", key, value]).await;
    }
    world.lines(&["put", "k/a", "0"]).await;
    let keys = async |more: &[&str]| {
        let lines = world.lines(&[&["get", "--keys-only"], more].concat()).await;
        lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&["k/", "--prefix"]).await, ["k/a", "k/b", "k/c"]);
    assert_eq!(keys(&["", "--prefix"]).await, ["k/a", "k/b", "k/c", "l"]);
    assert_eq!(keys(&["k/b", "l"]).await, ["k/b", "k/c"]);
    assert_eq!(keys(&["k/c", "--from-key"]).await, ["k/c", "l"]);
    assert_eq!(keys(&["k/", "--prefix", "--limit", "2"]).await, ["k/a", "k/b"]);
    let sorted = async |by, order| keys(&["k/", "--prefix", "--sort-by", by, "--order", order]).await;
    assert_eq!(sorted("KEY", "DESCEND").await, ["k/c", "k/b", "k/a"]);
    assert_eq!(sorted("MODIFY", "ASCEND").await, ["k/b", "k/c", "k/a"]);
    assert_eq!(sorted("CREATE", "DESCEND").await, ["k/c", "k/b", "k/a"]);
    assert_eq!(sorted("VERSION", "DESCEND").await, ["k/a", "k/b", "k/c"]);
    let by_value = ["get", "k/", "--prefix", "--sort-by", "VALUE", "--order", "ASCEND", "--print-value-only"];
    assert_eq!(world.lines(&by_value).await, ["0", "1", "2"]);
    assert_eq!(world.lines(&["get", "k/a", "--rev", "2"]).await, ["k/a", "3"]);
    assert!(
        world
            .failure(&["get", "k/a", "--rev", "99"])
            .await
            .contains("required revision is a future revision")
    );
    world.close().await;
}

async fn txn_takes_the_branch_that_its_compares_choose(world: World) {
    world.lines(&["put", "flag", "on"]).await;
    let txn =
        "value(\"flag\") = \"on\"\ncreate(\"flag\") > \"0\"\n\nput flag off\nget flag\n\nput flag on\n\n";
    let lines = world.with_input(&["txn"], txn).await;
    assert_eq!(lines[0], "SUCCESS");
    assert_eq!(lines[lines.len() - 2..], ["flag", "off"], "{lines:?}");
    let lines = world.with_input(&["txn"], txn).await;
    assert_eq!(lines[0], "FAILURE");
    assert_eq!(world.lines(&["get", "flag"]).await, ["flag", "on"]);
    let txn = "mod(\"missing\") = \"0\"\nver(\"flag\") = \"3\"\n\ndel flag\nput other 1\n\n\n";
    assert_eq!(world.with_input(&["txn"], txn).await[0], "SUCCESS");
    assert!(world.lines(&["get", "flag"]).await.is_empty());
    let twice = world.command(&["txn"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut twice = twice;
    twice.stdin.take().unwrap().write_all(b"\nput a 1\nput a 2\n\n\n").await.unwrap();
    let output = timeout(SOON, twice.wait_with_output()).await.unwrap().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("etcdserver: duplicate key given in txn request"), "{error}");
    world.close().await;
}

async fn watch_tells_every_change_also_from_a_revision_on(world: World) {
    world.lines(&["put", "w/a", "1"]).await;
    let mut watch = world.running(&["watch", "w/", "--prefix", "--prev-kv", "--rev", "2"]);
    assert_eq!(watch.lines(3).await, ["PUT", "w/a", "1"]);
    world.lines(&["put", "w/a", "2"]).await;
    assert_eq!(watch.lines(5).await, ["PUT", "w/a", "1", "w/a", "2"]);
    world.lines(&["put", "x", "not watched"]).await;
    world.lines(&["del", "w/a"]).await;
    assert_eq!(watch.lines(5).await, ["DELETE", "w/a", "2", "w/a", ""]);
    watch.interrupt().await;
    // Revisions that are yet to come are waited for: the next is 6.
    let mut watch = world.running(&["watch", "w/", "--prefix", "--rev", "8"]);
    for value in ["6", "7", "8"] {
        world.lines(&["put", "w/b", value]).await;
    }
    assert_eq!(watch.lines(3).await, ["PUT", "w/b", "8"]);
    watch.interrupt().await;
    world.close().await;
}

async fn a_watch_tells_how_far_it_is_when_it_is_asked(world: World) {
    let mut command = world.command(&["watch", "--interactive"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = command.stdin.take().unwrap();
    let mut lines = BufReader::new(command.stdout.take().unwrap()).lines();
    input.write_all(b"watch p\n").await.unwrap();
    world.lines(&["put", "elsewhere", "1"]).await;
    input.write_all(b"progress\n").await.unwrap();
    let line = timeout(SOON, lines.next_line()).await.expect("progress").unwrap().unwrap();
    assert_eq!(line, "progress notify: 2");
    world.close().await;
}

async fn leases_are_granted_kept_alive_listed_and_revoked(world: World) {
    let granted = world.lines(&["lease", "grant", "60"]).await.concat();
    let id = granted.split_whitespace().nth(1).unwrap().to_owned();
    assert!(granted.ends_with("granted with TTL(60s)"), "{granted}");
    world.lines(&["put", "l/a", "1", "--lease", &id]).await;
    assert_eq!(world.lines(&["lease", "list"]).await, ["found 1 leases", id.as_str()]);
    let left = world.lines(&["lease", "timetolive", &id, "--keys"]).await.concat();
    assert!(left.contains("granted with TTL(60s)") && left.contains("attached keys([l/a])"), "{left}");
    let kept = world.lines(&["lease", "keep-alive", "--once", &id]).await.concat();
    assert!(kept.ends_with("keepalived with TTL(60)"), "{kept}");
    assert_eq!(world.lines(&["lease", "revoke", &id]).await.concat(), format!("lease {id} revoked"));
    assert!(world.lines(&["get", "l/a"]).await.is_empty());
    let gone = world.lines(&["lease", "timetolive", &id]).await.concat();
    assert_eq!(gone, format!("lease {id} already expired"));
    let error = world.failure(&["put", "l/a", "1", "--lease", &id]).await;
    assert!(error.contains("etcdserver: requested lease not found"), "{error}");
    let error = world.failure(&["lease", "revoke", &id]).await;
    assert!(error.contains("etcdserver: requested lease not found"), "{error}");
    let error = world.failure(&["lease", "grant", "400000000"]).await;
    assert!(error.contains("etcdserver: too large lease TTL"), "{error}");
    // One that nobody keeps alive takes its keys with it.
    let granted = world.lines(&["lease", "grant", "1"]).await.concat();
    let id = granted.split_whitespace().nth(1).unwrap().to_owned();
    let mut watch = world.running(&["watch", "l/b"]);
    world.lines(&["put", "l/b", "1", "--lease", &id]).await;
    // The watch may have begun after the put.
    let mut told = watch.line().await;
    while told != "DELETE" {
        told = watch.line().await;
    }
    watch.interrupt().await;
    world.close().await;
}

async fn a_lock_is_held_by_one_command_at_a_time(world: World) {
    let mut first = world.running(&["lock", "mutex"]);
    let held = first.line().await;
    assert!(held.starts_with("mutex/"), "{held}");
    // Runs its command once it has the lock.
    let mut second = world.running(&["lock", "mutex", "--", "echo", "mine"]);
    let mut keys = Vec::new();
    while keys.len() < 2 {
        keys = world.lines(&["get", "mutex/", "--prefix", "--keys-only"]).await;
        keys.retain(|line| !line.is_empty());
    }
    assert!(timeout(Duration::from_millis(300), second.lines.next_line()).await.is_err(), "it waits");
    first.interrupt().await;
    assert_eq!(second.line().await, "mine");
    assert!(timeout(SOON, second.child.wait()).await.unwrap().unwrap().success());
    assert!(world.lines(&["get", "mutex/", "--prefix"]).await.is_empty());
    world.close().await;
}

async fn an_election_has_one_leader_and_the_next_follows(world: World) {
    let mut one = world.running(&["elect", "chief", "one"]);
    let elected = one.lines(2).await;
    assert_eq!(elected[1], "one");
    let mut other = world.running(&["elect", "chief", "other"]);
    let mut observer = world.running(&["elect", "chief", "-l"]);
    assert_eq!(observer.lines(2).await, elected);
    one.interrupt().await;
    let next = other.lines(2).await;
    assert_eq!(next[1], "other");
    assert_eq!(observer.lines(2).await, next);
    other.interrupt().await;
    observer.interrupt().await;
    world.close().await;
}

async fn compaction_forgets_and_says_so(world: World) {
    for value in ["1", "2", "3"] {
        world.lines(&["put", "c", value]).await;
    }
    assert_eq!(world.lines(&["compaction", "3"]).await, ["compacted revision 3"]);
    let error = world.failure(&["get", "c", "--rev", "2"]).await;
    assert!(error.contains("etcdserver: mvcc: required revision has been compacted"), "{error}");
    assert_eq!(world.lines(&["get", "c", "--rev", "3"]).await, ["c", "2"]);
    let error = world.failure(&["compaction", "3"]).await;
    assert!(error.contains("required revision has been compacted"), "{error}");
    let error = world.failure(&["compaction", "99"]).await;
    assert!(error.contains("required revision is a future revision"), "{error}");
    // A watch of what is gone ends, and says what is left.
    let output = world.run(&["watch", "c", "--rev", "2"]).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("required revision has been compacted"), "{text}");
    world.close().await;
}

async fn the_member_says_how_it_is(world: World) {
    world.lines(&["put", "a", "1"]).await;
    let status = world.lines(&["endpoint", "status", "-w", "json"]).await.concat();
    assert!(status.contains("\"revision\":2") && status.contains("\"version\":\"3.4.0\""), "{status}");
    let health = world.run(&["endpoint", "health"]).await;
    assert!(health.status.success(), "{health:?}");
    let members = world.lines(&["member", "list"]).await.concat();
    assert!(
        members.contains(&format!("http://{}", world.address)) && members.contains("node-1"),
        "{members}"
    );
    world.close().await;
}

async fn what_is_not_here_is_refused_and_says_so(world: World) {
    for command in [
        &["user", "list"][..],
        &["role", "add", "r"],
        &["alarm", "list"],
        &["defrag"],
        &["member", "add", "m", "--peer-urls", "http://127.0.0.1:1"],
        &["endpoint", "hashkv"],
    ] {
        let error = world.failure(command).await;
        assert!(
            error.contains("Unimplemented") && error.contains("is not among what"),
            "{command:?}: {error}"
        );
    }
    world.close().await;
}

async fn what_is_too_large_is_refused_in_etcds_words(world: World) {
    let error = world.failure(&["put", &"k".repeat(1_025), "1"]).await;
    assert!(error.contains("etcdserver: request is too large"), "{error}");
    assert!(world.lines(&["get", &"k".repeat(1_025)]).await.is_empty());
    assert!(world.lines(&["get", &"k".repeat(2_000), "--prefix"]).await.is_empty());
    for bytes in [1024 * 1024 + 1, 9 * 1024 * 1024] {
        let mut put = world.command(&["put", "large"]).stdin(Stdio::piped()).spawn().unwrap();
        put.stdin.take().unwrap().write_all(&vec![b'v'; bytes]).await.unwrap();
        let output = timeout(SOON, put.wait_with_output()).await.unwrap().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.contains("etcdserver: request is too large") || error.contains("larger than max"),
            "{error}"
        );
    }
    world.close().await;
}

/// The rate of a small load, which etcd's own command judges. It takes a minute for each store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_perf_passes_its_small_load() {
    if std::env::var_os("NORIKV_LONG").is_none() {
        return;
    }
    for kind in [Kind::Memory, Kind::File] {
        let world = World::new(kind).await;
        let check = world.command(&["check", "perf"]).output();
        let output = timeout(Duration::from_secs(180), check).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let verdict: Vec<_> =
            text.lines().filter(|line| line.contains("PASS") || line.contains("FAIL")).collect();
        assert!(output.status.success(), "{kind:?}: {verdict:?}");
        println!("{kind:?}: {verdict:?}");
        world.close().await;
    }
}
