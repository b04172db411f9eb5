use std::{
    ops::{Bound, ControlFlow},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use norikv_core::{Error, Order, Result};

use crate::{
    clock::millis,
    engine::{Cell, Engine, Table},
    keys,
    log::{self, Part},
    meta::Meta,
    shared::Shared,
    stage::Group,
};

/// How many rows of the log one group of writes removes, where the engine does not do so by itself.
const PARTS: usize = 4;
/// How many rows of the log one group looks at for their age.
const AGED_PARTS: usize = 256;
/// Fewer forgotten revisions are not worth the work of giving their space back.
const RECLAIM_AT_LEAST: u64 = 100_000;

/// Forgets the history that is too old or too long, in slices that go with the writer's groups.
pub(crate) struct History {
    /// The oldest row of the log that reaches beyond the floor: its last revision, and when it was made.
    oldest: Option<(u64, u64)>,
    /// Whether rows below the floor are still to be removed.
    unfinished: bool,
    /// A floor that was asked for by hand.
    asked: u64,
    /// The floor that is on disk.
    floor: u64,
    /// How many revisions were forgotten since their space was last given back.
    forgotten: u64,
    reclaiming: Arc<AtomicBool>,
    /// Why nothing is forgotten any more, once nothing is.
    stopped: Option<Error>,
}

impl History {
    pub(crate) fn new(shared: &Shared) -> Result<Self> {
        shared.engine.forget_history(shared.floor());
        Ok(Self {
            oldest: log::oldest_after(&*shared.engine, shared.floor())?,
            unfinished: false,
            asked: 0,
            floor: shared.floor(),
            forgotten: 0,
            reclaiming: Arc::default(),
            stopped: None,
        })
    }

    /// How many revisions too many are let be, so that the floor is not raised with every write.
    fn slack(shared: &Shared) -> u64 {
        shared.settings.history_revisions / 64
    }

    /// How long until there is something to do; `None` if nothing is in sight.
    pub(crate) fn due_in(&self, shared: &Shared, revision: u64) -> Option<Duration> {
        if self.stopped.is_some() {
            return None;
        }
        if self.unfinished || self.too_long(shared, revision) {
            return Some(Duration::ZERO);
        }
        let (_, time) = self.oldest?;
        // A bit late, so that a busy second of history goes in one slice.
        let at = time.saturating_add(millis(shared.settings.history)).saturating_add(1);
        Some(shared.clock.until(at) + shared.settings.history / 64)
    }

    fn too_long(&self, shared: &Shared, revision: u64) -> bool {
        let most = shared.settings.history_revisions.saturating_add(Self::slack(shared));
        revision - shared.floor().min(revision) > most
    }

    /// A floor is asked for by hand.
    pub(crate) fn ask(&mut self, to: u64) {
        self.asked = self.asked.max(to);
    }

    /// Nothing is forgotten any more, since something failed.
    pub(crate) fn stop(&mut self, error: &Error) {
        self.stopped.get_or_insert_with(|| {
            let cause = error.message();
            let message = format!("no history is removed since something failed ({cause}). Set right what is wrong and open the store again");
            Error::new(error.kind(), message).caused_by(error.clone())
        });
    }

    /// Whether a floor that is asked for is set.
    pub(crate) fn check(&self) -> Result<()> {
        self.stopped.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// A group was committed.
    pub(crate) fn committed(&mut self, revision: u64, time: u64) {
        self.oldest.get_or_insert((revision, time));
    }

    /// Adds to the group what forgetting takes. Answers the new floor, if there is one; it holds for readers
    /// at once, and is to be told to [`forget`](Self::forget) when the group is committed.
    pub(crate) fn advance(&mut self, shared: &Shared, group: &mut Group<'_>) -> Option<u64> {
        if self.stopped.is_some() {
            return None;
        }
        let floor = shared.floor();
        let result = self.target(shared, group.now()).and_then(|target| {
            let target = target.filter(|target| *target > floor);
            if let Some(target) = target {
                shared.raise_floor(target);
                let meta = Meta {
                    term: shared.term,
                    revision: shared.published(),
                    floor: target,
                    time: group.now(),
                };
                let op = meta.op();
                group.set_row(op.key, op.value);
                self.oldest = log::oldest_after(group.engine(), target)?;
            }
            if shared.engine.in_memory() && (self.unfinished || target.is_some()) {
                self.unfinished = remove_rows(group, shared.floor())?;
            }
            Ok(target)
        });
        result.unwrap_or_else(|error| {
            tracing::error!(%error, "old history could not be removed; no more is tried");
            self.stop(&error);
            None
        })
    }

    fn target(&mut self, shared: &Shared, now: u64) -> Result<Option<u64>> {
        let published = shared.published();
        let mut target = std::mem::take(&mut self.asked).min(published);
        if self.too_long(shared, published) {
            target = target.max(published - shared.settings.history_revisions);
        }
        let history = millis(shared.settings.history);
        let slack = history / 64;
        let aged = |oldest: Option<(u64, u64)>, slack: u64| {
            oldest.filter(|(_, time)| time.saturating_add(history).saturating_add(slack) < now)
        };
        if aged(self.oldest, slack).is_some() {
            for _ in 0..AGED_PARTS {
                let Some((last, _)) =
                    aged(log::oldest_after(&*shared.engine, target.max(shared.floor()))?, 0)
                else {
                    break;
                };
                target = target.max(last);
            }
        }
        Ok((target > 0).then_some(target))
    }

    /// The floor is on disk: what lies below it may go for good.
    pub(crate) fn forget(&mut self, shared: &Arc<Shared>, floor: u64) {
        if !shared.engine.forget_history(floor) {
            return;
        }
        self.forgotten += floor.saturating_sub(self.floor);
        self.floor = floor;
        let live = shared.published().saturating_sub(floor);
        if self.forgotten >= RECLAIM_AT_LEAST.max(live) && !self.reclaiming.swap(true, Ordering::AcqRel) {
            self.forgotten = 0;
            let (shared, reclaiming) = (Arc::clone(shared), Arc::clone(&self.reclaiming));
            let work = move || {
                if let Err(error) = shared.engine.reclaim() {
                    tracing::warn!(%error, "the space of old history could not be given back yet");
                }
                reclaiming.store(false, Ordering::Release);
            };
            if let Err(error) = thread::Builder::new().name("norikv-reclaim".into()).spawn(work) {
                tracing::warn!(%error, "no thread to give space back with");
                self.reclaiming.store(false, Ordering::Release);
            }
        }
    }
}

/// Removes the first rows of the log below the floor, and what they lead to. Answers whether there are
/// more.
fn remove_rows(group: &mut Group<'_>, floor: u64) -> Result<bool> {
    let mut rows = Vec::new();
    let mut parts = 0;
    let mut result = Ok(());
    let bounds = (Bound::Included(&[keys::LOG][..]), Bound::Excluded(keys::LOG_END));
    let engine: &dyn Engine = group.engine();
    engine.scan(Table::System, bounds, Order::Ascending, &mut |row: Cell<'_>, value: Cell<'_>| {
        let part = match Part::parse(&row, &value) {
            Ok(part) if part.last < floor => part,
            Ok(_) => return ControlFlow::Break(()),
            Err(error) => {
                result = Err(error);
                return ControlFlow::Break(());
            }
        };
        parts += 1;
        if parts > PARTS {
            return ControlFlow::Break(());
        }
        rows.push(Bytes::copy_from_slice(&row));
        for event in part.events() {
            match event {
                Ok(event) => rows.push(keys::undo(event.key, event.revision).into()),
                Err(error) => {
                    result = Err(error);
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    result?;
    for row in rows {
        group.set_row(row, None);
    }
    Ok(parts > PARTS)
}

#[cfg(test)]
mod tests {
    use norikv_core::{Call, Count, Durability, ErrorKind, FieldName, Put, Store, Version};

    use super::*;
    use crate::{EmbeddedStore, Settings};

    fn call() -> Call {
        Call::with_timeout(Duration::from_secs(60))
    }

    fn rows(store: &EmbeddedStore, tag: u8) -> usize {
        let mut rows = 0;
        let (start, end) = ([tag], [tag + 1]);
        let bounds = (Bound::Included(&start[..]), Bound::Excluded(&end[..]));
        let mut count = |_: Cell<'_>, _: Cell<'_>| {
            rows += 1;
            ControlFlow::Continue(())
        };
        store.shared().unwrap().engine.scan(Table::System, bounds, Order::Ascending, &mut count).unwrap();
        rows
    }

    async fn write(store: &EmbeddedStore, puts: u64) {
        for n in 0..puts {
            store.put(Put::new(format!("{}", n % 10), vec![7; 500]), call()).await.unwrap();
        }
    }

    /// Waits until the condition holds; the writer needs no push to get there.
    async fn wait_for(what: &str, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    #[tokio::test]
    async fn no_more_revisions_are_kept_than_were_asked_for() {
        let store =
            EmbeddedStore::memory(Settings { history_revisions: 100, ..Settings::default() }).unwrap();
        write(&store, 5_000).await;
        let shared = store.shared().unwrap();
        wait_for("the floor is where it stays", || shared.floor() >= 5_001 - 101).await;
        drop(shared);
        wait_for("the history is short", || rows(&store, keys::UNDO) <= 110).await;
        // A row of the log goes when all of it has.
        wait_for("the log is short", || rows(&store, keys::LOG) <= 110).await;
        let floor = store.status(call()).await.unwrap().sizes.compact_version;
        let old = Count { version: Some(Version::new(1, floor.index - 1)), ..Count::default() };
        let error = store.count(old, call()).await.unwrap_err();
        assert_eq!(error.version(FieldName::CompactVersion), Some(floor));
        let kept = Count { version: Some(floor), ..Count::default() };
        assert_eq!(store.count(kept, call()).await.unwrap().count, 10);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_kept_longer_than_was_asked_for() {
        let history = Duration::from_millis(20);
        let store = EmbeddedStore::memory(Settings { history, ..Settings::default() }).unwrap();
        write(&store, 1_000).await;
        // Nobody writes any more, and it goes all the same.
        // The newest revision can be watched from for as long as it is the newest, so its row stays.
        wait_for("the history is gone", || rows(&store, keys::UNDO) <= 1 && rows(&store, keys::LOG) <= 1)
            .await;
        let status = store.status(call()).await.unwrap();
        assert_eq!(status.sizes.compact_version, status.version);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_a_floor_amid_a_row_leaves_of_it_grows_old_too() {
        let history = Duration::from_millis(200);
        let store = EmbeddedStore::memory(Settings { history, ..Settings::default() }).unwrap();
        let ops = (0..300).map(|n| norikv_core::TxnOp::Put(Put::new(format!("{n}"), "v")));
        let puts = ops.map(|op| store.txn(norikv_core::Txn { then: vec![op], ..Default::default() }, call()));
        futures_util::future::join_all(puts).await;
        store.compact(Version::new(1, 300), call()).await.unwrap();
        let shared = store.shared().unwrap();
        wait_for("the history is gone", || shared.floor() == 301).await;
        drop(shared);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_floor_set_by_hand_holds_and_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(directory.path(), Settings::default()).unwrap();
        write(&store, 50).await;
        store.compact(Version::new(1, 30), call()).await.unwrap();
        store.close().await.unwrap();
        let store = EmbeddedStore::open(directory.path(), Settings::default()).unwrap();
        for (index, kept) in [(29, false), (30, true), (51, true)] {
            let count = Count { version: Some(Version::new(1, index)), ..Count::default() };
            match store.count(count, call()).await {
                Ok(_) => assert!(kept, "revision {index} is below the floor"),
                Err(error) => assert_eq!((kept, error.kind()), (false, ErrorKind::Compacted)),
            }
        }
        store.compact(Version::new(1, 30), call()).await.unwrap();
        for (index, kind) in [(29, ErrorKind::Compacted), (52, ErrorKind::InvalidArgument)] {
            assert_eq!(store.compact(Version::new(1, index), call()).await.unwrap_err().kind(), kind);
        }
        store.compact(Version::new(1, 51), call()).await.unwrap();
        assert_eq!(store.status(call()).await.unwrap().sizes.compact_version.index, 51);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn the_space_of_old_history_comes_back_while_the_store_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let settings =
            Settings { durability: Durability::Relaxed, history_revisions: 1_000, ..Settings::default() };
        let store = EmbeddedStore::open(directory.path(), settings).unwrap();
        let value = vec![7; 1_000];
        for _ in 0..130 {
            let puts = (0..1_000).map(|n| store.put(Put::new(format!("{n}"), value.clone()), call()));
            for put in futures_util::future::join_all(puts).await {
                put.unwrap();
            }
        }
        // 130 MB were written, twice over with what was replaced; one is alive, with its history two. The
        // engine's journals are the rest of it.
        let shared = store.shared().unwrap();
        wait_for("the space is back", || shared.engine.table_bytes() < 40_000_000).await;
        drop(shared);
        store.close().await.unwrap();
    }
}
