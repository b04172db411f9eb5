use std::sync::Arc;

use bytes::Bytes;
use norikv_core::{
    Consistency, Delete, Entry, Error, ErrorKind, Get, KeyRange, Put, Result, Scan, StoreRef, Version,
};

use super::{
    ends::{Ends, itself},
    patience::Patience,
    progress::shown,
    source::{page, rest},
    wanted::is_own,
};

/// What the keys of notes begin with. Behind it stands the prefix of what is copied.
pub(crate) const PREFIX: &[u8] = b"\0norikv/copy/";
const TITLE: &str = "NoriKV copy, format 1";

/// The note in the target that it is a copy, whose, and not whole yet. It is there from before the first write until the stores
/// were found to be equal. It is what tells the target of a copy that was broken off from somebody's data.
pub(crate) struct Note {
    store: StoreRef,
    patience: Patience,
    key: Bytes,
    value: Bytes,
    version: Version,
}

/// What the target was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Without a key in the range.
    Empty,
    /// A copy of the same source that was broken off.
    Unfinished,
    /// Something else, which was allowed to be overwritten.
    Foreign,
}

impl Note {
    /// Leaves the note in the target, if it may be written into.
    ///
    /// # Errors
    /// `InvalidArgument` if the target has something else, or is the source.
    pub(crate) async fn leave(
        ends: &Ends,
        prefix: &[u8],
        overwrite: bool,
        patience: &Patience,
    ) -> Result<(Self, Before)> {
        refuse_unfinished(ends, patience).await?;
        refuse_wider(ends, prefix, patience).await?;
        let key = Bytes::from([PREFIX, prefix].concat());
        let get = Get { key: key.clone(), consistency: Consistency::Linearizable };
        let found = patience.ask(|call| ends.to.get(get.clone(), call)).await?;
        let before = match found {
            Some(note) if whose(&note) == Some(ends.from_name.as_str()) => Before::Unfinished,
            _ if overwrite => Before::Foreign,
            Some(note) => return Err(other_source(ends, whose(&note))),
            None => match first_key(ends, prefix, patience).await? {
                None => Before::Empty,
                Some(first) => return Err(foreign(ends, &first)),
            },
        };
        let value =
            Bytes::from(format!("{TITLE}\nrun {:016x}\nfrom {}\n", fastrand::u64(..), ends.from_name));
        let put = Put::new(key.clone(), value.clone());
        let version = patience.ask(|call| ends.to.put(put.clone(), call)).await?.version;
        let note = Self { store: Arc::clone(&ends.to), patience: patience.clone(), key, value, version };
        // Two addresses may lead to one store.
        let seen = patience.ask(|call| ends.from.get(get.clone(), call)).await?;
        if seen.is_some_and(|seen| seen.value == note.value) {
            note.remove().await?;
            return Err(itself(&ends.from_name, &ends.to_name));
        }
        // One of more keys may have begun meanwhile. Either it finds this note, or it is found here.
        if let Err(error) = refuse_wider(ends, prefix, patience).await {
            note.remove().await?;
            return Err(error);
        }
        note.take_over(prefix, patience).await?;
        Ok((note, before))
    }

    /// Takes away the notes of copies of a part of these keys: from now on this one is to make them whole, and whoever still
    /// copies such a part leaves it to that.
    async fn take_over(&self, prefix: &[u8], patience: &Patience) -> Result<()> {
        for narrower in notes(&self.store, prefix, patience).await? {
            if narrower.key != self.key {
                let delete = Delete::new(narrower.key);
                patience.ask(|call| self.store.delete(delete.clone(), call)).await?;
            }
        }
        Ok(())
    }

    /// Makes sure that nobody else copies into the target.
    ///
    /// # Errors
    /// `Cancelled` if somebody does.
    pub(crate) async fn check(&self) -> Result<()> {
        let get = Get { key: self.key.clone(), consistency: Consistency::Linearizable };
        let found = self.patience.ask(|call| self.store.get(get.clone(), call)).await?;
        if found.is_some_and(|found| found.value == self.value) { Ok(()) } else { Err(taken_over()) }
    }

    /// Takes the note away: the target is a store like any other.
    ///
    /// # Errors
    /// `Cancelled` if somebody else copies into it.
    pub(crate) async fn remove(&self) -> Result<()> {
        let delete = Delete { if_match: Some(self.version), ..Delete::new(self.key.clone()) };
        match self.patience.ask(|call| self.store.delete(delete.clone(), call)).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::VersionMismatch => {
                // The reply to an attempt before may have been lost.
                let get = Get { key: self.key.clone(), consistency: Consistency::Linearizable };
                match self.patience.ask(|call| self.store.get(get.clone(), call)).await? {
                    None => Ok(()),
                    Some(_) => Err(taken_over()),
                }
            }
            Err(error) => Err(error),
        }
    }
}

fn taken_over() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "another norikv copy has begun to write into the target, and this one leaves it to that; run one at a time",
    )
}

/// The source that a note names.
fn whose(note: &Entry) -> Option<&str> {
    let text = std::str::from_utf8(&note.value).ok()?;
    let mut lines = text.lines();
    (lines.next() == Some(TITLE)).then_some(())?;
    lines.find_map(|line| line.strip_prefix("from "))
}

/// A source that is itself not whole would make a copy that is not, and nobody would know.
async fn refuse_unfinished(ends: &Ends, patience: &Patience) -> Result<()> {
    let (notes, _) =
        page(&ends.from, &Scan { limit: 1, ..Scan::new(KeyRange::prefix(PREFIX)) }, patience).await?;
    let Some(note) = notes.first() else { return Ok(()) };
    Err(Error::invalid_argument(format!(
        "{} is itself the target of a copy from {} that did not come to its end, so that it is not whole; finish that, or delete its key {} if you want it as it is",
        ends.from_name,
        whose(note).unwrap_or("somewhere"),
        shown(&note.key),
    )))
}

/// A copy of more keys than these, which may be under way, writes and deletes among them.
async fn refuse_wider(ends: &Ends, prefix: &[u8], patience: &Patience) -> Result<()> {
    let all = notes(&ends.to, b"", patience).await?;
    let wider = all.iter().find(|note| {
        note.key
            .strip_prefix(PREFIX)
            .is_some_and(|other| other.len() < prefix.len() && prefix.starts_with(other))
    });
    let Some(note) = wider else { return Ok(()) };
    Err(Error::invalid_argument(format!(
        "{} is the target of a copy from {} that has not come to its end, and these keys are a part of that; finish that first, or delete its key {} if nobody will",
        ends.to_name,
        whose(note).unwrap_or("somewhere"),
        shown(&note.key),
    )))
}

/// The notes of copies of keys that begin so.
async fn notes(store: &StoreRef, prefix: &[u8], patience: &Patience) -> Result<Vec<Entry>> {
    let range = KeyRange::prefix([PREFIX, prefix].concat());
    let (mut notes, mut after) = (Vec::new(), None);
    loop {
        let (entries, more) = page(store, &Scan::new(rest(&range, after.as_ref())), patience).await?;
        after = entries.last().map(|entry| entry.key.clone());
        notes.extend(entries.into_iter().filter(|entry| whose(entry).is_some()));
        if !more || after.is_none() {
            return Ok(notes);
        }
    }
}

/// The first key of the target in the range that a copy would have to judge.
async fn first_key(ends: &Ends, prefix: &[u8], patience: &Patience) -> Result<Option<Bytes>> {
    let range = KeyRange::prefix(Bytes::copy_from_slice(prefix));
    let mut after = None;
    loop {
        let request = Scan { keys_only: true, limit: 16, ..Scan::new(rest(&range, after.as_ref())) };
        let (entries, more) = page(&ends.to, &request, patience).await?;
        if let Some(found) = entries.iter().find(|entry| !is_own(&entry.key)) {
            return Ok(Some(found.key.clone()));
        }
        match entries.last() {
            Some(last) if more => after = Some(last.key.clone()),
            _ => return Ok(None),
        }
    }
}

fn foreign(ends: &Ends, first: &Bytes) -> Error {
    Error::invalid_argument(format!(
        "{} has keys already, the first of them {}, and is no copy of {} that was broken off; name an empty store, look at the differences with --verify-only, or say --overwrite to make it equal: what it has and the source has not is then deleted",
        ends.to_name,
        shown(first),
        ends.from_name,
    ))
}

fn other_source(ends: &Ends, from: Option<&str>) -> Error {
    Error::invalid_argument(format!(
        "{} is the target of a copy from {} that did not come to its end, and not of one from {}; name the same source as then, or say --overwrite to make it equal to this one",
        ends.to_name,
        from.unwrap_or("somewhere"),
        ends.from_name,
    ))
}
