use std::time::Duration;

use http::HeaderMap;
use norikv_core::Call;

/// The call of a request: until its own `grpc-timeout`, or else for as long as the server gives.
pub(crate) fn call_of(headers: &HeaderMap, bound: Duration) -> Call {
    Call::with_timeout(timeout_of(headers).unwrap_or(bound))
}

/// The timeout that a request brings. One that cannot be read is none, as other gRPC servers have it.
pub(crate) fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3_600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        headers
    }

    #[test]
    fn every_unit_of_a_timeout_is_understood() {
        for (text, millis) in
            [("1H", 3_600_000), ("2M", 120_000), ("3S", 3_000), ("99999999m", 99_999_999), ("5000u", 5)]
        {
            assert_eq!(timeout_of(&headers(text)), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(timeout_of(&headers("7n")), Some(Duration::from_nanos(7)));
    }

    #[test]
    fn a_timeout_that_cannot_be_read_is_the_servers_own() {
        for text in ["", "5", "S", "-1S", "+1S", "123456789S", "1s", "1 S", "5é"] {
            let headers = match text.parse::<http::HeaderValue>() {
                Ok(value) => HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), value)]),
                Err(_) => continue,
            };
            let bound = Duration::from_secs(9);
            assert_eq!(call_of(&headers, bound).timeout(), bound, "{text:?}");
        }
    }
}
