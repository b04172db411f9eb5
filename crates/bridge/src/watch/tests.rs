use super::*;
use std::{future::poll_fn, time::Duration};

use norikv_core::{Put, StoreRef};
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

struct Fixture {
    store: StoreRef,
    watches: Watches,
    deadlines: Alarm<u32>,
    out: Writer,
}

impl Fixture {
    fn new() -> Self {
        let store: StoreRef = Arc::new(EmbeddedStore::memory(Settings::default()).unwrap());
        let shared = Shared::new(Box::new(Opened(store.clone())), Duration::from_secs(5));
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
