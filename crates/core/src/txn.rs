use std::cmp::Ordering;

use bytes::Bytes;

use crate::{
    Delete, DeleteRange, DeleteRangeResult, DeleteResult, Entry, Error, Get, KeyRange, LeaseId, Page, Put,
    PutResult, Result, Scan, Version,
    error::show_key,
    limits::{MAX_TXN_BYTES, MAX_TXN_OPS, check_key},
};

/// How a compare relates what is found to what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`: what is found is less than what was asked for.
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl CompareOp {
    /// Whether the relation holds, given how what is found orders against what was asked for.
    ///
    /// ```
    /// use norikv_core::CompareOp;
    /// assert!(CompareOp::LessOrEqual.holds(1.cmp(&2)));
    /// assert!(!CompareOp::Greater.holds(2.cmp(&2)));
    /// ```
    #[must_use]
    pub const fn holds(self, found: Ordering) -> bool {
        match self {
            Self::Equal => found.is_eq(),
            Self::NotEqual => found.is_ne(),
            Self::Less => found.is_lt(),
            Self::LessOrEqual => found.is_le(),
            Self::Greater => found.is_gt(),
            Self::GreaterOrEqual => found.is_ge(),
        }
    }
}

/// What a compare looks at, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// The value, as unsigned bytes. False for a missing key, whatever the relation.
    Value(Bytes),
    /// The version of the last change; 0.0 for a missing key.
    Version(Version),
    /// The version of the creation; 0.0 for a missing key.
    CreateVersion(Version),
    /// The generation; 0 for a missing key.
    Generation(u64),
    /// The lease's id; 0 for a missing key and for one without a lease.
    Lease(u64),
    /// Whether the key is there. Only `=` and `!=`.
    Exists(bool),
}

/// A condition of a transaction on one key.
///
/// ```
/// use norikv_core::{Compare, CompareOp, CompareTarget};
/// let compare = Compare { key: "a".into(), op: CompareOp::Equal, target: CompareTarget::Exists(false) };
/// assert!(compare.holds(None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// How what is found is to relate to the target.
    pub op: CompareOp,
    /// What is compared, and with what.
    pub target: CompareTarget,
}

impl Compare {
    /// Whether it holds of the key's entry; `None` is a missing key.
    #[must_use]
    pub fn holds(&self, found: Option<&Entry>) -> bool {
        let order = match &self.target {
            CompareTarget::Value(asked) => match found {
                Some(entry) => entry.value.cmp(asked),
                None => return false,
            },
            CompareTarget::Version(asked) => found.map_or(Version::ZERO, |entry| entry.version).cmp(asked),
            CompareTarget::CreateVersion(asked) => {
                found.map_or(Version::ZERO, |entry| entry.create_version).cmp(asked)
            }
            CompareTarget::Generation(asked) => found.map_or(0, |entry| entry.generation).cmp(asked),
            CompareTarget::Lease(asked) => {
                found.and_then(|entry| entry.lease).map_or(0, LeaseId::get).cmp(asked)
            }
            CompareTarget::Exists(asked) => found.is_some().cmp(asked),
        };
        self.op.holds(order)
    }

    fn check(&self) -> Result<()> {
        check_key(&self.key)?;
        match (&self.target, self.op) {
            (CompareTarget::Exists(_), CompareOp::Equal | CompareOp::NotEqual) => Ok(()),
            (CompareTarget::Exists(_), _) => Err(Error::invalid_argument(
                "whether a key exists is compared with equals and notEquals only: it has no order",
            )),
            _ => Ok(()),
        }
    }
}

/// One step of a transaction.
#[derive(Clone, Debug)]
pub enum TxnOp {
    /// Writes one key. Its precondition, where it has one, is a condition of the whole transaction: where it does
    /// not hold, the transaction fails with its error and changes nothing.
    Put(Put),
    /// Deletes one key; its condition as that of a put.
    Delete(Delete),
    /// Deletes a range.
    DeleteRange(DeleteRange),
    /// Reads one key, as the steps before this one left it.
    Get(Get),
    /// Reads a range, as the steps before this one left it: all of it, or as much as its limit says. A store may refuse
    /// a scan that finds more than it answers at once; it never leaves anything out in silence.
    Scan(Scan),
}

/// What a step answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOpResult {
    /// Of a put.
    Put(PutResult),
    /// Of a delete.
    Delete(DeleteResult),
    /// Of a range delete.
    DeleteRange(DeleteRangeResult),
    /// Of a get.
    Get(Option<Entry>),
    /// Of a scan. `more` is true only where its limit left entries out.
    Scan(Page),
}

/// Compares, and what happens if all of them hold, or else: at once, in one revision or none.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// The conditions. None at all hold.
    pub compares: Vec<Compare>,
    /// What happens if all conditions hold.
    pub then: Vec<TxnOp>,
    /// What happens otherwise.
    pub otherwise: Vec<TxnOp>,
}

/// What a transaction answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether all compares held, and `then` was done.
    pub succeeded: bool,
    /// The version of the transaction; of the store, if it changed nothing.
    pub version: Version,
    /// What the steps of the branch that was taken answered, in their order.
    pub results: Vec<TxnOpResult>,
}

impl Txn {
    /// Refuses what no store may carry out.
    ///
    /// # Errors
    /// `InvalidArgument`: more than [`MAX_TXN_OPS`] compares and ops, more than [`MAX_TXN_BYTES`] of keys and values beside
    /// one largest value, a key, range or value that no call takes, an
    /// order asked of `exists`, two writes of one branch to one key or with one idempotency key, or a scan at a
    /// version.
    pub fn check(&self, max_value_bytes: usize) -> Result<()> {
        let count = self.compares.len() + self.then.len() + self.otherwise.len();
        if count > MAX_TXN_OPS {
            return Err(Error::invalid_argument(format!(
                "a transaction has at most {MAX_TXN_OPS} compares and ops together; this one has {count}"
            )));
        }
        self.compares.iter().try_for_each(Compare::check)?;
        check_branch(&self.then, max_value_bytes)?;
        check_branch(&self.otherwise, max_value_bytes)?;
        let (bytes, most) = (self.bytes(), max_value_bytes.saturating_add(MAX_TXN_BYTES));
        if bytes > most {
            return Err(Error::invalid_argument(format!(
                "a transaction has at most {most} bytes of keys and values; this one has {bytes}"
            )));
        }
        Ok(())
    }

    /// The bytes of its keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let compare = |compare: &Compare| match &compare.target {
            CompareTarget::Value(value) => compare.key.len() + value.len(),
            _ => compare.key.len(),
        };
        let op = |op: &TxnOp| match op {
            TxnOp::Put(put) => put.key.len() + put.value.len(),
            TxnOp::Delete(delete) => delete.key.len(),
            _ => 0,
        };
        let ops = self.then.iter().chain(&self.otherwise);
        self.compares.iter().map(compare).sum::<usize>() + ops.map(op).sum::<usize>()
    }

    /// Whether it only reads, whichever branch is taken.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.then.iter().chain(&self.otherwise).all(|op| matches!(op, TxnOp::Get(_) | TxnOp::Scan(_)))
    }
}

fn check_branch(ops: &[TxnOp], max_value_bytes: usize) -> Result<()> {
    // The keys that are written so far. At most 128, so looking at each pair costs less than sorting them.
    let mut written: Vec<KeyRange> = Vec::new();
    let mut once: Vec<&str> = Vec::new();
    for op in ops {
        let range = match op {
            TxnOp::Put(put) => {
                put.check(max_value_bytes)?;
                KeyRange::single(&put.key)
            }
            TxnOp::Delete(delete) => {
                delete.check()?;
                KeyRange::single(&delete.key)
            }
            TxnOp::DeleteRange(delete) => {
                delete.range.check()?;
                delete.range.clone()
            }
            TxnOp::Get(get) => {
                check_key(&get.key)?;
                continue;
            }
            TxnOp::Scan(scan) => {
                scan.range.check()?;
                if scan.version.is_some() {
                    return Err(Error::invalid_argument(
                        "a scan within a transaction reads at the transaction; leave its version out",
                    ));
                }
                continue;
            }
        };
        if let Some(other) = written.iter().find(|other| other.overlaps(&range)) {
            let key = if other.start > range.start { &other.start } else { &range.start };
            return Err(Error::invalid_argument(format!(
                "two ops of one branch write to key {}; the one revision of a transaction has one write for each key",
                show_key(key)
            )));
        }
        written.push(range);
        let (TxnOp::Put(Put { idempotency_key, .. }) | TxnOp::Delete(Delete { idempotency_key, .. })) = op
        else {
            continue;
        };
        if let Some(key) = idempotency_key.as_deref() {
            if once.contains(&key) {
                return Err(Error::invalid_argument(format!(
                    "two ops of one branch have the idempotency key {key:?}; use a new one for each write"
                )));
            }
            once.push(key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            key: "k".into(),
            value: "b".into(),
            version: Version::new(1, 7),
            create_version: Version::new(1, 5),
            generation: 3,
            lease: LeaseId::new(9),
            expires_at: None,
        }
    }

    #[test]
    fn every_target_is_compared_in_its_own_order() {
        let entry = entry();
        let targets = [
            [
                CompareTarget::Value("a".into()),
                CompareTarget::Value("b".into()),
                CompareTarget::Value("c".into()),
            ],
            [6, 7, 8].map(|index| CompareTarget::Version(Version::new(1, index))),
            [4, 5, 6].map(|index| CompareTarget::CreateVersion(Version::new(1, index))),
            [2, 3, 4].map(CompareTarget::Generation),
            [8, 9, 10].map(CompareTarget::Lease),
        ];
        for [below, same, above] in targets {
            for (op, holds) in [
                (CompareOp::Equal, [false, true, false]),
                (CompareOp::NotEqual, [true, false, true]),
                (CompareOp::Less, [false, false, true]),
                (CompareOp::LessOrEqual, [false, true, true]),
                (CompareOp::Greater, [true, false, false]),
                (CompareOp::GreaterOrEqual, [true, true, false]),
            ] {
                for (target, holds) in [&below, &same, &above].into_iter().zip(holds) {
                    let compare = Compare { key: "k".into(), op, target: target.clone() };
                    assert_eq!(compare.holds(Some(&entry)), holds, "{compare:?}");
                }
            }
        }
    }

    #[test]
    fn a_missing_key_is_zero_everywhere_and_its_value_compares_false() {
        let holds = |op, target| Compare { key: "k".into(), op, target }.holds(None);
        assert!(holds(CompareOp::Equal, CompareTarget::Version(Version::ZERO)));
        assert!(holds(CompareOp::Equal, CompareTarget::CreateVersion(Version::ZERO)));
        assert!(holds(CompareOp::Equal, CompareTarget::Generation(0)));
        assert!(holds(CompareOp::Less, CompareTarget::Lease(1)));
        assert!(holds(CompareOp::NotEqual, CompareTarget::Exists(true)));
        for op in [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Less, CompareOp::GreaterOrEqual] {
            assert!(!holds(op, CompareTarget::Value(Bytes::new())));
        }
    }

    #[test]
    fn two_writes_to_one_key_are_refused_in_one_branch_and_not_across_both() {
        let put = || TxnOp::Put(Put::new("k", "v"));
        let delete = || TxnOp::Delete(Delete::new("k"));
        let range = || TxnOp::DeleteRange(DeleteRange { range: KeyRange::prefix("k") });
        for pair in
            [[put(), put()], [put(), delete()], [delete(), range()], [range(), put()], [range(), range()]]
        {
            let txn = Txn { then: pair.to_vec(), ..Txn::default() };
            assert!(txn.check(10).is_err(), "{pair:?}");
            let [one, other] = pair;
            let txn = Txn { then: vec![one], otherwise: vec![other], ..Txn::default() };
            assert!(txn.check(10).is_ok());
        }
        let next = TxnOp::Put(Put::new("l", "v"));
        assert!(Txn { then: vec![range(), next], ..Txn::default() }.check(10).is_ok());
    }

    #[test]
    fn two_writes_with_one_idempotency_key_are_refused_in_one_branch_and_not_across_both() {
        let once = || Some("once".to_owned());
        let put = TxnOp::Put(Put { idempotency_key: once(), ..Put::new("a", "v") });
        let delete = TxnOp::Delete(Delete { idempotency_key: once(), ..Delete::new("b") });
        let error = Txn { then: vec![put.clone(), delete.clone()], ..Txn::default() }.check(10).unwrap_err();
        assert!(error.message().contains("\"once\""), "{error}");
        assert!(Txn { then: vec![put], otherwise: vec![delete], ..Txn::default() }.check(10).is_ok());
    }

    #[test]
    fn at_most_4_mib_beside_one_largest_value() {
        let put = |at: usize, bytes| TxnOp::Put(Put::new(format!("{at:04}"), vec![0; bytes]));
        let of = |puts, bytes| Txn { then: (0..puts).map(|at| put(at, bytes)).collect(), ..Txn::default() };
        let mib = 1024 * 1024;
        assert!(of(5, mib - 4).check(mib).is_ok());
        assert!(of(5, mib).check(mib).is_err());
        let target = CompareTarget::Value(vec![0; 2 * mib].into());
        let compare = Compare { key: "k".into(), op: CompareOp::Equal, target };
        assert!(Txn { compares: vec![compare; 3], ..Txn::default() }.check(mib).is_err());
    }

    #[test]
    fn at_most_128_compares_and_ops() {
        let get = TxnOp::Get(Get { key: "k".into(), consistency: Default::default() });
        let txn = |ops| Txn { then: vec![get.clone(); ops], ..Txn::default() };
        assert!(txn(MAX_TXN_OPS).check(10).is_ok());
        assert!(txn(MAX_TXN_OPS + 1).check(10).is_err());
    }
}
