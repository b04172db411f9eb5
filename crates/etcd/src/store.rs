use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use async_trait::async_trait;
use norikv_core::{
    Call, Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Durability, Entry, Error,
    ErrorKind, Feature, Get, GetMany, LeaseGrant, LeaseGranted, LeaseId, LeaseStatus, LeaseTimeToLive,
    Limits, MAX_KEY_BYTES, Meter, Page, Put, PutResult, Result, Scan, Sizes, Stats, Status, Store, Txn,
    TxnResult, Version, Watch, Watching,
};
use tokio::sync::{Mutex, Notify};

use crate::{
    connection::{Ask, Connection, Unanswered},
    entries::{revision, version},
    expiry::ExpiryLeases,
    gather::Gather,
    keys::Keys,
    order::KeyOrder,
    reads::PAGE,
    settings::EtcdSettings,
    writes::RecordLease,
};

/// A store on an etcd cluster.
///
/// ```no_run
/// # async fn example() -> norikv_core::Result<()> {
/// use norikv_core::{Call, Put, Store as _};
/// use norikv_etcd::{EtcdSettings, EtcdStore};
///
/// let store = EtcdStore::new(EtcdSettings::parse("etcd://127.0.0.1:2379")?)?;
/// store.put(Put::new("greeting", "hello"), Call::default()).await?;
/// # Ok(())
/// # }
/// ```
pub struct EtcdStore {
    inner: Arc<Inner>,
    meter: Meter,
}

/// What calls and watches share.
pub(crate) struct Inner {
    pub(crate) connection: Connection,
    pub(crate) keys: Keys,
    pub(crate) order: KeyOrder,
    pub(crate) gather: Gather,
    pub(crate) records: Mutex<Option<RecordLease>>,
    /// The leases of entries with a time to live.
    pub(crate) expiring: ExpiryLeases,
    /// The largest entry that was read.
    pub(crate) value_bytes: AtomicUsize,
    pub(crate) closing: Notify,
}

impl EtcdStore {
    /// A store on the cluster of these settings. It connects with the first call.
    ///
    /// # Errors
    /// `InvalidArgument` for settings that cannot be, among them certificates.
    pub fn new(settings: EtcdSettings) -> Result<Self> {
        if settings.endpoints.is_empty() {
            return Err(Error::invalid_argument("an etcd cluster has one endpoint at least"));
        }
        if settings.prefix.len() >= MAX_KEY_BYTES {
            return Err(Error::invalid_argument(format!(
                "a key prefix has at most {} bytes; this one has {}",
                MAX_KEY_BYTES - 1,
                settings.prefix.len()
            )));
        }
        let inner = Inner {
            keys: Keys::new(&settings.prefix),
            connection: Connection::new(settings)?,
            order: KeyOrder::default(),
            gather: Gather::default(),
            records: Mutex::new(None),
            expiring: ExpiryLeases::default(),
            value_bytes: AtomicUsize::new(0),
            closing: Notify::new(),
        };
        Ok(Self { inner: Arc::new(inner), meter: Meter::new()? })
    }

    /// The id of the cluster. Those that were begun with the same token and the same addresses of members have the same.
    ///
    /// # Errors
    /// Whatever the cluster answers.
    pub async fn cluster_id(&self, call: Call) -> Result<u64> {
        Ok(self.inner.find_map(call).await?.id)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

macro_rules! metered {
    ($self:ident, $call:expr) => {
        $self.meter.timed($call).await
    };
}

#[async_trait]
impl Store for EtcdStore {
    async fn connect(&self, call: Call) -> Result<()> {
        match self.inner.current(call).await {
            // Who is refused one key was let in, and may have others.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    async fn get(&self, request: Get, call: Call) -> Result<Option<Entry>> {
        metered!(self, self.inner.get(request, call))
    }

    async fn get_many(&self, request: GetMany, call: Call) -> Result<Vec<Option<Entry>>> {
        metered!(self, self.inner.get_many(request, call))
    }

    async fn put(&self, request: Put, call: Call) -> Result<PutResult> {
        metered!(self, self.inner.put(request, call))
    }

    async fn delete(&self, request: Delete, call: Call) -> Result<DeleteResult> {
        metered!(self, self.inner.delete(request, call))
    }

    async fn delete_range(&self, request: DeleteRange, call: Call) -> Result<DeleteRangeResult> {
        metered!(self, self.inner.delete_range(request, call))
    }

    async fn scan(&self, request: Scan, call: Call) -> Result<Page> {
        metered!(self, self.inner.scan(request, call))
    }

    async fn count(&self, request: Count, call: Call) -> Result<CountResult> {
        metered!(self, self.inner.count(request, call))
    }

    async fn txn(&self, request: Txn, call: Call) -> Result<TxnResult> {
        metered!(self, self.inner.txn(request, call))
    }

    async fn lease_grant(&self, request: LeaseGrant, call: Call) -> Result<LeaseGranted> {
        metered!(self, self.inner.lease_grant(request, call))
    }

    async fn lease_keep_alive(&self, ids: Vec<LeaseId>, call: Call) -> Result<Vec<Option<Duration>>> {
        metered!(self, self.inner.lease_keep_alive(ids, call))
    }

    async fn lease_revoke(&self, id: LeaseId, call: Call) -> Result<Version> {
        metered!(self, self.inner.lease_revoke(id, call))
    }

    async fn lease_time_to_live(&self, request: LeaseTimeToLive, call: Call) -> Result<LeaseStatus> {
        metered!(self, self.inner.lease_time_to_live(request, call))
    }

    async fn leases(&self, call: Call) -> Result<Vec<LeaseId>> {
        metered!(self, self.inner.leases(call))
    }

    async fn watch(&self, request: Watch, call: Call) -> Result<Watching> {
        metered!(self, Arc::clone(&self.inner).watch(request, call))
    }

    async fn compact(&self, asked: Version, call: Call) -> Result<()> {
        metered!(self, self.inner.compact(asked, call))
    }

    async fn status(&self, call: Call) -> Result<Status> {
        metered!(self, self.inner.status(call))
    }

    fn unsupported(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "etcd itself has no {what}; a server in front of it has: run norikv serve --store etcd://… and open that server's address"
            ),
        )
    }

    fn stats(&self) -> Stats {
        let connection = &self.inner.connection;
        Stats {
            total_nodes: connection.members(),
            active_connections: connection.connections(),
            retried: connection.retried(),
            requests: self.meter.stats(),
            ..Stats::default()
        }
    }

    async fn close(&self) -> Result<()> {
        self.inner.connection.close();
        self.inner.closing.notify_waiters();
        Ok(())
    }
}

impl Inner {
    async fn compact(&self, asked: Version, call: Call) -> Result<()> {
        let current = self.current(call).await?;
        let at = match revision(asked) {
            Some(at) if asked <= current => at,
            _ => {
                return Err(Error::invalid_argument(format!(
                    "version {asked} is in the future; the store is at {current}"
                )));
            }
        };
        // etcd refuses the floor itself, too, which is no more than what is already so.
        let floor = self.floor(call).await?;
        if floor == Some(asked) || (floor.is_none() && at <= 1) {
            return Ok(());
        }
        let compacted = self
            .connection
            .ask_in_doubt(Ask::Repeatable, call, |client| async move {
                client.kv_client().compact(at, None).await
            })
            .await;
        match compacted {
            Ok(_) => Ok(()),
            // An attempt before this one, or somebody else, has done it.
            Err(Unanswered { error, .. }) if error.kind() == ErrorKind::Compacted => {
                match self.floor(call).await? {
                    Some(floor) if floor == asked => Ok(()),
                    _ => Err(self.history(error, Some(asked), call).await),
                }
            }
            Err(Unanswered { error, .. }) => Err(error),
        }
    }

    async fn status(&self, call: Call) -> Result<Status> {
        let answer = self
            .connection
            .ask(Ask::Read, call, |client| async move { client.maintenance_client().status().await })
            .await?;
        let current = self.current(call).await?;
        let floor = self.floor(call).await?.unwrap_or(version(1));
        let features = Feature::ALL
            .iter()
            .filter(|feature| !matches!(feature, Feature::Batch | Feature::Vectors))
            .map(|feature| feature.as_str().to_owned())
            .collect();
        Ok(Status {
            store: "etcd".to_owned(),
            features,
            limits: Limits {
                max_key_bytes: MAX_KEY_BYTES - self.keys.prefix_len(),
                max_value_bytes: self.connection.settings().max_value_bytes,
                max_batch_ops: 1,
                max_page_entries: usize::try_from(PAGE).unwrap_or(usize::MAX),
            },
            version: current,
            sizes: Sizes { disk_bytes: answer.value.db_size().unsigned_abs(), compact_version: floor },
            durability: Durability::Fsync,
            vectors: None,
            software: format!("etcd {}", answer.value.version()),
        })
    }
}
