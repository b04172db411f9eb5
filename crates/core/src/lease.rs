use std::{fmt, num::NonZeroU64, time::Duration};

use bytes::Bytes;

use crate::{Error, ErrorKind, FieldName, Ttl};

/// The id of a lease: any number but 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(NonZeroU64);

impl LeaseId {
    /// The lease of that number; `None` for 0, which stands for "no lease" on the wire.
    #[must_use]
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Grants a lease: keys put with it go when it ends.
#[derive(Clone, Copy, Debug)]
pub struct LeaseGrant {
    /// How long it lives without a keep-alive.
    pub ttl: Ttl,
    /// The id that it is to have; `None` lets the store choose. Not every store lets others choose.
    pub id: Option<LeaseId>,
}

impl LeaseGrant {
    /// A lease whose id the store chooses.
    #[must_use]
    pub const fn new(ttl: Ttl) -> Self {
        Self { ttl, id: None }
    }
}

/// A lease that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGranted {
    /// Its id, chosen by the store.
    pub id: LeaseId,
    /// How long it lives without a keep-alive: what was asked for, or more where the store counts in whole seconds.
    pub ttl: Duration,
}

/// Asks how long a lease has left.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTimeToLive {
    /// The lease.
    pub id: LeaseId,
    /// Whether to list its keys.
    pub keys: bool,
}

/// How long a lease has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    /// The lease.
    pub id: LeaseId,
    /// How long it was granted for.
    pub granted: Duration,
    /// How long it has left without a keep-alive.
    pub remaining: Duration,
    /// Its keys in their order, if they were asked for.
    pub keys: Vec<Bytes>,
}

impl Error {
    /// An [`ErrorKind::LeaseNotFound`] for a lease.
    #[must_use]
    pub fn lease_not_found(id: LeaseId) -> Self {
        Self::new(
            ErrorKind::LeaseNotFound,
            format!(
                "there is no lease {id}: it was revoked, or ran out without a keep-alive; grant a new one"
            ),
        )
        .with(FieldName::Lease, id.get())
    }

    /// An [`ErrorKind::LeaseLost`] for a lease, and why.
    #[must_use]
    pub fn lease_lost(id: LeaseId, why: &str) -> Self {
        Self::new(ErrorKind::LeaseLost, format!("lease {id} is lost: {why}")).with(FieldName::Lease, id.get())
    }
}
