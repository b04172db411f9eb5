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
    alarm: Alarm<LeaseId>,
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
        self.alarm.insert(due, id);
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
                self.alarm.remove(kept.due, *id);
            }
        }
        lost
    }

    fn renew_due(&mut self) {
        let now = Instant::now();
        let soon: Vec<_> = self.alarm.until(now + WINDOW).collect();
        let mut ids = Vec::new();
        let mut patience = Duration::MAX;
        for (due, id) in soon {
            let Some(kept) = self.kept.get_mut(&id) else {
                self.alarm.remove(due, id);
                continue;
            };
            // One of a short time would otherwise be renewed each time another is.
            if due > now && (kept.renewing || due - now > kept.ttl / 12) {
                continue;
            }
            self.alarm.remove(due, id);
            match self.shared.leases.left(id) {
                Some(left) if !left.is_zero() => {
                    kept.due = now + left;
                    self.alarm.insert(kept.due, id);
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
            self.alarm.remove(kept.due, id);
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
            self.alarm.insert(kept.due, id);
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
