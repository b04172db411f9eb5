use std::{collections::BTreeMap, fmt::Debug, sync::Mutex};

use norikv_core::{
    DistanceFunction, Error, ErrorKind, Result, VectorCreateIndex, VectorDelete, VectorDropIndex, VectorGet,
    VectorIndex, VectorIndexInfo, VectorInsert, VectorMatch, VectorSearch, VectorSearchResult, Version,
};

/// Vectors in a map, which a search looks through one by one.
#[derive(Default)]
pub struct VectorMap {
    indexes: Mutex<BTreeMap<String, Index>>,
    /// The requests, as they came.
    asked: Mutex<Vec<String>>,
}

struct Index {
    index: VectorIndex,
    created: Version,
    vectors: BTreeMap<String, Vec<f32>>,
}

impl VectorMap {
    /// The last request, as it came.
    pub fn last(&self) -> String {
        self.asked.lock().unwrap().last().cloned().unwrap_or_default()
    }

    fn note(&self, request: &impl Debug) {
        self.asked.lock().unwrap().push(format!("{request:?}"));
    }

    fn on<R>(&self, namespace: &str, work: impl FnOnce(&mut Index) -> Result<R>) -> Result<R> {
        let mut indexes = self.indexes.lock().unwrap();
        work(indexes.get_mut(namespace).ok_or_else(|| Error::vector_index_not_found(namespace))?)
    }

    pub fn create(&self, request: &VectorCreateIndex, version: Version) -> Result<bool> {
        self.note(request);
        request.check()?;
        let mut indexes = self.indexes.lock().unwrap();
        match indexes.get(&request.index.namespace) {
            Some(there) if there.index == request.index => return Ok(false),
            Some(_) => return Err(Error::new(ErrorKind::VectorIndexExists, "another one is there")),
            None => {}
        }
        let index = request.index.clone();
        let new = Index { index, created: version, vectors: BTreeMap::new() };
        indexes.insert(request.index.namespace.clone(), new);
        Ok(true)
    }

    pub fn drop(&self, request: &VectorDropIndex) -> Result<bool> {
        self.note(request);
        request.check()?;
        Ok(self.indexes.lock().unwrap().remove(&request.namespace).is_some())
    }

    pub fn insert(&self, request: VectorInsert) -> Result<()> {
        self.note(&request);
        request.check()?;
        self.on(&request.namespace, |index| {
            request.vectors.iter().try_for_each(|item| index.index.check_vector(&item.vector))?;
            index.vectors.extend(request.vectors.into_iter().map(|item| (item.id, item.vector)));
            Ok(())
        })
    }

    pub fn delete(&self, request: &VectorDelete) -> Result<bool> {
        self.note(request);
        request.check()?;
        self.on(&request.namespace, |index| Ok(index.vectors.remove(&request.id).is_some()))
    }

    pub fn get(&self, request: &VectorGet) -> Result<Option<Vec<f32>>> {
        self.note(request);
        request.check()?;
        self.on(&request.namespace, |index| Ok(index.vectors.get(&request.id).cloned()))
    }

    pub fn search(&self, request: &VectorSearch) -> Result<Vec<VectorSearchResult>> {
        self.note(request);
        request.check()?;
        self.on(&request.namespace, |index| {
            request.queries.iter().map(|query| nearest(index, request, query)).collect()
        })
    }

    pub fn list(&self) -> Vec<VectorIndexInfo> {
        let indexes = self.indexes.lock().unwrap();
        let info = |index: &Index| VectorIndexInfo {
            index: index.index.clone(),
            created: index.created,
            vectors: index.vectors.len() as u64,
            indexed: 1,
            memory_bytes: 2,
        };
        indexes.values().map(info).collect()
    }
}

fn nearest(index: &Index, request: &VectorSearch, query: &[f32]) -> Result<VectorSearchResult> {
    index.index.check_vector(query)?;
    let found = index.vectors.iter().filter(|(id, _)| id.starts_with(&request.id_prefix));
    let found = found.map(|(id, vector)| VectorMatch {
        id: id.clone(),
        distance: distance(index.index.distance, query, vector),
        vector: request.include_vectors.then(|| vector.clone()),
    });
    let mut matches: Vec<_> =
        found.filter(|found| request.max_distance.is_none_or(|most| found.distance <= most)).collect();
    matches.sort_by(|one, other| one.distance.total_cmp(&other.distance));
    matches.truncate(request.k as usize);
    Ok(VectorSearchResult { matches, search_time_us: 5 })
}

fn distance(function: DistanceFunction, one: &[f32], other: &[f32]) -> f32 {
    let dot = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    match function {
        DistanceFunction::Euclidean => {
            one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
        }
        DistanceFunction::Cosine => 1.0 - dot(one, other) / (dot(one, one).sqrt() * dot(other, other).sqrt()),
        DistanceFunction::InnerProduct => -dot(one, other),
    }
}
