//! A transaction as etcd's clients ask for it, read and judged before anything is done.

use std::collections::HashSet;

use bytes::Bytes;
use etcd_client::{
    CompareOp as Relation,
    proto::{
        PbCompare, PbCompareTarget, PbDeleteRequest, PbPutRequest, PbTargetUnion, PbTxnOpRequest,
        PbTxnRequest, PbTxnRequestOp,
    },
};
use norikv_core::{
    Compare, CompareOp, CompareTarget, Entry, KeyRange, LeaseId, MAX_KEY_BYTES, MAX_TXN_OPS, Put, Version,
};

use super::{
    convert::{is_single, keys, lease_id, lease_number, number},
    errors::{
        DUPLICATE_KEY, EMPTY_KEY, Failed, KEY_NOT_FOUND, Known, LEASE_PROVIDED, TOO_LARGE, TOO_MANY_OPS,
        VALUE_PROVIDED,
    },
    range::Wanted,
};

/// A transaction.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) then: Vec<Step>,
    pub(crate) otherwise: Vec<Step>,
}

/// One step of a branch.
#[derive(Debug)]
pub(crate) enum Step {
    Put(PutStep),
    /// `range` is `None` where no key can be in it.
    Delete {
        range: Option<KeyRange>,
        prev: bool,
    },
    Range(Wanted),
    Txn(Plan),
}

/// A put, which may keep the value or the lease that is there.
#[derive(Clone, Debug)]
pub(crate) struct PutStep {
    pub(crate) put: Put,
    pub(crate) keep_value: bool,
    pub(crate) keep_lease: bool,
}

/// What must hold of a key, or of every key of a range.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) key: Bytes,
    /// More than the one key. An empty range is one key that is not there.
    pub(crate) range: Option<KeyRange>,
    relation: Relation,
    target: Target,
}

/// What is compared, as etcd does: numbers may be below zero.
#[derive(Debug)]
enum Target {
    Generation(i64),
    Created(i64),
    Modified(i64),
    Value(Bytes),
    Lease(i64),
}

impl Plan {
    /// Reads a transaction.
    ///
    /// # Errors
    /// What etcd refuses, in its words.
    pub(crate) fn of(request: PbTxnRequest, max_value_bytes: usize) -> Result<Self, Known> {
        let plan = Self::read(request, max_value_bytes, MAX_TXN_OPS)?;
        check_writes(&plan.then)?;
        check_writes(&plan.otherwise)?;
        Ok(plan)
    }

    fn read(request: PbTxnRequest, max_value_bytes: usize, most: usize) -> Result<Self, Known> {
        let PbTxnRequest { compare, success, failure } = request;
        let count = compare.len().max(success.len()).max(failure.len());
        let left = most.checked_sub(count).ok_or(TOO_MANY_OPS)?;
        let branch = |ops: Vec<PbTxnRequestOp>| {
            ops.into_iter().map(|op| Step::of(op, max_value_bytes, left)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            conditions: compare.into_iter().map(Condition::of).collect::<Result<_, _>>()?,
            then: branch(success)?,
            otherwise: branch(failure)?,
        })
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.then.iter().chain(&self.otherwise)
    }

    /// Whether any branch writes.
    pub(crate) fn writes(&self) -> bool {
        self.steps().any(Step::writes)
    }

    /// Whether it has a condition on a range of keys.
    pub(crate) fn has_range_conditions(&self) -> bool {
        self.conditions.iter().any(|condition| condition.range.is_some())
            || self.steps().any(|step| matches!(step, Step::Txn(plan) if plan.has_range_conditions()))
    }

    /// Whether a store carries it out as it is: it writes, and there is nothing in it that has to be known before.
    pub(crate) fn is_direct(&self) -> bool {
        let steps = self.conditions.len() + self.then.len() + self.otherwise.len();
        steps <= MAX_TXN_OPS / 2
            && self.writes()
            && self.conditions.iter().all(Condition::is_direct)
            && self.steps().all(Step::is_direct)
    }

    /// Whether it reads at a revision of its own.
    pub(crate) fn is_historical(&self) -> bool {
        self.steps().any(|step| match step {
            Step::Range(wanted) => wanted.is_historical(),
            Step::Txn(plan) => plan.is_historical(),
            Step::Put(_) | Step::Delete { .. } => false,
        })
    }

    /// Whether a condition compares with a revision, of which a store knows more than its number.
    pub(crate) fn compares_revisions(&self) -> bool {
        self.conditions
            .iter()
            .any(|condition| matches!(condition.target, Target::Created(1..) | Target::Modified(1..)))
    }
}

impl Step {
    fn of(op: PbTxnRequestOp, max_value_bytes: usize, most: usize) -> Result<Self, Known> {
        Ok(match op.request.ok_or(KEY_NOT_FOUND)? {
            PbTxnOpRequest::RequestRange(range) => Self::Range(Wanted::of(range)?),
            PbTxnOpRequest::RequestPut(put) => Self::Put(PutStep::of(put, max_value_bytes)?),
            PbTxnOpRequest::RequestDeleteRange(delete) => Self::delete(delete)?,
            PbTxnOpRequest::RequestTxn(txn) => Self::Txn(Plan::read(txn, max_value_bytes, most)?),
        })
    }

    pub(crate) fn delete(request: PbDeleteRequest) -> Result<Self, Known> {
        Ok(Self::Delete { range: keys(request.key, &request.range_end)?, prev: request.prev_kv })
    }

    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::Put(_) | Self::Delete { .. } => true,
            Self::Range(_) => false,
            Self::Txn(plan) => plan.writes(),
        }
    }

    fn is_direct(&self) -> bool {
        match self {
            Self::Put(put) => !put.keep_value && !put.keep_lease,
            Self::Delete { .. } => true,
            Self::Range(wanted) => !wanted.is_historical(),
            Self::Txn(_) => false,
        }
    }
}

impl PutStep {
    pub(crate) fn of(request: PbPutRequest, max_value_bytes: usize) -> Result<Self, Known> {
        let PbPutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = request;
        if key.is_empty() {
            return Err(EMPTY_KEY);
        }
        if ignore_value && !value.is_empty() {
            return Err(VALUE_PROVIDED);
        }
        if ignore_lease && lease != 0 {
            return Err(LEASE_PROVIDED);
        }
        if key.len() > MAX_KEY_BYTES || value.len() > max_value_bytes {
            return Err(TOO_LARGE);
        }
        let put = Put { lease: lease_id(lease), prev_entry: prev_kv, ..Put::new(key, value) };
        Ok(Self { put, keep_value: ignore_value, keep_lease: ignore_lease })
    }
}

impl Condition {
    fn of(compare: PbCompare) -> Result<Self, Known> {
        let unknown = |_| KEY_NOT_FOUND;
        let relation = Relation::try_from(compare.result).map_err(unknown)?;
        let target = PbCompareTarget::try_from(compare.target).map_err(unknown)?;
        // What does not fit the target is as good as not there, which is zero.
        let target = match (target, compare.target_union) {
            (PbCompareTarget::Version, Some(PbTargetUnion::Version(asked))) => Target::Generation(asked),
            (PbCompareTarget::Version, _) => Target::Generation(0),
            (PbCompareTarget::Create, Some(PbTargetUnion::CreateRevision(asked))) => Target::Created(asked),
            (PbCompareTarget::Create, _) => Target::Created(0),
            (PbCompareTarget::Mod, Some(PbTargetUnion::ModRevision(asked))) => Target::Modified(asked),
            (PbCompareTarget::Mod, _) => Target::Modified(0),
            (PbCompareTarget::Value, Some(PbTargetUnion::Value(asked))) => Target::Value(asked.into()),
            (PbCompareTarget::Value, _) => Target::Value(Bytes::new()),
            (PbCompareTarget::Lease, Some(PbTargetUnion::Lease(asked))) => Target::Lease(asked),
            (PbCompareTarget::Lease, _) => Target::Lease(0),
        };
        let range = if is_single(&compare.key, &compare.range_end) {
            None
        } else {
            // One that no key can be in is asked about all the same.
            let nowhere = KeyRange { start: Bytes::new(), end: Some(Bytes::new()) };
            Some(keys(compare.key.clone(), &compare.range_end)?.unwrap_or(nowhere))
        };
        if compare.key.is_empty() {
            return Err(EMPTY_KEY);
        }
        if range.is_none() && compare.key.len() > MAX_KEY_BYTES {
            return Err(TOO_LARGE);
        }
        Ok(Self { key: compare.key.into(), range, relation, target })
    }

    fn is_direct(&self) -> bool {
        self.range.is_none()
            && match self.target {
                Target::Generation(asked) | Target::Created(asked) | Target::Modified(asked) => asked >= 0,
                Target::Value(_) => true,
                // The order of leases is that of numbers that may be below zero, which ours are not.
                Target::Lease(_) => matches!(self.relation, Relation::Equal | Relation::NotEqual),
            }
    }

    /// The same for a store of that term.
    pub(crate) fn to_compare(&self, term: u64) -> Compare {
        let version = |asked: i64| match asked.unsigned_abs() {
            0 => Version::ZERO,
            index => Version::new(term, index),
        };
        let target = match &self.target {
            Target::Generation(asked) => CompareTarget::Generation(asked.unsigned_abs()),
            Target::Created(asked) => CompareTarget::CreateVersion(version(*asked)),
            Target::Modified(asked) => CompareTarget::Version(version(*asked)),
            Target::Value(asked) => CompareTarget::Value(asked.clone()),
            Target::Lease(asked) => CompareTarget::Lease(lease_id(*asked).map_or(0, LeaseId::get)),
        };
        let op = match self.relation {
            Relation::Equal => CompareOp::Equal,
            Relation::NotEqual => CompareOp::NotEqual,
            Relation::Greater => CompareOp::Greater,
            Relation::Less => CompareOp::Less,
        };
        Compare { key: self.key.clone(), op, target }
    }

    /// Whether it holds of what was found: of every key, or, if there is none, of a missing one.
    pub(crate) fn holds(&self, found: &[Entry]) -> bool {
        if found.is_empty() {
            self.holds_of(None)
        } else {
            found.iter().all(|entry| self.holds_of(Some(entry)))
        }
    }

    fn holds_of(&self, found: Option<&Entry>) -> bool {
        let of = |read: fn(&Entry) -> u64| found.map_or(0, |entry| number(read(entry)));
        let order = match &self.target {
            Target::Generation(asked) => of(|entry| entry.generation).cmp(asked),
            Target::Created(asked) => of(|entry| entry.create_version.index).cmp(asked),
            Target::Modified(asked) => of(|entry| entry.version.index).cmp(asked),
            Target::Lease(asked) => found.and_then(|entry| entry.lease).map_or(0, lease_number).cmp(asked),
            Target::Value(asked) => match found {
                Some(entry) => entry.value.cmp(asked),
                None => return false,
            },
        };
        match self.relation {
            Relation::Equal => order.is_eq(),
            Relation::NotEqual => order.is_ne(),
            Relation::Greater => order.is_gt(),
            Relation::Less => order.is_lt(),
        }
    }
}

/// What a branch puts, and what it deletes.
type Writes<'a> = (HashSet<&'a [u8]>, Vec<&'a KeyRange>);

/// Refuses a branch that puts a key twice, or puts one that it deletes.
fn check_writes(steps: &[Step]) -> Result<Writes<'_>, Known> {
    let mut deleted: Vec<&KeyRange> = steps
        .iter()
        .filter_map(|step| if let Step::Delete { range, .. } = step { range.as_ref() } else { None })
        .collect();
    let mut put: HashSet<&[u8]> = HashSet::new();
    let is_deleted = |deleted: &[&KeyRange], key: &[u8]| deleted.iter().any(|range| range.contains(key));
    for step in steps {
        let Step::Txn(plan) = step else { continue };
        let (then_put, then_deleted) = check_writes(&plan.then)?;
        let (else_put, else_deleted) = check_writes(&plan.otherwise)?;
        // One of the two branches is taken, so both may put the same key.
        if then_put.union(&else_put).any(|key| put.contains(key) || is_deleted(&deleted, key)) {
            return Err(DUPLICATE_KEY);
        }
        put.extend(then_put);
        put.extend(else_put);
        deleted.extend(then_deleted);
        deleted.extend(else_deleted);
    }
    for step in steps {
        let Step::Put(PutStep { put: Put { key, .. }, .. }) = step else { continue };
        if !put.insert(key) || is_deleted(&deleted, key) {
            return Err(DUPLICATE_KEY);
        }
    }
    Ok((put, deleted))
}

/// The refusal of a transaction that cannot be carried out at once.
pub(crate) fn range_condition() -> Failed {
    Failed::unsupported(
        "a transaction that writes compares single keys on this server: compare each key, or leave range_end out of the compares",
    )
}
