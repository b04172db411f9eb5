//! The ends of stores with vectors: prompt, whole, and nothing is left behind.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use common::{
    call, clustered, create, in_time, index, insert_all, near, open_at, open_memory, relaxed, search_for,
    threads, vector_status,
};
use norikv_core::{
    DistanceFunction, ErrorKind, Quantization, Store, VectorDelete, VectorIndexType, VectorInsert, VectorItem,
};
use norikv_vectors::VectorStore;
use tokio::sync::Mutex;

/// The tests count the threads of their process, so one goes after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

const DIMENSIONS: u32 = 64;

async fn no_thread_is_left() {
    let gone = async {
        while threads("norikv-vector") > 0 {
            tokio::task::yield_now().await;
        }
    };
    in_time("the threads end", gone).await;
}

fn graph() -> norikv_core::VectorIndex {
    index("n", DIMENSIONS, DistanceFunction::Cosine, VectorIndexType::Hnsw, Quantization::None)
}

/// Callers that insert, search and delete until the store says that it is closed.
fn callers(store: &Arc<VectorStore>) -> Vec<tokio::task::JoinHandle<ErrorKind>> {
    let vectors = Arc::new(clustered(3, 500, DIMENSIONS as usize));
    (0..12)
        .map(|caller| {
            let (store, vectors) = (Arc::clone(store), Arc::clone(&vectors));
            tokio::spawn(async move {
                for n in 0.. {
                    let vector = &vectors[n % vectors.len()].1;
                    let done = match caller % 3 {
                        0 => store.vector_search(near("n", vector, 10), call()).await.map(drop),
                        1 => {
                            let item = VectorItem { id: format!("{caller}/{n}"), vector: vector.clone() };
                            let insert = VectorInsert {
                                namespace: "n".into(),
                                vectors: vec![item],
                                idempotency_key: None,
                            };
                            store.vector_insert(insert, call()).await.map(drop)
                        }
                        _ => {
                            let id = format!("id:{n}");
                            let delete = VectorDelete { namespace: "n".into(), id, idempotency_key: None };
                            store.vector_delete(delete, call()).await.map(drop)
                        }
                    };
                    if let Err(error) = done {
                        return error.kind();
                    }
                }
                ErrorKind::Internal
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_while_all_goes_on_ends_every_call_and_every_thread() {
    let _one = ONE_AT_A_TIME.lock().await;
    for built in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = open_at(directory.path(), relaxed(), Duration::from_millis(50)).await;
        create(&store, graph()).await;
        insert_all(&store, "n", &clustered(1, 8_000, DIMENSIONS as usize)).await;
        if built {
            common::until_indexed(&store).await;
        } else {
            let status = vector_status(&*store).await;
            assert!(status.indexed < status.vectors, "it is not being built");
        }
        assert!(threads("norikv-vector") >= 2);
        let callers = callers(&store);
        for _ in 0..5 {
            search_for(&*store, near("n", &[1.0; DIMENSIONS as usize], 10)).await;
        }
        let begun = Instant::now();
        in_time("close", store.close()).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "closing took {:?}", begun.elapsed());
        for caller in callers {
            assert_eq!(in_time("a call under way", caller).await.unwrap(), ErrorKind::Closed);
        }
        no_thread_is_left().await;
        in_time("close", store.close()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_is_dropped_without_being_closed_leaves_no_thread_and_can_be_opened_again() {
    let _one = ONE_AT_A_TIME.lock().await;
    let directory = tempfile::tempdir().unwrap();
    for round in 0..4u32 {
        let (store, within) = open_at(directory.path(), relaxed(), Duration::from_millis(50)).await;
        assert_eq!(create(&store, graph()).await, round == 0);
        let vectors: Vec<_> = clustered(u64::from(round), 1_500, DIMENSIONS as usize)
            .into_iter()
            .map(|(id, vector)| (format!("{round} {id}"), vector))
            .collect();
        insert_all(&store, "n", &vectors).await;
        let found = search_for(&*store, near("n", &vectors[0].1, 1)).await;
        assert_eq!(found[0].id, vectors[0].0);
        let status = vector_status(&*store).await;
        assert_eq!(status.vectors, 1_500 * u64::from(round + 1));
        drop(store);
        drop(within);
        no_thread_is_left().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stores_that_are_opened_and_closed_at_once_leave_no_thread() {
    let _one = ONE_AT_A_TIME.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open_at(directory.path(), relaxed(), Duration::from_secs(30)).await;
    create(&store, graph()).await;
    insert_all(&store, "n", &clustered(1, 3_000, DIMENSIONS as usize)).await;
    store.close().await.unwrap();
    drop(store);
    for round in 0..10 {
        let (store, within) = open_at(directory.path(), relaxed(), Duration::from_secs(30)).await;
        match round % 3 {
            0 => in_time("close", store.close()).await.unwrap(),
            1 => drop(store),
            _ => {
                // The view is being made, and the graph built.
                let search = store.vector_search(near("n", &[1.0; DIMENSIONS as usize], 1), call());
                let (found, closed) =
                    tokio::join!(in_time("search", search), in_time("close", store.close()));
                closed.unwrap();
                if let Err(error) = found {
                    assert_eq!(error.kind(), ErrorKind::Closed);
                }
            }
        }
        drop(within);
        no_thread_is_left().await;
    }
    let (store, _) = open_at(directory.path(), relaxed(), Duration::from_secs(30)).await;
    search_for(&*store, near("n", &[1.0; DIMENSIONS as usize], 1)).await;
    assert_eq!(vector_status(&*store).await.vectors, 3_000);
    store.close().await.unwrap();
}

/// Calls that are begun and dropped happen whole or not at all, and hold up nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dropped_calls_hold_up_nobody() {
    let _one = ONE_AT_A_TIME.lock().await;
    let store = open_memory().await;
    create(&store, graph()).await;
    let vectors = clustered(1, 2_000, DIMENSIONS as usize);
    insert_all(&store, "n", &vectors).await;
    for (n, (_, vector)) in vectors.iter().enumerate() {
        let items =
            (0..3).map(|part| VectorItem { id: format!("{n}/{part}"), vector: vector.clone() }).collect();
        let insert =
            VectorInsert { namespace: "n".into(), vectors: items, idempotency_key: Some(n.to_string()) };
        let mut insert = store.vector_insert(insert, call());
        let mut search = store.vector_search(near("n", vector, 10), call());
        poll_fn(|cx| {
            let _ = insert.as_mut().poll(cx);
            let _ = search.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
    }
    for n in (0..2_000).step_by(97) {
        // Made once more, it is answered, and found.
        let vector = &vectors[n].1;
        let items =
            (0..3).map(|part| VectorItem { id: format!("{n}/{part}"), vector: vector.clone() }).collect();
        let insert =
            VectorInsert { namespace: "n".into(), vectors: items, idempotency_key: Some(n.to_string()) };
        in_time("insert", store.vector_insert(insert, call())).await.unwrap();
        let prefixed = norikv_core::VectorSearch { id_prefix: format!("{n}/"), ..near("n", vector, 10) };
        assert_eq!(search_for(&*store, prefixed).await.len(), 3);
    }
    for n in (0..2_000).step_by(7) {
        let request =
            norikv_core::VectorSearch { id_prefix: format!("{n}/"), ..near("n", &vectors[n].1, 10) };
        let found = search_for(&*store, request).await.len();
        assert!(found == 0 || found == 3, "{found} of 3 vectors of one insert are there");
    }
    store.close().await.unwrap();
    no_thread_is_left().await;
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_small_indexes_take_little_memory() {
    let _one = ONE_AT_A_TIME.lock().await;
    let store = open_memory().await;
    create(&store, graph()).await;
    let before = resident_bytes();
    for n in 0..200 {
        let namespace = format!("small {n}");
        create(&store, norikv_core::VectorIndex { namespace: namespace.clone(), ..graph() }).await;
        insert_all(&store, &namespace, &clustered(n, 10, DIMENSIONS as usize)).await;
    }
    let infos = store.vector_indexes(call()).await.unwrap();
    assert_eq!(infos.len(), 201);
    assert!(infos.iter().all(|info| info.memory_bytes < 64 * 1024), "{:?}", infos[5]);
    assert_eq!(threads("norikv-vector-"), 2, "threads are of the store, not of an index");
    // 2,000 vectors of 256 bytes, in the store with its history and in the indexes.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 24 * 1024 * 1024, "{grown} bytes for 200 small indexes");
    store.close().await.unwrap();
    no_thread_is_left().await;
}
