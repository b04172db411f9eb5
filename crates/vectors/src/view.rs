use std::{
    collections::{BTreeMap, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use norikv_core::{
    Backoff, Call, DeleteRange, Entry, Error, ErrorKind, Event, EventKind, KeyRange, Order, Result, Scan,
    StoreRef, VectorStatus, Version, Watch, WatchBatch,
};
use tokio::sync::watch;

use crate::{
    index::Index,
    keys::{self, Key},
    linker::Linker,
    rows::Rows,
    saved::{GraphFiles, Saved, SavedRow},
};

/// How many keys of a dropped index are looked at at a time.
const SWEPT_AT_ONCE: u64 = 512;
/// How long to wait before the store is asked again.
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(5),
    multiplier: 2.0,
    jitter: true,
};

/// How far a view is.
#[derive(Clone, Debug)]
enum Progress {
    /// It reads what the store has.
    Loading,
    /// It has everything up to this revision.
    At(u64),
    /// It could not read what the store has, for this reason, and will try again.
    Failing(Error),
    /// It goes no further.
    Ended(Error),
}

#[derive(Default)]
struct Indexes {
    by_name: BTreeMap<String, Arc<Index>>,
    by_incarnation: HashMap<u64, Arc<Index>>,
}

/// All the vector indexes of a store, in memory: made of a scan, and kept fresh by a watch of the same store from the scan's
/// version on. It knows nothing of what store that is.
pub(crate) struct View {
    pub(crate) store: StoreRef,
    directory: Option<PathBuf>,
    files: OnceLock<GraphFiles>,
    threads: usize,
    indexes: RwLock<Indexes>,
    progress: watch::Sender<Progress>,
    /// How many indexes and vectors were read by a loading that goes on.
    read: (AtomicU64, AtomicU64),
    /// The newest revision that a write through this process made.
    written: AtomicU64,
    linker: Linker,
    stop: watch::Sender<bool>,
    /// Its threads, once it was begun.
    running: Mutex<Option<Vec<thread::JoinHandle<()>>>>,
    /// How many of them have not ended.
    threads_left: watch::Sender<usize>,
}

/// Counts a thread that ends.
struct Ends(Arc<View>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.threads_left.send_modify(|left| *left -= 1);
    }
}

impl View {
    /// A view of a store, not begun. `threads` is how many search at a time.
    pub(crate) fn new(
        store: StoreRef,
        directory: Option<PathBuf>,
        save_every: Duration,
        threads: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            directory,
            files: OnceLock::new(),
            threads,
            indexes: RwLock::default(),
            progress: watch::Sender::new(Progress::Loading),
            read: (AtomicU64::new(0), AtomicU64::new(0)),
            written: AtomicU64::new(0),
            linker: Linker::new(save_every),
            stop: watch::Sender::new(false),
            running: Mutex::default(),
            threads_left: watch::Sender::new(0),
        })
    }

    /// Begins to follow the store, if it has not.
    ///
    /// # Errors
    /// `ResourceExhausted`: the process can have no further thread. `Closed`.
    pub(crate) fn start(self: &Arc<Self>) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            return Ok(());
        }
        if *self.stop.borrow() {
            return Err(Error::closed("the store"));
        }
        let no_thread = |error| {
            let message = "no thread for the vector indexes; the process has too many";
            Error::new(ErrorKind::ResourceExhausted, message).caused_by(error)
        };
        // A store that is reached over sockets may make a connection here.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let (follower, linker) = (Arc::clone(self), Arc::clone(self));
        let follow = move || {
            let mut stop = follower.stop.subscribe();
            let followed = catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(async {
                    tokio::select! {
                        error = follower.follow() => error,
                        _ = stop.wait_for(|stopped| *stopped) => Error::closed("the store"),
                    }
                })
            }));
            // Nobody waits for one that panicked.
            let ended = followed.unwrap_or_else(|_| Error::internal("the vector indexes broke down"));
            follower.progress.send_replace(Progress::Ended(ended));
        };
        let link = move || linker.linker.run(&linker);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            self.threads_left.send_modify(|left| *left += 1);
            let ends = Ends(Arc::clone(self));
            let work = move || {
                work();
                drop(ends);
            };
            thread::Builder::new().name(name.into()).spawn(work).map_err(no_thread)
        };
        // Each is kept as soon as it is there: one that is alone is stopped and joined like both.
        let threads = running.insert(vec![spawn("norikv-vector-link", Box::new(link))?]);
        match spawn("norikv-vector-view", Box::new(follow)) {
            Ok(thread) => {
                threads.push(thread);
                Ok(())
            }
            Err(error) => {
                // Nobody follows the store: whoever asks is told why.
                self.progress.send_replace(Progress::Ended(error.clone()));
                Err(error)
            }
        }
    }

    /// Ends the view. Its threads save graphs before they end.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
        self.linker.stop();
    }

    /// Waits for the threads of a view that was stopped.
    pub(crate) async fn ended(&self) {
        // The sender is here, so that waiting for it cannot fail.
        let _ = self.threads_left.subscribe().wait_for(|left| *left == 0).await;
    }

    /// Waits for the threads of a view that was stopped, where no task can.
    pub(crate) fn join(&self) {
        let threads = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        for thread in threads.into_iter().flatten() {
            // Of one that panicked the panic was told.
            let _ = thread.join();
        }
    }

    /// Whether it was begun.
    pub(crate) fn is_running(&self) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Where graphs are saved; nowhere, if the store is not on a disk or not known yet.
    pub(crate) fn files(&self) -> Option<&GraphFiles> {
        self.files.get()
    }

    /// A write was made: what is asked from now on must know of it.
    pub(crate) fn wrote(&self, version: Version) {
        self.written.fetch_max(version.index, Ordering::SeqCst);
    }

    /// Waits until the view knows every write of this process that was acknowledged.
    ///
    /// # Errors
    /// `Closed`, and what the store answered to the view for good.
    pub(crate) async fn ready(self: &Arc<Self>) -> Result<()> {
        let written = self.written.load(Ordering::SeqCst);
        let is_there = |progress: &Progress| match progress {
            Progress::Loading => false,
            Progress::At(revision) => *revision >= written,
            Progress::Failing(_) | Progress::Ended(_) => true,
        };
        // Nearly always it is there, and then nothing is to be waited for.
        if !matches!(&*self.progress.borrow(), progress @ Progress::At(_) if is_there(progress)) {
            self.start()?;
            let mut progress = self.progress.subscribe();
            let reached = progress.wait_for(is_there).await.map_err(|_| Error::closed("the store"))?.clone();
            if let Progress::Failing(error) | Progress::Ended(error) = reached {
                return Err(error);
            }
        }
        Ok(())
    }

    /// How far it is, if it still reads what the store has.
    pub(crate) fn loading(&self) -> Option<VectorStatus> {
        let loading = self.is_running() && matches!(*self.progress.borrow(), Progress::Loading);
        loading.then(|| VectorStatus {
            indexes: self.read.0.load(Ordering::Relaxed),
            vectors: self.read.1.load(Ordering::Relaxed),
            indexed: 0,
        })
    }

    /// The index of a name.
    pub(crate) fn find(&self, namespace: &str) -> Option<Arc<Index>> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner).by_name.get(namespace).cloned()
    }

    /// All indexes, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Index>> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner).by_name.values().cloned().collect()
    }

    /// Follows the store until it can no more.
    async fn follow(&self) -> Error {
        let mut attempt = 0u32;
        loop {
            let error = match self.load().await {
                Ok((version, orphans)) => {
                    attempt = 0;
                    self.keep_fresh(version, orphans).await
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Closed | ErrorKind::Unsupported => return error,
                // The store has forgotten what the view has not seen: it is made again.
                ErrorKind::Compacted => self.progress.send_replace(Progress::Loading),
                _ => {
                    tracing::warn!(%error, "the vector indexes do not reach their store");
                    self.progress.send_replace(Progress::Failing(error))
                }
            };
            attempt = attempt.saturating_add(1);
            tokio::time::sleep(BACKOFF.delay(attempt)).await;
        }
    }

    /// Makes the view of what the store has now. Answers the version of that, and the incarnations of dropped indexes that
    /// have vectors left.
    async fn load(&self) -> Result<(Version, Vec<u64>)> {
        let mut definitions = Vec::new();
        let mut scan = Scan::new(keys::definitions());
        scan.consistency = norikv_core::Consistency::Linearizable;
        let version = self.scan(scan, |entry| definitions.push(entry)).await?;
        if let Some(directory) = &self.directory {
            self.files.get_or_init(|| GraphFiles::new(directory.clone(), version.term));
        }
        let mut indexes = Indexes::default();
        let mut saved: HashMap<u64, Saved> = HashMap::new();
        let mut unknown_definitions = false;
        for entry in &definitions {
            let Some(index) = self.index_of(entry) else {
                unknown_definitions = true;
                continue;
            };
            if let Some(found) = self.files().and_then(|files| files.load(&index, self.threads + 1)) {
                index.rows_mut().restore(&found.linked)?;
                saved.insert(index.incarnation, found);
            }
            indexes.add(index);
        }
        if let Some(files) = self.files() {
            files.remove_others(|incarnation| indexes.by_incarnation.contains_key(&incarnation));
        }
        self.read.0.store(indexes.by_name.len() as u64, Ordering::Relaxed);
        self.read.1.store(0, Ordering::Relaxed);
        let mut failed = None;
        let mut orphans = Vec::new();
        let mut scan = Scan::new(keys::vectors());
        scan.version = Some(version);
        let mut take = |entry: Entry| {
            let Some(Key::Vector { incarnation, id }) = keys::parse(&entry.key) else { return };
            let Some(index) = indexes.by_incarnation.get(&incarnation) else {
                if orphans.last() != Some(&incarnation) {
                    orphans.push(incarnation);
                }
                return;
            };
            self.read.1.fetch_add(1, Ordering::Relaxed);
            let known = saved.get(&incarnation).and_then(|saved| saved.vectors.get(id));
            let mut rows = index.rows_mut();
            if let Err(error) = take_vector(index, &mut rows, id, &entry, known) {
                failed.get_or_insert(error);
            }
            index.changed(1, &rows);
        };
        self.scan(scan, &mut take).await?;
        if let Some(error) = failed {
            return Err(error);
        }
        if unknown_definitions {
            // What seems to be nobody's may be of an index that a later version created.
            orphans.clear();
        }
        for (incarnation, saved) in saved {
            let Some(index) = indexes.by_incarnation.get(&incarnation) else { continue };
            index.replace_graph(Some(saved.graph), &saved.linked)?;
            index.saved(index.unsaved());
        }
        *self.indexes.write().unwrap_or_else(PoisonError::into_inner) = indexes;
        self.progress.send_replace(Progress::At(version.index));
        self.linker.wake();
        Ok((version, orphans))
    }

    fn index_of(&self, entry: &Entry) -> Option<Index> {
        let Some(Key::Definition(namespace)) = keys::parse(&entry.key) else { return None };
        let Some(definition) = keys::decode_definition(namespace, &entry.value) else {
            tracing::warn!(namespace, "a vector index has a definition that this version does not know");
            return None;
        };
        Some(Index::new(definition.index, definition.incarnation, entry.create_version, self.threads))
    }

    /// Reads a range at one version, page by page. Answers the version.
    async fn scan(&self, mut scan: Scan, mut take: impl FnMut(Entry)) -> Result<Version> {
        scan.order = Order::Ascending;
        loop {
            let page = self.store.scan(scan.clone(), Call::default()).await?;
            let (version, next) = (page.version, scan.next(&page));
            page.entries.into_iter().for_each(&mut take);
            // A store that need not wait for its disk answers at once, again and again: who is to stop is asked in between.
            tokio::task::yield_now().await;
            match next {
                Some(next) => scan = next,
                None => return Ok(version),
            }
        }
    }

    /// Takes in every change after a version, until the store says no more; and sweeps behind dropped indexes.
    async fn keep_fresh(&self, version: Version, orphans: Vec<u64>) -> Error {
        let mut seen = version.index;
        let mut attempt = 0u32;
        let mut sweeps: FuturesUnordered<_> = orphans.into_iter().map(|orphan| self.sweep(orphan)).collect();
        loop {
            let mut watch = Watch::new(keys::viewed());
            watch.from = Some(Version::new(version.term, seen + 1));
            // So that the view gets on also while nobody writes vectors, and whoever waits for a revision without any is let go.
            watch.progress = true;
            let error = match self.store.watch(watch, Call::default()).await {
                Ok(mut watching) => loop {
                    let batch = tokio::select! {
                        batch = watching.batches.next() => batch,
                        Some(()) = sweeps.next() => continue,
                    };
                    let mut batch = match batch {
                        Some(Ok(batch)) => batch,
                        Some(Err(error)) => break error,
                        None => break Error::closed("the store"),
                    };
                    attempt = 0;
                    // What is there already is taken in before those who wait are woken.
                    let ended = loop {
                        seen = batch.version.index;
                        sweeps.extend(self.apply(batch).into_iter().map(|dropped| self.sweep(dropped)));
                        match watching.batches.next().now_or_never() {
                            Some(Some(Ok(next))) => batch = next,
                            Some(Some(Err(error))) => break Some(error),
                            Some(None) => break Some(Error::closed("the store")),
                            None => break None,
                        }
                    };
                    self.progress.send_replace(Progress::At(seen));
                    self.linker.wake();
                    if let Some(error) = ended {
                        break error;
                    }
                },
                Err(error) => error,
            };
            if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Unsupported | ErrorKind::Compacted) {
                return error;
            }
            tracing::warn!(%error, "the vector indexes have lost their watch; they take it up again");
            attempt = attempt.saturating_add(1);
            tokio::time::sleep(BACKOFF.delay(attempt)).await;
        }
    }

    /// Takes in the changes of one revision. Answers the incarnations of indexes that were dropped.
    fn apply(&self, batch: WatchBatch) -> Vec<u64> {
        let mut dropped = Vec::new();
        let mut events = batch.events.into_iter().peekable();
        while let Some(event) = events.next() {
            match keys::parse(&event.entry.key) {
                Some(Key::Definition(namespace)) => dropped.extend(self.redefine(namespace, &event)),
                Some(Key::Vector { incarnation, .. }) => {
                    // What follows of the same index is taken in under one lock.
                    let same = |event: &Event| matches!(keys::parse(&event.entry.key), Some(Key::Vector { incarnation: other, .. }) if other == incarnation);
                    let mut changes = vec![event];
                    while let Some(event) = events.next_if(same) {
                        changes.push(event);
                    }
                    let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner);
                    let index = indexes.by_incarnation.get(&incarnation).cloned();
                    drop(indexes);
                    if let Some(index) = index {
                        take_changes(&index, &changes);
                    }
                }
                None => {}
            }
        }
        dropped
    }

    /// An index was created, or dropped. Answers the incarnation of one that is no more.
    fn redefine(&self, namespace: &str, event: &Event) -> Option<u64> {
        let index = (event.kind == EventKind::Put).then(|| self.index_of(&event.entry)).flatten();
        // One that this version does not know keeps its vectors.
        let unknown = event.kind == EventKind::Put && index.is_none();
        let mut indexes = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        let old = indexes.by_name.get(namespace).map(|old| old.incarnation);
        if old.is_some() && old == index.as_ref().map(|index| index.incarnation) {
            return None;
        }
        indexes.by_name.remove(namespace);
        if let Some(old) = old {
            indexes.by_incarnation.remove(&old);
        }
        if let Some(index) = index {
            indexes.add(index);
        }
        old.filter(|_| !unknown)
    }

    /// Deletes the vectors of an index that is no more, a part at a time.
    async fn sweep(&self, incarnation: u64) {
        if let Some(files) = self.files() {
            files.remove(incarnation);
        }
        if let Err(error) = self.delete_all(keys::vectors_of(incarnation)).await {
            tracing::warn!(%error, "the vectors of a dropped index are left for the next start");
        }
    }

    async fn delete_all(&self, range: KeyRange) -> Result<()> {
        loop {
            let scan = Scan { keys_only: true, limit: SWEPT_AT_ONCE, ..Scan::new(range.clone()) };
            let page = self.store.scan(scan, Call::default()).await?;
            let Some(last) = page.entries.last() else { return Ok(()) };
            let end = [&last.key, &[0][..]].concat();
            let range = KeyRange { start: range.start.clone(), end: Some(end.into()) };
            self.store.delete_range(DeleteRange { range }, Call::default()).await?;
        }
    }
}

impl Indexes {
    fn add(&mut self, index: Index) {
        let index = Arc::new(index);
        self.by_incarnation.insert(index.incarnation, Arc::clone(&index));
        self.by_name.insert(index.definition.namespace.clone(), index);
    }
}

/// Takes in changes of vectors of one index.
fn take_changes(index: &Index, changes: &[Event]) {
    let mut rows = index.rows_mut();
    for event in changes {
        let Some(Key::Vector { id, .. }) = keys::parse(&event.entry.key) else { continue };
        match event.kind {
            EventKind::Delete => rows.delete(id, event.entry.version.index),
            EventKind::Put => {
                if let Err(error) = take_vector(index, &mut rows, id, &event.entry, None) {
                    // Better missing than as it was.
                    rows.delete(id, event.entry.version.index);
                    tracing::error!(index = index.definition.namespace, %error, "a vector is missing from its index");
                }
            }
        }
    }
    index.changed(changes.len(), &rows);
}

/// Takes a vector from its entry, into the row where a saved graph has it, if that is the same.
fn take_vector(
    index: &Index,
    rows: &mut Rows,
    id: &str,
    entry: &Entry,
    known: Option<&SavedRow>,
) -> Result<()> {
    let vector = keys::decode_vector(&entry.value);
    // Entries are the user's, too: what is no vector of this index is none of its business.
    if index.definition.check_vector(&vector).is_err() {
        tracing::warn!(index = index.definition.namespace, id, "an entry is not a vector of its index");
        rows.delete(id, entry.version.index);
        return Ok(());
    }
    match known.filter(|known| known.revision == entry.version.index) {
        Some(known) if rows.adopt(*known, id, &vector)? => Ok(()),
        _ => rows.put(id, entry.version.index, &vector),
    }
}
