//! Vectors on the wire, both ways. `norikv.v1` has no field for some of it: what it cannot say whole comes back as it
//! was, for `norikv.ext.v1`.

use norikv_core::{
    DistanceFunction, Error, Quantization, Result, VectorCreateIndex, VectorDelete, VectorDropIndex,
    VectorGet, VectorIndex, VectorIndexInfo, VectorIndexType, VectorInsert, VectorItem, VectorMatch,
    VectorSearch, VectorSearchResult, Version,
};

use crate::{
    convert::{consistency_from_wire, consistency_to_wire},
    ext,
    txn::given,
    v1,
};

/// The new index of a request.
///
/// # Errors
/// `InvalidArgument` for a distance or a type that is none.
pub fn vector_create_index_from_v1(request: v1::CreateVectorIndexRequest) -> Result<VectorCreateIndex> {
    Ok(VectorCreateIndex {
        index: VectorIndex {
            namespace: request.namespace,
            dimensions: request.dimensions,
            distance: distance_from_wire(request.distance)?,
            index_type: index_type_from_wire(request.index_type)?,
            quantization: Quantization::None,
        },
        idempotency_key: given(request.idempotency_key),
    })
}

/// A new index for the wire.
///
/// # Errors
/// It has a quantization.
pub fn vector_create_index_to_v1(
    create: VectorCreateIndex,
) -> Result<v1::CreateVectorIndexRequest, VectorCreateIndex> {
    if create.index.quantization != Quantization::None {
        return Err(create);
    }
    let index = index_to_wire(create.index);
    Ok(v1::CreateVectorIndexRequest {
        namespace: index.namespace,
        dimensions: index.dimensions,
        distance: index.distance,
        index_type: index.index_type,
        idempotency_key: create.idempotency_key.unwrap_or_default(),
    })
}

/// The new index of a request.
///
/// # Errors
/// `InvalidArgument` if it says nothing of the index, or names a distance, a type or a quantization that is none.
pub fn vector_create_index_from_ext(request: ext::VectorCreateIndexRequest) -> Result<VectorCreateIndex> {
    Ok(VectorCreateIndex {
        index: index_from_wire(request.index)?,
        idempotency_key: given(request.idempotency_key),
    })
}

/// A new index for the wire.
#[must_use]
pub fn vector_create_index_to_ext(create: VectorCreateIndex) -> ext::VectorCreateIndexRequest {
    ext::VectorCreateIndexRequest {
        index: Some(index_to_wire(create.index)),
        idempotency_key: create.idempotency_key.unwrap_or_default(),
    }
}

/// The index that a request drops.
#[must_use]
pub fn vector_drop_index_from_wire(request: v1::DropVectorIndexRequest) -> VectorDropIndex {
    VectorDropIndex { namespace: request.namespace, idempotency_key: given(request.idempotency_key) }
}

/// The drop of an index for the wire.
#[must_use]
pub fn vector_drop_index_to_wire(drop: VectorDropIndex) -> v1::DropVectorIndexRequest {
    v1::DropVectorIndexRequest {
        namespace: drop.namespace,
        idempotency_key: drop.idempotency_key.unwrap_or_default(),
    }
}

/// The insert of a request.
#[must_use]
pub fn vector_insert_from_v1(request: v1::VectorInsertRequest) -> VectorInsert {
    VectorInsert {
        namespace: request.namespace,
        vectors: vec![VectorItem { id: request.id, vector: request.vector }],
        idempotency_key: given(request.idempotency_key),
    }
}

/// An insert for the wire.
///
/// # Errors
/// It is not of one vector.
pub fn vector_insert_to_v1(mut insert: VectorInsert) -> Result<v1::VectorInsertRequest, VectorInsert> {
    match insert.vectors.pop() {
        Some(item) if insert.vectors.is_empty() => Ok(v1::VectorInsertRequest {
            namespace: insert.namespace,
            id: item.id,
            vector: item.vector,
            idempotency_key: insert.idempotency_key.unwrap_or_default(),
        }),
        item => {
            insert.vectors.extend(item);
            Err(insert)
        }
    }
}

/// The insert of a request.
#[must_use]
pub fn vector_insert_from_ext(request: ext::VectorInsertManyRequest) -> VectorInsert {
    let item = |item: ext::VectorItem| VectorItem { id: item.id, vector: item.vector };
    VectorInsert {
        namespace: request.namespace,
        vectors: request.vectors.into_iter().map(item).collect(),
        idempotency_key: given(request.idempotency_key),
    }
}

/// An insert for the wire.
#[must_use]
pub fn vector_insert_to_ext(insert: VectorInsert) -> ext::VectorInsertManyRequest {
    let item = |item: VectorItem| ext::VectorItem { id: item.id, vector: item.vector };
    ext::VectorInsertManyRequest {
        namespace: insert.namespace,
        vectors: insert.vectors.into_iter().map(item).collect(),
        idempotency_key: insert.idempotency_key.unwrap_or_default(),
    }
}

/// The delete of a request.
#[must_use]
pub fn vector_delete_from_wire(request: v1::VectorDeleteRequest) -> VectorDelete {
    VectorDelete {
        namespace: request.namespace,
        id: request.id,
        idempotency_key: given(request.idempotency_key),
    }
}

/// A delete for the wire.
#[must_use]
pub fn vector_delete_to_wire(delete: VectorDelete) -> v1::VectorDeleteRequest {
    v1::VectorDeleteRequest {
        namespace: delete.namespace,
        id: delete.id,
        idempotency_key: delete.idempotency_key.unwrap_or_default(),
    }
}

/// The get of a request.
///
/// # Errors
/// `InvalidArgument` for a consistency that is none.
pub fn vector_get_from_wire(request: v1::VectorGetRequest) -> Result<VectorGet> {
    Ok(VectorGet {
        consistency: consistency_from_wire(&request.consistency)?,
        namespace: request.namespace,
        id: request.id,
    })
}

/// A get for the wire.
#[must_use]
pub fn vector_get_to_wire(get: VectorGet) -> v1::VectorGetRequest {
    v1::VectorGetRequest {
        namespace: get.namespace,
        id: get.id,
        consistency: consistency_to_wire(get.consistency).to_owned(),
    }
}

/// The search of a request.
///
/// # Errors
/// `InvalidArgument` for a consistency that is none.
pub fn vector_search_from_v1(request: v1::VectorSearchRequest) -> Result<VectorSearch> {
    Ok(VectorSearch {
        consistency: consistency_from_wire(&request.consistency)?,
        namespace: request.namespace,
        queries: vec![request.query],
        k: request.k,
        include_vectors: request.include_vectors,
        ..VectorSearch::default()
    })
}

/// A search for the wire.
///
/// # Errors
/// It is not of one query, or has an option.
pub fn vector_search_to_v1(mut search: VectorSearch) -> Result<v1::VectorSearchRequest, VectorSearch> {
    if search.max_distance.is_some() || search.ef_search.is_some() || !search.id_prefix.is_empty() {
        return Err(search);
    }
    match search.queries.pop() {
        Some(query) if search.queries.is_empty() => Ok(v1::VectorSearchRequest {
            namespace: search.namespace,
            query,
            k: search.k,
            include_vectors: search.include_vectors,
            consistency: consistency_to_wire(search.consistency).to_owned(),
        }),
        query => {
            search.queries.extend(query);
            Err(search)
        }
    }
}

/// The search of a request.
///
/// # Errors
/// `InvalidArgument` for a consistency that is none.
pub fn vector_search_from_ext(request: ext::VectorSearchRequest) -> Result<VectorSearch> {
    Ok(VectorSearch {
        consistency: consistency_from_wire(&request.consistency)?,
        namespace: request.namespace,
        queries: request.queries.into_iter().map(|query| query.vector).collect(),
        k: request.k,
        include_vectors: request.include_vectors,
        max_distance: request.max_distance,
        ef_search: request.ef_search,
        id_prefix: request.id_prefix,
    })
}

/// A search for the wire.
#[must_use]
pub fn vector_search_to_ext(search: VectorSearch) -> ext::VectorSearchRequest {
    ext::VectorSearchRequest {
        namespace: search.namespace,
        queries: search.queries.into_iter().map(|vector| ext::VectorQuery { vector }).collect(),
        k: search.k,
        include_vectors: search.include_vectors,
        max_distance: search.max_distance,
        ef_search: search.ef_search,
        id_prefix: search.id_prefix,
        consistency: consistency_to_wire(search.consistency).to_owned(),
    }
}

impl From<VectorSearchResult> for v1::VectorSearchResponse {
    fn from(result: VectorSearchResult) -> Self {
        Self { matches: matches_to_wire(result.matches), search_time_us: result.search_time_us }
    }
}

impl From<v1::VectorSearchResponse> for VectorSearchResult {
    fn from(response: v1::VectorSearchResponse) -> Self {
        Self { matches: matches_from_wire(response.matches), search_time_us: response.search_time_us }
    }
}

impl From<VectorSearchResult> for ext::VectorSearchResult {
    fn from(result: VectorSearchResult) -> Self {
        Self { matches: matches_to_wire(result.matches), search_time_us: result.search_time_us }
    }
}

impl From<ext::VectorSearchResult> for VectorSearchResult {
    fn from(result: ext::VectorSearchResult) -> Self {
        Self { matches: matches_from_wire(result.matches), search_time_us: result.search_time_us }
    }
}

fn matches_to_wire(matches: Vec<VectorMatch>) -> Vec<v1::VectorMatch> {
    let to_wire = |found: VectorMatch| v1::VectorMatch {
        id: found.id,
        distance: found.distance,
        vector: found.vector.unwrap_or_default(),
    };
    matches.into_iter().map(to_wire).collect()
}

/// No index has vectors without numbers: one that is empty was not asked for.
fn matches_from_wire(matches: Vec<v1::VectorMatch>) -> Vec<VectorMatch> {
    let from_wire = |found: v1::VectorMatch| VectorMatch {
        id: found.id,
        distance: found.distance,
        vector: (!found.vector.is_empty()).then_some(found.vector),
    };
    matches.into_iter().map(from_wire).collect()
}

/// What an index is like now, for the wire.
#[must_use]
pub fn vector_info_to_wire(info: VectorIndexInfo) -> ext::VectorIndexInfo {
    ext::VectorIndexInfo {
        index: Some(index_to_wire(info.index)),
        created: Some(info.created.into()),
        vectors: info.vectors,
        indexed: info.indexed,
        memory_bytes: info.memory_bytes,
    }
}

/// What an index is like now, from the wire.
///
/// # Errors
/// `InvalidArgument` for an index that cannot be.
pub fn vector_info_from_wire(info: ext::VectorIndexInfo) -> Result<VectorIndexInfo> {
    Ok(VectorIndexInfo {
        index: index_from_wire(info.index)?,
        created: info.created.map_or(Version::ZERO, Version::from),
        vectors: info.vectors,
        indexed: info.indexed,
        memory_bytes: info.memory_bytes,
    })
}

fn index_to_wire(index: VectorIndex) -> ext::VectorIndex {
    let distance = match index.distance {
        DistanceFunction::Euclidean => v1::DistanceFunction::Euclidean,
        DistanceFunction::Cosine => v1::DistanceFunction::Cosine,
        DistanceFunction::InnerProduct => v1::DistanceFunction::InnerProduct,
    };
    let index_type = match index.index_type {
        VectorIndexType::BruteForce => v1::VectorIndexType::BruteForce,
        VectorIndexType::Hnsw => v1::VectorIndexType::Hnsw,
    };
    let quantization = match index.quantization {
        Quantization::None => ext::Quantization::Unspecified,
        Quantization::F16 => ext::Quantization::F16,
        Quantization::Int8 => ext::Quantization::Int8,
    };
    ext::VectorIndex {
        namespace: index.namespace,
        dimensions: index.dimensions,
        distance: distance.into(),
        index_type: index_type.into(),
        quantization: quantization.into(),
    }
}

fn index_from_wire(index: Option<ext::VectorIndex>) -> Result<VectorIndex> {
    let index = index.ok_or_else(|| Error::invalid_argument("nothing is said of the vector index"))?;
    let quantization = match ext::Quantization::try_from(index.quantization) {
        Ok(ext::Quantization::Unspecified) => Quantization::None,
        Ok(ext::Quantization::F16) => Quantization::F16,
        Ok(ext::Quantization::Int8) => Quantization::Int8,
        Err(_) => {
            return Err(none_of("quantization is 0 (none), 1 (f16) or 2 (int8)", index.quantization));
        }
    };
    Ok(VectorIndex {
        namespace: index.namespace,
        dimensions: index.dimensions,
        distance: distance_from_wire(index.distance)?,
        index_type: index_type_from_wire(index.index_type)?,
        quantization,
    })
}

fn distance_from_wire(number: i32) -> Result<DistanceFunction> {
    match v1::DistanceFunction::try_from(number) {
        Ok(v1::DistanceFunction::Euclidean) => Ok(DistanceFunction::Euclidean),
        Ok(v1::DistanceFunction::Cosine) => Ok(DistanceFunction::Cosine),
        Ok(v1::DistanceFunction::InnerProduct) => Ok(DistanceFunction::InnerProduct),
        Ok(v1::DistanceFunction::Unspecified) | Err(_) => {
            Err(none_of("distance is 1 (euclidean), 2 (cosine) or 3 (inner_product)", number))
        }
    }
}

fn index_type_from_wire(number: i32) -> Result<VectorIndexType> {
    match v1::VectorIndexType::try_from(number) {
        Ok(v1::VectorIndexType::BruteForce) => Ok(VectorIndexType::BruteForce),
        Ok(v1::VectorIndexType::Hnsw) => Ok(VectorIndexType::Hnsw),
        Ok(v1::VectorIndexType::Unspecified) | Err(_) => {
            Err(none_of("index_type is 1 (brute_force) or 2 (hnsw)", number))
        }
    }
}

/// The refusal of a number: what it means to whoever sent it is not ours to guess.
fn none_of(which: &str, number: i32) -> Error {
    Error::invalid_argument(format!("{which}; got {number}"))
}
