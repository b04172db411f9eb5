//! The files of graphs: whatever is there, a store opens and searches are right at once. A good one saves the building.
//!
//! `NORIKV_LONG` damages a file in more places.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use common::{
    call, clustered, create, delete, distance_of, exact, index, insert_all, long, near, open_at, relaxed,
    search_for, until_indexed, vector_status,
};
use norikv_core::{DistanceFunction, Quantization, Store, VectorIndexType, VectorMatch};
use norikv_vectors::VectorStore;

const DISTANCE: DistanceFunction = DistanceFunction::Euclidean;
const DIMENSIONS: u32 = 16;

type Vectors = Vec<(String, Vec<f32>)>;

async fn open(directory: &Path) -> Arc<VectorStore> {
    open_at(directory, relaxed(), Duration::from_secs(3_600)).await.0
}

/// A store with 5,000 vectors in a graph that is saved.
async fn built(directory: &Path, quantization: Quantization) -> Vectors {
    let store = open(directory).await;
    create(&store, index("n", DIMENSIONS, DISTANCE, VectorIndexType::Hnsw, quantization)).await;
    let vectors = clustered(1, 5_000, DIMENSIONS as usize);
    insert_all(&store, "n", &vectors).await;
    until_indexed(&store).await;
    store.close().await.unwrap();
    vectors
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("vectors")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn graph_file(directory: &Path) -> PathBuf {
    let files = files(directory);
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(files[0].extension().unwrap(), "graph");
    files[0].clone()
}

async fn ten_nearest(store: &dyn Store, query: &[f32]) -> Vec<VectorMatch> {
    search_for(store, near("n", query, 10)).await
}

/// Of ten searches: how many of the nearest were found. Nothing else was, and each at its distance.
async fn recall(store: &dyn Store, vectors: &Vectors) -> f64 {
    let mut hits = 0;
    for query in clustered(2, 10, DIMENSIONS as usize) {
        let found = ten_nearest(store, &query.1).await;
        assert_eq!(found.len(), 10);
        for found in &found {
            let (_, vector) =
                vectors.iter().find(|(id, _)| *id == found.id).expect("a vector that is not there");
            let distance = distance_of(DISTANCE, &query.1, vector);
            assert!((distance - f64::from(found.distance)).abs() < 1e-3, "{found:?} is at {distance}");
        }
        let expected = exact(vectors, &query, DISTANCE, 10);
        hits += expected.iter().filter(|(id, _)| found.iter().any(|found| found.id == *id)).count();
    }
    hits as f64 / 100.0
}

/// Whether there is work to do before the graph is there.
async fn is_building(store: &dyn Store) -> bool {
    let status = vector_status(store).await;
    assert_eq!(status.indexes, 1);
    status.indexed < status.vectors
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_file_is_taken_and_nothing_is_built() {
    for quantization in Quantization::ALL {
        let directory = tempfile::tempdir().unwrap();
        let vectors = built(directory.path(), *quantization).await;
        let before = fs::read(graph_file(directory.path())).unwrap();
        for _ in 0..3 {
            let store = open(directory.path()).await;
            ten_nearest(&*store, &vectors[0].1).await;
            assert!(!is_building(&*store).await, "a graph is built though its file is good");
            assert!(recall(&*store, &vectors).await >= 0.95, "{quantization:?}");
            store.close().await.unwrap();
            // Nothing was written, so nothing is saved.
            assert!(before == fs::read(graph_file(directory.path())).unwrap());
        }
    }
}

/// Opens the store with a file that is of no use: searches look at every vector, until the graph is built.
async fn is_built_again(directory: &Path, vectors: &Vectors, what: &str) {
    let store = open(directory).await;
    ten_nearest(&*store, &vectors[0].1).await;
    assert!(is_building(&*store).await, "{what}: no progress is told");
    assert!(recall(&*store, vectors).await >= 0.99, "{what}");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_missing_cut_or_damaged_is_built_again() {
    let directory = tempfile::tempdir().unwrap();
    let vectors = built(directory.path(), Quantization::None).await;
    let file = graph_file(directory.path());
    let good = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    is_built_again(directory.path(), &vectors, "missing").await;
    let parts = if long() { 50 } else { 8 };
    for part in 0..parts {
        fs::write(&file, &good[..good.len() * part / parts]).unwrap();
        is_built_again(directory.path(), &vectors, &format!("cut at {part} of {parts}")).await;
    }
    let flips = if long() { 200 } else { 20 };
    let mut random = fastrand::Rng::with_seed(1);
    for flip in 0..flips {
        // The beginning has most of what can be told; the last byte is of the sum.
        let at = match flip % 4 {
            0 => flip,
            1 => good.len() - 1 - flip / 4,
            _ => random.usize(..good.len()),
        };
        let mut bad = good.clone();
        bad[at] ^= 1 << random.u32(..8);
        fs::write(&file, bad).unwrap();
        is_built_again(directory.path(), &vectors, &format!("a bit of byte {at} is another")).await;
    }
    for garbage in [vec![0; 100], vec![255; 10_000], b"norivec1".to_vec(), good.repeat(2)] {
        fs::write(&file, garbage).unwrap();
        is_built_again(directory.path(), &vectors, "garbage").await;
    }
    // And once it is built, it is saved.
    fs::remove_file(&file).unwrap_or_default();
    let store = open(directory.path()).await;
    ten_nearest(&*store, &vectors[0].1).await;
    until_indexed(&store).await;
    assert!(recall(&*store, &vectors).await >= 0.95);
    store.close().await.unwrap();
    let store = open(directory.path()).await;
    ten_nearest(&*store, &vectors[0].1).await;
    assert!(!is_building(&*store).await);
    store.close().await.unwrap();
}

/// The file is of the data as it was: what was inserted, replaced and deleted since is caught up with.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_older_than_the_data_is_caught_up_with() {
    for (changed, deleted) in [(10, 10), (600, 300), (3_000, 1_500)] {
        let directory = tempfile::tempdir().unwrap();
        let mut vectors = built(directory.path(), Quantization::None).await;
        let file = graph_file(directory.path());
        let old = fs::read(&file).unwrap();
        let store = open(directory.path()).await;
        for ((_, vector), (_, new)) in vectors.iter_mut().zip(clustered(7, changed, DIMENSIONS as usize)) {
            *vector = new;
        }
        insert_all(&store, "n", &vectors[..changed]).await;
        for (id, _) in vectors.drain(vectors.len() - deleted..).collect::<Vec<_>>() {
            assert!(delete(&store, "n", &id).await);
        }
        let more: Vectors = clustered(8, 100, DIMENSIONS as usize)
            .into_iter()
            .map(|(id, vector)| (format!("new {id}"), vector))
            .collect();
        insert_all(&store, "n", &more).await;
        vectors.extend(more);
        // What the view has not seen when the store closes is not in the file.
        ten_nearest(&*store, &vectors[0].1).await;
        store.close().await.unwrap();
        drop(store);
        assert!(fs::read(&file).unwrap() != old, "the file was saved at the end");
        fs::write(&file, old).unwrap();
        let store = open(directory.path()).await;
        assert!(recall(&*store, &vectors).await >= 0.95, "at once, {changed} changed");
        until_indexed(&store).await;
        assert!(recall(&*store, &vectors).await >= 0.95, "{changed} changed");
        let info = store.vector_indexes(call()).await.unwrap().remove(0);
        assert_eq!(info.vectors, vectors.len() as u64);
        store.close().await.unwrap();
    }
}

/// A file that belongs to another index, or to an index that is no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_index_is_of_no_use_and_that_of_a_dropped_one_goes() {
    let directory = tempfile::tempdir().unwrap();
    built(directory.path(), Quantization::None).await;
    let old = graph_file(directory.path());
    let bytes = fs::read(&old).unwrap();
    let store = open(directory.path()).await;
    common::drop_index(&*store, "n").await;
    create(&store, index("n", DIMENSIONS, DISTANCE, VectorIndexType::Hnsw, Quantization::None)).await;
    let vectors = clustered(9, 5_000, DIMENSIONS as usize);
    insert_all(&store, "n", &vectors).await;
    until_indexed(&store).await;
    store.close().await.unwrap();
    drop(store);
    let new = graph_file(directory.path());
    assert!(new != old, "the file of the dropped index is gone");
    fs::write(&new, &bytes).unwrap();
    is_built_again(directory.path(), &vectors, "of another index").await;
    // What is left of a dropped index, and of a saving that was broken off, goes when the store is opened.
    fs::write(&old, &bytes).unwrap();
    fs::write(old.with_extension("new"), &bytes[..1_000]).unwrap();
    let store = open(directory.path()).await;
    ten_nearest(&*store, &vectors[0].1).await;
    assert!(!old.exists() && !old.with_extension("new").exists());
    store.close().await.unwrap();
}

/// Where nothing can be saved, everything else goes on.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_done_without() {
    let directory = tempfile::tempdir().unwrap();
    let vectors = built(directory.path(), Quantization::None).await;
    let file = graph_file(directory.path());
    // A directory in the place of the file, and then a file in the place of the directory.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    fs::write(file.join("x"), "x").unwrap();
    is_built_again(directory.path(), &vectors, "a directory in its place").await;
    let store = open(directory.path()).await;
    ten_nearest(&*store, &vectors[0].1).await;
    until_indexed(&store).await;
    store.close().await.unwrap();
    drop(store);
    assert!(file.is_dir());
    fs::remove_dir_all(directory.path().join("vectors")).unwrap();
    fs::write(directory.path().join("vectors"), "a file").unwrap();
    for _ in 0..2 {
        is_built_again(directory.path(), &vectors, "no directory").await;
    }
    let store = open(directory.path()).await;
    until_indexed(&store).await;
    assert!(recall(&*store, &vectors).await >= 0.95);
    store.close().await.unwrap();
}
