use std::time::Duration;

use bytes::Bytes;

use crate::{Error, Result, Ttl};

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1_024;
/// The longest idempotency key, in bytes of UTF-8.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 1_024;
/// The largest value, in bytes, unless a store is set up otherwise.
pub const DEFAULT_MAX_VALUE_BYTES: usize = 1024 * 1024;
/// The most compares and ops of a transaction, together.
pub const MAX_TXN_OPS: usize = 128;
/// The most bytes of keys and values in a transaction, beside one largest value.
pub const MAX_TXN_BYTES: usize = 4 * 1024 * 1024;
/// The most leases that one keep-alive names.
pub const MAX_KEEP_ALIVES: usize = 1_024;
/// How long a watch that asked for progress is silent at most.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// How long a call may take, retries included, unless it says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time to live: ten years of 365 days.
pub const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The limits of a store, as its `status()` tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest key, in bytes.
    pub max_key_bytes: usize,
    /// The largest value, in bytes.
    pub max_value_bytes: usize,
    /// The most calls in one batch.
    pub max_batch_ops: usize,
    /// The most entries in one page of a scan.
    pub max_page_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_key_bytes: MAX_KEY_BYTES,
            max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
            max_batch_ops: 1_024,
            max_page_entries: 1_024,
        }
    }
}

/// Refuses a key that is empty or longer than [`MAX_KEY_BYTES`].
///
/// # Errors
/// `InvalidArgument`.
pub fn check_key(key: &[u8]) -> Result<()> {
    match key.len() {
        0 => Err(Error::invalid_argument("a key has 1 to 1024 bytes; this one is empty")),
        1..=MAX_KEY_BYTES => Ok(()),
        length => Err(Error::invalid_argument(format!(
            "a key has 1 to {MAX_KEY_BYTES} bytes; this one has {length}"
        ))),
    }
}

/// Refuses a value larger than the store takes, naming both sizes.
///
/// # Errors
/// `InvalidArgument`.
pub fn check_value(value: &Bytes, max_value_bytes: usize) -> Result<()> {
    if value.len() <= max_value_bytes {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "the value has {} bytes; this store takes at most {max_value_bytes} (its setting maxValueBytes)",
        value.len()
    )))
}

/// Refuses an idempotency key that is empty or too long.
///
/// # Errors
/// `InvalidArgument`.
pub fn check_idempotency_key(key: &str) -> Result<()> {
    if (1..=MAX_IDEMPOTENCY_KEY_BYTES).contains(&key.len()) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY_BYTES} bytes; this one has {}",
        key.len()
    )))
}

/// A time to live from a caller's number of milliseconds, which may be anything a JavaScript number is.
///
/// # Errors
/// `InvalidArgument` unless it is a whole number from 1 to ten years.
///
/// ```
/// use norikv_core::ttl_from_millis;
/// assert!(ttl_from_millis(1.0).is_ok());
/// for wrong in [0.0, -1.0, 0.5, f64::NAN, f64::INFINITY, 1e18] {
///     assert!(ttl_from_millis(wrong).is_err());
/// }
/// ```
pub fn ttl_from_millis(millis: f64) -> Result<Ttl> {
    let max = MAX_TTL.as_millis() as f64;
    if millis.fract() == 0.0 && (1.0..=max).contains(&millis) {
        // In range and whole, checked above, so the conversion is exact.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        return Ttl::from_millis(millis as u64);
    }
    Err(Error::invalid_argument(format!(
        "ttlMs is a whole number of milliseconds from 1 to {} (10 years); got {}",
        number_text(max),
        number_text(millis)
    )))
}

/// A JavaScript number for people: its whole digits, and three after the point where it has any.
///
/// The standard library's way of writing every `f64` exactly is larger than all that a browser needs of it.
///
/// ```
/// use norikv_core::number_text;
/// assert_eq!(number_text(-1.5), "-1.5");
/// assert_eq!(number_text(1e12), "1000000000000");
/// assert_eq!(number_text(0.0004), "0.000");
/// assert_eq!(number_text(f64::NAN), "NaN");
/// assert_eq!(number_text(1e300), "Infinity");
/// ```
#[must_use]
pub fn number_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    let sign = if number < 0.0 { "-" } else { "" };
    let size = number.abs();
    if size >= 1e18 {
        return format!("{sign}Infinity");
    }
    // Below 2^63, checked above; what is cut off is written after the point.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let (whole, thousandths) = (size as u64, (size.fract() * 1e3) as u64);
    if size.fract() == 0.0 {
        return format!("{sign}{whole}");
    }
    let digits = format!("{thousandths:03}");
    let shown = digits.trim_end_matches('0');
    format!("{sign}{whole}.{}", if shown.is_empty() { "000" } else { shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_1_and_1024_bytes_pass_and_their_neighbours_do_not() {
        assert!(check_key(b"").is_err());
        assert!(check_key(b"a").is_ok());
        assert!(check_key(&[0; 1_024]).is_ok());
        let error = check_key(&[0; 1_025]).unwrap_err();
        assert!(error.message().contains("1025"));
    }

    #[test]
    fn a_value_over_the_limit_is_refused_naming_both_sizes() {
        assert!(check_value(&Bytes::from_static(b"12345"), 5).is_ok());
        let error = check_value(&Bytes::from_static(b"123456"), 5).unwrap_err();
        assert!(error.message().contains("6 bytes") && error.message().contains("at most 5"));
    }

    #[test]
    fn ttl_ends_are_inclusive() {
        let max = MAX_TTL.as_millis() as f64;
        assert!(ttl_from_millis(max).is_ok());
        assert!(ttl_from_millis(max + 1.0).is_err());
    }
}
