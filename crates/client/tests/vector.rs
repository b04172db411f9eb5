//! Vectors: which wire they take, their place in the order of the calls, and what a failure means.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod fake;
#[allow(dead_code, missing_docs, unreachable_pub)]
#[path = "../../server/tests/common/map_store.rs"]
mod map_store;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use fake::{Replies, World, bare, lost, nodes, not_leader, refused, reply, until};
use futures_util::{FutureExt, future::join_all};
use map_store::MapStore;
use norikv_client::{Failed, Http2Transport, RemoteStore, Settings};
use norikv_core::{
    Call, Consistency, DistanceFunction, Error, ErrorKind, Field, FieldName, Quantization, Result, Store,
    VectorCreateIndex, VectorDelete, VectorDropIndex, VectorGet, VectorIndex, VectorIndexType, VectorInsert,
    VectorItem, VectorSearch,
};
use norikv_proto::{
    ext, failure_from_error, v1, vector_delete_from_wire, vector_get_from_wire, vector_insert_from_ext,
    vector_insert_from_v1,
};
use norikv_server::{Server, ServerSettings};
use prost::Message;
use tokio::sync::Semaphore;

const INSERT: &str = "/norikv.v1.Vector/Insert";
const INSERT_MANY: &str = "/norikv.ext.v1.Vectors/InsertMany";
const DELETE: &str = "/norikv.v1.Vector/Delete";
const GET: &str = "/norikv.v1.Vector/Get";
const SEARCH: &str = "/norikv.v1.Vector/Search";

fn create() -> VectorCreateIndex {
    let index = VectorIndex {
        namespace: "n".into(),
        dimensions: 2,
        distance: DistanceFunction::Cosine,
        index_type: VectorIndexType::Hnsw,
        quantization: Quantization::None,
    };
    VectorCreateIndex { index, idempotency_key: None }
}

fn insert(ids: &[&str], number: f32) -> VectorInsert {
    let item = |id: &&str| VectorItem { id: (*id).into(), vector: vec![number, 1.0] };
    VectorInsert { namespace: "n".into(), vectors: ids.iter().map(item).collect(), idempotency_key: None }
}

fn delete(id: &str) -> VectorDelete {
    VectorDelete { namespace: "n".into(), id: id.into(), idempotency_key: None }
}

fn get(id: &str) -> VectorGet {
    VectorGet { namespace: "n".into(), id: id.into(), consistency: Consistency::default() }
}

fn search() -> VectorSearch {
    VectorSearch { namespace: "n".into(), queries: vec![vec![1.0, 2.0]], k: 3, ..VectorSearch::default() }
}

fn drop_index() -> VectorDropIndex {
    VectorDropIndex { namespace: "n".into(), idempotency_key: None }
}

/// What every search says that `norikv.v1` cannot.
fn searches() -> [VectorSearch; 4] {
    [
        VectorSearch { queries: vec![vec![1.0, 2.0], vec![2.0, 1.0]], ..search() },
        VectorSearch { max_distance: Some(0.5), ..search() },
        VectorSearch { ef_search: Some(100), ..search() },
        VectorSearch { id_prefix: "a".into(), ..search() },
    ]
}

fn unknown(error: &Error) -> bool {
    error.field(FieldName::Outcome).is_some_and(|outcome| outcome.to_text() == "unknown")
}

/// A real server, and a client of it.
async fn served(norikv_v1_only: bool) -> (Server, Arc<MapStore>, RemoteStore<Http2Transport>) {
    let store = Arc::new(MapStore::default());
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = ServerSettings { listen, norikv_v1_only, ..ServerSettings::default() };
    let server = Server::start(store.clone(), settings).await.unwrap();
    let node = server.local_addr().to_string().parse().unwrap();
    (server, store, RemoteStore::http2(Settings::for_nodes(vec![node])).unwrap())
}

/// Carries out one call of a single vector, as a server does.
async fn carry_out(store: Arc<MapStore>, method: &'static str, message: Bytes) -> Result<Replies, Failed> {
    let call = Call::default();
    let failed = |error: Error| Failed::Answered(failure_from_error(&error));
    let message = &message[..];
    Ok(match method {
        INSERT => {
            let insert = vector_insert_from_v1(v1::VectorInsertRequest::decode(message).unwrap());
            let version = store.vector_insert(insert, call).await.map_err(failed)?;
            reply(&v1::VectorInsertResponse { inserted: true, version: Some(version.into()) })
        }
        INSERT_MANY => {
            let insert = vector_insert_from_ext(Message::decode(message).unwrap());
            let version = store.vector_insert(insert, call).await.map_err(failed)?;
            reply(&ext::VectorInsertManyResponse { version: Some(version.into()) })
        }
        DELETE => {
            let delete = vector_delete_from_wire(Message::decode(message).unwrap());
            reply(&v1::VectorDeleteResponse { deleted: store.vector_delete(delete, call).await.unwrap() })
        }
        GET => {
            let get = vector_get_from_wire(Message::decode(message).unwrap()).unwrap();
            let vector = store.vector_get(get, call).await.unwrap();
            let found = vector.is_some();
            reply(&v1::VectorGetResponse { vector: vector.unwrap_or_default(), found })
        }
        _ => return Err(bare(12, "unimplemented")),
    })
}

/// A world with an index whose inserts and deletes wait until the gate lets one through, and then take the less time
/// the later they come.
async fn gated() -> (World, Arc<Semaphore>) {
    let (gate, store) = (Arc::new(Semaphore::new(0)), Arc::new(MapStore::default()));
    store.vector_create_index(create(), Call::default()).await.unwrap();
    let (held, writes) = (Arc::clone(&gate), AtomicUsize::new(0));
    let world = World::new(nodes(&["a:1"]), move |_, method, message| {
        let (gate, store) = (Arc::clone(&held), Arc::clone(&store));
        let late = if method == GET { 100 } else { writes.fetch_add(1, SeqCst) };
        async move {
            if method != GET {
                gate.acquire().await.unwrap().forget();
            }
            for _ in late..10 {
                tokio::task::yield_now().await;
            }
            carry_out(store, method, message).await
        }
    });
    (world, gate)
}

/// The least that answers a call: an insert's has a version, all others may be empty.
fn least(method: &str) -> Replies {
    let version = Some(v1::Version { term: 1, index: 2 });
    match method {
        INSERT => reply(&v1::VectorInsertResponse { inserted: true, version }),
        INSERT_MANY => reply(&ext::VectorInsertManyResponse { version }),
        _ => fake::all([Bytes::new()]),
    }
}

/// A world whose calls fail so, one after the other; the rest is answered with the least that is an answer.
fn failing(failures: impl IntoIterator<Item = Failed>) -> World {
    let failures: Vec<_> = failures.into_iter().collect();
    let calls = AtomicUsize::new(0);
    World::new(nodes(&["a:1"]), move |_, method, _| {
        let failed = failures.get(calls.fetch_add(1, SeqCst)).cloned();
        async move { failed.map_or_else(|| Ok(least(method)), Err) }
    })
}

/// All that was sent about vectors.
fn methods(world: &World) -> Vec<&'static str> {
    world.all_sent().iter().map(|sent| sent.method).filter(|method| method.contains(".Vector")).collect()
}

#[tokio::test]
async fn all_of_every_request_comes_to_the_store_and_its_answer_back() {
    let (server, store, remote) = served(false).await;
    let call = Call::default;
    let key = || Some("once".to_owned());
    let quantized = VectorCreateIndex {
        index: VectorIndex { quantization: Quantization::F16, namespace: "q".into(), ..create().index },
        idempotency_key: key(),
    };
    for (create, created) in [(create(), true), (create(), false), (quantized.clone(), true)] {
        assert_eq!(remote.vector_create_index(create.clone(), call()).await.unwrap(), created);
        assert_eq!(store.vectors.last(), format!("{create:?}"));
    }
    let one = VectorInsert { idempotency_key: key(), ..insert(&["a"], 0.0) };
    let mut last = norikv_core::Version::ZERO;
    for insert in [one, insert(&["a1", "b"], 1.0)] {
        let version = remote.vector_insert(insert.clone(), call()).await.unwrap();
        assert_eq!(store.vectors.last(), format!("{insert:?}"));
        assert!(version > last);
        last = version;
    }
    let read = VectorGet { consistency: Consistency::Linearizable, ..get("a") };
    assert_eq!(remote.vector_get(read.clone(), call()).await.unwrap(), Some(vec![0.0, 1.0]));
    assert_eq!(store.vectors.last(), format!("{read:?}"));
    assert_eq!(remote.vector_get(get("c"), call()).await.unwrap(), None);
    let with_vectors = VectorSearch { include_vectors: true, consistency: Consistency::StaleOk, ..search() };
    for search in [search(), with_vectors].into_iter().chain(searches()) {
        let found = remote.vector_search(search.clone(), call()).await.unwrap();
        assert_eq!(store.vectors.last(), format!("{search:?}"));
        assert_eq!(found, store.vectors.search(&search).unwrap());
        assert_eq!(found.len(), search.queries.len());
    }
    let indexes = remote.vector_indexes(call()).await.unwrap();
    assert_eq!(indexes, store.vectors.list());
    assert_eq!(indexes[1].index, quantized.index);
    let gone = VectorDelete { idempotency_key: key(), ..delete("a") };
    assert!(remote.vector_delete(gone.clone(), call()).await.unwrap());
    assert_eq!(store.vectors.last(), format!("{gone:?}"));
    assert!(!remote.vector_delete(delete("a"), call()).await.unwrap());
    let drop = VectorDropIndex { idempotency_key: key(), ..drop_index() };
    assert!(remote.vector_drop_index(drop.clone(), call()).await.unwrap());
    assert_eq!(store.vectors.last(), format!("{drop:?}"));
    assert!(!remote.vector_drop_index(drop_index(), call()).await.unwrap());
    remote.close().await.unwrap();
    server.shutdown(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn a_refusal_keeps_its_kind_and_fields() {
    let (_server, _store, remote) = served(false).await;
    let call = Call::default;
    let error = remote.vector_get(get("a"), call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VectorIndexNotFound);
    remote.vector_create_index(create(), call()).await.unwrap();
    let mut other = create();
    other.index.distance = DistanceFunction::Euclidean;
    let error = remote.vector_create_index(other, call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VectorIndexExists);
    let mut long = insert(&["a"], 1.0);
    long.vectors[0].vector.push(1.0);
    let mut many = insert(&["a", "b"], 1.0);
    many.vectors[1].vector.push(1.0);
    for insert in [long, many] {
        let error = remote.vector_insert(insert, call()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VectorDimensionMismatch);
        assert_eq!(error.field(FieldName::Expected), Some(&Field::Number(2)));
        assert_eq!(error.field(FieldName::Actual), Some(&Field::Number(3)));
    }
    let zeros = VectorSearch { queries: vec![vec![0.0, 0.0]], ..search() };
    let error = remote.vector_search(zeros, call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(remote.vector_get(get("a"), call()).await.unwrap(), None);
}

#[tokio::test]
async fn a_server_of_norikv_v1_alone_does_what_its_protocol_says_and_the_rest_is_named() {
    let (server, store, remote) = served(true).await;
    let call = Call::default;
    assert!(remote.vector_create_index(create(), call()).await.unwrap());
    remote.vector_insert(insert(&["a"], 1.0), call()).await.unwrap();
    assert_eq!(remote.vector_get(get("a"), call()).await.unwrap(), Some(vec![1.0, 1.0]));
    assert_eq!(remote.vector_search(search(), call()).await.unwrap()[0].matches[0].id, "a");
    let before = store.vectors.last();
    let mut quantized = create();
    quantized.index.quantization = Quantization::Int8;
    let mut errors = vec![
        remote.vector_create_index(quantized, call()).await.unwrap_err(),
        remote.vector_insert(insert(&["b", "c"], 1.0), call()).await.unwrap_err(),
        remote.vector_indexes(call()).await.unwrap_err(),
    ];
    for search in searches() {
        errors.push(remote.vector_search(search, call()).await.unwrap_err());
    }
    let address = server.local_addr().to_string();
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.field(FieldName::Address).unwrap().to_text(), address);
        assert!(error.message().contains(&address), "{error:?}");
        assert!(error.message().contains("norikv.ext.v1.Vectors"), "{error:?}");
    }
    assert_eq!(store.vectors.last(), before, "nothing of it came to the store");
    assert!(remote.vector_delete(delete("a"), call()).await.unwrap());
    assert!(remote.vector_drop_index(drop_index(), call()).await.unwrap());
}

#[tokio::test]
async fn a_server_without_vectors_is_named_with_what_it_lacks() {
    let world = failing([bare(12, "")]);
    let error = world.store.vector_search(search(), Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("a:1") && error.message().contains("norikv.v1.Vector"), "{error:?}");
}

#[tokio::test]
async fn a_bare_status_means_what_it_means_of_vectors() {
    let call = Call::default;
    let not_found = || failing([bare(5, "no such index")]).store;
    let kinds = [
        not_found().vector_insert(insert(&["a"], 1.0), call()).await.map(drop).unwrap_err(),
        not_found().vector_delete(delete("a"), call()).await.map(drop).unwrap_err(),
        not_found().vector_get(get("a"), call()).await.map(drop).unwrap_err(),
        not_found().vector_search(search(), call()).await.map(drop).unwrap_err(),
    ];
    for error in kinds {
        assert_eq!(error.kind(), ErrorKind::VectorIndexNotFound);
        assert_eq!(error.message(), "no such index");
    }
    assert!(!not_found().vector_drop_index(drop_index(), call()).await.unwrap());
    let world = failing([bare(6, "another")]);
    let error = world.store.vector_create_index(create(), call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VectorIndexExists);
    // Whether an earlier attempt dropped it is not known.
    let world = failing([lost(), bare(5, "no such index")]);
    let drop = VectorDropIndex { idempotency_key: Some("once".into()), ..drop_index() };
    let error = world.store.vector_drop_index(drop, call()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::VectorIndexNotFound && unknown(&error), "{error:?}");
}

#[tokio::test]
async fn calls_on_a_vector_that_nobody_awaits_take_effect_in_their_order() {
    let (world, gate) = gated().await;
    gate.add_permits(100);
    let store = &world.store;
    let writes = |ids: &[&str], number| {
        store.vector_insert(insert(ids, number), Call::default()).map(|done| done.map(drop)).boxed()
    };
    let deletes = |id, there| {
        let deleted = store.vector_delete(delete(id), Call::default());
        deleted.map(move |deleted| deleted.map(|deleted| assert_eq!(deleted, there))).boxed()
    };
    let reads = |id, number: Option<f32>| {
        let got = store.vector_get(get(id), Call::default());
        let expected = number.map(|number| vec![number, 1.0]);
        got.map(move |got| got.map(|vector| assert_eq!(vector, expected))).boxed()
    };
    let calls = vec![
        reads("a", None),
        writes(&["a"], 1.0),
        reads("a", Some(1.0)),
        writes(&["a", "b"], 2.0),
        reads("b", Some(2.0)),
        reads("a", Some(2.0)),
        deletes("a", true),
        reads("a", None),
        deletes("a", false),
        writes(&["b", "a"], 3.0),
        writes(&["a"], 4.0),
        reads("b", Some(3.0)),
        reads("a", Some(4.0)),
    ];
    for result in join_all(calls).await {
        result.unwrap();
    }
}

#[tokio::test]
async fn calls_on_different_vectors_are_under_way_together_and_on_one_in_turn() {
    let (world, gate) = gated().await;
    let writes = |namespace: &str, id: &str| {
        let (store, namespace) = (Arc::clone(&world.store), namespace.to_owned());
        let insert = VectorInsert { namespace, ..insert(&[id], 1.0) };
        tokio::spawn(async move { store.vector_insert(insert, Call::default()).await })
    };
    // Names and ids that are the same text, put together, are not the same vector.
    let mut under_way: Vec<_> = (0..32).map(|number| writes("n", &format!("id-{number}"))).collect();
    under_way.push(writes("n", "xy"));
    let other = writes("nx", "y");
    until(|| world.sent(INSERT).len() == 34).await;
    let next = writes("n", "id-7");
    let reads = |id: &'static str| {
        let store = Arc::clone(&world.store);
        tokio::spawn(async move { store.vector_get(get(id), Call::default()).await })
    };
    let read = reads("id-7");
    // Reads of other vectors go on meanwhile. This one begins after those that wait.
    assert_eq!(reads("z").await.unwrap().unwrap(), None);
    assert_eq!((world.sent(INSERT).len(), world.sent(GET).len()), (34, 1));
    gate.add_permits(35);
    for insert in under_way {
        insert.await.unwrap().unwrap();
    }
    next.await.unwrap().unwrap();
    assert_eq!(read.await.unwrap().unwrap(), Some(vec![1.0, 1.0]));
    assert_eq!(other.await.unwrap().unwrap_err().kind(), ErrorKind::VectorIndexNotFound);
}

#[tokio::test]
async fn a_write_whose_reply_is_lost_is_repeated_only_with_an_idempotency_key() {
    type Asked = (World, Result<()>);
    async fn ask(failed: Failed, write: usize, idempotency_key: Option<String>) -> Asked {
        let (world, call) = (failing([failed]), Call::default());
        let store = &world.store;
        let key = idempotency_key;
        let done = match write {
            0 => {
                let create = VectorCreateIndex { idempotency_key: key, ..create() };
                store.vector_create_index(create, call).await.map(drop)
            }
            1 => {
                let drop = VectorDropIndex { idempotency_key: key, ..drop_index() };
                store.vector_drop_index(drop, call).await.map(std::mem::drop)
            }
            2 => {
                let insert = VectorInsert { idempotency_key: key, ..insert(&["a"], 1.0) };
                store.vector_insert(insert, call).await.map(drop)
            }
            3 => {
                let insert = VectorInsert { idempotency_key: key, ..insert(&["a", "b"], 1.0) };
                store.vector_insert(insert, call).await.map(drop)
            }
            _ => {
                let delete = VectorDelete { idempotency_key: key, ..delete("a") };
                store.vector_delete(delete, call).await.map(drop)
            }
        };
        (world, done)
    }
    for write in 0..5 {
        let (world, done) = ask(lost(), write, None).await;
        let error = done.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && unknown(&error), "{write}: {error:?}");
        assert_eq!(methods(&world).len(), 1, "{write}");
        let (world, done) = ask(lost(), write, Some("once".into())).await;
        done.unwrap();
        assert_eq!(methods(&world).len(), 2, "{write}");
        // What is known not to have left is repeated in any case.
        let (world, done) = ask(refused("a:1"), write, None).await;
        done.unwrap();
        assert_eq!(methods(&world).len(), 2, "{write}");
    }
}

#[tokio::test]
async fn reads_whose_reply_is_lost_are_repeated() {
    let call = Call::default;
    let world = failing([lost()]);
    world.store.vector_get(get("a"), call()).await.unwrap();
    let world = failing([lost()]);
    world.store.vector_search(search(), call()).await.unwrap();
    let world = failing([lost()]);
    world.store.vector_indexes(call()).await.unwrap();
    assert_eq!(methods(&world).len(), 2);
}

#[tokio::test]
async fn calls_of_an_index_go_to_the_leader_of_its_shard_once_it_is_known() {
    let world = World::new(nodes(&["a:1", "b:1"]), |node, method, _| async move {
        if node == "b:1" { Ok(least(method)) } else { Err(not_leader("b:1")) }
    });
    let (store, call) = (&world.store, Call::default);
    store.vector_insert(insert(&["a"], 1.0), call()).await.unwrap();
    let learnt = methods(&world).len();
    store.vector_search(search(), call()).await.unwrap();
    store.vector_insert(insert(&["b", "c"], 1.0), call()).await.unwrap();
    store.vector_get(get("z"), call()).await.unwrap();
    let later = world.all_sent().into_iter().filter(|sent| sent.method.contains(".Vector")).skip(learnt);
    assert_eq!(later.map(|sent| sent.node).collect::<Vec<_>>(), ["b:1"; 3]);
}

#[tokio::test]
async fn an_answer_that_is_not_one_for_each_query_is_none() {
    let world = failing([]);
    let two = searches().into_iter().next().unwrap();
    let error = world.store.vector_search(two, Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn an_insert_that_is_answered_without_a_version_may_have_happened() {
    let world = World::new(nodes(&["a:1"]), |_, _, _| async { Ok(fake::all([Bytes::new()])) });
    for ids in [&["a"][..], &["a", "b"]] {
        let error = world.store.vector_insert(insert(ids, 1.0), Call::default()).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Internal && unknown(&error), "{error:?}");
    }
    assert_eq!(methods(&world), [INSERT, INSERT_MANY]);
}

#[tokio::test]
async fn what_no_store_takes_is_not_sent() {
    let world = failing([]);
    let (store, call) = (&world.store, Call::default);
    let mut flat = create();
    flat.index.dimensions = 0;
    let errors = [
        store.vector_create_index(flat, call()).await.map(drop).unwrap_err(),
        store.vector_insert(insert(&["a", "a"], 1.0), call()).await.map(drop).unwrap_err(),
        store.vector_insert(insert(&["a"], f32::NAN), call()).await.map(drop).unwrap_err(),
        store.vector_delete(delete(""), call()).await.map(drop).unwrap_err(),
        store.vector_get(get(&"i".repeat(513)), call()).await.map(drop).unwrap_err(),
        store.vector_search(VectorSearch { k: 0, ..search() }, call()).await.map(drop).unwrap_err(),
        store.vector_drop_index(VectorDropIndex::default(), call()).await.map(std::mem::drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert!(methods(&world).is_empty());
    assert!(world.sent(SEARCH).is_empty());
    store.close().await.unwrap();
    let error = store.vector_search(search(), call()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(store.vector_insert(insert(&["a"], 1.0), call()).await.unwrap_err().kind(), ErrorKind::Closed);
}
