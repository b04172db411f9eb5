//! The watches of a session. Those that follow the same changes share one watch of the store, and each batch crosses
//! once for all of them; how far each may go is bounded by its own credit.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};
use norikv_core::{
    Backoff, Call, Consistency, Error, ErrorKind, KeyRange, MaybeSend, Result, Scan, Version, Watch,
    WatchBatch, Watching,
};

use crate::{
    alarm::Alarm,
    frame::Writer,
    reply,
    session::{BoxFuture, Shared},
    subscriber::{Credit, Newest, Subscriber},
    upstream::{Chunks, MAX_CHUNK, Ring, Subject, Upstream},
};

/// Between attempts to open what a watch under way goes on with.
const BACKOFF: Backoff = Backoff {
    initial: std::time::Duration::from_millis(10),
    max: std::time::Duration::from_secs(1),
    multiplier: 2.0,
    jitter: true,
};

/// What came of something that was waited for.
enum Step {
    Opened(u64, Result<Watching>),
    Newest(u32, u64, Result<Version>),
    Batches(u64, Option<Vec<Result<WatchBatch>>>, Chunks),
}

/// Watches that take the same batches.
struct Group {
    from: u64,
    to: u64,
    progress: bool,
    ids: Vec<u32>,
}

/// Where replies and deadlines of watches are.
pub(crate) struct Answers<'a> {
    pub(crate) out: &'a mut Writer,
    pub(crate) deadlines: &'a mut Alarm,
}

impl Answers<'_> {
    fn fail(&mut self, id: u32, call: &Call, error: &Error) {
        self.deadlines.remove(call.deadline(), id.into());
        self.out.u32(id);
        self.out.u8(reply::ERROR);
        reply::write_error(self.out, error);
    }
}

/// All watches of a session.
pub(crate) struct Watches {
    shared: Arc<Shared>,
    subscribers: HashMap<u32, Subscriber>,
    upstreams: HashMap<u64, Upstream>,
    /// The upstreams that a watch may join.
    live: HashMap<Subject, u64>,
    steps: FuturesUnordered<BoxFuture<Option<Step>>>,
    /// The upstreams that have something to deliver, or somebody to take it.
    dirty: BTreeSet<u64>,
    turn: u64,
    serial: u64,
}

impl Watches {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            subscribers: HashMap::new(),
            upstreams: HashMap::new(),
            live: HashMap::new(),
            steps: FuturesUnordered::new(),
            dirty: BTreeSet::new(),
            turn: 0,
            serial: 0,
        }
    }

    /// Begins a watch, with the upstream of another if they follow the same changes.
    pub(crate) fn begin(&mut self, id: u32, prefix: Bytes, watch: Watch, credit: Credit, call: Call) {
        self.serial += 1;
        let serial = self.serial;
        let progress = watch.progress;
        let subject = Subject::of(&prefix, &watch);
        let shared = subject.as_ref().and_then(|subject| self.live.get(subject)).copied();
        let (key, newest, cursor) = match shared.and_then(|key| Some((key, self.upstreams.get(&key)?))) {
            Some((key, upstream)) => {
                let newest = if upstream.turn == self.turn {
                    Newest::NotAsked
                } else {
                    Newest::Asked(self.ask_newest(id, serial, prefix, watch.range, call))
                };
                (key, newest, self.upstreams.get(&key).map_or(0, |upstream| upstream.ring.head()))
            }
            None => (self.open(prefix, watch, subject, call, false), Newest::NotAsked, 0),
        };
        if let Some(upstream) = self.upstreams.get_mut(&key) {
            upstream.subscribers.insert(id);
        }
        let (told, floor, last) = (false, Version::ZERO, Version::ZERO);
        self.subscribers.insert(
            id,
            Subscriber { upstream: key, serial, progress, credit, call, newest, told, floor, last, cursor },
        );
    }

    /// Takes more credit for a watch.
    pub(crate) fn more(&mut self, id: u32, credit: Credit) {
        if let Some(subscriber) = self.subscribers.get_mut(&id) {
            subscriber.credit.add(credit);
            self.dirty.insert(subscriber.upstream);
        }
    }

    /// Ends a watch with an error. False if there is none of that number.
    pub(crate) fn end(&mut self, id: u32, error: impl FnOnce(&Call) -> Error, to: &mut Answers<'_>) -> bool {
        let Some(subscriber) = self.remove(id) else {
            return false;
        };
        to.fail(id, &subscriber.call, &error(&subscriber.call));
        true
    }

    /// Ends all of them.
    pub(crate) fn close(&mut self, to: &mut Answers<'_>) {
        let mut ids: Vec<_> = self.subscribers.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.end(id, |_| Error::new(ErrorKind::Closed, "the client of the watch was closed"), to);
        }
        self.steps.clear();
    }

    /// Delivers what there is to whoever has credit for it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, to: &mut Answers<'_>) {
        loop {
            while let Poll::Ready(Some(step)) = self.steps.poll_next_unpin(cx) {
                match step {
                    Some(Step::Opened(key, result)) => self.opened(key, result, to),
                    Some(Step::Newest(id, serial, result)) => self.newest(id, serial, result, to),
                    Some(Step::Batches(key, batches, chunks)) => self.batches(key, batches, chunks),
                    None => {}
                }
            }
            let dirty = std::mem::take(&mut self.dirty);
            if dirty.is_empty() {
                break;
            }
            for key in dirty {
                self.deliver(key, to);
            }
        }
        self.turn += 1;
    }

    fn remove(&mut self, id: u32) -> Option<Subscriber> {
        let subscriber = self.subscribers.remove(&id)?;
        self.leave(id, subscriber.upstream);
        Some(subscriber)
    }

    /// Takes a watch out of its upstream, which ends with the last.
    fn leave(&mut self, id: u32, key: u64) {
        let Some(upstream) = self.upstreams.get_mut(&key) else { return };
        upstream.subscribers.remove(&id);
        // Who held the others back may be gone.
        self.dirty.insert(key);
        if upstream.subscribers.is_empty() {
            self.retire(key);
            self.upstreams.remove(&key);
        }
    }

    /// Lets nobody join an upstream any more.
    fn retire(&mut self, key: u64) {
        if let Some(subject) = self.upstreams.get(&key).and_then(|upstream| upstream.subject.as_ref())
            && self.live.get(subject) == Some(&key)
        {
            self.live.remove(subject);
        }
    }

    fn push(&mut self, step: impl Future<Output = Step> + MaybeSend + 'static) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        self.steps.push(Box::pin(Abortable::new(step, registration).map(Result::ok)));
        handle
    }

    /// Opens an upstream, and answers its number. `goes_on`: for a watch that had begun already.
    fn open(
        &mut self,
        prefix: Bytes,
        mut watch: Watch,
        subject: Option<Subject>,
        call: Call,
        goes_on: bool,
    ) -> u64 {
        self.serial += 1;
        let key = self.serial;
        let mut call = call;
        if let Some(subject) = &subject {
            self.live.insert(subject.clone(), key);
            // One of those who join may ask for it. And one who is in a hurry must not fail the others.
            watch.progress = true;
            call = Call::with_timeout(call.timeout().max(self.shared.timeout));
        }
        let opening = {
            let (shared, prefix, watch) = (self.shared.clone(), prefix.clone(), watch.clone());
            async move {
                let mut failures = 0;
                let result = loop {
                    let (prefix, watch) = (prefix.clone(), watch.clone());
                    let result = async {
                        let store = shared.part(prefix).await?;
                        shared.meter.timed(store.watch(watch, call)).await
                    }
                    .await;
                    match result {
                        // It had begun already: a store that is away for a while is no end of it.
                        Err(error) if goes_on && is_away(&error) => {
                            failures += 1;
                            shared.environment.sleep(BACKOFF.delay(failures)).await;
                            call = Call::with_timeout(shared.timeout);
                        }
                        result => break result,
                    }
                };
                Step::Opened(key, result)
            }
        };
        let away = Some(self.push(opening));
        let upstream = Upstream {
            prefix,
            watch,
            subject,
            turn: self.turn,
            start: None,
            subscribers: BTreeSet::new(),
            ring: Ring::default(),
            chunks: None,
            away,
            failed: None,
        };
        self.upstreams.insert(key, upstream);
        key
    }

    /// Asks for the store's version, so that a watch that joins sees nothing from before it was made. A read that is
    /// never older than an acknowledged write says it, of one key at the most.
    fn ask_newest(
        &mut self,
        id: u32,
        serial: u64,
        prefix: Bytes,
        range: KeyRange,
        call: Call,
    ) -> AbortHandle {
        let shared = self.shared.clone();
        self.push(async move {
            let scan = Scan {
                limit: 1,
                keys_only: true,
                consistency: Consistency::Linearizable,
                ..Scan::new(range)
            };
            let result = async { Ok(shared.part(prefix).await?.scan(scan, call).await?.version) };
            Step::Newest(id, serial, result.await)
        })
    }

    fn opened(&mut self, key: u64, result: Result<Watching>, to: &mut Answers<'_>) {
        let Some(upstream) = self.upstreams.get_mut(&key) else { return };
        upstream.away = None;
        let ids: Vec<_> = upstream.subscribers.iter().copied().collect();
        match result {
            Ok(Watching { start, batches }) => {
                upstream.start = Some(start);
                upstream.chunks = Some(batches.ready_chunks(MAX_CHUNK));
                for id in ids {
                    self.tell(id, to);
                }
                self.dirty.insert(key);
            }
            Err(error) => {
                self.retire(key);
                for id in ids {
                    self.end(id, |_| error.clone(), to);
                }
            }
        }
    }

    fn newest(&mut self, id: u32, serial: u64, result: Result<Version>, to: &mut Answers<'_>) {
        let Some(subscriber) = self.subscribers.get_mut(&id).filter(|found| found.serial == serial) else {
            return;
        };
        match result {
            Ok(version) => {
                subscriber.newest = Newest::Known(version);
                self.tell(id, to);
            }
            Err(error) => drop(self.end(id, |_| error, to)),
        }
    }

    /// Tells a watch where it starts, once both its upstream and, if it joined, the store's version are known.
    fn tell(&mut self, id: u32, to: &mut Answers<'_>) {
        let Some(subscriber) = self.subscribers.get_mut(&id) else { return };
        let upstream = self.upstreams.get(&subscriber.upstream);
        let Some(start) = upstream.and_then(|upstream| upstream.start) else { return };
        let start = match subscriber.newest {
            Newest::NotAsked => start,
            Newest::Asked(_) => return,
            // What of its upstream's comes after the newest, moments do not say: it begins anew.
            Newest::Known(version) if version.is_moment() || start.is_moment() => {
                let key = subscriber.upstream;
                self.part_one(id, key);
                return;
            }
            Newest::Known(version) => {
                subscriber.floor = version.max(start);
                subscriber.floor
            }
        };
        if subscriber.told {
            return;
        }
        subscriber.told = true;
        subscriber.last = start;
        to.deadlines.remove(subscriber.call.deadline(), id.into());
        to.out.u32(id);
        to.out.u8(reply::WATCHING);
        to.out.version(start);
        self.dirty.insert(subscriber.upstream);
    }

    fn batches(&mut self, key: u64, batches: Option<Vec<Result<WatchBatch>>>, chunks: Chunks) {
        let Some(upstream) = self.upstreams.get_mut(&key) else { return };
        upstream.away = None;
        upstream.chunks = Some(chunks);
        let ended = || Error::new(ErrorKind::Unavailable, "the store ended the watch without saying why");
        for batch in batches.unwrap_or_else(|| vec![Err(ended())]) {
            match batch {
                Ok(batch) => upstream.ring.push(&batch),
                Err(error) => {
                    upstream.failed = Some(error);
                    upstream.chunks = None;
                    break;
                }
            }
        }
        if upstream.failed.is_some() {
            self.retire(key);
        }
        self.dirty.insert(key);
    }

    /// Delivers an upstream's batches, and takes more of them while somebody wants more.
    fn deliver(&mut self, key: u64, to: &mut Answers<'_>) {
        let Some(upstream) = self.upstreams.get_mut(&key) else { return };
        let head = upstream.ring.head();
        let mut groups: Vec<Group> = Vec::new();
        let mut done = Vec::new();
        let (mut lowest, mut highest, mut hungry) = (head, 0, false);
        for id in &upstream.subscribers {
            let Some(subscriber) = self.subscribers.get_mut(id) else { continue };
            if subscriber.told {
                let from = subscriber.take(&upstream.ring);
                if let Some((from, to)) = from {
                    let progress = subscriber.progress;
                    let same =
                        |group: &&mut Group| (group.from, group.to, group.progress) == (from, to, progress);
                    match groups.iter_mut().find(same) {
                        Some(group) => group.ids.push(*id),
                        None => groups.push(Group { from, to, progress, ids: vec![*id] }),
                    }
                }
                if subscriber.cursor == head {
                    hungry |= subscriber.credit.is_open();
                    done.push(*id);
                }
            }
            lowest = lowest.min(subscriber.cursor);
            highest = highest.max(subscriber.cursor);
        }
        for group in &groups {
            write_group(to.out, &upstream.ring, group);
        }
        upstream.ring.trim(lowest);
        if let Some(error) = upstream.failed.clone() {
            for id in done {
                self.end(id, |_| error.clone(), to);
            }
            return;
        }
        if hungry && let Some(mut chunks) = upstream.chunks.take() {
            let is_full = upstream.ring.is_full() && lowest < highest;
            let next = async move {
                let batches = chunks.next().await;
                Step::Batches(key, batches, chunks)
            };
            let away = self.push(next);
            if let Some(upstream) = self.upstreams.get_mut(&key) {
                upstream.away = Some(away);
            }
            if is_full {
                self.part(key, lowest);
            }
            // What was pushed is polled before the turn ends.
            self.dirty.insert(key);
        } else if !hungry && upstream.chunks.is_some() {
            // From here on it may lag behind the store, as far as behind what the store still knows. Who begins now
            // must neither wait for that nor fail with it.
            self.retire(key);
        }
    }

    /// Sends those that lag behind the others on their own way, so that they hold back nobody.
    fn part(&mut self, key: u64, lowest: u64) {
        let Some(upstream) = self.upstreams.get(&key) else { return };
        let lags = |id: &&u32| self.subscribers.get(*id).is_some_and(|found| found.cursor == lowest);
        let slow: Vec<_> = upstream.subscribers.iter().filter(lags).copied().collect();
        for id in slow {
            self.part_one(id, key);
        }
    }

    /// Sends a watch on its own way.
    fn part_one(&mut self, id: u32, key: u64) {
        let (Some(upstream), Some(subscriber)) = (self.upstreams.get(&key), self.subscribers.get(&id)) else {
            return;
        };
        // One that does not know yet where it starts begins anew.
        let from = subscriber
            .told
            .then(|| Version::new(subscriber.last.term, subscriber.last.index.saturating_add(1)));
        let watch = Watch { from, progress: subscriber.progress, ..upstream.watch.clone() };
        let call = Call::with_timeout(self.shared.timeout);
        let (prefix, told) = (upstream.prefix.clone(), subscriber.told);
        let own = self.open(prefix, watch, None, call, told);
        self.leave(id, key);
        if let Some(subscriber) = self.subscribers.get_mut(&id) {
            if let Newest::Asked(handle) = std::mem::replace(&mut subscriber.newest, Newest::NotAsked) {
                handle.abort();
            }
            (subscriber.upstream, subscriber.cursor, subscriber.floor) = (own, 0, Version::ZERO);
        }
        if let Some(upstream) = self.upstreams.get_mut(&own) {
            upstream.subscribers.insert(id);
        }
    }
}

/// Whether an error says that the store cannot be reached for now.
fn is_away(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable
            | ErrorKind::Connection
            | ErrorKind::NoNodesAvailable
            | ErrorKind::NotLeader
            | ErrorKind::DeadlineExceeded
    )
}

/// Writes the batches of a group, once for all of its watches.
fn write_group(out: &mut Writer, ring: &Ring, group: &Group) {
    let batches = || {
        (group.from..group.to)
            .filter_map(|number| ring.get(number))
            .filter(|batch| group.progress || !batch.is_progress)
    };
    let length: usize = batches().map(|batch| 4 + batch.bytes.len()).sum();
    out.u32(reply::SOME_WATCHES);
    out.u8(reply::BATCHES);
    out.u32(u32::try_from(group.ids.len()).unwrap_or(u32::MAX));
    for id in &group.ids {
        out.u32(*id);
    }
    out.u32(u32::try_from(length).unwrap_or(u32::MAX));
    for batch in batches() {
        out.bytes(&batch.bytes);
    }
}

#[cfg(test)]
mod tests;
