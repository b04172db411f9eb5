//! Vectors' bytes: in what is asked of them, out what is answered. A vector is its `f32`s as they lie in memory, with
//! their length in bytes before them.

use norikv_core::{
    Call, Consistency, Error, MAX_VECTOR_DIMENSIONS, MAX_VECTOR_EF, MAX_VECTOR_K, Result, Store,
    VectorCreateIndex, VectorDelete, VectorDropIndex, VectorGet, VectorIndex, VectorIndexInfo, VectorInsert,
    VectorItem, VectorSearch, VectorSearchResult, vector_count,
};

use crate::{
    call::{optional, read_consistency},
    frame::{Reader, Writer},
    reply::length,
    work::Reply,
};

/// What is asked of vectors.
#[derive(Debug)]
pub(crate) enum VectorCall {
    CreateIndex(VectorCreateIndex),
    DropIndex(VectorDropIndex),
    Insert(VectorInsert),
    Delete(VectorDelete),
    Get(VectorGet),
    Search(VectorSearch),
    Indexes,
}

// The first byte of such a call. `src/frame.ts` has the same table.
pub(crate) const CREATE_INDEX: u8 = 20;
const DROP_INDEX: u8 = 21;
const INSERT: u8 = 22;
const DELETE: u8 = 23;
const GET: u8 = 24;
const SEARCH: u8 = 25;
pub(crate) const INDEXES: u8 = 26;

// Flags of searches. `src/vector.ts` has the same table.
const INCLUDE_VECTORS: u8 = 1;
const HAS_MAX_DISTANCE: u8 = 2;
const HAS_EF_SEARCH: u8 = 4;

impl VectorCall {
    /// The outer error is a broken frame, the inner one bad input, as in [`crate::call::Operation::read`].
    pub(crate) fn read(op: u8, frame: &mut Reader) -> Result<Result<Self>> {
        if op == INDEXES {
            return Ok(Ok(Self::Indexes));
        }
        let namespace = frame.text()?;
        Ok(Ok(match op {
            CREATE_INDEX => return read_create(namespace, frame),
            DROP_INDEX => Self::DropIndex(VectorDropIndex { namespace, idempotency_key: read_key(frame)? }),
            INSERT => {
                let idempotency_key = read_key(frame)?;
                let vectors = read_list(frame, |frame| {
                    Ok(VectorItem { id: frame.text()?, vector: read_vector(frame)? })
                })?;
                Self::Insert(VectorInsert { namespace, vectors, idempotency_key })
            }
            DELETE => {
                let idempotency_key = read_key(frame)?;
                Self::Delete(VectorDelete { namespace, id: frame.text()?, idempotency_key })
            }
            GET => {
                let consistency = read_consistency(frame)?;
                Self::Get(VectorGet { namespace, id: frame.text()?, consistency })
            }
            SEARCH => return read_search(namespace, frame),
            other => return Err(Error::internal(format!("a frame has an unknown call, {other}"))),
        }))
    }

    pub(crate) fn writes(&self) -> bool {
        !matches!(self, Self::Get(_) | Self::Search(_) | Self::Indexes)
    }

    pub(crate) async fn run_on(self, store: &dyn Store, call: Call) -> Result<Reply> {
        Ok(match self {
            Self::CreateIndex(create) => Reply::Boolean(store.vector_create_index(create, call).await?),
            Self::DropIndex(drop) => Reply::Boolean(store.vector_drop_index(drop, call).await?),
            Self::Insert(insert) => Reply::Version(store.vector_insert(insert, call).await?),
            Self::Delete(delete) => Reply::Boolean(store.vector_delete(delete, call).await?),
            Self::Get(get) => Reply::MaybeVector(store.vector_get(get, call).await?),
            Self::Search(search) => Reply::VectorResults(store.vector_search(search, call).await?),
            Self::Indexes => Reply::VectorIndexes(store.vector_indexes(call).await?),
        })
    }
}

fn read_create(namespace: String, frame: &mut Reader) -> Result<Result<VectorCall>> {
    let dimensions = frame.f64()?;
    let (distance, index_type, quantization) = (frame.text()?, frame.text()?, frame.text()?);
    let idempotency_key = read_key(frame)?;
    Ok((|| {
        let index = VectorIndex {
            namespace,
            dimensions: vector_count("dimensions", dimensions, MAX_VECTOR_DIMENSIONS as u32)?,
            distance: distance.parse()?,
            index_type: index_type.parse()?,
            quantization: quantization.parse()?,
        };
        Ok(VectorCall::CreateIndex(VectorCreateIndex { index, idempotency_key }))
    })())
}

fn read_search(namespace: String, frame: &mut Reader) -> Result<Result<VectorCall>> {
    let consistency: Consistency = read_consistency(frame)?;
    let flags = frame.u8()?;
    let k = frame.f64()?;
    let max_distance = optional(flags & HAS_MAX_DISTANCE != 0, || frame.f64())?;
    let ef_search = optional(flags & HAS_EF_SEARCH != 0, || frame.f64())?;
    let id_prefix = frame.text()?;
    let queries = read_list(frame, read_vector)?;
    Ok((|| {
        Ok(VectorCall::Search(VectorSearch {
            namespace,
            queries,
            k: vector_count("k", k, MAX_VECTOR_K)?,
            include_vectors: flags & INCLUDE_VECTORS != 0,
            // Rounded as distances are, so that one that was answered can be asked for.
            #[allow(clippy::cast_possible_truncation)]
            max_distance: max_distance.map(|distance| distance as f32),
            ef_search: ef_search.map(|ef| vector_count("efSearch", ef, MAX_VECTOR_EF)).transpose()?,
            id_prefix,
            consistency,
        }))
    })())
}

fn read_key(frame: &mut Reader) -> Result<Option<String>> {
    let present = frame.u8()? != 0;
    optional(present, || frame.text())
}

/// What comes after its number. Each has bytes of its own, so that a number that lies ends with the frame.
fn read_list<T>(frame: &mut Reader, one: impl Fn(&mut Reader) -> Result<T>) -> Result<Vec<T>> {
    let count = frame.u32()?;
    (0..count).map(|_| one(frame)).collect()
}

/// A vector of its own: it outlives the frame.
fn read_vector(frame: &mut Reader) -> Result<Vec<f32>> {
    let bytes = frame.bytes()?;
    // On the machines that there are, the compiler makes one copy of this.
    let (numbers, rest) = bytes.as_chunks();
    if rest.is_empty() {
        return Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect());
    }
    Err(Error::internal("a vector of a frame ends within a number; the two sides of the binding differ"))
}

/// Writes a vector.
pub(crate) fn write_vector(out: &mut Writer, vector: &[f32]) {
    let bytes = size_of_val(vector);
    out.u32(length(bytes));
    let start = out.0.len();
    out.0.resize(start + bytes, 0);
    let (slots, _) = out.0[start..].as_chunks_mut();
    for (slot, number) in slots.iter_mut().zip(vector) {
        *slot = number.to_le_bytes();
    }
}

/// Writes what queries found.
pub(crate) fn write_results(out: &mut Writer, results: &[VectorSearchResult]) {
    out.u32(length(results.len()));
    for result in results {
        out.u64(result.search_time_us);
        out.u32(length(result.matches.len()));
        for found in &result.matches {
            out.text(&found.id);
            out.f64(found.distance.into());
            out.u8(found.vector.is_some().into());
            if let Some(vector) = &found.vector {
                write_vector(out, vector);
            }
        }
    }
}

/// Writes indexes as they are now.
pub(crate) fn write_indexes(out: &mut Writer, indexes: &[VectorIndexInfo]) {
    out.u32(length(indexes.len()));
    for info in indexes {
        let index = &info.index;
        out.text(&index.namespace);
        out.u32(index.dimensions);
        out.text(index.distance.as_str());
        out.text(index.index_type.as_str());
        out.text(index.quantization.as_str());
        out.version(info.created);
        for number in [info.vectors, info.indexed, info.memory_bytes] {
            out.u64(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_written_and_read_bit_for_bit() {
        let vector = [1.5, -0.0, f32::MIN_POSITIVE, f32::NAN, f32::NEG_INFINITY];
        for vector in [&vector[..], &[]] {
            let mut writer = Writer::default();
            writer.u8(7); // Vectors lie at any place of a frame.
            write_vector(&mut writer, vector);
            writer.u8(9);
            let mut reader = Reader::new(writer.0.freeze());
            assert_eq!(reader.u8().unwrap(), 7);
            let read = read_vector(&mut reader).unwrap();
            assert_eq!(reader.u8().unwrap(), 9);
            let bits = |vector: &[f32]| vector.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&read), bits(vector));
        }
    }

    #[test]
    fn a_vector_that_ends_within_a_number_is_a_broken_frame() {
        let mut writer = Writer::<bytes::BytesMut>::default();
        writer.bytes(&[0; 7]);
        assert!(read_vector(&mut Reader::new(writer.0.freeze())).is_err());
    }

    #[test]
    fn a_number_of_vectors_that_lies_is_a_broken_frame() {
        let mut writer = Writer::<bytes::BytesMut>::default();
        writer.text("index");
        writer.u8(0);
        writer.u32(u32::MAX);
        assert!(VectorCall::read(INSERT, &mut Reader::new(writer.0.freeze())).is_err());
    }

    fn read(op: u8, write: impl Fn(&mut Writer)) -> VectorCall {
        let mut writer = Writer::default();
        write(&mut writer);
        let mut reader = Reader::new(writer.0.freeze());
        let call = VectorCall::read(op, &mut reader).unwrap().unwrap();
        assert!(reader.is_empty(), "all of the frame is read");
        call
    }

    /// A search as `src/vector.ts` writes it: the fields in its order, and those of `flags` only.
    fn read_search_of(consistency: u8, flags: u8) -> VectorSearch {
        let call = read(SEARCH, |frame| {
            frame.text("index");
            frame.u8(consistency);
            frame.u8(flags);
            frame.f64(7.0);
            if flags & HAS_MAX_DISTANCE != 0 {
                frame.f64(0.1);
            }
            if flags & HAS_EF_SEARCH != 0 {
                frame.f64(300.0);
            }
            frame.text("a/");
            frame.u32(2);
            write_vector(frame, &[1.0, 2.0]);
            write_vector(frame, &[3.0]);
        });
        let VectorCall::Search(search) = call else { panic!("{call:?}") };
        search
    }

    #[test]
    fn each_field_of_a_search_crosses_by_itself() {
        let words = [Consistency::Lease, Consistency::Linearizable, Consistency::StaleOk];
        for (number, consistency) in (0..).zip(words) {
            for flags in 0..=INCLUDE_VECTORS | HAS_MAX_DISTANCE | HAS_EF_SEARCH {
                let search = read_search_of(number, flags);
                assert_eq!(search.namespace, "index");
                assert_eq!(search.consistency, consistency);
                assert_eq!(search.include_vectors, flags & INCLUDE_VECTORS != 0);
                // The 32-bit float that is nearest to what JavaScript gave.
                assert_eq!(search.max_distance, (flags & HAS_MAX_DISTANCE != 0).then_some(0.1));
                assert_eq!(search.ef_search, (flags & HAS_EF_SEARCH != 0).then_some(300));
                assert_eq!(search.k, 7);
                assert_eq!(search.id_prefix, "a/");
                assert_eq!(search.queries, [vec![1.0, 2.0], vec![3.0]]);
            }
        }
    }

    #[test]
    fn the_consistency_of_a_get_crosses() {
        let words = [Consistency::Lease, Consistency::Linearizable, Consistency::StaleOk];
        for (number, consistency) in (0..).zip(words) {
            let call = read(GET, |frame| {
                frame.text("index");
                frame.u8(number);
                frame.text("id");
            });
            let VectorCall::Get(get) = call else { panic!("{call:?}") };
            assert_eq!((get.namespace.as_str(), get.id.as_str()), ("index", "id"));
            assert_eq!(get.consistency, consistency);
        }
    }
}
