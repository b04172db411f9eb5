use std::{error::Error as StdError, fmt, sync::Arc};

use bytes::Bytes;

use crate::Version;

/// The result of every store call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal, $code:literal, $retryable:literal;)*) => {
        /// What went wrong, as a stable kind. Its [`code`](ErrorKind::code) is what crosses the wire and what
        /// JavaScript sees; no code decides by the text of a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* $kind = $number,)* }

        impl ErrorKind {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The stable name: `ErrorInfo.reason` on the wire, `error.code` in JavaScript.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$kind => $code,)* }
            }

            /// The number under which the kind crosses into JavaScript.
            #[must_use]
            pub const fn number(self) -> u8 { self as u8 }

            /// Whether the same call may succeed when it is made again later, nothing else changed.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$kind => $retryable,)* }
            }

            /// The kind of a stable code, if it is one.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$kind),)* _ => None }
            }
        }
    };
}

error_kinds! {
    /// The key is not in the store.
    KeyNotFound = 1, "KEY_NOT_FOUND", false;
    /// The key's version is not the one the write asked for.
    VersionMismatch = 2, "VERSION_MISMATCH", false;
    /// The key is there, and the write asked for it not to be.
    AlreadyExists = 3, "ALREADY_EXISTS", false;
    /// The request can never succeed as it stands.
    InvalidArgument = 4, "INVALID_ARGUMENT", false;
    /// The node does not lead the key's shard.
    NotLeader = 5, "NOT_LEADER", true;
    /// The store cannot answer now; for a write the outcome may be unknown (field `outcome`).
    Unavailable = 6, "UNAVAILABLE", true;
    /// No connection to a node.
    Connection = 7, "CONNECTION", true;
    /// None of the configured nodes can be reached.
    NoNodesAvailable = 8, "NO_NODES_AVAILABLE", true;
    /// The call's time ran out.
    DeadlineExceeded = 9, "DEADLINE_EXCEEDED", true;
    /// Every attempt failed.
    RetryExhausted = 10, "RETRY_EXHAUSTED", false;
    /// The caller cancelled the call.
    Cancelled = 11, "CANCELLED", false;
    /// The client or store was closed.
    Closed = 12, "CLOSED", false;
    /// The caller did not say who it is, or said it wrongly.
    Unauthenticated = 13, "UNAUTHENTICATED", false;
    /// The caller may not do this.
    PermissionDenied = 14, "PERMISSION_DENIED", false;
    /// A limit, a queue or the disk is full.
    ResourceExhausted = 15, "RESOURCE_EXHAUSTED", true;
    /// The store does not have this feature.
    Unsupported = 16, "UNSUPPORTED", false;
    /// The version asked for is below the compaction floor.
    Compacted = 17, "COMPACTED", false;
    /// No such lease.
    LeaseNotFound = 18, "LEASE_NOT_FOUND", false;
    /// The lease was lost.
    LeaseLost = 19, "LEASE_LOST", false;
    /// Something named in the request, other than a key, is not there.
    NotFound = 20, "NOT_FOUND", false;
    /// No such vector index.
    VectorIndexNotFound = 21, "VECTOR_INDEX_NOT_FOUND", false;
    /// A different vector index has that name.
    VectorIndexExists = 22, "VECTOR_INDEX_EXISTS", false;
    /// The vector's length is not the index's.
    VectorDimensionMismatch = 23, "VECTOR_DIMENSION_MISMATCH", false;
    /// No such vector.
    VectorNotFound = 24, "VECTOR_NOT_FOUND", false;
    /// The data on disk is damaged.
    Corruption = 25, "CORRUPTION", false;
    /// A defect in NoriKV, or an answer it does not understand.
    Internal = 26, "INTERNAL", false;
}

macro_rules! field_names {
    ($($(#[$doc:meta])* $field:ident = $number:literal, $name:literal;)*) => {
        /// The name of a field that an error carries beside its message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FieldName { $($(#[$doc])* $field = $number,)* }

        impl FieldName {
            /// Every name there is.
            pub const ALL: &[Self] = &[$(Self::$field),*];

            /// The name in JavaScript and in `ErrorInfo.metadata`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$field => $name,)* }
            }

            /// The number under which the name crosses into JavaScript.
            #[must_use]
            pub const fn number(self) -> u8 { self as u8 }

            /// The field of a name, if there is one.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$field),)* _ => None }
            }
        }
    };
}

field_names! {
    /// The key the error is about.
    Key = 1, "key";
    /// What the caller asked for: a version, or a number of dimensions.
    Expected = 2, "expected";
    /// What was found: a version (absent when the key is missing), or a number of dimensions.
    Actual = 3, "actual";
    /// The node id or address of the leader, where known.
    LeaderHint = 4, "leaderHint";
    /// The shard of the key.
    ShardId = 5, "shardId";
    /// The address of the node.
    Address = 6, "address";
    /// How long the call was allowed to take, in milliseconds.
    TimeoutMs = 7, "timeoutMs";
    /// How many attempts were made.
    Attempts = 8, "attempts";
    /// `"unknown"` when a write may or may not have happened.
    Outcome = 9, "outcome";
    /// The oldest version that can still be read.
    CompactVersion = 10, "compactVersion";
    /// The lease the error is about.
    Lease = 11, "lease";
}

/// The value of an error's field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Bytes, as of a key.
    Bytes(Bytes),
    /// A version.
    Version(Version),
    /// A whole number.
    Number(u64),
    /// Text.
    Text(Arc<str>),
}

impl From<Version> for Field {
    fn from(version: Version) -> Self {
        Self::Version(version)
    }
}

impl From<u64> for Field {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<Bytes> for Field {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// An error of a store: a stable [`ErrorKind`], a message for the person who reads it, and fields.
///
/// ```
/// use norikv_core::{Error, ErrorKind, FieldName, Version};
/// let error = Error::new(ErrorKind::VersionMismatch, "the key changed")
///     .with(FieldName::Expected, Version::new(1, 2));
/// assert_eq!(error.kind().code(), "VERSION_MISMATCH");
/// assert_eq!(error.version(FieldName::Expected), Some(Version::new(1, 2)));
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    fields: Vec<(FieldName, Field)>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of a kind, with a message that says what was asked, what was found and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), fields: Vec::new(), source: None }))
    }

    /// Shorthand for an [`ErrorKind::InvalidArgument`].
    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// Shorthand for an [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Shorthand for an [`ErrorKind::Closed`] of the thing named.
    #[must_use]
    pub fn closed(what: &str) -> Self {
        Self::new(ErrorKind::Closed, format!("{what} is closed; open a new one to make further calls"))
    }

    /// An [`ErrorKind::KeyNotFound`] for a key.
    #[must_use]
    pub fn key_not_found(key: &Bytes) -> Self {
        Self::new(ErrorKind::KeyNotFound, format!("key {} is not in the store", show_key(key)))
            .with(FieldName::Key, key.clone())
    }

    /// An [`ErrorKind::VersionMismatch`]; `actual` is `None` when the key is missing.
    #[must_use]
    pub fn version_mismatch(key: &Bytes, expected: Version, actual: Option<Version>) -> Self {
        let key_text = show_key(key);
        let error = match actual {
            Some(actual) => Self::new(
                ErrorKind::VersionMismatch,
                format!(
                    "key {key_text} is at version {actual}, not at {expected}; read it again and decide again"
                ),
            )
            .with(FieldName::Actual, actual),
            None => Self::new(
                ErrorKind::VersionMismatch,
                format!(
                    "key {key_text} is missing, not at version {expected}; read it again and decide again"
                ),
            ),
        };
        error.with(FieldName::Key, key.clone()).with(FieldName::Expected, expected)
    }

    /// An [`ErrorKind::AlreadyExists`] for a key; `actual` is its version, where known.
    #[must_use]
    pub fn already_exists(key: &Bytes, actual: Option<Version>) -> Self {
        let error =
            Self::new(ErrorKind::AlreadyExists, format!("key {} is in the store already", show_key(key)))
                .with(FieldName::Key, key.clone());
        match actual {
            Some(actual) => error.with(FieldName::Actual, actual),
            None => error,
        }
    }

    /// The same error with a field added, or replaced.
    #[must_use]
    pub fn with(mut self, name: FieldName, value: impl Into<Field>) -> Self {
        self.0.fields.retain(|(other, _)| *other != name);
        self.0.fields.push((name, value.into()));
        self
    }

    /// The same error with the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// The stable kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// All fields, in no particular order.
    #[must_use]
    pub fn fields(&self) -> &[(FieldName, Field)] {
        &self.0.fields
    }

    /// One field.
    #[must_use]
    pub fn field(&self, name: FieldName) -> Option<&Field> {
        self.0.fields.iter().find_map(|(other, value)| (*other == name).then_some(value))
    }

    /// One field, if it is there and a version.
    #[must_use]
    pub fn version(&self, name: FieldName) -> Option<Version> {
        match self.field(name) {
            Some(Field::Version(version)) => Some(*version),
            _ => None,
        }
    }

    /// Whether the same call may succeed when it is made again.
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.kind().retryable()
    }

    /// The core error that caused this one, where a core error did.
    #[must_use]
    pub fn cause(&self) -> Option<&Self> {
        self.0.source.as_ref().and_then(|source| source.downcast_ref::<Self>())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct(self.kind().code());
        debug.field("message", &self.0.message);
        for (name, value) in &self.0.fields {
            debug.field(name.as_str(), value);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// A key as a person can read it: text in quotes where it is text, hex otherwise, cut at 64 bytes.
///
/// ```
/// assert_eq!(norikv_core::show_key(b"user:1"), "\"user:1\"");
/// assert_eq!(norikv_core::show_key(b"\xff"), "0xff");
/// ```
#[must_use]
pub fn show_key(key: &[u8]) -> String {
    let shown = &key[..key.len().min(64)];
    let more = if shown.len() < key.len() { "…" } else { "" };
    match std::str::from_utf8(shown) {
        Ok(text) => format!("{text:?}{more}"),
        Err(_) => format!("0x{}{more}", to_hex(shown)),
    }
}

fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Bytes> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect::<Option<Vec<u8>>>()
        .map(Bytes::from)
}

impl Field {
    /// The field as text for `ErrorInfo.metadata`: bytes as hex, versions as `term.index`.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Bytes(bytes) => to_hex(bytes),
            Self::Version(version) => version.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.to_string(),
        }
    }

    /// The field of that name from its text, or `None` if the text does not fit the name.
    #[must_use]
    pub fn from_text(name: FieldName, text: &str) -> Option<Self> {
        match name {
            FieldName::Key => from_hex(text).map(Self::Bytes),
            FieldName::Expected | FieldName::Actual | FieldName::CompactVersion => {
                text.parse().map(Self::Version).ok().or_else(|| text.parse().map(Self::Number).ok())
            }
            FieldName::ShardId | FieldName::TimeoutMs | FieldName::Attempts | FieldName::Lease => {
                text.parse().map(Self::Number).ok()
            }
            FieldName::LeaderHint | FieldName::Address | FieldName::Outcome => Some(Self::Text(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_numbers_are_unique_and_lead_back_to_their_kind() {
        for (at, kind) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(ErrorKind::from_code(kind.code()), Some(*kind));
            assert_eq!(usize::from(kind.number()), at + 1);
        }
    }

    #[test]
    fn every_field_survives_its_text() {
        let fields = [
            (FieldName::Key, Field::from(Bytes::from_static(b"\xff\x00a"))),
            (FieldName::Expected, Field::from(Version::new(1, 2))),
            (FieldName::Actual, Field::from(7)),
            (FieldName::LeaderHint, Field::from("node-1")),
            (FieldName::TimeoutMs, Field::from(5_000)),
        ];
        for (name, field) in fields {
            assert_eq!(Field::from_text(name, &field.to_text()), Some(field));
        }
    }

    #[test]
    fn damaged_field_text_is_no_field() {
        assert_eq!(Field::from_text(FieldName::Key, "abc"), None);
        assert_eq!(Field::from_text(FieldName::Key, "zz"), None);
        assert_eq!(Field::from_text(FieldName::Key, "é"), None);
        assert_eq!(Field::from_text(FieldName::TimeoutMs, "soon"), None);
    }

    #[test]
    fn messages_show_keys_as_text_or_hex_and_cut_long_ones() {
        assert_eq!(show_key(b"user:1"), "\"user:1\"");
        assert_eq!(show_key(b"\xff"), "0xff");
        assert_eq!(show_key(&[b'a'; 100]).chars().filter(|c| *c == 'a').count(), 64);
    }
}
