use bytes::Bytes;

use crate::{LeaseId, Version};

/// A key, its value, and what the store knows about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value; empty when a scan asked for keys only.
    pub value: Bytes,
    /// The version of the last change.
    pub version: Version,
    /// The version of the creation since the last delete.
    pub create_version: Version,
    /// 1 at creation, one more with every put. A server of `norikv.v1` alone does not tell it: 0.
    pub generation: u64,
    /// The lease the entry belongs to.
    pub lease: Option<LeaseId>,
    /// When the entry expires, in milliseconds since the Unix epoch.
    pub expires_at: Option<u64>,
}
