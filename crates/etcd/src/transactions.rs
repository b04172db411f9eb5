//! Transactions: ours are etcd's, but for what etcd has no word for.
//!
//! - A value that is at least something is one that is there and *not less*: a transaction within the transaction, whose two
//!   branches are swapped.
//! - A write with a condition of its own fails the whole: its branch is a transaction within, of all of these conditions.
//! - A write with an idempotency key that has happened is left out. Whether it has is read before, and made a condition.

use std::{collections::HashMap, sync::Arc};

use etcd_client::{
    Compare as EtcdCompare, CompareOp as EtcdOp, DeleteOptions, GetOptions, KeyValue, PutOptions, SortOrder,
    SortTarget, Txn as EtcdTxn, TxnOp as EtcdTxnOp, TxnOpResponse, TxnResponse,
};
use norikv_core::{
    Call, Compare, CompareOp, CompareTarget, DeleteRangeResult, DeleteResult, Error, ErrorKind, Order, Page,
    Precondition, PutResult, Result, Txn, TxnOp, TxnOpResult, Version,
};

use crate::{
    connection::{Answer, Ask, unknown},
    entries::{TERM, entry, header_version, version},
    reads::unexpected,
    store::Inner,
    writes::{Record, condition, lease_error, to_its_end, too_large},
};

/// How often a transaction is made again because a write with one of its idempotency keys happened meanwhile.
const REPEATS: u32 = 8;

/// What a step of ours is in etcd's transaction.
enum Step {
    /// A put, and whether it is remembered; or one that has happened.
    Put {
        remembered: bool,
        happened: Option<PutResult>,
    },
    /// A delete; or one that has happened.
    Delete {
        happened: Option<DeleteResult>,
    },
    /// A range delete of so many parts.
    DeleteRange(usize),
    Get,
    /// A scan of so many parts.
    Scan {
        parts: usize,
        limit: u64,
    },
}

/// A condition that a branch has besides what it does.
enum Check {
    /// The condition of a write, on a key as its user knows it.
    Condition { key: bytes::Bytes, outer: Vec<u8>, precondition: Precondition },
    /// That a write has not happened yet.
    New { record: Vec<u8> },
}

/// A branch as etcd has it.
struct Branch {
    checks: Vec<Check>,
    ops: Vec<EtcdTxnOp>,
    steps: Vec<Step>,
}

impl Inner {
    pub(crate) async fn txn(self: &Arc<Self>, request: Txn, call: Call) -> Result<norikv_core::TxnResult> {
        request.check(self.connection.settings().max_value_bytes)?;
        let turns = self.order.write_all(&self.keys_of(&request)?).await;
        let inner = Arc::clone(self);
        to_its_end(turns, async move { inner.txn_in_turn(request, call).await }).await
    }

    async fn txn_in_turn(&self, request: Txn, call: Call) -> Result<norikv_core::TxnResult> {
        let mut leases = Vec::new();
        let result = self.txn_with(&request, &mut leases, call).await;
        match result {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // If it is no lease of the caller's, it is one of ours that is gone before its time.
                self.forget_leases(leases).await;
                let result = self.txn_with(&request, &mut Vec::new(), call).await;
                result.map_err(|error| self.lease_in(&request, error))
            }
            result => result,
        }
    }

    async fn txn_with(
        &self,
        request: &Txn,
        leases: &mut Vec<i64>,
        call: Call,
    ) -> Result<norikv_core::TxnResult> {
        let ask = if request.is_read_only() { Ask::Read } else { Ask::Once };
        let lease_of = self.leases_of(request, leases, call).await?;
        for _ in 0..REPEATS {
            let happened = self.happened(request, call).await?;
            let then = self.branch(&request.then, &lease_of[0], &happened, call).await?;
            let otherwise = self.branch(&request.otherwise, &lease_of[1], &happened, call).await?;
            let (simple, not_less) = self.compares(&request.compares)?;
            let txn = nested(simple, &not_less, &then.to_ops(), &otherwise.to_ops());
            let answer = self
                .connection
                .ask_kv(ask, call, |mut kv| {
                    let txn = txn.clone();
                    async move { kv.txn(txn).await }
                })
                .await;
            let answer = answer.map_err(|error| too_large(error, bytes_of(request)))?;
            let Answer { value: response, doubt } = answer;
            let version = header_version(response.header())?;
            let (succeeded, responses) = taken(&response, not_less.len())?;
            let branch = if succeeded { &then } else { &otherwise };
            if let Some(results) = self.results(branch, responses, version, doubt)? {
                return Ok(norikv_core::TxnResult { succeeded, version, results });
            }
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            "writes with the idempotency keys of this transaction go on to happen at the same time; make it again",
        ))
    }

    /// The keys whose order with other calls matters, each once and in an order that everybody has.
    fn keys_of(&self, request: &Txn) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::new();
        for compare in &request.compares {
            keys.push(self.keys.outer(&compare.key)?);
        }
        for op in request.then.iter().chain(&request.otherwise) {
            match op {
                TxnOp::Put(put) => keys.push(self.keys.outer(&put.key)?),
                TxnOp::Delete(delete) => keys.push(self.keys.outer(&delete.key)?),
                TxnOp::Get(get) => keys.push(self.keys.outer(&get.key)?),
                TxnOp::DeleteRange(_) | TxnOp::Scan(_) => {}
            }
        }
        keys.sort_unstable_by_key(|key| norikv_core::xxhash64(key));
        keys.dedup_by_key(|key| norikv_core::xxhash64(key));
        Ok(keys)
    }

    /// The leases of the puts of both branches, of which those of entries that expire are granted here.
    async fn leases_of(&self, request: &Txn, granted: &mut Vec<i64>, call: Call) -> Result<[Vec<i64>; 2]> {
        let mut both = [Vec::new(), Vec::new()];
        for (ops, leases) in [&request.then, &request.otherwise].into_iter().zip(&mut both) {
            for op in ops {
                let TxnOp::Put(put) = op else { continue };
                let lease = self.lease_of(put, call).await?;
                if put.ttl.is_some() {
                    granted.push(lease);
                }
                leases.push(lease);
            }
        }
        Ok(both)
    }

    /// What is remembered of the writes that have an idempotency key.
    async fn happened(&self, request: &Txn, call: Call) -> Result<HashMap<String, Record>> {
        let mut ids: Vec<&String> = Vec::new();
        for op in request.then.iter().chain(&request.otherwise) {
            let id = match op {
                TxnOp::Put(put) => &put.idempotency_key,
                TxnOp::Delete(delete) => &delete.idempotency_key,
                _ => continue,
            };
            if let Some(id) = id
                && !ids.contains(&id)
            {
                ids.push(id);
            }
        }
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let gets: Vec<EtcdTxnOp> = ids.iter().map(|id| EtcdTxnOp::get(self.keys.record(id), None)).collect();
        let txn = EtcdTxn::new().and_then(gets);
        let answer = self
            .connection
            .ask_kv(Ask::Read, call, |mut kv| {
                let txn = txn.clone();
                async move { kv.txn(txn).await }
            })
            .await?;
        let mut happened = HashMap::new();
        for (id, response) in ids.into_iter().zip(answer.value.op_responses()) {
            let TxnOpResponse::Get(mut get) = response else { return Err(unexpected()) };
            if let Some(found) = get.take_kvs().pop() {
                happened.insert(id.clone(), Record::of(&found)?);
            }
        }
        Ok(happened)
    }

    async fn branch(
        &self,
        ops: &[TxnOp],
        leases: &[i64],
        happened: &HashMap<String, Record>,
        call: Call,
    ) -> Result<Branch> {
        let mut branch = Branch { checks: Vec::new(), ops: Vec::new(), steps: Vec::new() };
        let mut leases = leases.iter();
        for op in ops {
            match op {
                TxnOp::Put(put) => {
                    let lease = *leases.next().unwrap_or(&0);
                    let key = self.keys.outer(&put.key)?;
                    let fingerprint = put.fingerprint();
                    if let Some((_, version)) = repeated(happened, put.idempotency_key.as_ref(), fingerprint)?
                    {
                        let happened = Some(PutResult { version, prev_entry: None });
                        branch.steps.push(Step::Put { remembered: false, happened });
                        continue;
                    }
                    branch.check(&put.key, &key, put.precondition);
                    let mut options = PutOptions::new().with_lease(lease);
                    if put.prev_entry {
                        options = options.with_prev_key();
                    }
                    branch.ops.push(EtcdTxnOp::put(key, put.value.to_vec(), Some(options)));
                    let remembered = put.idempotency_key.is_some();
                    branch.steps.push(Step::Put { remembered, happened: None });
                    if let Some(id) = &put.idempotency_key {
                        let record = self.keys.record(id);
                        let options = PutOptions::new().with_lease(self.record_lease(call).await?);
                        branch.ops.push(EtcdTxnOp::put(
                            record.clone(),
                            Record::value(fingerprint, true),
                            Some(options),
                        ));
                        branch.checks.push(Check::New { record });
                    }
                }
                TxnOp::Delete(delete) => {
                    let key = self.keys.outer(&delete.key)?;
                    let fingerprint = delete.fingerprint();
                    if let Some((deleted, version)) =
                        repeated(happened, delete.idempotency_key.as_ref(), fingerprint)?
                    {
                        let happened = Some(DeleteResult { deleted, version });
                        branch.steps.push(Step::Delete { happened });
                        continue;
                    }
                    branch.check(&delete.key, &key, delete.precondition());
                    let Some(id) = &delete.idempotency_key else {
                        branch.ops.push(EtcdTxnOp::delete(key, None));
                        branch.steps.push(Step::Delete { happened: None });
                        continue;
                    };
                    let record = self.keys.record(id);
                    let lease = self.record_lease(call).await?;
                    let remember = |deleted| {
                        let value = Record::value(fingerprint, deleted);
                        EtcdTxnOp::put(record.clone(), value, Some(PutOptions::new().with_lease(lease)))
                    };
                    branch.ops.push(EtcdTxnOp::txn(
                        EtcdTxn::new()
                            .when(vec![EtcdCompare::create_revision(key.clone(), EtcdOp::Greater, 0)])
                            .and_then(vec![EtcdTxnOp::delete(key, None), remember(true)])
                            .or_else(vec![remember(false)]),
                    ));
                    branch.checks.push(Check::New { record: record.clone() });
                    branch.steps.push(Step::Delete { happened: None });
                }
                TxnOp::DeleteRange(delete) => {
                    let parts = self.keys.visible(&delete.range);
                    branch.steps.push(Step::DeleteRange(parts.len()));
                    branch.ops.extend(parts.into_iter().map(|part| {
                        EtcdTxnOp::delete(part.start, Some(DeleteOptions::new().with_range(part.end)))
                    }));
                }
                TxnOp::Get(get) => {
                    branch.steps.push(Step::Get);
                    branch.ops.push(EtcdTxnOp::get(self.keys.outer(&get.key)?, None));
                }
                TxnOp::Scan(scan) => {
                    let mut parts = self.keys.visible(&scan.range);
                    let descending = scan.order == Order::Descending;
                    if descending {
                        parts.reverse();
                    }
                    branch.steps.push(Step::Scan { parts: parts.len(), limit: scan.limit });
                    let order = if descending { SortOrder::Descend } else { SortOrder::Ascend };
                    branch.ops.extend(parts.into_iter().map(|part| {
                        let mut options = GetOptions::new()
                            .with_range(part.end)
                            .with_limit(i64::try_from(scan.limit).unwrap_or(i64::MAX))
                            .with_sort(SortTarget::Key, order);
                        if scan.keys_only {
                            options = options.with_keys_only();
                        }
                        EtcdTxnOp::get(part.start, Some(options))
                    }));
                }
            }
        }
        Ok(branch)
    }

    /// What the steps of a branch answered; `None` if a write with one of its idempotency keys happened meanwhile.
    fn results(
        &self,
        branch: &Branch,
        responses: Vec<TxnOpResponse>,
        at: Version,
        doubt: bool,
    ) -> Result<Option<Vec<TxnOpResult>>> {
        let mut responses = responses.into_iter();
        if !branch.checks.is_empty() {
            let Some(TxnOpResponse::Txn(inner)) = responses.next() else { return Err(unexpected()) };
            if !inner.succeeded() {
                return self.refused(branch, &inner, doubt).map(|()| None);
            }
            responses = inner.op_responses().into_iter();
        }
        let mut next = || responses.next().ok_or_else(unexpected);
        let mut results = Vec::with_capacity(branch.steps.len());
        for step in &branch.steps {
            results.push(match step {
                Step::Put { happened: Some(happened), .. } => TxnOpResult::Put(happened.clone()),
                Step::Put { remembered, .. } => {
                    let TxnOpResponse::Put(mut put) = next()? else { return Err(unexpected()) };
                    let prev_entry = put.take_prev_key().map(|found| entry(&self.keys, found));
                    if *remembered {
                        next()?;
                    }
                    TxnOpResult::Put(PutResult { version: at, prev_entry })
                }
                Step::Delete { happened: Some(happened) } => TxnOpResult::Delete(*happened),
                Step::Delete { happened: None } => {
                    let deleted = match next()? {
                        TxnOpResponse::Delete(delete) => delete.deleted() > 0,
                        TxnOpResponse::Txn(inner) => inner.succeeded(),
                        _ => return Err(unexpected()),
                    };
                    TxnOpResult::Delete(DeleteResult { deleted, version: at })
                }
                Step::DeleteRange(parts) => {
                    let mut deleted = 0;
                    for _ in 0..*parts {
                        let TxnOpResponse::Delete(delete) = next()? else { return Err(unexpected()) };
                        deleted += delete.deleted().unsigned_abs();
                    }
                    TxnOpResult::DeleteRange(DeleteRangeResult { deleted, version: at })
                }
                Step::Get => {
                    let TxnOpResponse::Get(mut get) = next()? else { return Err(unexpected()) };
                    TxnOpResult::Get(get.take_kvs().pop().map(|found| entry(&self.keys, found)))
                }
                Step::Scan { parts, limit } => {
                    let (mut entries, mut more) = (Vec::new(), false);
                    for _ in 0..*parts {
                        let TxnOpResponse::Get(mut get) = next()? else { return Err(unexpected()) };
                        more |= get.more();
                        entries.extend(get.take_kvs().into_iter().map(|found| entry(&self.keys, found)));
                    }
                    if *limit != 0 && entries.len() as u64 > *limit {
                        entries.truncate(usize::try_from(*limit).unwrap_or(usize::MAX));
                        more = true;
                    }
                    TxnOpResult::Scan(Page { entries, version: at, more })
                }
            });
        }
        Ok(Some(results))
    }

    /// Why a branch was refused, unless it is to be made again.
    fn refused(&self, branch: &Branch, inner: &TxnResponse, doubt: bool) -> Result<()> {
        let mut found = inner.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(mut get) => Ok(get.take_kvs().pop()),
            _ => Err(unexpected()),
        });
        let mut refusal = None;
        for check in &branch.checks {
            let found: Option<KeyValue> = found.next().transpose()?.flatten();
            match check {
                Check::New { .. } if found.is_some() => return Ok(()),
                Check::New { .. } => {}
                Check::Condition { key, precondition, .. } => {
                    let actual = found.map(|found| version(found.mod_revision()));
                    let error = match *precondition {
                        Precondition::NotExists if actual.is_some() => Error::already_exists(key, actual),
                        Precondition::Version(expected) if actual != Some(expected) => {
                            Error::version_mismatch(key, expected, actual)
                        }
                        _ => continue,
                    };
                    refusal.get_or_insert(error);
                }
            }
        }
        let error = refusal.unwrap_or_else(unexpected);
        Err(if doubt { unknown(error) } else { error })
    }

    /// The compares that etcd has, and the keys and values of those whose value must not be less.
    fn compares(&self, compares: &[Compare]) -> Result<(Vec<EtcdCompare>, Vec<EtcdCompare>)> {
        let (mut simple, mut not_less) = (Vec::new(), Vec::new());
        for Compare { key, op, target } in compares {
            let key = self.keys.outer(key)?;
            match target {
                CompareTarget::Value(value) => value_compare(key, *op, value, &mut simple, &mut not_less),
                CompareTarget::Version(asked) => {
                    simple.extend(version_compare(key, *op, *asked, EtcdCompare::mod_revision));
                }
                CompareTarget::CreateVersion(asked) => {
                    simple.extend(version_compare(key, *op, *asked, EtcdCompare::create_revision));
                }
                CompareTarget::Generation(asked) => {
                    simple.extend(number_compare(key, *op, *asked, EtcdCompare::version));
                }
                CompareTarget::Lease(asked) => simple.extend(lease_compare(key, *op, *asked)),
                CompareTarget::Exists(asked) => {
                    let there = *asked == (*op == CompareOp::Equal);
                    simple.push(exists(key, there));
                }
            }
        }
        Ok((simple, not_less))
    }

    /// etcd does not say which lease is not there: it is the one that the transaction names, if it does.
    fn lease_in(&self, request: &Txn, error: Error) -> Error {
        let ops = request.then.iter().chain(&request.otherwise);
        let lease = ops.filter_map(|op| if let TxnOp::Put(put) = op { put.lease } else { None }).next();
        lease_error(error, lease)
    }
}

impl Branch {
    fn check(&mut self, key: &bytes::Bytes, outer: &[u8], precondition: Precondition) {
        if precondition != Precondition::None {
            self.checks.push(Check::Condition { key: key.clone(), outer: outer.to_vec(), precondition });
        }
    }

    /// What etcd is to do.
    fn to_ops(&self) -> Vec<EtcdTxnOp> {
        if self.checks.is_empty() {
            return self.ops.clone();
        }
        let compares: Vec<EtcdCompare> = self
            .checks
            .iter()
            .filter_map(|check| match check {
                Check::Condition { outer, precondition, .. } => condition(outer, *precondition),
                Check::New { record } => Some(EtcdCompare::create_revision(record.clone(), EtcdOp::Equal, 0)),
            })
            .collect();
        let gets: Vec<EtcdTxnOp> = self
            .checks
            .iter()
            .map(|check| match check {
                Check::Condition { outer: key, .. } | Check::New { record: key } => {
                    EtcdTxnOp::get(key.clone(), None)
                }
            })
            .collect();
        vec![EtcdTxnOp::txn(EtcdTxn::new().when(compares).and_then(self.ops.clone()).or_else(gets))]
    }
}

/// What a write that has happened answered: whether it deleted, and its version.
fn repeated(
    happened: &HashMap<String, Record>,
    id: Option<&String>,
    fingerprint: u128,
) -> Result<Option<(bool, Version)>> {
    let Some(record) = id.and_then(|id| happened.get(id)) else { return Ok(None) };
    if record.fingerprint == fingerprint {
        return Ok(Some((record.deleted, record.version)));
    }
    Err(Error::invalid_argument(
        "this idempotency key was used for another write; use a new one for each write, and the same one only to repeat it",
    ))
}

/// The bytes of the keys and values of a transaction.
fn bytes_of(request: &Txn) -> usize {
    let compares = request.compares.iter().map(|compare| match &compare.target {
        CompareTarget::Value(value) => compare.key.len() + value.len(),
        _ => compare.key.len(),
    });
    let ops = request.then.iter().chain(&request.otherwise).map(|op| match op {
        TxnOp::Put(put) => put.key.len() + put.value.len(),
        TxnOp::Delete(delete) => delete.key.len(),
        TxnOp::Get(get) => get.key.len(),
        TxnOp::DeleteRange(_) | TxnOp::Scan(_) => 0,
    });
    compares.chain(ops).sum()
}

/// A transaction in which each of `not_less` is a further one within: where its value *is* less, the other branch is taken.
fn nested(
    simple: Vec<EtcdCompare>,
    not_less: &[EtcdCompare],
    then: &[EtcdTxnOp],
    otherwise: &[EtcdTxnOp],
) -> EtcdTxn {
    let mut inner = then.to_vec();
    for less in not_less.iter().rev() {
        let within = EtcdTxn::new().when(vec![less.clone()]).and_then(otherwise.to_vec()).or_else(inner);
        inner = vec![EtcdTxnOp::txn(within)];
    }
    EtcdTxn::new().when(simple).and_then(inner).or_else(otherwise.to_vec())
}

/// Which branch was taken, and what its steps answered.
fn taken(response: &TxnResponse, mut within: usize) -> Result<(bool, Vec<TxnOpResponse>)> {
    let mut succeeded = response.succeeded();
    let mut responses = response.op_responses();
    while succeeded && within > 0 {
        let Some(TxnOpResponse::Txn(inner)) = responses.into_iter().next() else { return Err(unexpected()) };
        // Less: the condition does not hold.
        succeeded = !inner.succeeded();
        responses = inner.op_responses();
        within -= 1;
    }
    Ok((succeeded, responses))
}

fn exists(key: Vec<u8>, there: bool) -> EtcdCompare {
    EtcdCompare::create_revision(key, if there { EtcdOp::Greater } else { EtcdOp::Equal }, 0)
}

/// A compare that never holds.
fn never(key: Vec<u8>) -> EtcdCompare {
    EtcdCompare::create_revision(key, EtcdOp::Less, 0)
}

fn value_compare(
    key: Vec<u8>,
    op: CompareOp,
    value: &[u8],
    simple: &mut Vec<EtcdCompare>,
    not_less: &mut Vec<EtcdCompare>,
) {
    let op = match op {
        CompareOp::Equal => EtcdOp::Equal,
        CompareOp::NotEqual => EtcdOp::NotEqual,
        CompareOp::Less => EtcdOp::Less,
        CompareOp::Greater => EtcdOp::Greater,
        CompareOp::LessOrEqual => {
            // The least that is greater than a value is that value and a zero byte.
            simple.push(EtcdCompare::value(key, EtcdOp::Less, [value, &[0]].concat()));
            return;
        }
        CompareOp::GreaterOrEqual => {
            // A key that is not there has no value that could be less.
            simple.push(exists(key.clone(), true));
            not_less.push(EtcdCompare::value(key, EtcdOp::Less, value.to_vec()));
            return;
        }
    };
    simple.push(EtcdCompare::value(key, op, value.to_vec()));
}

fn version_compare(
    key: Vec<u8>,
    op: CompareOp,
    asked: Version,
    make: impl Fn(Vec<u8>, EtcdOp, i64) -> EtcdCompare,
) -> Option<EtcdCompare> {
    if asked == Version::ZERO || asked.term == TERM && asked.index > 0 {
        return number_compare(key, op, asked.index, make);
    }
    // A version that no key of a cluster can have: less than all of them, or greater, and greater than a missing one's.
    let there = if asked.term > TERM { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
    match (op.holds(there), op.holds(std::cmp::Ordering::Less)) {
        (true, true) => None,
        (true, false) => Some(exists(key, true)),
        (false, true) => Some(exists(key, false)),
        (false, false) => Some(never(key)),
    }
}

/// Compares a number that is 0 for a missing key; `None` for what always holds.
fn number_compare(
    key: Vec<u8>,
    op: CompareOp,
    asked: u64,
    make: impl Fn(Vec<u8>, EtcdOp, i64) -> EtcdCompare,
) -> Option<EtcdCompare> {
    let number = i64::try_from(asked).unwrap_or(i64::MAX - 1).min(i64::MAX - 1);
    Some(match op {
        CompareOp::Equal => make(key, EtcdOp::Equal, number),
        CompareOp::NotEqual => make(key, EtcdOp::NotEqual, number),
        CompareOp::Less => make(key, EtcdOp::Less, number),
        CompareOp::Greater => make(key, EtcdOp::Greater, number),
        CompareOp::LessOrEqual => make(key, EtcdOp::Less, number + 1),
        CompareOp::GreaterOrEqual if number == 0 => return None,
        CompareOp::GreaterOrEqual => make(key, EtcdOp::Greater, number - 1),
    })
}

/// Leases of single entries, which are no leases to their users, have numbers below zero.
fn lease_compare(key: Vec<u8>, op: CompareOp, asked: u64) -> Option<EtcdCompare> {
    match (op, asked) {
        (CompareOp::Equal, 0) => Some(EtcdCompare::lease(key, EtcdOp::Less, 1)),
        (CompareOp::NotEqual, 0) => Some(EtcdCompare::lease(key, EtcdOp::Greater, 0)),
        (CompareOp::Less, 0) => Some(never(key)),
        _ => number_compare(key, op, asked, EtcdCompare::lease),
    }
}
