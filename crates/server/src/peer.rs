use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use norikv_core::{Call, Error, ErrorKind, LeaseId, Result, Store};

use crate::ServerSettings;

/// What a server counts of one connection: what its calls leave behind when they are answered.
pub(crate) struct Peer {
    max_watches: usize,
    max_leases: usize,
    watches: AtomicUsize,
    /// The calls among those that have no end: watches by themselves, sessions, and what etcd's
    /// clients keep open.
    endless: AtomicUsize,
    leases: Mutex<Leases>,
}

#[derive(Default)]
struct Leases {
    /// Those granted over this connection, as far as it is known that they live.
    alive: HashSet<LeaseId>,
    /// How many are about to be granted.
    coming: usize,
}

impl Peer {
    pub(crate) fn new(settings: &ServerSettings) -> Arc<Self> {
        Arc::new(Self {
            max_watches: settings.max_watches_per_connection,
            max_leases: settings.max_leases_per_connection,
            watches: AtomicUsize::new(0),
            endless: AtomicUsize::new(0),
            leases: Mutex::default(),
        })
    }

    /// How many calls are under way that have no end.
    pub(crate) fn endless(&self) -> usize {
        self.endless.load(Ordering::Relaxed)
    }

    /// Counts a watch until what is answered is dropped. One within a session is no call of its own.
    pub(crate) fn open_watch(self: &Arc<Self>, is_call: bool) -> Result<OpenWatch> {
        let counted = OpenWatch { peer: Arc::clone(self), is_call };
        self.endless.fetch_add(usize::from(is_call), Ordering::Relaxed);
        if self.watches.fetch_add(1, Ordering::Relaxed) < self.max_watches {
            return Ok(counted);
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "{} watches are open on this connection, which is the most this server takes (max_watches_per_connection); end some, or watch a larger range with one",
                self.max_watches
            ),
        ))
    }

    /// Counts a call that has no end, and is no watch, until what is answered is dropped.
    pub(crate) fn open_stream(self: &Arc<Self>) -> OpenStream {
        self.endless.fetch_add(1, Ordering::Relaxed);
        OpenStream(Arc::clone(self))
    }

    /// Keeps room for a lease until it is granted, or what is answered is dropped.
    pub(crate) async fn new_lease(self: &Arc<Self>, store: &dyn Store, call: Call) -> Result<NewLease> {
        if let Some(room) = self.room() {
            return Ok(room);
        }
        // Those that ran out were not heard of; the store knows.
        let alive: HashSet<_> = store.leases(call).await?.into_iter().collect();
        self.leases().alive.retain(|id| alive.contains(id));
        self.room().ok_or_else(|| {
            Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "{} leases that were granted over this connection are alive, which is the most this server takes (max_leases_per_connection); revoke some, or put more keys with one",
                    self.max_leases
                ),
            )
        })
    }

    /// A lease that is gone.
    pub(crate) fn revoked(&self, id: LeaseId) {
        self.leases().alive.remove(&id);
    }

    fn room(self: &Arc<Self>) -> Option<NewLease> {
        let mut leases = self.leases();
        let free = leases.alive.len() + leases.coming < self.max_leases;
        leases.coming += usize::from(free);
        drop(leases);
        free.then(|| NewLease(Arc::clone(self)))
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch that is open.
pub(crate) struct OpenWatch {
    peer: Arc<Peer>,
    is_call: bool,
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.peer.watches.fetch_sub(1, Ordering::Relaxed);
        self.peer.endless.fetch_sub(usize::from(self.is_call), Ordering::Relaxed);
    }
}

/// A call that is open, and has no end.
pub(crate) struct OpenStream(Arc<Peer>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.endless.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room for a lease.
pub(crate) struct NewLease(Arc<Peer>);

impl NewLease {
    pub(crate) fn granted(self, id: LeaseId) {
        self.0.leases().alive.insert(id);
    }
}

impl Drop for NewLease {
    fn drop(&mut self) {
        self.0.leases().coming -= 1;
    }
}
