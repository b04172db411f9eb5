//! What the tests of vectors share.
#![allow(dead_code, unreachable_pub)] // each test file uses a part

use std::{path::Path, sync::Arc, time::Duration};

use norikv_core::{
    Call, DistanceFunction, Quantization, Store, StoreRef, VectorCreateIndex, VectorDelete, VectorDropIndex,
    VectorGet, VectorIndex, VectorIndexType, VectorInsert, VectorItem, VectorMatch, VectorSearch,
    VectorStatus, Version,
};
use norikv_embedded::{EmbeddedStore, Settings as EmbeddedSettings};
use norikv_vectors::{Settings, VectorStore};

pub async fn open_memory() -> Arc<VectorStore> {
    let within = Arc::new(EmbeddedStore::memory(Default::default()).unwrap());
    Arc::new(VectorStore::open(within, Settings::default()).await.unwrap())
}

pub async fn open_file(directory: &Path) -> Arc<VectorStore> {
    let within = Arc::new(EmbeddedStore::open(directory, Default::default()).unwrap());
    let settings = Settings::beside(Some(directory), Duration::from_secs(3_600));
    Arc::new(VectorStore::open(within, settings).await.unwrap())
}

/// Whether there is time for all of it.
pub fn long() -> bool {
    std::env::var_os("NORIKV_LONG").is_some()
}

/// Acknowledges from memory, for tests that are not about what is on disk.
pub fn relaxed() -> EmbeddedSettings {
    EmbeddedSettings { durability: norikv_core::Durability::Relaxed, ..EmbeddedSettings::default() }
}

/// A store in a directory, and the store within.
pub async fn open_at(
    directory: &Path,
    settings: EmbeddedSettings,
    save_every: Duration,
) -> (Arc<VectorStore>, StoreRef) {
    let within: StoreRef = Arc::new(EmbeddedStore::open(directory, settings).unwrap());
    let beside = Settings::beside(Some(directory), Duration::from_secs(3_600));
    let settings = Settings { save_every, ..beside };
    (Arc::new(VectorStore::open(StoreRef::clone(&within), settings).await.unwrap()), within)
}

pub fn call() -> Call {
    Call::with_timeout(Duration::from_secs(60))
}

/// Fails where a call is not answered: nothing waits without an end.
pub async fn in_time<T>(what: &str, made: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), made).await {
        Ok(answer) => answer,
        Err(_) => panic!("{what}: not answered within 30 s"),
    }
}

pub async fn get(store: &dyn Store, namespace: &str, id: &str) -> Option<Vec<f32>> {
    let get = VectorGet { namespace: namespace.into(), id: id.into(), ..VectorGet::default() };
    in_time("get", store.vector_get(get, call())).await.unwrap()
}

pub async fn drop_index(store: &dyn Store, namespace: &str) -> bool {
    let request = VectorDropIndex { namespace: namespace.into(), idempotency_key: None };
    in_time("drop", store.vector_drop_index(request, call())).await.unwrap()
}

/// The ids and distances that a search with an exact prefix of one id finds: it looks at each vector.
pub async fn search_for(store: &dyn Store, request: VectorSearch) -> Vec<VectorMatch> {
    in_time("search", store.vector_search(request, call())).await.unwrap().remove(0).matches
}

pub fn near(namespace: &str, query: &[f32], k: u32) -> VectorSearch {
    VectorSearch { namespace: namespace.into(), queries: vec![query.into()], k, ..VectorSearch::default() }
}

pub async fn vector_status(store: &dyn Store) -> VectorStatus {
    in_time("status", store.status(call())).await.unwrap().vectors.unwrap()
}

/// How many threads of this process have names that begin so.
#[cfg(target_os = "linux")]
pub fn threads(prefix: &str) -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
        // A thread may end meanwhile.
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    });
    names.filter(|name| name.starts_with(prefix)).count()
}

pub fn index(
    namespace: &str,
    dimensions: u32,
    distance: DistanceFunction,
    index_type: VectorIndexType,
    quantization: Quantization,
) -> VectorIndex {
    VectorIndex { namespace: namespace.into(), dimensions, distance, index_type, quantization }
}

pub async fn create(store: &VectorStore, index: VectorIndex) -> bool {
    let request = VectorCreateIndex { index, idempotency_key: None };
    store.vector_create_index(request, Call::default()).await.unwrap()
}

/// Vectors around a hundred centres that are the same for every seed.
pub fn clustered(seed: u64, count: usize, dimensions: usize) -> Vec<(String, Vec<f32>)> {
    let mut centres = fastrand::Rng::with_seed(77);
    let centres: Vec<Vec<f32>> =
        (0..100).map(|_| (0..dimensions).map(|_| centres.f32() * 2.0 - 1.0).collect()).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count)
        .map(|at| {
            let centre = &centres[random.usize(..centres.len())];
            let vector = centre.iter().map(|number| number + (random.f32() - 0.5)).collect();
            (format!("id:{at}"), vector)
        })
        .collect()
}

pub async fn insert_all(store: &VectorStore, namespace: &str, vectors: &[(String, Vec<f32>)]) {
    for part in vectors.chunks(100) {
        let items = part.iter().map(|(id, vector)| VectorItem { id: id.clone(), vector: vector.clone() });
        let insert =
            VectorInsert { namespace: namespace.into(), vectors: items.collect(), idempotency_key: None };
        store.vector_insert(insert, Call::default()).await.unwrap();
    }
}

pub async fn insert(store: &VectorStore, namespace: &str, id: &str, vector: &[f32]) -> Version {
    let vectors = vec![VectorItem { id: id.into(), vector: vector.into() }];
    let insert = VectorInsert { namespace: namespace.into(), vectors, idempotency_key: None };
    store.vector_insert(insert, Call::default()).await.unwrap()
}

pub async fn delete(store: &VectorStore, namespace: &str, id: &str) -> bool {
    let delete = VectorDelete { namespace: namespace.into(), id: id.into(), idempotency_key: None };
    store.vector_delete(delete, Call::default()).await.unwrap()
}

pub async fn search(
    store: &VectorStore,
    namespace: &str,
    query: &(String, Vec<f32>),
    k: u32,
) -> Vec<VectorMatch> {
    let queries = vec![query.1.clone()];
    let search = VectorSearch { namespace: namespace.into(), queries, k, ..VectorSearch::default() };
    store.vector_search(search, Call::default()).await.unwrap().remove(0).matches
}

/// Waits until every vector of every index is in its graph.
pub async fn until_indexed(store: &VectorStore) {
    for _ in 0..6_000 {
        let vectors = store.status(Call::default()).await.unwrap().vectors.unwrap();
        if vectors.vectors > 0 && vectors.vectors == vectors.indexed {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the vectors are not indexed after a minute");
}

/// The nearest by every distance computed, in double precision.
pub fn exact(
    vectors: &[(String, Vec<f32>)],
    query: &(String, Vec<f32>),
    distance: DistanceFunction,
    k: usize,
) -> Vec<(String, f32)> {
    let mut all: Vec<(f64, &str)> =
        vectors.iter().map(|(id, vector)| (distance_of(distance, &query.1, vector), id.as_str())).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
    all.into_iter().take(k).map(|(distance, id)| (id.to_owned(), distance as f32)).collect()
}

pub fn distance_of(distance: DistanceFunction, a: &[f32], b: &[f32]) -> f64 {
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| of(f64::from(*a), f64::from(*b))).sum()
    };
    match distance {
        DistanceFunction::Euclidean => sum(&|a, b| (a - b) * (a - b)).sqrt(),
        DistanceFunction::Cosine => {
            1.0 - sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
        }
        DistanceFunction::InnerProduct => -sum(&|a, b| a * b),
    }
}
