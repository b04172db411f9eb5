//! Reads: one key, many, a page of a range, a count.

use std::sync::{Arc, atomic::Ordering};

use etcd_client::{GetOptions, GetResponse, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse};
use norikv_core::{
    Call, Consistency, Count, CountResult, Entry, Error, ErrorKind, FieldName, Get, GetMany, Order, Page,
    Result, Scan, Version,
};

use crate::{
    connection::Ask,
    entries::{entry, header_version, revision, version},
    keys::EtcdRange,
    store::Inner,
};

/// The most entries in a page, and about as many bytes.
pub(crate) const PAGE: u64 = 1_024;
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// The fewest entries that are asked for at a time, however large they are.
const LEAST_ENTRIES: u64 = 8;
/// The most keys that are read in one transaction of etcd's.
const MANY: usize = 128;

impl Inner {
    pub(crate) async fn get(self: &Arc<Self>, request: Get, call: Call) -> Result<Option<Entry>> {
        let key = self.keys.outer(&request.key)?;
        // What may be old need not wait for what is being written.
        let stale = request.consistency == Consistency::StaleOk;
        let _turn = if stale { None } else { Some(self.order.read(&key).await) };
        self.get_gathered(key, request.consistency, call).await
    }

    /// One get by itself.
    pub(crate) async fn get_alone(
        &self,
        key: Vec<u8>,
        consistency: Consistency,
        call: Call,
    ) -> Result<Option<Entry>> {
        let options = with_consistency(GetOptions::new(), consistency);
        let answer = self
            .connection
            .ask_kv(Ask::Read, call, |mut kv| {
                let (key, options) = (key.clone(), options.clone());
                async move { kv.get(key, Some(options)).await }
            })
            .await?;
        let mut response = answer.value;
        Ok(response.take_kvs().pop().map(|found| self.seen(found)))
    }

    /// An entry that was read, by whose size the next reads are asked for.
    pub(crate) fn seen(&self, found: etcd_client::KeyValue) -> Entry {
        self.learn_size(std::slice::from_ref(&found));
        entry(&self.keys, found)
    }

    pub(crate) async fn get_many(&self, request: GetMany, call: Call) -> Result<Vec<Option<Entry>>> {
        let keys = request.keys.iter().map(|key| self.keys.outer(key)).collect::<Result<Vec<_>>>()?;
        let mut found = Vec::with_capacity(keys.len());
        // The first transaction tells the version at which the others read.
        let mut at = None;
        for part in keys.chunks(MANY) {
            let get = |key: &Vec<u8>| {
                let options = with_consistency(GetOptions::new(), request.consistency);
                TxnOp::get(key.clone(), Some(at.map_or(options.clone(), |at| options.with_revision(at))))
            };
            let txn = Txn::new().and_then(part.iter().map(get).collect::<Vec<_>>());
            let answer = self
                .connection
                .ask_kv(Ask::Read, call, |mut kv| {
                    let txn = txn.clone();
                    async move { kv.txn(txn).await }
                })
                .await?;
            at = answer.value.header().map(etcd_client::ResponseHeader::revision);
            for response in answer.value.op_responses() {
                let TxnOpResponse::Get(mut response) = response else { return Err(unexpected()) };
                found.push(response.take_kvs().pop().map(|found| entry(&self.keys, found)));
            }
        }
        Ok(found)
    }

    pub(crate) async fn scan(&self, request: Scan, call: Call) -> Result<Page> {
        request.range.check()?;
        let mut at = self.readable(request.version, call).await?;
        let wanted = if request.limit == 0 { PAGE } else { request.limit.min(PAGE) };
        let mut parts = self.keys.visible(&request.range);
        if let (true, Some(at)) = (parts.is_empty(), at) {
            // There is nothing to read, but also of nothing it is said when it was.
            self.readable_at(at, call).await?;
        }
        if request.order == Order::Descending {
            parts.reverse();
        }
        let (mut entries, mut more) = (Vec::new(), false);
        for part in parts {
            let left = wanted - entries.len() as u64;
            if left == 0 {
                // Whether there is more in it is told by the count of a page without entries.
                let response = self.range(&part, &request, 1, at, call).await?;
                more = response.count() > 0;
                break;
            }
            let mut response = self.range(&part, &request, left, at, call).await?;
            at = at.or_else(|| response.header().map(etcd_client::ResponseHeader::revision));
            more = response.more();
            entries.extend(response.take_kvs().into_iter().map(|found| entry(&self.keys, found)));
            if more {
                break;
            }
        }
        let version = match at {
            Some(at) => version(at),
            None => self.current(call).await?,
        };
        Ok(Page { entries, version, more })
    }

    /// Up to `limit` entries of a range, less where they are large.
    async fn range(
        &self,
        range: &EtcdRange,
        request: &Scan,
        limit: u64,
        at: Option<i64>,
        call: Call,
    ) -> Result<GetResponse> {
        let mut consistency = request.consistency;
        loop {
            // Values may be a thousand times as large as those of the page before: a page is asked for in parts that shrink.
            let most = if request.keys_only { limit } else { limit.min(self.page_entries()) };
            let answer = self.range_once(range, request, (most, at, consistency), call).await;
            match answer {
                Ok(response) => {
                    if !request.keys_only {
                        self.learn_size(response.kvs());
                    }
                    return Ok(response);
                }
                // A member that is behind takes a version that it has not heard of for one to come.
                Err(error)
                    if error.kind() == ErrorKind::Compacted
                        && at.is_some()
                        && consistency == Consistency::StaleOk =>
                {
                    consistency = Consistency::Linearizable;
                }
                // What can be read, and is called too old, was too large for one reply.
                Err(error)
                    if error.kind() == ErrorKind::Compacted
                        && most > LEAST_ENTRIES
                        && self.can_be_read(at, call).await =>
                {
                    self.value_bytes.fetch_max(PAGE_BYTES / LEAST_ENTRIES as usize, Ordering::Relaxed);
                }
                Err(error) => return Err(self.history(error, at.map(version), call).await),
            }
        }
    }

    async fn can_be_read(&self, at: Option<i64>, call: Call) -> bool {
        match at {
            Some(at) => self.readable_at(at, call).await.is_ok(),
            None => true,
        }
    }

    async fn range_once(
        &self,
        range: &EtcdRange,
        request: &Scan,
        (most, at, consistency): (u64, Option<i64>, Consistency),
        call: Call,
    ) -> Result<GetResponse> {
        let order = match request.order {
            Order::Ascending => SortOrder::Ascend,
            Order::Descending => SortOrder::Descend,
        };
        let mut options = with_consistency(GetOptions::new(), consistency)
            .with_range(range.end.clone())
            .with_limit(i64::try_from(most).unwrap_or(i64::MAX))
            .with_sort(SortTarget::Key, order);
        if request.keys_only {
            options = options.with_keys_only();
        }
        if let Some(at) = at {
            options = options.with_revision(at);
        }
        let answer = self
            .connection
            .ask_kv(Ask::Read, call, |mut kv| {
                let (start, options) = (range.start.clone(), options.clone());
                async move { kv.get(start, Some(options)).await }
            })
            .await;
        Ok(answer?.value)
    }

    pub(crate) async fn count(&self, request: Count, call: Call) -> Result<CountResult> {
        request.range.check()?;
        let at = self.readable(request.version, call).await?;
        let parts = self.keys.visible(&request.range);
        if let (true, Some(at)) = (parts.is_empty(), at) {
            self.readable_at(at, call).await?;
        }
        let ops: Vec<TxnOp> = parts
            .into_iter()
            .map(|part| {
                let options = with_consistency(GetOptions::new(), request.consistency)
                    .with_range(part.end)
                    .with_count_only();
                TxnOp::get(part.start, Some(at.map_or(options.clone(), |at| options.with_revision(at))))
            })
            .collect();
        let txn = Txn::new().and_then(ops);
        let answer = self
            .connection
            .ask_kv(Ask::Read, call, |mut kv| {
                let txn = txn.clone();
                async move { kv.txn(txn).await }
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer.value,
            Err(error) => return Err(self.history(error, at.map(version), call).await),
        };
        let mut count = 0;
        for response in answer.op_responses() {
            let TxnOpResponse::Get(response) = response else { return Err(unexpected()) };
            count += response.count().unsigned_abs();
        }
        let version = match at {
            Some(at) => version(at),
            None => header_version(answer.header())?,
        };
        Ok(CountResult { count, version })
    }

    /// The version that the cluster is at.
    pub(crate) async fn current(&self, call: Call) -> Result<Version> {
        self.current_by(self.keys.first(), call).await
    }

    /// The same, asked of a key that the user has to be permitted to read anyway.
    pub(crate) async fn current_by(&self, key: Vec<u8>, call: Call) -> Result<Version> {
        let answer = self
            .connection
            .ask_kv(Ask::Read, call, |mut kv| {
                let key = key.clone();
                async move { kv.get(key, Some(GetOptions::new().with_count_only())).await }
            })
            .await?;
        header_version(answer.value.header())
    }

    /// The revision to read at.
    async fn readable(&self, asked: Option<Version>, call: Call) -> Result<Option<i64>> {
        let Some(asked) = asked else { return Ok(None) };
        match revision(asked) {
            Some(at) if at > 0 => Ok(Some(at)),
            _ => Err(self.no_such_version(asked, call).await?),
        }
    }

    /// Whether a revision can be read.
    async fn readable_at(&self, at: i64, call: Call) -> Result<()> {
        let read = self
            .connection
            .ask_kv(Ask::Read, call, |mut kv| {
                let key = self.keys.first();
                async move { kv.get(key, Some(GetOptions::new().with_count_only().with_revision(at))).await }
            })
            .await;
        match read {
            Ok(_) => Ok(()),
            Err(error) => Err(self.history(error, Some(version(at)), call).await),
        }
    }

    async fn no_such_version(&self, asked: Version, call: Call) -> Result<Error> {
        let current = self.current(call).await?;
        if asked < current {
            return Ok(self.compacted(asked, call).await);
        }
        Ok(Error::invalid_argument(format!("version {asked} is in the future; the store is at {current}")))
    }

    /// The error of a read at an old version: etcd has one code for versions that are gone and for those to come.
    pub(crate) async fn history(&self, error: Error, asked: Option<Version>, call: Call) -> Error {
        match (error.kind(), asked) {
            (ErrorKind::Compacted, Some(asked)) => match self.no_such_version(asked, call).await {
                Ok(better) => better,
                Err(_) => error,
            },
            _ => error,
        }
    }

    /// That a version was compacted, and which is the oldest that can be read.
    pub(crate) async fn compacted(&self, asked: Version, call: Call) -> Error {
        let error = Error::new(
            ErrorKind::Compacted,
            format!("version {asked} has been compacted; read at a newer one"),
        );
        match self.floor(call).await {
            Ok(Some(floor)) => error.with(FieldName::CompactVersion, floor),
            _ => error,
        }
    }

    fn page_entries(&self) -> u64 {
        let size = self.value_bytes.load(Ordering::Relaxed).max(1);
        ((PAGE_BYTES / size) as u64).clamp(LEAST_ENTRIES, PAGE)
    }

    fn learn_size(&self, found: &[etcd_client::KeyValue]) {
        let largest = found.iter().map(|found| found.key().len() + found.value().len()).max().unwrap_or(0);
        // What was large once is asked for carefully from then on.
        self.value_bytes.fetch_max(largest, Ordering::Relaxed);
    }
}

/// Where a read may be answered: by any member, or by one that knows to be up to date.
pub(crate) fn with_consistency(options: GetOptions, consistency: Consistency) -> GetOptions {
    match consistency {
        Consistency::StaleOk => options.with_serializable(),
        Consistency::Lease | Consistency::Linearizable => options,
    }
}

/// That etcd answered something else than it was asked.
pub(crate) fn unexpected() -> Error {
    Error::internal("etcd answered a step of a transaction with something else")
}
