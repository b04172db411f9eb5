use bytes::Bytes;
use norikv_core::{Error, ErrorKind, Result};

use crate::{
    engine::{Engine, Op, Table},
    keys, log,
};

/// The revision of an empty store.
pub(crate) const FIRST_REVISION: u64 = 1;

/// What a store knows of itself when it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The incarnation of the store.
    pub(crate) term: u64,
    /// The newest revision.
    pub(crate) revision: u64,
    /// The oldest revision that can be read.
    pub(crate) floor: u64,
    /// The newest time that was recorded.
    pub(crate) time: u64,
}

impl Meta {
    pub(crate) const EMPTY: Self = Self { term: 1, revision: FIRST_REVISION, floor: FIRST_REVISION, time: 0 };

    /// The row to store. It is not part of every write: the log tells what came after it.
    pub(crate) fn op(&self) -> Op {
        let numbers = [self.term, self.revision, self.floor, self.time];
        let value: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Op { table: Table::System, key: keys::meta("store").into(), value: Some(value.into()) }
    }

    fn decode(bytes: &Bytes) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let [term, revision, floor, time] = *numbers else { return None };
        let [term, revision, floor, time] = [term, revision, floor, time].map(u64::from_le_bytes);
        Some(Self { term, revision, floor, time })
    }

    /// What the engine holds; `None` if it was never written.
    pub(crate) fn load(engine: &dyn Engine) -> Result<Option<Self>> {
        let Some(bytes) = engine.get(Table::System, &keys::meta("store"))? else {
            return Ok(None);
        };
        let mut meta = Self::decode(&bytes).ok_or_else(|| {
            Error::new(
                ErrorKind::Corruption,
                "the store's own settings cannot be read; restore the store from a backup",
            )
        })?;
        if let Some((revision, time)) = log::newest(engine)? {
            meta.revision = meta.revision.max(revision);
            meta.time = meta.time.max(time);
        }
        Ok(Some(meta))
    }
}
