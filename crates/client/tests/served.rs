//! `RemoteStore` against real servers.
#![allow(clippy::unwrap_used)] // a test fails loudly, also in what it calls

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use norikv_client::{
    Answers, Failed, Http2Link, Http2Transport, Link, MessageStream, RemoteStore, Settings, Transport,
    grpc::MAX_MESSAGE_BYTES,
};
use norikv_core::{
    Backoff, Call, Consistency, Count, Delete, DeleteRange, Entry, Error, ErrorKind, Field, FieldName, Get,
    GetMany, KeyRange, NodeAddress, Precondition, Put, Scan, Store, StoreRef,
};
use norikv_embedded::EmbeddedStore;
use norikv_server::{Server, ServerSettings};

type Result<T, E = Error> = std::result::Result<T, E>;
type Remote = RemoteStore<Http2Transport>;

async fn serve_at(store: StoreRef, listen: SocketAddr, norikv_v1_only: bool) -> Server {
    let settings = ServerSettings { listen, norikv_v1_only, ..ServerSettings::default() };
    Server::start(store, settings).await.unwrap()
}

fn memory() -> StoreRef {
    Arc::new(EmbeddedStore::memory(norikv_embedded::Settings::default()).unwrap())
}

async fn serve(norikv_v1_only: bool) -> Server {
    serve_at(memory(), SocketAddr::from(([127, 0, 0, 1], 0)), norikv_v1_only).await
}

fn remote(address: SocketAddr) -> Arc<Remote> {
    let node = address.to_string().parse().unwrap();
    Arc::new(RemoteStore::http2(Settings::for_nodes(vec![node])).unwrap())
}

/// What the driver of a store does: keeps the deadline.
async fn within<R>(call: Call, work: impl Future<Output = Result<R>>) -> Result<R> {
    match tokio::time::timeout(call.remaining(), work).await {
        Ok(result) => result,
        Err(_) => Err(call.deadline_exceeded()),
    }
}

fn get(key: &'static str) -> Get {
    Get { key: key.into(), consistency: Consistency::Linearizable }
}

async fn read(store: &Remote, key: &'static str) -> Option<Entry> {
    store.get(get(key), Call::default()).await.unwrap()
}

fn number(entry: Option<&Entry>) -> u64 {
    entry.map_or(0, |entry| std::str::from_utf8(&entry.value).unwrap().parse().unwrap())
}

#[tokio::test]
async fn what_is_put_is_got_deleted_scanned_and_counted() {
    let server = serve(false).await;
    let store = remote(server.local_addr());
    let call = Call::default;
    assert_eq!(store.get(get("a"), call()).await.unwrap(), None);
    let put = store.put(Put::new("a", ""), call()).await.unwrap();
    let entry = read(&store, "a").await.unwrap();
    assert_eq!((entry.key.as_ref(), entry.value.as_ref(), entry.version), (&b"a"[..], &b""[..], put.version));
    assert_eq!(entry.generation, 1);
    let put = store.put(Put { prev_entry: true, ..Put::new("a", "2") }, call()).await.unwrap();
    assert_eq!(put.prev_entry.unwrap().version, entry.version);
    store.put(Put::new("b", "3"), call()).await.unwrap();
    let keys = vec!["b".into(), "x".into(), "a".into()];
    let many = store.get_many(GetMany { keys, consistency: Consistency::Lease }, call()).await.unwrap();
    assert_eq!(many.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    let page = store.scan(Scan::new(KeyRange::all()), call()).await.unwrap();
    assert_eq!(page.entries.len(), 2);
    assert_eq!(store.count(Count::default(), call()).await.unwrap().count, 2);
    assert!(store.delete(Delete::new("a"), call()).await.unwrap().deleted);
    assert!(!store.delete(Delete::new("a"), call()).await.unwrap().deleted);
    let range = DeleteRange { range: KeyRange::all() };
    assert_eq!(store.delete_range(range, call()).await.unwrap().deleted, 1);
    assert_eq!(store.status(call()).await.unwrap().store, "memory");
    assert_eq!(store.stats().active_connections, 1);
    store.close().await.unwrap();
    assert_eq!(store.stats().active_connections, 0);
    assert_eq!(store.get(get("a"), call()).await.unwrap_err().kind(), ErrorKind::Closed);
    store.close().await.unwrap();
    server.shutdown(Duration::from_secs(1)).await.unwrap();
}

/// The compare-and-set loop of every recipe; an outcome that is not known cannot happen while nothing breaks.
async fn increment(store: &Remote) {
    for attempt in 1.. {
        let current = store.get(get("n"), Call::default()).await.unwrap();
        let precondition =
            current.as_ref().map_or(Precondition::NotExists, |entry| Precondition::Version(entry.version));
        let value = (number(current.as_ref()) + 1).to_string();
        let put = Put { precondition, ..Put::new("n", value) };
        match store.put(put, Call::default()).await {
            Ok(_) => return,
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::VersionMismatch | ErrorKind::AlreadyExists),
                "{error:?}"
            ),
        }
        // As `update` does; without it, most of the work is for nothing.
        tokio::time::sleep(Backoff::default().delay(attempt)).await;
    }
}

async fn count_together(norikv_v1_only: bool, callers: usize, each: usize) {
    let server = serve(norikv_v1_only).await;
    let stores = [remote(server.local_addr()), remote(server.local_addr())];
    let work: Vec<_> = (0..callers)
        .map(|caller| {
            let store = Arc::clone(&stores[caller % 2]);
            tokio::spawn(async move {
                for _ in 0..each {
                    increment(&store).await;
                }
            })
        })
        .collect();
    for caller in work {
        caller.await.unwrap();
    }
    assert_eq!(number(read(&stores[0], "n").await.as_ref()), (callers * each) as u64);
    for store in stores {
        store.close().await.unwrap();
    }
    server.shutdown(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_count_by_compare_and_set_over_two_connections_lose_nothing() {
    count_together(false, 64, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_count_at_a_server_of_norikv_v1_alone_lose_nothing() {
    count_together(true, 16, 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_callers_that_race_to_create_a_key_one_wins() {
    for norikv_v1_only in [false, true] {
        let server = serve(norikv_v1_only).await;
        let stores = [remote(server.local_addr()), remote(server.local_addr())];
        for round in 0..50 {
            let key = format!("race-{round}");
            let puts = (0..64).map(|caller| {
                let put = Put {
                    precondition: Precondition::NotExists,
                    ..Put::new(key.clone(), caller.to_string())
                };
                stores[caller % 2].put(put, Call::default())
            });
            let results = futures_util::future::join_all(puts).await;
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
            for error in results.into_iter().filter_map(Result::err) {
                assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}");
            }
        }
        for store in stores {
            store.close().await.unwrap();
        }
        server.shutdown(Duration::from_secs(1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_of_norikv_v1_alone_has_get_put_and_delete_and_refuses_the_rest_by_its_address() {
    let server = serve(true).await;
    let store = remote(server.local_addr());
    let call = Call::default;
    let put = store.put(Put::new("a", ""), call()).await.unwrap();
    let entry = read(&store, "a").await.unwrap();
    assert_eq!((entry.version, entry.generation, entry.value.len()), (put.version, 0, 0));
    assert_eq!(read(&store, "b").await, None);
    let stale = Put { precondition: Precondition::Version(put.version), ..Put::new("a", "1") };
    store.put(stale.clone(), call()).await.unwrap();
    let error = store.put(stale, call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch);
    assert_eq!(error.version(FieldName::Expected), Some(put.version));
    assert!(error.version(FieldName::Actual).is_some() && error.field(FieldName::Key).is_some());
    let error =
        store.delete(Delete { if_match: Some(put.version), ..Delete::new("b") }, call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch);
    assert_eq!(error.version(FieldName::Actual), None);
    assert!(store.delete(Delete::new("a"), call()).await.unwrap().deleted);

    let refusals = [
        store.put(Put { prev_entry: true, ..Put::new("a", "") }, call()).await.unwrap_err(),
        store.scan(Scan::new(KeyRange::all()), call()).await.unwrap_err(),
        store.count(Count::default(), call()).await.unwrap_err(),
        store.delete_range(DeleteRange { range: KeyRange::all() }, call()).await.unwrap_err(),
        store.status(call()).await.unwrap_err(),
        store
            .get_many(GetMany { keys: vec!["a".into()], consistency: Consistency::Lease }, call())
            .await
            .unwrap_err(),
    ];
    for error in refusals {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains(&server.local_addr().to_string()), "{error}");
        assert!(error.field(FieldName::Address).is_some());
    }
    assert_eq!(read(&store, "a").await, None);
    store.connect(call()).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn calls_fail_in_time_while_the_server_is_gone_and_succeed_once_it_is_back() {
    let store = memory();
    let server = serve_at(Arc::clone(&store), SocketAddr::from(([127, 0, 0, 1], 0)), false).await;
    let address = server.local_addr();
    let client = remote(address);
    client.put(Put::new("a", "1"), Call::default()).await.unwrap();
    server.shutdown(Duration::from_millis(100)).await.unwrap();
    for _ in 0..3 {
        let call = Call::with_timeout(Duration::from_millis(300));
        let error = within(call, client.get(get("a"), call)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Connection | ErrorKind::DeadlineExceeded), "{error:?}");
        assert!(
            error.message().contains(&address.to_string()) || error.kind() == ErrorKind::DeadlineExceeded
        );
    }
    let call = Call::with_timeout(Duration::from_millis(300));
    let error = within(call, client.put(Put::new("a", "2"), call)).await.unwrap_err();
    assert_eq!(error.field(FieldName::Outcome), None, "it never left: {error:?}");
    let error = client.connect(Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoNodesAvailable);
    assert!(error.message().contains(&address.to_string()));

    // The same port, once more; the client finds it by itself. It serves norikv.v1 alone, so that what was
    // learnt of the first server is wrong.
    let server = serve_at(memory(), address, true).await;
    assert_eq!(read(&client, "a").await, None);
    client.put(Put::new("a", "3"), Call::default()).await.unwrap();
    server.shutdown(Duration::from_millis(100)).await.unwrap();
    let server = serve_at(memory(), address, false).await;
    client.put(Put { prev_entry: true, ..Put::new("a", "4") }, Call::default()).await.unwrap();
    assert_eq!(read(&client, "a").await.unwrap().generation, 1);
    client.close().await.unwrap();
    server.shutdown(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_connections_and_never_answers_holds_nobody_past_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hole = tokio::spawn(async move {
        let mut taken = Vec::new();
        loop {
            taken.push(listener.accept().await.unwrap());
        }
    });
    let store = remote(address);
    let call = Call::with_timeout(Duration::from_millis(200));
    let calls = (0..100).map(|_| within(call, store.get(get("a"), call)));
    for result in futures_util::future::join_all(calls).await {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    }
    // Close does not wait for the answers either, and calls under way end with it.
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.get(get("a"), Call::default()).await }
    });
    tokio::task::yield_now().await;
    tokio::time::timeout(Duration::from_secs(1), store.close()).await.unwrap().unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    hole.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_nobody_waited_for_are_kept_in_order_by_get_many_and_delete_range() {
    let server = serve(false).await;
    let store = remote(server.local_addr());
    let call = Call::default;
    let many = || GetMany { keys: vec!["k".into(), "other".into()], consistency: Consistency::Linearizable };
    let range = || DeleteRange { range: KeyRange::prefix("d/") };
    for round in 0..100 {
        let (old, new) = (format!("{round}"), format!("{round} later"));
        let (first, seen, last) = tokio::join!(
            store.put(Put::new("k", old.clone()), call()),
            store.get_many(many(), call()),
            store.put(Put::new("k", new.clone()), call()),
        );
        first.unwrap();
        last.unwrap();
        assert_eq!(seen.unwrap()[0].as_ref().unwrap().value, old, "round {round}");
        let (first, deleted, gone, last) = tokio::join!(
            store.put(Put::new("d/2", "1"), call()),
            store.delete_range(range(), call()),
            store.get(get("d/2"), call()),
            store.put(Put::new("d/3", "1"), call()),
        );
        first.unwrap();
        last.unwrap();
        let deleted = deleted.unwrap().deleted;
        assert_eq!(deleted, if round == 0 { 1 } else { 2 }, "round {round}");
        assert_eq!(gone.unwrap(), None, "round {round}");
        assert!(read(&store, "d/3").await.is_some(), "round {round}");
    }
    store.close().await.unwrap();
    server.shutdown(Duration::from_secs(1)).await.unwrap();
}

/// A real connection that loses the first batch: on its way there, or only its reply.
struct Losing {
    inner: Http2Transport,
    loses: Loses,
    /// What the server's store is written meanwhile.
    meanwhile: Arc<Mutex<Option<(StoreRef, Put)>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loses {
    Request,
    Reply,
}

struct LosingLink {
    inner: Http2Link,
    loses: Loses,
    meanwhile: Arc<Mutex<Option<(StoreRef, Put)>>>,
}

impl Transport for Losing {
    type Link = LosingLink;

    fn link(&self, address: &NodeAddress) -> Result<LosingLink> {
        let meanwhile = Arc::clone(&self.meanwhile);
        Ok(LosingLink { inner: self.inner.link(address)?, loses: self.loses, meanwhile })
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.inner.sleep(duration)
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.inner.spawn(future);
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

impl Link for LosingLink {
    type Stream = Answers;

    async fn unary(
        &self,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Bytes, Failed> {
        self.inner.unary(method, message, timeout).await
    }

    async fn stream(
        &self,
        method: &'static str,
        message: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Answers, Failed> {
        let first = if method.ends_with("/Batch") { self.meanwhile.lock().unwrap().take() } else { None };
        let Some((store, put)) = first else {
            return self.inner.stream(method, message, timeout).await;
        };
        if self.loses == Loses::Reply {
            let mut answers = self.inner.stream(method, message, timeout).await?;
            while std::future::poll_fn(|cx| answers.poll_next(cx)).await?.is_some() {}
        }
        store.put(put, Call::default()).await.unwrap();
        Err(Failed::Lost(Error::new(ErrorKind::Unavailable, "the reply was lost")))
    }

    fn generation(&self) -> u64 {
        self.inner.generation()
    }

    fn connections(&self) -> usize {
        self.inner.connections()
    }
}

#[tokio::test]
async fn a_compare_and_set_in_doubt_is_settled_by_what_the_server_says_of_the_old_version() {
    // Lost on its way while another write won; and carried out, with another write after it.
    for (loses, certain) in [(Loses::Request, true), (Loses::Reply, false)] {
        let backing = memory();
        let server = serve_at(Arc::clone(&backing), SocketAddr::from(([127, 0, 0, 1], 0)), false).await;
        let version = backing.put(Put::new("n", "5"), Call::default()).await.unwrap().version;
        let settings = Settings::for_nodes(vec![server.local_addr().to_string().parse().unwrap()]);
        let meanwhile = Arc::new(Mutex::new(Some((Arc::clone(&backing), Put::new("n", "other")))));
        let transport = Losing { inner: Http2Transport::new(&settings).unwrap(), loses, meanwhile };
        let store = RemoteStore::new(settings, transport).unwrap();
        let put = Put { precondition: Precondition::Version(version), ..Put::new("n", "6") };
        let error = store.put(put, Call::default()).await.unwrap_err();
        if certain {
            assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error:?}");
            assert_eq!(error.version(FieldName::Expected), Some(version));
        } else {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert_eq!(error.field(FieldName::Outcome).map(Field::to_text).as_deref(), Some("unknown"));
        }
        store.close().await.unwrap();
        server.shutdown(Duration::from_secs(1)).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_says_so_and_is_not_asked_for_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let bytes = u32::try_from(MAX_MESSAGE_BYTES + 1).unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut bodies = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            if request.uri().path().ends_with("/Range") || request.uri().path().ends_with("/Batch") {
                count.fetch_add(1, Ordering::SeqCst);
            }
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            let head = [&[0][..], &bytes.to_be_bytes()].concat();
            body.send_data(head.into(), false).unwrap();
            // Dropped, it would be a reset.
            bodies.push(body);
        }
    });
    let node = address.to_string().parse().unwrap();
    let settings = Settings { watch_cluster: false, ..Settings::for_nodes(vec![node]) };
    let store = RemoteStore::http2(settings).unwrap();
    let scan = store.scan(Scan::new(KeyRange::all()), Call::default()).await.unwrap_err();
    let read = store.get(get("k"), Call::default()).await.unwrap_err();
    for error in [scan, read] {
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
        for part in [bytes.to_string(), MAX_MESSAGE_BYTES.to_string(), "ask for less".to_owned()] {
            assert!(error.message().contains(&part), "{error}");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2, "each was asked for once");
    let write = store.put(Put::new("k", "1"), Call::default()).await.unwrap_err();
    assert_eq!(write.field(FieldName::Outcome).map(Field::to_text).as_deref(), Some("unknown"));
    store.close().await.unwrap();
    server.abort();
}

#[tokio::test]
async fn an_idempotent_write_repeated_answers_the_first_version() {
    let server = serve(false).await;
    let store = remote(server.local_addr());
    let put = Put { idempotency_key: Some("once".into()), ..Put::new("a", "1") };
    let first = store.put(put.clone(), Call::default()).await.unwrap();
    assert_eq!(store.put(put, Call::default()).await.unwrap(), first);
    assert_eq!(read(&store, "a").await.unwrap().generation, 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn large_values_and_many_calls_at_once_all_arrive() {
    let server = serve(false).await;
    let store = remote(server.local_addr());
    let value = vec![7_u8; 1024 * 1024];
    let puts = (0..20).map(|n| store.put(Put::new(format!("big-{n}"), value.clone()), Call::default()));
    for result in futures_util::future::join_all(puts).await {
        result.unwrap();
    }
    let keys = (0..20).map(|n| format!("big-{n}").into()).collect();
    let all =
        store.get_many(GetMany { keys, consistency: Consistency::Lease }, Call::default()).await.unwrap();
    assert!(all.iter().all(|entry| entry.as_ref().is_some_and(|entry| entry.value == value)));
    let error = store.put(Put::new("big", vec![0; 1024 * 1024 + 1]), Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
    let error = store.put(Put::new("big", vec![0; 9 * 1024 * 1024]), Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
    let gets = (0..10_000).map(|n| {
        let request = Get { key: format!("small-{n}").into(), consistency: Consistency::Lease };
        store.get(request, Call::default())
    });
    for result in futures_util::future::join_all(gets).await {
        assert_eq!(result.unwrap(), None);
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_view_of_a_server_is_published_and_a_port_without_server_does_no_harm() {
    let server = serve(false).await;
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let nodes = [dead, server.local_addr()].map(|address| address.to_string().parse().unwrap());
    let store = RemoteStore::http2(Settings::for_nodes(nodes.to_vec())).unwrap();
    for n in 0..20 {
        store.put(Put::new(format!("k{n}"), "v"), Call::default()).await.unwrap();
    }
    let mut cluster = store.cluster().unwrap();
    let view = cluster.wait_for(|view| !view.nodes.is_empty()).await.unwrap().clone();
    assert_eq!(view.nodes.len(), 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_token_goes_along_and_bad_settings_are_refused() {
    let none = RemoteStore::http2(Settings::default()).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidArgument);
    let nodes = vec!["localhost:1".parse().unwrap()];
    let token = Settings { token: Some("a\nb".into()), ..Settings::for_nodes(nodes) };
    assert_eq!(RemoteStore::http2(token).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn opening_and_closing_again_and_again_leaves_nothing() {
    let server = serve(false).await;
    let tasks = tokio::runtime::Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    for _ in 0..200 {
        let store = remote(server.local_addr());
        store.get(get("a"), Call::default()).await.unwrap();
        store.close().await.unwrap();
    }
    // One that is dropped without being closed ends by itself as well.
    let store = remote(server.local_addr());
    store.get(get("a"), Call::default()).await.unwrap();
    drop(store);
    let settled = async {
        while tasks.num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), settled).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_a_server_refuses_at_once_do_not_cost_the_connection_they_came_by() {
    let server = serve(true).await;
    let node: NodeAddress = server.local_addr().to_string().parse().unwrap();
    let transport = Http2Transport::new(&Settings::for_nodes(vec![node.clone()])).unwrap();
    let link = transport.link(&node).unwrap();
    for _ in 0..1_000 {
        // There is no such method, which is known from the head: the answer may be here before the message is there.
        let answer = link.unary("/norikv.v1.Kv/Nothing", Bytes::from_static(b"message"), None).await;
        assert!(matches!(answer, Err(Failed::Answered(_))), "{answer:?}");
    }
    assert_eq!(link.generation(), 1);
}
