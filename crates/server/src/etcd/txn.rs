//! `Txn`: in one step where a store has words for it, and otherwise decided first and then made on condition that nothing has
//! changed.

use std::{
    collections::{HashMap, HashSet},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use etcd_client::proto::{PbRangeResponse, PbTxnRequest, PbTxnResponse};
use futures_util::future::try_join_all;
use norikv_core::{
    Backoff, Call, Compare, CompareOp, CompareTarget, Entry, Error, ErrorKind, KeyRange, MAX_TXN_BYTES,
    MAX_TXN_OPS, Precondition, Put, Scan, Ttl, Txn, TxnOp, TxnResult, Version,
};
use tokio::time::sleep;

use super::{
    errors::{Failed, KEY_NOT_FOUND, TIMEOUT, TOO_LARGE, TOO_MANY_OPS},
    member::Member,
    plan::{Plan, PutStep, Step, range_condition},
    range::{Wanted, check_answer, check_bytes, range},
    steps::{Shape, Steps, answers},
};

/// How often a decision that was overtaken is made again at once. After that there are pauses.
const AT_ONCE: u32 = 4;

/// Carries out a transaction.
pub(crate) async fn txn(member: &Member, request: PbTxnRequest, call: Call) -> Result<PbTxnResponse, Failed> {
    run(member, &Plan::of(request, member.max_value_bytes)?, call).await
}

pub(crate) async fn run(member: &Member, plan: &Plan, call: Call) -> Result<PbTxnResponse, Failed> {
    if plan.is_direct() {
        return direct(member, plan, call).await;
    }
    if plan.writes() && plan.has_range_conditions() {
        return Err(range_condition());
    }
    let mut overtaken = 0;
    loop {
        if let Some(response) = resolved(member, plan, call).await? {
            return Ok(response);
        }
        // Somebody else has changed what the decision was about, so it is theirs that went on.
        overtaken += 1;
        let delay = Backoff::default().delay(overtaken);
        if call.remaining() <= delay {
            return Err(TIMEOUT.into());
        }
        if overtaken > AT_ONCE {
            sleep(delay).await;
        }
    }
}

/// Carries out a transaction as the store's own.
async fn direct(member: &Member, plan: &Plan, call: Call) -> Result<PbTxnResponse, Failed> {
    let term = if plan.compares_revisions() { member.newest(call).await?.term } else { 0 };
    let (mut then, mut otherwise) = (Steps::default(), Steps::default());
    let (then_shapes, else_shapes) = (then.direct(&plan.then), otherwise.direct(&plan.otherwise));
    let txn = Txn {
        compares: plan.conditions.iter().map(|condition| condition.to_compare(term)).collect(),
        then: then.ops,
        otherwise: otherwise.ops,
    };
    let TxnResult { succeeded, version, results } = commit(member, txn, call).await?;
    let shapes = if succeeded { then_shapes } else { else_shapes };
    let responses = answers(shapes, &mut results.into_iter(), version)?;
    Ok(PbTxnResponse { header: Some(member.header(version)), succeeded, responses })
}

async fn commit(member: &Member, txn: Txn, call: Call) -> Result<TxnResult, Failed> {
    if txn.compares.len() + txn.then.len() + txn.otherwise.len() > MAX_TXN_OPS {
        return Err(TOO_MANY_OPS.into());
    }
    if txn.bytes() > member.max_value_bytes.saturating_add(MAX_TXN_BYTES) {
        return Err(TOO_LARGE.into());
    }
    Ok(member.store.txn(txn, call).await?)
}

/// Decides a transaction by what is there, and makes it if that is so still. `None`: it is not.
async fn resolved(member: &Member, plan: &Plan, call: Call) -> Result<Option<PbTxnResponse>, Failed> {
    let at = member.newest(call).await?;
    let read = async {
        let mut snapshot = Snapshot::read(member, plan, at, call).await?;
        let decision = snapshot.decide(plan)?;
        let is_written = decision.steps.iter().any(Taken::writes);
        let read = read_before(member, &decision, at, !is_written, call).await?;
        Ok((snapshot, decision, read))
    };
    let (snapshot, decision, read) = match read.await {
        // What was read at has gone meanwhile.
        Err(Failed::Store(error)) if error.kind() == ErrorKind::Compacted && !plan.is_historical() => {
            return Ok(None);
        }
        read => read?,
    };
    let succeeded = decision.succeeded;
    let mut steps = Steps::default();
    let shapes = decision.shapes(&mut steps, &mut read.into_iter());
    let (version, results) = if steps.ops.is_empty() {
        (at, Vec::new())
    } else {
        match commit(member, snapshot.guard(steps.ops), call).await {
            Ok(result) if result.succeeded => (result.version, result.results),
            Ok(_) => return Ok(None),
            Err(Failed::Store(error))
                if matches!(error.kind(), ErrorKind::VersionMismatch | ErrorKind::AlreadyExists) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    };
    let responses = answers(shapes, &mut results.into_iter(), version)?;
    Ok(Some(PbTxnResponse { header: Some(member.header(version)), succeeded, responses }))
}

/// What a transaction is decided by.
#[derive(Default)]
struct Snapshot {
    keys: HashMap<Bytes, Option<Entry>>,
    ranges: Vec<(KeyRange, Vec<Entry>)>,
    /// The keys that the branches which are taken depend on.
    decisive: HashSet<Bytes>,
}

impl Snapshot {
    async fn read(member: &Member, plan: &Plan, at: Version, call: Call) -> Result<Self, Failed> {
        let (mut keys, mut ranges) = (HashSet::new(), Vec::new());
        gather(plan, &mut keys, &mut ranges);
        let scan = |range| Scan { version: Some(at), ..Scan::new(range) };
        let reads = keys.into_iter().map(|key| async move {
            let page = member.store.scan(scan(KeyRange::single(&key)), call).await?;
            Ok::<_, Error>((key, page.entries.into_iter().next()))
        });
        let keys = try_join_all(reads).await?.into_iter().collect();
        let mut snapshot = Self { keys, ..Self::default() };
        for range in ranges {
            let mut entries = Vec::new();
            let mut next = Some(scan(range.clone()));
            while let Some(scan) = next {
                let page = member.store.scan(scan.clone(), call).await?;
                next = scan.next(&page);
                entries.extend(page.entries);
                check_answer(entries.iter())?;
            }
            snapshot.ranges.push((range, entries));
        }
        Ok(snapshot)
    }

    /// Which branches are taken: all conditions are judged by what was there before anything is done.
    fn decide<'p>(&mut self, plan: &'p Plan) -> Result<Decision<'p>, Failed> {
        let mut succeeded = true;
        for condition in &plan.conditions {
            succeeded &= match &condition.range {
                None => {
                    self.decisive.insert(condition.key.clone());
                    let found = self.keys.get(&condition.key).and_then(Option::as_ref);
                    condition.holds(found.map_or(&[], std::slice::from_ref))
                }
                Some(range) => {
                    let found = self.ranges.iter().find(|(read, _)| read == range);
                    condition.holds(found.map_or(&[], |(_, entries)| entries))
                }
            };
        }
        let branch = if succeeded { &plan.then } else { &plan.otherwise };
        let mut steps = Vec::with_capacity(branch.len());
        for step in branch {
            steps.push(match step {
                Step::Put(put) => Taken::Put(self.kept(put)?),
                Step::Delete { range, prev } => Taken::Delete(range.as_ref(), *prev),
                Step::Range(wanted) => Taken::Range(wanted),
                Step::Txn(plan) => Taken::Txn(self.decide(plan)?),
            });
        }
        Ok(Decision { succeeded, steps })
    }

    /// A put with what it keeps of what is there.
    fn kept(&mut self, step: &PutStep) -> Result<Put, Failed> {
        let mut put = step.put.clone();
        if !step.keep_value && !step.keep_lease {
            return Ok(put);
        }
        self.decisive.insert(put.key.clone());
        let found = self.keys.get(&put.key).and_then(Option::as_ref).ok_or(KEY_NOT_FOUND)?;
        if step.keep_value {
            put.value = found.value.clone();
        }
        if step.keep_lease {
            put.lease = found.lease;
            // What has no lease may have a time of its own.
            put.ttl = found.expires_at.map(ttl_until).transpose()?;
        }
        Ok(put)
    }

    /// A transaction that happens only if everything that it was decided by is as it was found.
    fn guard(mut self, mut ops: Vec<TxnOp>) -> Txn {
        for op in &mut ops {
            let TxnOp::Put(put) = op else { continue };
            // The condition of a write takes no place among the compares.
            if self.decisive.remove(&put.key) {
                let found = self.keys.remove(&put.key).flatten();
                put.precondition =
                    found.map_or(Precondition::NotExists, |entry| Precondition::Version(entry.version));
            }
        }
        let Self { mut keys, decisive, .. } = self;
        let compares = decisive.into_iter().map(|key| {
            let version = keys.remove(&key).flatten().map_or(Version::ZERO, |entry| entry.version);
            Compare { key, op: CompareOp::Equal, target: CompareTarget::Version(version) }
        });
        Txn { compares: compares.collect(), then: ops, otherwise: Vec::new() }
    }
}

/// The keys and ranges that any branch may be decided by.
fn gather(plan: &Plan, keys: &mut HashSet<Bytes>, ranges: &mut Vec<KeyRange>) {
    for condition in &plan.conditions {
        match &condition.range {
            None => drop(keys.insert(condition.key.clone())),
            Some(range) if !ranges.contains(range) => ranges.push(range.clone()),
            Some(_) => {}
        }
    }
    for step in plan.then.iter().chain(&plan.otherwise) {
        match step {
            Step::Put(put) if put.keep_value || put.keep_lease => drop(keys.insert(put.put.key.clone())),
            Step::Txn(plan) => gather(plan, keys, ranges),
            _ => {}
        }
    }
}

/// How long it is until a time of day, in milliseconds.
fn ttl_until(expires_at: u64) -> Result<Ttl, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ttl::from_millis(expires_at.saturating_sub(u64::try_from(now).unwrap_or(u64::MAX)).max(1))
}

/// The branch that is taken.
struct Decision<'p> {
    succeeded: bool,
    steps: Vec<Taken<'p>>,
}

enum Taken<'p> {
    Put(Put),
    Delete(Option<&'p KeyRange>, bool),
    Range(&'p Wanted),
    Txn(Decision<'p>),
}

impl Taken<'_> {
    fn writes(&self) -> bool {
        match self {
            Self::Put(_) | Self::Delete(..) => true,
            Self::Range(_) => false,
            Self::Txn(decision) => decision.steps.iter().any(Self::writes),
        }
    }
}

impl<'p> Decision<'p> {
    fn ranges(&self, ranges: &mut Vec<&'p Wanted>) {
        for step in &self.steps {
            match step {
                Taken::Range(wanted) => ranges.push(wanted),
                Taken::Txn(decision) => decision.ranges(ranges),
                Taken::Put(_) | Taken::Delete(..) => {}
            }
        }
    }

    /// What it is to the store; what was read before comes in the order of its steps.
    fn shapes(
        self,
        steps: &mut Steps,
        read: &mut impl Iterator<Item = Option<PbRangeResponse>>,
    ) -> Vec<Shape> {
        let mut shapes = Vec::with_capacity(self.steps.len());
        for step in self.steps {
            shapes.push(match step {
                Taken::Put(put) => steps.put(put),
                Taken::Delete(range, prev) => steps.delete(range, prev),
                Taken::Range(wanted) => match read.next().flatten() {
                    Some(answer) => Shape::Read(answer),
                    None => steps.range(wanted),
                },
                Taken::Txn(decision) => {
                    let succeeded = decision.succeeded;
                    Shape::Txn(succeeded, decision.shapes(steps, read))
                }
            });
        }
        shapes
    }
}

/// Reads what is not to be read within the transaction: what has a revision of its own, or, where nothing is written, all.
async fn read_before(
    member: &Member,
    decision: &Decision<'_>,
    at: Version,
    all: bool,
    call: Call,
) -> Result<Vec<Option<PbRangeResponse>>, Failed> {
    let mut ranges = Vec::new();
    decision.ranges(&mut ranges);
    let mut read = Vec::with_capacity(ranges.len());
    let mut bytes = 0;
    for wanted in ranges {
        let answer = if all || wanted.is_historical() {
            Some(range(member, wanted, Some(at), call).await?)
        } else {
            None
        };
        bytes += answer.as_ref().map_or(0, prost::Message::encoded_len);
        check_bytes(bytes)?;
        read.push(answer);
    }
    Ok(read)
}
