//! Where vectors and their indexes are in the store: in entries like any others, under a prefix of their own.
//!
//! | key | value |
//! |---|---|
//! | prefix `a` fingerprint of an idempotency key (16) | what the write was u128, and what it answered u8; goes when the window is over |
//! | prefix `d` namespace | a definition: format u8 (1), dimensions u32, distance u8, type u8, quantization u8, incarnation u64 |
//! | prefix `m` | nothing; is put to be seen by views |
//! | prefix `v` incarnation (8, big-endian) id | the numbers of a vector, f32 each |
//!
//! Values are little-endian. The incarnation is drawn when an index is created, so that the vectors of a dropped index are
//! never those of the next one of its name.

use bytes::{BufMut as _, Bytes, BytesMut};
use norikv_core::{DistanceFunction, KeyRange, Quantization, VectorIndex, VectorIndexType};
use xxhash_rust::xxh3::xxh3_128;

const PREFIX: &[u8] = b"\0norikv/";
const RECORD: u8 = b'a';
const DEFINITION: u8 = b'd';
const MARK: u8 = b'm';
const VECTOR: u8 = b'v';
const FORMAT: u8 = 1;

/// A definition as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Definition {
    pub(crate) index: VectorIndex,
    pub(crate) incarnation: u64,
}

/// What a key of the view's range is.
#[derive(Debug, PartialEq)]
pub(crate) enum Key<'a> {
    Definition(&'a str),
    Vector { incarnation: u64, id: &'a str },
}

fn key(tag: u8, parts: &[&[u8]]) -> Bytes {
    let mut key = BytesMut::from(PREFIX);
    key.put_u8(tag);
    parts.iter().for_each(|part| key.put_slice(part));
    key.freeze()
}

/// The key of a record of an idempotency key.
pub(crate) fn record(idempotency_key: &str) -> Bytes {
    key(RECORD, &[&xxh3_128(idempotency_key.as_bytes()).to_be_bytes()])
}

/// The key of a definition.
pub(crate) fn definition(namespace: &str) -> Bytes {
    key(DEFINITION, &[namespace.as_bytes()])
}

/// The key of a vector.
pub(crate) fn vector(incarnation: u64, id: &str) -> Bytes {
    key(VECTOR, &[&incarnation.to_be_bytes(), id.as_bytes()])
}

/// A key of what views follow that means nothing.
pub(crate) fn mark() -> Bytes {
    key(MARK, &[])
}

/// All definitions.
pub(crate) fn definitions() -> KeyRange {
    KeyRange::prefix(key(DEFINITION, &[]))
}

/// All vectors.
pub(crate) fn vectors() -> KeyRange {
    KeyRange::prefix(key(VECTOR, &[]))
}

/// The vectors of one index.
pub(crate) fn vectors_of(incarnation: u64) -> KeyRange {
    KeyRange::prefix(key(VECTOR, &[&incarnation.to_be_bytes()]))
}

/// All that a view is a view of.
pub(crate) fn viewed() -> KeyRange {
    KeyRange { start: definitions().start, end: vectors().end }
}

/// Whether a view follows a key. Every write is asked, so it allocates nothing.
pub(crate) fn is_viewed(key: &[u8]) -> bool {
    key.strip_prefix(PREFIX).and_then(<[u8]>::first).is_some_and(|tag| (DEFINITION..=VECTOR).contains(tag))
}

/// What a key is; nothing, if nothing of ours.
pub(crate) fn parse(key: &[u8]) -> Option<Key<'_>> {
    let (tag, rest) = key.strip_prefix(PREFIX)?.split_first()?;
    match *tag {
        DEFINITION => Some(Key::Definition(std::str::from_utf8(rest).ok()?)),
        VECTOR => {
            let (incarnation, id) = rest.split_first_chunk::<8>()?;
            let id = std::str::from_utf8(id)
                .ok()
                .filter(|id| !id.is_empty() && id.len() <= norikv_core::MAX_VECTOR_ID_BYTES)?;
            Some(Key::Vector { incarnation: u64::from_be_bytes(*incarnation), id })
        }
        _ => None,
    }
}

fn position<T: PartialEq>(all: &[T], one: &T) -> u8 {
    // There are three of each.
    #[allow(clippy::cast_possible_truncation)]
    all.iter().position(|other| other == one).map_or(u8::MAX, |at| at as u8)
}

/// The value of a definition.
pub(crate) fn encode_definition(definition: &Definition) -> Bytes {
    let index = &definition.index;
    let mut value = BytesMut::with_capacity(16);
    value.put_u8(FORMAT);
    value.put_u32_le(index.dimensions);
    value.put_u8(position(DistanceFunction::ALL, &index.distance));
    value.put_u8(position(VectorIndexType::ALL, &index.index_type));
    value.put_u8(position(Quantization::ALL, &index.quantization));
    value.put_u64_le(definition.incarnation);
    value.freeze()
}

/// The definition of a value; nothing, if it is none that this version knows.
pub(crate) fn decode_definition(namespace: &str, value: &[u8]) -> Option<Definition> {
    let (format, rest) = value.split_first()?;
    let (dimensions, rest) = rest.split_first_chunk::<4>()?;
    let (&[distance, index_type, quantization], rest) = rest.split_first_chunk::<3>()?;
    let index = VectorIndex {
        namespace: namespace.to_owned(),
        dimensions: u32::from_le_bytes(*dimensions),
        distance: *DistanceFunction::ALL.get(usize::from(distance))?,
        index_type: *VectorIndexType::ALL.get(usize::from(index_type))?,
        quantization: *Quantization::ALL.get(usize::from(quantization))?,
    };
    let incarnation = u64::from_le_bytes(rest.try_into().ok()?);
    (*format == FORMAT && index.check().is_ok()).then_some(Definition { index, incarnation })
}

/// The value of a vector.
pub(crate) fn encode_vector(vector: &[f32]) -> Bytes {
    let mut value = BytesMut::with_capacity(vector.len() * 4);
    vector.iter().for_each(|number| value.put_f32_le(*number));
    value.freeze()
}

/// The vector of a value.
pub(crate) fn decode_vector(value: &[u8]) -> Vec<f32> {
    value.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The value of a record: what the write was, and what it answered.
pub(crate) fn encode_record(fingerprint: u128, answer: bool) -> Bytes {
    let mut value = BytesMut::with_capacity(17);
    value.put_u128_le(fingerprint);
    value.put_u8(answer.into());
    value.freeze()
}

/// What a record says.
pub(crate) fn decode_record(value: &[u8]) -> Option<(u128, bool)> {
    let (fingerprint, answer) = value.split_first_chunk::<16>()?;
    Some((u128::from_le_bytes(*fingerprint), *answer.first()? == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_back_to_what_they_are_of() {
        assert_eq!(parse(&definition("näme")), Some(Key::Definition("näme")));
        assert_eq!(parse(&vector(7, "id")), Some(Key::Vector { incarnation: 7, id: "id" }));
        for other in [&b""[..], b"user", PREFIX, &record("k"), &mark(), &vectors_of(1).start] {
            assert_eq!(parse(other), None);
        }
        assert!(vector(7, "id").starts_with(norikv_core::VECTOR_KEY_PREFIX));
        assert!(viewed().contains(&definition("a")) && viewed().contains(&vector(u64::MAX, "z")));
        assert!(viewed().contains(&mark()) && !viewed().contains(&record("a")));
        for key in [&definition("a")[..], &vector(0, "z"), &mark(), &record("a"), b"user", b"", PREFIX] {
            assert_eq!(is_viewed(key), viewed().contains(key), "{key:?}");
        }
        assert!(vectors_of(7).contains(&vector(7, "\u{10ffff}")) && !vectors_of(7).contains(&vector(8, "a")));
    }

    #[test]
    fn the_longest_names_fit_into_keys() {
        assert!(vector(1, &"i".repeat(512)).len() <= norikv_core::MAX_KEY_BYTES);
        assert!(definition(&"n".repeat(256)).len() <= norikv_core::MAX_KEY_BYTES);
    }

    #[test]
    fn values_survive_and_others_are_nothing() {
        for distance in DistanceFunction::ALL {
            let index = VectorIndex {
                namespace: "n".into(),
                dimensions: 3,
                distance: *distance,
                index_type: VectorIndexType::Hnsw,
                quantization: Quantization::Int8,
            };
            let definition = Definition { index, incarnation: 9 };
            let value = encode_definition(&definition);
            assert_eq!(decode_definition("n", &value), Some(definition));
            assert_eq!(decode_definition("n", &value[1..]), None);
        }
        assert_eq!(decode_definition("n", b""), None);
        assert_eq!(decode_vector(&encode_vector(&[1.5, -2.0])), [1.5, -2.0]);
        assert_eq!(decode_record(&encode_record(5, true)), Some((5, true)));
        assert_eq!(decode_record(b"short"), None);
    }
}
