//! The steps of a transaction as a store takes them, and what it answers as etcd says it.

use etcd_client::proto::{
    PbDeleteResponse, PbPutResponse, PbRangeResponse, PbResponseOp, PbTxnOpResponse, PbTxnResponse,
};
use norikv_core::{
    DeleteRange, Entry, Error, KeyRange, Page, Put, Result, Scan, TxnOp, TxnOpResult, Version,
};

use super::{
    convert::{key_value, number},
    member::Member,
    plan::Step,
    range::Wanted,
};

/// What a step of etcd's is among those of the store.
#[derive(Debug)]
pub(crate) enum Shape {
    Put,
    /// So many parts, each with a scan before it if what was there is asked for.
    Delete {
        parts: usize,
        prev: bool,
    },
    /// A scan; none, where nothing can be found.
    Range(Wanted, bool),
    /// What was read before.
    Read(PbRangeResponse),
    Txn(bool, Vec<Shape>),
}

/// The steps of the branch that is taken.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) ops: Vec<TxnOp>,
    deleted: Vec<KeyRange>,
}

impl Steps {
    pub(crate) fn put(&mut self, put: Put) -> Shape {
        self.ops.push(TxnOp::Put(put));
        Shape::Put
    }

    /// A range that was deleted from before is deleted once: the store takes one write for each key.
    pub(crate) fn delete(&mut self, range: Option<&KeyRange>, prev: bool) -> Shape {
        let parts = range.map_or_else(Vec::new, |range| without(range, &self.deleted));
        let shape = Shape::Delete { parts: parts.len(), prev };
        for range in parts {
            if prev {
                self.ops.push(TxnOp::Scan(Scan::new(range.clone())));
            }
            self.deleted.push(range.clone());
            self.ops.push(TxnOp::DeleteRange(DeleteRange { range }));
        }
        shape
    }

    pub(crate) fn range(&mut self, wanted: &Wanted) -> Shape {
        let step = wanted.step();
        let is_read = step.is_some();
        self.ops.extend(step);
        Shape::Range(wanted.clone(), is_read)
    }

    /// Steps that a store takes as they are.
    pub(crate) fn direct(&mut self, steps: &[Step]) -> Vec<Shape> {
        let mut shapes = Vec::with_capacity(steps.len());
        for step in steps {
            shapes.push(match step {
                Step::Put(step) => self.put(step.put.clone()),
                Step::Delete { range, prev } => self.delete(range.as_ref(), *prev),
                Step::Range(wanted) => self.range(wanted),
                // Those are resolved first; see `Plan::is_direct`.
                Step::Txn(_) => continue,
            });
        }
        shapes
    }
}

/// What is left of a range without others.
fn without(range: &KeyRange, others: &[KeyRange]) -> Vec<KeyRange> {
    let mut parts = vec![range.clone()];
    for other in others {
        parts = parts.into_iter().flat_map(|part| cut(part, other)).collect();
    }
    parts
}

fn cut(part: KeyRange, other: &KeyRange) -> Vec<KeyRange> {
    if !part.overlaps(other) {
        return vec![part];
    }
    let before = KeyRange { start: part.start.clone(), end: Some(other.start.clone()) };
    let behind = other.end.clone().map(|start| KeyRange { start, end: part.end });
    [Some(before), behind].into_iter().flatten().filter(|part| !part.is_empty()).collect()
}

/// What the steps answered, as etcd says it.
pub(crate) fn answers(
    shapes: Vec<Shape>,
    results: &mut impl Iterator<Item = TxnOpResult>,
    version: Version,
) -> Result<Vec<PbResponseOp>> {
    let header = || Some(Member::header_within(version));
    let mut responses = Vec::with_capacity(shapes.len());
    for shape in shapes {
        let response = match shape {
            Shape::Put => {
                let Some(TxnOpResult::Put(put)) = results.next() else { return Err(unexpected()) };
                PbTxnOpResponse::ResponsePut(PbPutResponse {
                    header: header(),
                    prev_kv: put.prev_entry.map(key_value),
                })
            }
            Shape::Delete { parts, prev } => {
                let (mut deleted, mut before) = (0, Vec::new());
                for _ in 0..parts {
                    if prev {
                        before.extend(page(results.next())?.entries);
                    }
                    let Some(TxnOpResult::DeleteRange(part)) = results.next() else {
                        return Err(unexpected());
                    };
                    deleted += part.deleted;
                }
                PbTxnOpResponse::ResponseDeleteRange(deletion(deleted, before, header()))
            }
            Shape::Range(wanted, is_read) => {
                let page = if is_read { Some(page(results.next())?) } else { None };
                let answer = wanted.answer(page);
                PbTxnOpResponse::ResponseRange(PbRangeResponse { header: header(), ..answer })
            }
            Shape::Read(answer) => {
                PbTxnOpResponse::ResponseRange(PbRangeResponse { header: header(), ..answer })
            }
            Shape::Txn(succeeded, shapes) => PbTxnOpResponse::ResponseTxn(PbTxnResponse {
                header: header(),
                succeeded,
                responses: answers(shapes, results, version)?,
            }),
        };
        responses.push(PbResponseOp { response: Some(response) });
    }
    Ok(responses)
}

/// The answer of a delete.
pub(crate) fn deletion(
    deleted: u64,
    before: Vec<Entry>,
    header: Option<etcd_client::proto::PbResponseHeader>,
) -> PbDeleteResponse {
    PbDeleteResponse {
        header,
        deleted: number(deleted),
        prev_kvs: before.into_iter().map(key_value).collect(),
    }
}

fn page(result: Option<TxnOpResult>) -> Result<Page> {
    match result {
        Some(TxnOpResult::Scan(page)) => Ok(page),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> Error {
    Error::internal("the store answered a step of a transaction with something else")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &'static str, end: &'static str) -> KeyRange {
        KeyRange { start: start.into(), end: (!end.is_empty()).then(|| end.into()) }
    }

    #[test]
    fn a_range_without_others_is_what_is_before_between_and_behind_them() {
        let others = [range("c", "e"), range("g", "")];
        assert_eq!(without(&range("a", ""), &others), [range("a", "c"), range("e", "g")]);
        assert_eq!(without(&range("c", "d"), &others), []);
        assert_eq!(without(&range("a", "b"), &others), [range("a", "b")]);
        assert_eq!(without(&KeyRange::all(), &[range("b", "c")]), [range("", "b"), range("c", "")]);
    }
}
