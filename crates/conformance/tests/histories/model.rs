//! What a store does with each call, if it has one after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use todc_utils::specifications::Specification;

pub(crate) type Key = usize;
/// A value and its revision; `None` if the key is missing.
pub(crate) type Found = Option<(String, u64)>;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Not a call: what is there at the beginning.
    Begin(Model),
    /// Not a call: all that was answered has come. What is in doubt and had no effect until now has none.
    End,
    Get(Key),
    Put(Key, String),
    Delete(Key),
    /// Puts at this revision and no other.
    Cas(Key, u64, String),
    /// Puts only if the key is missing.
    Create(Key, String),
    /// Reads the revision of the store.
    Revision,
    /// Reads two keys, and puts to both if the first has this revision (0: is missing).
    Txn {
        keys: [Key; 2],
        at: u64,
        value: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ret {
    /// To what is no call.
    Nothing,
    Found(Found),
    Written(u64),
    Deleted(bool, u64),
    Revision(u64),
    /// A condition does not hold; with the revision that is there.
    Refused(Option<u64>),
    Txn {
        succeeded: bool,
        revision: u64,
        found: [Found; 2],
    },
}

/// The store as one caller sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    pub(crate) revision: u64,
    pub(crate) keys: BTreeMap<Key, (String, u64)>,
    /// Whether all that was answered has come.
    pub(crate) ended: bool,
}

impl Model {
    pub(crate) fn write(&mut self, keys: &[Key], value: &str) -> u64 {
        self.revision += 1;
        for key in keys {
            self.keys.insert(*key, (value.to_owned(), self.revision));
        }
        self.revision
    }

    pub(crate) fn at(&self, key: Key) -> Option<u64> {
        self.keys.get(&key).map(|(_, revision)| *revision)
    }
}

/// What became of a call.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Is(Ret),
    /// Nobody knows. If it had an effect, it has one of these revisions, or comes after all that is known.
    Open(Arc<BTreeSet<u64>>),
}

/// A call, and what became of it.
pub(crate) type Answered = (Op, Outcome);

impl Specification for Model {
    type State = Self;
    type Operation = Answered;

    fn init() -> Self {
        Self::default()
    }

    fn apply((op, outcome): &Answered, state: &Self) -> (bool, Self) {
        let mut next = state.clone();
        match outcome {
            Outcome::Is(answered) => (next.invoke(op) == *answered, next),
            // As good as never.
            Outcome::Open(_) if state.ended => (true, next),
            // One without an effect may come last as well, and then it is not tried everywhere.
            Outcome::Open(free) => {
                next.invoke(op);
                (next.revision > state.revision && free.contains(&next.revision), next)
            }
        }
    }
}

impl Op {
    /// What it would write, if it writes a value.
    pub(crate) fn value(&self) -> Option<&str> {
        match self {
            Self::Put(_, value)
            | Self::Cas(_, _, value)
            | Self::Create(_, value)
            | Self::Txn { value, .. } => Some(value),
            Self::Begin(_) | Self::End | Self::Get(_) | Self::Delete(_) | Self::Revision => None,
        }
    }

    /// Whether it may change something.
    pub(crate) fn is_write(&self) -> bool {
        self.value().is_some() || matches!(self, Self::Delete(_))
    }
}

impl Ret {
    /// The values that it tells of, and their revisions.
    pub(crate) fn found(&self) -> Vec<&(String, u64)> {
        match self {
            Self::Found(found) => found.iter().collect(),
            Self::Txn { found, .. } => found.iter().flatten().collect(),
            _ => Vec::new(),
        }
    }

    /// The revision that is its own.
    pub(crate) fn written(&self) -> Option<u64> {
        match self {
            Self::Written(revision)
            | Self::Deleted(true, revision)
            | Self::Txn { succeeded: true, revision, .. } => Some(*revision),
            _ => None,
        }
    }

    /// The newest revision that it tells of.
    pub(crate) fn newest(&self) -> u64 {
        match self {
            Self::Written(revision)
            | Self::Deleted(_, revision)
            | Self::Txn { revision, .. }
            | Self::Revision(revision) => *revision,
            Self::Found(found) => found.as_ref().map_or(0, |(_, revision)| *revision),
            Self::Refused(found) => found.unwrap_or(0),
            Self::Nothing => 0,
        }
    }
}

impl Model {
    pub(crate) fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Begin(model) => {
                *self = model.clone();
                Ret::Nothing
            }
            Op::End => {
                self.ended = true;
                Ret::Nothing
            }
            Op::Get(key) => Ret::Found(self.keys.get(key).cloned()),
            Op::Put(key, value) => Ret::Written(self.write(&[*key], value)),
            Op::Delete(key) => {
                let deleted = self.keys.remove(key).is_some();
                self.revision += u64::from(deleted);
                Ret::Deleted(deleted, self.revision)
            }
            Op::Cas(key, at, value) => match self.at(*key) {
                Some(found) if found == *at => Ret::Written(self.write(&[*key], value)),
                found => Ret::Refused(found),
            },
            Op::Create(key, value) => match self.at(*key) {
                None => Ret::Written(self.write(&[*key], value)),
                found => Ret::Refused(found),
            },
            Op::Revision => Ret::Revision(self.revision),
            Op::Txn { keys, at, value } => {
                let found = keys.map(|key| self.keys.get(&key).cloned());
                let succeeded = self.at(keys[0]).unwrap_or(0) == *at;
                if succeeded {
                    self.write(keys, value);
                }
                Ret::Txn { succeeded, revision: self.revision, found }
            }
        }
    }
}
