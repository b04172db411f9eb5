use super::*;
use std::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use norikv_core::{
    Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Entry, Get, GetMany, Page, Put,
    PutResult, Status, Store, StoreRef,
};
use norikv_embedded::{EmbeddedStore, Settings};

use crate::{
    frame::Reader,
    session::{Environment, OpenStore, Sleep},
};

struct Opened(StoreRef);

impl Environment for Opened {
    fn open(&self) -> OpenStore {
        let store = self.0.clone();
        Box::pin(async { Ok(store) })
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A store that can be away for new watches.
struct Away {
    store: EmbeddedStore,
    /// How many watches are refused from the second on.
    refusals: AtomicUsize,
    asked: AtomicUsize,
    /// What its versions are, beside that: those of a store of several clusters.
    marked: u64,
}

impl Away {
    fn version(&self, version: Version) -> Version {
        Version::new(version.term | self.marked, version.index)
    }
}

#[async_trait]
impl Store for Away {
    async fn watch(&self, request: Watch, call: Call) -> Result<Watching> {
        if self.asked.fetch_add(1, Ordering::SeqCst) > 0 {
            let left =
                self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if left.is_ok() {
                return Err(Error::new(ErrorKind::Unavailable, "not now"));
            }
        }
        let watching = self.store.watch(request, call).await?;
        Ok(Watching { start: self.version(watching.start), ..watching })
    }

    async fn get(&self, request: Get, call: Call) -> Result<Option<Entry>> {
        self.store.get(request, call).await
    }

    async fn get_many(&self, request: GetMany, call: Call) -> Result<Vec<Option<Entry>>> {
        self.store.get_many(request, call).await
    }

    async fn put(&self, request: Put, call: Call) -> Result<PutResult> {
        self.store.put(request, call).await
    }

    async fn delete(&self, request: Delete, call: Call) -> Result<DeleteResult> {
        self.store.delete(request, call).await
    }

    async fn delete_range(&self, request: DeleteRange, call: Call) -> Result<DeleteRangeResult> {
        self.store.delete_range(request, call).await
    }

    async fn scan(&self, request: Scan, call: Call) -> Result<Page> {
        let page = self.store.scan(request, call).await?;
        Ok(Page { version: self.version(page.version), ..page })
    }

    async fn count(&self, request: Count, call: Call) -> Result<CountResult> {
        self.store.count(request, call).await
    }

    async fn status(&self, call: Call) -> Result<Status> {
        self.store.status(call).await
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

struct Fixture {
    store: StoreRef,
    watches: Watches,
    deadlines: Alarm,
    out: Writer,
}

impl Fixture {
    fn new() -> Self {
        Self::of(Arc::new(EmbeddedStore::memory(Settings::default()).unwrap()))
    }

    fn of(store: StoreRef) -> Self {
        let shared = Shared::new(Box::new(Opened(store.clone())), Duration::from_secs(5)).unwrap();
        let watches = Watches::new(Arc::new(shared));
        Self { store, watches, deadlines: Alarm::new(), out: Writer::default() }
    }

    fn begin(&mut self, id: u32, batches: u32) {
        let watch = Watch::new(KeyRange::prefix("a"));
        self.watches.begin(id, Bytes::new(), watch, Credit::new(batches, 1 << 20), Call::default());
    }

    async fn put(&self) {
        self.store.put(Put::new("a", "1"), Call::default()).await.unwrap();
    }

    /// Until the watches have answered something.
    async fn answers(&mut self) -> Reader {
        let Self { watches, deadlines, out, .. } = self;
        poll_fn(|cx| {
            watches.poll(cx, &mut Answers { out, deadlines });
            if out.0.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        Reader::new(self.out.0.split().freeze())
    }

    /// Until so many watches were told where they start.
    async fn told(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let mut answers = self.answers().await;
            while !answers.is_empty() {
                answers.u32().unwrap();
                assert_eq!(answers.u8().unwrap(), reply::WATCHING);
                answers.version().unwrap();
                left -= 1;
            }
        }
    }
}

#[tokio::test]
async fn watches_of_the_same_changes_share_an_upstream_and_get_each_batch_in_one_reply() {
    let mut fixture = Fixture::new();
    fixture.begin(1, 64);
    fixture.begin(2, 64);
    fixture.told(2).await;
    // One that comes later joins.
    fixture.begin(3, 64);
    fixture.told(1).await;
    assert_eq!(fixture.watches.upstreams.len(), 1);
    fixture.put().await;
    let mut answers = fixture.answers().await;
    assert_eq!((answers.u32().unwrap(), answers.u8().unwrap()), (reply::SOME_WATCHES, reply::BATCHES));
    let ids: Vec<_> = (0..answers.u32().unwrap()).map(|_| answers.u32().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3]);
    answers.bytes().unwrap();
    assert!(answers.is_empty());
    // The upstream ends with the last of them.
    let mut to = Answers { out: &mut fixture.out, deadlines: &mut fixture.deadlines };
    for id in 1..=3 {
        assert!(fixture.watches.end(id, |_| Error::internal("over"), &mut to));
    }
    assert!(fixture.watches.upstreams.is_empty() && fixture.watches.live.is_empty());
}

#[tokio::test]
async fn one_without_credit_gets_nothing_and_goes_its_own_way_before_it_holds_up_the_others() {
    let mut fixture = Fixture::new();
    fixture.begin(1, 1);
    fixture.begin(2, 1_000_000);
    fixture.told(2).await;
    let mut seen = [0, 0];
    let total = 2_000;
    while fixture.watches.upstreams.len() == 1 {
        fixture.put().await;
        let mut answers = fixture.answers().await;
        while !answers.is_empty() {
            answers.u32().unwrap();
            answers.u8().unwrap();
            let ids: Vec<_> = (0..answers.u32().unwrap()).map(|_| answers.u32().unwrap()).collect();
            answers.bytes().unwrap();
            for id in ids {
                seen[usize::try_from(id).unwrap() - 1] += 1;
            }
        }
        assert!(seen[1] < total, "nobody parted");
    }
    assert_eq!(seen[0], 1);
    assert!(seen[1] >= 1_000);
}

#[tokio::test]
async fn one_that_goes_its_own_way_waits_for_a_store_that_is_away() {
    let store = Arc::new(Away {
        store: EmbeddedStore::memory(Settings::default()).unwrap(),
        refusals: AtomicUsize::new(3),
        asked: AtomicUsize::new(0),
        marked: 0,
    });
    let mut fixture = Fixture::of(store.clone());
    fixture.begin(1, 1);
    fixture.begin(2, 1_000_000);
    fixture.told(2).await;
    let mut written = 0;
    while fixture.watches.upstreams.len() == 1 {
        written += 1;
        assert!(written < 2_000, "nobody parted, or not for long");
        fixture.put().await;
        fixture.answers().await;
    }
    let mut to = Answers { out: &mut fixture.out, deadlines: &mut fixture.deadlines };
    fixture.watches.end(2, |_| Error::internal("over"), &mut to);
    fixture.out.0.clear();
    fixture.watches.more(1, Credit::new(1, 1 << 20));
    let mut answers = fixture.answers().await;
    assert_eq!((answers.u32().unwrap(), answers.u8().unwrap()), (reply::SOME_WATCHES, reply::BATCHES));
    assert_eq!((answers.u32().unwrap(), answers.u32().unwrap()), (1, 1));
    // The length of all batches, and of the first, come before its version: the first put was taken before.
    assert!(answers.u32().unwrap() > answers.u32().unwrap());
    assert_eq!(answers.version().unwrap(), Version::new(1, 3));
    assert_eq!(store.refusals.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn one_that_comes_later_does_not_join_where_versions_are_moments() {
    let store = Arc::new(Away {
        store: EmbeddedStore::memory(Settings::default()).unwrap(),
        refusals: AtomicUsize::new(0),
        asked: AtomicUsize::new(0),
        marked: Version::MOMENT,
    });
    let mut fixture = Fixture::of(store.clone());
    fixture.begin(1, 64);
    fixture.begin(2, 64);
    fixture.told(2).await;
    // Those of one turn share: both begin with it.
    assert_eq!(store.asked.load(Ordering::SeqCst), 1);
    fixture.begin(3, 64);
    fixture.told(1).await;
    assert_eq!(store.asked.load(Ordering::SeqCst), 2);
    assert_eq!(fixture.watches.upstreams.len(), 2);
}
