//! Keeps a session's leases alive: one ordered set of when each is due, one timer, and one call for all that are
//! due together.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    future::{Either, select},
    stream::FuturesUnordered,
};
use norikv_core::{Backoff, Call, Error, LeaseGranted, LeaseId, MAX_KEEP_ALIVES, Result, Steady};
use web_time::Instant;

use crate::{
    alarm::Alarm,
    lease::{GONE, Lost},
    session::{BoxFuture, Shared},
};

/// Leases that are due this soon are renewed with those that are due now.
const WINDOW: Duration = Duration::from_millis(100);

/// Between keep-alives that failed. A lease has two thirds of its time left for them.
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(50),
    max: Duration::from_secs(1),
    multiplier: 2.0,
    jitter: true,
};

/// The least time that the answer to a keep-alive is waited for. One of a short time must not spoil the others'.
const PATIENCE: Duration = Duration::from_millis(300);

/// A lease that is kept alive.
struct Kept {
    ttl: Duration,
    /// When to look at it next: to renew it, or, while a keep-alive is under way, whether its time passed.
    due: Instant,
    renewing: bool,
    failures: u32,
}

/// A keep-alive that ended, and when it was sent; `None` was none, but the revoking of what came back too late.
type Answer = Option<Renewal>;

struct Renewal {
    ids: Vec<LeaseId>,
    sent: (Instant, Steady),
    result: Result<Vec<Option<Duration>>>,
}

/// Renews every lease each third of its time, and tells which are lost.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    kept: HashMap<LeaseId, Kept>,
    alarm: Alarm,
    calls: FuturesUnordered<BoxFuture<Answer>>,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, kept: HashMap::new(), alarm: Alarm::new(), calls: FuturesUnordered::new() }
    }

    /// Begins to keep a lease that was granted to a call which asked for it at `sent`.
    pub(crate) fn keep(&mut self, call: u32, granted: LeaseGranted, sent: Steady) {
        let LeaseGranted { id, ttl } = granted;
        self.shared.leases.hold(id, call, ttl, sent);
        // A grant that took its time is renewed the sooner.
        let due = Instant::now() + (ttl / 3).saturating_sub(sent.elapsed());
        self.kept.insert(id, Kept { ttl, due, renewing: false, failures: 0 });
        self.alarm.insert(due, id.get());
    }

    /// Renews what is due, and answers what was lost since the last time.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Vec<Lost> {
        loop {
            while let Poll::Ready(Some(answer)) = self.calls.poll_next_unpin(cx) {
                if let Some(renewal) = answer {
                    self.renewed(renewal);
                }
            }
            if self.alarm.poll(self.shared.environment.as_ref(), cx).is_pending() {
                break;
            }
            self.renew_due();
        }
        let lost = self.shared.leases.take_news();
        for Lost { id, .. } in &lost {
            if let Some(kept) = self.kept.remove(id) {
                self.alarm.remove(kept.due, id.get());
            }
        }
        lost
    }

    fn renew_due(&mut self) {
        let now = Instant::now();
        let soon: Vec<_> = self.alarm.until(now + WINDOW).collect();
        let mut ids = Vec::new();
        let mut patience = Duration::MAX;
        for (due, number) in soon {
            let known = LeaseId::new(number).and_then(|id| Some((id, self.kept.get_mut(&id)?)));
            let Some((id, kept)) = known else {
                self.alarm.remove(due, number);
                continue;
            };
            // One of a short time would otherwise be renewed each time another is.
            if due > now && (kept.renewing || due - now > kept.ttl / 12) {
                continue;
            }
            self.alarm.remove(due, id.get());
            match self.shared.leases.left(id) {
                Some(left) if !left.is_zero() => {
                    kept.due = now + left;
                    self.alarm.insert(kept.due, id.get());
                    if !kept.renewing {
                        kept.renewing = true;
                        patience = patience.min(kept.ttl / 3).max(PATIENCE);
                        ids.push(id);
                    }
                }
                // Lost; the news of it takes it out of what is kept.
                _ => {}
            }
        }
        for ids in ids.chunks(MAX_KEEP_ALIVES) {
            self.calls.push(self.renewal(ids.to_vec(), patience));
        }
    }

    /// One keep-alive, given up after a while: an answer that does not come must not keep the next from being sent.
    fn renewal(&self, ids: Vec<LeaseId>, patience: Duration) -> BoxFuture<Answer> {
        let shared = self.shared.clone();
        let sent = (Instant::now(), Steady::now());
        Box::pin(async move {
            let call = Call::with_timeout(patience);
            let asked = ids.clone();
            let renewed = Box::pin(async { shared.store().await?.lease_keep_alive(asked, call).await });
            let result = match select(renewed, shared.environment.sleep(patience)).await {
                Either::Left((result, _)) => result,
                Either::Right(_) => Err(call.deadline_exceeded()),
            };
            let result = result.and_then(|times| {
                if times.len() == ids.len() {
                    return Ok(times);
                }
                Err(Error::internal("a keep-alive was answered for more or fewer leases than it named"))
            });
            Some(Renewal { ids, sent, result })
        })
    }

    fn renewed(&mut self, Renewal { ids, sent, result }: Renewal) {
        let times = result.unwrap_or_default();
        for (at, id) in ids.into_iter().enumerate() {
            let answer = times.get(at).copied();
            if answer == Some(None) {
                self.shared.leases.lose(id, GONE);
                continue;
            }
            let ttl = answer.flatten();
            let held = match ttl {
                Some(ttl) => self.shared.leases.renew(id, ttl, sent.1),
                None => true,
            };
            if !held {
                self.revoke(id);
                continue;
            }
            let Some(kept) = self.kept.get_mut(&id) else { continue };
            self.alarm.remove(kept.due, id.get());
            kept.renewing = false;
            match ttl {
                Some(ttl) => {
                    (kept.ttl, kept.failures) = (ttl, 0);
                    kept.due = sent.0 + ttl / 3;
                }
                None => {
                    kept.failures += 1;
                    // Not after its time passed, which is looked at then.
                    let left = self.shared.leases.left(id).unwrap_or_default();
                    kept.due = Instant::now() + BACKOFF.delay(kept.failures).min(left);
                }
            }
            self.alarm.insert(kept.due, id.get());
        }
    }

    /// Ends a lease at the store that its holder was told is lost, and that a late keep-alive renewed.
    fn revoke(&self, id: LeaseId) {
        let shared = self.shared.clone();
        self.calls.push(Box::pin(async move {
            let revoked = Box::pin(async { shared.store().await?.lease_revoke(id, Call::default()).await });
            // If it fails, the lease runs out by itself.
            let _ = select(revoked, shared.environment.sleep(shared.timeout)).await;
            None
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::poll_fn,
        sync::{Mutex, PoisonError},
    };

    use async_trait::async_trait;
    use norikv_core::{
        Count, CountResult, Delete, DeleteRange, DeleteRangeResult, DeleteResult, Entry, ErrorKind, Get,
        GetMany, Page, Put, PutResult, Scan, Status, Store, StoreRef, Version,
    };
    use tokio::sync::mpsc;

    use crate::session::{Environment, OpenStore, Sleep};

    /// What becomes of the next keep-alive; the last one stays.
    #[derive(Clone, Copy, PartialEq)]
    enum Then {
        Renew,
        Fail,
        Gone,
        Hang,
        /// Answers, but only after the leases' time.
        Late(Duration),
    }

    /// A store of leases that tells what it is asked.
    struct Fake {
        plan: Mutex<Vec<Then>>,
        ttl: Duration,
        asked: mpsc::UnboundedSender<Vec<u64>>,
        revoked: mpsc::UnboundedSender<u64>,
    }

    fn unused() -> Error {
        Error::internal("the keeper does not ask for this")
    }

    #[async_trait]
    impl Store for Fake {
        async fn lease_keep_alive(&self, ids: Vec<LeaseId>, _: Call) -> Result<Vec<Option<Duration>>> {
            let then = {
                let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
                if plan.len() > 1 { plan.remove(0) } else { plan[0] }
            };
            let _ = self.asked.send(ids.iter().map(|id| id.get()).collect());
            match then {
                Then::Fail => Err(Error::new(ErrorKind::Unavailable, "not now")),
                Then::Gone => Ok(vec![None; ids.len()]),
                Then::Hang => std::future::pending().await,
                Then::Renew => Ok(vec![Some(self.ttl); ids.len()]),
                Then::Late(after) => {
                    tokio::time::sleep(after).await;
                    Ok(vec![Some(self.ttl); ids.len()])
                }
            }
        }

        async fn lease_revoke(&self, id: LeaseId, _: Call) -> Result<Version> {
            let _ = self.revoked.send(id.get());
            Ok(Version::ZERO)
        }

        async fn get(&self, _: Get, _: Call) -> Result<Option<Entry>> {
            Err(unused())
        }

        async fn get_many(&self, _: GetMany, _: Call) -> Result<Vec<Option<Entry>>> {
            Err(unused())
        }

        async fn put(&self, _: Put, _: Call) -> Result<PutResult> {
            Err(unused())
        }

        async fn delete(&self, _: Delete, _: Call) -> Result<DeleteResult> {
            Err(unused())
        }

        async fn delete_range(&self, _: DeleteRange, _: Call) -> Result<DeleteRangeResult> {
            Err(unused())
        }

        async fn scan(&self, _: Scan, _: Call) -> Result<Page> {
            Err(unused())
        }

        async fn count(&self, _: Count, _: Call) -> Result<CountResult> {
            Err(unused())
        }

        async fn status(&self, _: Call) -> Result<Status> {
            Err(unused())
        }

        async fn close(&self) -> Result<()> {
            Ok(())
        }
    }

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
        keeper: Keeper,
        ttl: Duration,
        asked: mpsc::UnboundedReceiver<Vec<u64>>,
        revoked: mpsc::UnboundedReceiver<u64>,
    }

    impl Fixture {
        fn new(ttl: Duration, plan: &[Then]) -> Self {
            let (asked, asked_of) = mpsc::unbounded_channel();
            let (revoked, revoked_of) = mpsc::unbounded_channel();
            let store = Fake { plan: Mutex::new(plan.to_vec()), ttl, asked, revoked };
            let shared = Shared::new(Box::new(Opened(Arc::new(store))), Duration::from_secs(5)).unwrap();
            let keeper = Keeper::new(Arc::new(shared));
            Self { keeper, ttl, asked: asked_of, revoked: revoked_of }
        }

        fn keep(&mut self, number: u64) {
            let granted = LeaseGranted { id: id(number), ttl: self.ttl };
            self.keeper.keep(u32::try_from(number).unwrap(), granted, Steady::now());
        }

        /// The leases of the next keep-alive, unless one is lost before.
        async fn asked(&mut self) -> std::result::Result<Vec<u64>, Lost> {
            let Self { keeper, asked, .. } = self;
            poll_fn(|cx| {
                if let Some(lost) = keeper.poll(cx).pop() {
                    return Poll::Ready(Err(lost));
                }
                asked.poll_recv(cx).map(|asked| Ok(asked.unwrap()))
            })
            .await
        }

        /// The next lease that is lost.
        async fn lost(&mut self) -> Lost {
            loop {
                if let Err(lost) = self.asked().await {
                    return lost;
                }
            }
        }
    }

    fn id(number: u64) -> LeaseId {
        LeaseId::new(number).unwrap()
    }

    #[tokio::test]
    async fn leases_that_are_due_together_are_renewed_in_one_call() {
        let mut fixture = Fixture::new(Duration::from_millis(300), &[Then::Renew]);
        for number in 1..=100 {
            fixture.keep(number);
        }
        for _ in 0..4 {
            let mut seen = Vec::new();
            let mut calls = 0;
            while seen.len() < 100 {
                seen.extend(fixture.asked().await.map_err(|lost| lost.why).unwrap());
                calls += 1;
            }
            assert!(calls <= 10, "{calls} calls for 100 leases");
        }
        assert!(fixture.keeper.shared.leases.check(id(1)).is_ok());
    }

    #[tokio::test]
    async fn one_call_names_1024_leases_at_the_most() {
        let mut fixture = Fixture::new(Duration::from_secs(3), &[Then::Renew]);
        for number in 1..=2_500 {
            fixture.keep(number);
        }
        let mut seen = 0;
        while seen < 2_500 {
            let ids = fixture.asked().await.map_err(|lost| lost.why).unwrap();
            assert!(ids.len() <= MAX_KEEP_ALIVES);
            seen += ids.len();
        }
    }

    #[tokio::test]
    async fn a_keep_alive_that_failed_is_made_again_and_the_lease_kept() {
        let mut fixture = Fixture::new(Duration::from_millis(900), &[Then::Fail, Then::Fail, Then::Renew]);
        fixture.keep(1);
        for _ in 0..4 {
            assert_eq!(fixture.asked().await.map_err(|lost| lost.why).unwrap(), [1]);
        }
    }

    #[tokio::test]
    async fn a_lease_that_the_store_does_not_have_is_lost() {
        let mut fixture = Fixture::new(Duration::from_millis(300), &[Then::Renew, Then::Gone]);
        fixture.keep(1);
        let lost = fixture.lost().await;
        assert_eq!((lost.id, lost.call, lost.why.kind()), (id(1), 1, ErrorKind::LeaseLost));
        assert!(fixture.keeper.shared.leases.check(id(1)).is_err());
        assert!(fixture.keeper.kept.is_empty());
    }

    #[tokio::test]
    async fn a_lease_whose_keep_alives_fail_or_hang_is_lost_after_its_time_and_not_before() {
        for then in [Then::Fail, Then::Hang] {
            let mut fixture = Fixture::new(Duration::from_millis(300), &[then]);
            let began = Instant::now();
            fixture.keep(1);
            let lost = fixture.lost().await;
            assert_eq!(lost.id, id(1));
            assert!(began.elapsed() >= Duration::from_millis(300));
            assert!(began.elapsed() < Duration::from_secs(3));
        }
    }

    #[tokio::test]
    async fn a_lease_that_comes_back_too_late_stays_lost_and_is_revoked() {
        let late = Then::Late(Duration::from_millis(250));
        let mut fixture = Fixture::new(Duration::from_millis(200), &[late]);
        fixture.keep(1);
        fixture.lost().await;
        let Fixture { keeper, revoked, .. } = &mut fixture;
        let revoked = poll_fn(|cx| {
            assert!(keeper.poll(cx).is_empty());
            revoked.poll_recv(cx)
        });
        assert_eq!(revoked.await, Some(1));
        assert!(fixture.keeper.shared.leases.check(id(1)).is_err());
    }
}
