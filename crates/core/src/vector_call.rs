use xxhash_rust::xxh3::Xxh3;

use crate::{
    Consistency, Error, MAX_VECTOR_BATCH, MAX_VECTOR_EF, MAX_VECTOR_ID_BYTES, MAX_VECTOR_K,
    MAX_VECTOR_QUERIES, Result, VectorIndex, check_vector, check_vector_namespace,
    limits::check_idempotency_key, vector::check_id, vector_count,
};

fn check_key(idempotency_key: Option<&String>) -> Result<()> {
    idempotency_key.map_or(Ok(()), |key| check_idempotency_key(key))
}

/// Collects what tells a write from any other under the same idempotency key.
struct Fingerprint(Xxh3);

impl Fingerprint {
    fn new(operation: &str, namespace: &str) -> Self {
        Self(Xxh3::new()).text(operation).text(namespace)
    }

    fn text(mut self, text: &str) -> Self {
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
        self
    }

    fn vector(mut self, vector: &[f32]) -> Self {
        self.0.update(&(vector.len() as u64).to_le_bytes());
        for number in vector {
            self.0.update(&number.to_le_bytes());
        }
        self
    }

    fn digest(self) -> u128 {
        self.0.digest128()
    }
}

/// Creates a vector index.
#[derive(Clone, Debug, Default)]
pub struct VectorCreateIndex {
    /// What it is.
    pub index: VectorIndex,
    /// Makes the write happen once, however often it is sent.
    pub idempotency_key: Option<String>,
}

impl VectorCreateIndex {
    /// Refuses what no store may create.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        self.index.check()?;
        check_key(self.idempotency_key.as_ref())
    }

    /// What tells this write from any other under the same idempotency key.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        let index = &self.index;
        Fingerprint::new("vectorCreateIndex", &index.namespace)
            .text(&index.dimensions.to_string())
            .text(index.distance.as_str())
            .text(index.index_type.as_str())
            .text(index.quantization.as_str())
            .digest()
    }
}

/// Drops a vector index with all of its vectors.
#[derive(Clone, Debug, Default)]
pub struct VectorDropIndex {
    /// The index.
    pub namespace: String,
    /// Makes the write happen once, however often it is sent.
    pub idempotency_key: Option<String>,
}

impl VectorDropIndex {
    /// Refuses what no store may be asked.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        check_vector_namespace(&self.namespace)?;
        check_key(self.idempotency_key.as_ref())
    }

    /// What tells this write from any other under the same idempotency key.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        Fingerprint::new("vectorDropIndex", &self.namespace).digest()
    }
}

/// A vector on its way into an index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorItem {
    /// Its id. A vector that has it already is replaced.
    pub id: String,
    /// Its numbers.
    pub vector: Vec<f32>,
}

/// Inserts or replaces vectors, all in one transaction.
#[derive(Clone, Debug, Default)]
pub struct VectorInsert {
    /// The index.
    pub namespace: String,
    /// The vectors: 1 to [`MAX_VECTOR_BATCH`], each with an id of its own.
    pub vectors: Vec<VectorItem>,
    /// Makes the write happen once, however often it is sent.
    pub idempotency_key: Option<String>,
}

impl VectorInsert {
    /// Refuses what no store may write, as far as it can be told without the index.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        check_vector_namespace(&self.namespace)?;
        check_key(self.idempotency_key.as_ref())?;
        if !(1..=MAX_VECTOR_BATCH).contains(&self.vectors.len()) {
            return Err(Error::invalid_argument(format!(
                "1 to {MAX_VECTOR_BATCH} vectors are inserted at once, in one transaction; got {}",
                self.vectors.len()
            )));
        }
        for item in &self.vectors {
            check_id(&item.id)?;
            check_vector(&item.vector)?;
        }
        let mut ids: Vec<&str> = self.vectors.iter().map(|item| item.id.as_str()).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::invalid_argument(format!(
                "the vectors of one insert have different ids; {:?} is there twice",
                pair[0]
            ))),
            None => Ok(()),
        }
    }

    /// What tells this write from any other under the same idempotency key.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        let of = Fingerprint::new("vectorInsert", &self.namespace);
        self.vectors.iter().fold(of, |of, item| of.text(&item.id).vector(&item.vector)).digest()
    }
}

/// Deletes one vector.
#[derive(Clone, Debug, Default)]
pub struct VectorDelete {
    /// The index.
    pub namespace: String,
    /// The vector.
    pub id: String,
    /// Makes the write happen once, however often it is sent.
    pub idempotency_key: Option<String>,
}

impl VectorDelete {
    /// Refuses what no store may be asked.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        check_vector_namespace(&self.namespace)?;
        check_id(&self.id)?;
        check_key(self.idempotency_key.as_ref())
    }

    /// What tells this write from any other under the same idempotency key.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        Fingerprint::new("vectorDelete", &self.namespace).text(&self.id).digest()
    }
}

/// Reads one vector.
#[derive(Clone, Debug, Default)]
pub struct VectorGet {
    /// The index.
    pub namespace: String,
    /// The vector.
    pub id: String,
    /// How fresh the answer must be.
    pub consistency: Consistency,
}

impl VectorGet {
    /// Refuses what no store may be asked.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        check_vector_namespace(&self.namespace)?;
        check_id(&self.id)
    }
}

/// Looks for the vectors nearest to each of some queries.
#[derive(Clone, Debug, Default)]
pub struct VectorSearch {
    /// The index.
    pub namespace: String,
    /// What to look for: 1 to [`MAX_VECTOR_QUERIES`] vectors.
    pub queries: Vec<Vec<f32>>,
    /// How many matches each query answers at most, 1 to [`MAX_VECTOR_K`]; fewer, if there are fewer.
    pub k: u32,
    /// Whether to answer the vectors, too.
    pub include_vectors: bool,
    /// Leaves out what is farther away.
    pub max_distance: Option<f32>,
    /// How many candidates an HNSW index looks at, up to [`MAX_VECTOR_EF`]: more is slower and finds more. At least `k`
    /// are looked at.
    pub ef_search: Option<u32>,
    /// Looks only at vectors whose ids begin so.
    pub id_prefix: String,
    /// How fresh the answer must be.
    pub consistency: Consistency,
}

impl VectorSearch {
    /// Refuses what no store may be asked, as far as it can be told without the index.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        check_vector_namespace(&self.namespace)?;
        if !(1..=MAX_VECTOR_QUERIES).contains(&self.queries.len()) {
            return Err(Error::invalid_argument(format!(
                "a search has 1 to {MAX_VECTOR_QUERIES} queries; this one has {}",
                self.queries.len()
            )));
        }
        vector_count("k", self.k.into(), MAX_VECTOR_K)?;
        if let Some(ef) = self.ef_search {
            vector_count("efSearch", ef.into(), MAX_VECTOR_EF)?;
        }
        if self.max_distance.is_some_and(f32::is_nan) {
            return Err(Error::invalid_argument("maxDistance is a number; got NaN"));
        }
        if self.id_prefix.len() > MAX_VECTOR_ID_BYTES {
            return Err(Error::invalid_argument(format!(
                "idPrefix has at most {MAX_VECTOR_ID_BYTES} bytes, like an id; this one has {}",
                self.id_prefix.len()
            )));
        }
        self.queries.iter().try_for_each(|query| check_vector(query))
    }
}

/// A vector that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorMatch {
    /// Its id.
    pub id: String,
    /// How far it is from the query.
    pub distance: f32,
    /// Its numbers, as they were inserted, if they were asked for.
    pub vector: Option<Vec<f32>>,
}

/// What one query answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorSearchResult {
    /// The nearest vectors, nearest first, those that are equally far by their ids.
    pub matches: Vec<VectorMatch>,
    /// How long the store searched, in microseconds.
    pub search_time_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insert_names_an_id_once_and_has_a_bound() {
        let of = |ids: &[&str]| VectorInsert {
            namespace: "n".into(),
            vectors: ids.iter().map(|id| VectorItem { id: (*id).into(), vector: vec![1.0] }).collect(),
            idempotency_key: None,
        };
        of(&["a", "b"]).check().unwrap();
        assert!(of(&["a", "b", "a"]).check().is_err());
        assert!(of(&[]).check().is_err());
        let many: Vec<String> = (0..=MAX_VECTOR_BATCH).map(|n| n.to_string()).collect();
        assert!(of(&many.iter().map(String::as_str).collect::<Vec<_>>()).check().is_err());
    }

    #[test]
    fn fingerprints_tell_writes_apart() {
        let insert = |id: &str, vector: &[f32]| {
            VectorInsert {
                namespace: "n".into(),
                vectors: vec![VectorItem { id: id.into(), vector: vector.into() }],
                idempotency_key: None,
            }
            .fingerprint()
        };
        assert_eq!(insert("a", &[1.0]), insert("a", &[1.0]));
        assert_ne!(insert("a", &[1.0]), insert("b", &[1.0]));
        assert_ne!(insert("a", &[1.0]), insert("a", &[2.0]));
    }
}
