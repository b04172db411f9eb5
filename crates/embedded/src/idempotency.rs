use norikv_core::{Error, ErrorKind, Result, Version};

/// What a write with an idempotency key answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What tells the write from any other.
    pub(crate) fingerprint: u128,
    /// The version it answered.
    pub(crate) version: Version,
    /// What a delete answered; true for a put.
    pub(crate) deleted: bool,
    /// From when on it is forgotten, in milliseconds since the Unix epoch.
    pub(crate) expires_at: u64,
}

impl Outcome {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(41);
        bytes.extend_from_slice(&self.fingerprint.to_le_bytes());
        bytes.extend_from_slice(&self.version.term.to_le_bytes());
        bytes.extend_from_slice(&self.version.index.to_le_bytes());
        bytes.extend_from_slice(&self.expires_at.to_le_bytes());
        bytes.push(u8::from(self.deleted));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let decoded = (|| {
            let (fingerprint, rest) = bytes.split_first_chunk::<16>()?;
            let (term, rest) = rest.split_first_chunk::<8>()?;
            let (index, rest) = rest.split_first_chunk::<8>()?;
            let (expires_at, rest) = rest.split_first_chunk::<8>()?;
            let [deleted @ (0 | 1)] = *rest else { return None };
            Some(Self {
                fingerprint: u128::from_le_bytes(*fingerprint),
                version: Version::new(u64::from_le_bytes(*term), u64::from_le_bytes(*index)),
                expires_at: u64::from_le_bytes(*expires_at),
                deleted: deleted == 1,
            })
        })();
        decoded.ok_or_else(|| {
            Error::new(
                ErrorKind::Corruption,
                "an idempotency record cannot be read; restore the store from a backup",
            )
        })
    }

    /// Refuses a write that is not the one recorded.
    pub(crate) fn check(&self, fingerprint: u128, key: &str) -> Result<()> {
        if self.fingerprint == fingerprint {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "the idempotency key {key:?} belongs to a write with another key, value or operation (at version {}); use a new one for each write",
            self.version
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_survives_its_bytes_and_damaged_ones_are_corruption() {
        let outcome =
            Outcome { fingerprint: 1 << 100, version: Version::new(1, 2), deleted: true, expires_at: 3 };
        let bytes = outcome.encode();
        assert_eq!(Outcome::decode(&bytes).unwrap(), outcome);
        assert!(Outcome::decode(&bytes[..40]).is_err());
        assert!(Outcome::decode(&[2; 41]).is_err());
    }
}
