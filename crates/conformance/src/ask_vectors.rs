//! The calls on vectors as rules make them.

use norikv_core::{
    DistanceFunction, Result, Store, VectorCreateIndex, VectorDelete, VectorDropIndex, VectorGet,
    VectorIndex, VectorIndexInfo, VectorIndexType, VectorInsert, VectorItem, VectorMatch, VectorSearch,
    Version,
};

use crate::ask::{call, within};

/// The index of rules for which it does not matter what it is.
pub(crate) const NAME: &str = "index";

pub(crate) fn index(dimensions: u32, distance: DistanceFunction, index_type: VectorIndexType) -> VectorIndex {
    VectorIndex { namespace: NAME.into(), dimensions, distance, index_type, ..VectorIndex::default() }
}

/// An index of straight distances in the plane.
pub(crate) fn plane() -> VectorIndex {
    index(2, DistanceFunction::Euclidean, VectorIndexType::Hnsw)
}

pub(crate) async fn create(store: &dyn Store, index: VectorIndex) -> Result<bool> {
    create_once(store, index, None).await
}

pub(crate) async fn create_once(store: &dyn Store, index: VectorIndex, key: Option<&str>) -> Result<bool> {
    let request = VectorCreateIndex { index, idempotency_key: key.map(str::to_owned) };
    within(call(), store.vector_create_index(request, call())).await
}

pub(crate) async fn drop_index(store: &dyn Store, namespace: &str) -> Result<bool> {
    drop_once(store, namespace, None).await
}

pub(crate) async fn drop_once(store: &dyn Store, namespace: &str, key: Option<&str>) -> Result<bool> {
    let request =
        VectorDropIndex { namespace: namespace.to_owned(), idempotency_key: key.map(str::to_owned) };
    within(call(), store.vector_drop_index(request, call())).await
}

pub(crate) fn inserting(vectors: &[(&str, &[f32])]) -> VectorInsert {
    let item = |(id, vector): &(&str, &[f32])| VectorItem { id: (*id).to_owned(), vector: vector.to_vec() };
    VectorInsert {
        namespace: NAME.to_owned(),
        vectors: vectors.iter().map(item).collect(),
        idempotency_key: None,
    }
}

pub(crate) async fn insert_all(store: &dyn Store, request: VectorInsert) -> Result<Version> {
    within(call(), store.vector_insert(request, call())).await
}

pub(crate) async fn insert(store: &dyn Store, id: &str, vector: &[f32]) -> Result<Version> {
    insert_all(store, inserting(&[(id, vector)])).await
}

pub(crate) async fn insert_once(store: &dyn Store, id: &str, vector: &[f32], key: &str) -> Result<Version> {
    let idempotency_key = Some(key.to_owned());
    insert_all(store, VectorInsert { idempotency_key, ..inserting(&[(id, vector)]) }).await
}

pub(crate) async fn delete_vector(store: &dyn Store, id: &str) -> Result<bool> {
    delete_once(store, id, None).await
}

pub(crate) async fn delete_once(store: &dyn Store, id: &str, key: Option<&str>) -> Result<bool> {
    let request = VectorDelete {
        namespace: NAME.to_owned(),
        id: id.to_owned(),
        idempotency_key: key.map(str::to_owned),
    };
    within(call(), store.vector_delete(request, call())).await
}

pub(crate) async fn vector(store: &dyn Store, id: &str) -> Result<Option<Vec<f32>>> {
    let request = VectorGet { namespace: NAME.to_owned(), id: id.to_owned(), ..VectorGet::default() };
    within(call(), store.vector_get(request, call())).await
}

/// The search for the nearest to one vector.
pub(crate) fn near(query: &[f32], k: u32) -> VectorSearch {
    VectorSearch { namespace: NAME.to_owned(), queries: vec![query.to_vec()], k, ..VectorSearch::default() }
}

/// What a search of one query finds.
pub(crate) async fn search(store: &dyn Store, request: VectorSearch) -> Result<Vec<VectorMatch>> {
    let mut results = within(call(), store.vector_search(request, call())).await?;
    assert_eq!(results.len(), 1, "one result for one query");
    Ok(results.remove(0).matches)
}

/// The ids that a search of one query finds.
pub(crate) async fn found(store: &dyn Store, request: VectorSearch) -> Result<Vec<String>> {
    Ok(search(store, request).await?.into_iter().map(|found| found.id).collect())
}

pub(crate) async fn indexes(store: &dyn Store) -> Result<Vec<VectorIndexInfo>> {
    within(call(), store.vector_indexes(call())).await
}

/// Numbers from −1 to 1.
pub(crate) fn random(random: &mut fastrand::Rng, dimensions: usize) -> Vec<f32> {
    (0..dimensions).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// The distance by its formula.
pub(crate) fn formula(distance: DistanceFunction, a: &[f32], b: &[f32]) -> f64 {
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
