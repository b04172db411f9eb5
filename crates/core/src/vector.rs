use std::str::FromStr;

use crate::{Error, ErrorKind, FieldName, Result, Version, number_text};

/// The most dimensions of a vector.
pub const MAX_VECTOR_DIMENSIONS: usize = 4_096;
/// The longest name of a vector index, in bytes of UTF-8.
pub const MAX_VECTOR_NAMESPACE_BYTES: usize = 256;
/// The longest id of a vector, in bytes of UTF-8.
pub const MAX_VECTOR_ID_BYTES: usize = 512;
/// The most vectors of one insert, which is one transaction.
pub const MAX_VECTOR_BATCH: usize = 100;
/// The most queries of one search.
pub const MAX_VECTOR_QUERIES: usize = 100;
/// The most matches that one query answers.
pub const MAX_VECTOR_K: u32 = 10_000;
/// The most that `efSearch` may be.
pub const MAX_VECTOR_EF: u32 = 10_000;

/// How the keys begin of the entries that are vectors, in stores that keep them as entries.
pub const VECTOR_KEY_PREFIX: &[u8] = b"\0norikv/v";

/// The largest sum of squares of a vector: with it, every distance between two vectors is a finite `f32`.
const MAX_SQUARES: f64 = f32::MAX as f64 / 8.0;

macro_rules! words {
    ($type:ident, $what:literal, $($variant:ident = $word:literal),+) => {
        impl $type {
            /// Every one there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it in JavaScript and in settings.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(word: &str) -> Result<Self> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => {
                        let words = [$(concat!("\"", $word, "\"")),+].join(", ");
                        Err(Error::invalid_argument(format!(concat!($what, " is one of {}; got {:?}"), words, word)))
                    }
                }
            }
        }
    };
}

/// How far two vectors are from each other. Lower is nearer in all three.
///
/// ```
/// use norikv_core::DistanceFunction;
/// assert_eq!("cosine".parse::<DistanceFunction>()?, DistanceFunction::Cosine);
/// # Ok::<(), norikv_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DistanceFunction {
    /// The straight line: sqrt(Σ(a−b)²).
    #[default]
    Euclidean,
    /// The angle: 1 − a·b / (|a||b|), from 0 to 2. Lengths do not count.
    Cosine,
    /// −a·b. May be negative.
    InnerProduct,
}

words!(
    DistanceFunction,
    "distance",
    Euclidean = "euclidean",
    Cosine = "cosine",
    InnerProduct = "inner_product"
);

/// How an index finds the nearest vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VectorIndexType {
    /// Looks at every vector: exact, and slower the more there are.
    #[default]
    BruteForce,
    /// A hierarchical navigable small world graph (Malkov and Yashunin, 2016): fast, and nearly always right.
    Hnsw,
}

words!(VectorIndexType, "indexType", BruteForce = "brute_force", Hnsw = "hnsw");

/// What an index keeps in memory of each number of a vector. The store keeps all of it whatever this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// All of it: 4 bytes.
    #[default]
    None,
    /// Half of its precision: 2 bytes.
    F16,
    /// One of 255 steps between the least and the greatest of its vector: 1 byte.
    Int8,
}

words!(Quantization, "quantization", None = "none", F16 = "f16", Int8 = "int8");

/// What a vector index is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VectorIndex {
    /// Its name.
    pub namespace: String,
    /// How many numbers each of its vectors has.
    pub dimensions: u32,
    /// How far its vectors are from each other.
    pub distance: DistanceFunction,
    /// How it finds the nearest.
    pub index_type: VectorIndexType,
    /// What it keeps in memory.
    pub quantization: Quantization,
}

impl VectorIndex {
    /// Refuses what cannot be an index.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        check_vector_namespace(&self.namespace)?;
        vector_count("dimensions", self.dimensions.into(), MAX_VECTOR_DIMENSIONS as u32).map(drop)
    }

    /// Refuses a vector that this index cannot hold or be asked for.
    ///
    /// # Errors
    /// - `VectorDimensionMismatch`: it is longer or shorter than the index's.
    /// - `InvalidArgument`: it is zero, which has no angle, and the distance is cosine; or as [`check_vector`].
    pub fn check_vector(&self, vector: &[f32]) -> Result<()> {
        if vector.len() != self.dimensions as usize {
            return Err(Error::vector_dimension_mismatch(&self.namespace, self.dimensions, vector.len()));
        }
        check_vector(vector)?;
        if self.distance == DistanceFunction::Cosine && vector.iter().all(|number| *number == 0.0) {
            return Err(Error::invalid_argument(
                "a vector of zeros has no direction, so that it has no cosine distance to any other",
            ));
        }
        Ok(())
    }
}

impl Error {
    /// A [`ErrorKind::VectorIndexNotFound`].
    #[must_use]
    pub fn vector_index_not_found(namespace: &str) -> Self {
        Self::new(
            ErrorKind::VectorIndexNotFound,
            format!("there is no vector index {namespace:?}; create it with vectorCreateIndex"),
        )
    }

    /// A [`ErrorKind::VectorDimensionMismatch`].
    #[must_use]
    pub fn vector_dimension_mismatch(namespace: &str, expected: u32, actual: usize) -> Self {
        Self::new(
            ErrorKind::VectorDimensionMismatch,
            format!("the vectors of index {namespace:?} have {expected} dimensions; this one has {actual}"),
        )
        .with(FieldName::Expected, u64::from(expected))
        .with(FieldName::Actual, actual as u64)
    }
}

/// Refuses a vector that no index can hold.
///
/// # Errors
/// `InvalidArgument`: it is empty or longer than [`MAX_VECTOR_DIMENSIONS`], it has a number that is `NaN` or infinite,
/// or its numbers are so large that distances are not finite.
pub fn check_vector(vector: &[f32]) -> Result<()> {
    if !(1..=MAX_VECTOR_DIMENSIONS).contains(&vector.len()) {
        return Err(Error::invalid_argument(format!(
            "a vector has 1 to {MAX_VECTOR_DIMENSIONS} numbers; this one has {}",
            vector.len()
        )));
    }
    let squares: f64 = vector.iter().map(|number| f64::from(*number) * f64::from(*number)).sum();
    if squares <= MAX_SQUARES {
        return Ok(());
    }
    if let Some(at) = vector.iter().position(|number| !number.is_finite()) {
        let found = if vector[at].is_nan() { "NaN" } else { "infinite as a 32-bit float" };
        return Err(Error::invalid_argument(format!(
            "a vector's numbers are finite; number {at} is {found}"
        )));
    }
    Err(Error::invalid_argument(
        "a vector's squares sum up to 4e37 at most, so that distances are finite; this one's are more",
    ))
}

/// Refuses a name that no vector index has.
///
/// # Errors
/// `InvalidArgument`.
pub fn check_vector_namespace(namespace: &str) -> Result<()> {
    check_length("a vector index's namespace", namespace, MAX_VECTOR_NAMESPACE_BYTES)
}

/// A whole number from 1 to `most`, which JavaScript may have sent as any number.
///
/// ```
/// use norikv_core::vector_count;
/// assert_eq!(vector_count("k", 10.0, 10_000)?, 10);
/// let error = vector_count("k", 2_147_483_648.0, 10_000).unwrap_err();
/// assert_eq!(error.message(), "k is a whole number from 1 to 10000; got 2147483648");
/// # Ok::<(), norikv_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument`.
pub fn vector_count(what: &str, number: f64, most: u32) -> Result<u32> {
    if number.fract() == 0.0 && (1.0..=f64::from(most)).contains(&number) {
        // In range and whole, checked above, so the conversion is exact.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        return Ok(number as u32);
    }
    Err(Error::invalid_argument(format!(
        "{what} is a whole number from 1 to {most}; got {}",
        number_text(number)
    )))
}

/// Refuses an id that no vector has.
pub(crate) fn check_id(id: &str) -> Result<()> {
    check_length("a vector's id", id, MAX_VECTOR_ID_BYTES)
}

fn check_length(what: &str, text: &str, most: usize) -> Result<()> {
    if (1..=most).contains(&text.len()) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "{what} has 1 to {most} bytes of UTF-8; this one has {}",
        text.len()
    )))
}

/// A vector index as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorIndexInfo {
    /// What it is.
    pub index: VectorIndex,
    /// When it was created.
    pub created: Version,
    /// How many vectors it has.
    pub vectors: u64,
    /// How many of them are in its graph; the rest is looked at one by one until it is, in the background. All of
    /// them, for an index without a graph.
    pub indexed: u64,
    /// How many bytes of memory it takes.
    pub memory_bytes: u64,
}

/// All vector indexes of a store together, as they are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VectorStatus {
    /// How many indexes there are.
    pub indexes: u64,
    /// How many vectors they have.
    pub vectors: u64,
    /// How many of these are indexed. The rest is, in the background, and is looked at one by one meanwhile.
    pub indexed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(distance: DistanceFunction) -> VectorIndex {
        VectorIndex { namespace: "n".into(), dimensions: 2, distance, ..VectorIndex::default() }
    }

    #[test]
    fn dimensions_names_and_ids_have_their_bounds() {
        for (dimensions, right) in [(0, false), (1, true), (4_096, true), (4_097, false)] {
            let index = VectorIndex { dimensions, ..index(DistanceFunction::Cosine) };
            assert_eq!(index.check().is_ok(), right, "{dimensions}");
        }
        for (length, right) in [(0, false), (1, true), (256, true), (257, false)] {
            assert_eq!(check_vector_namespace(&"n".repeat(length)).is_ok(), right, "{length}");
        }
        for (length, right) in [(0, false), (1, true), (512, true), (513, false)] {
            assert_eq!(check_id(&"i".repeat(length)).is_ok(), right, "{length}");
        }
    }

    #[test]
    fn vectors_that_no_index_holds_are_refused() {
        let euclidean = index(DistanceFunction::Euclidean);
        euclidean.check_vector(&[0.0, 0.0]).unwrap();
        euclidean.check_vector(&[1e18, 1e18]).unwrap();
        for wrong in [[f32::NAN, 0.0], [0.0, f32::INFINITY], [f32::NEG_INFINITY, 0.0], [1e19, 0.0]] {
            assert_eq!(euclidean.check_vector(&wrong).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        let error = euclidean.check_vector(&[1.0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VectorDimensionMismatch);
        assert!(error.field(FieldName::Expected).is_some() && error.field(FieldName::Actual).is_some());
        assert!(index(DistanceFunction::Cosine).check_vector(&[0.0, -0.0]).is_err());
        index(DistanceFunction::Cosine).check_vector(&[1e-40, 0.0]).unwrap();
    }

    #[test]
    fn words_lead_to_their_variants_and_back() {
        for distance in DistanceFunction::ALL {
            assert_eq!(distance.as_str().parse::<DistanceFunction>().unwrap(), *distance);
        }
        let error = "manhattan".parse::<DistanceFunction>().unwrap_err();
        assert!(error.message().contains("\"inner_product\"") && error.message().contains("\"manhattan\""));
    }
}
