use norikv_core::{
    Call, Compare, CompareOp, CompareTarget, Delete, Entry, Error, ErrorKind, Get, Put, Result, Ttl, Txn,
    TxnOp, TxnOpResult, VectorCreateIndex, VectorDelete, VectorDropIndex, VectorIndex, VectorInsert, Version,
};

use crate::{
    keys::{self, Definition},
    store::VectorStore,
};

/// How often a write begins again because what it was about was changed by somebody else.
const ATTEMPTS: usize = 16;

/// The index that a write is about, as it was when it was looked at.
pub(crate) struct Target {
    pub(crate) index: VectorIndex,
    pub(crate) incarnation: u64,
    pub(crate) created: Version,
}

/// An idempotency key, and what tells its write from any other.
type Once<'a> = Option<(&'a str, u128)>;

/// What became of a write.
enum Outcome {
    /// It was made, at this version.
    Made(Version),
    /// It was made before, and answered this.
    Repeated(Version, bool),
    /// Its conditions do not hold; these are the entries that were asked for.
    Refused(Vec<Option<Entry>>),
}

fn compare(key: bytes::Bytes, target: CompareTarget) -> Compare {
    Compare { key, op: CompareOp::Equal, target }
}

/// Conditions that never hold: nothing is written, and what was asked for is read.
fn never(key: &bytes::Bytes) -> Vec<Compare> {
    [true, false].map(|exists| compare(key.clone(), CompareTarget::Exists(exists))).into()
}

fn contended(namespace: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "the vector index {namespace:?} was created and dropped {ATTEMPTS} times during one write; try again"
        ),
    )
}

impl VectorStore {
    /// Writes if the conditions hold and the idempotency key is new, all in one transaction, and notes that the write answered
    /// `answer`. `look` are the keys to be read if it is refused.
    async fn write_once(
        &self,
        once: Once<'_>,
        mut compares: Vec<Compare>,
        mut then: Vec<TxnOp>,
        answer: bool,
        look: &[bytes::Bytes],
    ) -> Result<Outcome> {
        let read = |key: &bytes::Bytes| TxnOp::Get(Get { key: key.clone(), consistency: Default::default() });
        let mut otherwise: Vec<TxnOp> = look.iter().map(read).collect();
        if let Some((key, fingerprint)) = once {
            let record = keys::record(key);
            compares.push(compare(record.clone(), CompareTarget::Exists(false)));
            otherwise.push(read(&record));
            let window = u64::try_from(self.idempotency_window.as_millis()).unwrap_or(u64::MAX);
            let mut put = Put::new(record, keys::encode_record(fingerprint, answer));
            put.ttl = Some(Ttl::from_millis(window.max(1))?);
            // The store's own writes and those of vectors have one set of keys.
            put.idempotency_key = Some(key.to_owned());
            then.push(TxnOp::Put(put));
        }
        let result = self.store.txn(Txn { compares, then, otherwise }, Call::default()).await?;
        if result.succeeded {
            return Ok(Outcome::Made(result.version));
        }
        let mut entries: Vec<Option<Entry>> = result
            .results
            .into_iter()
            .map(|result| if let TxnOpResult::Get(entry) = result { entry } else { None })
            .collect();
        if let Some((key, fingerprint)) = once
            && let Some(entry) = entries.pop().flatten()
        {
            return match keys::decode_record(&entry.value) {
                Some((made, answer)) if made == fingerprint => {
                    // Whoever made it may have given up waiting, and not have told the view.
                    if answer {
                        self.view.wrote(entry.version);
                    }
                    Ok(Outcome::Repeated(entry.version, answer))
                }
                _ => Err(Error::invalid_argument(format!(
                    "the idempotency key {key:?} was used for another write; a key belongs to one write"
                ))),
            };
        }
        Ok(Outcome::Refused(entries))
    }

    /// Notes that a write changed nothing, if it is to be repeatable and what it saw is still so. Answers what the write
    /// answers, or nothing if it is not so any more.
    async fn note_nothing(&self, once: Once<'_>, seen: Compare) -> Result<Option<bool>> {
        if once.is_none() {
            return Ok(Some(false));
        }
        Ok(match self.write_once(once, vec![seen], Vec::new(), false, &[]).await? {
            Outcome::Made(_) => Some(false),
            Outcome::Repeated(_, answer) => Some(answer),
            Outcome::Refused(_) => None,
        })
    }

    /// Creates an index. Answers whether it did.
    pub(crate) async fn create(&self, request: &VectorCreateIndex) -> Result<bool> {
        let index = &request.index;
        let once = request.idempotency_key.as_deref().map(|key| (key, request.fingerprint()));
        let key = keys::definition(&index.namespace);
        for _ in 0..ATTEMPTS {
            let definition = Definition { index: index.clone(), incarnation: fastrand::u64(..) };
            let put = TxnOp::Put(Put::new(key.clone(), keys::encode_definition(&definition)));
            let missing = compare(key.clone(), CompareTarget::Exists(false));
            let entry = match self
                .write_once(once, vec![missing], vec![put], true, std::slice::from_ref(&key))
                .await?
            {
                Outcome::Made(version) => {
                    self.view.wrote(version);
                    return Ok(true);
                }
                Outcome::Repeated(_, answer) => return Ok(answer),
                Outcome::Refused(entries) => entries.into_iter().next().flatten(),
            };
            // Dropped meanwhile: once more.
            let Some(entry) = entry else { continue };
            let there = keys::decode_definition(&index.namespace, &entry.value);
            match there {
                Some(there) if there.index == *index => {
                    let seen = compare(key.clone(), CompareTarget::Version(entry.version));
                    if let Some(answer) = self.note_nothing(once, seen).await? {
                        return Ok(answer);
                    }
                }
                there => return Err(exists(index, there.map(|there| there.index).as_ref())),
            }
        }
        Err(contended(&index.namespace))
    }

    /// Drops an index. Answers whether it was there. Its vectors are nobody's from then on, and go in the background.
    pub(crate) async fn drop_index(&self, request: &VectorDropIndex) -> Result<bool> {
        let once = request.idempotency_key.as_deref().map(|key| (key, request.fingerprint()));
        let key = keys::definition(&request.namespace);
        for _ in 0..ATTEMPTS {
            let there = compare(key.clone(), CompareTarget::Exists(true));
            let delete = TxnOp::Delete(Delete::new(key.clone()));
            match self.write_once(once, vec![there], vec![delete], true, &[]).await? {
                Outcome::Made(version) => {
                    self.view.wrote(version);
                    return Ok(true);
                }
                Outcome::Repeated(_, answer) => return Ok(answer),
                Outcome::Refused(_) => {
                    let seen = compare(key.clone(), CompareTarget::Exists(false));
                    if let Some(answer) = self.note_nothing(once, seen).await? {
                        return Ok(answer);
                    }
                }
            }
        }
        Err(contended(&request.namespace))
    }

    /// Inserts vectors. Answers the version.
    pub(crate) async fn insert(&self, request: &VectorInsert, target: Option<Target>) -> Result<Version> {
        let once = request.idempotency_key.as_deref().map(|key| (key, request.fingerprint()));
        let key = keys::definition(&request.namespace);
        let mut target = target;
        for _ in 0..ATTEMPTS {
            let wrong = target.as_ref().and_then(|target| {
                request.vectors.iter().find_map(|item| target.index.check_vector(&item.vector).err())
            });
            let (compares, then) = match &target {
                Some(target) if wrong.is_none() => {
                    let put = |item: &norikv_core::VectorItem| {
                        TxnOp::Put(Put::new(
                            keys::vector(target.incarnation, &item.id),
                            keys::encode_vector(&item.vector),
                        ))
                    };
                    let same = compare(key.clone(), CompareTarget::CreateVersion(target.created));
                    (vec![same], request.vectors.iter().map(put).collect())
                }
                // There is no index that takes it, but there may have been one when the write was made first.
                _ => (never(&key), Vec::new()),
            };
            let entries =
                match self.write_once(once, compares, then, true, std::slice::from_ref(&key)).await? {
                    Outcome::Made(version) => {
                        self.view.wrote(version);
                        return Ok(version);
                    }
                    Outcome::Repeated(version, _) => return Ok(version),
                    Outcome::Refused(entries) => entries,
                };
            let found = self.target_of(&request.namespace, entries)?;
            match wrong {
                Some(error) if target.as_ref().is_some_and(|target| target.created == found.created) => {
                    return Err(error);
                }
                _ => target = Some(found),
            }
        }
        Err(contended(&request.namespace))
    }

    /// Deletes a vector. Answers whether it was there.
    pub(crate) async fn delete_vector(&self, request: &VectorDelete, target: Option<Target>) -> Result<bool> {
        let once = request.idempotency_key.as_deref().map(|key| (key, request.fingerprint()));
        let definition = keys::definition(&request.namespace);
        let mut target = target;
        for _ in 0..ATTEMPTS {
            let incarnation = target.as_ref().map_or(0, |target| target.incarnation);
            let created = target.as_ref().map_or(Version::ZERO, |target| target.created);
            let vector = keys::vector(incarnation, &request.id);
            // Where there is no index, there is no such vector either.
            let same = compare(definition.clone(), CompareTarget::CreateVersion(created));
            let there = compare(vector.clone(), CompareTarget::Exists(true));
            let delete = TxnOp::Delete(Delete::new(vector.clone()));
            let entries = match self
                .write_once(once, vec![same, there], vec![delete], true, std::slice::from_ref(&definition))
                .await?
            {
                Outcome::Made(version) => {
                    self.view.wrote(version);
                    return Ok(true);
                }
                Outcome::Repeated(_, answer) => return Ok(answer),
                Outcome::Refused(entries) => entries,
            };
            let found = self.target_of(&request.namespace, entries)?;
            if found.created == created {
                let seen = compare(vector, CompareTarget::Exists(false));
                if let Some(answer) = self.note_nothing(once, seen).await? {
                    return Ok(answer);
                }
            }
            target = Some(found);
        }
        Err(contended(&request.namespace))
    }

    /// The index of the entry of its definition.
    #[allow(clippy::unused_self)] // reads as a question to the store
    fn target_of(&self, namespace: &str, entries: Vec<Option<Entry>>) -> Result<Target> {
        let entry = entries.into_iter().next().flatten();
        let definition = entry.as_ref().and_then(|entry| keys::decode_definition(namespace, &entry.value));
        match (entry, definition) {
            (Some(entry), Some(Definition { index, incarnation })) => {
                Ok(Target { index, incarnation, created: entry.create_version })
            }
            _ => Err(Error::vector_index_not_found(namespace)),
        }
    }
}

fn exists(asked: &VectorIndex, there: Option<&VectorIndex>) -> Error {
    let of = |index: &VectorIndex| {
        format!(
            "{} of {} dimensions, {}, quantization {}",
            index.index_type.as_str(),
            index.dimensions,
            index.distance.as_str(),
            index.quantization.as_str()
        )
    };
    let found = there.map_or_else(|| "of a kind that this version does not know".to_owned(), of);
    Error::new(
        ErrorKind::VectorIndexExists,
        format!(
            "the vector index {:?} is there already, and another one: it is {found}; asked for was {}",
            asked.namespace,
            of(asked)
        ),
    )
}
