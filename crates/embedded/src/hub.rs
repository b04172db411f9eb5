//! Who watches, and the changes of late: one stream of changes serves every watcher.
//!
//! The writer puts the changes of each group here once it is published. They are kept up to a bound, whoever has
//! read them. A watcher holds nothing but its place: it takes what it has not seen from here, or, where that is
//! gone, from the history (`watch.rs`). So a slow watcher costs no more than a fast one, and slows nobody.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use norikv_core::{Entry, KeyRange, PROGRESS_INTERVAL};

use crate::log::Change;

/// The changes that are kept: as many revisions, and as many bytes. What is older is in the history.
const REVISIONS: usize = 8_192;
const BYTES: usize = 8 * 1024 * 1024;
/// What a change takes beside its keys and values, about.
const CHANGE_BYTES: usize = 256;
/// How many revisions a watcher takes at a time.
const TAKEN: usize = 64;
/// How often those who asked for progress are told, early enough to be there within the interval.
const PROGRESS: Duration = Duration::from_millis(PROGRESS_INTERVAL.as_millis() as u64 * 8 / 10);

/// A change of one key at one revision.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) revision: u64,
    pub(crate) change: Change,
    pub(crate) key: Bytes,
    /// The entry after it; `None` of a delete.
    pub(crate) entry: Option<Entry>,
    /// The entry before it.
    pub(crate) prev_entry: Option<Entry>,
}

impl Changed {
    fn bytes(&self) -> usize {
        let value = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.value.len());
        CHANGE_BYTES + self.key.len() + value(&self.entry) + value(&self.prev_entry)
    }
}

/// The changes of one revision.
pub(crate) type Revision = Arc<[Changed]>;

pub(crate) type WatcherId = u64;

/// What a watcher is to do next.
pub(crate) enum Next {
    /// These revisions may have changes for it.
    Changes(Vec<Revision>),
    /// What it has not seen is in the history, from this revision on.
    History(u64),
    /// Nothing up to this revision is missing.
    Progress(u64),
    /// The store is closed.
    Closed,
}

pub(crate) struct Hub {
    state: Mutex<State>,
    /// How many watchers there are: without any, the writer gathers no changes.
    watchers: AtomicUsize,
}

struct State {
    /// Consecutive revisions, the last of them `newest`.
    recent: VecDeque<Revision>,
    bytes: usize,
    newest: u64,
    watchers: HashMap<WatcherId, Watcher>,
    next_id: WatcherId,
    interests: Interests,
    /// When those who asked for progress are told next.
    progress_at: Option<Instant>,
    progress_wanted: usize,
    closed: bool,
}

struct Watcher {
    range: KeyRange,
    /// The first revision that it has not seen.
    next: u64,
    /// Whether there may be changes for it from `next` on. Without, there are none up to the newest.
    behind: bool,
    progress: bool,
    tell_progress: bool,
    waker: Option<Waker>,
}

impl Hub {
    pub(crate) fn new(revision: u64) -> Self {
        Self {
            state: Mutex::new(State {
                recent: VecDeque::new(),
                bytes: 0,
                newest: revision,
                watchers: HashMap::new(),
                next_id: 0,
                interests: Interests::default(),
                progress_at: None,
                progress_wanted: 0,
                closed: false,
            }),
            watchers: AtomicUsize::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// A watcher of a range, from a revision on. `published` is the newest revision that readers see.
    pub(crate) fn add(&self, range: KeyRange, next: u64, published: u64, progress: bool) -> WatcherId {
        let mut state = self.state();
        if state.watchers.is_empty() {
            // What was published unwatched was not kept.
            state.forget(published);
        }
        let id = state.next_id;
        state.next_id += 1;
        state.interests.add(&range, id);
        if progress {
            state.progress_wanted += 1;
            state.progress_at.get_or_insert_with(|| Instant::now() + PROGRESS);
        }
        // What was published since the caller looked is in the history, or here.
        let behind = next <= published.max(state.newest);
        let watcher = Watcher { range, next, behind, progress, tell_progress: false, waker: None };
        state.watchers.insert(id, watcher);
        self.watchers.store(state.watchers.len(), Ordering::Relaxed);
        id
    }

    pub(crate) fn remove(&self, id: WatcherId) {
        let mut state = self.state();
        let Some(watcher) = state.watchers.remove(&id) else { return };
        state.interests.remove(&watcher.range, id);
        state.progress_wanted -= usize::from(watcher.progress);
        if state.watchers.is_empty() {
            state.recent.clear();
            state.bytes = 0;
        }
        self.watchers.store(state.watchers.len(), Ordering::Relaxed);
    }

    /// A group was published: its changes, or `None` if nobody watched when it began. `newest` is its last revision.
    /// Answers whom to wake.
    #[must_use]
    pub(crate) fn publish(&self, changes: Option<Vec<Changed>>, newest: u64) -> Vec<Waker> {
        let mut state = self.state();
        if newest <= state.newest {
            return Vec::new();
        }
        if state.watchers.is_empty() {
            state.forget(newest);
            return Vec::new();
        }
        match changes {
            Some(changes) => state.publish(changes, newest),
            // Who came while the group was under way finds its changes in the history.
            None => {
                let first = state.newest + 1;
                state.forget(newest);
                let concerned = state.watchers.values_mut().filter(|watcher| watcher.next <= newest);
                concerned.filter_map(|watcher| watcher.is_behind(first.max(watcher.next))).collect()
            }
        }
    }

    /// How long until those who asked for progress are to be told; `None` if nobody did.
    pub(crate) fn progress_in(&self) -> Option<Duration> {
        let at = self.state().progress_at?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Tells those who asked how far they are, if it is time to.
    pub(crate) fn tell_progress(&self) {
        let wakers: Vec<Waker> = {
            let mut state = self.state();
            let now = Instant::now();
            if state.progress_at.is_none_or(|at| at > now) {
                return;
            }
            state.progress_at = (state.progress_wanted > 0).then(|| now + PROGRESS);
            let wanting = state.watchers.values_mut().filter(|watcher| watcher.progress);
            wanting
                .filter_map(|watcher| {
                    watcher.tell_progress = true;
                    watcher.waker.take()
                })
                .collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// What a watcher is to do next.
    pub(crate) fn poll(&self, id: WatcherId, cx: &mut Context<'_>) -> Poll<Next> {
        let mut state = self.state();
        let State { recent, newest, watchers, closed, .. } = &mut *state;
        let Some(watcher) = watchers.get_mut(&id).filter(|_| !*closed) else {
            return Poll::Ready(Next::Closed);
        };
        if watcher.behind && watcher.next > *newest {
            watcher.behind = false;
        }
        if watcher.behind {
            let first = *newest + 1 - recent.len() as u64;
            if watcher.next < first {
                return Poll::Ready(Next::History(watcher.next));
            }
            let from = usize::try_from(watcher.next - first).unwrap_or(usize::MAX);
            let taken: Vec<_> = recent.iter().skip(from).take(TAKEN).cloned().collect();
            watcher.next += taken.len() as u64;
            return Poll::Ready(Next::Changes(taken));
        }
        if std::mem::take(&mut watcher.tell_progress) {
            return Poll::Ready(Next::Progress((*newest).max(watcher.next - 1)));
        }
        match &mut watcher.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => watcher.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// A watcher has read the history up to, and without, a revision.
    pub(crate) fn has_read(&self, id: WatcherId, next: u64) {
        if let Some(watcher) = self.state().watchers.get_mut(&id) {
            watcher.next = next;
        }
    }

    /// Ends every watch.
    pub(crate) fn close(&self) {
        let wakers: Vec<_> = {
            let mut state = self.state();
            state.closed = true;
            state.recent.clear();
            state.bytes = 0;
            state.progress_at = None;
            state.watchers.values_mut().filter_map(|watcher| watcher.waker.take()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Watcher {
    /// There may be changes for it from a revision on. Answers whom to wake.
    fn is_behind(&mut self, revision: u64) -> Option<Waker> {
        // It was woken before, and sees what comes after when it gets there.
        if self.behind || revision < self.next {
            return None;
        }
        self.behind = true;
        // Between what it has seen and this there was nothing for it.
        self.next = revision;
        self.waker.take()
    }
}

impl State {
    /// Nothing up to a revision is kept.
    fn forget(&mut self, newest: u64) {
        self.recent.clear();
        self.bytes = 0;
        self.newest = self.newest.max(newest);
    }

    fn publish(&mut self, changes: Vec<Changed>, newest: u64) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut changes = changes.into_iter().peekable();
        while let Some(revision) = changes.peek().map(|change| change.revision) {
            let of_revision: Revision =
                std::iter::from_fn(|| changes.next_if(|change| change.revision == revision)).collect();
            for changed in &*of_revision {
                self.interests.each(&changed.key, |id| {
                    wakers.extend(self.watchers.get_mut(&id).and_then(|watcher| watcher.is_behind(revision)));
                });
            }
            self.bytes += of_revision.iter().map(Changed::bytes).sum::<usize>();
            self.recent.push_back(of_revision);
        }
        self.newest = newest;
        while self.recent.len() > REVISIONS || self.bytes > BYTES {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.bytes -= oldest.iter().map(Changed::bytes).sum::<usize>();
        }
        wakers
    }
}

/// Which watchers a key concerns, found without looking at each.
#[derive(Default)]
struct Interests {
    keys: HashMap<Bytes, HashSet<WatcherId>>,
    /// By the length of the prefix: a key has few of them.
    prefixes: BTreeMap<usize, HashMap<Bytes, HashSet<WatcherId>>>,
    ranges: HashMap<WatcherId, KeyRange>,
}

/// How a range is looked up.
enum Shape<'a> {
    Key(&'a Bytes),
    Prefix(&'a Bytes),
    Range,
}

fn shape(range: &KeyRange) -> Shape<'_> {
    let start = &range.start;
    if *range == KeyRange::prefix(start.clone()) {
        Shape::Prefix(start)
    } else if *range == KeyRange::single(start) {
        Shape::Key(start)
    } else {
        Shape::Range
    }
}

impl Interests {
    fn add(&mut self, range: &KeyRange, id: WatcherId) {
        match shape(range) {
            Shape::Key(key) => drop(self.keys.entry(key.clone()).or_default().insert(id)),
            Shape::Prefix(prefix) => {
                let of_length = self.prefixes.entry(prefix.len()).or_default();
                of_length.entry(prefix.clone()).or_default().insert(id);
            }
            Shape::Range => drop(self.ranges.insert(id, range.clone())),
        }
    }

    fn remove(&mut self, range: &KeyRange, id: WatcherId) {
        fn without(map: &mut HashMap<Bytes, HashSet<WatcherId>>, key: &Bytes, id: WatcherId) {
            if let Some(ids) = map.get_mut(key) {
                ids.remove(&id);
                if ids.is_empty() {
                    map.remove(key);
                }
            }
        }
        match shape(range) {
            Shape::Key(key) => without(&mut self.keys, key, id),
            Shape::Prefix(prefix) => {
                if let Some(of_length) = self.prefixes.get_mut(&prefix.len()) {
                    without(of_length, prefix, id);
                    if of_length.is_empty() {
                        self.prefixes.remove(&prefix.len());
                    }
                }
            }
            Shape::Range => drop(self.ranges.remove(&id)),
        }
    }

    /// Calls with each watcher that a key concerns.
    fn each(&self, key: &Bytes, mut call: impl FnMut(WatcherId)) {
        self.keys.get(key).into_iter().flatten().copied().for_each(&mut call);
        for (length, prefixes) in self.prefixes.range(..=key.len()) {
            prefixes.get(&key[..*length]).into_iter().flatten().copied().for_each(&mut call);
        }
        let ranges = self.ranges.iter().filter(|(_, range)| range.contains(key));
        ranges.map(|(id, _)| *id).for_each(&mut call);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn changed(revision: u64, key: &'static str) -> Changed {
        Changed { revision, change: Change::Delete, key: key.into(), entry: None, prev_entry: None }
    }

    fn poll(hub: &Hub, id: WatcherId) -> Poll<Next> {
        hub.poll(id, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_key_concerns_those_who_watch_it_its_prefixes_and_its_ranges() {
        let mut interests = Interests::default();
        let ranges = [
            KeyRange::all(),
            KeyRange::prefix("a"),
            KeyRange::prefix("ab"),
            KeyRange::single(&"ab".into()),
            KeyRange::new("aa".into(), Some("ac".into())).unwrap(),
            KeyRange::new("b".into(), None).unwrap(),
        ];
        for (id, range) in ranges.iter().enumerate() {
            interests.add(range, id as u64);
        }
        let of = |interests: &Interests, key: &'static str| {
            let mut ids = Vec::new();
            interests.each(&key.into(), |id| ids.push(id));
            ids.sort_unstable();
            ids
        };
        assert_eq!(of(&interests, "ab"), [0, 1, 2, 3, 4]);
        assert_eq!(of(&interests, "abc"), [0, 1, 2, 4]);
        assert_eq!(of(&interests, "b"), [0, 5]);
        for (id, range) in ranges.iter().enumerate() {
            interests.remove(range, id as u64);
        }
        assert!(of(&interests, "ab").is_empty());
        assert!(interests.keys.is_empty() && interests.prefixes.is_empty() && interests.ranges.is_empty());
    }

    #[test]
    fn a_watcher_takes_what_is_new_and_skips_what_does_not_concern_it() {
        let hub = Hub::new(1);
        let id = hub.add(KeyRange::prefix("a"), 2, 1, false);
        assert!(poll(&hub, id).is_pending());
        let _ =
            hub.publish(Some(vec![changed(2, "b"), changed(3, "a"), changed(3, "b"), changed(4, "b")]), 4);
        let Poll::Ready(Next::Changes(taken)) = poll(&hub, id) else { panic!("there is a change") };
        assert_eq!(taken.iter().map(|revision| revision[0].revision).collect::<Vec<_>>(), [3, 4]);
        assert!(poll(&hub, id).is_pending());
    }

    #[test]
    fn who_is_slow_is_sent_to_the_history_and_comes_back() {
        let hub = Hub::new(1);
        let id = hub.add(KeyRange::all(), 2, 1, false);
        let last = REVISIONS as u64 + 100;
        let _ = hub.publish(Some((2..=last).map(|revision| changed(revision, "k")).collect()), last);
        assert!(matches!(poll(&hub, id), Poll::Ready(Next::History(2))));
        hub.has_read(id, last - 9);
        let Poll::Ready(Next::Changes(taken)) = poll(&hub, id) else { panic!("it is here") };
        assert_eq!(taken.len(), 10);
        assert!(poll(&hub, id).is_pending());
    }

    #[test]
    fn who_comes_while_a_group_is_under_way_finds_it_in_the_history() {
        let hub = Hub::new(1);
        let id = hub.add(KeyRange::prefix("none"), 2, 1, false);
        let _ = hub.publish(None, 5);
        assert!(matches!(poll(&hub, id), Poll::Ready(Next::History(2))));
        // What was published before the watch began, but is told here after it, is not for it.
        let late = hub.add(KeyRange::all(), 7, 6, false);
        let _ = hub.publish(Some(vec![changed(6, "k")]), 6);
        assert!(poll(&hub, late).is_pending());
    }

    #[test]
    fn what_is_published_while_a_watcher_is_on_its_way_here_is_not_missed() {
        let hub = Hub::new(1);
        let _ = hub.publish(None, 9);
        let first = hub.add(KeyRange::all(), 6, 5, false);
        assert!(matches!(poll(&hub, first), Poll::Ready(Next::History(6))));
        let _ = hub.publish(Some(vec![changed(10, "k"), changed(11, "k")]), 11);
        let second = hub.add(KeyRange::all(), 11, 10, false);
        let Poll::Ready(Next::Changes(taken)) = poll(&hub, second) else { panic!("it is here") };
        assert_eq!(taken.len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_gone_with_the_last_watcher() {
        let hub = Hub::new(1);
        let id = hub.add(KeyRange::all(), 2, 1, false);
        let value = vec![0; BYTES / 4];
        for revision in 2..=9 {
            let version = norikv_core::Version::new(1, revision);
            let entry = Entry {
                key: "k".into(),
                value: value.clone().into(),
                version,
                create_version: version,
                generation: 1,
                lease: None,
                expires_at: None,
            };
            let entry = Some(entry);
            let _ = hub.publish(
                Some(vec![Changed { change: Change::Put, entry, ..changed(revision, "k") }]),
                revision,
            );
        }
        assert_eq!(hub.state().recent.len(), 3);
        hub.remove(id);
        assert!(hub.state().recent.is_empty());
        assert_eq!(hub.state().bytes, 0);
        assert!(!hub.is_watched());
        assert!(matches!(poll(&hub, id), Poll::Ready(Next::Closed)));
    }

    #[test]
    fn progress_is_told_to_those_who_asked_and_have_seen_everything() {
        let hub = Hub::new(1);
        let id = hub.add(KeyRange::prefix("a"), 2, 1, true);
        assert!(hub.progress_in().is_some());
        let _ = hub.publish(Some(vec![changed(2, "b")]), 2);
        hub.state().progress_at = Some(Instant::now());
        hub.tell_progress();
        assert!(matches!(poll(&hub, id), Poll::Ready(Next::Progress(2))));
        assert!(poll(&hub, id).is_pending());
        hub.remove(id);
        hub.state().progress_at = Some(Instant::now());
        hub.tell_progress();
        assert!(hub.progress_in().is_none());
    }
}
