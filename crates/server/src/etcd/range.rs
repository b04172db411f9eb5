//! `Range`: reading, with what etcd's clients may ask for beside the keys.

use std::cmp::Ordering;

use etcd_client::{
    SortOrder, SortTarget,
    proto::{PbRangeRequest, PbRangeResponse},
};
use norikv_core::{
    Call, Consistency, Count, Entry, Error, ErrorKind, KeyRange, Order, Page, Scan, TxnOp, Version,
};

use super::{
    convert::{key_value, keys, number},
    errors::{FUTURE_REVISION, Failed, INVALID_SORT, Known},
    member::Member,
};

/// The most bytes of keys and values that are gathered for an answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// What an entry takes beside its key and value, about.
const ENTRY_BYTES: usize = 64;

/// What a range request asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// `None`: no key can be in it.
    range: Option<KeyRange>,
    limit: usize,
    revision: Option<u64>,
    order: SortOrder,
    target: SortTarget,
    keys_only: bool,
    count_only: bool,
    consistency: Consistency,
    min_mod: i64,
    max_mod: i64,
    min_create: i64,
    max_create: i64,
}

impl Wanted {
    pub(crate) fn of(request: PbRangeRequest) -> Result<Self, Known> {
        let order = SortOrder::try_from(request.sort_order).map_err(|_| INVALID_SORT)?;
        let target = SortTarget::try_from(request.sort_target).map_err(|_| INVALID_SORT)?;
        let revision = u64::try_from(request.revision).ok().filter(|revision| *revision > 0);
        Ok(Self {
            range: keys(request.key, &request.range_end)?,
            limit: usize::try_from(request.limit).unwrap_or(0),
            revision,
            // Sorting by anything is in ascending order unless it is said otherwise; by key it is so anyway.
            order: match (order, target) {
                (SortOrder::None, SortTarget::Key) => SortOrder::None,
                (SortOrder::None, _) => SortOrder::Ascend,
                (order, _) => order,
            },
            target,
            keys_only: request.keys_only,
            count_only: request.count_only,
            consistency: if request.serializable { Consistency::StaleOk } else { Consistency::Linearizable },
            min_mod: request.min_mod_revision,
            max_mod: request.max_mod_revision,
            min_create: request.min_create_revision,
            max_create: request.max_create_revision,
        })
    }

    /// Whether it reads at a revision of its own.
    pub(crate) const fn is_historical(&self) -> bool {
        self.revision.is_some()
    }

    fn is_filtered(&self) -> bool {
        [self.min_mod, self.max_mod, self.min_create, self.max_create] != [0; 4]
    }

    /// Whether entries are wanted in an order that the store does not read in.
    fn is_sorted(&self) -> bool {
        self.target != SortTarget::Key
    }

    fn keeps(&self, entry: &Entry) -> bool {
        let within = |found: u64, least: i64, most: i64| {
            let found = number(found);
            (least == 0 || found >= least) && (most == 0 || found <= most)
        };
        within(entry.version.index, self.min_mod, self.max_mod)
            && within(entry.create_version.index, self.min_create, self.max_create)
    }

    fn sort(&self, entries: &mut [Entry]) {
        let by: fn(&Entry, &Entry) -> Ordering = match self.target {
            SortTarget::Key => return,
            SortTarget::Version => |a, b| a.generation.cmp(&b.generation),
            SortTarget::Create => |a, b| a.create_version.cmp(&b.create_version),
            SortTarget::Mod => |a, b| a.version.cmp(&b.version),
            SortTarget::Value => |a, b| a.value.cmp(&b.value),
        };
        // Those that are equal stay in the order of their keys.
        if self.order == SortOrder::Descend {
            entries.sort_by(|a, b| by(b, a));
        } else {
            entries.sort_by(by);
        }
    }

    /// The scan that finds it. What is sorted by anything but the key, or filtered, is looked for among all.
    fn scan(&self, range: KeyRange) -> Scan {
        let partial = self.limit > 0 && !self.is_filtered() && !self.is_sorted();
        Scan {
            range,
            limit: if partial { self.limit as u64 } else { 0 },
            order: if self.order == SortOrder::Descend && !self.is_sorted() {
                Order::Descending
            } else {
                Order::Ascending
            },
            keys_only: self.count_only || self.keys_only && self.target != SortTarget::Value,
            version: None,
            consistency: self.consistency,
        }
    }

    /// The step of a transaction that finds it, whole: how many there are is told, too. `None` where nothing is to be found.
    pub(crate) fn step(&self) -> Option<TxnOp> {
        let range = self.range.clone()?;
        Some(TxnOp::Scan(Scan { limit: 0, ..self.scan(range) }))
    }

    /// The answer of all that was found in the range.
    pub(crate) fn answer(&self, page: Option<Page>) -> PbRangeResponse {
        let mut found = Found::new(self);
        let entries = page.map_or_else(Vec::new, |page| page.entries);
        let count = entries.len() as u64;
        for entry in entries {
            found.take(entry);
        }
        found.answer(count)
    }
}

/// What is gathered for an answer.
struct Found<'a> {
    wanted: &'a Wanted,
    entries: Vec<Entry>,
    bytes: usize,
    matched: usize,
}

impl<'a> Found<'a> {
    fn new(wanted: &'a Wanted) -> Self {
        Self { wanted, entries: Vec::new(), bytes: 0, matched: 0 }
    }

    fn take(&mut self, entry: Entry) {
        if self.wanted.count_only || !self.wanted.keeps(&entry) {
            return;
        }
        self.matched += 1;
        self.bytes += size_of(&entry);
        self.entries.push(entry);
        // Of many that are sorted, those that can be among the first are kept.
        let limit = self.wanted.limit;
        if limit > 0 && self.entries.len() > limit.saturating_mul(2).saturating_add(1_024) {
            self.rest();
        }
    }

    fn rest(&mut self) {
        self.wanted.sort(&mut self.entries);
        if self.wanted.limit > 0 {
            self.entries.truncate(self.wanted.limit);
        }
        self.bytes = self.entries.iter().map(size_of).sum();
    }

    fn answer(mut self, count: u64) -> PbRangeResponse {
        self.rest();
        let value = |mut entry: Entry| {
            if self.wanted.keys_only {
                entry.value = bytes::Bytes::new();
            }
            key_value(entry)
        };
        let more = self.wanted.limit > 0 && self.matched > self.wanted.limit;
        PbRangeResponse {
            header: None,
            kvs: self.entries.into_iter().map(value).collect(),
            more,
            count: number(count),
        }
    }
}

fn size_of(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.key.len() + entry.value.len()
}

/// Refuses to gather more than an answer has.
pub(crate) fn check_answer<'a>(entries: impl Iterator<Item = &'a Entry>) -> Result<(), Error> {
    check_bytes(entries.map(size_of).sum())
}

/// Refuses an answer of more bytes than one has.
pub(crate) fn check_bytes(bytes: usize) -> Result<(), Error> {
    if bytes <= MAX_ANSWER_BYTES {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ResourceExhausted,
        format!(
            "what is asked for has more than {MAX_ANSWER_BYTES} bytes, the most that one answer has; ask with a limit, and for the keys after the last one then"
        ),
    ))
}

/// Reads a range: at its own revision, or at `at`, or the newest.
pub(crate) async fn range(
    member: &Member,
    wanted: &Wanted,
    at: Option<Version>,
    call: Call,
) -> Result<PbRangeResponse, Failed> {
    let newest = match (wanted.revision, at) {
        (_, Some(at)) => Some(at),
        (Some(_), None) => Some(member.newest(call).await?),
        (None, None) => None,
    };
    let version = match (wanted.revision, newest) {
        (Some(asked), Some(newest)) if asked > newest.index => return Err(FUTURE_REVISION.into()),
        (Some(asked), Some(newest)) => Some(Version::new(newest.term, asked)),
        _ => at,
    };
    let (mut response, read_at) = match &wanted.range {
        None => {
            // Also of nothing it is said when it cannot be read any more.
            (PbRangeResponse::default(), member.readable(version, call).await?)
        }
        Some(range) if wanted.count_only => {
            let count = Count { range: range.clone(), version, consistency: wanted.consistency };
            let counted = member.store.count(count, call).await?;
            (PbRangeResponse { count: number(counted.count), ..Default::default() }, counted.version)
        }
        Some(range) => gather(member, wanted, range, version, call).await?,
    };
    response.header = Some(member.header(newest.unwrap_or(read_at)));
    Ok(response)
}

async fn gather(
    member: &Member,
    wanted: &Wanted,
    range: &KeyRange,
    version: Option<Version>,
    call: Call,
) -> Result<(PbRangeResponse, Version), Failed> {
    let first = Scan { version, ..wanted.scan(range.clone()) };
    let mut scan = first;
    let mut found = Found::new(wanted);
    let mut read = 0;
    loop {
        let mut page = member.store.scan(scan.clone(), call).await?;
        let next = scan.next(&page);
        read += page.entries.len() as u64;
        for entry in page.entries.drain(..) {
            found.take(entry);
        }
        check_bytes(found.bytes)?;
        if let Some(next) = next {
            scan = next;
            continue;
        }
        // The last page says whether the limit left any out; how many those are has to be asked for.
        let count = if page.more {
            let count =
                Count { range: range.clone(), version: Some(page.version), consistency: wanted.consistency };
            member.store.count(count, call).await?.count
        } else {
            read
        };
        let mut response = found.answer(count);
        response.more |= page.more;
        return Ok((response, page.version));
    }
}
