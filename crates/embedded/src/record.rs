use bytes::{Buf, Bytes};
use norikv_core::{Entry, Error, ErrorKind, LeaseId, Result, Version};

use crate::engine::SHARE_FROM;

const HEADER: usize = 25;
const EXPIRES: u8 = 1;
const LEASE: u8 = 2;

/// What is stored of an entry beside its key.
///
/// As bytes: flags u8; index, create index and generation as u64; the time of expiry and the lease as u64
/// where the flags say so; the value. Little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The revision of the last change.
    pub(crate) index: u64,
    /// The revision of the creation.
    pub(crate) create_index: u64,
    /// 1 at creation, one more with every put.
    pub(crate) generation: u64,
    /// When it expires, in milliseconds since the Unix epoch.
    pub(crate) expires_at: Option<u64>,
    /// The lease it belongs to.
    pub(crate) lease: Option<LeaseId>,
    /// Where the value begins.
    value_at: usize,
}

impl Record {
    /// A record that was never stored.
    pub(crate) fn new(index: u64, create_index: u64, generation: u64, expires_at: Option<u64>) -> Self {
        Self { index, create_index, generation, expires_at, lease: None, value_at: 0 }
    }

    /// The same with a lease.
    pub(crate) fn with_lease(self, lease: Option<LeaseId>) -> Self {
        Self { lease, ..self }
    }

    /// The record with its value, then the key: what is stored is the bytes without the key, what is kept in
    /// memory all of it. Nothing of the request's own buffer is kept: it may be a slice of a large message.
    pub(crate) fn encode(&self, value: &[u8], key: &[u8]) -> Bytes {
        let numbers = usize::from(self.expires_at.is_some()) + usize::from(self.lease.is_some());
        let mut buffer = Vec::with_capacity(HEADER + 8 * numbers + value.len() + key.len());
        let flags = if self.expires_at.is_some() { EXPIRES } else { 0 };
        buffer.push(flags | if self.lease.is_some() { LEASE } else { 0 });
        for number in [self.index, self.create_index, self.generation] {
            buffer.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.expires_at, self.lease.map(LeaseId::get)].into_iter().flatten() {
            buffer.extend_from_slice(&number.to_le_bytes());
        }
        buffer.extend_from_slice(value);
        buffer.extend_from_slice(key);
        buffer.into()
    }

    /// The record of stored bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let length = bytes.len();
        let mut rest = bytes;
        let decoded = (|| {
            let flags = *bytes.first()?;
            rest = rest.get(1..)?;
            let mut next = || rest.try_get_u64_le().ok();
            let (index, create_index, generation) = (next()?, next()?, next()?);
            let expires_at = if flags & EXPIRES == 0 { None } else { Some(next()?) };
            let lease = if flags & LEASE == 0 { None } else { Some(LeaseId::new(next()?)?) };
            (flags & !(EXPIRES | LEASE) == 0).then_some(Self {
                index,
                create_index,
                generation,
                expires_at,
                lease,
                value_at: length - rest.len(),
            })
        })();
        decoded.ok_or_else(|| {
            Error::new(
                ErrorKind::Corruption,
                format!("a stored record of {length} bytes cannot be read; restore the store from a backup"),
            )
        })
    }

    /// The record as its bytes tell it: it knows where its value begins.
    pub(crate) fn stored(&self) -> Self {
        let numbers = usize::from(self.expires_at.is_some()) + usize::from(self.lease.is_some());
        Self { value_at: HEADER + 8 * numbers, ..*self }
    }

    /// Whether it has expired at that time.
    pub(crate) fn expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The entry of a key with this record.
    pub(crate) fn entry(&self, key: Bytes, value: Bytes, term: u64) -> Entry {
        Entry {
            key,
            value,
            version: Version::new(term, self.index),
            create_version: Version::new(term, self.create_index),
            generation: self.generation,
            lease: self.lease,
            expires_at: self.expires_at,
        }
    }

    /// The value within the stored bytes, sharing them.
    pub(crate) fn value(&self, bytes: &Bytes) -> Bytes {
        bytes.slice(self.value_at..)
    }

    /// The value within the first `length` stored bytes: shared if it is large; copied if it is small, which
    /// costs less than counting a reference in memory that is not at hand.
    pub(crate) fn value_within(&self, bytes: &Bytes, length: usize) -> Bytes {
        if length > SHARE_FROM {
            return bytes.slice(self.value_at..length);
        }
        Bytes::copy_from_slice(&bytes[self.value_at..length])
    }

    /// How many bytes of a stored record are enough for everything but its value.
    pub(crate) const LONGEST_HEADER: usize = HEADER + 16;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_bytes() {
        for (expires_at, lease) in [(None, None), (Some(7), None), (None, Some(9)), (Some(7), Some(9))] {
            let lease = lease.and_then(LeaseId::new);
            let record = Record { lease, ..Record::new(3, 2, 4, expires_at) };
            let bytes = record.encode(b"value", b"");
            let decoded = Record::decode(&bytes).unwrap();
            assert_eq!(decoded.value(&bytes), "value");
            assert_eq!(Record { value_at: 0, ..decoded }, record);
        }
    }

    #[test]
    fn damaged_records_are_corruption() {
        let bytes = Record::new(1, 1, 1, Some(1)).encode(b"", b"");
        for damaged in [&bytes[..0], &bytes[..24], &bytes[..32], &[0xff; 40]] {
            assert_eq!(Record::decode(damaged).unwrap_err().kind(), ErrorKind::Corruption);
        }
    }

    #[test]
    fn an_entry_is_gone_from_the_very_millisecond_it_expires() {
        let record = Record::new(1, 1, 1, Some(100));
        assert!(!record.expired(99));
        assert!(record.expired(100));
        assert!(!Record::new(1, 1, 1, None).expired(u64::MAX));
    }
}
