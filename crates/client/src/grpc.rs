//! What gRPC and gRPC-Web have in common: frames, and statuses in headers or trailers.

use std::{collections::HashMap, time::Duration};

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use norikv_core::{Error, ErrorKind, FieldName, NodeAddress};
use norikv_proto::{ERROR_DOMAIN, ext};
use prost::Message;

use crate::transport::Failed;

/// The bytes before every message: a flag and the length.
pub const FRAME_HEADER: usize = 5;

/// The largest message that is taken from a server: many large values at once, and still a bound.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

/// gRPC's base64 comes with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A message in its frame.
#[must_use]
pub fn frame(message: &Bytes) -> Bytes {
    let mut framed = BytesMut::with_capacity(FRAME_HEADER + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// Takes messages out of a body as it comes.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
    /// A chunk that holds whole frames is cut up where it lies.
    chunk: Bytes,
}

/// One frame of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Message(Bytes),
    /// The trailers of gRPC-Web, as text.
    Trailers(Bytes),
}

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It is not what was asked for.
    Wrong(&'static str),
    /// A message of it has this many bytes, which is more than [`MAX_MESSAGE_BYTES`].
    TooLarge(usize),
}

impl Frames {
    /// Takes a piece of the body in.
    pub fn push(&mut self, data: Bytes) {
        if self.chunk.is_empty() && self.buffer.is_empty() {
            self.chunk = data;
            return;
        }
        self.buffer.extend_from_slice(&std::mem::take(&mut self.chunk));
        self.buffer.extend_from_slice(&data);
    }

    /// The next frame, if it has come in whole.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub fn pull(&mut self) -> Result<Option<Frame>, Broken> {
        let head = if self.buffer.is_empty() { &self.chunk[..] } else { &self.buffer[..] };
        let [flag, a, b, c, d, ..] = *head else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if flag & 1 != 0 {
            return Err(Broken::Wrong("the answer is compressed, which was not asked for"));
        }
        if length > MAX_MESSAGE_BYTES {
            return Err(Broken::TooLarge(length));
        }
        if head.len() < FRAME_HEADER + length {
            return Ok(None);
        }
        let body = if self.buffer.is_empty() {
            self.chunk.advance(FRAME_HEADER);
            self.chunk.split_to(length)
        } else {
            self.buffer.advance(FRAME_HEADER);
            self.buffer.split_to(length).freeze()
        };
        Ok(Some(if flag & 0x80 != 0 { Frame::Trailers(body) } else { Frame::Message(body) }))
    }

    /// Whether nothing is left that is not a whole frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.chunk.is_empty()
    }
}

/// The `grpc-timeout` of a duration: at most eight digits and a unit.
#[must_use]
pub fn timeout_header(timeout: Duration) -> String {
    let millis = timeout.as_millis().max(1);
    if millis < 100_000_000 {
        format!("{millis}m")
    } else {
        format!("{}S", timeout.as_secs().min(99_999_999))
    }
}

/// The status that headers or trailers carry, by their fields' names: `None` without one, `Ok` for success.
#[must_use]
pub fn status<'a>(field: &dyn Fn(&str) -> Option<&'a [u8]>) -> Option<Result<(), ext::Failure>> {
    let text = |name| field(name).and_then(|value| std::str::from_utf8(value).ok());
    field("grpc-status")?;
    let code = text("grpc-status").and_then(|code| code.parse().ok()).unwrap_or(2);
    if code == 0 {
        return Some(Ok(()));
    }
    let message = field("grpc-message").map_or_else(String::new, percent_decoded);
    let details = field("grpc-status-details-bin")
        .and_then(|text| BASE64.decode(text).ok())
        .and_then(|bytes| RpcStatus::decode(Bytes::from(bytes)).ok())
        .and_then(|status| {
            status
                .details
                .into_iter()
                .filter(|detail| detail.type_url.ends_with("/google.rpc.ErrorInfo"))
                .filter_map(|detail| ErrorInfo::decode(detail.value).ok())
                .find(|info| info.domain == ERROR_DOMAIN || info.metadata.contains_key(LEADER_HINT))
        })
        .unwrap_or_default();
    let mut metadata = details.metadata;
    if let Some(hint) = text(LEADER_HINT) {
        metadata.insert(FieldName::LeaderHint.as_str().to_owned(), hint.to_owned());
    } else if let Some(hint) = metadata.remove(LEADER_HINT) {
        metadata.insert(FieldName::LeaderHint.as_str().to_owned(), hint);
    }
    Some(Err(ext::Failure { code, message, reason: details.reason, metadata }))
}

/// The metadata key under which servers of `norikv.v1` name the leader.
const LEADER_HINT: &str = "leader-hint";

/// What an HTTP answer without a gRPC status means, as gRPC maps it.
#[must_use]
pub fn http_failure(status: u32) -> ext::Failure {
    let code = match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 | 200..=299 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    };
    // A server of `norikv.v1` alone says UNIMPLEMENTED by a gRPC status; this is none.
    let reason = if code == 12 { ErrorKind::Unsupported.code() } else { "" };
    ext::Failure {
        code,
        message: format!("HTTP {status} without a gRPC status; is the address that of a NoriKV server?"),
        reason: reason.to_owned(),
        ..Default::default()
    }
}

/// The refusal of an answer that has too many bytes.
pub(crate) fn too_large(address: &NodeAddress, bytes: usize) -> Error {
    let message = format!(
        "the answer of {address} has {bytes} bytes, and at most {MAX_MESSAGE_BYTES} are taken; ask for less at once: fewer keys, or a smaller limit"
    );
    Error::new(ErrorKind::ResourceExhausted, message).with(FieldName::Address, address.to_string().as_str())
}

/// A failure that a server told, with whose it is.
pub(crate) fn answered(mut failure: ext::Failure, address: &NodeAddress) -> Failed {
    failure.metadata.entry(FieldName::Address.as_str().to_owned()).or_insert_with(|| address.to_string());
    Failed::Answered(failure)
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => {
                std::str::from_utf8(&[*high, *low]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        (rest, _) = match escaped {
            Some(byte) => (&rest[3..], bytes.push(byte)),
            None => (tail, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_the_body_is_cut() {
        let body = [frame(&"one".into()), frame(&Bytes::new()), frame(&"three".into())].concat();
        for size in 1..=body.len() {
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for piece in body.chunks(size) {
                frames.push(Bytes::copy_from_slice(piece));
                while let Some(Frame::Message(message)) = frames.pull().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, [Bytes::from("one"), Bytes::new(), Bytes::from("three")]);
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn a_compressed_or_oversized_frame_is_refused() {
        let mut frames = Frames::default();
        frames.push(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert!(frames.pull().is_err());
        let mut frames = Frames::default();
        frames.push(Bytes::from_static(&[0, 255, 255, 255, 255]));
        assert_eq!(frames.pull(), Err(Broken::TooLarge(u32::MAX as usize)));
    }

    #[test]
    fn a_status_has_its_message_decoded_and_its_details_read() {
        let info = ErrorInfo {
            reason: "VERSION_MISMATCH".into(),
            domain: ERROR_DOMAIN.into(),
            metadata: HashMap::from([("expected".into(), "1.2".into())]),
        };
        let any = Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".into(),
            value: info.encode_to_vec().into(),
        };
        let details = RpcStatus { code: 9, message: String::new(), details: vec![any] };
        let details = BASE64.encode(details.encode_to_vec());
        let failure = status(&|name| match name {
            "grpc-status" => Some(b"9"),
            "grpc-message" => Some(b"100%25 caf%C3%A9 %zz"),
            "grpc-status-details-bin" => Some(details.trim_end_matches('=').as_bytes()),
            _ => None,
        });
        let failure = failure.unwrap().unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), (9, "100% café %zz"));
        assert_eq!(failure.reason, "VERSION_MISMATCH");
        assert_eq!(failure.metadata["expected"], "1.2");
    }

    #[test]
    fn the_leader_hint_is_found_in_the_metadata() {
        let failure = status(&|name| match name {
            "grpc-status" => Some(b"14"),
            "leader-hint" => Some(b"node-2"),
            _ => None,
        });
        let failure = failure.unwrap().unwrap_err();
        assert_eq!(failure.metadata["leaderHint"], "node-2");
    }

    #[test]
    fn what_is_no_answer_of_grpc_is_not_taken_for_a_server_without_the_method() {
        for status in [200, 404] {
            let failure = http_failure(status);
            assert_eq!(failure.reason, "UNSUPPORTED");
            assert!(!Failed::Answered(failure).is_unimplemented());
        }
        assert_eq!(http_failure(401).code, 16);
    }

    #[test]
    fn timeouts_have_at_most_eight_digits() {
        assert_eq!(timeout_header(Duration::from_micros(1)), "1m");
        assert_eq!(timeout_header(Duration::from_secs(5)), "5000m");
        assert_eq!(timeout_header(Duration::from_secs(1_000_000)), "1000000S");
    }
}
