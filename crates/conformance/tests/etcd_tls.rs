//! A store on an etcd cluster that speaks TLS and has users.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

#[path = "../../tls/tests/certificates/mod.rs"]
mod certificates;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use certificates::{Authority, Pair, self_signed};
use etcd_client::{Client, ConnectOptions, Permission, PermissionType};
use futures_util::StreamExt as _;
use norikv_client::{RemoteStore, Settings};
use norikv_core::{
    Call, Consistency, Error, ErrorKind, FieldName, Get, KeyRange, Put, Result, Scan, Store, Watch,
    WatchBatch, Watching,
};
use norikv_etcd::{EtcdOptions, EtcdSettings, EtcdStore};
use norikv_tls::ClientTls;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const HOST: &[&str] = &["127.0.0.1", "localhost"];
const SOON: Duration = Duration::from_secs(30);
/// What fails for good fails at once: less than a retry with backoff would take.
const AT_ONCE: Duration = Duration::from_millis(1_500);

/// An etcd of one member. Killed when it is dropped.
struct Etcd {
    child: Option<Child>,
    flags: Vec<String>,
    /// Where its clients come to, with TLS or without.
    endpoint: String,
    /// A second port, of plain text, for who arranges the test.
    plain: String,
    directory: TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free() -> String {
    format!("127.0.0.1:{}", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port())
}

impl Etcd {
    /// One whose clients come without TLS.
    async fn plain(flags: &[&str]) -> Self {
        Self::start("http", flags.iter().map(ToString::to_string).collect(), tempfile::tempdir().unwrap())
            .await
    }

    /// One that has a certificate, and asks for one of this authority.
    async fn encrypted(pair: &Pair, clients: Option<&Authority>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let mut flags = vec![
            format!("--cert-file={}", file("server.crt", &pair.certificate)),
            format!("--key-file={}", file("server.key", &pair.key)),
        ];
        if let Some(clients) = clients {
            flags.push(format!("--trusted-ca-file={}", file("clients.crt", &clients.certificate)));
            flags.push("--client-cert-auth".to_owned());
        }
        Self::start("https", flags, directory).await
    }

    async fn start(scheme: &str, flags: Vec<String>, directory: TempDir) -> Self {
        // Between asking for a free port and etcd taking it, another may.
        let mut etcd =
            Self { child: None, flags: Vec::new(), endpoint: String::new(), plain: String::new(), directory };
        for _ in 0..5 {
            (etcd.endpoint, etcd.plain) = (free(), free());
            let urls = format!("{scheme}://{},http://{}", etcd.endpoint, etcd.plain);
            let peer = format!("http://{}", free());
            let data = etcd.directory.path().join("data").display().to_string();
            etcd.flags = [
                flags.clone(),
                vec![
                    format!("--data-dir={data}"),
                    format!("--listen-client-urls={urls}"),
                    format!("--advertise-client-urls={urls}"),
                    format!("--listen-peer-urls={peer}"),
                    format!("--initial-advertise-peer-urls={peer}"),
                    format!("--initial-cluster=default={peer}"),
                    "--log-level=error".to_owned(),
                    // Passwords are checked often here.
                    "--bcrypt-cost=4".to_owned(),
                ],
            ]
            .concat();
            if etcd.begin().await {
                return etcd;
            }
        }
        panic!("etcd does not begin to serve");
    }

    /// Starts it, or starts it again, and waits until it answers.
    async fn begin(&mut self) -> bool {
        let child = Command::new("etcd")
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs etcd on the PATH (Debian, Ubuntu: apt-get install -y etcd-server)");
        let child = self.child.insert(child);
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if let Ok(client) = Client::connect([&self.plain], None).await
                && timeout(Duration::from_secs(1), client.maintenance_client().status())
                    .await
                    .is_ok_and(|status| status.is_ok_and(|status| status.leader() != 0))
            {
                return true;
            }
            assert!(begun.elapsed() < SOON, "etcd does not answer");
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    async fn root(&self) -> Client {
        let options = ConnectOptions::new().with_user("root", "root's");
        Client::connect([&self.plain], Some(options)).await.unwrap()
    }

    /// Asks everybody who they are from now on: root, and a user who may do anything under `app/`.
    async fn with_users(&self) {
        let client = Client::connect([&self.plain], None).await.unwrap();
        let mut auth = client.auth_client();
        auth.user_add("root", "root's", None).await.unwrap();
        auth.role_add("root").await.unwrap();
        auth.user_grant_role("root", "root").await.unwrap();
        auth.role_add("app").await.unwrap();
        let all = Permission::new(PermissionType::Readwrite, "app/").with_range_end("app0");
        auth.role_grant_permission("app", all).await.unwrap();
        auth.user_add("app", "p@ss:word", None).await.unwrap();
        auth.user_grant_role("app", "app").await.unwrap();
        auth.auth_enable().await.unwrap();
    }

    fn store(&self, tls: Option<ClientTls>) -> EtcdStore {
        let scheme = if tls.is_some() { "etcds" } else { "etcd" };
        let settings = EtcdSettings::parse(&format!("{scheme}://{}", self.endpoint)).unwrap();
        EtcdStore::new(settings.with(EtcdOptions { tls, ..EtcdOptions::default() }).unwrap()).unwrap()
    }

    fn store_of(&self, user: &str, password: &str, prefix: &str) -> EtcdStore {
        let options = EtcdOptions {
            user: Some(user.to_owned()),
            password: Some(password.to_owned()),
            prefix: Some(prefix.as_bytes().to_vec()),
            tls: None,
        };
        let settings = EtcdSettings::parse(&format!("etcd://{}", self.endpoint)).unwrap();
        EtcdStore::new(settings.with(options).unwrap()).unwrap()
    }
}

fn get(key: &str) -> Get {
    Get { key: key.to_owned().into(), consistency: Consistency::Linearizable }
}

async fn value(store: &impl Store, key: &str) -> Option<String> {
    let entry = store.get(get(key), Call::default()).await.unwrap();
    entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

async fn put(store: &impl Store, key: &str, value: &str) -> Result<()> {
    store.put(Put::new(key.to_owned(), value.to_owned()), Call::default()).await.map(|_| ())
}

async fn next(watching: &mut Watching) -> WatchBatch {
    timeout(SOON, watching.batches.next()).await.expect("the watch says nothing").unwrap().unwrap()
}

/// The error of what cannot come to anything: at once, also for a write, which has not left.
async fn fails(store: &EtcdStore, kind: ErrorKind, what: &str) -> Error {
    let begun = Instant::now();
    let error = store.connect(Call::default()).await.unwrap_err();
    let write = put(store, "a", "1").await.unwrap_err();
    assert!(begun.elapsed() < AT_ONCE, "{error} after {:?}", begun.elapsed());
    for error in [&error, &write] {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(what), "{what}: {error}");
        assert_eq!(error.field(FieldName::Outcome), None, "{error}");
        assert!(error.field(FieldName::Address).is_some(), "{error:?}");
    }
    error
}

#[tokio::test]
async fn a_cluster_is_reached_with_tls_and_what_is_wrong_with_a_certificate_is_said() {
    let (authority, other) = (Authority::new(), Authority::new());
    let cases: Vec<(Pair, &str)> = vec![
        (authority.expired(HOST), "expired on 2020-02-01"),
        (other.issue(HOST), "unknown authority"),
        (self_signed(HOST), "self-signed"),
        (authority.issue(&["db.example.com"]), "for another host than 127.0.0.1"),
    ];
    for (pair, what) in cases {
        let etcd = Etcd::encrypted(&pair, None).await;
        fails(&etcd.store(Some(authority.client())), ErrorKind::Connection, what).await;
    }
    let etcd = Etcd::encrypted(&authority.issue(HOST), None).await;
    let store = etcd.store(Some(authority.client()));
    let mut watching = store.watch(Watch::new(KeyRange::all()), Call::default()).await.unwrap();
    put(&store, "a", "1").await.unwrap();
    assert_eq!(value(&store, "a").await.as_deref(), Some("1"));
    assert_eq!(next(&mut watching).await.events[0].entry.value, "1");
    // Plain text to a port of TLS. The other way round, etcd hangs up on a handshake without a word, and no more is known.
    fails(&etcd.store(None), ErrorKind::Connection, "this port speaks TLS").await;
    let plain = Etcd::plain(&[]).await;
    let error = plain.store(Some(authority.client())).connect(Call::default()).await.unwrap_err();
    assert!(
        error.message().contains(&plain.endpoint) && error.message().contains("tls handshake"),
        "{error}"
    );
}

#[tokio::test]
async fn a_cluster_asks_for_a_client_certificate_and_judges_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let etcd = Etcd::encrypted(&authority.issue(HOST), Some(&authority)).await;
    let with = |pair: &Pair| Some(ClientTls { identity: Some(pair.identity()), ..authority.client() });
    let store = etcd.store(with(&authority.issue(&["me"])));
    put(&store, "a", "1").await.unwrap();
    assert_eq!(value(&store, "a").await.as_deref(), Some("1"));
    let missing = "asks for a client certificate";
    fails(&etcd.store(Some(authority.client())), ErrorKind::Connection, missing).await;
    for pair in [authority.expired(&["me"]), other.issue(&["me"])] {
        fails(&etcd.store(with(&pair)), ErrorKind::Connection, "refused the client certificate").await;
    }
    // A watch is on a connection of its own.
    let error =
        etcd.store(Some(authority.client())).watch(Watch::new(KeyRange::all()), Call::default()).await;
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Connection);
}

#[tokio::test]
async fn where_every_member_fails_so_each_is_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let expired = Etcd::encrypted(&authority.expired(HOST), None).await;
    let unknown = Etcd::encrypted(&other.issue(HOST), None).await;
    let address = format!("etcds://{},{}", expired.endpoint, unknown.endpoint);
    let options = EtcdOptions { tls: Some(authority.client()), ..EtcdOptions::default() };
    let store = EtcdStore::new(EtcdSettings::parse(&address).unwrap().with(options).unwrap()).unwrap();
    let begun = Instant::now();
    let error = store.connect(Call::default()).await.unwrap_err();
    assert!(begun.elapsed() < AT_ONCE);
    assert_eq!(error.kind(), ErrorKind::NoNodesAvailable);
    for part in [&expired.endpoint, &unknown.endpoint, "expired", "unknown authority"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_user_does_what_it_may_and_is_told_what_it_may_not() {
    let etcd = Etcd::plain(&[]).await;
    // Where nobody is asked for a name, one does no harm.
    put(&etcd.store_of("app", "p@ss:word", "app/"), "before", "1").await.unwrap();
    etcd.with_users().await;
    let error = fails(&etcd.store_of("app", "wrong", "app/"), ErrorKind::Unauthenticated, "\"app\"").await;
    assert!(!error.message().contains("wrong\""), "{error}");
    fails(&etcd.store_of("nobody", "p@ss:word", "app/"), ErrorKind::Unauthenticated, "\"nobody\"").await;
    fails(&etcd.store(None), ErrorKind::Unauthenticated, "asks for a user").await;

    // Under its prefix it may do anything: also what is kept for idempotency keys is there.
    let own = etcd.store_of("app", "p@ss:word", "app/");
    own.connect(Call::default()).await.unwrap();
    let once = || Put { idempotency_key: Some("once".into()), ..Put::new("a", "1") };
    let first = own.put(once(), Call::default()).await.unwrap();
    assert_eq!(own.put(once(), Call::default()).await.unwrap().version, first.version);
    let mut watching = own.watch(Watch::new(KeyRange::all()), Call::default()).await.unwrap();
    put(&own, "b", "2").await.unwrap();
    assert_eq!(next(&mut watching).await.events[0].entry.key, "b");
    let page = own.scan(Scan::new(KeyRange::all()), Call::default()).await.unwrap();
    assert_eq!(page.entries.len(), 3);
    assert_eq!(own.status(Call::default()).await.unwrap().store, "etcd");

    // Beside it, nothing; and that is said, also of a watch.
    let whole = etcd.store_of("app", "p@ss:word", "");
    whole.connect(Call::default()).await.unwrap();
    assert_eq!(value(&whole, "app/b").await.as_deref(), Some("2"));
    for error in [
        put(&whole, "b", "1").await.unwrap_err(),
        whole.get(get("b"), Call::default()).await.unwrap_err(),
        whole.watch(Watch::new(KeyRange::all()), Call::default()).await.err().unwrap(),
        whole.scan(Scan::new(KeyRange::prefix("b")), Call::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    let part = whole.watch(Watch::new(KeyRange::prefix("app/")), Call::default()).await;
    drop(part.unwrap());
    // Gets that travel together do not share what is refused to one.
    let (refused, found) =
        tokio::join!(whole.get(get("b"), Call::default()), whole.get(get("app/b"), Call::default()));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(found.unwrap().unwrap().value, "2");
}

#[tokio::test]
async fn a_permission_that_is_taken_away_ends_the_watch_that_begins_again() {
    let mut etcd = Etcd::plain(&[]).await;
    etcd.with_users().await;
    let store = etcd.store_of("app", "p@ss:word", "app/");
    let mut watching = store.watch(Watch::new(KeyRange::all()), Call::default()).await.unwrap();
    etcd.root().await.auth_client().user_revoke_role("app", "app").await.unwrap();
    etcd.stop();
    assert!(etcd.begin().await);
    let ended = timeout(SOON, watching.batches.next()).await.expect("the watch goes on").unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_token_that_is_lost_or_has_expired_costs_a_call_nothing() {
    // Tokens are gone with the member that gave them, or after a second without use.
    let mut etcd = Etcd::plain(&["--auth-token-ttl=1"]).await;
    etcd.with_users().await;
    let store = etcd.store_of("app", "p@ss:word", "app/");
    let mut watching = store.watch(Watch::new(KeyRange::all()), Call::default()).await.unwrap();
    put(&store, "a", "1").await.unwrap();
    assert_eq!(next(&mut watching).await.events[0].entry.value, "1");
    // etcd looks once a second for tokens whose time is over.
    sleep(Duration::from_millis(2_500)).await;
    put(&store, "a", "2").await.unwrap();
    assert_eq!(next(&mut watching).await.events[0].entry.value, "2");
    etcd.stop();
    assert!(etcd.begin().await);
    // What is written is not repeated, so it must not fail for the token. The lost connection is found out by a read.
    assert_eq!(value(&store, "a").await.as_deref(), Some("2"));
    put(&store, "a", "3").await.unwrap();
    assert_eq!(next(&mut watching).await.events[0].entry.value, "3");
}

#[tokio::test]
async fn a_password_or_a_role_that_changes_meanwhile_is_noticed() {
    let etcd = Etcd::plain(&["--auth-token-ttl=1"]).await;
    etcd.with_users().await;
    let store = etcd.store_of("app", "p@ss:word", "app/");
    put(&store, "a", "1").await.unwrap();
    let root = etcd.root().await;
    let mut auth = root.auth_client();
    let more = Permission::new(PermissionType::Read, "more");
    auth.role_grant_permission("app", more).await.unwrap();
    put(&store, "a", "2").await.unwrap();
    auth.user_change_password("app", "another").await.unwrap();
    let error = timeout(SOON, async {
        loop {
            if let Err(error) = put(&store, "a", "3").await {
                return error;
            }
            sleep(Duration::from_millis(100)).await;
        }
    });
    assert_eq!(error.await.unwrap().kind(), ErrorKind::Unauthenticated);
}

/// `norikv serve`, killed when it is dropped.
struct Norikv(Child);

impl Drop for Norikv {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_command_serves_a_cluster_of_tls_with_tls_and_shows_no_password() {
    let authority = Authority::new();
    let etcd = Etcd::encrypted(&authority.issue(HOST), Some(&authority)).await;
    etcd.with_users().await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (server, client) = (authority.issue(HOST), authority.issue(&["me"]));
    let (ca, password) = (file("ca.crt", &authority.certificate), file("password", "p@ss:word\n"));
    let (cert, key) = (file("server.crt", &server.certificate), file("server.key", &server.key));
    let (own, own_key) = (file("client.crt", &client.certificate), file("client.key", &client.key));
    let serve = |store: &str, more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_norikv-under-test"))
            .args(["serve", "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key])
            .args(["--tls-client-ca", &ca, "--store", store, "--store-tls-ca", &ca])
            .args(["--store-tls-cert", &own, "--store-tls-key", &own_key])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let endpoint = &etcd.endpoint;
    for (store, more) in [
        (
            format!("etcds://{endpoint}"),
            &["--store-user", "app", "--store-password-file", &password, "--store-prefix", "app/"][..],
        ),
        (format!("etcds://app:p%40ss%3Aword@{endpoint}/app/"), &[][..]),
    ] {
        let mut norikv = Norikv(serve(&store, more));
        let mut line = String::new();
        BufReader::new(norikv.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit_once(" on ").unwrap_or_else(|| panic!("{line:?}")).1;
        assert!(line.contains(endpoint) && !line.contains("word"), "{line}");
        let identity = Some(client.identity());
        let tls = Some(ClientTls { identity, ..authority.client() });
        let node = format!("https://{address}").parse().unwrap();
        let remote = RemoteStore::http2(Settings { tls, ..Settings::for_nodes(vec![node]) }).unwrap();
        put(&remote, "through", "1").await.unwrap();
        assert_eq!(value(&remote, "through").await.as_deref(), Some("1"));
        remote.close().await.unwrap();
    }
    let refused = serve(&format!("etcds://app:wrong@{endpoint}/app/"), &[]).wait_with_output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("does not let \"app\" in") && !said.contains("wrong@"), "{said}");
}
