//! Sums over two vectors, the inner loops of every search.
//!
//! They are plain loops in a shape that compilers make vector instructions of; `multiversion` compiles each for the
//! instruction sets named, and chooses when the program runs.

use half::{f16, slice::HalfBitsSliceExt as _};

/// How many sums are kept side by side: enough to fill the registers of the widest instructions.
const LANES: usize = 32;
/// How many bytes of the smallest numbers are taken at a time.
const BYTES: usize = 64;
/// How many half-precision numbers are widened at a time.
const HALVES: usize = 64;

/// Σ a·b.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// Σ (a − b)².
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn squares(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            let difference = a[lane] - b[lane];
            sums[lane] += difference * difference;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    sums.iter().sum::<f32>() + rest
}

/// Σ a·b of small whole numbers. Of 4,096 of them it fits in 32 bits.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<BYTES>(), b.as_chunks::<BYTES>());
    let mut sum = 0i32;
    for (a, b) in a.iter().zip(b) {
        let mut part = 0i32;
        for at in 0..BYTES {
            part += i32::from(i16::from(a[at])) * i32::from(i16::from(b[at]));
        }
        sum += part;
    }
    sum + a_rest.iter().zip(b_rest).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>()
}

/// Σ a·b, Σ a² and Σ b² of small whole numbers.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn dot_and_squares_i8(a: &[i8], b: &[i8]) -> (i32, i32, i32) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<BYTES>(), b.as_chunks::<BYTES>());
    let mut sums = (0i32, 0i32, 0i32);
    let wide = |number: i8| i32::from(i16::from(number));
    for (a, b) in a.iter().zip(b) {
        let mut parts = (0i32, 0i32, 0i32);
        for at in 0..BYTES {
            parts.0 += wide(a[at]) * wide(b[at]);
            parts.1 += wide(a[at]) * wide(a[at]);
            parts.2 += wide(b[at]) * wide(b[at]);
        }
        sums = (sums.0 + parts.0, sums.1 + parts.1, sums.2 + parts.2);
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        sums.0 += wide(*a) * wide(*b);
        sums.1 += wide(*a) * wide(*a);
        sums.2 += wide(*b) * wide(*b);
    }
    sums
}

/// Folds two half-precision vectors, given as bits, piece by piece as single precision.
fn halves(a: &[u16], b: &[u16], fold: impl Fn(&[f32], &[f32]) -> f32) -> f32 {
    let mut wide = ([0f32; HALVES], [0f32; HALVES]);
    a.chunks(HALVES).zip(b.chunks(HALVES)).fold(0.0, |sum, (a, b)| {
        let (wide_a, wide_b) = (&mut wide.0[..a.len()], &mut wide.1[..b.len()]);
        half::slice::HalfFloatSliceExt::convert_to_f32_slice(a.reinterpret_cast::<f16>(), wide_a);
        half::slice::HalfFloatSliceExt::convert_to_f32_slice(b.reinterpret_cast::<f16>(), wide_b);
        sum + fold(wide_a, wide_b)
    })
}

/// Σ a·b of half-precision numbers, given as bits.
pub(crate) fn dot_f16(a: &[u16], b: &[u16]) -> f32 {
    halves(a, b, dot)
}

/// Σ (a − b)² of half-precision numbers, given as bits.
pub(crate) fn squares_f16(a: &[u16], b: &[u16]) -> f32 {
    halves(a, b, squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_plain_formula_at_every_length() {
        let mut random = fastrand::Rng::with_seed(1);
        for length in (0..200).chain([768, 4_096]) {
            let mut vector = || (0..length).map(|_| random.f32() - 0.5).collect::<Vec<f32>>();
            let (a, b) = (vector(), vector());
            let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
                a.iter().zip(&b).map(|(a, b)| of(f64::from(*a), f64::from(*b))).sum()
            };
            let near = |got: f32, expected: f64, tolerance: f64| {
                assert!((f64::from(got) - expected).abs() <= tolerance, "{length}: {got} and {expected}");
            };
            near(dot(&a, &b), sum(&|a, b| a * b), 1e-3);
            near(squares(&a, &b), sum(&|a, b| (a - b) * (a - b)), 1e-2);
            let half =
                |of: &[f32]| of.iter().map(|number| f16::from_f32(*number).to_bits()).collect::<Vec<u16>>();
            near(dot_f16(&half(&a), &half(&b)), sum(&|a, b| a * b), 0.05);
            near(squares_f16(&half(&a), &half(&b)), sum(&|a, b| (a - b) * (a - b)), 0.2);
            let mut bytes = || (0..length).map(|_| random.i8(..)).collect::<Vec<i8>>();
            let (a, b) = (bytes(), bytes());
            let expected: i32 = a.iter().zip(&b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            assert_eq!(dot_i8(&a, &b), expected);
            assert_eq!(dot_and_squares_i8(&a, &b), (expected, dot_i8(&a, &a), dot_i8(&b, &b)));
        }
    }
}
