use std::borrow::Cow;

use half::f16;
use norikv_core::{DistanceFunction, Quantization, VectorIndex};

use crate::kernel;

/// How an index writes a vector into memory, and tells how far two such rows are from each other.
///
/// | quantization | a row |
/// |---|---|
/// | none | the numbers as f32 |
/// | f16 | the numbers as f16, padded to a whole number of f32 |
/// | int8 | the numbers divided by a scale, as i8, padded; the scale and the sum of the codes' squares as f32, but not under cosine |
///
/// Under cosine the vector is written with length 1, so that one product is all there is to compute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coder {
    dimensions: usize,
    distance: DistanceFunction,
    quantization: Quantization,
}

/// The width of an f32 in bytes; every row begins at a multiple of it.
const WORD: usize = 4;
/// The largest code of an int8.
const STEPS: f32 = 127.0;

impl Coder {
    pub(crate) fn new(index: &VectorIndex) -> Self {
        Self {
            dimensions: index.dimensions as usize,
            distance: index.distance,
            quantization: index.quantization,
        }
    }

    /// How many bytes a row has.
    pub(crate) fn stride(&self) -> usize {
        self.codes_bytes() + if self.has_factors() { 2 * WORD } else { 0 }
    }

    /// Whether a row has a scale. An angle needs none.
    fn has_factors(&self) -> bool {
        self.quantization == Quantization::Int8 && self.distance != DistanceFunction::Cosine
    }

    fn codes_bytes(&self) -> usize {
        match self.quantization {
            Quantization::None => self.dimensions * WORD,
            Quantization::F16 => (self.dimensions * 2).next_multiple_of(WORD),
            Quantization::Int8 => self.dimensions.next_multiple_of(WORD),
        }
    }

    /// Whether a row says less than the vector did, so that distances between rows are only near the truth.
    pub(crate) fn is_lossy(&self) -> bool {
        self.quantization != Quantization::None
    }

    /// The rows with 8 bits for each dimension, which graphs walk over where they tell vectors apart as well.
    pub(crate) fn narrow(self) -> Self {
        Self { quantization: Quantization::Int8, ..self }
    }

    /// Whether its rows are those with 8 bits for each dimension.
    pub(crate) fn is_narrow(self) -> bool {
        self.quantization == Quantization::Int8
    }

    /// A row as another coder of the same index would have written it.
    pub(crate) fn recode(&self, row: &[u8], other: Self) -> Vec<u8> {
        if other.quantization == self.quantization {
            return row.to_vec();
        }
        let numbers: Vec<f32> = match self.quantization {
            Quantization::None => numbers::<f32>(row).into_owned(),
            Quantization::F16 => {
                numbers::<u16>(row).iter().map(|bits| f16::from_bits(*bits).to_f32()).collect()
            }
            Quantization::Int8 => {
                let (codes, tail) = row.split_at(self.codes_bytes().min(row.len()));
                let scale = if self.has_factors() { factors(tail).0 } else { 1.0 };
                codes.iter().map(|code| f32::from(i8::from_ne_bytes([*code])) * scale).collect()
            }
        };
        let mut code = vec![0; other.stride()];
        other.encode(&numbers[..self.dimensions.min(numbers.len())], &mut code);
        code
    }

    /// Writes a vector into a row. The lengths are those of the index.
    pub(crate) fn encode(&self, vector: &[f32], row: &mut [u8]) {
        let normal;
        let vector = if self.distance == DistanceFunction::Cosine {
            normal = normalized(vector);
            &normal
        } else {
            vector
        };
        let (codes, tail) = row.split_at_mut(self.codes_bytes());
        match self.quantization {
            Quantization::None => {
                for (bytes, number) in codes.as_chunks_mut::<4>().0.iter_mut().zip(vector) {
                    *bytes = number.to_ne_bytes();
                }
            }
            Quantization::F16 => {
                for (bytes, number) in codes.as_chunks_mut::<2>().0.iter_mut().zip(vector) {
                    *bytes = f16::from_f32(number.clamp(f16::MIN.to_f32(), f16::MAX.to_f32())).to_ne_bytes();
                }
            }
            Quantization::Int8 => {
                let most = vector.iter().fold(0f32, |most, number| most.max(number.abs()));
                let scale = if most > 0.0 { most / STEPS } else { 1.0 };
                for (byte, number) in codes.iter_mut().zip(vector) {
                    // Within −127 and 127 by the choice of the scale; a float that is not is cut to the nearest.
                    #[allow(clippy::cast_possible_truncation)]
                    let code = (number / scale).round() as i8;
                    *byte = code.to_ne_bytes()[0];
                }
                if self.has_factors() {
                    // Of the codes and not of the vector: with the sum of products, which is of codes, it makes a distance in
                    // which what two vectors have in common is not.
                    let codes = bytemuck::cast_slice(codes);
                    let squares = sum_of(kernel::dot_i8(codes, codes)) * scale * scale;
                    tail[..WORD].copy_from_slice(&scale.to_ne_bytes());
                    tail[WORD..2 * WORD].copy_from_slice(&squares.to_ne_bytes());
                }
            }
        }
    }

    /// How far two rows are from each other, as a number that sorts like the distance.
    pub(crate) fn rank(&self, a: &[u8], b: &[u8]) -> f32 {
        let distance = self.distance;
        let codes = numbers::<u16>;
        match self.quantization {
            Quantization::None => {
                let (a, b) = (numbers::<f32>(a), numbers::<f32>(b));
                rank_of(distance, || kernel::dot(&a, &b), || kernel::squares(&a, &b))
            }
            Quantization::F16 => rank_of(
                distance,
                || kernel::dot_f16(&codes(a), &codes(b)),
                || kernel::squares_f16(&codes(a), &codes(b)),
            ),
            Quantization::Int8 if !self.has_factors() => {
                let (dot, a, b) =
                    kernel::dot_and_squares_i8(bytemuck::cast_slice(a), bytemuck::cast_slice(b));
                let cosine = f64::from(dot) / (f64::from(a) * f64::from(b)).sqrt();
                // As precise as what it is made of. A row that was never written has no angle, and is nowhere near.
                #[allow(clippy::cast_possible_truncation)]
                if cosine.is_nan() { f32::INFINITY } else { (1.0 - cosine) as f32 }
            }
            Quantization::Int8 => {
                let at = self.codes_bytes();
                let (Some((a, a_tail)), Some((b, b_tail))) = (a.split_at_checked(at), b.split_at_checked(at))
                else {
                    return f32::INFINITY;
                };
                let (a, b) = ((a, factors(a_tail)), (b, factors(b_tail)));
                let dot = || {
                    let sum = kernel::dot_i8(bytemuck::cast_slice(a.0), bytemuck::cast_slice(b.0));
                    sum_of(sum) * a.1.0 * b.1.0
                };
                let squares = || (a.1.1 + b.1.1 - 2.0 * dot()).max(0.0);
                rank_of(distance, dot, squares)
            }
        }
    }

    /// The distance of a rank.
    pub(crate) fn distance_of(&self, rank: f32) -> f32 {
        distance_of(self.distance, rank)
    }
}

/// A sum of products of codes: it has 27 bits at most, and what an f32 drops of it is far below a step.
#[allow(clippy::cast_precision_loss)]
fn sum_of(products: i32) -> f32 {
    products as f32
}

/// The numbers of a row, which is copied where it begins at an odd place.
fn numbers<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(row: &[u8]) -> Cow<'_, [T]> {
    bytemuck::try_cast_slice(row)
        .map_or_else(|_| Cow::Owned(bytemuck::pod_collect_to_vec(row)), Cow::Borrowed)
}

/// The scale and the sum of squares behind the codes of a row, which may begin anywhere.
fn factors(tail: &[u8]) -> (f32, f32) {
    match tail.as_chunks::<WORD>().0 {
        [scale, squares, ..] => (f32::from_ne_bytes(*scale), f32::from_ne_bytes(*squares)),
        _ => (0.0, 0.0),
    }
}

fn rank_of(distance: DistanceFunction, dot: impl Fn() -> f32, squares: impl FnOnce() -> f32) -> f32 {
    match distance {
        DistanceFunction::Euclidean => squares(),
        DistanceFunction::Cosine => 1.0 - dot(),
        // Not the negative of it, which of 0 is another 0.
        DistanceFunction::InnerProduct => 0.0 - dot(),
    }
}

fn distance_of(distance: DistanceFunction, rank: f32) -> f32 {
    match distance {
        DistanceFunction::Euclidean => rank.max(0.0).sqrt(),
        // What rounding leaves below or above what there can be.
        DistanceFunction::Cosine => rank.clamp(0.0, 2.0),
        DistanceFunction::InnerProduct => rank,
    }
}

/// The vector with length 1. In double precision, since the squares of small numbers vanish in single.
fn normalized(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|number| f64::from(*number) * f64::from(*number)).sum::<f64>().sqrt();
    // In single precision again, which is what a row has.
    #[allow(clippy::cast_possible_truncation)]
    vector.iter().map(|number| (f64::from(*number) / length) as f32).collect()
}

/// How far two vectors are from each other: the same number as an index without quantization answers.
pub(crate) fn distance(function: DistanceFunction, a: &[f32], b: &[f32]) -> f32 {
    let rank = match function {
        DistanceFunction::Euclidean => kernel::squares(a, b),
        DistanceFunction::Cosine => 1.0 - kernel::dot(&normalized(a), &normalized(b)),
        DistanceFunction::InnerProduct => 0.0 - kernel::dot(a, b),
    };
    distance_of(function, rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coder(distance: DistanceFunction, quantization: Quantization, dimensions: usize) -> Coder {
        Coder { dimensions, distance, quantization }
    }

    #[test]
    fn rows_are_as_far_apart_as_their_vectors_as_near_as_they_can_tell() {
        let mut random = fastrand::Rng::with_seed(2);
        for dimensions in [1, 2, 3, 5, 64, 129, 768] {
            for function in DistanceFunction::ALL {
                for (quantization, tolerance) in
                    [(Quantization::None, 1e-5), (Quantization::F16, 2e-3), (Quantization::Int8, 2e-2)]
                {
                    let coder = coder(*function, quantization, dimensions);
                    let mut vector = || (0..dimensions).map(|_| random.f32() - 0.4).collect::<Vec<f32>>();
                    let (a, b) = (vector(), vector());
                    let row = |vector: &[f32]| {
                        let mut row = vec![0u32; coder.stride() / WORD];
                        coder.encode(vector, bytemuck::cast_slice_mut(&mut row));
                        row
                    };
                    let (row_a, row_b) = (row(&a), row(&b));
                    let rank = coder.rank(bytemuck::cast_slice(&row_a), bytemuck::cast_slice(&row_b));
                    let (got, expected) = (coder.distance_of(rank), distance(*function, &a, &b));
                    let scale = 1.0 + expected.abs() + kernel::dot(&a, &a).max(kernel::dot(&b, &b)).sqrt();
                    assert!(
                        (got - expected).abs() <= tolerance * scale * 4.0,
                        "{function:?} {quantization:?} {dimensions}: {got} and {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn vectors_too_short_or_too_long_for_single_precision_have_their_angle() {
        for (a, b) in [([1e-30, 0.0], [0.0, 1e-30]), ([1e18, 0.0], [0.0, 1e18])] {
            assert!((distance(DistanceFunction::Cosine, &a, &b) - 1.0).abs() < 1e-6);
            assert!(distance(DistanceFunction::Cosine, &a, &a).abs() < 1e-6);
        }
    }
}
